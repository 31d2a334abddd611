# METADATA
# title: Licence domains
# description: |
#   A VM with a tag of category licence may run on the hosts that are licensed for it
#   alone: hosts lists their names by licence. A licence that hosts does not have is
#   good nowhere: such a VM stays where it is. It gives way to nothing, an evacuation
#   included: running without a licence is no way out.
# scope: package
# labels:
#   policy: licence_domains
package placement.licence_domains

params := data.params.licence_domains

licensed := {licence: ids |
	some licence, names in params.hosts
	ids := [host.id | some host in input.hosts; host.name in names]
}

# METADATA
# title: Hosts that a VM may be on
# entrypoint: true
# custom:
#   reads: cluster
allow_hosts contains {"vm": vm.id, "hosts": object.get(licensed, licence, []), "reason": $"licence {licence}"} if {
	some vm in input.marked[params.key]
	licence := object.get(vm.tags, params.key, "")
	licence != ""
}
