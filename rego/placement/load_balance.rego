# METADATA
# title: Load balance
# description: |
#   Where a host of a cluster is busier than another by more than gap_pct percent of its
#   CPU over 5 minutes, the VM that comes nearest to closing half of the gap is worth
#   eur_per_h more on the idlest host. One VM a busy host at a time, so that a cluster
#   settles instead of swinging. Clusters whose own scheduler is fully automated are
#   left to it. With gap_pct 0 the policy has no opinion.
# scope: package
# labels:
#   policy: load_balance
package placement.load_balance

params := data.params.load_balance

left_to_us if {
	params.gap_pct > 0
	input.cluster.drs != "fullyAutomated"
}

loads := {host.id: host.cpu_pct_5m |
	some host in input.hosts
	host.usable
	is_number(host.cpu_pct_5m)
}

capacity := {host.id: host.cpu_mhz | some host in input.hosts}

idlest := [id | some id, load in loads; load == min([l | some l in loads])][0]

# A busy host, and how much of its load would have to go to meet half-way, MHz.
busy := {id: half |
	some id, load in loads
	load - loads[idlest] > params.gap_pct
	half := (((load - loads[idlest]) / 2) * capacity[id]) / 100
}

# The VMs of busy hosts whose load would not make the idlest the busier one.
candidates := [{"vm": vm.id, "host": vm.host, "mhz": mhz} |
	some i, vm in input.vms
	half := busy[vm.host]
	mhz := input.vm_load[i].cpu_mhz_5m
	is_number(mhz)
	mhz <= half
]

largest := {id: max([c.mhz | some c in candidates; c.host == id]) | some id, _ in busy}

# METADATA
# title: VMs that would even the load of a cluster
# entrypoint: true
# custom:
#   reads: cluster
#   asked_if: [gap_pct]
prefer contains {"vm": vms[0], "kind": "host", "id": idlest, "eur_per_h": params.eur_per_h, "reason": $"its host is busier than another by more than {params.gap_pct} % CPU"} if {
	left_to_us
	some id, mhz in largest
	mhz > 0
	vms := sort([c.vm | some c in candidates; c.host == id; c.mhz == mhz])
}
