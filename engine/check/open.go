package check

import "heliostat/engine"

// expected finds where VMs that the snapshot does not have are going. Nobody knows
// what they take there: nothing else may come, and the host may not go.
func (c *checker) expected() {
	for k := range c.in.Open {
		o := &c.in.Open[k]
		if o.State.Terminal() || o.Action.Kind != engine.Move {
			continue
		}
		if _, known := c.s.FindVM(o.Action.VM); known {
			continue
		}
		if h, ok := c.s.FindHost(o.Action.To.Host); ok {
			c.unseen[h] = o.Action.ID
		}
		if k, ok := c.s.FindCluster(o.Action.To.Cluster); ok && o.Action.To.DRS {
			for _, h := range c.s.HostsOf(k) {
				c.unseen[h] = o.Action.ID
			}
		}
	}
}

// busy refuses what another action or a foreign task is about.
func (c *checker) busy(i int32, a *engine.Action, e step) {
	for k := range c.in.Open {
		o := &c.in.Open[k]
		if o.State.Terminal() {
			continue
		}
		same := o.Action.Kind == engine.Move && a.Kind == engine.Move && o.Action.VM == a.VM
		same = same || (o.Action.Kind != engine.Move && a.Kind != engine.Move && o.Action.From.Host == a.From.Host)
		if same {
			c.refuse(i, engine.HoldBusy, "%s is under way", o.Action.ID)
		}
	}
	if a.Kind == engine.Move {
		if t := c.s.VMs[e.vm].Task; t != "" {
			c.refuse(i, engine.HoldBusy, "a task runs on it: %s", t)
		}
		if id := c.unseen[e.to]; id != "" && e.from != e.to {
			c.refuse(i, engine.HoldBusy, "%s brings a VM to the destination that is not in the snapshot", id)
		}
		return
	}
	if id := c.unseen[e.from]; id != "" && a.Kind != engine.Wakeup {
		c.refuse(i, engine.HoldBusy, "%s brings a VM to it that is not in the snapshot", id)
	}
	if n := c.s.Hosts[e.from].Tasks; n > 0 {
		c.refuse(i, engine.HoldBusy, "%d tasks run on it", n)
	}
	for j := range c.atHost(e.from) {
		if j < i && c.p.Actions[j].Kind != engine.Move {
			c.refuse(i, engine.HoldBusy, "%s is about the host too", c.p.Actions[j].ID)
		}
	}
}

// opens starts what is under way on the base: reserved at both ends. What the
// snapshot shows as done holds nothing; of a VM that it does not have, the disks
// are counted.
func (w *world) opens() {
	for _, o := range w.c.underWay() {
		if w.base.Start(&o.Action) != nil {
			w.written(&o.Action)
			continue
		}
		e := w.c.stepOf(&o.Action)
		if e.vm >= 0 {
			e.foot = w.base.Foot[e.vm]
		}
		w.acts, w.steps, w.waits = append(w.acts, &o.Action), append(w.steps, e), append(w.waits, 0)
	}
}

// underWay lists the open actions that have not ended.
func (c *checker) underWay() []*engine.ActionRecord {
	var out []*engine.ActionRecord
	for k := range c.in.Open {
		if o := &c.in.Open[k]; !o.State.Terminal() {
			out = append(out, o)
		}
	}
	return out
}

// stepOf is an open action, as far as what it names is in the snapshot.
func (c *checker) stepOf(a *engine.Action) step {
	e := step{vm: engine.None, to: engine.None, kind: a.Kind, storage: a.Storage, seconds: a.Estimate.Seconds}
	e.from, _ = c.s.FindHost(a.From.Host)
	if a.Kind == engine.Move {
		e.vm, _ = c.s.FindVM(a.VM)
		e.to, _ = c.s.FindHost(a.To.Host)
	}
	e.inside = e.from >= 0 && e.to >= 0 && e.from != e.to && c.s.Hosts[e.from].Cluster == c.s.Hosts[e.to].Cluster
	return e
}

// written takes the space of a VM that is on its way and that the snapshot does
// not have.
func (w *world) written(a *engine.Action) {
	if _, known := w.c.s.FindVM(a.VM); known || a.Kind != engine.Move {
		return
	}
	if d, ok := w.c.s.FindDatastore(a.HomeTo); ok {
		w.base.Free[d] -= a.SwapMiB
	}
	for _, t := range a.Disks {
		if d, ok := w.c.s.FindDatastore(t.To); ok && t.To != t.From {
			w.base.Free[d] -= t.MiB
		}
	}
}
