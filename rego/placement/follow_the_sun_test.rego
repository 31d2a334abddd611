package placement.follow_the_sun_test

import data.placement.follow_the_sun

fleet(hou, fra) := {"sites": [{"id": "hou", "sun_deg": hou}, {"id": "fra", "sun_deg": fra}]}

test_score[name] if {
	some name, c in {
		"night": {"deg": -12.5, "want": 0},
		"horizon": {"deg": 0, "want": 0},
		"morning": {"deg": 11.2, "want": 0.2},
		"close to morning": {"deg": 8.9, "want": 0.2},
		"high": {"deg": 50, "want": 1},
		"zenith": {"deg": 88, "want": 1},
	}
	got := {x.score | some x in follow_the_sun.site_score} with data.fleet as fleet(c.deg, null)
	got == {c.want}
}

test_unknown_elevation_has_no_score if {
	count(follow_the_sun.site_score) == 0 with data.fleet as fleet(null, null)
}

test_reason_names_no_running_value if {
	a := {x.reason | some x in follow_the_sun.site_score} with data.fleet as fleet(10, 20)
	b := {x.reason | some x in follow_the_sun.site_score} with data.fleet as fleet(11, 40)
	a == b
}

asleep := {"id": "h1", "site": "hou", "power": "standby", "ours": true, "can_wake": true}

test_wake[name] if {
	some name, c in {
		"where the sun is highest": {"fleet": fleet(40, 10), "host": {}, "want": {"h1"}},
		"not where it is lower": {"fleet": fleet(10, 40), "host": {}, "want": set()},
		"not at night": {"fleet": fleet(-5, -9), "host": {}, "want": set()},
		"not what a person put to sleep": {"fleet": fleet(40, 10), "host": {"ours": false}, "want": set()},
		"not what cannot wake": {"fleet": fleet(40, 10), "host": {"can_wake": false}, "want": set()},
		"not what is on": {"fleet": fleet(40, 10), "host": {"power": "on"}, "want": set()},
	}
	got := {x.host | some x in follow_the_sun.wake} with data.fleet as c.fleet with input as {"hosts": [object.union(asleep, c.host)]}
	got == c.want
}
