package lab

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A size is a kind of VM that a lab holds.
type size struct {
	weight, vcpus   int
	memGiB, diskGiB int64
}

// sizes are the kinds: mostly small, a few large, as fleets are.
var sizes = []size{{20, 1, 4, 12}, {30, 2, 8, 16}, {25, 4, 16, 24}, {15, 8, 32, 48}, {10, 4, 24, 40}}

// roles give VMs their names, in turn.
var roles = []string{"web", "app", "db", "batch", "cache", "mail", "vdi", "ci"}

// VMName is the name of a cluster's n-th VM, from 0.
func VMName(cluster string, n int) string {
	return fmt.Sprintf("%s-%s%03d", cluster, roles[n%len(roles)], n)
}

// addVMs fills the clusters of a site, host by host in turn.
func (l *Lab) addVMs(site int) {
	for ci, c := range l.clusters {
		if c.site != site {
			continue
		}
		hosts := l.hostsOf(ci)
		for n := range c.cfg.VMs {
			l.addVM(VMName(c.cfg.Name, n), l.hosts[hosts[n%len(hosts)]], n)
		}
	}
}

func (l *Lab) hostsOf(cluster int) (out []int) {
	for i, h := range l.hosts {
		if h.cluster == cluster {
			out = append(out, i)
		}
	}
	return out
}

// addVM draws a VM's size and adds it to the host.
func (l *Lab) addVM(name string, h *host, n int) {
	draw := int(l.hash("size", name) % 100)
	kind := sizes[0]
	for _, s := range sizes {
		kind = s
		if draw -= s.weight; draw < 0 {
			break
		}
	}
	shared := l.sharedStores(h)
	home := shared[n%len(shared)]
	m := &machine{
		host: h.index, vc: h.vc, name: name, on: true, vcpus: kind.vcpus, mem: kind.memGiB << 10, home: home, level: l.bootLevel(h),
		base: 0.45 + 0.35*l.unit("base", name), hot: math.Exp2(2*l.unit("hot", name) - 1),
	}
	m.disks = append(m.disks, l.newDisk(name, 2000, kind.diskGiB, home))
	if kind.diskGiB >= 48 {
		m.disks = append(m.disks, l.newDisk(name, 2001, kind.diskGiB/2, home))
	}
	segments := h.segments
	m.nics = append(m.nics, nic{key: 4000, segment: segments[l.hash("segment", name)%uint64(len(segments))], mac: mac(2*len(l.machines) + 2)})
	if n%16 == 5 {
		m.nics = append(m.nics, nic{key: 4001, segment: segments[0], mac: mac(2*len(l.machines) + 3)})
	}
	m.tags = append(m.tags, "criticality:"+[]string{"4-low", "3-normal", "3-normal", "3-normal", "2-high", "1-critical"}[l.hash("criticality", name)%6], "home_site:"+l.sites[h.site].Name)
	l.place(m)
}

// newDisk draws how much of a disk is used; two disks of three are thin.
func (l *Lab) newDisk(name string, key int32, gib int64, home int) disk {
	id := fmt.Sprint(name, key)
	d := disk{key: key, mib: gib << 10, thin: l.hash("thin", id)%3 > 0, store: home}
	d.used = d.mib
	if d.thin {
		d.used = int64(float64(d.mib) * (0.3 + 0.5*l.unit("used", id)))
	}
	return d
}

func (l *Lab) sharedStores(h *host) (out []int) {
	for _, s := range h.stores {
		if l.stores[s].shared {
			out = append(out, s)
		}
	}
	return out
}

// bootLevel is the CPU level that a guest sees that boots on the host.
func (l *Lab) bootLevel(h *host) int {
	if level := l.clusters[h.cluster].evc; level > 0 {
		return level
	}
	return h.cfg.level()
}

// addAgent adds the cluster's vCLS agent: small, powered on, not ours.
func (l *Lab) addAgent(ci int) {
	hosts := l.hostsOf(ci)
	h := l.hosts[hosts[0]]
	id := l.uuid("vcls", l.clusters[ci].cfg.Name)
	home := l.sharedStores(h)[0]
	m := &machine{
		host: h.index, vc: h.vc, name: "vCLS-" + id, on: true, agent: true, vcpus: 1, mem: 128, home: home, level: l.bootLevel(h), base: 0.3, hot: 1,
		disks: []disk{{key: 2000, mib: 2 << 10, used: 400, thin: true, store: home}}, fixtures: []string{"agent"},
	}
	l.place(m)
	m.obj.Config.ManagedBy = &types.ManagedByInfo{ExtensionKey: "com.vmware.vim.eam", Type: "cluster-agent"}
	m.obj.Config.ExtraConfig = append(m.obj.Config.ExtraConfig, &types.OptionValue{Key: "HDCS.agent", Value: "true"})
}

// place makes the VM's object and registers it at its vCenter.
func (l *Lab) place(m *machine) {
	m.index = len(l.machines)
	m.uuid = l.uuid("instance", m.name)
	l.machines = append(l.machines, m)
	h := l.hosts[m.host]
	m.obj = l.newObject(m, l.uuid("bios", m.name))
	c := l.clusters[h.cluster]
	m.obj.ResourcePool = &c.pool
	m.obj.Parent = &m.vc.vmFolder.Self
	m.vc.registry().Put(m.obj)
	m.obj.Summary.Vm = &m.obj.Self
	for i := range m.disks {
		l.stores[m.disks[i].store].used += m.disks[i].used
	}
	ref := m.obj.Self
	m.vc.vmFolder.ChildEntity = append(m.vc.vmFolder.ChildEntity, ref)
	h.obj.Vm = append(h.obj.Vm, ref)
	pool := lookup[*simulator.ResourcePool](m.vc.registry(), c.pool)
	pool.Vm = append(pool.Vm, ref)
	for _, s := range m.stores() {
		l.stores[s].obj.Vm = append(l.stores[s].obj.Vm, ref)
	}
	for _, n := range m.obj.Network {
		if o := m.vc.netObject(n); o != nil {
			o.Vm = append(o.Vm, ref)
		}
	}
}

// newObject makes the vSphere object of a VM, as its vCenter shows it.
func (l *Lab) newObject(m *machine, bios string) *simulator.VirtualMachine {
	o := &simulator.VirtualMachine{}
	o.Name = m.name
	path := l.vmxPath(m)
	allocation := func(reserve int64) *types.ResourceAllocationInfo {
		return &types.ResourceAllocationInfo{
			Reservation: &reserve, Limit: types.NewInt64(-1), ExpandableReservation: new(false), Shares: &types.SharesInfo{Shares: 1000, Level: types.SharesLevelNormal},
		}
	}
	created := l.now.Add(-200 * 24 * time.Hour)
	o.Config = &types.VirtualMachineConfigInfo{
		ChangeVersion: "1", Modified: created, CreateDate: &created, Name: m.name, GuestFullName: "Other (64-bit)", GuestId: "otherGuest64", Version: "vmx-19",
		Uuid: bios, InstanceUuid: m.uuid, Template: m.template, Files: types.VirtualMachineFileInfo{VmPathName: path},
		Tools: &types.ToolsConfigInfo{}, Flags: types.VirtualMachineFlagInfo{}, SwapPlacement: "inherit",
		Hardware:      types.VirtualHardware{NumCPU: int32(m.vcpus), NumCoresPerSocket: types.NewInt32(1), MemoryMB: int32(m.mem), Device: l.devices(m)},
		CpuAllocation: allocation(0), MemoryAllocation: allocation(m.reserve),
		LatencySensitivity: &types.LatencySensitivity{Level: types.LatencySensitivitySensitivityLevelNormal},
		ExtraConfig:        []types.BaseOptionValue{&types.OptionValue{Key: "ctkEnabled", Value: "FALSE"}},
	}
	h := l.hosts[m.host]
	power := types.VirtualMachinePowerStatePoweredOff
	if m.on {
		power = types.VirtualMachinePowerStatePoweredOn
	}
	o.Runtime = types.VirtualMachineRuntimeInfo{
		Host: &h.obj.Self, ConnectionState: types.VirtualMachineConnectionStateConnected, PowerState: power, MaxCpuUsage: int32(m.vcpus * h.cfg.MHzPerCore), MaxMemoryUsage: int32(m.mem),
		BootTime: &created, MinRequiredEVCModeKey: EVCModes[m.level-1], FaultToleranceState: types.VirtualMachineFaultToleranceStateNotConfigured,
	}
	o.Summary = types.VirtualMachineSummary{
		Runtime: o.Runtime, OverallStatus: types.ManagedEntityStatusGreen,
		Config: types.VirtualMachineConfigSummary{
			Name: m.name, Template: m.template, VmPathName: path, MemorySizeMB: int32(m.mem), NumCpu: int32(m.vcpus), NumEthernetCards: int32(len(m.nics)), NumVirtualDisks: int32(len(m.disks)),
			Uuid: bios, InstanceUuid: m.uuid, GuestId: o.Config.GuestId, GuestFullName: o.Config.GuestFullName, HwVersion: o.Config.Version, MemoryReservation: int32(m.reserve),
		},
		Guest: &types.VirtualMachineGuestSummary{GuestId: o.Config.GuestId, ToolsStatus: types.VirtualMachineToolsStatusToolsOk, HostName: m.name},
	}
	o.Guest = &types.GuestInfo{GuestState: "running", ToolsStatus: types.VirtualMachineToolsStatusToolsOk, ToolsRunningStatus: "guestToolsRunning", HostName: m.name}
	o.GuestHeartbeatStatus = types.ManagedEntityStatusGreen
	l.showStorage(m, o)
	l.showNetworks(m, o)
	return o
}

func (l *Lab) vmxPath(m *machine) string {
	return fmt.Sprintf("[%s] %s/%s.vmx", l.stores[m.home].name, m.name, m.name)
}

// devices are the VM's controllers, disks and network cards.
func (l *Lab) devices(m *machine) []types.BaseVirtualDevice {
	scsi := &types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{SharedBus: types.VirtualSCSISharingNoSharing}}
	scsi.Key, scsi.DeviceInfo = 1000, &types.Description{Label: "SCSI controller 0", Summary: "VMware paravirtual SCSI"}
	ide := &types.VirtualIDEController{}
	ide.Key, ide.DeviceInfo = 200, &types.Description{Label: "IDE 0", Summary: "IDE 0"}
	out := []types.BaseVirtualDevice{ide, scsi}
	for i := range m.disks {
		d := &m.disks[i]
		unit := int32(i)
		v := &types.VirtualDisk{CapacityInKB: d.mib << 10, CapacityInBytes: d.mib << 20, DiskObjectId: fmt.Sprintf("%d-%d", m.index+1, d.key)}
		v.Key, v.ControllerKey, v.UnitNumber = d.key, 1000, &unit
		v.DeviceInfo = &types.Description{Label: fmt.Sprintf("Hard disk %d", i+1), Summary: fmt.Sprintf("%d KB", v.CapacityInKB)}
		v.Backing = &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: l.diskPath(m, i), Datastore: &l.stores[d.store].obj.Self},
			DiskMode:                     string(types.VirtualDiskModePersistent), ThinProvisioned: &d.thin, Sharing: string(types.VirtualDiskSharingSharingNone),
			Uuid: l.uuid("disk", m.name, fmt.Sprint(d.key)),
		}
		out = append(out, v)
	}
	for i := range m.nics {
		n := &m.nics[i]
		v := &types.VirtualVmxnet3{}
		v.Key, v.MacAddress, v.AddressType = n.key, n.mac, "assigned"
		v.DeviceInfo = &types.Description{Label: fmt.Sprintf("Network adapter %d", i+1), Summary: n.segment}
		v.Connectable = &types.VirtualDeviceConnectInfo{Connected: true, StartConnected: true, Status: "ok"}
		v.Backing = m.vc.backing(n.segment)
		out = append(out, v)
	}
	return out
}

func (l *Lab) diskPath(m *machine, i int) string {
	suffix := ""
	if i > 0 {
		suffix = fmt.Sprintf("_%d", i)
	}
	return fmt.Sprintf("[%s] %s/%s%s.vmdk", l.stores[m.disks[i].store].name, m.name, m.name, suffix)
}

// backing connects a card to the segment's port group at this vCenter.
func (v *vcenter) backing(segment string) types.BaseVirtualDeviceBackingInfo {
	ref := v.network[segment]
	if v.dvs != nil {
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: v.dvs.Uuid, PortgroupKey: ref.Value}}
	}
	return &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: segment}, Network: &ref}
}

// segmentOf is the segment that a card's backing leads to here, "" when there is none.
func (v *vcenter) segmentOf(b types.BaseVirtualDeviceBackingInfo) string {
	var value, name string
	switch x := b.(type) {
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		value = x.Port.PortgroupKey
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if name = x.DeviceName; x.Network != nil {
			value = x.Network.Value
		}
	}
	for s, ref := range v.network { // at most one can match
		if (value != "" && ref.Value == value) || (value == "" && s == name) {
			return s
		}
	}
	return ""
}

// showStorage sets what the VM's object says about space and datastores.
func (l *Lab) showStorage(m *machine, o *simulator.VirtualMachine) {
	var committed, uncommitted int64
	o.Datastore = nil
	storage := &types.VirtualMachineStorageInfo{Timestamp: l.now}
	for _, s := range m.stores() {
		u := types.VirtualMachineUsageOnDatastore{Datastore: l.stores[s].obj.Self}
		for _, d := range m.disks {
			if d.store == s {
				u.Committed += d.used << 20
				u.Uncommitted += (d.mib - d.used) << 20
			}
		}
		u.Unshared = u.Committed
		committed, uncommitted = committed+u.Committed, uncommitted+u.Uncommitted
		storage.PerDatastoreUsage = append(storage.PerDatastoreUsage, u)
		o.Datastore = append(o.Datastore, u.Datastore)
	}
	o.Storage = storage
	o.Summary.Storage = &types.VirtualMachineStorageSummary{Committed: committed, Uncommitted: uncommitted, Unshared: committed, Timestamp: l.now}
	o.LayoutEx = l.layout(m)
}

// layout lists the VM's files.
func (l *Lab) layout(m *machine) *types.VirtualMachineFileLayoutEx {
	x := &types.VirtualMachineFileLayoutEx{Timestamp: l.now}
	x.File = append(x.File, types.VirtualMachineFileLayoutExFileInfo{Key: 0, Name: l.vmxPath(m), Type: "config", Size: 4096, UniqueSize: 4096})
	for i := range m.disks {
		key := int32(i + 1)
		size := m.disks[i].used << 20
		x.File = append(x.File, types.VirtualMachineFileLayoutExFileInfo{Key: key, Name: l.diskPath(m, i), Type: "diskExtent", Size: size, UniqueSize: size})
		x.Disk = append(x.Disk, types.VirtualMachineFileLayoutExDiskLayout{Key: m.disks[i].key, Chain: []types.VirtualMachineFileLayoutExDiskUnit{{FileKey: []int32{key}}}})
	}
	return x
}

// showNetworks sets the VM's networks from its cards.
func (l *Lab) showNetworks(m *machine, o *simulator.VirtualMachine) {
	o.Network = nil
	for _, n := range m.nics {
		if ref, ok := m.vc.network[n.segment]; ok && !slices.Contains(o.Network, ref) {
			o.Network = append(o.Network, ref)
		}
	}
}

// showSpace sets a datastore's free space. Reservations by moves in flight are
// space that is gone.
func (l *Lab) showSpace(s *store) {
	s.obj.Summary.FreeSpace = max(s.free(), 0) << 20
	if info, ok := s.obj.Info.(*types.VmfsDatastoreInfo); ok {
		info.FreeSpace = s.obj.Summary.FreeSpace
	}
}

func (l *Lab) findVM(name string) *machine {
	for _, m := range l.machines {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (l *Lab) findHost(name string) *host {
	for _, h := range l.hosts {
		if h.name == name || strings.TrimSuffix(h.name, ".lab") == name {
			return h
		}
	}
	return nil
}

// vmMoid names a VM that arrives from another vCenter, apart from those that the registry names.
func vmMoid(n int64) string { return fmt.Sprintf("vm-x%d", n) }
