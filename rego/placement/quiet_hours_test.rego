package placement.quiet_hours_test

import data.placement.quiet_hours

night := {"id": "night", "kind": "quiet", "place": {"kind": "site", "id": "fra"}, "open": true, "known": true, "from": 100, "to": 200}

test_freeze[name] if {
	some name, c in {
		"open": {"change": {}, "want": {["site", "fra", 200]}},
		"closed": {"change": {"open": false}, "want": set()},
		"another kind": {"change": {"kind": "maintenance"}, "want": set()},
		"not in sight": {"change": {"known": false}, "want": set()},
		"the fleet": {"change": {"place": {"kind": "fleet", "id": ""}}, "want": {["fleet", "", 200]}},
	}
	got := {[x.kind, x.id, x.until] | some x in quiet_hours.freeze} with data.fleet as {"windows": [object.union(night, c.change)]}
	got == c.want
}
