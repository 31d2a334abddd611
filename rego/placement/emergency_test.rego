package placement.emergency_test

import data.placement.emergency

alarm := {
	"name": "CoolingFailure", "kind": "cooling", "status": "firing", "site": "fra",
	"deadline": null, "starts_at": 1000, "expires_at": 90000,
}

fleet(change) := {"now": 2000, "places": [{"id": "fra"}, {"id": "hou"}], "alerts": [object.union(alarm, change)]}

later := 1000 + data.params.emergency.deadline_s

test_evacuate[name] if {
	some name, c in {
		"firing": {"change": {}, "want": {["fra", later]}},
		"its own deadline": {"change": {"deadline": 5000}, "want": {["fra", 5000]}},
		"resolved": {"change": {"status": "resolved"}, "want": set()},
		"stale": {"change": {"status": "stale"}, "want": set()},
		"past its time": {"change": {"expires_at": 2000}, "want": set()},
		"without a time": {"change": {"expires_at": 0}, "want": {["fra", later]}},
		"another kind": {"change": {"kind": "disk_full"}, "want": set()},
		"no site": {"change": {"site": null}, "want": set()},
		"a site that is not ours": {"change": {"site": "moon"}, "want": set()},
	}
	got := {[x.id, x.deadline] | some x in emergency.evacuate; x.kind == "site"} with data.fleet as fleet(c.change)
	got == c.want
}

test_critical_leave_first if {
	got := {[x.vm, x.priority] | some x in emergency.priority} with data.fleet as fleet({}) with input as {"vms": [
		{"id": "v1", "site": "fra", "criticality": "1-critical"},
		{"id": "v2", "site": "fra", "criticality": "?"},
		{"id": "v3", "site": "hou", "criticality": "1-critical"},
	]}
	got == {["v1", 1], ["v2", 9]}
}

test_wake[name] if {
	some name, c in {
		"elsewhere": {"alert": {}, "site": "hou", "want": {"h"}},
		"not there": {"alert": {}, "site": "fra", "want": set()},
		"not without an alarm": {"alert": {"status": "stale"}, "site": "hou", "want": set()},
	}
	host := {"id": "h", "site": c.site, "power": "standby", "ours": true, "can_wake": true}
	got := {x.host | some x in emergency.wake} with data.fleet as fleet(c.alert) with input as {"hosts": [host]}
	got == c.want
}
