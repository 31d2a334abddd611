// Package cycle runs the line, over and over: look, decide, plan, check,
// journal, act. One goroutine owns all of it.
//
// The loop wakes on its schedule, or early when it is poked: by an alert, a
// hazard, a change of inventory or an edited policy. A poke never says what to
// do. A cycle that fails is logged and forgotten: the next one starts from what
// is true then, which is the only retry there is. A journal that fails is the
// one error that ends the loop, since nothing may be done that cannot be
// written down: the process exits, is restarted, and recovers.
package cycle

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/robfig/cron/v3"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/execute"
	"heliostat/engine/plan"
)

// A Resolve chooses between two places where one VM was seen: the index in
// seen, or -1 when nothing explains it, which makes it a gap.
type Resolve func(vm engine.VMID, seen []engine.Sighting) int

// A Collector takes a snapshot of the fleet. What it could not see is a gap in
// the snapshot; an error means that there is no snapshot.
type Collector interface {
	Collect(ctx context.Context, now time.Time, resolve Resolve) (*engine.Snapshot, error)
}

// A Policy is what the bundle in service says. Errors of Evaluate, Deny and
// Review stop the cycle.
type Policy interface {
	// Reload takes an edited bundle into service, or keeps the last good one.
	Reload(ctx context.Context) (changed bool, err error)
	Revision() string
	// Standing says which bundle serves and what became of the newest one, and
	// returns the one that serves, to be kept.
	Standing() (r engine.RevisionRecord, bundle []byte)
	Evaluate(ctx context.Context, v engine.View) (*engine.Decision, error)
	Deny(ctx context.Context, v engine.View, moves []engine.Action) ([]engine.Veto, error)
	Review(ctx context.Context, v engine.View, p *engine.Plan) (engine.Review, error)
}

// A Journal remembers entries, and large values by the digest of their content.
type Journal interface {
	execute.Journal
	Put(ctx context.Context, b []byte) (digest string, err error)
	// PutLike is Put of a value that is much like base, a digest or "", and may be
	// kept as what differs. next is the base for the value that follows.
	PutLike(ctx context.Context, b []byte, base string) (digest, next string, err error)
}

// A Published is what the loop shows after each cycle and each change of an
// action. Everything in it is a copy or immutable.
type Published struct {
	Cycle    uint64
	At       time.Time
	Took     time.Duration
	Next     time.Time
	Err      error // why the last cycle ended early
	Paused   *engine.OperatorRecord
	Revision string
	Standing engine.RevisionRecord // which policies serve, and what became of the newest edit
	Snapshot *engine.Snapshot
	History  *engine.History
	Decision *engine.Decision
	Plans    []*engine.Plan // of this cycle, by level
	Record   engine.CycleRecord
	Open     []engine.ActionRecord
	Percent  []int32 // by Open
	Pending  *Pending
	Rails    []engine.Hold           // what is held back beside the plans' holds
	Ordered  []engine.OperatorRecord // evacuations that persons have ordered
	// Certificates say what the evacuations of the cycle's plans come to.
	Certificates []engine.Certificate
	Ended        []engine.ActionRecord // since the last Published
}

// A Pending is an advised plan that waits for a person.
type Pending struct {
	Plan      *engine.Plan
	Hash      string
	Since     time.Time
	Expires   time.Time
	Approvers int32    // how many different persons must approve
	Approved  []string // who has
	// Doubt says what of it does not hold on what is seen now, "" where all of it does.
	Doubt string

	doubts   doubts
	short    int64     // what its evacuations leave that could be saved, when it was made
	looked   time.Time // when a better one was last looked for
	revision string    // of the policies that it was made from
}

// Loop is the daemon without the process around it: New, Restore, Run.
type Loop struct {
	Collector Collector
	Policy    Policy
	Executor  *execute.Executor
	Journal   Journal
	Config    engine.Config
	Sanity    engine.Sanity // how far the fleet may change from one cycle to the next and be believed
	Schedule  cron.Schedule
	// MinGap is the least time between two cycles, however often it is poked.
	MinGap time.Duration
	// ApprovalTTL is how long an advised plan waits for a person.
	ApprovalTTL time.Duration
	Windows     func(now time.Time) []engine.Window
	Rails       Rails
	// Bans says what the accounts at vCenters may not do; nil: nothing is known to
	// be missing. It is called from any goroutine.
	Bans func() []Ban
	// Shadows are bundles that are asked and never acted on.
	Shadows []Shadow
	// SelfTest lays plans that do harm before the check of plans; an error stops
	// everything. It is called at the start and once a day; nil: never.
	SelfTest func() error
	// KillFile stops the loop while it is there, within a second, as a pause that
	// only Resume ends. "": none.
	KillFile string
	Publish  func(Published)
	Alive    func() // called at least every AliveEvery while the loop is well
	Log      *slog.Logger

	poke     chan string
	requests chan request
	killed   chan struct{} // the kill file is there
	gate     *gate

	// Owned by the loop's goroutine.
	cycle    uint64
	last     time.Time
	history  *engine.History
	paused   *engine.OperatorRecord
	pending  *Pending
	approved []*approved             // being carried out
	rejected map[string]time.Time    // by plan hash: until when it is not offered again
	standing engine.RevisionRecord   // as journaled
	released []engine.Subject        // by a person, from quarantine, and not yet out of history
	folded   []string                // IDs of ended actions in history and not yet in a journaled input
	ordered  []engine.OperatorRecord // evacuations that persons have ordered and not cancelled
	bitten   map[bite]time.Time      // when each rail bit last, as far as it was lately
	judged   []engine.Hold           // evacuations that are held
	served   []string                // sites whose evacuation has had its turn
	tested   time.Time               // when the guards were tested last
	bases    map[string]base
	planner  plan.Planner // of plans that may be acted on: it keeps what it made of the fleet
	checker  check.Checker
	unheard  map[string]string // by bundle in shadow: why it was not heard last
	shown    Published
}

// AliveEvery is how often Alive is called while nothing happens.
const AliveEvery = 10 * time.Second

// flock is how long the loop waits after a poke: what wakes it comes in flocks,
// and a VM that has just left one vCenter has yet to be seen in the other.
const flock = 2 * time.Second

type request struct {
	do    func(context.Context) error
	reply chan error
}

// New returns a loop with the exported fields of l, ready to be poked and asked.
func New(l Loop) *Loop {
	l.poke = make(chan string, 1)
	l.requests = make(chan request)
	l.killed = make(chan struct{}, 1)
	l.gate = &gate{rails: l.Rails, killFile: l.KillFile, bans: l.Bans, began: time.Now()}
	l.Executor.Guard(l.gate)
	l.rejected, l.bases, l.unheard, l.bitten = map[string]time.Time{}, map[string]base{}, map[string]string{}, map[bite]time.Time{}
	l.history = &engine.History{}
	return &l
}

// Poke wakes the loop early. It never blocks.
func (l *Loop) Poke(reason string) {
	select {
	case l.poke <- reason:
	default: // it is about to wake anyway
	}
}

// Run cycles until ctx is done or the journal fails.
func (l *Loop) Run(ctx context.Context) error {
	alive := time.NewTicker(AliveEvery)
	defer alive.Stop()
	due := time.Now() // of the next cycle: the first is now
	timer := time.NewTimer(0)
	defer timer.Stop()
	if l.KillFile != "" {
		if err := l.latch(ctx); err != nil {
			return err
		}
		go l.watchKillFile(ctx)
	}
	var again <-chan time.Time // time to try what the ramp has held back
	if l.Rails.Ramp > 0 {
		tick := time.NewTicker(rampEvery)
		defer tick.Stop()
		again = tick.C
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-alive.C:
			l.alive()
			continue
		case r := <-l.Executor.Reports():
			if err := l.Executor.Handle(ctx, r); err != nil {
				return err
			}
			l.show()
			continue
		case <-l.killed:
			if l.paused == nil {
				if err := l.latch(ctx); err != nil {
					return err
				}
				l.show()
			}
			continue
		case <-again:
			if l.gate.waiting() {
				l.Executor.Resume(ctx)
				l.show()
			}
			continue
		case q := <-l.requests:
			q.reply <- q.do(ctx)
			l.show()
			continue
		case reason := <-l.poke:
			early := time.Now().Add(flock)
			if gap := l.last.Add(l.MinGap); gap.After(early) {
				early = gap
			}
			if early.Before(due) {
				l.Log.InfoContext(ctx, "woken early", "reason", reason)
				due = early
				timer.Reset(time.Until(due))
			}
			continue
		case <-timer.C:
		}
		if err := l.Once(ctx); err != nil {
			return err
		}
		l.alive()
		due = l.shown.Next
		timer.Reset(time.Until(due))
	}
}

func (l *Loop) alive() {
	if l.Alive != nil {
		l.Alive()
	}
}

// Once runs one cycle. Its error is a failure of the journal, or ctx's: every
// other failure is logged, shown, and left to the next cycle.
func (l *Loop) Once(ctx context.Context) error {
	l.cycle++
	start := time.Now()
	l.last = start
	l.shown.Cycle, l.shown.At = l.cycle, start
	err := l.once(ctx, start)
	l.shown.Took, l.shown.Err = time.Since(start), err
	l.shown.Next = l.Schedule.Next(time.Now())
	l.show()
	if fatal, ok := err.(journalError); ok { //nolint:errorlint // made here, never wrapped
		return fatal
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		l.Log.ErrorContext(ctx, "cycle failed", "cycle", l.cycle, "err", err)
	default:
		r := &l.shown.Record
		l.Log.InfoContext(ctx, "cycle ends", "cycle", l.cycle, "actions", r.Actions, "open", r.Open, "holds", r.Holds, "gaps", r.Gaps, "ms", r.MS)
	}
	return nil
}

// journalError is a failure to write the journal.
type journalError struct{ err error }

func (e journalError) Error() string { return "write journal: " + e.err.Error() }
func (e journalError) Unwrap() error { return e.err }

func (l *Loop) append(ctx context.Context, entries ...engine.Entry) error {
	if err := l.Journal.Append(ctx, entries...); err != nil {
		return journalError{err}
	}
	return nil
}

// once is the line itself.
func (l *Loop) once(ctx context.Context, now time.Time) error {
	if err := l.selfTest(ctx, now); err != nil {
		return err
	}
	if err := l.reload(ctx); err != nil {
		return err
	}
	s, err := l.Collector.Collect(ctx, now, l.resolve)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	l.Executor.Observe(s)
	ended := l.Executor.Ended()
	past := l.history.Until(engine.At(now))
	if past != l.history {
		l.Log.WarnContext(ctx, "the clock has been set back: what lay ahead has happened just now", "cycle", l.cycle)
	}
	past = past.Released(l.released).Read(s)
	gaps, census := engine.Believe(past, s, l.Executor.Open(), ended, l.Sanity)
	for _, g := range gaps {
		l.Log.WarnContext(ctx, "not believed", "cycle", l.cycle, "subject", g.Subject.String(), "reason", g.Reason)
	}
	s.Disbelieve(gaps) // nobody else has seen it yet
	l.shown.Ended = append(l.shown.Ended, ended...)
	l.history = engine.Fold(past, s, ended, l.Config.Low)
	l.history.Census = census
	engine.NoteForeign(past, l.history, s, l.Executor.Open(), ended)
	engine.NoteMoves(past, l.history, s, l.Executor.Open(), ended)
	l.released = nil
	for i := range ended {
		l.folded = append(l.folded, ended[i].Action.ID)
	}
	if err := l.latchStops(ctx, s); err != nil {
		return err
	}
	v := l.view(now, s)
	l.gate.cycleBegins(l.history, v.Windows)
	w := &work{l: l, view: v, start: now}
	if l.Rails.ReturnMicro > 0 {
		w.back = l.gate.homewards(&v)
		openWay(s, w.back)
	}
	if l.shown.Snapshot != nil {
		s.Follow(l.shown.Snapshot)
	}
	d, err := l.Policy.Evaluate(ctx, v)
	if err != nil {
		return fmt.Errorf("evaluate policies: %w", err)
	}
	w.decision = w.judge(d)
	l.history.Rails = l.gate.remember()
	if err := w.run(ctx); err != nil {
		return err
	}
	w.serve()
	l.folded = nil
	l.shown.Certificates = w.certificates
	l.shown.Snapshot, l.shown.History, l.shown.Decision, l.shown.Plans, l.shown.Record = s, l.history, w.decision, w.plans, w.record
	return nil
}

// reload takes an edited bundle into service. A broken edit is journaled once,
// and the last good bundle serves on.
func (l *Loop) reload(ctx context.Context) error {
	_, _ = l.Policy.Reload(ctx) // Standing says it again
	return l.stand(ctx)
}

func (l *Loop) view(now time.Time, s *engine.Snapshot) engine.View {
	v := engine.View{Now: engine.At(now), Snapshot: s, History: l.history, Open: l.Executor.Open(), Low: l.Config.Low}
	if l.Windows != nil {
		v.Windows = l.Windows(now)
	}
	v.Budget = plan.BudgetLeft(l.Config, l.history, v.Now)
	return v
}

// resolve explains a VM seen at two vCenters by a move between them that is
// under way: until it has ended the VM counts where it came from.
func (l *Loop) resolve(vm engine.VMID, seen []engine.Sighting) int {
	for _, rec := range l.Executor.Open() {
		if rec.Action.VM != vm || !rec.Action.Across {
			continue
		}
		for i, sg := range seen {
			if sg.VCenter == rec.Action.From.VCenter {
				return i
			}
		}
	}
	return -1
}

// show publishes a copy of what the loop knows.
func (l *Loop) show() {
	if l.Publish == nil {
		return
	}
	p := l.shown
	p.Open, p.Rails, p.Ordered = l.Executor.Open(), l.railed(), l.ordered
	slices.SortFunc(p.Open, func(a, b engine.ActionRecord) int { return compareIDs(a.Action.ID, b.Action.ID) })
	p.Percent = make([]int32, len(p.Open))
	for i := range p.Open {
		p.Percent[i] = l.Executor.Percent(p.Open[i].Action.ID)
	}
	if l.pending != nil {
		c := *l.pending
		p.Pending = &c
	}
	if l.paused != nil {
		c := *l.paused
		p.Paused = &c
	}
	l.Publish(p)
	l.shown.Ended = nil
}
