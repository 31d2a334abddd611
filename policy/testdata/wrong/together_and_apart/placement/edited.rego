package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
together contains {"group": "app", "vm": vm.id, "scope": "host", "reason": "they talk all day"} if some vm in input.vms
