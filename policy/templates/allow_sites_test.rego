package placement.NAME_test

import data.placement.NAME

vms := [{"id": "a", "tags": {"owner": "bank"}}, {"id": "b", "tags": {}}]

test_the_owners_vms_alone if {
	got := {x.vm: x.sites | some x in NAME.allow_sites} with input as {"vms": vms} with data.params.NAME as {"owner": "bank", "sites": ["north"]}
	got == {"a": ["north"]}
}
