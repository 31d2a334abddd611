# METADATA
# title: NAME
# description: VMs of one tier do not move across vCenters.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Moves that are refused
# entrypoint: true
# custom:
#   reads: move
#   yields_to: [evacuate]
deny contains {"code": "NAME", "reason": $"{input.vm.name} is of tier {params.tier}"} if {
	input.move.across
	object.get(input.vm.tags, "tier", "") == params.tier
}
