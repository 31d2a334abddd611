# METADATA
# title: NAME
# description: Nothing moves at weekends.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Sites where nothing moves
# entrypoint: true
# custom:
#   reads: fleet
#   yields_to: [evacuate]
freeze contains {"kind": "site", "id": site.id, "until": null, "reason": $"it is {site.local.weekday}"} if {
	some site in data.fleet.sites
	site.local.weekday in params.days
}
