package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin := {{"vm": vm.id, "reason": "it stays"} | some vm in input.vms} if count(input.vms) > 3
