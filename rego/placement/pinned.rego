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

# METADATA
# title: VMs that stay on their host
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": $"tag {key}"} if {
	key := params.key
	some vm in input.marked[key]
	lower(vm.tags[key]) in params.values
}

pin contains {"vm": vm.id, "reason": $"attribute {key}"} if {
	key := params.key
	some vm in input.marked[key]
	lower(vm.attributes[key]) in params.values
}
