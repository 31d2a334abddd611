package lab

import (
	"maps"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// person is who moves VMs that nobody asked the lab's clients about.
const person = "VSPHERE.LOCAL\\Administrator"

// Login lets an account in, and remembers the session.
func (c *control) Login(ctx *simulator.Context, req *types.Login) soap.HasFault {
	res := ctx.Map.SessionManager().Login(ctx, req)
	if res.Fault() == nil {
		c.sessions[ctx.Session.Key] = ctx.Session
	}
	return res
}

// killSessions ends the sessions of an account, or all with "", as an
// administrator does.
func (v *vcenter) killSessions(user string) {
	for key, s := range v.control.sessions {
		if user != "" && s.UserName != user {
			continue
		}
		v.control.endSession(key)
		v.registry().SessionManager().TerminateSession(v.ctx(""), &types.TerminateSession{SessionId: []string{key}})
	}
	maps.DeleteFunc(v.tags.sessions, func(_ string, s *rest.Session) bool { return user == "" || s.User == user })
}

// restart has the vCenter forget what it keeps in memory: sessions with their
// filters and collectors, and tasks as objects. What waited for a slot is lost.
// Moves that run are between hosts and go on; the history says that they failed.
func (v *vcenter) restart() {
	v.killSessions("")
	cut := because(&types.SystemError{Reason: "vCenter was restarted"}, "the operation was cut short: vCenter was restarted")
	for _, mv := range slices.Clone(v.lab.moves) {
		switch {
		case mv.v != v:
		case mv.phase == queued:
			v.lab.end(mv, cut)
		default:
			mv.task = v.cutShort(mv.task, cut)
		}
	}
	for _, op := range v.lab.ops {
		if op.h.vc == v {
			op.task = v.cutShort(op.task, cut)
		}
	}
	for _, o := range v.registry().AllReference("Task") {
		if t, ok := o.(*simulator.Task); ok {
			v.drop(t)
		}
	}
}

// cutShort ends a task in the history while its work goes on, and returns a task
// that nobody sees for what does it.
func (v *vcenter) cutShort(t *simulator.Task, f types.BaseMethodFault) *simulator.Task {
	unseen := unseenCopy(t)
	v.endTask(t, f)
	return unseen
}

// vanish has a task disappear while its work goes on: as an object, and from the
// history of what it was about. It returns a task that nobody sees for what does it.
func (v *vcenter) vanish(t *simulator.Task) *simulator.Task {
	unseen := unseenCopy(t)
	v.drop(t)
	t.Info.Entity, t.Info.QueueTime = &types.ManagedObjectReference{Type: t.Info.Entity.Type, Value: "none"}, v.lab.cfg.Start.AddDate(-1, 0, 0)
	return unseen
}

func unseenCopy(t *simulator.Task) *simulator.Task {
	unseen := &simulator.Task{}
	unseen.Self, unseen.Info = t.Self, t.Info
	return unseen
}

// drop forgets a task as an object.
func (v *vcenter) drop(t *simulator.Task) {
	if e, ok := v.registry().Get(*t.Info.Entity).(mo.Entity); ok {
		v.update(e, types.PropertyChange{Name: "recentTask", Val: without(e.Entity().RecentTask, t.Self)})
	}
	tm := lookup[*simulator.TaskManager](v.registry(), *vcContent(v).TaskManager)
	v.update(tm, types.PropertyChange{Name: "recentTask", Val: without(tm.RecentTask, t.Self)})
	v.registry().Remove(v.ctx(""), t.Self)
}

// choose draws or finds the objects that an incident hides.
func (l *Lab) choose(in *incident) map[types.ManagedObjectReference]bool {
	hidden := map[types.ManagedObjectReference]bool{}
	for _, m := range l.machines {
		h := l.hosts[m.host]
		named := in.Target == m.name || in.Target == h.name || in.Target == l.clusters[h.cluster].cfg.Name
		if in.at(m.vc) && (named || (in.Target == "" && l.rng.IntN(100) < in.Percent)) {
			hidden[m.obj.Self] = true
		}
	}
	for _, h := range l.hosts {
		if in.at(h.vc) && (in.Target == h.name || in.Target == l.clusters[h.cluster].cfg.Name) {
			hidden[h.obj.Self] = true
		}
	}
	if k := l.clusterNamed(in.Target); k != nil && in.at(k.vc) {
		hidden[k.obj.Self] = true
	}
	return hidden
}

// relist has every filter look again at what it selects.
func (l *Lab) relist(in *incident) {
	in.eachVCenter(l, func(v *vcenter) {
		v.hub.mu.Lock()
		defer v.hub.mu.Unlock()
		for _, pc := range v.hub.collectors {
			for _, f := range pc.filters {
				f.resync = true
			}
			pc.poke()
		}
	})
}

// hidden reports whether an object is not to be seen by a call.
func hidden(ctx *simulator.Context, ref types.ManagedObjectReference) bool {
	c := lookup[*control](ctx.Map, controlRef)
	return c != nil && len(c.v.lab.incidents) > 0 && c.v.hides(ref)
}

// FindByUuid finds what is listed.
//
//nolint:staticcheck // the simulator finds methods by the API's names
func (c *control) FindByUuid(ctx *simulator.Context, req *types.FindByUuid) soap.HasFault {
	res := c.index(ctx).FindByUuid(ctx, req)
	if b, ok := res.(*methods.FindByUuidBody); ok && b.Res != nil && b.Res.Returnval != nil && c.v.hides(*b.Res.Returnval) {
		b.Res.Returnval = nil
	}
	return res
}

// FindAllByUuid finds what is listed.
//
//nolint:staticcheck // the simulator finds methods by the API's names
func (c *control) FindAllByUuid(ctx *simulator.Context, req *types.FindAllByUuid) soap.HasFault {
	res := c.index(ctx).FindAllByUuid(ctx, req)
	if b, ok := res.(*methods.FindAllByUuidBody); ok && b.Res != nil {
		b.Res.Returnval = slices.DeleteFunc(b.Res.Returnval, c.v.hides)
	}
	return res
}

func (c *control) index(ctx *simulator.Context) *simulator.SearchIndex {
	return lookup[*simulator.SearchIndex](ctx.Map, *vcContent(c.v).SearchIndex)
}

// foreignMove has a person move a VM to another host of its cluster: the one
// that is named, or one that is drawn.
func (l *Lab) foreignMove(in *incident) {
	var moves []*move
	for _, m := range l.machines {
		if !in.at(m.vc) || m.agent || m.busy() != nil || (in.Target != "" && in.Target != m.name) || (in.Target == "" && !m.on) {
			continue
		}
		for _, h := range l.hosts {
			same := h.cluster == l.hosts[m.host].cluster && h.index != m.host
			if same && (in.To == "" || h == l.findHost(in.To)) {
				if mv := l.within(m, h); in.Target != "" || l.check(mv) == nil {
					moves = append(moves, mv)
				}
			}
		}
	}
	if len(moves) == 0 {
		return
	}
	mv := moves[l.rng.IntN(len(moves))]
	mv.user = person
	l.submit(mv)
}
