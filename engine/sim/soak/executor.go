package soak

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/plan"
)

// executor is the daemon: its loop, and a step model of engine/execute's state
// machine. What is in it survives a restart only through its encoding.
type executor struct {
	w       *world
	up      bool
	epoch   int // counts restarts: what an earlier process foresaw does not happen
	cycles  uint64
	history *engine.History
	open    []*flight // by ID
	ended   []engine.ActionRecord
	slots   *engine.Slots
	program *program
	sanity  engine.Sanity
}

// A program is the plan being carried out.
type program struct {
	hash       string
	plan       *engine.Plan
	queue      []int32 // not started, by rank
	done, dead []bool
	lied       []bool // by vCenter: its feed stood still when the plan was made
}

// A flight is one action in flight.
type flight struct {
	rec     engine.ActionRecord
	program *program // nil when another plan is current
	index   int32
	bounces bool // its session has ended: a call still on its way is refused
	lied    bool // see program
	usual   int  // seconds that it takes when nothing is wrong
}

func newExecutor(w *world) executor {
	x := executor{w: w, up: true, sanity: engine.DefaultSanity(), history: &engine.History{}}
	// The memory of an earlier life: what sleeps at the start was put to sleep by it.
	x.history = engine.Fold(x.history, w.observe(), nil, w.cfg.Low)
	for i := range x.history.Hosts {
		if w.t.Hosts[i].Power == engine.HostStandby {
			x.history.Hosts[i].Own = engine.OwnStandby
		}
	}
	return x
}

// records are the actions in flight, by ID.
func (x *executor) records() []engine.ActionRecord {
	out := make([]engine.ActionRecord, 0, len(x.open))
	for _, f := range x.open {
		out = append(out, f.rec)
	}
	return out
}

// cycle is one cycle of the loop: see engine/cycle.
func (x *executor) cycle() {
	w := x.w
	if !x.up {
		return
	}
	w.r.Cycles++
	x.cycles++
	s := w.observe()
	if err := s.Validate(); err != nil {
		w.broken("observation", "%v", err)
		return
	}
	x.slots = engine.NewSlots(w.cfg.Limits, s)
	for _, f := range x.open {
		x.slots.Take(&f.rec.Action)
	}
	open, ended := x.records(), x.ended
	x.ended = nil
	before := x.history.Read(s)
	gaps, census := engine.Believe(before, s, open, ended, x.sanity)
	if w.spoilt == gullible {
		gaps = nil
	}
	for _, g := range gaps {
		w.note("not believed %s: %s", g.Subject, g.Reason)
	}
	s.Disbelieve(gaps)
	x.history = engine.Fold(before, s, ended, w.cfg.Low)
	if w.spoilt != heedless {
		engine.NoteForeign(before, x.history, s, open, ended)
	}
	x.history.Census = census
	if w.spoilt == greedy {
		for i := range x.history.Hosts {
			x.claim(s, &x.history.Hosts[i])
		}
	}
	in := engine.Input{
		Cycle: x.cycles, Now: w.now, Seed: x.cycles, Budget: w.cfg.DefaultBudget, Level: engine.Enforce,
		Snapshot: s, Decision: w.decide(s, x.history), History: x.history, Open: open, Config: w.cfg,
	}
	p := plan.Build(in)
	if err := check.Plan(in, p); err != nil {
		w.broken("two opinions", "Check refuses what Build made: %v", err)
		return
	}
	w.j.planned(s, p)
	if len(p.Actions) > 0 {
		w.note("plan of cycle %d: %s", x.cycles, p.Hash())
	}
	x.offer(p)
}

// claim takes a host for the daemon's own: see greedy.
func (x *executor) claim(s *engine.Snapshot, past *engine.HostHistory) {
	h, ok := s.FindHost(past.ID)
	switch {
	case !ok:
	case s.Hosts[h].Power == engine.HostStandby:
		past.Own, s.Hosts[h].Mark = engine.OwnStandby, "standby"
	case s.Hosts[h].Maintenance:
		past.Own, s.Hosts[h].Mark = engine.OwnMaintenance, "maintenance"
	}
}

// offer makes p the current plan: what the older has not started is dropped.
func (x *executor) offer(p *engine.Plan) {
	x.drop()
	q := &program{hash: p.Hash(), plan: p, done: make([]bool, len(p.Actions)), dead: make([]bool, len(p.Actions)), lied: make([]bool, len(x.w.lies))}
	for i := range p.Actions {
		q.queue = append(q.queue, int32(i))
	}
	slices.SortStableFunc(q.queue, func(a, b int32) int { return cmp.Compare(p.Actions[a].Rank, p.Actions[b].Rank) })
	for c := range x.w.lies {
		q.lied[c] = x.w.untold(int32(c))
	}
	x.program = q
	x.start()
}

func (x *executor) drop() {
	for _, f := range x.open {
		f.program = nil
	}
	x.program = nil
}

// start starts, by rank, every queued action that is ready and fits.
func (x *executor) start() {
	p := x.program
	if p == nil {
		return
	}
	rest := p.queue[:0]
	for _, i := range p.queue {
		a := &p.plan.Actions[i]
		switch {
		case slices.ContainsFunc(a.After, func(j int32) bool { return p.dead[j] }):
			p.dead[i] = true
		case x.ready(p, a) && x.slots.Fits(a):
			x.launch(p, i)
		default:
			rest = append(rest, i)
		}
	}
	p.queue = rest
}

// ready is the executor's rule: what the action depends on has ended well, and
// nothing in flight is in its way.
func (x *executor) ready(p *program, a *engine.Action) bool {
	for _, i := range a.After {
		if !p.done[i] {
			return false
		}
	}
	for _, f := range x.open {
		if f.rec.Action.Blocks(a) {
			return false
		}
	}
	return true
}

func (x *executor) launch(p *program, i int32) {
	a := &p.plan.Actions[i]
	f := &flight{program: p, index: i, usual: int(a.Estimate.Seconds), rec: engine.ActionRecord{Action: *a, State: engine.StateIntent, Plan: p.hash, Started: x.w.now}}
	for _, vc := range []engine.VCenterID{a.From.VCenter, a.To.VCenter} {
		if c, ok := x.w.t.FindVCenter(vc); ok {
			f.lied = f.lied || p.lied[c]
		}
	}
	at, _ := slices.BinarySearchFunc(x.open, a.ID, func(f *flight, id string) int { return cmp.Compare(f.rec.Action.ID, id) })
	x.open = slices.Insert(x.open, at, f)
	x.slots.Take(a)
	x.later(0, func() { x.call(f) })
}

// later does what the living process foresees.
func (x *executor) later(seconds int, do func()) {
	epoch := x.epoch
	x.w.in(seconds, func() {
		if x.epoch == epoch {
			do()
		}
	})
}

// restart is kill -9 and a start after a while: what is remembered is what was
// journaled, in its encoding.
func (x *executor) restart() {
	w := x.w
	if !x.up {
		return
	}
	lasts := w.d.between(5, 10*minute)
	w.fault("restart", "for=%d", lasts)
	x.up = false
	x.epoch++
	x.drop()
	w.in(lasts, x.recover)
}

// recover takes over what an earlier process left open.
func (x *executor) recover() {
	x.up = true
	history, ended := &engine.History{}, []engine.ActionRecord(nil)
	x.through("history", x.history, history)
	x.through("ended actions", x.ended, &ended)
	x.history, x.ended = history, ended
	if x.w.spoilt == oblivious {
		x.history = &engine.History{}
	}
	if x.w.spoilt == careless {
		x.open = nil
	}
	for _, f := range slices.Clone(x.open) {
		var rec engine.ActionRecord
		x.through("open action", f.rec, &rec)
		f.rec = rec
		f.rec.Adopted = true
		k := x.w.known(f.rec.Task)
		if k == nil {
			x.resolve(f)
		} else {
			x.wait(f, k)
		}
	}
}

// known is the task of that key.
func (w *world) known(key string) *task {
	for _, k := range slices.Backward(w.tasks) {
		if k.key == key {
			return k
		}
	}
	return nil
}

// through encodes a value and decodes it again. The two must be equal bytes.
func (x *executor) through(what string, from, to any) {
	a, err := engine.Encode(from)
	if err == nil {
		err = json.Unmarshal(a, to)
	}
	if err != nil {
		x.w.broken("encoding", "%s: %v", what, err)
		return
	}
	if b, err := engine.Encode(to); err != nil || !bytes.Equal(a, b) {
		x.w.broken("encoding", "%s changes on its way through its encoding (%v)", what, err)
	}
}

// digest is what is remembered at the end.
func (x *executor) digest() string {
	b, err := engine.Encode(x.history)
	if err != nil {
		x.w.broken("encoding", "history: %v", err)
	}
	return engine.DigestBytes(b)
}
