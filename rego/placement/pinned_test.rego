package placement.pinned_test

import data.placement.pinned

test_pin[name] if {
	some name, c in {
		"tag": {"tags": {"pinned": "true"}, "attributes": {}, "want": {"tag pinned"}},
		"capitals": {"tags": {"pinned": "Yes"}, "attributes": {}, "want": {"tag pinned"}},
		"attribute": {"tags": {}, "attributes": {"pinned": "true"}, "want": {"attribute pinned"}},
		"says no": {"tags": {"pinned": "false"}, "attributes": {"pinned": ""}, "want": set()},
		"says nothing": {"tags": {"env": "true"}, "attributes": {}, "want": set()},
	}
	got := {x.reason | some x in pinned.pin; x.vm == "v"} with input as {"marked": {"pinned": [{"id": "v", "tags": c.tags, "attributes": c.attributes}]}}
	got == c.want
}
