package cycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"heliostat/engine"
)

// Rails limit what the loop starts when something may be wrong. The zero value
// limits nothing.
type Rails struct {
	// Ramp is for how long actions start slowly after a start or a resume: one in
	// the first minute, twice as many in each one after. 0: not at all.
	Ramp time.Duration `yaml:"ramp"`
	// RampDemand is the same for evacuations and maintenance. At most 5m.
	RampDemand time.Duration `yaml:"ramp_demand"`
	// BreakerFirst is how many of the first 5 actions at a vCenter may end badly
	// (failed or lost) until nothing is started there any more. 0: as many as will.
	BreakerFirst int32 `yaml:"breaker_first"`
	// BreakerPct is how many of the last 100 may, in per cent. 0: as many as will.
	BreakerPct int32 `yaml:"breaker_pct"`
	// BreakerRest is how long such a vCenter is left alone, unless a person resumes.
	BreakerRest time.Duration `yaml:"breaker_rest"`
}

// DefaultRails follows the incidents that other systems learned from.
func DefaultRails() Rails {
	return Rails{Ramp: 10 * time.Minute, RampDemand: rampDemandMost, BreakerFirst: 2, BreakerPct: 5, BreakerRest: 30 * time.Minute}
}

// rampDemandMost is the longest that what has a deadline may be slowed.
const rampDemandMost = 5 * time.Minute

// Validate reports every setting that makes no sense.
func (r Rails) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Ramp < 0 || r.Ramp > time.Hour {
		bad("ramp: %v is not between 0s and 1h", r.Ramp)
	}
	if r.RampDemand < 0 || r.RampDemand > rampDemandMost {
		bad("ramp_demand: %v is not between 0s and %v", r.RampDemand, rampDemandMost)
	}
	if r.BreakerFirst < 0 || r.BreakerFirst > breakerFirst {
		bad("breaker_first: %d is not between 0 and %d", r.BreakerFirst, breakerFirst)
	}
	if r.BreakerPct < 0 || r.BreakerPct > 100 {
		bad("breaker_pct: %d is not between 0 and 100", r.BreakerPct)
	}
	if r.BreakerRest < 0 {
		bad("breaker_rest: %v is negative", r.BreakerRest)
	}
	return errors.Join(errs...)
}

// Over how many actions a breaker judges.
const (
	breakerFirst = 5
	breakerLast  = 100
)

// How often the kill file is looked for, and held actions are tried again.
const (
	killEvery = 500 * time.Millisecond
	rampEvery = time.Second
)

// killWho is who pauses when the kill file is there.
const killWho = "kill file"

// A gate is the rails at work, as the executor asks them. Workers ask too, so a
// lock guards it.
type gate struct {
	rails    Rails
	killFile string
	bans     func() []Ban // nil: none

	mu       sync.Mutex
	why      string // why nothing may be started at all: a pause, or the kill file
	began    time.Time
	minute   int64 // since began, in which started counts
	started  int32
	denied   bool // something is queued that the ramp held back
	breakers []breaker
}

// A breaker judges how actions end at one vCenter.
type breaker struct {
	vc    engine.VCenterID
	ended []bool // the last ones, oldest first: true is bad
	until time.Time
	why   string // why it is open, until then
}

// begin is a start or a resume: nothing is stopped, and the ramp begins.
func (g *gate) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why, g.began, g.minute, g.started, g.breakers = "", time.Now(), 0, 0, nil
}

// stop lets nothing be started until begin.
func (g *gate) stop(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = why
}

// stopped says why nothing may be started at all. Once the kill file has been
// seen it stays so.
func (g *gate) stopped() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.why == "" {
		g.why = killed(g.killFile)
	}
	return g.why
}

// killed says that the kill file is there, or that nobody can tell, which counts
// the same.
func killed(file string) string {
	if file == "" {
		return ""
	}
	_, err := os.Lstat(file)
	switch {
	case err == nil:
		return file + " is there"
	case errors.Is(err, fs.ErrNotExist):
		return ""
	}
	return "cannot tell whether the kill file is there: " + err.Error()
}

// Stopped implements [execute.Gate].
func (g *gate) Stopped(a *engine.Action) string {
	if why := g.stopped(); why != "" {
		return why
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return cmp.Or(g.banned(a), g.broken(a, time.Now()))
}

// broken says why nothing is started at a vCenter that the action is about.
func (g *gate) broken(a *engine.Action, now time.Time) string {
	for i := range g.breakers {
		if b := &g.breakers[i]; now.Before(b.until) && (b.vc == a.From.VCenter || (a.Across && b.vc == a.To.VCenter)) {
			return b.why
		}
	}
	return ""
}

// Admit implements [execute.Gate].
func (g *gate) Admit(a *engine.Action) bool {
	if g.stopped() != "" {
		return false
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.banned(a) != "" || g.broken(a, now) != "" {
		return false
	}
	ramp := g.rails.Ramp
	if a.Demand.Kind != "" {
		ramp = min(ramp, g.rails.RampDemand)
	}
	since := now.Sub(g.began)
	if minute := int64(since / time.Minute); minute != g.minute {
		g.minute, g.started = minute, 0
	}
	if since < ramp && g.started >= 1<<min(g.minute, 30) {
		g.denied = true
		return false
	}
	g.started++
	return true
}

// waiting reports, once, whether the ramp has held something back.
func (g *gate) waiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.denied
	g.denied = false
	return was
}

// Ended implements [execute.Gate]: it opens the breaker of a vCenter at which
// actions end badly. What was never started says nothing about it.
func (g *gate) Ended(r *engine.ActionRecord) {
	bad := r.State == engine.StateFailed || r.State == engine.StateLost
	if !bad && r.State != engine.StateSucceeded {
		return
	}
	now, vc := time.Now(), r.Action.From.VCenter
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.breakers, func(b breaker) bool { return b.vc == vc })
	if i < 0 {
		i = len(g.breakers)
		g.breakers = append(g.breakers, breaker{vc: vc})
	}
	b := &g.breakers[i]
	if b.until.After(now) {
		return // it is open: what was under way ends
	}
	if len(b.ended) == breakerLast {
		b.ended = slices.Delete(b.ended, 0, 1)
	}
	b.ended = append(b.ended, bad)
	if why := g.rails.judge(b.ended); bad && why != "" && g.rails.BreakerRest > 0 {
		// Whatever it says after its rest, it is judged anew.
		b.ended, b.until = nil, now.Add(g.rails.BreakerRest)
		b.why = fmt.Sprintf("%s, the last one %s: %s", why, r.Action.ID, r.Error)
	}
}

// judge says what is wrong with how the last actions ended.
func (r Rails) judge(ended []bool) string {
	n := int32(0)
	for _, bad := range ended {
		if bad {
			n++
		}
	}
	switch {
	case r.BreakerFirst > 0 && len(ended) <= breakerFirst && n >= r.BreakerFirst:
		return fmt.Sprintf("%d of the first %d actions ended badly", n, len(ended))
	case r.BreakerPct > 0 && n*100 > r.BreakerPct*breakerLast:
		return fmt.Sprintf("%d of the last %d actions ended badly", n, len(ended))
	}
	return ""
}

// holds are the rails that bite at this moment.
func (g *gate) holds(now time.Time) []engine.Hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []engine.Hold
	for _, b := range g.allBans() {
		out = append(out, b.Hold)
	}
	for i := range g.breakers {
		if b := &g.breakers[i]; now.Before(b.until) {
			out = append(out, engine.Hold{
				Subject: engine.Subject{Kind: "vcenter", ID: string(b.vc)}, Name: string(b.vc), Code: engine.HoldBreaker, Want: "start actions",
				Detail: fmt.Sprintf("%s; until %s, or 'heliostat resume'", b.why, b.until.UTC().Format(time.RFC3339)),
			})
		}
	}
	if since := now.Sub(g.began); since < g.rails.Ramp && g.why == "" {
		out = append(out, engine.Hold{
			Subject: engine.Subject{Kind: "fleet"}, Name: "fleet", Code: engine.HoldRamp, Want: "start actions at the full rate",
			Detail: fmt.Sprintf("started or resumed at %s: one action in the first minute, twice as many in each one after; all from %s, for evacuations and maintenance from %s",
				g.began.UTC().Format(time.RFC3339), g.began.Add(g.rails.Ramp).UTC().Format(time.RFC3339), g.began.Add(min(g.rails.Ramp, g.rails.RampDemand)).UTC().Format(time.RFC3339)),
		})
	}
	return out
}

// watchKillFile tells the loop when the kill file is there. It has a goroutine of
// its own, so that a file which comes and goes during a long cycle is seen.
func (l *Loop) watchKillFile(ctx context.Context) {
	tick := time.NewTicker(killEvery)
	defer tick.Stop()
	for {
		if l.gate.stopped() != "" {
			select {
			case l.killed <- struct{}{}:
			default: // it knows
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// latch makes of a kill file that was seen a pause like a person's: it lasts over
// restarts, and only a resume ends it.
func (l *Loop) latch(ctx context.Context) error {
	why := l.gate.stopped()
	if why == "" || l.paused != nil {
		return nil
	}
	return l.pause(ctx, engine.OperatorRecord{Op: "pause", Who: killWho, Reason: why})
}

// pause stops starting actions and writes down who wants it so.
func (l *Loop) pause(ctx context.Context, rec engine.OperatorRecord) error {
	l.gate.stop("paused by " + rec.Who + ": " + rec.Reason)
	l.Executor.DropAll()
	l.approved, l.pending = nil, nil
	l.paused = &rec
	l.Log.WarnContext(ctx, "paused", "who", rec.Who, "reason", rec.Reason)
	return l.record(ctx, engine.EntryOperator, rec)
}

// railed are the rails that bite, with the names that people know. It logs those
// that were not there before.
func (l *Loop) railed() []engine.Hold {
	holds := l.gate.holds(time.Now())
	for i := range holds {
		h := &holds[i]
		if s := l.shown.Snapshot; s != nil && h.Subject.Kind == "vcenter" {
			if k, ok := s.FindVCenter(engine.VCenterID(h.Subject.ID)); ok {
				h.Name = s.VCenters[k].Name
			}
		}
		if !slices.ContainsFunc(l.rails, func(o engine.Hold) bool { return o.Subject == h.Subject && o.Detail == h.Detail }) {
			l.Log.Warn("rail bites", "rail", string(h.Code), "subject", h.Subject.String(), "name", h.Name, "detail", h.Detail)
		}
	}
	l.rails = holds
	return holds
}
