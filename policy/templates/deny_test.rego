package placement.NAME_test

import data.placement.NAME

said(tags, across) := got if {
	got := NAME.deny
		with input as {"vm": {"name": "a", "tags": tags}, "move": {"across": across}}
		with data.params.NAME as {"tier": "db"}
}

test_moves_across_of_the_tier_are_refused if {
	count(said({"tier": "db"}, true)) == 1
}

test_other_moves_are_not[why] if {
	some why, c in {"within": [{"tier": "db"}, false], "another tier": [{"tier": "web"}, true], "no tier": [{}, true]}
	count(said(c[0], c[1])) == 0
}
