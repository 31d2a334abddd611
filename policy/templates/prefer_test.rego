package placement.NAME_test

import data.placement.NAME

vms := [{"id": "a", "tags": {"app": "ledger"}}, {"id": "b", "tags": {}}]

said(site) := got if {
	got := NAME.prefer
		with input as {"vms": vms}
		with data.fleet.sites as [{"id": "north"}]
		with data.params.NAME as {"app": "ledger", "site": site, "eur_per_h": 0.05}
}

test_the_application_alone if {
	{[x.vm, x.id] | some x in said("north")} == {["a", "north"]}
}

test_a_site_that_is_not_there if {
	count(said("nowhere")) == 0
}
