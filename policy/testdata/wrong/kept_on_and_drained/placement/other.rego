package placement.other

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
drain contains {"host": host.id, "then": "maintenance", "reason": "firmware"} if some host in input.hosts
