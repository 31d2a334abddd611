package placement.cheapest_power_test

import data.placement.cheapest_power

params := {"dear_mwh": 200, "cheap_mwh": 0, "steps": 10}

sites := [{"id": "dear", "price_mwh": 240}, {"id": "fair", "price_mwh": 98}, {"id": "paid", "price_mwh": -12}, {"id": "dark", "price_mwh": null}]

test_score if {
	got := {x.site: x.score | some x in cheapest_power.site_score} with data.fleet.sites as sites with data.params.cheapest_power as params
	got == {"dear": 0, "fair": 0.5, "paid": 1}
}

test_no_opinion_unless_told if {
	count(cheapest_power.site_score) == 0 with data.fleet.sites as sites
	count(cheapest_power.wake) == 0 with data.fleet.sites as sites with input as {"hosts": [asleep]}
}

asleep := {"id": "h1", "site": "paid", "power": "standby", "ours": true, "can_wake": true}

test_wake[name] if {
	some name, c in {
		"where power is cheapest": {"host": {}, "want": {"h1"}},
		"not elsewhere": {"host": {"site": "fair"}, "want": set()},
		"not what a person put to sleep": {"host": {"ours": false}, "want": set()},
		"not what cannot wake": {"host": {"can_wake": false}, "want": set()},
		"not what is on": {"host": {"power": "on"}, "want": set()},
	}
	got := {x.host | some x in cheapest_power.wake} with data.fleet.sites as sites
		with data.params.cheapest_power as params
		with input as {"hosts": [object.union(asleep, c.host)]}
	got == c.want
}
