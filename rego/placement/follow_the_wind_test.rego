package placement.follow_the_wind_test

import data.placement.follow_the_wind

params := {"dirty_g_kwh": 500, "clean_g_kwh": 100, "steps": 10}

sites := [{"id": "coal", "carbon_g_kwh": 700}, {"id": "mixed", "carbon_g_kwh": 318}, {"id": "wind", "carbon_g_kwh": 40}, {"id": "dark", "carbon_g_kwh": null}]

test_score if {
	got := {x.site: x.score | some x in follow_the_wind.site_score} with data.fleet.sites as sites with data.params.follow_the_wind as params
	got == {"coal": 0, "mixed": 0.5, "wind": 1}
}

test_no_opinion_unless_told if {
	count(follow_the_wind.site_score) == 0 with data.fleet.sites as sites
	count(follow_the_wind.wake) == 0 with data.fleet.sites as sites with input as {"hosts": [asleep]}
}

asleep := {"id": "h1", "site": "wind", "power": "standby", "ours": true, "can_wake": true}

test_wake[name] if {
	some name, c in {
		"where power is cleanest": {"host": {}, "want": {"h1"}},
		"not elsewhere": {"host": {"site": "mixed"}, "want": set()},
		"not where it is not known": {"host": {"site": "dark"}, "want": set()},
		"not what a person put to sleep": {"host": {"ours": false}, "want": set()},
		"not what cannot wake": {"host": {"can_wake": false}, "want": set()},
		"not what is on": {"host": {"power": "on"}, "want": set()},
	}
	got := {x.host | some x in follow_the_wind.wake} with data.fleet.sites as sites
		with data.params.follow_the_wind as params
		with input as {"hosts": [object.union(asleep, c.host)]}
	got == c.want
}
