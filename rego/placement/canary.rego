# METADATA
# title: Canary
# description: |
#   A policy that is on trial moves canaries alone: VMs that have a tag of category key,
#   with any value. A move that a policy not on trial wants too is not its business. It
#   gives way to an evacuation.
# scope: package
# labels:
#   policy: canary
package placement.canary

params := data.params.canary

on_trial if {
	count(input.why) > 0
	every why in input.why {
		why.policy in params.on_trial
	}
}

# METADATA
# title: Moves that a policy on trial may not make
# entrypoint: true
# custom:
#   reads: move
#   asked_if: [on_trial]
#   yields_to: [evacuate]
deny contains {"code": "canary", "reason": $"it is no canary, and who wants it moved is on trial"} if {
	on_trial
	object.get(input.vm.tags, params.key, "") == ""
}
