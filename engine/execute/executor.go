package execute

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"heliostat/engine"
)

// A Journal remembers. Append returns once the entries would survive a power cut.
type Journal interface {
	Append(ctx context.Context, entries ...engine.Entry) error
}

// Settle is how long an unanswered call is given to show itself in the task
// history after the session that carried it has ended. Source: measured on
// late and doubled calls; a session's end bounces what arrives after it.
const Settle = 30 * time.Second

// wakePatience is how long a woken host may take to connect after its task has
// ended: a server's boot. Power-on is judged by connection, never by the task.
const wakePatience = 15 * time.Minute

// An Executor carries out plans. The loop's goroutine owns it: only New and
// Reports may be used from elsewhere. Workers, one for each action in flight,
// report over a channel.
type Executor struct {
	act     Actuator
	journal Journal
	log     *slog.Logger
	reports chan Report
	limits  engine.Limits
	gate    Gate
	cfg     Config

	// Owned by the loop.
	programs []*program // by name
	open     map[string]*flight
	ended    []engine.ActionRecord
	slots    *engine.Slots // over the snapshot of the last Observe
	// turns holds, by vCenter, what is closed when the last launched worker has
	// submitted: calls to one vCenter are made one at a time, in order of rank.
	turns map[engine.VCenterID]chan struct{}
}

// program is a plan being carried out.
type program struct {
	name  string
	hash  string
	plan  *engine.Plan
	lease *lease
	queue []int32 // indices of actions not started, by rank
	done  []bool  // by index: ended well
	dead  []bool  // by index: ended otherwise, or depends on one that did
	held  []bool  // by index: not to be started until Hold says so
	tries []int32 // by index: how often it came back uncalled; nil when nothing comes back
}

// mostTries is how often what cannot be called for now comes back to its plan: with a
// cycle a minute, for longer than a vCenter takes to restart.
const mostTries = 15

// flight is one action in flight.
type flight struct {
	rec     engine.ActionRecord
	program *program // nil when its plan is no longer current, or it was adopted
	index   int32    // in the program's plan
	percent int32
}

// A Report is what a worker says: progress, or the end when rec is terminal.
type Report struct {
	id      string
	rec     engine.ActionRecord
	percent int32
	fatal   error // the journal failed: nothing may be started any more
	unwell  bool  // rec ended well, and its VM is worse off
	back    bool  // it was not called, for a reason that may pass
}

// New returns an executor with nothing in flight.
func New(act Actuator, journal Journal, limits engine.Limits, log *slog.Logger) *Executor {
	return &Executor{act: act, journal: journal, log: log, limits: limits, gate: open{}, reports: make(chan Report, 64), open: map[string]*flight{}, turns: map[engine.VCenterID]chan struct{}{}}
}

// Open lists the actions in flight, by ID.
func (e *Executor) Open() []engine.ActionRecord {
	out := make([]engine.ActionRecord, 0, len(e.open))
	for _, f := range e.open {
		out = append(out, f.rec)
	}
	slices.SortFunc(out, func(a, b engine.ActionRecord) int { return cmp.Compare(a.Action.ID, b.Action.ID) })
	return out
}

// Percent is the progress of an action in flight.
func (e *Executor) Percent(id string) int32 {
	if f := e.open[id]; f != nil {
		return f.percent
	}
	return 0
}

// Ended returns the actions that have ended since it was last called.
func (e *Executor) Ended() []engine.ActionRecord {
	out := e.ended
	e.ended = nil
	return out
}

// Rest is what the named plan has not started, as a plan of its own: what its
// actions depended on and has ended well is left out of their After.
func (e *Executor) Rest(name string) *engine.Plan {
	p := e.program(name)
	if p == nil {
		return nil
	}
	return p.plan.Part(slices.Sorted(slices.Values(p.queue)))
}

// InHand reports whether something of the named plan is about to be called, as far as is
// known: it may yet come back.
func (e *Executor) InHand(name string) bool {
	for _, f := range e.open {
		if f.program != nil && f.program.name == name && f.rec.State == engine.StateIntent {
			return true
		}
	}
	return false
}

// Reports is the channel on which workers report. The loop receives from it and
// hands what it receives to Handle.
func (e *Executor) Reports() <-chan Report { return e.reports }

// Observe tells what the fleet looks like now: slots are counted over s, with
// all that is in flight. Call it before Offer.
func (e *Executor) Observe(s *engine.Snapshot) {
	e.slots = engine.NewSlots(e.limits, s)
	for _, f := range e.open {
		e.slots.Take(&f.rec.Action)
	}
}

// Offer makes p the current plan of that name: what the older plan of the name
// has not started is dropped. Plans of other names go on beside it.
// What is in flight goes on: the newer plan was made and checked with it under way.
func (e *Executor) Offer(ctx context.Context, name string, p *engine.Plan) {
	e.take(name, p)
	e.start(ctx)
}

// Entrust is Offer of a plan that is not made anew: what cannot be called for a reason
// that may pass comes back to it and, like what is held from the beginning, is not
// started until Hold.
func (e *Executor) Entrust(ctx context.Context, name string, p *engine.Plan, held func(a *engine.Action) bool) {
	q := e.take(name, p)
	q.tries = make([]int32, len(p.Actions))
	e.Hold(name, held)
	e.start(ctx)
}

// take puts a plan in the place of the last one of its name.
func (e *Executor) take(name string, p *engine.Plan) *program {
	e.Forget(name)
	n := len(p.Actions)
	q := &program{name: name, hash: p.Hash(), plan: p, lease: newLease(p.At), done: make([]bool, n), dead: make([]bool, n), held: make([]bool, n)}
	for i := range int32(n) {
		q.queue = append(q.queue, i)
	}
	q.sort()
	e.programs = append(e.programs, q)
	slices.SortFunc(e.programs, func(a, b *program) int { return cmp.Compare(a.name, b.name) })
	return q
}

// sort puts the queue in order.
func (p *program) sort() {
	slices.SortStableFunc(p.queue, func(a, b int32) int { return cmp.Compare(p.plan.Actions[a].Rank, p.plan.Actions[b].Rank) })
}

// Hold says of all that the named plan has not started what is not to be started until
// the next Hold. Renew starts the others.
func (e *Executor) Hold(name string, held func(a *engine.Action) bool) {
	if p := e.program(name); p != nil {
		for _, i := range p.queue {
			p.held[i] = held(&p.plan.Actions[i])
		}
	}
}

// Strike takes out of the named plan what it has not started and is wrong, with all
// that depends on it.
func (e *Executor) Strike(name string, wrong func(a *engine.Action) bool) {
	p := e.program(name)
	if p == nil {
		return
	}
	p.queue = slices.DeleteFunc(p.queue, func(i int32) bool {
		a := &p.plan.Actions[i]
		p.dead[i] = wrong(a) || slices.ContainsFunc(a.After, func(j int32) bool { return p.dead[j] })
		return p.dead[i]
	})
}

// Drop forgets what the named plan has not called. What was called goes on.
func (e *Executor) Drop(name string) {
	if p := e.program(name); p != nil {
		p.lease.end()
	}
	e.Forget(name)
}

// Forget takes the named plan out of service. What is in flight goes on, called or not.
func (e *Executor) Forget(name string) {
	p := e.program(name)
	if p == nil {
		return
	}
	for _, f := range e.open {
		if f.program == p {
			f.program = nil
		}
	}
	e.programs = slices.DeleteFunc(e.programs, func(q *program) bool { return q == p })
}

// DropAll forgets every plan. What is in flight goes on.
func (e *Executor) DropAll() {
	for len(e.programs) > 0 {
		e.Drop(e.programs[0].name)
	}
}

func (e *Executor) program(name string) *program {
	for _, p := range e.programs {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Handle takes in a worker's report and starts what has become ready. Its error
// means that the journal failed: the caller must stop.
func (e *Executor) Handle(ctx context.Context, r Report) error {
	if r.fatal != nil {
		e.DropAll()
		return r.fatal
	}
	if r.unwell {
		r.rec.State = engine.StateFailed // as far as what follows at that vCenter is concerned
		e.gate.Ended(&r.rec)
		return nil
	}
	f := e.open[r.id]
	if f == nil {
		e.log.WarnContext(ctx, "report on an action that is not in flight", "action", r.id)
		return nil
	}
	f.rec, f.percent = r.rec, r.percent
	if !r.rec.State.Terminal() {
		return nil
	}
	delete(e.open, r.id)
	e.gate.Ended(&r.rec)
	if e.slots != nil {
		e.slots.Release(&f.rec.Action)
	}
	if !r.back {
		e.ended = append(e.ended, r.rec)
	}
	if p := f.program; p != nil {
		p.end(f.index, &r)
	}
	e.start(ctx)
	return nil
}

// end takes in how an action has ended, or that it came back.
func (p *program) end(i int32, r *Report) {
	if !r.back {
		p.done[i] = r.rec.State == engine.StateSucceeded
		p.dead[i] = !p.done[i]
		return
	}
	p.held[i] = true
	p.tries[i]++
	p.queue = append(p.queue, i)
	p.sort()
}

// start starts, by rank, every queued action that is ready and fits.
func (e *Executor) start(ctx context.Context) {
	for _, p := range e.programs {
		if p.lease.stopped(e.cfg.MaxPlanAge) != "" {
			continue // until it is renewed, or another takes its place
		}
		rest := p.queue[:0]
		for _, i := range p.queue {
			a := &p.plan.Actions[i]
			switch {
			case slices.ContainsFunc(a.After, func(j int32) bool { return p.dead[j] }):
				p.dead[i] = true // what depends on it does not start either
			case p.held[i]:
				rest = append(rest, i)
			case e.ready(p, a) && e.slots.Fits(a) && e.gate.Admit(a):
				e.launch(ctx, p, i)
			default:
				rest = append(rest, i)
			}
		}
		p.queue = rest
	}
}

// ready reports whether all that the action depends on has ended well, and
// nothing in flight is in its way.
func (e *Executor) ready(p *program, a *engine.Action) bool {
	for _, i := range a.After {
		if !p.done[i] {
			return false
		}
	}
	for _, f := range e.open {
		if f.rec.Action.Blocks(a) {
			return false
		}
	}
	return true
}

func (e *Executor) launch(ctx context.Context, p *program, i int32) {
	a := &p.plan.Actions[i]
	f := &flight{program: p, index: i, rec: engine.ActionRecord{Action: *a, State: engine.StateIntent, Plan: p.hash, Started: engine.At(time.Now())}}
	e.open[a.ID] = f
	e.slots.Take(a)
	w := e.worker(f.rec)
	w.lease, w.back = p.lease, p.tries != nil && p.tries[i] < mostTries
	before, turn := e.turns[a.From.VCenter], make(chan struct{})
	e.turns[a.From.VCenter] = turn
	go w.run(ctx, before, sync.OnceFunc(func() { close(turn) }))
}

// Recover takes over the actions that an earlier process left open: each is
// looked up in vCenter and journaled to its end. No action is submitted again.
// ended are actions whose end that process journaled and the loop has not seen.
func (e *Executor) Recover(ctx context.Context, open, ended []engine.ActionRecord) {
	e.ended = append(e.ended, ended...)
	for _, rec := range open {
		e.open[rec.Action.ID] = &flight{rec: rec}
		w := e.worker(rec)
		go w.recover(ctx)
	}
}

func (e *Executor) worker(rec engine.ActionRecord) *worker {
	return &worker{act: e.act, journal: e.journal, log: e.log, reports: e.reports, gate: e.gate, cfg: e.cfg, rec: rec}
}
