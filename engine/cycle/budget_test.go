package cycle

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

func starting(n int, demand engine.Subject) *engine.Action {
	return &engine.Action{
		ID: fmt.Sprintf("c1-%d", n), Kind: engine.Move, VM: engine.VMID(fmt.Sprint("vm", n)), Demand: demand,
		From: engine.Place{Site: "a", VCenter: "v", Cluster: "v/c", Host: "v/h"}, To: engine.Place{Site: "b", VCenter: "w", Cluster: "w/c", Host: "w/h"},
	}
}

// admitted is how many of n actions a gate lets start.
func admitted(g *gate, from, n int, demand engine.Subject) (yes int) {
	for i := range n {
		if g.Admit(starting(from+i, demand)) {
			yes++
		}
	}
	return yes
}

var flight = engine.Subject{Kind: "site", ID: "a"}

// Each budget binds at either end, by hour and day; a demand has its own, as many
// times as large, which ends as well; a restart forgets none.
func TestBudgets(t *testing.T) {
	wide := Budget{1000, 1000}
	for name, c := range map[string]struct {
		b          Budgets
		wish, rush int // of 100 within an hour
		later      int // of 100 more, an hour later
		why        string
	}{
		"host, hour":          {Budgets{Host: Budget{4, 1000}, Cluster: wide, Site: wide, DemandX: 3}, 4, 12, 4, "host v/h: its budget of 4 actions started within an hour is used up"},
		"cluster, day":        {Budgets{Host: wide, Cluster: Budget{6, 8}, Site: wide, DemandX: 2}, 6, 12, 2, "cluster v/c: its budget of 8 actions started within a day is used up"},
		"site":                {Budgets{Host: wide, Cluster: wide, Site: Budget{5, 5}, DemandX: 1}, 5, 5, 0, "site a: its budget of 5 actions started within a day is used up"},
		"none":                {Budgets{Host: Budget{}, Cluster: wide, Site: wide, DemandX: 100}, 0, 0, 0, "host v/h: its budget of 0 actions started within an hour is used up"},
		"outside of a window": {Budgets{Host: wide, Cluster: wide, Site: wide, DemandX: 1, Window: "change"}, 0, 100, 0, "fleet: the budget is 0 outside a window of kind change"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{rails: Rails{Budgets: &c.b}, began: time.Now()}
				if n := admitted(g, 0, 100, engine.Subject{}); n != c.wish {
					t.Errorf("%d wishes, want %d", n, c.wish)
				}
				if n := admitted(g, 100, 100, flight); n != c.rush {
					t.Errorf("%d demanded, want %d", n, c.rush)
				}
				m := Memory{History: &engine.History{Rails: g.remember()}}
				g = &gate{rails: g.rails}
				g.restore(&m)
				if n := admitted(g, 200, 100, engine.Subject{}); n != 0 {
					t.Errorf("%d more after a restart", n)
				}
				time.Sleep(time.Hour)
				if n := admitted(g, 300, 100, engine.Subject{}); n != c.later {
					t.Errorf("%d an hour later, want %d", n, c.later)
				}
				held := fmt.Sprint(g.holds(time.Now()))
				for _, part := range strings.SplitN(c.why, ": ", 2) {
					if !strings.Contains(held, part[strings.LastIndex(part, " ")+1:]) {
						t.Errorf("held: %s\nwant: %s", held, c.why)
					}
				}
			})
		})
	}
}

func TestWindowOpensTheBudgets(t *testing.T) {
	b := DefaultBudgets()
	b.Window = "change"
	g := &gate{rails: Rails{Budgets: b}}
	now := engine.At(time.Now())
	for place, want := range map[engine.Subject]int{{Kind: "fleet"}: 1, {Kind: "site", ID: "a"}: 1, {Kind: "cluster", ID: "v/c"}: 1, {Kind: "site", ID: "b"}: 0} {
		g.cycleBegins(&engine.History{}, []engine.Window{{Kind: "change", Place: place, From: now - 60, To: now + 60}})
		if n := admitted(g, want, 1, engine.Subject{}); n != want {
			t.Errorf("a window for %s: %d admitted, want %d", place, n, want)
		}
		g.cycleBegins(&engine.History{}, []engine.Window{{Kind: "change", Place: place, From: now - 120, To: now - 60}})
		if n := admitted(g, 10, 1, engine.Subject{}); n != 0 {
			t.Errorf("a window for %s that has closed: %d admitted", place, n)
		}
	}
}

// What failed is tried again only so often at one vCenter.
func TestRetryBudget(t *testing.T) {
	b := DefaultBudgets()
	b.Retries = 3
	g := &gate{rails: Rails{Budgets: b}}
	h := &engine.History{}
	for i := range 10 {
		h.VMs = append(h.VMs, engine.VMHistory{ID: engine.VMID(fmt.Sprint("vm", i)), Failures: 1})
	}
	g.cycleBegins(h, nil)
	if n := admitted(g, 0, 10, engine.Subject{}); n != 3 {
		t.Errorf("%d retries", n)
	}
	if n := admitted(g, 10, 10, engine.Subject{}); n != 10 {
		t.Errorf("%d first attempts beside them", n)
	}
	if held := fmt.Sprint(g.holds(time.Now())); !strings.Contains(held, "its budget of 3 actions tried again after a failure within an hour is used up") {
		t.Errorf("held: %s", held)
	}
}

// A process that is restarted every half minute starts no more than one that is not.
func TestRestartsGainNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := Memory{History: &engine.History{}}
		n := 0
		for range 20 {
			g := &gate{rails: DefaultRails()}
			g.restore(&m)
			n += admitted(g, n, 10, engine.Subject{})
			m.History.Rails = g.remember()
			time.Sleep(30 * time.Second)
		}
		if n != 10 {
			t.Errorf("%d actions in 10 minutes of 20 restarts, want one a minute", n)
		}
	})
}

// A move that ended well, and whose VM turns out to be worse off, has ended once.
func TestUnwellIsNoSecondEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{rails: Rails{Ramp: time.Minute}, began: time.Now()}
		time.Sleep(2 * time.Minute)
		first := &engine.ActionRecord{Action: *starting(0, engine.Subject{}), State: engine.StateSucceeded}
		if n := admitted(g, 0, 9, engine.Subject{}); n != canaryFirst {
			t.Fatalf("%d canaries", n)
		}
		g.Ended(first)
		if n := admitted(g, 10, 9, engine.Subject{}); n != canaryNext {
			t.Fatalf("%d next", n)
		}
		first.State = engine.StateFailed
		g.Ended(first)
		if n := admitted(g, 20, 9, engine.Subject{}); n != 0 {
			t.Errorf("%d more beside %d that are under way", n, canaryNext)
		}
	})
}
