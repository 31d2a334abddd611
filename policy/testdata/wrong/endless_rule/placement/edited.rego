package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": "it stays"} if {
	some vm in input.vms
	some a in numbers.range(1, 20000)
	some b in numbers.range(1, 20000)
	a * b < 0
}
