# METADATA
# title: Data sovereignty
# description: |
#   A VM with a tag of category residency may be at sites of that region alone. A
#   region that no site has leaves no site: such a VM stays where it is. It gives
#   way to nothing, an evacuation included.
# scope: package
# labels:
#   policy: sovereignty
package placement.sovereignty

regions := {site.region | some site in data.fleet.places}

allowed := {region: sites |
	some region in regions
	sites := [site.id | some site in data.fleet.places; site.region == region]
}

# METADATA
# title: Sites that a VM may be at
# entrypoint: true
# custom:
#   reads: cluster
allow_sites contains {"vm": vm.id, "sites": object.get(sites_of, vm.residency, []), "reason": $"residency {vm.residency}"} if {
	sites_of := allowed
	some vm in input.marked.residency
	vm.residency != "any"
}
