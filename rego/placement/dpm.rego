# METADATA
# title: Power saving
# description: |
#   Offers hosts for standby that a cluster hardly uses, and hosts for waking when
#   it gets busy, by the rule of vSphere's own power management: the demand of a
#   host is to stay within target_pct give or take tolerance_pct; low is judged
#   over 40 minutes and high over 5, so that waking is quick and sleeping is slow.
#   A host that has not been watched for as long is low when its load has not once
#   been as high as plan.low says for low_s.
#
#   Memory has bounds of its own, since what is measured is memory consumed, much
#   of it cache, and not demand. high_mem_pct lies above what the planner fills a
#   host to: filling one is no reason to wake another.
#
#   Both rules only permit. The planner picks which hosts, and how many.
# scope: package
# labels:
#   policy: dpm
package placement.dpm

params := data.params.dpm

low_cpu_pct := params.target_pct - params.tolerance_pct

high_cpu_pct := params.target_pct + params.tolerance_pct

# Null is less than any number: what is unknown is never above a limit, and must
# be kept out where something is to be below one.
strained if input.cluster.cpu_pct_5m_max > high_cpu_pct

strained if input.cluster.mem_pct_5m_max > params.high_mem_pct

# METADATA
# title: Hosts that may be put in standby
# entrypoint: true
# custom:
#   reads: cluster
drain contains {"host": host.id, "then": "standby", "reason": reason} if {
	not input.cluster.dpm
	not strained
	low_cpu := low_cpu_pct
	low_mem := params.low_mem_pct
	reason := $"CPU below {low_cpu} % and memory below {low_mem} % over 40 minutes"
	some host in input.hosts
	host.cpu_pct_40m < low_cpu
	is_number(host.cpu_pct_40m)
	host.mem_pct_40m < low_mem
	is_number(host.mem_pct_40m)
	host.usable
	host.can_wake
	not host.usb
	not host.vsan
}

drain contains {"host": host.id, "then": "standby", "reason": reason} if {
	not input.cluster.dpm
	not strained
	low_cpu := low_cpu_pct
	low_mem := params.low_mem_pct
	low_s := params.low_s
	reason := $"CPU below {low_cpu} % and memory below {low_mem} %, and no load above plan.low for {low_s} s"
	some host in input.hosts
	host.low_for_s >= low_s
	not is_number(host.cpu_pct_40m)
	host.cpu_pct_5m < low_cpu
	is_number(host.cpu_pct_5m)
	host.mem_pct_5m < low_mem
	is_number(host.mem_pct_5m)
	host.usable
	host.can_wake
	not host.usb
	not host.vsan
}

# METADATA
# title: Hosts that may be woken
# entrypoint: true
# custom:
#   reads: cluster
wake contains {"host": host.id, "reason": $"a host of the cluster is above {high_cpu_pct} % CPU or {params.high_mem_pct} % memory over 5 minutes"} if {
	strained
	not input.cluster.dpm
	some host in input.hosts
	host.power == "standby"
	host.ours
	host.can_wake
}
