package vcenter

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/internal/strict"
)

// A record is one managed object as last reported. set takes the value of a
// property, nil where it is unset, and reports whether it knows the property.
type record interface {
	set(property string, val any) bool
	base() *common
}

// common is what every record has. References are moids.
type common struct {
	ref    types.ManagedObjectReference
	name   string
	parent types.ManagedObjectReference
	// missing are the properties that were refused, with the reason.
	missing []string
}

func (c *common) base() *common { return c }

func (c *common) set(p string, val any) bool {
	switch p {
	case "name":
		c.name = unescape(text(val))
	case "parent":
		c.parent, _ = val.(types.ManagedObjectReference)
	default:
		return false
	}
	return true
}

// refuse remembers that a property could not be read, or that now it can.
func (c *common) refuse(p, reason string) {
	c.missing = slices.DeleteFunc(c.missing, func(m string) bool { return strings.HasPrefix(m, p+":") })
	if reason != "" {
		c.missing = append(c.missing, p+": "+reason)
	}
}

// A place is a folder, a datacentre, or a switch.
type place struct {
	common

	vmFolder string // of a datacentre
	uuid     string // of a switch
	custom   []types.BaseCustomFieldValue
}

func (r *place) set(p string, val any) bool {
	switch p {
	case "vmFolder":
		r.vmFolder = moid(val)
	case "uuid":
		r.uuid = text(val)
	case "customValue":
		r.custom = customValues(val)
	default:
		return r.common.set(p, val)
	}
	return true
}

type compute struct {
	common

	pool   string
	evc    string
	config *types.ClusterConfigInfoEx // nil for a stand-alone host
	custom []types.BaseCustomFieldValue
}

func (r *compute) set(p string, val any) bool {
	switch p {
	case "resourcePool":
		r.pool = moid(val)
	case "summary.currentEVCModeKey":
		r.evc = text(val)
	case "customValue":
		r.custom = customValues(val)
	case "configurationEx":
		r.config = nil
		if c, ok := val.(types.ClusterConfigInfoEx); ok {
			r.config = &c
		}
	default:
		return r.common.set(p, val)
	}
	return true
}

type datastore struct {
	common

	summary types.DatastoreSummary
}

func (r *datastore) set(p string, val any) bool {
	if p != "summary" {
		return r.common.set(p, val)
	}
	r.summary, _ = val.(types.DatastoreSummary)
	return true
}

type network struct {
	common

	key    string // of a distributed port group, or of an opaque network
	dvs    string
	uplink bool
}

func (r *network) set(p string, val any) bool {
	switch p {
	case "key":
		r.key = text(val)
	case "config.distributedVirtualSwitch":
		r.dvs = moid(val)
	case "config.uplink":
		r.uplink = truth(val)
	case "summary":
		if s, ok := val.(types.OpaqueNetworkSummary); ok {
			r.key = s.OpaqueNetworkId
		}
	default:
		return r.common.set(p, val)
	}
	return true
}

type host struct {
	common

	connection  types.HostSystemConnectionState
	power       types.HostSystemPowerState
	standby     string
	maintenance bool
	hardware    types.HostHardwareSummary
	evcMax      string
	vmotion     bool // the summary's word for it
	canStandby  bool
	vsan        bool
	bmc         bool
	datastores  []string
	networks    []string
	custom      []types.BaseCustomFieldValue
	tasks       []types.ManagedObjectReference
	services    []types.VirtualNicManagerNetConfig
	net         hostNet
}

func (r *host) set(p string, val any) bool {
	switch p {
	case "runtime.connectionState":
		r.connection, _ = val.(types.HostSystemConnectionState)
	case "runtime.powerState":
		r.power, _ = val.(types.HostSystemPowerState)
	case "runtime.standbyMode":
		r.standby = text(val)
	case "runtime.inMaintenanceMode":
		r.maintenance = truth(val)
	case "summary.hardware":
		r.hardware, _ = val.(types.HostHardwareSummary)
	case "summary.maxEVCModeKey":
		r.evcMax = text(val)
	case "summary.config.vmotionEnabled":
		r.vmotion = truth(val)
	case "capability.standbySupported":
		r.canStandby = truth(val)
	case "config.vsanHostConfig":
		c, _ := val.(types.VsanHostConfigInfo)
		r.vsan = yes(c.Enabled)
	case "config.virtualNicManagerInfo":
		c, _ := val.(types.HostVirtualNicManagerInfo)
		r.services = c.NetConfig
	case "config.ipmi":
		c, _ := val.(types.HostIpmiInfo)
		r.bmc = c.BmcIpAddress != ""
	case "datastore":
		r.datastores = moids(val)
	case "network":
		r.networks = moids(val)
	case "customValue":
		r.custom = customValues(val)
	case "recentTask":
		r.tasks = refs(val)
	default:
		return r.net.set(p, val) || r.common.set(p, val)
	}
	return true
}

// hostNet is as much of a host's network as tells how fast its vMotion is.
type hostNet struct {
	pnics    []types.PhysicalNic
	vnics    []types.HostVirtualNic
	switches []types.HostVirtualSwitch
	proxies  []types.HostProxySwitch
	groups   []types.HostPortGroup
}

func (n *hostNet) set(p string, val any) bool {
	switch p {
	case "config.network.pnic":
		a, _ := val.(types.ArrayOfPhysicalNic)
		n.pnics = a.PhysicalNic
	case "config.network.vnic":
		a, _ := val.(types.ArrayOfHostVirtualNic)
		n.vnics = a.HostVirtualNic
	case "config.network.vswitch":
		a, _ := val.(types.ArrayOfHostVirtualSwitch)
		n.switches = a.HostVirtualSwitch
	case "config.network.proxySwitch":
		a, _ := val.(types.ArrayOfHostProxySwitch)
		n.proxies = a.HostProxySwitch
	case "config.network.portgroup":
		a, _ := val.(types.ArrayOfHostPortGroup)
		n.groups = a.HostPortGroup
	default:
		return false
	}
	return true
}

type vm struct {
	common

	pool, host, uuid, version, home string
	evc                             string
	vapp, template, tools           bool
	connection                      types.VirtualMachineConnectionState
	power                           types.VirtualMachinePowerState
	ft                              types.VirtualMachineFaultToleranceState
	heartbeat                       types.ManagedEntityStatus
	crypto                          string
	managed                         types.ManagedByInfo
	vcpus, memory                   int32
	reserveMHz, reserveMiB          int64
	latency, affinity, encrypted    bool
	snapshot, disabled              bool
	swap                            string
	dev                             devices
	layout                          []types.VirtualMachineFileLayoutExDiskLayout
	files                           []types.VirtualMachineFileLayoutExFileInfo
	extra                           [len(extraKeys)]engine.Obstacles // what each advanced setting says
	custom                          []types.BaseCustomFieldValue
	tasks                           []types.ManagedObjectReference
}

func (r *vm) set(p string, val any) bool {
	return r.setState(p, val) || r.setConfig(p, val) || r.common.set(p, val)
}

func (r *vm) setState(p string, val any) bool {
	switch p {
	case "resourcePool":
		r.pool = moid(val)
	case "parentVApp":
		r.vapp = moid(val) != ""
	case "disabledMethod":
		a, _ := val.(types.ArrayOfString)
		r.disabled = slices.Contains(a.String, "RelocateVM_Task")
	case "recentTask":
		r.tasks = refs(val)
	case "customValue":
		r.custom = customValues(val)
	case "snapshot":
		_, r.snapshot = val.(types.VirtualMachineSnapshotInfo)
	case "guestHeartbeatStatus":
		r.heartbeat, _ = val.(types.ManagedEntityStatus)
	case "runtime.host":
		r.host = moid(val)
	case "runtime.connectionState":
		r.connection, _ = val.(types.VirtualMachineConnectionState)
	case "runtime.powerState":
		r.power, _ = val.(types.VirtualMachinePowerState)
	case "runtime.faultToleranceState":
		r.ft, _ = val.(types.VirtualMachineFaultToleranceState)
	case "runtime.toolsInstallerMounted":
		r.tools = truth(val)
	case "runtime.minRequiredEVCModeKey":
		r.evc = text(val)
	case "runtime.cryptoState":
		r.crypto = text(val)
	case "layoutEx.disk":
		a, _ := val.(types.ArrayOfVirtualMachineFileLayoutExDiskLayout)
		r.layout = a.VirtualMachineFileLayoutExDiskLayout
	case "layoutEx.file":
		a, _ := val.(types.ArrayOfVirtualMachineFileLayoutExFileInfo)
		r.files = a.VirtualMachineFileLayoutExFileInfo
	default:
		return false
	}
	return true
}

func (r *vm) setConfig(p string, val any) bool {
	switch p {
	case "config.instanceUuid":
		r.uuid = strings.ToLower(text(val))
	case "config.template":
		r.template = truth(val)
	case "config.version":
		r.version = text(val)
	case "config.managedBy":
		r.managed, _ = val.(types.ManagedByInfo)
	case "config.hardware.numCPU":
		r.vcpus, _ = val.(int32)
	case "config.hardware.memoryMB":
		r.memory, _ = val.(int32)
	case "config.hardware.device":
		a, _ := val.(types.ArrayOfVirtualDevice)
		r.dev = readDevices(a.VirtualDevice)
	case "config.cpuAllocation":
		r.reserveMHz = reservation(val)
	case "config.memoryAllocation":
		r.reserveMiB = reservation(val)
	case "config.latencySensitivity":
		l, _ := val.(types.LatencySensitivity)
		r.latency = l.Level == types.LatencySensitivitySensitivityLevelHigh
	case "config.cpuAffinity":
		a, _ := val.(types.VirtualMachineAffinityInfo)
		r.affinity = len(a.AffinitySet) > 0
	case "config.keyId":
		_, r.encrypted = val.(types.CryptoKeyId)
	case "config.swapPlacement":
		r.swap = text(val)
	case "config.files.vmPathName":
		r.home = text(val)
	default:
		return r.setExtra(p, val)
	}
	return true
}

// setExtra takes one advanced setting, or all of them.
func (r *vm) setExtra(p string, val any) bool {
	if p == extraAll {
		all, _ := val.(types.ArrayOfOptionValue)
		clear(r.extra[:])
		for _, o := range all.OptionValue {
			v := o.GetOptionValue()
			for i := range extraKeys {
				if extraKeys[i].key == v.Key {
					r.setSlot(i, v.Value)
				}
			}
		}
		return true
	}
	for i := range extraKeys {
		if extraPath(extraKeys[i].key) == p {
			o, _ := val.(types.OptionValue)
			r.setSlot(i, o.Value)
			return true
		}
	}
	return false
}

func (r *vm) setSlot(i int, value any) {
	r.extra[i] = 0
	if value != nil && extraKeys[i].when(fmt.Sprint(value)) {
		r.extra[i] = extraKeys[i].obstacle
	}
}

func newRecord(ref types.ManagedObjectReference) record {
	c := common{ref: ref}
	switch ref.Type {
	case "VirtualMachine":
		return &vm{common: c}
	case "HostSystem":
		return &host{common: c}
	case "ComputeResource", "ClusterComputeResource":
		return &compute{common: c}
	case "Datastore":
		return &datastore{common: c}
	case "Network", "DistributedVirtualPortgroup", "OpaqueNetwork":
		return &network{common: c}
	case "Folder", "Datacenter", "StoragePod", "DistributedVirtualSwitch", "VmwareDistributedVirtualSwitch":
		return &place{common: c}
	}
	return nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func truth(v any) bool {
	b, _ := v.(bool)
	return b
}

func yes(b *bool) bool { return b != nil && *b }

func moid(v any) string {
	r, _ := v.(types.ManagedObjectReference)
	return r.Value
}

func refs(v any) []types.ManagedObjectReference {
	a, _ := v.(types.ArrayOfManagedObjectReference)
	return a.ManagedObjectReference
}

func moids(v any) []string {
	rs := refs(v)
	out := make([]string, len(rs))
	for i := range rs {
		out[i] = rs[i].Value
	}
	return out
}

func customValues(v any) []types.BaseCustomFieldValue {
	a, _ := v.(types.ArrayOfCustomFieldValue)
	return a.CustomFieldValue
}

func reservation(v any) int64 {
	a, _ := v.(types.ResourceAllocationInfo)
	if a.Reservation == nil {
		return 0
	}
	return *a.Reservation
}

// unescape undoes vCenter's escaping of the three characters that its paths use.
// What cannot be seen in a name is written out: it must not rewrite the line of a
// log or a terminal.
func unescape(s string) string {
	if strings.Contains(s, "%") {
		s = strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`, "%25", "%").Replace(s)
	}
	return strict.Escape(s)
}

// dir is the folder of a datastore path such as "[ds1] web/web.vmdk".
func dir(file string) string {
	if file == "" {
		return ""
	}
	return path.Dir(file)
}
