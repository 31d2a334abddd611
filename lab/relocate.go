package lab

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// RelocateVMTask moves a VM within its vCenter or, with a ServiceLocator, to
// another. What is wrong with the call itself is refused at once; what is wrong
// with the world fails the task, as in vCenter.
func (c *control) RelocateVMTask(ctx *simulator.Context, req *types.RelocateVM_Task) soap.HasFault {
	body := &methods.RelocateVM_TaskBody{}
	mv, f := c.request(req)
	if f != nil {
		body.Fault_ = simulator.Fault(message(f), f)
		return body
	}
	mv.user = ctx.Session.UserName
	c.v.lab.submit(mv)
	body.Res = &types.RelocateVM_TaskResponse{Returnval: mv.task.Self}
	return body
}

// request makes a move of a call.
func (c *control) request(req *types.RelocateVM_Task) (*move, types.BaseMethodFault) {
	m := c.v.machine(req.This)
	if m == nil {
		return nil, &types.ManagedObjectNotFound{Obj: req.This}
	}
	if slices.Contains(m.obj.DisabledMethod, "RelocateVM_Task") {
		return nil, because(&types.MethodDisabled{}, "relocation of %s is disabled", m.name)
	}
	if m.move != nil {
		return nil, &types.TaskInProgress{Task: m.move.task.Self}
	}
	spec := &req.Spec
	mv := &move{m: m, v: c.v, dst: c.v, from: c.v.lab.hosts[m.host], live: m.on, link: -1}
	if s := spec.Service; s != nil && s.InstanceUuid != c.v.uuid {
		if f := c.remote(mv, s); f != nil {
			return nil, f
		}
		if spec.Host == nil || spec.Pool == nil || spec.Datastore == nil {
			return nil, because(&types.InvalidArgument{InvalidProperty: "spec"}, "host, pool and datastore have to be given across vCenters")
		}
	}
	if f := mv.destination(spec); f != nil {
		return nil, f
	}
	if f := mv.datastores(spec); f != nil {
		return nil, f
	}
	return mv, mv.networks(spec)
}

// remote checks the way to another vCenter. Its certificate and the account are
// what it itself would refuse.
func (c *control) remote(mv *move, s *types.ServiceLocator) types.BaseMethodFault {
	l := c.v.lab
	i := slices.IndexFunc(l.vcs, func(v *vcenter) bool { return v.uuid == s.InstanceUuid })
	if i < 0 {
		return because(&types.InvalidArgument{InvalidProperty: "spec.service.instanceUuid"}, "no vCenter %s answers", s.InstanceUuid)
	}
	mv.dst = l.vcs[i]
	if !mv.dst.identity.matches(s.SslThumbprint) {
		return because(&types.SSLVerifyFault{SelfSigned: true, Thumbprint: mv.dst.identity.sha1}, "the thumbprint of %s does not match", mv.dst.name)
	}
	p, ok := s.Credential.(*types.ServiceLocatorNamePassword)
	if !ok || !slices.ContainsFunc(l.cfg.accounts(), func(a Account) bool {
		return a.Username == p.Username && a.Password == p.Password && a.Role == RoleMover
	}) {
		return because(&types.InvalidLogin{}, "%s refuses the account", mv.dst.name)
	}
	return nil
}

// destination finds host, pool and folder.
func (mv *move) destination(spec *types.VirtualMachineRelocateSpec) types.BaseMethodFault {
	l := mv.v.lab
	mv.to = mv.from
	pool := l.clusters[mv.from.cluster].pool
	if spec.Pool != nil {
		if mv.dst.registry().Get(*spec.Pool) == nil {
			return &types.ManagedObjectNotFound{Obj: *spec.Pool}
		}
		pool = *spec.Pool
	}
	switch {
	case spec.Host != nil:
		if mv.to = mv.dst.host(spec.Host); mv.to == nil {
			return &types.ManagedObjectNotFound{Obj: *spec.Host}
		}
	case spec.Pool != nil && l.clusterOf(mv.dst, pool) != l.clusters[mv.from.cluster]:
		// A cluster that places by itself chooses the host.
		k := l.clusterOf(mv.dst, pool)
		if k == nil || k.drs() != "full" {
			return because(&types.InvalidArgument{InvalidProperty: "spec.pool"}, "the cluster does not choose a host by itself")
		}
		if mv.to = l.roomiest(k, mv.m, nil); mv.to == nil {
			return &types.InvalidState{}
		}
	}
	k := l.clusters[mv.to.cluster]
	if spec.Pool == nil {
		pool = k.pool
	}
	if l.clusterOf(mv.dst, pool) != k {
		return because(&types.InvalidArgument{InvalidProperty: "spec.pool"}, "the resource pool is not of the cluster of host %s", mv.to.name)
	}
	mv.pool, mv.folder = pool, *mv.m.obj.Parent
	if mv.across() {
		mv.folder = mv.dst.vmFolder.Self
	}
	if spec.Folder != nil {
		if lookup[*simulator.Folder](mv.dst.registry(), *spec.Folder) == nil {
			return &types.ManagedObjectNotFound{Obj: *spec.Folder}
		}
		mv.folder = *spec.Folder
	}
	if mv.from.site != mv.to.site {
		mv.link = l.linkBetween(mv.from.site, mv.to.site)
		if mv.link < 0 {
			return because(&types.HostNotReachable{}, "no link between the sites")
		}
	}
	return nil
}

// clusterOf finds the cluster that a resource pool belongs to.
func (l *Lab) clusterOf(v *vcenter, pool types.ManagedObjectReference) *cluster {
	p := lookup[*simulator.ResourcePool](v.registry(), pool)
	for _, k := range l.clusters {
		if p != nil && k.vc == v && p.Owner == k.obj.Self {
			return k
		}
	}
	return nil
}

func (l *Lab) linkBetween(a, b int) int {
	return slices.IndexFunc(l.links, func(k link) bool { return (k.a == a && k.b == b) || (k.a == b && k.b == a) })
}

// datastores finds where the home and each disk go.
func (mv *move) datastores(spec *types.VirtualMachineRelocateSpec) types.BaseMethodFault {
	m := mv.m
	mv.home = m.home
	mv.targets = make([]int, len(m.disks))
	for i := range m.disks {
		mv.targets[i] = m.disks[i].store
	}
	if spec.Datastore != nil {
		s := mv.dst.store(spec.Datastore)
		if s == nil {
			return &types.ManagedObjectNotFound{Obj: *spec.Datastore}
		}
		mv.home = s.index
		for i := range mv.targets {
			mv.targets[i] = s.index
		}
	}
	for _, loc := range spec.Disk {
		i := slices.IndexFunc(m.disks, func(d disk) bool { return d.key == loc.DiskId })
		if i < 0 {
			return because(&types.InvalidArgument{InvalidProperty: "spec.disk.diskId"}, "%s has no disk %d", m.name, loc.DiskId)
		}
		s := mv.dst.store(&loc.Datastore)
		if s == nil {
			return &types.ManagedObjectNotFound{Obj: loc.Datastore}
		}
		mv.targets[i] = s.index
	}
	mv.storage = mv.home != m.home
	for i := range m.disks {
		mv.storage = mv.storage || mv.targets[i] != m.disks[i].store
	}
	return nil
}

// networks finds which segment each card is on afterwards.
func (mv *move) networks(spec *types.VirtualMachineRelocateSpec) types.BaseMethodFault {
	for _, n := range mv.m.nics {
		segment := n.segment
		if mv.across() {
			segment = "" // across vCenters nothing is taken for the same by its name
		}
		for _, ch := range spec.DeviceChange {
			s := ch.GetVirtualDeviceConfigSpec()
			card, ok := s.Device.(types.BaseVirtualEthernetCard)
			if !ok || s.Device.GetVirtualDevice().Key != n.key {
				continue
			}
			if segment = mv.dst.segmentOf(card.GetVirtualEthernetCard().Backing); segment == "" {
				return because(&types.InvalidArgument{InvalidProperty: "spec.deviceChange"}, "no such network for card %d", n.key)
			}
		}
		mv.segments = append(mv.segments, segment)
	}
	return nil
}

// check says what stands in the way of a move now, as vCenter would; nil when nothing does.
func (l *Lab) check(mv *move) types.BaseMethodFault {
	for _, f := range []func(*move) types.BaseMethodFault{l.checkHosts, l.checkDevices, l.checkStores, l.checkNetworks} {
		if fault := f(mv); fault != nil {
			return fault
		}
	}
	return nil
}

func (l *Lab) checkHosts(mv *move) types.BaseMethodFault {
	m := mv.m
	if m.lost {
		return because(&types.InvalidState{}, "%s is not connected", m.name)
	}
	if mv.from.unplug || mv.from.phase != hostUp {
		return because(&types.HostNotConnected{}, "host %s does not answer", mv.from.name)
	}
	if mv.to.unplug || mv.to.phase != hostUp {
		return because(&types.HostNotConnected{}, "host %s does not answer", mv.to.name)
	}
	if mv.to != mv.from && !mv.slots && !mv.to.ready() { // what is on its way arrives
		return because(&types.InvalidState{}, "host %s is in maintenance, or on its way there", mv.to.name)
	}
	if mv.live && mv.to != mv.from {
		for _, h := range []*host{mv.from, mv.to} {
			if !h.vmotion {
				return because(&types.VMotionNotConfigured{VMotionInterfaceIssue: types.VMotionInterfaceIssue{AtSourceHost: h == mv.from, FailedHost: h.name, FailedHostEntity: &h.obj.Self}}, "host %s has no vMotion interface", h.name)
			}
		}
		if l.bootLevel(mv.to) < m.level {
			return because(&types.CpuIncompatible{}, "host %s offers %s, the guest has seen %s", mv.to.name, EVCModes[l.bootLevel(mv.to)-1], EVCModes[m.level-1])
		}
	}
	if threads := 2 * mv.to.cfg.CoresPerHost; m.vcpus > threads {
		return because(&types.NumVirtualCpusIncompatible{NumCpu: int32(m.vcpus)}, "host %s has %d threads", mv.to.name, threads)
	}
	return nil
}

func (l *Lab) checkStores(mv *move) types.BaseMethodFault {
	need := map[int]int64{}
	for i := range mv.m.disks {
		if d := &mv.m.disks[i]; d.store != mv.targets[i] {
			need[mv.targets[i]] += d.copyMiB()
		}
	}
	for _, s := range append(slices.Clone(mv.targets), mv.home) {
		o := l.stores[s]
		if !slices.Contains(mv.to.stores, s) {
			return because(&types.InvalidDatastore{Datastore: &o.obj.Self, Name: o.name}, "host %s does not reach datastore %s", mv.to.name, o.name)
		}
		if !mv.slots && need[s] > o.free() { // running moves have their space
			return because(&types.NoDiskSpace{Datastore: o.name}, "datastore %s has %d MiB free, %d are needed", o.name, o.free(), need[s])
		}
	}
	return nil
}

func (l *Lab) checkNetworks(mv *move) types.BaseMethodFault {
	for i, s := range mv.segments {
		if mv.to == mv.from && s == mv.m.nics[i].segment {
			continue
		}
		if s == "" || !slices.Contains(mv.to.segments, s) {
			f := &types.CannotAccessNetwork{}
			f.Device = "Network adapter"
			return because(f, "card %d of %s has no network at host %s", mv.m.nics[i].key, mv.m.name, mv.to.name)
		}
	}
	return nil
}

// checkDevices refuses what vSphere itself refuses of a VM's devices and
// settings. What only a careful operator refuses, it does not.
func (l *Lab) checkDevices(mv *move) types.BaseMethodFault {
	for _, name := range mv.m.fixtures {
		if f := mv.refusal(name); f != nil {
			return because(f, "%s: %s", mv.m.name, name)
		}
	}
	return nil
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
