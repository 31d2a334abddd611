package placement.NAME_test

import data.placement.NAME

sites := [{"id": "dear", "price_mwh": 200}, {"id": "cheap", "price_mwh": 50}, {"id": "unknown", "price_mwh": null}]

test_cheap_energy_scores if {
	got := {x.site: x.score | some x in NAME.site_score} with data.fleet.sites as sites with data.params.NAME as {"dear_mwh": 200}
	got == {"dear": 0, "cheap": 0.8}
}
