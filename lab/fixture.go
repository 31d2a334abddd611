package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// FixtureNames are the fixtures of VMs: each sets the field of vSphere that a
// preflight check has to read.
var FixtureNames = []string{
	"passthrough", "vgpu", "usb", "client_cd", "local_iso", "physical_rdm", "independent_disk", "multi_writer", "shared_bus", "disk_snapshot",
	"linked_clone", "fault_tolerance", "vapp", "disabled_relocate", "migration_off", "tools_installer", "agent", "managed_by", "replicated", "latency_high", "encrypted",
	"vtpm", "cpu_affinity", "orphaned", "disconnected", "duplicate_mac", "missing_network", "template", "powered_off", "suspended", "storage_policy",
	"old_hardware", "no_heartbeat", "unshared_swap", "big_disk", "pinned", "advise", "tag", "attribute",
}

// HostFixtureNames are the fixtures of hosts.
var HostFixtureNames = []string{
	"host_maintenance", "host_standby", "host_usb", "host_vsan", "host_no_vmotion", "host_disconnected", "host_no_wake",
}

// applyFixtures applies the configuration's fixtures, in order.
func (l *Lab) applyFixtures() error {
	for _, f := range l.cfg.Fixtures {
		if f.Host != "" && f.VM == "" {
			h := l.findHost(f.Host)
			if h == nil {
				return fmt.Errorf("fixture %s: no host %s", f.Name, f.Host)
			}
			l.fixHost(h, f.Name)
			continue
		}
		m := l.findVM(f.VM)
		if m == nil {
			return fmt.Errorf("fixture %s: no VM %s", f.Name, f.VM)
		}
		if err := l.fixVM(m, f.Name, f.Value); err != nil {
			return fmt.Errorf("fixture %s of %s: %w", f.Name, f.VM, err)
		}
	}
	return nil
}

// fixHost gives a host its fixture. The state of a host that nobody marked is a person's.
func (l *Lab) fixHost(h *host, name string) {
	o := h.obj
	switch name {
	case "host_maintenance":
		h.maint, o.Runtime.InMaintenanceMode = true, true
	case "host_standby":
		h.phase = hostAsleep
		o.Runtime.PowerState, o.Runtime.StandbyMode = types.HostSystemPowerStateStandBy, string(types.HostStandbyModeIn)
		o.Runtime.ConnectionState = types.HostSystemConnectionStateNotResponding
	case "host_usb":
		o.Config.PciPassthruInfo = append(o.Config.PciPassthruInfo, &types.HostPciPassthruInfo{Id: "0000:00:14.0", DependentDevice: "0000:00:14.0", PassthruEnabled: true, PassthruCapable: true, PassthruActive: true})
		if vms := l.machinesOn(h.index); len(vms) > 0 {
			addDevice(l.machines[vms[0]], usbDevice())
			l.machines[vms[0]].fixtures = append(l.machines[vms[0]].fixtures, "usb")
		}
		return
	case "host_vsan":
		h.vsan, o.Config.VsanHostConfig.Enabled = true, new(true)
	case "host_no_vmotion":
		h.vmotion, o.Summary.Config.VmotionEnabled = false, false
		o.Config.VirtualNicManagerInfo.NetConfig[0].SelectedVnic = nil
	case "host_disconnected":
		h.unplug, o.Runtime.ConnectionState = true, types.HostSystemConnectionStateDisconnected
	case "host_no_wake":
		h.nowake, o.Config.Ipmi = true, nil
		o.Config.Network.Pnic[0].WakeOnLanSupported = false
	}
	if h.maint || h.phase != hostUp {
		l.vacate(h)
	}
}

// vacate spreads the host's VMs over its cluster, before the lab begins.
func (l *Lab) vacate(h *host) {
	for _, i := range l.machinesOn(h.index) {
		if to := l.roomiest(l.clusters[h.cluster], l.machines[i], h); to != nil {
			l.setHost(l.machines[i], to)
		}
	}
}

func (l *Lab) machinesOn(h int) (out []int) {
	for i, m := range l.machines {
		if m.host == h {
			out = append(out, i)
		}
	}
	return out
}

func addDevice(m *machine, d types.BaseVirtualDevice) {
	m.obj.Config.Hardware.Device = append(m.obj.Config.Hardware.Device, d)
}

func usbDevice() types.BaseVirtualDevice {
	d := &types.VirtualUSB{Connected: true, Vendor: 0x1234, Product: 0x5678}
	d.Key, d.DeviceInfo = 10000, &types.Description{Label: "USB 1", Summary: "licence dongle"}
	d.Backing = &types.VirtualUSBUSBBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "path:1/0/1"}}
	return d
}

func cdrom(b types.BaseVirtualDeviceBackingInfo) types.BaseVirtualDevice {
	d := &types.VirtualCdrom{}
	d.Key, d.ControllerKey, d.Backing = 3000, 200, b
	d.DeviceInfo = &types.Description{Label: "CD/DVD drive 1"}
	d.Connectable = &types.VirtualDeviceConnectInfo{Connected: true, StartConnected: true, AllowGuestControl: true}
	return d
}

func passthroughDevice(b types.BaseVirtualDeviceBackingInfo) types.BaseVirtualDevice {
	d := &types.VirtualPCIPassthrough{}
	d.Key, d.Backing = 13000, b
	d.DeviceInfo = &types.Description{Label: "PCI device 0"}
	return d
}

// firstDisk is the VM's first disk and its backing.
func (m *machine) firstDisk() (*types.VirtualDisk, *types.VirtualDiskFlatVer2BackingInfo) {
	for _, d := range m.obj.Config.Hardware.Device {
		if v, ok := d.(*types.VirtualDisk); ok {
			b, _ := v.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			return v, b
		}
	}
	return nil, nil
}

func (m *machine) setExtra(key, value string) {
	m.obj.Config.ExtraConfig = append(m.obj.Config.ExtraConfig, &types.OptionValue{Key: key, Value: value})
}

// fixVM gives a VM its fixture.
func (l *Lab) fixVM(m *machine, name, value string) error {
	o, cfg := m.obj, m.obj.Config
	if name != "tag" && name != "attribute" { // they bind nothing by themselves
		m.fixtures = append(m.fixtures, name)
	}
	v, flat := m.firstDisk()
	switch name {
	case "passthrough":
		addDevice(m, passthroughDevice(&types.VirtualPCIPassthroughDeviceBackingInfo{Id: "0000:3b:00.0", DeviceId: "10fb", VendorId: 0x1af4, SystemId: o.Config.Uuid}))
	case "vgpu":
		addDevice(m, passthroughDevice(&types.VirtualPCIPassthroughVmiopBackingInfo{Vgpu: "grid_a100-8c"}))
	case "usb":
		addDevice(m, usbDevice())
	case "client_cd":
		addDevice(m, cdrom(&types.VirtualCdromRemotePassthroughBackingInfo{VirtualDeviceRemoteDeviceBackingInfo: types.VirtualDeviceRemoteDeviceBackingInfo{DeviceName: "client"}}))
	case "local_iso":
		addDevice(m, cdrom(&types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[local-" + m.vc.name + "] iso/install.iso"}}))
	case "physical_rdm":
		v.Backing = &types.VirtualDiskRawDiskMappingVer1BackingInfo{VirtualDeviceFileBackingInfo: flat.VirtualDeviceFileBackingInfo, LunUuid: "0200" + o.Config.Uuid, CompatibilityMode: string(types.VirtualDiskCompatibilityModePhysicalMode), DiskMode: string(types.VirtualDiskModeIndependent_persistent)}
	case "independent_disk":
		flat.DiskMode = string(types.VirtualDiskModeIndependent_nonpersistent)
	case "multi_writer":
		flat.Sharing = string(types.VirtualDiskSharingSharingMultiWriter)
	case "shared_bus":
		for _, d := range cfg.Hardware.Device {
			if c, ok := d.(*types.ParaVirtualSCSIController); ok {
				c.SharedBus = types.VirtualSCSISharingPhysicalSharing
			}
		}
	case "disk_snapshot":
		l.addSnapshot(m)
	case "linked_clone":
		flat.Parent = &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[" + l.stores[m.home].name + "] golden/golden.vmdk", Datastore: &l.stores[m.home].obj.Self}, DiskMode: string(types.VirtualDiskModePersistent)}
	case "fault_tolerance":
		o.Runtime.FaultToleranceState, o.Summary.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateRunning, types.VirtualMachineFaultToleranceStateRunning
		cfg.FtInfo = &types.FaultTolerancePrimaryConfigInfo{FaultToleranceConfigInfo: types.FaultToleranceConfigInfo{Role: 1, InstanceUuids: []string{m.uuid, l.uuid("ft", m.name)}}}
	case "vapp":
		cfg.VAppConfig = &types.VmConfigInfo{InstallBootStopDelay: 0, InstallBootRequired: false}
		app := types.ManagedObjectReference{Type: "VirtualApp", Value: "resgroup-v1"}
		o.ParentVApp = &app
	case "disabled_relocate":
		o.DisabledMethod = append(o.DisabledMethod, "RelocateVM_Task", "MigrateVM_Task")
	case "migration_off":
		m.setExtra("migration.disabled", "TRUE")
	case "tools_installer":
		o.Runtime.ToolsInstallerMounted, o.Summary.Runtime.ToolsInstallerMounted = true, true
	case "agent":
		m.agent = true
		cfg.ManagedBy = &types.ManagedByInfo{ExtensionKey: "com.vmware.vim.eam", Type: "cluster-agent"}
	case "managed_by":
		cfg.ManagedBy = &types.ManagedByInfo{ExtensionKey: "com.vmware.vcDr", Type: "placeholderVm"}
		o.Summary.Config.ManagedBy = cfg.ManagedBy
	case "replicated":
		m.setExtra("hbr_filter.configured", "true")
		m.setExtra("hbr_filter.gid", "GID-"+m.uuid)
	case "latency_high":
		cfg.LatencySensitivity.Level = types.LatencySensitivitySensitivityLevelHigh
	case "encrypted":
		cfg.KeyId = &types.CryptoKeyId{KeyId: l.uuid("key", m.name), ProviderId: &types.KeyProviderId{Id: "lab-kms"}}
		o.Runtime.CryptoState, o.Summary.Runtime.CryptoState = "safe", "safe"
	case "vtpm":
		tpm := &types.VirtualTPM{}
		tpm.Key, tpm.DeviceInfo = 11000, &types.Description{Label: "Virtual TPM"}
		addDevice(m, tpm)
		o.Summary.Config.TpmPresent = new(true)
	case "cpu_affinity":
		cfg.CpuAffinity = &types.VirtualMachineAffinityInfo{AffinitySet: []int32{0, 1}}
	case "orphaned", "disconnected":
		m.lost = true
		o.Runtime.ConnectionState = types.VirtualMachineConnectionState(name)
		o.Summary.Runtime.ConnectionState = o.Runtime.ConnectionState
	case "duplicate_mac":
		other := l.findVM(value)
		if other == nil || other == m {
			return fmt.Errorf("no other VM %q", value)
		}
		m.nics[0].mac = other.nics[0].mac
		l.redraw(m)
	case "missing_network":
		m.nics[0].segment = ""
		l.redraw(m)
	case "template":
		l.powerOffObject(m)
		m.template, cfg.Template, o.Summary.Config.Template = true, true, true
		l.unlist(m)
		o.ResourcePool = nil
		l.list(m)
	case "powered_off":
		l.powerOffObject(m)
	case "suspended":
		l.powerOffObject(m)
		o.Runtime.PowerState, o.Summary.Runtime.PowerState = types.VirtualMachinePowerStateSuspended, types.VirtualMachinePowerStateSuspended
	case "storage_policy":
		cfg.VmStorageObjectId = l.uuid("object", m.name)
		v.VDiskId = &types.ID{Id: l.uuid("vdisk", m.name)}
		m.setExtra("lab.storagePolicy", "gold")
	case "old_hardware":
		cfg.Version, o.Summary.Config.HwVersion = "vmx-08", "vmx-08"
	case "no_heartbeat":
		o.GuestHeartbeatStatus = types.ManagedEntityStatusGray
	case "unshared_swap":
		cfg.SwapPlacement = "hostLocal"
	case "big_disk":
		return l.growDisk(m, value)
	case "pinned":
		m.tags = append(m.tags, "heliostat:never")
	case "advise":
		m.tags = append(m.tags, "heliostat:advise")
	case "tag":
		if !strings.Contains(value, ":") {
			return fmt.Errorf("tag %q is not category:name", value)
		}
		m.tags = append(m.tags, value)
	case "attribute":
		key, val, ok := strings.Cut(value, "=")
		if !ok {
			return fmt.Errorf("attribute %q is not name=value", value)
		}
		m.vc.setAttribute(m.obj, key, val)
	}
	return nil
}

// growDisk makes the VM's first disk thick and big, of value GiB.
func (l *Lab) growDisk(m *machine, value string) error {
	gib, err := strconv.ParseInt(value, 10, 64)
	if err != nil || gib <= 0 {
		return fmt.Errorf("size %q is not a number of GiB", value)
	}
	d := &m.disks[0]
	l.stores[d.store].used += gib<<10 - d.used
	d.mib, d.used, d.thin = gib<<10, gib<<10, false
	l.redraw(m)
	l.showStorage(m, m.obj)
	return nil
}

// redraw makes the VM's disks and cards anew from the model.
func (l *Lab) redraw(m *machine) {
	fresh := l.devices(m)
	for _, d := range m.obj.Config.Hardware.Device {
		if !slices.ContainsFunc(fresh, func(f types.BaseVirtualDevice) bool {
			return f.GetVirtualDevice().Key == d.GetVirtualDevice().Key
		}) {
			fresh = append(fresh, d)
		}
	}
	m.obj.Config.Hardware.Device = fresh
	l.showNetworks(m, m.obj)
}

func (l *Lab) powerOffObject(m *machine) {
	m.on = false
	o := m.obj
	o.Runtime.PowerState, o.Summary.Runtime.PowerState = types.VirtualMachinePowerStatePoweredOff, types.VirtualMachinePowerStatePoweredOff
	o.Runtime.BootTime, o.Summary.Runtime.BootTime = nil, nil
	o.GuestHeartbeatStatus = types.ManagedEntityStatusGray
	o.Guest.GuestState, o.Guest.ToolsRunningStatus, o.Guest.ToolsStatus = "notRunning", "guestToolsNotRunning", types.VirtualMachineToolsStatusToolsNotRunning
	o.Summary.QuickStats = types.VirtualMachineQuickStats{}
}

func (l *Lab) addSnapshot(m *machine) {
	s := &simulator.VirtualMachineSnapshot{}
	s.Vm = m.obj.Self
	s.Config = *m.obj.Config
	ref := m.vc.registry().Put(s).Reference()
	m.obj.Snapshot = &types.VirtualMachineSnapshotInfo{CurrentSnapshot: &ref, RootSnapshotList: []types.VirtualMachineSnapshotTree{{
		Snapshot: ref, Vm: m.obj.Self, Name: "before upgrade", Id: 1, CreateTime: l.now.AddDate(0, 0, -3), State: types.VirtualMachinePowerStatePoweredOn,
	}}}
	m.obj.RootSnapshot = []types.ManagedObjectReference{ref}
	m.obj.Config.ExtraConfig = append(m.obj.Config.ExtraConfig, &types.OptionValue{Key: "snapshot.numSnapshots", Value: "1"})
}
