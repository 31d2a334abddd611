# METADATA
# title: Change freeze
# description: |
#   Nothing moves at a site on a holiday (a window of kind holiday) where holidays is
#   true, and none outside change windows (kind change, for the fleet or for that site)
#   where outside_windows is true. It gives way to an evacuation.
# scope: package
# labels:
#   policy: change_freeze
package placement.change_freeze

params := data.params.change_freeze

may_change(site) if {
	some window in data.fleet.windows
	window.kind == "change"
	window.open
	covers(window.place, site)
}

covers(place, _) if place.kind == "fleet"

covers(place, site) if {
	place.kind == "site"
	place.id == site.id
}

# METADATA
# title: Sites where nothing is changed
# entrypoint: true
# custom:
#   reads: fleet
#   asked_if: [outside_windows, holidays]
#   yields_to: [evacuate]
freeze contains {"kind": "site", "id": site.id, "until": null, "reason": "outside the change windows"} if {
	params.outside_windows
	some site in data.fleet.sites
	not may_change(site)
}

freeze contains {"kind": "site", "id": site.id, "until": null, "reason": "a holiday"} if {
	params.holidays
	some site in data.fleet.sites
	site.local.holiday
}
