package placement.NAME_test

import data.placement.NAME

idle := {"id": "h1", "usable": true, "can_wake": true, "cpu_pct": 5, "low_for_s": 4000}

said(host) := got if {
	got := NAME.drain with input as {"hosts": [host]} with data.params.NAME as {"below_pct": 20, "for_s": 3600}
}

test_an_idle_host_is_offered if {
	{x.host | some x in said(idle)} == {"h1"}
}

test_a_host_is_kept[why] if {
	some why, change in {
		"busy": {"cpu_pct": 60},
		"idle for a short time": {"low_for_s": 60},
		"cannot be woken": {"can_wake": false},
		"load unknown": {"usable": false, "cpu_pct": null},
	}
	count(said(object.union(idle, change))) == 0
}
