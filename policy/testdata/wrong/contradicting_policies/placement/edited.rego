package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
allow_sites contains {"vm": vm.id, "sites": ["fra"], "reason": "data stays in Europe"} if some vm in input.vms
