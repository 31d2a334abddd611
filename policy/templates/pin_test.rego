package placement.NAME_test

import data.placement.NAME

vms := [{"id": "a", "tags": {"app": "ledger"}}, {"id": "b", "tags": {"app": "web"}}, {"id": "c", "tags": {}}]

test_pins_the_application_alone if {
	got := {x.vm | some x in NAME.pin} with input as {"vms": vms} with data.params.NAME as {"app": "ledger"}
	got == {"a"}
}
