package placement.NAME_test

import data.placement.NAME

vms := [{"id": "a", "tags": {"app": "ledger"}}, {"id": "b", "tags": {"app": "ledger"}}, {"id": "c", "tags": {"app": "web"}}, {"id": "d", "tags": {}}]

test_groups_by_application if {
	got := {[x.group, x.vm] | some x in NAME.apart} with input as {"vms": vms} with data.params.NAME as {"apps": ["ledger"], "scope": "host"}
	got == {["ledger", "a"], ["ledger", "b"]}
}
