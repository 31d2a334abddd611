package vcenter

import (
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// The types that make up the topology. A view of them includes their sub-types.
var viewKinds = []string{
	"Datacenter", "Folder", "ComputeResource", "ClusterComputeResource", "HostSystem", "Datastore",
	"Network", "DistributedVirtualPortgroup", "OpaqueNetwork", "DistributedVirtualSwitch", "VmwareDistributedVirtualSwitch", "VirtualMachine",
}

// extraKeys are the advanced settings that say something about moving a VM.
var extraKeys = [...]struct {
	key      string
	obstacle engine.Obstacles
	when     func(value string) bool
}{
	{"hbr_filter.configured", engine.ObReplicated, isTrue},
	{"hbr_filter.rdid", engine.ObReplicated, notEmpty},
	{"hbr_filter.gid", engine.ObReplicated, notEmpty},
	{"hbr_filter.destination", engine.ObReplicated, notEmpty},
	{"HDCS.agent", engine.ObAgent, isTrue}, // the mark of a vCLS VM
	{"migration.disabled", engine.ObMigrationOff, isTrue},
	{"migrate.enable", engine.ObMigrationOff, isFalse},
}

func isTrue(v string) bool   { return strings.EqualFold(v, "true") || v == "1" }
func isFalse(v string) bool  { return strings.EqualFold(v, "false") || v == "0" }
func notEmpty(v string) bool { return v != "" }

// extraPath is the property path of one advanced setting.
func extraPath(key string) string { return `config.extraConfig["` + key + `"]` }

// extraAll is the whole list of them, which a VM's tools change every few
// seconds: watched only where the server does not take paths with keys.
const extraAll = "config.extraConfig"

var vmPaths = []string{
	"name", "parent", "resourcePool", "parentVApp", "disabledMethod", "recentTask", "customValue", "snapshot", "guestHeartbeatStatus",
	"runtime.host", "runtime.connectionState", "runtime.powerState", "runtime.faultToleranceState", "runtime.toolsInstallerMounted", "runtime.cryptoState", "runtime.minRequiredEVCModeKey",
	"config.instanceUuid", "config.template", "config.version", "config.managedBy", "config.hardware.numCPU", "config.hardware.memoryMB",
	"config.hardware.device", "config.cpuAllocation", "config.memoryAllocation", "config.latencySensitivity", "config.cpuAffinity", "config.keyId",
	"config.swapPlacement", "config.files.vmPathName", "layoutEx.disk", "layoutEx.file",
}

var hostPaths = []string{
	"name", "parent", "recentTask", "customValue", "datastore", "network",
	"runtime.connectionState", "runtime.powerState", "runtime.standbyMode", "runtime.inMaintenanceMode",
	"summary.hardware", "summary.maxEVCModeKey", "summary.config.vmotionEnabled", "capability.standbySupported",
	"config.virtualNicManagerInfo", "config.vsanHostConfig", "config.ipmi", "config.network.pnic", "config.network.vnic", "config.network.vswitch",
	"config.network.proxySwitch", "config.network.portgroup",
}

// watched is what is watched of each type. keyed says whether the server takes
// paths with keys.
func watched(keyed bool) []types.PropertySpec {
	vm := vmPaths
	if keyed {
		for _, k := range extraKeys {
			vm = append(vm[:len(vm):len(vm)], extraPath(k.key))
		}
	} else {
		vm = append(vm[:len(vm):len(vm)], extraAll)
	}
	compute := []string{"name", "parent", "resourcePool", "customValue"}
	network := []string{"name"}
	return []types.PropertySpec{
		{Type: "Datacenter", PathSet: []string{"name", "parent", "vmFolder", "customValue"}},
		{Type: "Folder", PathSet: []string{"name", "parent"}},
		{Type: "ComputeResource", PathSet: compute},
		{Type: "ClusterComputeResource", PathSet: []string{"configurationEx", "summary.currentEVCModeKey"}},
		{Type: "HostSystem", PathSet: hostPaths},
		{Type: "Datastore", PathSet: []string{"name", "summary"}},
		{Type: "Network", PathSet: network},
		{Type: "DistributedVirtualPortgroup", PathSet: []string{"key", "config.distributedVirtualSwitch", "config.uplink"}},
		{Type: "OpaqueNetwork", PathSet: []string{"summary"}},
		{Type: "DistributedVirtualSwitch", PathSet: []string{"uuid"}},
		{Type: "VirtualMachine", PathSet: vm},
	}
}

// quiet are the properties whose change alone is no reason to wake the loop:
// they change without anyone acting, or tell a story that is told elsewhere.
var quiet = map[string]bool{
	"layoutEx.disk": true, "layoutEx.file": true, "recentTask": true, "summary": true, "customValue": true, "guestHeartbeatStatus": true,
	"summary.currentEVCModeKey": true, "disabledMethod": true, extraAll: true, "config.network.pnic": true,
}
