package placement.NAME_test

import data.placement.NAME

alert := {"name": "SiteMustBeEmptied", "status": "firing", "site": "north", "starts_at": 1000}

said(alerts) := got if {
	got := NAME.evacuate
		with data.fleet.alerts as alerts
		with data.fleet.sites as [{"id": "north"}]
		with data.params.NAME as {"alert": "SiteMustBeEmptied", "within_s": 3600}
}

test_the_site_of_the_alert_is_emptied if {
	{[x.id, x.deadline] | some x in said([alert])} == {["north", 4600]}
}

test_no_other_alert_counts if {
	count(said([object.union(alert, {"status": "resolved"}), object.union(alert, {"name": "Other"})])) == 0
}
