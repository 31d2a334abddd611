# METADATA
# title: NAME
# description: VMs of one owner stay at that owner's sites.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Sites that a VM may be at
# entrypoint: true
# custom:
#   reads: cluster
allow_sites contains {"vm": vm.id, "sites": params.sites, "reason": $"owner {params.owner}"} if {
	some vm in input.vms
	object.get(vm.tags, "owner", "") == params.owner
}
