package placement.canary_test

import data.placement.canary

said(tags, policies) := got if {
	got := count(canary.deny) with input as {"vm": {"tags": tags}, "why": [{"policy": p} | some p in policies]}
		with data.params.canary as {"key": "canary", "on_trial": ["load_balance"]}
}

test_others_stay if said({}, ["load_balance"]) == 1

test_not_refused[why] if {
	some why, c in {
		"a canary": [{"canary": "yes"}, ["load_balance"]],
		"somebody else wants it too": [{}, ["load_balance", "dpm"]],
		"not on trial": [{}, ["dpm"]],
		"nobody says why": [{}, []],
	}
	said(c[0], c[1]) == 0
}
