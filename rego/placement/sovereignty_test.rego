package placement.sovereignty_test

import data.placement.sovereignty

sites := [
	{"id": "fra", "region": "eu"},
	{"id": "par", "region": "eu"},
	{"id": "hou", "region": "us"},
	{"id": "sea", "region": null},
]

test_allow_sites[name] if {
	some name, c in {
		"eu": {"residency": "eu", "want": {["fra", "par"]}},
		"us": {"residency": "us", "want": {["hou"]}},
		"nowhere": {"residency": "mars", "want": {[]}},
		"any": {"residency": "any", "want": set()},
	}
	got := {x.sites | some x in sovereignty.allow_sites; x.vm == "v"} with data.fleet as {"places": sites} with input as {"marked": {"residency": [{"id": "v", "residency": c.residency}]}}
	got == c.want
}
