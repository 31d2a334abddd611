package placement.latency_to_users_test

import data.placement.latency_to_users

fleet := {
	"places": [{"id": "hou"}, {"id": "fra"}, {"id": "tyo"}],
	"links": [{"a": "fra", "b": "hou", "rtt_ms": 117}, {"a": "fra", "b": "tyo", "rtt_ms": 230}, {"a": "hou", "b": "tyo", "rtt_ms": null}],
}

test_nearer_is_worth_more if {
	got := {[x.vm, x.id]: x.eur_per_h | some x in latency_to_users.prefer} with data.fleet as fleet
		with data.params.latency_to_users as {"key": "users", "max_rtt_ms": 150, "step_ms": 10, "eur_per_ms_h": 1}
		with input as {"marked": {"users": [{"id": "a", "tags": {"users": "fra"}}, {"id": "b", "tags": {"users": "mars"}}, {"id": "c", "tags": {}}]}}
	got == {["a", "fra"]: 150, ["a", "hou"]: 40}
}
