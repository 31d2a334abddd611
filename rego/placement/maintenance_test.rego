package placement.maintenance_test

import data.placement.maintenance

lead := data.params.maintenance.lead_s

window(kind, id) := {"id": "w1", "kind": "maintenance", "place": {"kind": kind, "id": id}, "known": true, "from": 100000, "to": 120000}

fleet(now, w) := {"now": now, "windows": [w]}

input_c := {"cluster": {"id": "c1"}, "hosts": [
	{"id": "h1", "site": "fra", "power": "on", "ours": false, "can_wake": true},
	{"id": "h2", "site": "fra", "power": "standby", "ours": true, "can_wake": true},
]}

test_host_window[name] if {
	some name, c in {
		"before the lead": {"now": (100000 - lead) - 1, "w": {}, "want": set()},
		"from the lead on": {"now": 100000 - lead, "w": {}, "want": {["h1", "maintenance", 100000]}},
		"while it lasts": {"now": 119999, "w": {}, "want": {["h1", "maintenance", 100000]}},
		"afterwards": {"now": 120000, "w": {}, "want": set()},
		"another kind": {"now": 110000, "w": {"kind": "quiet"}, "want": set()},
		"not in sight": {"now": 110000, "w": {"known": false}, "want": set()},
	}
	w := object.union(window("host", "h1"), c.w)
	got := {[x.host, x.then, x.deadline] | some x in maintenance.drain} with data.fleet as fleet(c.now, w) with input as input_c
	got == c.want
	count(maintenance.evacuate) == 0 with data.fleet as fleet(c.now, w)
}

test_site_and_cluster_are_evacuated[kind] if {
	some kind in ["site", "cluster"]
	maintenance.evacuate == {{"kind": kind, "id": "x", "deadline": 100000, "reason": "maintenance window w1"}} with data.fleet as fleet(100000, window(kind, "x"))
}

test_wake[name] if {
	some name, c in {
		"a host of the cluster is drained": {"w": window("host", "h1"), "want": {"h2"}},
		"not the drained host itself": {"w": window("host", "h2"), "want": set()},
		"not for another cluster's host": {"w": window("host", "h9"), "want": set()},
		"another site is evacuated": {"w": window("site", "hou"), "want": {"h2"}},
		"not at the site evacuated": {"w": window("site", "fra"), "want": set()},
		"another cluster is evacuated": {"w": window("cluster", "c2"), "want": {"h2"}},
		"not in the cluster evacuated": {"w": window("cluster", "c1"), "want": set()},
	}
	got := {x.host | some x in maintenance.wake} with data.fleet as fleet(100000, c.w) with input as input_c
	got == c.want
}
