package cycle

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"heliostat/engine"
)

// Budgets bound how many actions are started about one thing, at either end,
// beside the planner's own by cycle, hour and day. 0 is none at all; there is no
// word for without limit.
type Budgets struct {
	Host    Budget `yaml:"host"`
	Cluster Budget `yaml:"cluster"`
	Site    Budget `yaml:"site"`
	// DemandX is how many times as much evacuations and maintenance may use: it
	// raises the budgets and removes none. 1 to 100.
	DemandX int32 `yaml:"demand_x"`
	// Retries is how many actions an hour, at one vCenter, may be about what has
	// failed the last time.
	Retries int32 `yaml:"retries"`
	// Window, if set, is the kind of window outside of which all these budgets are 0,
	// but for evacuations and maintenance.
	Window string `yaml:"window"`
}

// A Budget is how many actions may be started.
type Budget struct {
	Hour int32 `yaml:"hour"`
	Day  int32 `yaml:"day"`
}

// DefaultBudgets let a fleet that is at work go on, and what runs away not: the
// site's are the planner's moves_per_hour and moves_per_day; a host that has
// changed half of its VMs within an hour is no longer being placed, it churns.
func DefaultBudgets() *Budgets {
	return &Budgets{Host: Budget{40, 200}, Cluster: Budget{120, 1200}, Site: Budget{200, 2000}, DemandX: 10, Retries: 20}
}

func (b *Budgets) validate() error {
	var errs []error
	for _, x := range []struct {
		name string
		Budget
	}{{"host", b.Host}, {"cluster", b.Cluster}, {"site", b.Site}} {
		if x.Hour < 0 || x.Day < 0 {
			errs = append(errs, fmt.Errorf("budgets.%s: {hour: %d, day: %d} has a negative number", x.name, x.Hour, x.Day))
		} else if x.Day < x.Hour {
			errs = append(errs, fmt.Errorf("budgets.%s: %d a day is less than %d an hour", x.name, x.Day, x.Hour))
		}
	}
	if b.DemandX < 1 || b.DemandX > 100 {
		errs = append(errs, fmt.Errorf("budgets.demand_x: %d is not between 1 and 100", b.DemandX))
	}
	if b.Retries < 0 {
		errs = append(errs, fmt.Errorf("budgets.retries: %d is negative", b.Retries))
	}
	return errors.Join(errs...)
}

const (
	hour = 3600
	day  = 24 * hour
)

// count remembers that the action is started. What is a day old is forgotten.
func (g *gate) count(a *engine.Action, at engine.Unix) {
	if g.rails.Budgets == nil && g.rails.Ramp == 0 {
		return // nothing asks
	}
	if slices.ContainsFunc(g.state.Starts, func(x engine.Start) bool { return x.ID == a.ID }) {
		return // it was remembered before a restart
	}
	old := 0
	for old < len(g.state.Starts) && at-g.state.Starts[old].At >= day {
		old++
	}
	g.state.Starts = append(slices.Delete(g.state.Starts, 0, old), engine.Start{
		ID: a.ID, At: at, Demand: a.Demand.Kind != "", Retry: g.failed != nil && g.failed(a),
		From: engine.Place{Site: a.From.Site, VCenter: a.From.VCenter, Cluster: a.From.Cluster, Host: a.From.Host},
		To:   engine.Place{Site: a.To.Site, VCenter: a.To.VCenter, Cluster: a.To.Cluster, Host: a.To.Host},
	})
}

// refund forgets the start of an action that was never called.
func (g *gate) refund(id string) {
	g.state.Starts = slices.DeleteFunc(g.state.Starts, func(x engine.Start) bool { return x.ID == id })
}

// exhausted reports whether a budget has nothing left for the action, and notes
// which.
func (g *gate) exhausted(a *engine.Action, now engine.Unix) bool {
	b := g.rails.Budgets
	if b == nil {
		return false
	}
	demand := a.Demand.Kind != ""
	if b.Window != "" && !demand && !g.inWindow(a, now) {
		g.spend("fleet", "", 0, "outside a window of kind "+b.Window)
		return true
	}
	for _, x := range [...]struct {
		kind     string
		from, to string
		Budget
	}{
		{"host", string(a.From.Host), string(a.To.Host), b.Host},
		{"cluster", string(a.From.Cluster), string(a.To.Cluster), b.Cluster},
		{"site", string(a.From.Site), string(a.To.Site), b.Site},
	} {
		for i, id := range [2]string{x.from, x.to} {
			if id == "" || (i == 1 && id == x.from) {
				continue
			}
			inHour, inDay := g.used(engine.Subject{Kind: x.kind, ID: id}, demand, now)
			perHour, perDay := x.Hour, x.Day
			if demand {
				perHour, perDay = perHour*b.DemandX, perDay*b.DemandX
			}
			switch {
			case inHour >= perHour:
				g.spend(x.kind, id, perHour, "started within an hour")
				return true
			case inDay >= perDay:
				g.spend(x.kind, id, perDay, "started within a day")
				return true
			}
		}
	}
	if g.failed != nil && g.failed(a) && g.retries(a.From.VCenter, now) >= b.Retries {
		g.spend("vcenter", string(a.From.VCenter), b.Retries, "tried again after a failure within an hour")
		return true
	}
	return false
}

// used counts what was started about a place. Demands and wishes do not use up
// one another's budgets.
func (g *gate) used(place engine.Subject, demand bool, now engine.Unix) (inHour, inDay int32) {
	for i := range g.state.Starts {
		x := &g.state.Starts[i]
		if x.Demand != demand || now-x.At >= day || !x.Touches(place) {
			continue
		}
		inDay++
		if now-x.At < hour {
			inHour++
		}
	}
	return inHour, inDay
}

// retries counts what was tried again at a vCenter within an hour.
func (g *gate) retries(vc engine.VCenterID, now engine.Unix) (n int32) {
	for i := range g.state.Starts {
		if x := &g.state.Starts[i]; x.Retry && now-x.At < hour && x.From.VCenter == vc {
			n++
		}
	}
	return n
}

// inWindow reports whether a window of the budgets' kind is open at the source or
// all over.
func (g *gate) inWindow(a *engine.Action, now engine.Unix) bool {
	for i := range g.windows {
		w := &g.windows[i]
		if w.Kind != g.rails.Budgets.Window || now < w.From || now >= w.To {
			continue
		}
		x := engine.Start{From: a.From}
		if w.Place.Kind == "fleet" || x.Touches(w.Place) || (w.Place.Kind == "host" && w.Place.ID == a.From.Name) {
			return true
		}
	}
	return false
}

// spend notes a budget that bites, once a cycle.
func (g *gate) spend(kind, id string, n int32, what string) {
	h := engine.Hold{
		Subject: engine.Subject{Kind: kind, ID: id}, Name: id, Code: engine.HoldBudget, Want: startActions,
		Detail: fmt.Sprintf("its budget of %d actions %s is used up", n, what),
	}
	if id == "" {
		h.Name, h.Detail = kind, "the budget is 0 "+what
	}
	if !slices.ContainsFunc(g.spent, func(o engine.Hold) bool { return o.Subject == h.Subject }) {
		g.spent = append(g.spent, h)
	}
}

// setBack sees to it that nothing is remembered that lies ahead, should the clock have
// been set back.
func (g *gate) setBack() {
	g.state = g.state.Until(engine.At(time.Now()), engine.Unix(g.rails.BreakerRest/time.Second))
}

// cycleBegins tells the gate what this cycle knows.
func (g *gate) cycleBegins(h *engine.History, windows []engine.Window) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent, g.windows = nil, windows
	g.setBack()
	g.failed = func(a *engine.Action) bool {
		if a.Kind == engine.Move {
			return h.VM(a.VM).Failures > 0
		}
		x := h.Host(a.HostOf())
		return x.FailedAt > x.ChangeAt
	}
}
