# METADATA
# title: Quiet hours
# description: |
#   While a window of kind quiet is open, nothing moves in its place. It gives way
#   to an evacuation: quiet is not worth a site. A window whose place is not in
#   sight freezes nothing, since nothing moves there.
# scope: package
# labels:
#   policy: quiet_hours
package placement.quiet_hours

# METADATA
# title: Places that are left alone
# entrypoint: true
# custom:
#   reads: fleet
#   yields_to: [evacuate]
freeze contains {"kind": window.place.kind, "id": window.place.id, "until": window.to, "reason": $"quiet window {window.id}"} if {
	some window in data.fleet.windows
	window.kind == "quiet"
	window.open
	window.known
}
