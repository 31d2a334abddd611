package placement.change_freeze_test

import data.placement.change_freeze

sites := [{"id": "a", "local": {"holiday": true}}, {"id": "b", "local": {"holiday": false}}, {"id": "c", "local": null}]

window(kind, id, open) := {"kind": "change", "open": open, "place": {"kind": kind, "id": id}}

frozen(windows, p) := got if {
	got := {x.id | some x in change_freeze.freeze} with data.fleet.sites as sites
		with data.fleet.windows as windows
		with data.params.change_freeze as object.union({"outside_windows": false, "holidays": false}, p)
}

test_outside_windows[name] if {
	some name, c in {
		"no window": {"windows": [], "want": {"a", "b", "c"}},
		"of one site": {"windows": [window("site", "b", true)], "want": {"a", "c"}},
		"of the fleet": {"windows": [window("fleet", "", true)], "want": set()},
		"closed": {"windows": [window("fleet", "", false)], "want": {"a", "b", "c"}},
		"of a host": {"windows": [window("host", "b", true)], "want": {"a", "b", "c"}},
		"quiet": {"windows": [object.union(window("fleet", "", true), {"kind": "quiet"})], "want": {"a", "b", "c"}},
	}
	frozen(c.windows, {"outside_windows": true}) == c.want
}

test_holidays if frozen([], {"holidays": true}) == {"a"}

test_nothing_unless_told if frozen([], {}) == set()
