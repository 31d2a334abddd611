# METADATA
# title: NAME
# description: VMs of one application are worth more at one site.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Where VMs are worth more
# entrypoint: true
# custom:
#   reads: cluster
prefer contains {"vm": vm.id, "kind": "site", "id": site.id, "eur_per_h": params.eur_per_h, "reason": $"application {params.app} is at home at {params.site}"} if {
	some site in data.fleet.sites
	site.id == params.site
	some vm in input.vms
	object.get(vm.tags, "app", "") == params.app
}
