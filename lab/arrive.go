package lab

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// arrive makes a move's result true: in the model, in every list of vSphere
// that names the VM, and in the events.
func (l *Lab) arrive(mv *move) {
	m := mv.m
	source := eventSource{host: mv.from, store: l.stores[m.home], dc: mv.v.datacenter}
	l.unlist(m)
	for i := range m.disks {
		d := &m.disks[i]
		if d.store == mv.targets[i] {
			continue
		}
		old, s := l.stores[d.store], l.stores[mv.targets[i]]
		old.used -= d.used
		s.used += d.used
		s.reserved -= d.copyMiB()
		d.store = s.index
		l.updateSpace(old)
		l.updateSpace(s)
	}
	if !m.on && mv.to != mv.from { // its next boot sees the new host
		m.level = l.bootLevel(mv.to)
	}
	if l.hosts[m.host].cluster != mv.to.cluster {
		l.dropFromRules(l.clusters[l.hosts[m.host].cluster], m.obj.Self)
	}
	m.home, m.host = mv.home, mv.to.index
	for i := range m.nics {
		m.nics[i].segment = mv.segments[i]
	}
	if mv.across() {
		l.cross(mv)
	} else {
		l.redraw(m)
		l.showStorage(m, m.obj)
		m.obj.Config.Files.VmPathName = l.vmxPath(m)
		mv.v.update(m.obj, l.placement(m, mv.pool)...)
		l.list(m)
	}
	l.postArrival(mv, source)
}

// placement is everything that a move changes of a VM's properties.
func (l *Lab) placement(m *machine, pool types.ManagedObjectReference) []types.PropertyChange {
	h := l.hosts[m.host].obj.Self
	o := m.obj
	set := func(name string, val any) types.PropertyChange { return types.PropertyChange{Name: name, Val: val} }
	changes := []types.PropertyChange{
		set("runtime.host", h), set("summary.runtime.host", h), set("datastore", o.Datastore), set("network", o.Network),
		set("config.hardware.device", o.Config.Hardware.Device), set("config.files.vmPathName", o.Config.Files.VmPathName),
		set("summary.config.vmPathName", o.Config.Files.VmPathName), set("runtime.minRequiredEVCModeKey", EVCModes[m.level-1]),
	}
	if !m.template {
		changes = append(changes, set("resourcePool", pool))
	}
	return changes
}

// without and with keep the lists of references that vSphere shows. They copy:
// an answer may still hold the old list.
func without(list []types.ManagedObjectReference, ref types.ManagedObjectReference) []types.ManagedObjectReference {
	return slices.DeleteFunc(slices.Clone(list), func(r types.ManagedObjectReference) bool { return r == ref })
}

func with(list []types.ManagedObjectReference, ref types.ManagedObjectReference) []types.ManagedObjectReference {
	return append(without(list, ref), ref)
}

// eachList visits the lists that name the VM: its host's, pool's, datastores' and networks'.
func (l *Lab) eachList(m *machine, f func(o mo.Reference, list []types.ManagedObjectReference)) {
	h := l.hosts[m.host].obj
	f(h, h.Vm)
	if m.obj.ResourcePool != nil {
		if p := lookup[*simulator.ResourcePool](m.vc.registry(), *m.obj.ResourcePool); p != nil {
			f(p, p.Vm)
		}
	}
	for _, s := range m.stores() {
		f(l.stores[s].obj, l.stores[s].obj.Vm)
	}
	for _, ref := range m.obj.Network {
		if n := m.vc.netObject(ref); n != nil {
			f(m.vc.registry().Get(ref), n.Vm)
		}
	}
}

func (l *Lab) unlist(m *machine) {
	l.eachList(m, func(o mo.Reference, list []types.ManagedObjectReference) {
		m.vc.update(o, types.PropertyChange{Name: "vm", Val: without(list, m.obj.Self)})
	})
}

func (l *Lab) list(m *machine) {
	l.eachList(m, func(o mo.Reference, list []types.ManagedObjectReference) {
		m.vc.update(o, types.PropertyChange{Name: "vm", Val: with(list, m.obj.Self)})
	})
}

// setHost moves a VM to another host of its cluster at once: for agents, for
// VMs that are off, and before the lab begins.
func (l *Lab) setHost(m *machine, to *host) {
	l.unlist(m)
	m.host = to.index
	m.vc.update(m.obj, types.PropertyChange{Name: "runtime.host", Val: to.obj.Self}, types.PropertyChange{Name: "summary.runtime.host", Val: to.obj.Self})
	l.list(m)
}

// cross makes the VM's object at the other vCenter: the same instance and BIOS
// UUID and the same devices, a new moid. Custom attributes, rules and the place
// in the pool stay behind; tags too, unless the vCenters are linked.
func (l *Lab) cross(mv *move) {
	m, old := mv.m, mv.m.obj
	n := &simulator.VirtualMachine{VirtualMachine: old.VirtualMachine}
	cfg := *old.Config
	n.Self, n.Config, n.RecentTask, n.Snapshot, n.RootSnapshot = types.ManagedObjectReference{}, &cfg, nil, nil, nil
	n.CustomValue, n.Value, n.AvailableField, n.Tag = nil, nil, nil, nil
	m.vc, m.obj = mv.dst, n
	l.redraw(m)
	l.showStorage(m, n)
	h, pool, folder := mv.to.obj.Self, mv.pool, mv.folder
	n.Runtime.Host, n.Summary.Runtime.Host, n.Parent, n.ResourcePool = &h, &h, &folder, &pool
	if m.template {
		n.ResourcePool = nil
	}
	cfg.Files.VmPathName = l.vmxPath(m)
	n.Summary.Config.VmPathName = cfg.Files.VmPathName
	n.Runtime.MinRequiredEVCModeKey = EVCModes[m.level-1]

	// It gets its name first, so that a view finds it in its containers when it is announced.
	r := mv.dst.registry()
	l.seq++
	n.Self = types.ManagedObjectReference{Type: "VirtualMachine", Value: vmMoid(l.seq)}
	n.Summary.Vm = &n.Self
	f := lookup[*simulator.Folder](r, folder)
	mv.dst.update(f, types.PropertyChange{Name: "childEntity", Val: with(f.ChildEntity, n.Self)})
	l.list(m)
	r.Put(n)

	self := old.Self
	parent := lookup[*simulator.Folder](mv.v.registry(), *old.Parent)
	mv.v.update(parent, types.PropertyChange{Name: "childEntity", Val: without(parent.ChildEntity, self)})
	mv.v.registry().Remove(mv.v.ctx(""), self)
	for _, t := range mv.v.tags.take(self) {
		if l.cfg.Linked {
			mv.dst.tags.attach(l, n.Self, t)
		}
	}
}

// dropFromRules removes a VM that has left from a cluster's rules and groups.
func (l *Lab) dropFromRules(k *cluster, ref types.ManagedObjectReference) {
	info, ok := k.obj.ConfigurationEx.(*types.ClusterConfigInfoEx)
	if !ok {
		return
	}
	changed := false
	drop := func(list *[]types.ManagedObjectReference) {
		if slices.Contains(*list, ref) {
			*list, changed = without(*list, ref), true
		}
	}
	for _, r := range info.Rule {
		switch x := r.(type) {
		case *types.ClusterAffinityRuleSpec:
			drop(&x.Vm)
		case *types.ClusterAntiAffinityRuleSpec:
			drop(&x.Vm)
		}
	}
	for _, g := range info.Group {
		if x, ok := g.(*types.ClusterVmGroup); ok {
			drop(&x.Vm)
		}
	}
	if changed {
		k.vc.update(k.obj, types.PropertyChange{Name: "configurationEx", Val: info})
	}
}

// An eventSource is where a VM was before.
type eventSource struct {
	host  *host
	store *store
	dc    *simulator.Datacenter
}

func named(name string) types.EntityEventArgument { return types.EntityEventArgument{Name: name} }

func hostArgument(h *host) *types.HostEventArgument {
	return &types.HostEventArgument{EntityEventArgument: named(h.name), Host: h.obj.Self}
}

func storeArgument(s *store) *types.DatastoreEventArgument {
	return &types.DatastoreEventArgument{EntityEventArgument: named(s.name), Datastore: s.obj.Self}
}

func datacenterArgument(dc *simulator.Datacenter) *types.DatacenterEventArgument {
	return &types.DatacenterEventArgument{EntityEventArgument: named(dc.Name), Datacenter: dc.Self}
}

// vmEvent is the common part of the VM's events, where it is now.
func (l *Lab) vmEvent(m *machine) types.VmEvent {
	h := l.hosts[m.host]
	k := l.clusters[h.cluster]
	return types.VmEvent{Event: types.Event{
		Vm: &types.VmEventArgument{EntityEventArgument: named(m.name), Vm: m.obj.Self}, Host: hostArgument(h), Datacenter: datacenterArgument(m.vc.datacenter),
		ComputeResource: &types.ComputeResourceEventArgument{EntityEventArgument: named(k.cfg.Name), ComputeResource: k.obj.Self},
		Ds:              storeArgument(l.stores[m.home]),
	}}
}

func (l *Lab) postStart(mv *move) {
	if !mv.live || mv.to == mv.from {
		return
	}
	mv.v.post(mv.user, &types.VmBeingHotMigratedEvent{
		VmEvent: l.vmEvent(mv.m), DestHost: *hostArgument(mv.to), DestDatacenter: datacenterArgument(mv.dst.datacenter), DestDatastore: storeArgument(l.stores[mv.home]),
	})
}

func (l *Lab) postArrival(mv *move, from eventSource) {
	e := l.vmEvent(mv.m)
	h, dc, s := *hostArgument(from.host), datacenterArgument(from.dc), storeArgument(from.store)
	if mv.live && mv.to != mv.from {
		migrated := types.VmMigratedEvent{VmEvent: e, SourceHost: h, SourceDatacenter: dc, SourceDatastore: s}
		if mv.drs {
			mv.dst.post(mv.user, &types.DrsVmMigratedEvent{VmMigratedEvent: migrated})
			return
		}
		mv.dst.post(mv.user, &migrated)
		return
	}
	mv.dst.post(mv.user, &types.VmRelocatedEvent{VmRelocateSpecEvent: types.VmRelocateSpecEvent{VmEvent: e}, SourceHost: h, SourceDatacenter: dc, SourceDatastore: s})
}

// postFailure tells of a live move that has ended where it began.
func (l *Lab) postFailure(mv *move, f types.BaseMethodFault) {
	if !mv.live || mv.to == mv.from {
		return
	}
	mv.v.post(mv.user, &types.VmFailedMigrateEvent{
		VmEvent: l.vmEvent(mv.m), DestHost: *hostArgument(mv.to), DestDatacenter: datacenterArgument(mv.dst.datacenter), DestDatastore: storeArgument(l.stores[mv.home]), Reason: localized(f),
	})
}

// postHost tells of a host.
func (l *Lab) postHost(user string, h *host, event types.BaseEvent) {
	k := l.clusters[h.cluster]
	e := event.GetEvent()
	e.Host, e.Datacenter = hostArgument(h), datacenterArgument(h.vc.datacenter)
	e.ComputeResource = &types.ComputeResourceEventArgument{EntityEventArgument: named(k.cfg.Name), ComputeResource: k.obj.Self}
	h.vc.post(user, event)
}
