package cycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
)

// Over how many actions a breaker judges.
const (
	breakerFirst = 5
	breakerLast  = 100
)

// Ended implements [execute.Gate]: it opens the breaker of a vCenter at which
// actions end badly. What was never started says nothing about it. A move that ended
// well comes twice when its VM turns out to be worse off.
func (g *gate) Ended(r *engine.ActionRecord) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying = slices.DeleteFunc(g.flying, func(id string) bool { return id == r.Action.ID })
	now, bad := engine.At(time.Now()), r.State == engine.StateFailed || r.State == engine.StateLost
	switch {
	case r.State == engine.StateSucceeded:
		g.well++
		g.away(r)
	case !bad:
		g.refund(r.Action.ID)
		return
	}
	i := slices.IndexFunc(g.state.Breakers, func(b engine.Breaker) bool { return b.VCenter == r.Action.From.VCenter })
	if i < 0 {
		i = len(g.state.Breakers)
		g.state.Breakers = append(g.state.Breakers, engine.Breaker{VCenter: r.Action.From.VCenter})
	}
	b := &g.state.Breakers[i]
	if b.Until > now {
		return // it is open: what was under way ends
	}
	mark := "."
	if bad {
		mark = "x"
	}
	b.Ended = b.Ended[max(0, len(b.Ended)+1-breakerLast):] + mark
	if why := g.rails.judge(b.Ended); bad && why != "" && g.rails.BreakerRest > 0 {
		// Whatever it says after its rest, it is judged anew.
		b.Ended, b.Until = "", now+engine.Unix(g.rails.BreakerRest/time.Second)
		b.Why = fmt.Sprintf("%s, the last one %s: %s", why, r.Action.ID, r.Error)
	}
}

// judge says what is wrong with how the last actions ended.
func (r Rails) judge(ended string) string {
	n := int32(strings.Count(ended, "x"))
	switch {
	case r.BreakerFirst > 0 && len(ended) <= breakerFirst && n >= r.BreakerFirst:
		return fmt.Sprintf("%d of the first %d actions ended badly", n, len(ended))
	case r.BreakerPct > 0 && n*100 > r.BreakerPct*breakerLast:
		return fmt.Sprintf("%d of the last %d actions ended badly", n, len(ended))
	}
	return ""
}

// broken says why nothing is started at a vCenter that the action is about.
func (g *gate) broken(a *engine.Action, now engine.Unix) string {
	for i := range g.state.Breakers {
		if b := &g.state.Breakers[i]; now < b.Until && (b.VCenter == a.From.VCenter || (a.Across && b.VCenter == a.To.VCenter)) {
			return b.Why
		}
	}
	return ""
}

// breakerHolds are the vCenters that are left alone.
func (g *gate) breakerHolds(now engine.Unix) (out []engine.Hold) {
	for i := range g.state.Breakers {
		if b := &g.state.Breakers[i]; now < b.Until {
			out = append(out, engine.Hold{
				Subject: engine.Subject{Kind: "vcenter", ID: string(b.VCenter)}, Name: string(b.VCenter), Code: engine.HoldBreaker, Want: startActions,
				Detail: fmt.Sprintf("%s; until %s, or 'heliostat resume'", b.Why, b.Until),
			})
		}
	}
	return out
}
