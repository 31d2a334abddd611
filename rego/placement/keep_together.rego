# METADATA
# title: Keep together
# description: |
#   VMs with the same value of a tag of category key share a place: a host, a cluster or a
#   site, as scope says. VMs without the tag are of no group.
# scope: package
# labels:
#   policy: keep_together
package placement.keep_together

params := data.params.keep_together

# METADATA
# title: VMs that share a place
# entrypoint: true
# custom:
#   reads: cluster
together contains {"group": group, "vm": vm.id, "scope": params.scope, "reason": $"{params.key} {group}"} if {
	some vm in input.marked[params.key]
	group := object.get(vm.tags, params.key, "")
	group != ""
}
