# METADATA
# title: Scene
# description: |
#   Says what a scene of a test asks for: of a VM by its tags, of hosts and sites by
#   alerts.
# scope: package
package placement.scene

params := data.params.scene

# METADATA
# entrypoint: true
# custom: {reads: cluster}
prefer contains {"vm": vm.id, "kind": "site", "id": vm.tags.wish, "eur_per_h": params.worth, "reason": "its tag asks for a site"} if {
	some vm in input.vms
	vm.tags.wish
}

prefer contains {"vm": vm.id, "kind": "host", "id": host.id, "eur_per_h": params.worth, "reason": "its tag asks for a host"} if {
	some vm in input.vms
	some host in input.hosts
	host.name == vm.tags.beside
}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
pin contains {"vm": vm.id, "reason": "its tag pins it"} if {
	some vm in input.vms
	vm.tags.pin == "yes"
}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
allow_sites contains {"vm": vm.id, "sites": [vm.tags.only], "reason": "its tag names the site"} if {
	some vm in input.vms
	vm.tags.only
}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
allow_hosts contains {"vm": vm.id, "hosts": [vm.host], "reason": "its tag keeps it on its host"} if {
	some vm in input.vms
	vm.tags.stay == "yes"
}

# METADATA
# entrypoint: true
# custom: {reads: move}
deny contains {"code": "tagged", "reason": "its tag forbids moves"} if {
	input.vm.tags.deny == "yes"
	some why in input.why
	why.policy == "scene"
}

# METADATA
# entrypoint: true
# custom: {reads: fleet}
evacuate contains {"kind": "site", "id": alert.site, "deadline": alert.deadline, "reason": "an alert asks for it"} if {
	some alert in data.fleet.alerts
	alert.kind == "leave"
}

# METADATA
# entrypoint: true
# custom: {reads: fleet}
freeze contains {"kind": "site", "id": alert.site, "until": null, "reason": "an alert asks for it"} if {
	some alert in data.fleet.alerts
	alert.kind == "freeze"
}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
drain contains {"host": host.id, "then": "standby", "reason": "an alert asks for it"} if {
	some host in input.hosts
	asked(host, "sleep")
}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
wake contains {"host": host.id, "reason": "an alert asks for it"} if {
	some host in input.hosts
	asked(host, "wake")
}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
keep_on contains {"host": host.id, "reason": "an alert asks for it"} if {
	some host in input.hosts
	asked(host, "keep_on")
}

asked(host, kind) if {
	some alert in data.fleet.alerts
	alert.kind == kind
	alert.name == host.name
}
