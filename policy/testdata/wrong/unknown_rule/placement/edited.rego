package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
evict contains {"vm": vm.id, "reason": "it goes"} if some vm in input.vms
