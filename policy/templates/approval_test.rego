package placement.NAME_test

import data.placement.NAME

said(gb) := got if {
	got := NAME.approval with input as {"plan": {"gb": gb}} with data.params.NAME as {"gb": 1024}
}

test_large_plans_alone if {
	count(said(1025)) == 1
	count(said(1024)) == 0
}
