# METADATA
# title: Spread
# description: |
#   VMs with the same value of a tag of category key do not share a place: a host, a cluster or a
#   site, as scope says. VMs without the tag are of no group.
# scope: package
# labels:
#   policy: spread
package placement.spread

params := data.params.spread

# METADATA
# title: VMs that do not share a place
# entrypoint: true
# custom:
#   reads: cluster
apart contains {"group": group, "vm": vm.id, "scope": params.scope, "reason": $"{params.key} {group}"} if {
	some vm in input.marked[params.key]
	group := object.get(vm.tags, params.key, "")
	group != ""
}
