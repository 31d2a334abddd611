package cycle

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"heliostat/engine"
)

// rampEvery is how often held actions are tried again.
const rampEvery = time.Second

// startActions is what a rail that bites keeps from happening.
const startActions = "start actions"

// A gate is the rails at work, as the executor asks them. Workers ask too, so a
// lock guards it.
type gate struct {
	rails    Rails
	killFile string
	bans     func() []Ban

	mu      sync.Mutex
	why     string        // why nothing may be started at all: a pause, or the kill file
	stops   []engine.Stop // where nothing may be started, by a person's word in vCenter
	began   time.Time
	minute  int64 // since began, in which started counts
	started int32
	flying  []string // IDs of the actions under way
	well    int32    // actions that ended well since began
	denied  bool     // something is queued that was held back for a while
	state   engine.RailState
	spent   []engine.Hold // budgets that bit since the last cycle
	windows []engine.Window
	failed  func(a *engine.Action) bool // whether the last action on the same object had failed
}

// begin is a start or a resume: nothing is stopped, and the ramp begins.
func (g *gate) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why, g.stops, g.began, g.minute, g.started, g.well, g.state.Breakers = "", nil, time.Now(), 0, 0, 0, nil
}

// restore is a start after an earlier process. What it started within a minute
// counts: a process that is restarted again and again starts no more than another.
func (g *gate) restore(m *Memory) {
	g.begin()
	g.mu.Lock()
	g.state = m.History.Rails
	g.setBack()
	g.stops = m.History.Stops
	for i := range m.Open {
		g.flying = append(g.flying, m.Open[i].Action.ID)
	}
	for _, recs := range [2][]engine.ActionRecord{m.ended, m.Open} {
		for i := range recs {
			g.count(&recs[i].Action, recs[i].Started)
		}
	}
	for i := range g.state.Starts {
		if time.Since(g.state.Starts[i].At.Time()) < time.Minute {
			g.started++
		}
	}
	g.mu.Unlock()
	for i := range m.ended {
		g.Ended(&m.ended[i])
	}
}

// remember is what the history of this cycle carries on.
func (g *gate) remember() engine.RailState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return copied(g.state)
}

func copied(x engine.RailState) engine.RailState {
	return engine.RailState{Breakers: slices.Clone(x.Breakers), Starts: slices.Clone(x.Starts), Away: slices.Clone(x.Away)}
}

// stop lets nothing be started until begin.
func (g *gate) stop(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = why
}

// stopAt lets nothing be started in places.
func (g *gate) stopAt(stops []engine.Stop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stops = stops
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

// Stopped implements [execute.Gate].
func (g *gate) Stopped(a *engine.Action) string {
	if why := g.stopped(); why != "" {
		return why
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.barred(a, engine.At(time.Now()))
}

// barred says why nothing is started where the action is about.
func (g *gate) barred(a *engine.Action, now engine.Unix) string {
	for i := range g.stops {
		if g.stops[i].Covers(a) {
			return g.stops[i].Reason
		}
	}
	return cmp.Or(g.banned(a), g.broken(a, now))
}

// Admit implements [execute.Gate].
func (g *gate) Admit(a *engine.Action) bool {
	if g.stopped() != "" {
		return false
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.barred(a, engine.At(now)) != "" {
		return false
	}
	if g.slow(a, now) || g.exhausted(a, engine.At(now)) {
		g.denied = true
		return false
	}
	g.started++
	g.flying = append(g.flying, a.ID)
	g.count(a, engine.At(now))
	return true
}

// slow reports whether the ramp after a start or a resume holds the action back.
func (g *gate) slow(a *engine.Action, now time.Time) bool {
	ramp, since := g.rails.Ramp, now.Sub(g.began)
	if ramp == 0 {
		return false
	}
	demand := a.Demand.Kind != ""
	if demand {
		ramp = min(ramp, g.rails.RampDemand)
	}
	if minute := int64(since / time.Minute); minute != g.minute {
		g.minute, g.started = minute, 0
	}
	if since < ramp && g.started >= 1<<min(g.minute, 30) {
		return true
	}
	// What has a deadline waits for a canary no longer than for the ramp.
	return (since < ramp || !demand) && len(g.flying) >= g.canary()
}

// The canaries after a start or a resume: one action that must end well, then five
// at a time until as many have. Source: the rollouts that stopped at the first.
const (
	canaryFirst = 1
	canaryNext  = 5
)

// canary is how many actions may be under way.
func (g *gate) canary() int {
	switch {
	case g.well < canaryFirst:
		return canaryFirst
	case g.well < canaryFirst+canaryNext:
		return canaryNext
	}
	return 1 << 30
}

// waiting reports, once, whether something was held back that time lets pass.
func (g *gate) waiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.denied
	g.denied = false
	return was
}

// holds are the rails that bite at this moment.
func (g *gate) holds(now time.Time) []engine.Hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []engine.Hold
	for _, b := range g.allBans() {
		out = append(out, b.Hold)
	}
	for _, x := range g.stops {
		out = append(out, engine.Hold{
			Subject: x.Subject, Name: x.Name, Code: engine.HoldPaused, Want: startActions,
			Detail: fmt.Sprintf("%s, since %s; remove it, then 'heliostat resume'", x.Reason, x.Since),
		})
	}
	out = append(out, g.breakerHolds(engine.At(now))...)
	out = append(out, g.spent...)
	if since := now.Sub(g.began); since < g.rails.Ramp && g.why == "" {
		h := engine.Hold{
			Subject: engine.Subject{Kind: "fleet"}, Name: "fleet", Code: engine.HoldRamp, Want: "start actions at the full rate",
			Detail: fmt.Sprintf("started or resumed at %s: one action in the first minute, twice as many in each one after; all from %s, for evacuations and maintenance from %s",
				engine.At(g.began), engine.At(g.began.Add(g.rails.Ramp)), engine.At(g.began.Add(min(g.rails.Ramp, g.rails.RampDemand)))),
		}
		out = append(out, h)
	} else if n := g.canary(); g.rails.Ramp > 0 && g.why == "" && g.denied && len(g.flying) >= n {
		out = append(out, engine.Hold{
			Subject: engine.Subject{Kind: "fleet"}, Name: "fleet", Code: engine.HoldRamp, Want: "start actions at the full rate",
			Detail: fmt.Sprintf("%d actions have ended well since %s: %d at a time until %d have", g.well, engine.At(g.began), n, canaryFirst+min(n-canaryFirst, canaryNext)),
		})
	}
	return out
}
