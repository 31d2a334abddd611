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
	if f := m.busy(); f != nil {
		return nil, f
	}
	return c.prepare(m, &req.Spec)
}

// busy says why nothing may be asked of a VM now, nil when it may.
func (m *machine) busy() types.BaseMethodFault {
	switch {
	case slices.Contains(m.obj.DisabledMethod, "RelocateVM_Task"):
		return because(&types.MethodDisabled{}, "relocation of %s is disabled", m.name)
	case m.move != nil:
		return &types.TaskInProgress{Task: m.move.task.Self}
	}
	return nil
}

// prepare reads where a specification sends a VM.
func (c *control) prepare(m *machine, spec *types.VirtualMachineRelocateSpec) (*move, types.BaseMethodFault) {
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
