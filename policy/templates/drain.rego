# METADATA
# title: NAME
# description: Offers hosts for standby that have long been nearly idle.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Hosts that may be put in standby
# entrypoint: true
# custom:
#   reads: cluster
drain contains {"host": host.id, "then": "standby", "reason": $"CPU below {params.below_pct} % for {params.for_s} s"} if {
	some host in input.hosts
	host.usable
	host.can_wake
	host.cpu_pct < params.below_pct
	host.low_for_s >= params.for_s
}
