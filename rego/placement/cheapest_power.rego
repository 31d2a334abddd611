# METADATA
# title: Cheapest power
# description: |
#   Work goes where power is cheap. A site's score is 0 at dear_mwh EUR per MWh or more,
#   and grows evenly to 1 at cheap_mwh or less; prices below zero count as they are. It
#   is rounded to steps, so that an opinion lasts. A site whose price is not known has
#   no score.
#
#   With dear_mwh 0 the policy has no opinion at all: the planner counts what power
#   costs by itself, and this is for those who want more of it.
# scope: package
# labels:
#   policy: cheapest_power
package placement.cheapest_power

params := data.params.cheapest_power

span := params.dear_mwh - params.cheap_mwh

scores := {site.id: score |
	params.dear_mwh > 0
	span > 0
	some site in data.fleet.sites
	is_number(site.price_mwh)
	cheapness := max([0, min([1, (params.dear_mwh - site.price_mwh) / span])])
	score := round(cheapness * params.steps) / params.steps
}

# METADATA
# title: How good a site is
# entrypoint: true
# custom:
#   reads: fleet
#   asked_if: [dear_mwh]
site_score contains {"site": id, "score": score, "reason": $"power: 0 from {params.dear_mwh} EUR/MWh, 1 at {params.cheap_mwh}"} if {
	some id, score in scores
}

best := max([score | some score in scores])

# METADATA
# title: Hosts that may be woken where power is cheapest
# entrypoint: true
# custom:
#   reads: cluster
#   asked_if: [dear_mwh]
wake contains {"host": host.id, "reason": $"power is cheapest at {host.site}"} if {
	best > 0
	some host in input.hosts
	host.power == "standby"
	host.ours
	host.can_wake
	scores[host.site] == best
}
