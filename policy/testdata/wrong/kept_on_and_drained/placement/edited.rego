package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
keep_on contains {"host": host.id, "reason": "holds the licence"} if some host in input.hosts
