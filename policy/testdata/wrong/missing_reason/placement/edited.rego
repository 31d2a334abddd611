package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id} if some vm in input.vms
