# METADATA
# title: NAME
# description: VMs of one application stay on their hosts.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: VMs that stay on their host
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": $"application {params.app}"} if {
	some vm in input.vms
	object.get(vm.tags, "app", "") == params.app
}
