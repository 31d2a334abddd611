# METADATA
# title: Pinned VMs
# description: |
#   A VM with a tag of category pinned, or a custom attribute of that name, whose
#   value is one of params.values stays on its host. It gives way to nothing: who
#   would rather be asked in an evacuation uses the tag category heliostat.
# scope: package
# labels:
#   policy: pinned
package placement.pinned

params := data.params.pinned

says_so(labels) if lower(object.get(labels, params.key, "")) in params.values

# METADATA
# title: VMs that stay on their host
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": $"tag {params.key}"} if {
	some vm in input.vms
	says_so(vm.tags)
}

pin contains {"vm": vm.id, "reason": $"attribute {params.key}"} if {
	some vm in input.vms
	says_so(vm.attributes)
}
