# METADATA
# title: Follow the sun
# description: |
#   Work goes where the sun shines. A site's score is 0 with the sun at or below
#   the horizon and grows evenly with its elevation to 1 at full_deg degrees. It
#   is rounded to steps, so that sites that hardly differ score the same and an
#   opinion lasts. A site whose elevation is not known has no score.
#
#   A score is worth the policy's weight per vCPU and hour; the planner sets it
#   against what a move costs. Where the score is highest, hosts that were put in
#   standby may be woken to receive what comes.
# scope: package
# labels:
#   policy: follow_the_sun
package placement.follow_the_sun

params := data.params.follow_the_sun

elevation(site) := max([0, min([1, site.sun_deg / params.full_deg])])

scores := {site.id: score |
	some site in data.fleet.sites
	is_number(site.sun_deg)
	score := round(elevation(site) * params.steps) / params.steps
}

sunniest := {id |
	some id, score in scores
	score > 0
	score == max([s | some s in scores])
}

# METADATA
# title: How good a site is
# entrypoint: true
# custom:
#   reads: fleet
site_score contains {"site": id, "score": score, "reason": $"the sun: 0 at the horizon, 1 from {params.full_deg} degrees"} if {
	some id, score in scores
}

# METADATA
# title: Hosts that may be woken where the sun stands highest
# entrypoint: true
# custom:
#   reads: cluster
wake contains {"host": host.id, "reason": $"the sun stands highest at {host.site}"} if {
	count(sunniest) > 0
	some host in input.hosts
	host.power == "standby"
	host.ours
	host.can_wake
	host.site in sunniest
}
