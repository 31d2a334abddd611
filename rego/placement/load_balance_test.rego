package placement.load_balance_test

import data.placement.load_balance

host(id, load) := {"id": id, "usable": true, "cpu_mhz": 10000, "cpu_pct_5m": load}

# b is 60 points busier than a: half of it is 3000 MHz.
cluster := {
	"cluster": {"drs": "manual"},
	"hosts": [host("a", 20), host("b", 80), host("c", 30)],
	"vms": [{"id": "v1", "host": "b"}, {"id": "v2", "host": "b"}, {"id": "v3", "host": "b"}, {"id": "v4", "host": "c"}],
	"vm_load": [{"cpu_mhz_5m": 4500}, {"cpu_mhz_5m": 2500}, {"cpu_mhz_5m": 1000}, {"cpu_mhz_5m": 3000}],
}

said(state) := got if {
	got := {[x.vm, x.id] | some x in load_balance.prefer} with input as state with data.params.load_balance as {"gap_pct": 20, "eur_per_h": 0.02}
}

test_the_vm_that_closes_half_of_the_gap if said(cluster) == {["v2", "a"]}

test_nothing[why] if {
	some why, change in {
		"an even cluster": {"hosts": [host("a", 40), host("b", 55), host("c", 50)]},
		"its own scheduler does it": {"cluster": {"drs": "fullyAutomated"}},
		"loads unknown": {"vm_load": [{"cpu_mhz_5m": null}, {"cpu_mhz_5m": null}, {"cpu_mhz_5m": null}, {"cpu_mhz_5m": null}]},
		"hosts unknown": {"hosts": [object.union(host("a", 20), {"usable": false}), host("b", 80)]},
		"all too large": {"vm_load": [{"cpu_mhz_5m": 4500}, {"cpu_mhz_5m": 4500}, {"cpu_mhz_5m": 4500}, {"cpu_mhz_5m": 3000}]},
	}
	said(object.union(cluster, change)) == set()
}

test_no_opinion_unless_told if {
	count(load_balance.prefer) == 0 with input as cluster
}
