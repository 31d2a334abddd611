# METADATA
# title: Follow the wind
# description: |
#   Work goes where power is cleanest. A site's score is 0 at dirty_g_kwh grams of
#   CO2 per kWh or more, and grows evenly to 1 at clean_g_kwh or less. It is rounded to
#   steps, so that an opinion lasts. A site whose intensity is not known has no score.
#
#   With dirty_g_kwh 0 the policy has no opinion at all: the planner counts what carbon
#   costs by itself, and this is for those to whom it is worth more than its price.
# scope: package
# labels:
#   policy: follow_the_wind
package placement.follow_the_wind

params := data.params.follow_the_wind

span := params.dirty_g_kwh - params.clean_g_kwh

scores := {site.id: score |
	span > 0
	some site in data.fleet.sites
	is_number(site.carbon_g_kwh)
	cleanness := max([0, min([1, (params.dirty_g_kwh - site.carbon_g_kwh) / span])])
	score := round(cleanness * params.steps) / params.steps
}

# METADATA
# title: How good a site is
# entrypoint: true
# custom:
#   reads: fleet
#   asked_if: [dirty_g_kwh]
site_score contains {"site": id, "score": score, "reason": $"carbon: 0 from {params.dirty_g_kwh} g/kWh, 1 at {params.clean_g_kwh}"} if {
	some id, score in scores
}

best := max([score | some score in scores])

# METADATA
# title: Hosts that may be woken where power is cleanest
# entrypoint: true
# custom:
#   reads: cluster
#   asked_if: [dirty_g_kwh]
wake contains {"host": host.id, "reason": $"power is cleanest at {host.site}"} if {
	best > 0
	some host in input.hosts
	host.power == "standby"
	host.ours
	host.can_wake
	scores[host.site] == best
}
