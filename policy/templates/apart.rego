# METADATA
# title: NAME
# description: VMs of one application are kept on different hosts.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: VMs that share no host
# entrypoint: true
# custom:
#   reads: cluster
apart contains {"group": app, "vm": vm.id, "scope": params.scope, "reason": $"application {app} is to survive the loss of one {params.scope}"} if {
	some vm in input.vms
	app := object.get(vm.tags, "app", "")
	app in params.apps
}
