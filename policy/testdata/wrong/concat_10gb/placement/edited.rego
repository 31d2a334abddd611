package placement.edited

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
pin contains {"vm": vm.id, "reason": "long"} if {
	some vm in input.vms
	count(concat("", [megabyte | some _ in numbers.range(1, 10000)])) == 0
}

megabyte := concat("", ["0123456789abcdef" | some _ in numbers.range(1, 65536)])
