package placement.keep_together_test

import data.placement.keep_together

test_groups_are_those_of_the_tag if {
	got := {[x.group, x.vm, x.scope] | some x in keep_together.together} with data.params.keep_together as {"key": "ring", "scope": "site"}
		with input as {"marked": {"ring": [{"id": "a", "tags": {"ring": "x"}}, {"id": "b", "tags": {"ring": "x"}}, {"id": "c", "tags": {}}], "other": [{"id": "d", "tags": {"other": "x"}}]}}
	got == {["x", "a", "site"], ["x", "b", "site"]}
}
