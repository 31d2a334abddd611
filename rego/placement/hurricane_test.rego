package placement.hurricane_test

import data.placement.hurricane

sites := [{"id": "mia"}, {"id": "fra"}]

at := {"site": "mia", "severity": "extreme", "p": null, "onset": 1000000, "likely": 1020000, "ends": 1100000}

fleet(now, change) := {"now": now, "places": sites, "hazards": [{"id": "AL09", "kind": "hurricane", "per_site": [object.union(at, change)]}]}

lead := data.params.hurricane.lead_s

margin := data.params.hurricane.margin_s

test_evacuate[name] if {
	some name, c in {
		"within the lead": {"now": 1000000 - lead, "change": {}, "want": {["mia", 1000000 - margin]}},
		"too early": {"now": (1000000 - lead) - 1, "change": {}, "want": set()},
		"past the deadline": {"now": 999999, "change": {}, "want": {["mia", 1000000 - margin]}},
		"in the storm": {"now": 1050000, "change": {}, "want": {["mia", 1000000 - margin]}},
		"over": {"now": 1100000, "change": {}, "want": set()},
		"end unknown": {"now": 1200000, "change": {"ends": null}, "want": {["mia", 1000000 - margin]}},
		"moderate": {"now": 900000, "change": {"severity": "moderate"}, "want": set()},
		"unlikely": {"now": 900000, "change": {"p": 0.09}, "want": set()},
		"likely": {"now": 900000, "change": {"p": 0.1}, "want": {["mia", 1000000 - margin]}},
		"only the likely arrival": {"now": 900000, "change": {"onset": null}, "want": {["mia", 1020000 - margin]}},
		"arrival unknown": {"now": 5, "change": {"onset": null, "likely": null}, "want": {["mia", null]}},
		"a site that is not ours": {"now": 900000, "change": {"site": "cuba"}, "want": set()},
	}
	got := {[x.id, x.deadline] | some x in hurricane.evacuate; x.kind == "site"} with data.fleet as fleet(c.now, c.change)
	got == c.want
}

vms := [
	{"id": "v1", "site": "mia", "criticality": "1-critical"},
	{"id": "v2", "site": "mia", "criticality": "4-low"},
	{"id": "v3", "site": "mia", "criticality": "whatever"},
	{"id": "v4", "site": "fra", "criticality": "1-critical"},
]

test_critical_leave_first if {
	got := {[x.vm, x.priority] | some x in hurricane.priority} with data.fleet as fleet(900000, {}) with input as {"vms": vms}
	got == {["v1", 1], ["v2", 4], ["v3", 9]}
}

test_no_order_in_fair_weather if {
	count(hurricane.priority) == 0 with data.fleet as fleet(5, {}) with input as {"vms": vms}
}

asleep := {"id": "h", "site": "fra", "power": "standby", "ours": true, "can_wake": true}

test_wake[name] if {
	some name, c in {
		"elsewhere": {"now": 900000, "host": {}, "want": {"h"}},
		"not there": {"now": 900000, "host": {"site": "mia"}, "want": set()},
		"not a person's": {"now": 900000, "host": {"ours": false}, "want": set()},
		"not in fair weather": {"now": 5, "host": {}, "want": set()},
	}
	got := {x.host | some x in hurricane.wake} with data.fleet as fleet(c.now, {}) with input as {"hosts": [object.union(asleep, c.host)]}
	got == c.want
}
