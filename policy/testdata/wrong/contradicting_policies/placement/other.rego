package placement.other

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
allow_sites contains {"vm": vm.id, "sites": ["tyo"], "reason": "close to the customers"} if some vm in input.vms
