# METADATA
# title: Hurricane avoidance
# description: |
#   Empties sites that lie in the path of a severe or extreme hazard, from lead_s
#   before its earliest arrival there, to be done margin_s before it. Hazards of
#   every kind count, also those whose record has run out: a silent source is not
#   good weather. Left out are hazards that have ended, and those whose stated
#   probability is below min_p: a chance of ten in a hundred is what forecasters
#   call the earliest reasonable arrival.
#
#   A hazard whose arrival nobody states empties its sites without a deadline.
#   The critical leave first. Elsewhere, hosts may be woken to make room.
# scope: package
# labels:
#   policy: hurricane
package placement.hurricane

params := data.params.hurricane

known := {s.id | some s in data.fleet.places}

threats contains {"site": at.site, "arrival": arrival(at), "name": $"{hazard.kind} {hazard.id}"} if {
	some hazard in data.fleet.hazards
	some at in hazard.per_site
	at.site in known
	at.severity in params.severities
	likely_enough(at)
	not over(at)
}

likely_enough(at) if is_null(at.p)

likely_enough(at) if at.p >= params.min_p

over(at) if {
	is_number(at.ends)
	at.ends <= data.fleet.now
}

# The earliest arrival, else the most likely, else null.
arrival(at) := at.onset if is_number(at.onset)

else := at.likely

due(threat) if is_null(threat.arrival)

due(threat) if threat.arrival - params.lead_s <= data.fleet.now

deadline(threat) := threat.arrival - params.margin_s if is_number(threat.arrival)

else := null

evacuating := {threat.site | some threat in threats; due(threat)}

# METADATA
# title: Sites to evacuate
# entrypoint: true
# custom:
#   reads: fleet
evacuate contains {"kind": "site", "id": threat.site, "deadline": deadline(threat), "reason": $"{threat.name} threatens {threat.site}"} if {
	some threat in threats
	due(threat)
}

# METADATA
# title: Order of evacuation
# entrypoint: true
# custom:
#   reads: cluster
priority contains {"vm": vm.id, "priority": tier, "reason": $"criticality {vm.criticality}"} if {
	count(evacuating) > 0
	some vm in input.vms
	vm.site in evacuating
	tier := object.get(params.tiers, vm.criticality, params.other_tier)
}

# METADATA
# title: Hosts that may be woken to make room
# entrypoint: true
# custom:
#   reads: cluster
wake contains {"host": host.id, "reason": "room for an evacuation"} if {
	count(evacuating) > 0
	some host in input.hosts
	host.power == "standby"
	host.ours
	host.can_wake
	not host.site in evacuating
}
