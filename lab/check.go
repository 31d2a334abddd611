package lab

import (
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/types"
)

// preflight is what can stand in the way of a move, in the order in which it is
// looked for. Those of the present state do not count for the question whether a
// VM and a host are compatible at all.
var preflight = []struct {
	kind  types.CheckTestType
	state bool
	run   func(*Lab, *move) []types.BaseMethodFault
}{
	{types.CheckTestTypeSourceTests, true, (*Lab).checkSource},
	{types.CheckTestTypeHostTests, true, (*Lab).checkState},
	{types.CheckTestTypeHostTests, false, (*Lab).checkHosts},
	{types.CheckTestTypeHostTests, false, (*Lab).checkDevices},
	{types.CheckTestTypeDatastoreTests, false, (*Lab).checkStores},
	{types.CheckTestTypeNetworkTests, false, (*Lab).checkNetworks},
	{types.CheckTestTypeResourcePoolTests, true, (*Lab).checkMemory},
}

// check says what stands in the way of a move now, as vCenter would; nil when nothing does.
func (l *Lab) check(mv *move) types.BaseMethodFault {
	for _, c := range preflight {
		if faults := c.run(l, mv); len(faults) > 0 {
			return faults[0]
		}
	}
	return nil
}

func one(f types.BaseMethodFault) []types.BaseMethodFault { return []types.BaseMethodFault{f} }

func (l *Lab) checkSource(mv *move) []types.BaseMethodFault {
	switch {
	case mv.m.lost:
		return one(because(&types.InvalidState{}, "%s is not connected", mv.m.name))
	case !mv.from.answers():
		return one(because(&types.HostNotConnected{}, "host %s does not answer", mv.from.name))
	}
	return nil
}

// answers reports whether a host's agent can be reached.
func (h *host) answers() bool { return !h.unplug && h.phase == hostUp }

func (l *Lab) checkState(mv *move) []types.BaseMethodFault {
	switch {
	case !mv.to.answers():
		return one(because(&types.HostNotConnected{}, "host %s does not answer", mv.to.name))
	case mv.to != mv.from && !mv.slots && !mv.to.ready(): // what is on its way arrives
		return one(because(&types.InvalidHostState{Host: &mv.to.obj.Self}, "host %s is in maintenance, or on its way there", mv.to.name))
	}
	return nil
}

func (l *Lab) checkHosts(mv *move) (out []types.BaseMethodFault) {
	m := mv.m
	if mv.live && mv.to != mv.from {
		for _, h := range []*host{mv.from, mv.to} {
			if !h.vmotion {
				issue := types.VMotionInterfaceIssue{AtSourceHost: h == mv.from, FailedHost: h.name, FailedHostEntity: &h.obj.Self}
				out = append(out, because(&types.VMotionNotConfigured{VMotionInterfaceIssue: issue}, "host %s has no vMotion interface", h.name))
			}
		}
		if l.bootLevel(mv.to) < m.level {
			out = append(out, because(&types.CpuIncompatible{Level: 1, RegisterName: "ecx", Host: &mv.to.obj.Self},
				"host %s offers %s, the guest has seen %s", mv.to.name, EVCModes[l.bootLevel(mv.to)-1], EVCModes[m.level-1]))
		}
	}
	if threads := 2 * mv.to.cfg.CoresPerHost; m.vcpus > threads {
		out = append(out, because(&types.NumVirtualCpusIncompatible{NumCpu: int32(m.vcpus)}, "host %s has %d threads", mv.to.name, threads))
	}
	return out
}

// checkMemory refuses what the host cannot guarantee: the VM's reservation and
// its overhead. What is not reserved is overcommitted without a word.
func (l *Lab) checkMemory(mv *move) []types.BaseMethodFault {
	if !mv.live || mv.to == mv.from {
		return nil
	}
	free, need := mv.to.memMiB-hypervisorMiB, mv.m.reserve+overheadMiB
	for _, m := range l.machines {
		if m.on && m != mv.m && (m.host == mv.to.index || (m.move != nil && m.move.to == mv.to)) {
			free -= m.reserve + overheadMiB
		}
	}
	if need <= free {
		return nil
	}
	f := &types.InsufficientHostMemoryCapacityFault{Unreserved: free << 20, Requested: need << 20}
	f.Host = &mv.to.obj.Self
	return one(because(f, "host %s has %d MiB that are not reserved, %s needs %d", mv.to.name, free, mv.m.name, need))
}

func (l *Lab) checkStores(mv *move) (out []types.BaseMethodFault) {
	need := map[int]int64{}
	for i := range mv.m.disks {
		if d := &mv.m.disks[i]; d.store != mv.targets[i] {
			need[mv.targets[i]] += d.copyMiB()
		}
	}
	stores := append(slices.Clone(mv.targets), mv.home)
	for i, s := range stores {
		o := l.stores[s]
		switch {
		case slices.Contains(stores[:i], s):
		case !slices.Contains(mv.to.stores, s):
			f := &types.DatastoreNotWritableOnHost{InvalidDatastore: types.InvalidDatastore{Datastore: &o.obj.Self, Name: o.name}, Host: mv.to.obj.Self}
			out = append(out, because(f, "host %s does not reach datastore %s", mv.to.name, o.name))
		case !mv.slots && need[s] > o.free(): // running moves have their space
			out = append(out, because(&types.NoDiskSpace{Datastore: o.name}, "datastore %s has %d MiB free, %d are needed", o.name, o.free(), need[s]))
		}
	}
	return out
}

func (l *Lab) checkNetworks(mv *move) (out []types.BaseMethodFault) {
	for i, s := range mv.segments {
		n := &mv.m.nics[i]
		if (mv.to == mv.from && s == n.segment) || (s != "" && slices.Contains(mv.to.segments, s)) {
			continue
		}
		f := &types.CannotAccessNetwork{}
		f.Device, f.Backing, f.Connected = fmt.Sprintf("Network adapter %d", i+1), n.segment, true
		if ref, ok := mv.m.vc.network[n.segment]; ok {
			f.Network = &ref
		}
		out = append(out, because(f, "card %d of %s has no network at host %s", n.key, mv.m.name, mv.to.name))
	}
	return out
}

// checkDevices refuses what vSphere itself refuses of a VM's devices and
// settings. What only a careful operator refuses, it does not.
func (l *Lab) checkDevices(mv *move) (out []types.BaseMethodFault) {
	for _, name := range mv.m.fixtures {
		if f := mv.refusal(name); f != nil {
			out = append(out, because(f, "%s: %s", mv.m.name, name))
		}
	}
	return out
}

func (mv *move) refusal(fixture string) types.BaseMethodFault {
	moves := mv.live && mv.to != mv.from
	device := types.DeviceNotSupported{Device: fixture}
	switch fixture {
	case "passthrough", "vgpu", "usb":
		if moves {
			return &device
		}
	case "client_cd":
		if moves {
			return &types.RemoteDeviceNotSupported{DeviceNotSupported: device}
		}
	case "shared_bus", "multi_writer":
		if moves || mv.storage {
			return &types.SharedBusControllerNotSupported{DeviceNotSupported: device}
		}
	case "local_iso":
		if moves && mv.from.site != mv.to.site {
			return &types.CannotAccessFile{FileFault: types.FileFault{File: "iso/install.iso"}}
		}
	case "physical_rdm":
		if mv.storage {
			return &types.RDMNotSupportedOnDatastore{VmConfigFault: types.VmConfigFault{}, Device: "Hard disk 1"}
		}
	case "independent_disk":
		if mv.storage && mv.live {
			return &types.IndependentDiskVMotionNotSupported{}
		}
	case "migration_off":
		return &types.MigrationDisabled{}
	case "tools_installer":
		return &types.ToolsInstallationInProgress{}
	case "agent":
		return &types.NoPermission{Object: &mv.m.obj.Self, PrivilegeId: "Resource.HotMigrate"}
	case "cpu_affinity":
		if moves {
			return &types.AffinityConfigured{ConfiguredAffinity: []string{"cpu"}}
		}
	case "fault_tolerance", "vapp", "encrypted", "vtpm":
		if mv.across() {
			return &types.NotSupported{}
		}
	case "duplicate_mac":
		if mv.across() {
			return &types.GenericVmConfigFault{Reason: "a card's MAC address is in use at the destination"}
		}
	}
	return nil
}
