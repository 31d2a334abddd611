package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin[vm.id] := {"vm": vm.id, "reason": "it stays"} if some vm in input.vms
