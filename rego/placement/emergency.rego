# METADATA
# title: Emergency
# description: |
#   An alert that fires, of a kind in params.kinds, empties its site: to be done by
#   the alert's own deadline, else deadline_s after it began. An alert that is
#   resolved, stale or past its time asks for nothing, and never for a return.
#   The critical leave first. Elsewhere, hosts may be woken to make room.
# scope: package
# labels:
#   policy: emergency
package placement.emergency

params := data.params.emergency

known := {s.id | some s in data.fleet.places}

alarms contains alert if {
	some alert in data.fleet.alerts
	alert.status == "firing"
	alert.kind in params.kinds
	alert.site in known
	not expired(alert)
}

expired(alert) if {
	alert.expires_at > 0
	alert.expires_at <= data.fleet.now
}

deadline(alert) := alert.deadline if is_number(alert.deadline)

else := alert.starts_at + params.deadline_s

evacuating := {alert.site | some alert in alarms}

# METADATA
# title: Sites to evacuate
# entrypoint: true
# custom:
#   reads: fleet
evacuate contains {"kind": "site", "id": alert.site, "deadline": deadline(alert), "reason": $"alert {alert.name} ({alert.kind}) at {alert.site}"} if {
	some alert in alarms
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
