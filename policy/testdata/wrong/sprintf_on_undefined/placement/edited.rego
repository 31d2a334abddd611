package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": sprintf("owned by %v", [vm.tags.owner])} if some vm in input.vms
