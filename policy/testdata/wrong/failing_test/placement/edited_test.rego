package placement.edited_test

import data.placement.edited

test_pins_the_database if {
	got := {x.vm | some x in edited.pin} with input as {"vms": [{"id": "v1", "name": "db"}]}
	got == {"v1"}
}
