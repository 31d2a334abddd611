# METADATA
# title: Planned maintenance
# description: |
#   Empties what a window of kind maintenance names, from lead_s before the window
#   opens, to be done when it opens, and keeps it empty until the window closes. A
#   host is drained and put in maintenance; a site or a cluster is evacuated. A
#   window whose place is not in sight asks for nothing.
#
#   Where hosts are drained, others of the cluster may be woken to make room; where
#   a site or a cluster is evacuated, hosts of all others.
# scope: package
# labels:
#   policy: maintenance
package placement.maintenance

params := data.params.maintenance

due contains window if {
	some window in data.fleet.windows
	window.kind == "maintenance"
	window.known
	window.from - params.lead_s <= data.fleet.now
	data.fleet.now < window.to
}

evacuated_sites := {window.place.id | some window in due; window.place.kind == "site"}

evacuated_clusters := {window.place.id | some window in due; window.place.kind == "cluster"}

drained := {window.place.id | some window in due; window.place.kind == "host"}

# METADATA
# title: Sites and clusters to evacuate
# entrypoint: true
# custom:
#   reads: fleet
evacuate contains {"kind": window.place.kind, "id": window.place.id, "deadline": window.from, "reason": $"maintenance window {window.id}"} if {
	some window in due
	window.place.kind in {"site", "cluster"}
}

# METADATA
# title: Hosts to put in maintenance
# entrypoint: true
# custom:
#   reads: cluster
drain contains {"host": host.id, "then": "maintenance", "deadline": window.from, "reason": $"maintenance window {window.id}"} if {
	some window in due
	window.place.kind == "host"
	some host in input.hosts
	host.id == window.place.id
}

room_needed if {
	some host in input.hosts
	host.id in drained
}

room_needed if count(evacuated_sites) > 0

room_needed if count(evacuated_clusters) > 0

# METADATA
# title: Hosts that may be woken to make room
# entrypoint: true
# custom:
#   reads: cluster
wake contains {"host": host.id, "reason": "room for maintenance"} if {
	count(due) > 0
	room_needed
	not input.cluster.id in evacuated_clusters
	some host in input.hosts
	host.power == "standby"
	host.ours
	host.can_wake
	not host.site in evacuated_sites
	not host.id in drained
}
