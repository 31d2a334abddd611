# METADATA
# title: NAME
# description: Empties the site of a firing alert of one name.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Sites to evacuate
# entrypoint: true
# custom:
#   reads: fleet
evacuate contains {"kind": "site", "id": alert.site, "deadline": alert.starts_at + params.within_s, "reason": $"alert {alert.name}"} if {
	some alert in data.fleet.alerts
	alert.status == "firing"
	alert.name == params.alert
	some site in data.fleet.sites
	alert.site == site.id
}
