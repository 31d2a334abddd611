package placement.other

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
apart contains {"group": "copies", "vm": vm.id, "scope": "site", "reason": "copies of one another"} if some vm in input.vms
