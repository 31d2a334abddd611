package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": "it stays"} if {
	some vm in input.vms
	http.send({"method": "get", "url": "http://cmdb.example.net"}).status_code == 200
}
