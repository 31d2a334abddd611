package lab

import (
	"path"
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// An incident is one that was given to the lab.
type incident struct {
	Incident
	rule   *kindRule
	id     int
	on     bool
	ends   time.Time // zero when nothing ends it but a hit or a wish
	over   bool      // ended: what is on the agenda for it is void
	hits   int
	hidden map[types.ManagedObjectReference]bool
}

// once reports whether it ends with its first hit.
func (in *incident) once() bool { return in.For == 0 && in.P == 0 }

// schedule has an incident begin d from now; one that recurs does so after a time
// that is drawn, at least d.
func (l *Lab) schedule(in *incident, d time.Duration) {
	if in.Every > 0 {
		d += time.Duration(l.rng.ExpFloat64() * float64(in.Every))
	}
	if d <= 0 {
		l.set(in)
		return
	}
	l.after(d, func() { l.set(in) })
}

// set has an incident begin, and says when it ends.
func (l *Lab) set(in *incident) {
	if in.over {
		return
	}
	in.on, in.ends = true, time.Time{}
	if in.For > 0 {
		in.ends = l.now.Add(in.For)
	}
	l.happen(in)
	if in.For > 0 {
		l.after(in.For, func() { l.finish(in) })
	} else if in.rule.class == momentary {
		l.finish(in)
	}
}

// finish ends an incident, which may recur.
func (l *Lab) finish(in *incident) {
	if in.over {
		return
	}
	if in.Every == 0 {
		l.forget(in)
		return
	}
	l.undo(in)
	l.schedule(in, 0)
}

// forget ends an incident for good.
func (l *Lab) forget(in *incident) {
	in.over = true
	l.incidents = slices.DeleteFunc(l.incidents, func(o *incident) bool { return o == in })
	l.undo(in)
}

// undo ends what an incident does by itself.
func (l *Lab) undo(in *incident) {
	in.on = false
	switch in.Kind {
	case "task_hangs":
		for _, mv := range l.moves {
			if mv.hung == in {
				mv.until = l.now
			}
		}
		for _, op := range l.ops {
			if op.hung == in {
				op.at = l.now
			}
		}
		l.poke()
	case "inventory_shrinks":
		l.relist(in)
	case "drs":
		for _, k := range l.clusters {
			if in.at(k.vc) && (in.Target == "" || k.cfg.Name == in.Target) {
				k.restless = time.Time{}
			}
		}
	}
}

// happen does what an incident does by itself. What hits calls and tasks waits for them.
func (l *Lab) happen(in *incident) {
	if in.rule.class == lasting || in.rule.class == momentary {
		in.hits++
	}
	switch in.Kind {
	case "session_killed":
		in.eachVCenter(l, func(v *vcenter) { v.killSessions(in.Target) })
	case "vcenter_restarts":
		in.eachVCenter(l, (*vcenter).restart)
	case "inventory_shrinks":
		in.hidden = l.choose(in)
		l.relist(in)
	case "foreign_move":
		l.foreignMove(in)
	case "drs":
		for _, k := range l.clusters {
			if in.at(k.vc) && (in.Target == "" || k.cfg.Name == in.Target) {
				k.restless, k.next = l.now.AddDate(100, 0, 0), l.now
			}
		}
	}
}

func (in *incident) at(v *vcenter) bool { return in.VCenter == "" || in.VCenter == v.name }

func (in *incident) eachVCenter(l *Lab, f func(*vcenter)) {
	for _, v := range l.vcs {
		if in.at(v) {
			f(v)
		}
	}
}

// active are the incidents of a kind that go on at a vCenter now.
func (v *vcenter) active(kind string) (out []*incident) {
	for _, in := range v.lab.incidents {
		if in.on && in.Kind == kind && in.at(v) {
			out = append(out, in)
		}
	}
	return out
}

// hit draws whether an incident of calls or tasks that matches hits, and counts it.
func (l *Lab) hit(in *incident) bool {
	if in.P > 0 && l.rng.Float64() >= in.P {
		return false
	}
	in.hits++
	if in.once() {
		l.forget(in)
	}
	return true
}

// faultOf is what the incidents of calls do to one.
func (l *Lab) faultOf(v *vcenter, c Call) (f Fault) {
	for _, in := range slices.Clone(l.incidents) {
		if !in.on || in.rule.class != ofCalls || !in.at(v) {
			continue
		}
		if ok, _ := path.Match(in.Target, c.Method); in.Target != "" && !ok {
			continue
		}
		if l.hit(in) {
			f.add(in)
		}
	}
	return f
}

func (f *Fault) add(in *incident) {
	switch in.Kind {
	case "refused":
		f.Refuse = 503
	case "lost":
		f.Lose = true
	case "lost_reply":
		f.LoseReply = true
	case "late":
		f.Delay += in.By
	case "late_reply":
		f.Late += in.By
	case "doubled":
		f.Double = true
	case "truncated":
		f.Truncate = true
	case "html":
		f.HTML = true
	}
}

// A doom is what will befall a task, and where in it.
type doom struct {
	by      *incident
	kind    string
	percent int
	until   time.Time // of a hang; zero for ever
}

// doomOf draws what befalls a task about a VM or hosts at a vCenter; nil for nothing.
func (l *Lab) doomOf(v *vcenter, names ...string) *doom {
	for _, in := range slices.Clone(l.incidents) {
		if !in.on || in.rule.class != ofTasks || !in.at(v) || (in.Target != "" && !slices.Contains(names, in.Target)) {
			continue
		}
		if l.hit(in) {
			return &doom{by: in, kind: in.Kind, percent: in.Percent, until: in.ends}
		}
	}
	return nil
}

// strike is what a doom does to a task when its time has come: how it fails, or
// until when it hangs; the task itself where it vanishes.
func (d *doom) strike(v *vcenter, t **simulator.Task) (f types.BaseMethodFault, until time.Time) {
	until = v.lab.now
	switch d.kind {
	case "task_fails":
		f = because(&types.GenericVmConfigFault{Reason: "injected"}, "the lab had the task fail at %d %%", d.percent)
	case "task_hangs":
		switch {
		case d.by.over && !d.by.once(): // it has ended before the task came so far
		case d.until.IsZero():
			until = v.lab.now.AddDate(100, 0, 0)
		default:
			until = d.until
		}
	case "task_vanishes":
		*t = v.vanish(*t)
	}
	return f, until
}

// now is what a vCenter's clock shows.
func (v *vcenter) now() time.Time {
	t := v.lab.now
	for _, in := range v.active("clock_skew") {
		t = t.Add(in.By)
	}
	return t
}

func (v *vcenter) down() bool { return len(v.active("vcenter_restarts")) > 0 }

// denies reports whether an account has lost its permissions.
func (v *vcenter) denies(user string) bool {
	return slices.ContainsFunc(v.active("permission_lost"), func(in *incident) bool { return in.Target == "" || in.Target == user })
}

// hides reports whether an object is not listed now.
func (v *vcenter) hides(ref types.ManagedObjectReference) bool {
	return slices.ContainsFunc(v.active("inventory_shrinks"), func(in *incident) bool { return in.hidden[ref] })
}
