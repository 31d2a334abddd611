package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": "a large share"} if {
	some vm in input.vms
	100 / count([h | some h in input.hosts; h.id == "none"]) > 50
}
