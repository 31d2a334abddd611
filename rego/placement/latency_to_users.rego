# METADATA
# title: Latency to users
# description: |
#   A VM with a tag of category users, whose value is a site, is worth more the nearer it
#   is to its users: eur_per_ms_h for each millisecond of round trip below max_rtt_ms,
#   rounded down to step_ms, so that an opinion lasts. A site without a measured link
#   to the users is worth nothing to it.
# scope: package
# labels:
#   policy: latency_to_users
package placement.latency_to_users

params := data.params.latency_to_users

# Both ways, since a link has no direction; a site is at no distance from itself.
distances := {[site.id, site.id, 0] | some site in data.fleet.places} | {[here, there, ms] |
	some link in data.fleet.links
	is_number(link.rtt_ms)
	ms := floor(link.rtt_ms / params.step_ms) * params.step_ms
	some [here, there] in [[link.a, link.b], [link.b, link.a]]
}

close_to := {users: sites |
	some [users, _, _] in distances
	sites := {site: ms | some [here, site, ms] in distances; here == users; ms < params.max_rtt_ms}
}

# METADATA
# title: Where a VM is worth more
# entrypoint: true
# custom:
#   reads: cluster
prefer contains {"vm": vm.id, "kind": "site", "id": site, "eur_per_h": params.eur_per_ms_h * (params.max_rtt_ms - ms), "reason": $"its users are at {users}"} if {
	some vm in input.marked[params.key]
	users := object.get(vm.tags, params.key, "")
	some site, ms in close_to[users]
}
