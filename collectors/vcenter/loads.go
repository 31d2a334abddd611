package vcenter

import (
	"context"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

// A loadView is the view through which loads are polled. It dies with the session.
type loadView struct {
	gen  uint64
	view types.ManagedObjectReference
}

func (l *loadView) get(ctx context.Context, conn *vsphere.Conn) (types.ManagedObjectReference, error) {
	if l.gen == conn.Gen {
		return l.view, nil
	}
	view, err := conn.ContainerView(ctx, "VirtualMachine", "HostSystem", "Datastore")
	if err != nil {
		return view, err
	}
	l.gen, l.view = conn.Gen, view
	return view, nil
}

// The paths of the loads. They are leaves, so that what a vCenter does not give
// is absent, where a whole quickStats would show it as zero.
const (
	vmUsage      = "summary.quickStats.overallCpuUsage"
	vmDemand     = "summary.quickStats.overallCpuDemand"
	vmConsumed   = "summary.quickStats.hostMemoryUsage"
	vmActive     = "summary.quickStats.guestMemoryUsage"
	hostUsage    = "summary.quickStats.overallCpuUsage"
	hostConsumed = "summary.quickStats.overallMemoryUsage"
	hostCustom   = "customValue" // the mark is not left to notifications: power follows from it
	storeFree    = "summary.freeSpace"
)

// poll writes the loads of this moment into inv. A gap of the vCenter blinds
// every move there, so only what makes moves unsafe is one; what merely leaves
// a number unknown is a gap of this feed.
func (s *Source) poll(ctx context.Context, conn *vsphere.Conn, b *inventory, inv *engine.Inventory, g *gaps) {
	now := engine.At(time.Now())
	vc := string(conn.VCenter)
	defer s.slow(vc, g)
	if err := s.pollStats(ctx, conn, b, inv, now); err != nil {
		g.add("vcenter", vc, "loads cannot be read: %v", err)
		if vsphere.Unreachable(err) {
			return // nor would it answer the rest
		}
	} else {
		unseen(inv, g)
	}
	if err := s.pollTasks(ctx, conn, b, inv, now); err != nil {
		g.add("vcenter", vc, "running tasks cannot be read: %v", err)
	}
	if err := s.pollPower(ctx, conn, b, inv, now); err != nil {
		g.add("feed", s.Name(), "power cannot be read: %v", err)
	}
}

// slow reports on what is read every few minutes. While it is merely getting
// older it is still good; what was never read might forbid anything.
func (s *Source) slow(vc string, g *gaps) {
	for _, x := range []struct {
		what string
		err  error
		read bool
	}{
		{"tags", s.tags.err, time.Since(s.tags.at) < tagsStale},
		{"tags that say stop", s.stops.err, s.stops.tagged != nil || s.cfg.NoTags},
		{"custom attributes", s.fields.err, s.fields.names != nil},
		{"storage policies", s.profiles.err, s.profiles.read},
	} {
		switch {
		case x.err == nil:
		case x.read:
			g.add("feed", s.Name(), "%s cannot be read again: %v", x.what, x.err)
		default:
			g.add("vcenter", vc, "%s cannot be read: %v", x.what, x.err)
		}
	}
}

// idle gives what is switched off its load: none. That is known, not unseen.
func (s *Source) idle(inv *engine.Inventory, now engine.Unix) {
	for i := range inv.Hosts {
		if h := &inv.Hosts[i]; h.Power == engine.HostStandby || h.Power == engine.HostOff {
			h.UsedMHz, h.UsedMiB, h.LoadAt = 0, 0, now
		}
	}
	for i := range inv.VMs {
		if v := &inv.VMs[i]; v.Power != engine.VMOn {
			v.UsedMHz, v.UsedMiB, v.ActiveMiB, v.LoadAt = 0, 0, 0, now
		}
	}
}

func (s *Source) pollStats(ctx context.Context, conn *vsphere.Conn, b *inventory, inv *engine.Inventory, now engine.Unix) error {
	view, err := s.loads.get(ctx, conn)
	if err != nil {
		return err
	}
	spec := vsphere.Viewed(view,
		types.PropertySpec{Type: "VirtualMachine", PathSet: []string{vmUsage, vmDemand, vmConsumed, vmActive}},
		types.PropertySpec{Type: "HostSystem", PathSet: []string{hostUsage, hostConsumed, hostCustom}},
		types.PropertySpec{Type: "Datastore", PathSet: []string{storeFree}})
	return conn.Retrieve(ctx, spec, func(objects []types.ObjectContent) error {
		for i := range objects {
			o := &objects[i]
			switch o.Obj.Type {
			case "VirtualMachine":
				if k := at(b.vms, o.Obj.Value); k >= 0 {
					vmLoad(&inv.VMs[k], inv.Hosts, o.PropSet, now)
				}
			case "HostSystem":
				if k := at(b.hosts, o.Obj.Value); k >= 0 {
					s.hostLoad(&inv.Hosts[k], o.PropSet, now)
				}
			case "Datastore":
				if k := at(b.stores, o.Obj.Value); k >= 0 {
					for _, p := range o.PropSet {
						if free, ok := p.Val.(int64); ok {
							inv.Datastores[k].FreeMiB = free >> 20
						}
					}
				}
			}
		}
		return nil
	})
}

// vmLoad takes the load of a VM that runs on a host which answers: what a vCenter
// remembers of a host that does not is old.
func vmLoad(v *engine.VM, hosts []engine.Host, props []types.DynamicProperty, now engine.Unix) {
	if v.Power != engine.VMOn || v.Host < 0 || !hosts[v.Host].Connected {
		return
	}
	for i := range props {
		n, ok := props[i].Val.(int32)
		if !ok {
			continue
		}
		switch props[i].Name {
		case vmUsage, vmDemand:
			// Demand is what the VM would use unhindered; usage may exceed it
			// while clocks are boosted. The larger of the two is what it needs.
			v.UsedMHz = max(v.UsedMHz, n)
		case vmConsumed:
			v.UsedMiB = n
		case vmActive:
			v.ActiveMiB = n
		}
	}
	if v.Seen() {
		v.LoadAt = now
	}
}

func (s *Source) hostLoad(h *engine.Host, props []types.DynamicProperty, now engine.Unix) {
	for i := range props {
		p := &props[i]
		if p.Name == hostCustom {
			list, _ := s.fields.attributes(customValues(p.Val))
			h.Mark = attribute(list, markField)
			continue
		}
		n, ok := p.Val.(int32)
		if !ok || h.Power != engine.HostOn || !h.Connected {
			continue
		}
		switch p.Name {
		case hostUsage:
			h.UsedMHz = n
		case hostConsumed:
			h.UsedMiB = n
		}
	}
	if h.Seen() && h.Power == engine.HostOn {
		h.LoadAt = now
	}
}

// unseen makes gaps of the hosts and VMs that run and whose load was not given.
func unseen(inv *engine.Inventory, g *gaps) {
	for i := range inv.Hosts {
		switch h := &inv.Hosts[i]; {
		case h.Seen():
		case !h.Connected:
			g.add("host", string(h.ID), "%s does not answer its vCenter", h.Name)
		default:
			g.add("host", string(h.ID), "the load of %s is not given", h.Name)
		}
	}
	for i := range inv.VMs {
		v := &inv.VMs[i]
		if !v.Seen() && (v.Host < 0 || inv.Hosts[v.Host].Connected) {
			g.add("vm", string(v.ID), "the load of %s is not given", v.Name)
		}
	}
}
