package placement.NAME_test

import data.placement.NAME

sites := [{"id": "a", "local": {"weekday": "Sunday"}}, {"id": "b", "local": {"weekday": "Monday"}}]

test_frozen_on_these_days_alone if {
	got := {x.id | some x in NAME.freeze} with data.fleet.sites as sites with data.params.NAME as {"days": ["Saturday", "Sunday"]}
	got == {"a"}
}
