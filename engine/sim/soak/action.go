package soak

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// away reports whether a vCenter of the action does not answer.
func (x *executor) away(a *engine.Action) bool {
	for _, vc := range []engine.VCenterID{a.From.VCenter, a.To.VCenter} {
		if c, ok := x.w.t.FindVCenter(vc); ok && x.w.away[c] {
			return true
		}
	}
	return false
}

// call looks once more, and submits.
func (x *executor) call(f *flight) {
	w, a := x.w, &f.rec.Action
	if x.away(a) {
		x.end(f, engine.StateStale, "look before the call")
		return
	}
	if source, _, detail := x.look(a); !source && w.spoilt != blind {
		x.end(f, engine.StateStale, "not as planned: "+detail)
		return
	}
	w.r.Actions++
	w.note("start %s %s", a.ID, a)
	w.j.called(f)
	d := &w.d
	luck := 1000
	if w.breaking() {
		luck = d.roll(1000)
	}
	switch {
	case luck < 30:
		w.fault("call_refused", "%s", a.ID)
		x.end(f, engine.StateRejected, "refused")
	case luck < 45:
		w.fault("request_lost", "%s", a.ID)
		x.resolve(f)
	case luck < 60:
		w.fault("reply_lost", "%s", a.ID)
		x.submit(f)
		if w.spoilt == naive {
			x.submit(f)
		}
		x.resolve(f)
	case luck < 75:
		w.fault("call_late", "%s", a.ID)
		w.in(d.between(1, 90), func() {
			if !f.bounces {
				x.submit(f)
			}
		})
		x.resolve(f)
	default:
		x.follow(f, x.submit(f))
	}
}

// breaking reports whether faults happen now.
func (w *world) breaking() bool {
	return w.faulty && int64(w.now-w.t.At)%day < quietAt
}

// submit is the vCenter that receives the call.
func (x *executor) submit(f *flight) *task {
	w, a, d := x.w, &f.rec.Action, &x.w.d
	k := &task{act: *a, ours: true, vm: engine.None, host: engine.None, to: engine.None}
	if a.Kind == engine.Move {
		k.vm, _ = w.t.FindVM(a.VM)
		k.to, _ = w.t.FindHost(a.To.Host)
		if a.To.DRS {
			if h := w.chosen(k.vm, k.to); h >= 0 {
				k.to, k.act.To.Host = h, w.t.Hosts[h].ID
			} else {
				k.err = "no host of the cluster has room"
			}
		}
	} else {
		k.host, _ = w.t.FindHost(a.From.Host)
	}
	w.j.submitted(f, k)
	seconds := max(f.usual*d.between(60, 140)/100, 2)
	if w.breaking() {
		left := int(settled - int64(w.now-w.t.At)%day)
		switch luck := d.roll(1000); {
		case luck < 40:
			w.fault("task_fails", "%s", a.ID)
			k.fails, seconds = true, seconds*d.between(1, 99)/100
		case luck < 50:
			w.fault("task_hangs", "%s", a.ID)
			k.fails, seconds = true, min(seconds+d.between(hour, 3*hour), left)
		case luck < 60:
			w.fault("task_vanishes", "%s", a.ID)
			k.gone, k.fails, seconds = true, d.chance(500), seconds*d.between(1, 99)/100
		}
	}
	return w.launch(k, seconds)
}

// look reads where the action's object really stands: still as the action's From
// says and nothing runs on it; or as the action wants it.
func (x *executor) look(a *engine.Action) (source, arrived bool, detail string) {
	w := x.w
	if a.Kind == engine.Move {
		v, ok := w.t.FindVM(a.VM)
		if !ok {
			return false, false, "there is no such VM"
		}
		h := &w.t.Hosts[w.t.VMs[v].Host]
		idle, there := w.task[v] == nil, h.ID == a.To.Host || (a.To.DRS && w.t.Clusters[h.Cluster].ID == a.To.Cluster)
		return idle && h.ID == a.From.Host, idle && there && w.homed(v, a), "on " + string(h.ID)
	}
	i, ok := w.t.FindHost(a.From.Host)
	if !ok {
		return false, false, "there is no such host"
	}
	h := &w.t.Hosts[i]
	on, idle := h.Power == engine.HostOn && h.Connected, w.hostJob[i] == nil
	switch a.Kind {
	case engine.Standby:
		source, arrived = on && !h.Maintenance && w.leaves(i), h.Power == engine.HostStandby
	case engine.Wakeup:
		source, arrived = h.Power == engine.HostStandby, on
	case engine.EnterMaintenance:
		source, arrived = on && !h.Maintenance && w.leaves(i), h.Maintenance
	case engine.ExitMaintenance:
		source, arrived = h.Maintenance, on && !h.Maintenance
	case engine.Move:
	}
	return source && idle, arrived && idle, h.Power.String()
}

// homed reports whether the VM's files are where the move takes them.
func (w *world) homed(v int32, a *engine.Action) bool {
	if !a.Storage {
		return true
	}
	home := w.t.VMs[v].Home
	return home >= 0 && w.t.Datastores[home].ID == a.HomeTo
}

// leaves reports whether host i can be closed: nothing runs on it, or its
// cluster's own scheduler empties it.
func (w *world) leaves(i int32) bool {
	return w.t.Clusters[w.t.Hosts[i].Cluster].DRS == engine.DRSFull || w.occupied(i) == 0
}

// resolve finds out what became of a call that was not answered: it ends the
// session, settles, and asks the task history.
func (x *executor) resolve(f *flight) {
	if x.away(&f.rec.Action) {
		x.later(5, func() { x.resolve(f) })
		return
	}
	f.bounces = true
	x.later(30, func() { x.ask(f) })
}

func (x *executor) ask(f *flight) {
	w, a := x.w, &f.rec.Action
	if x.away(a) {
		x.later(30, func() { x.ask(f) })
		return
	}
	for _, k := range slices.Backward(w.tasks) {
		if k.start < f.rec.Started-60 {
			break
		}
		if k.ours && k.act.Kind == a.Kind && k.act.VM == a.VM && (a.Kind == engine.Move || k.act.From.Host == a.From.Host) {
			f.rec.Adopted = true
			x.follow(f, k)
			return
		}
	}
	source, arrived, detail := x.look(a)
	switch {
	case arrived:
		x.end(f, engine.StateSucceeded, "")
	case source:
		x.end(f, engine.StateStale, "the call never arrived")
	default:
		x.end(f, engine.StateLost, detail)
	}
}

// follow journals the task and waits for its end.
func (x *executor) follow(f *flight, k *task) {
	f.rec.Task, f.rec.State = k.key, engine.StateStarted
	x.wait(f, k)
}

func (x *executor) wait(f *flight, k *task) {
	switch {
	case !k.done:
		x.later(max(int(k.ends-x.w.now), 5), func() { x.wait(f, k) })
	case x.away(&f.rec.Action):
		x.later(5, func() { x.wait(f, k) })
	default:
		x.verify(f, k, x.w.now+minute)
	}
}

// verify judges by where the object really stands, not by what the task says.
func (x *executor) verify(f *flight, k *task, until engine.Unix) {
	a := &f.rec.Action
	_, arrived, detail := x.look(a)
	switch {
	case x.away(a):
		if x.w.now > until {
			x.end(f, engine.StateLost, "the vCenter does not answer")
			return
		}
		x.later(10, func() { x.verify(f, k, until) })
	case arrived:
		x.mark(a)
		x.end(f, engine.StateSucceeded, "")
	case k.err != "" || k.gone:
		x.end(f, engine.StateFailed, cmp.Or(k.err, "the task is gone"))
	case x.w.now > until:
		x.end(f, engine.StateFailed, "the task ended well, but: "+detail)
	default:
		x.later(10, func() { x.verify(f, k, until) })
	}
}

// mark writes on the host whose it is.
func (x *executor) mark(a *engine.Action) {
	w := x.w
	h, ok := w.t.FindHost(a.From.Host)
	if a.Kind == engine.Move || !ok || w.owner[h] == person {
		return
	}
	if w.breaking() && w.d.chance(20) {
		w.fault("mark_fails", "%s", a.ID)
		return
	}
	switch a.Kind {
	case engine.Standby:
		w.t.Hosts[h].Mark = "standby " + a.ID
	case engine.EnterMaintenance:
		w.t.Hosts[h].Mark = "maintenance " + a.ID
	case engine.Wakeup, engine.ExitMaintenance:
		w.t.Hosts[h].Mark = ""
	case engine.Move:
	}
}

// end journals the end of an action and starts what has become ready.
func (x *executor) end(f *flight, s engine.ActionState, reason string) {
	w := x.w
	if f.rec.State.Terminal() {
		w.broken("terminal once", "%s was %s and is now %s", f.rec.Action.ID, f.rec.State, s)
		return
	}
	f.rec.State, f.rec.Error, f.rec.Ended = s, reason, w.now
	w.j.ended(f.rec.Action.ID)
	w.r.Ended[string(s)]++
	w.note("end %s %s %s", f.rec.Action.ID, s, reason)
	x.open = slices.DeleteFunc(x.open, func(g *flight) bool { return g == f })
	x.ended = append(x.ended, f.rec)
	x.slots.Release(&f.rec.Action)
	if p := f.program; p != nil {
		p.done[f.index], p.dead[f.index] = s == engine.StateSucceeded, s != engine.StateSucceeded
	}
	x.start()
}
