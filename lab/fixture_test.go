package lab

import (
	"slices"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// device finds a VM's first device of a type.
func device[T types.BaseVirtualDevice](vm *mo.VirtualMachine) (t T, ok bool) {
	for _, d := range vm.Config.Hardware.Device {
		if t, ok = d.(T); ok {
			return t, true
		}
	}
	return t, false
}

func extra(vm *mo.VirtualMachine, key string) any {
	for _, o := range vm.Config.ExtraConfig {
		if v := o.GetOptionValue(); v.Key == key {
			return v.Value
		}
	}
	return nil
}

func diskBacking(vm *mo.VirtualMachine) *types.VirtualDiskFlatVer2BackingInfo {
	d, _ := device[*types.VirtualDisk](vm)
	b, _ := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	return b
}

// checks say, for each fixture of a VM, what a client must be able to read.
var checks = map[string]func(vm *mo.VirtualMachine) bool{
	"passthrough": func(vm *mo.VirtualMachine) bool {
		d, ok := device[*types.VirtualPCIPassthrough](vm)
		_, is := d.Backing.(*types.VirtualPCIPassthroughDeviceBackingInfo)
		return ok && is
	},
	"vgpu": func(vm *mo.VirtualMachine) bool {
		d, ok := device[*types.VirtualPCIPassthrough](vm)
		_, is := d.Backing.(*types.VirtualPCIPassthroughVmiopBackingInfo)
		return ok && is
	},
	"usb": func(vm *mo.VirtualMachine) bool { _, ok := device[*types.VirtualUSB](vm); return ok },
	"client_cd": func(vm *mo.VirtualMachine) bool {
		d, ok := device[*types.VirtualCdrom](vm)
		_, is := d.Backing.(*types.VirtualCdromRemotePassthroughBackingInfo)
		return ok && is && d.Connectable.Connected
	},
	"local_iso": func(vm *mo.VirtualMachine) bool {
		d, ok := device[*types.VirtualCdrom](vm)
		_, is := d.Backing.(*types.VirtualCdromIsoBackingInfo)
		return ok && is
	},
	"physical_rdm": func(vm *mo.VirtualMachine) bool {
		d, _ := device[*types.VirtualDisk](vm)
		b, ok := d.Backing.(*types.VirtualDiskRawDiskMappingVer1BackingInfo)
		return ok && b.CompatibilityMode == "physicalMode"
	},
	"independent_disk": func(vm *mo.VirtualMachine) bool { return diskBacking(vm).DiskMode == "independent_nonpersistent" },
	"multi_writer":     func(vm *mo.VirtualMachine) bool { return diskBacking(vm).Sharing == "sharingMultiWriter" },
	"shared_bus": func(vm *mo.VirtualMachine) bool {
		d, ok := device[*types.ParaVirtualSCSIController](vm)
		return ok && d.SharedBus == types.VirtualSCSISharingPhysicalSharing
	},
	"disk_snapshot": func(vm *mo.VirtualMachine) bool { return vm.Snapshot != nil && len(vm.RootSnapshot) == 1 },
	"linked_clone":  func(vm *mo.VirtualMachine) bool { return diskBacking(vm).Parent != nil },
	"fault_tolerance": func(vm *mo.VirtualMachine) bool {
		return vm.Runtime.FaultToleranceState == "running" && vm.Config.FtInfo != nil
	},
	"vapp": func(vm *mo.VirtualMachine) bool { return vm.ParentVApp != nil },
	"disabled_relocate": func(vm *mo.VirtualMachine) bool {
		return slices.Contains(vm.DisabledMethod, "RelocateVM_Task")
	},
	"migration_off":   func(vm *mo.VirtualMachine) bool { return extra(vm, "migration.disabled") == "TRUE" },
	"tools_installer": func(vm *mo.VirtualMachine) bool { return vm.Runtime.ToolsInstallerMounted },
	"agent":           func(vm *mo.VirtualMachine) bool { return vm.Config.ManagedBy.ExtensionKey == "com.vmware.vim.eam" },
	"managed_by":      func(vm *mo.VirtualMachine) bool { return vm.Config.ManagedBy.ExtensionKey == "com.vmware.vcDr" },
	"replicated":      func(vm *mo.VirtualMachine) bool { return extra(vm, "hbr_filter.gid") != nil },
	"latency_high":    func(vm *mo.VirtualMachine) bool { return vm.Config.LatencySensitivity.Level == "high" },
	"encrypted":       func(vm *mo.VirtualMachine) bool { return vm.Config.KeyId != nil && vm.Runtime.CryptoState == "safe" },
	"vtpm":            func(vm *mo.VirtualMachine) bool { _, ok := device[*types.VirtualTPM](vm); return ok },
	"cpu_affinity":    func(vm *mo.VirtualMachine) bool { return len(vm.Config.CpuAffinity.AffinitySet) == 2 },
	"orphaned":        func(vm *mo.VirtualMachine) bool { return vm.Runtime.ConnectionState == "orphaned" },
	"disconnected":    func(vm *mo.VirtualMachine) bool { return vm.Runtime.ConnectionState == "disconnected" },
	"duplicate_mac": func(vm *mo.VirtualMachine) bool {
		d, ok := device[*types.VirtualVmxnet3](vm)
		return ok && d.MacAddress == mac(2)
	},
	"missing_network": func(vm *mo.VirtualMachine) bool { return len(vm.Network) == 0 },
	"template":        func(vm *mo.VirtualMachine) bool { return vm.Config.Template && vm.ResourcePool == nil },
	"powered_off":     func(vm *mo.VirtualMachine) bool { return vm.Runtime.PowerState == "poweredOff" },
	"suspended":       func(vm *mo.VirtualMachine) bool { return vm.Runtime.PowerState == "suspended" },
	"storage_policy":  func(vm *mo.VirtualMachine) bool { return vm.Config.VmStorageObjectId != "" },
	"old_hardware":    func(vm *mo.VirtualMachine) bool { return vm.Config.Version == "vmx-08" },
	"no_heartbeat":    func(vm *mo.VirtualMachine) bool { return vm.GuestHeartbeatStatus == "gray" },
	"unshared_swap":   func(vm *mo.VirtualMachine) bool { return vm.Config.SwapPlacement == "hostLocal" },
	"big_disk": func(vm *mo.VirtualMachine) bool {
		d, ok := device[*types.VirtualDisk](vm)
		return ok && d.CapacityInBytes == 500<<30 && vm.Summary.Storage.Committed >= 500<<30
	},
	"pinned": nil, "advise": nil, "tag": nil, // read by the tags' own interface
	"attribute": func(vm *mo.VirtualMachine) bool { return len(vm.CustomValue) == 1 },
}

// Every fixture can be read over the wire, where a preflight check looks for it.
func TestFixtures(t *testing.T) {
	values := map[string]string{"big_disk": "500", "duplicate_mac": VMName("east-c", 0), "tag": "residency:eu", "attribute": "owner=ops"}
	cfg := small()
	cfg.Sites[0].Clusters[0].VMs = len(FixtureNames) + 1
	for i, name := range FixtureNames {
		cfg.Fixtures = append(cfg.Fixtures, FixtureConfig{Name: name, VM: VMName("east-c", i+1), Value: values[name]})
	}
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, reader)
		for i, name := range FixtureNames {
			vm := props[mo.VirtualMachine](t, c, l.machines[i+1].obj.Self)
			check, ok := checks[name]
			if !ok {
				t.Errorf("fixture %s is not checked", name)
			} else if check != nil && !check(&vm) {
				t.Errorf("fixture %s cannot be read", name)
			}
		}
		for name, tag := range map[string]string{"pinned": "never", "advise": "advise", "tag": "eu"} {
			if got := tagsOf(t, c, l.machines[slices.Index(FixtureNames, name)+1].obj.Self); !slices.Contains(got, tag) {
				t.Errorf("fixture %s: tags %v", name, got)
			}
		}
		// A VM without a fixture has none of them.
		plain := props[mo.VirtualMachine](t, c, l.machines[0].obj.Self)
		for name, check := range checks {
			if name != "duplicate_mac" && check != nil && holds(check, &plain) {
				t.Errorf("a plain VM has %s", name)
			}
		}
	})
}

// holds runs a check for which a part that is not there means no.
func holds(check func(*mo.VirtualMachine) bool, vm *mo.VirtualMachine) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return check(vm)
}

func TestHostFixtures(t *testing.T) {
	cfg := small()
	cfg.Sites[0].Clusters[0].Hosts = len(HostFixtureNames) + 1
	for i, name := range HostFixtureNames {
		cfg.Fixtures = append(cfg.Fixtures, FixtureConfig{Name: name, Host: l0host(i + 1)})
	}
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, reader)
		for i, name := range HostFixtureNames {
			h := props[mo.HostSystem](t, c, l.hosts[i+1].obj.Self)
			ok := map[string]bool{
				"host_maintenance":  h.Runtime.InMaintenanceMode && len(h.Vm) == 0,
				"host_standby":      h.Runtime.PowerState == types.HostSystemPowerStateStandBy && len(h.Vm) == 0,
				"host_usb":          len(h.Config.PciPassthruInfo) == 1,
				"host_vsan":         *h.Config.VsanHostConfig.Enabled,
				"host_no_vmotion":   !h.Summary.Config.VmotionEnabled && len(h.Config.VirtualNicManagerInfo.NetConfig[0].SelectedVnic) == 0,
				"host_disconnected": h.Runtime.ConnectionState == types.HostSystemConnectionStateDisconnected,
				"host_no_wake":      h.Config.Ipmi == nil,
			}[name]
			if !ok {
				t.Errorf("fixture %s cannot be read", name)
			}
		}
		if _, err := object.NewHostSystem(c.Client, l.hosts[0].obj.Self).ObjectName(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func l0host(i int) string { return "east-c-esx0" + string(rune('1'+i)) }

// A cluster that moves things by itself evens out its hosts, and stops.
func TestRebalance(t *testing.T) {
	cfg := oneFull()
	cfg.Sites[0].Clusters[0].Rebalance = true
	cfg.Sites[0].Clusters[0].VMs = 30
	cfg.Demand = loaded{}
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		l.lock()
		for _, m := range l.machines[:30] {
			if l.hosts[m.host].site == 0 {
				l.setHost(m, l.hosts[0])
			}
		}
		l.unlock()
		sleepHours(1)
		n := len(l.Moves())
		sleepHours(6)
		l.lock()
		defer l.unlock()
		if n == 0 || len(l.machinesOn(1)) == 0 || len(l.machinesOn(2)) == 0 {
			t.Errorf("%d moves in the first hour", n)
		}
		if more := len(l.ended); more > n+12 {
			t.Errorf("never settles: %d moves after %d", more, n)
		}
	})
}
