package backtest

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/cycle"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
)

// An actual measures the record itself: what was done, and by the model of power
// what that took.
type actual struct {
	r      *Record
	m      *meter
	w      *fleet // for what hypervisors take
	level  engine.Mode
	before *moment
}

func (x *actual) step(_ context.Context, f *frame, m *moment) error {
	if x.before != nil {
		x.m.pass(x.before.in.Now, m.in.Now, x.before.snapshot, x.w.own)
		for k := range f.ended {
			x.m.ended(m.snapshot, &f.ended[k])
		}
	}
	x.m.decided(m.snapshot, m.decision.Audience(x.level, ""), m.in.Config.Cost.EnergyWhPerGB)
	for h := range m.snapshot.Hosts {
		x.w.host(m, m.snapshot, int32(h))
	}
	var p engine.Plan
	if err := x.r.read("plan", f.enforced().plan.Digest, &p); err != nil {
		return err
	}
	x.m.planned(&p)
	x.m.point(m.in.Now, m.snapshot, x.w.own)
	x.m.run.Revision, x.before = f.revision, m
	return nil
}

// A simulation lets a bundle run the fleet from the first recorded cycle on. What is
// heard at its level is carried out: at Advise, as if each advised plan were approved.
type simulation struct {
	b       bench
	m       *meter
	w       *fleet
	level   engine.Mode
	now     engine.Unix
	history *engine.History
	open    []*flight // by start
	ended   []engine.ActionRecord
	slots   *engine.Slots
	program *program
}

func (x *simulation) step(ctx context.Context, f *frame, m *moment) error {
	p, err := x.b.of(ctx, m.decision)
	if err != nil {
		return err
	}
	x.advance(m.in.Now)
	x.w.recordedActions(m.in.Now, f.begun)
	return x.cycle(ctx, m, p)
}

// A program is the plan being carried out.
type program struct {
	hash    string
	actions []engine.Action
	done    []engine.ActionState // by action; "" while it waits or runs
	queue   []int                // not started, by rank
}

// A flight is an action under way.
type flight struct {
	rec     engine.ActionRecord
	ends    engine.Unix
	program *program // nil once that has been replaced
	index   int
}

// cycle is one pass along the line: see engine/cycle.
func (x *simulation) cycle(ctx context.Context, m *moment, p Policy) error {
	s := x.w.observe(m)
	x.now = m.in.Now
	if x.history == nil {
		x.history = m.history
		for _, o := range m.view.Open {
			x.open = append(x.open, &flight{rec: o, ends: max(x.now+1, o.Started+engine.Unix(o.Action.Estimate.Expected()))})
		}
	} else {
		past := x.history
		x.history = engine.Fold(past, s, x.ended, m.in.Config.Low)
		engine.NoteForeign(past, x.history, s, x.records(), x.ended)
		x.history.Census, x.history.Stops, x.history.Quarantine = m.history.Census, m.history.Stops, m.history.Quarantine
	}
	x.ended = nil
	x.slots = engine.NewSlots(m.in.Config.Limits, s)
	for _, f := range x.open {
		x.slots.Take(&f.rec.Action)
	}
	v := m.view
	v.Snapshot, v.History, v.Open, v.Budget = s, x.history, x.records(), plan.BudgetLeft(m.in.Config, x.history, x.now)
	d, err := p.Evaluate(ctx, v)
	if err != nil {
		return err
	}
	x.m.run.Revision = d.Revision
	d = cycle.Relay(m.decision, d, s)
	in := m.in
	in.Snapshot, in.History, in.Decision, in.Open, in.Vetoes, in.Level = s, x.history, d.Audience(x.level, ""), v.Open, nil, x.level
	made, _, err := cycle.Settle(ctx, p, v, &in)
	if err != nil {
		return err
	}
	review, err := p.Review(ctx, v, made)
	if err != nil {
		return err
	}
	x.m.decided(s, in.Decision, in.Config.Cost.EnergyWhPerGB)
	x.m.planned(made)
	x.m.point(x.now, s, x.w.own)
	switch err := check.Plan(in, made); {
	case in.Paused != "":
		x.offer(nil)
	case err != nil || len(review.Rejects) > 0:
		x.m.run.Totals.Refused++
		if x.m.run.Refused == "" && err != nil {
			x.m.run.Refused = err.Error()
		} else if x.m.run.Refused == "" {
			x.m.run.Refused = review.Rejects[0]
		}
	case review.Approvers > 0 && x.level == engine.Enforce && len(made.Actions) > 0:
		x.m.run.Totals.Waiting++
	default:
		x.offer(made)
	}
	return nil
}

func (x *simulation) records() []engine.ActionRecord {
	out := make([]engine.ActionRecord, len(x.open))
	for i, f := range x.open {
		out[i] = f.rec
	}
	slices.SortFunc(out, func(a, b engine.ActionRecord) int {
		return cmp.Or(cmp.Compare(len(a.Action.ID), len(b.Action.ID)), strings.Compare(a.Action.ID, b.Action.ID)) // c9-1 before c10-1
	})
	return out
}

// offer makes p the current plan: what the older has not started is dropped.
func (x *simulation) offer(p *engine.Plan) {
	for _, f := range x.open {
		f.program = nil
	}
	x.program = nil
	if p == nil {
		return
	}
	q := &program{hash: p.Hash(), actions: p.Actions, done: make([]engine.ActionState, len(p.Actions))}
	for i := range p.Actions {
		q.queue = append(q.queue, i)
	}
	slices.SortStableFunc(q.queue, func(a, b int) int { return int(p.Actions[a].Rank - p.Actions[b].Rank) })
	x.program = q
	x.start()
}

// start starts what is ready and fits, by rank, as the executor does.
func (x *simulation) start() {
	q := x.program
	if q == nil {
		return
	}
	rest := q.queue[:0]
	for _, i := range q.queue {
		a := &q.actions[i]
		switch {
		case slices.ContainsFunc(a.After, func(j int32) bool { return q.done[j] == engine.StateFailed || q.done[j] == engine.StateStale }):
			q.done[i] = engine.StateStale
		case slices.ContainsFunc(a.After, func(j int32) bool { return q.done[j] == "" }),
			slices.ContainsFunc(x.open, func(f *flight) bool { return f.rec.Action.Blocks(a) }), !x.slots.Fits(a):
			rest = append(rest, i)
		case !x.w.possible(a):
			q.done[i] = engine.StateStale
		default:
			x.slots.Take(a)
			x.open = append(x.open, &flight{
				rec:  engine.ActionRecord{Action: *a, State: engine.StateStarted, Started: x.now, Plan: q.hash},
				ends: x.now + engine.Unix(max(a.Estimate.Expected(), 1)), program: q, index: i,
			})
		}
	}
	q.queue = rest
}

// advance lets what is under way end, up to a moment.
func (x *simulation) advance(to engine.Unix) {
	if x.w.s == nil {
		return
	}
	for {
		k := -1
		for i, f := range x.open {
			if f.ends <= to && (k < 0 || f.ends < x.open[k].ends) {
				k = i
			}
		}
		if k < 0 {
			break
		}
		f := x.open[k]
		x.open = slices.Delete(x.open, k, k+1)
		x.m.pass(x.now, f.ends, x.w.s, x.w.own)
		x.now = f.ends
		x.end(f)
		x.start()
	}
	x.m.pass(x.now, to, x.w.s, x.w.own)
	x.now = to
}

// end makes the fleet what the action wanted it to be, where that can still be.
func (x *simulation) end(f *flight) {
	a := &f.rec.Action
	f.rec.State, f.rec.Ended = engine.StateSucceeded, x.now
	if !x.w.possible(a) {
		f.rec.State, f.rec.Error = engine.StateFailed, "the fleet has changed"
	} else {
		sim.Arrive(x.w.s, a)
	}
	x.slots.Release(a)
	if f.program != nil {
		f.program.done[f.index] = f.rec.State
	}
	x.m.ended(x.w.s, &f.rec)
	x.ended = append(x.ended, f.rec)
}

// possible reports whether the fleet is as the action says.
func (w *fleet) possible(a *engine.Action) bool {
	h, ok := w.s.FindHost(a.From.Host)
	if !ok {
		return false
	}
	x := &w.s.Hosts[h]
	switch a.Kind {
	case engine.Move:
		v, ok := w.s.FindVM(a.VM)
		to, known := w.s.FindHost(a.To.Host)
		return ok && known && w.s.VMs[v].Host == h && (to == h || (w.s.Hosts[to].Power == engine.HostOn && !w.s.Hosts[to].Maintenance))
	case engine.Standby, engine.EnterMaintenance:
		full := w.s.Clusters[x.Cluster].DRS == engine.DRSFull // its own scheduler empties the host
		return x.Power == engine.HostOn && !x.Maintenance && (full || w.empty(h))
	case engine.Wakeup:
		return x.Power == engine.HostStandby
	default:
		return x.Maintenance
	}
}

// empty reports whether nothing runs on host h but what belongs to it.
func (w *fleet) empty(h int32) bool {
	for i := range w.s.VMs {
		if v := &w.s.VMs[i]; v.Host == h && v.Power == engine.VMOn && v.Obstacles&engine.ObAgent == 0 {
			return false
		}
	}
	return true
}
