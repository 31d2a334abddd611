package plan

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
	"heliostat/internal/race"
)

// A case of the properties: a fleet, and all kinds of opinions about it.
type propCase struct {
	*testing.T
	s *engine.Snapshot
	o *opinions
	r *rand.Rand
}

// propCases makes n different worlds; the seed is in the test's name.
func propCases(t *testing.T, n uint64, f func(*propCase)) {
	t.Helper()
	for seed := range race.Cases(n) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 99))
			s := sim.Fleet(seed, sim.FleetConfig{
				Sites: 2 + r.IntN(3), Hosts: 9 + r.IntN(24), VMs: 60 + r.IntN(200), HostsPerCluster: 3 + r.IntN(6), OffPct: 5, TemplatePct: 2, ObstaclePct: 6,
				AcrossPct: 70, RulePct: 60, GapPct: 2, StandbyPct: 20, DRSPct: r.IntN(2) * 40, LoadPct: 20 + r.IntN(50),
			})
			f(&propCase{T: t, s: s, o: &opinions{sim.Opinions(s, r.IntN)}, r: r})
		})
	}
}

// TestTwoOpinions: every plan passes Check, which shares nothing with Build.
func TestTwoOpinions(t *testing.T) {
	propCases(t, 200, func(c *propCase) {
		in := input(c.s, c.o)
		if err := check.Plan(in, Build(in)); err != nil {
			c.Error(err)
		}
	})
}

// again: equal inputs, equal bytes.
func again(t *testing.T) {
	propCases(t, 20, func(c *propCase) {
		in := input(c.s, c.o)
		a, err1 := engine.Encode(Build(in))
		b, err2 := engine.Encode(Build(in))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			c.Errorf("two plans from one input differ (%v, %v)", err1, err2)
		}
	})
}

// rested is a configuration without rests and budgets: what is left to do is
// left for another reason.
func rested() engine.Config {
	c := enforcing()
	c.CooldownS, c.ReturnS, c.FailureS, c.PowerCooldownS = 0, 0, 0, 0
	c.MovesPerCycle, c.MovesPerHour, c.MovesPerDay, c.PowerPerHour, c.PowerPerDay = 1e6, 1e6, 1e6, 1e6, 1e6
	return c
}

// settles: plan, carry out, plan again comes to an end in an empty plan, no
// VM moves twice for the same wish, and nothing is overcommitted on the way.
func settles(t *testing.T) {
	propCases(t, 100, func(c *propCase) {
		w := sim.NewWorld(c.s, engine.DefaultLimits())
		moves := map[string]int{}
		for round := 0; ; round++ {
			in := engine.Input{Cycle: uint64(round), Now: w.Now, Level: engine.Enforce, Snapshot: w.Snapshot, Decision: &c.o.Decision, History: w.History, Config: rested()}
			p := Build(in)
			if err := check.Plan(in, p); err != nil {
				c.Fatalf("round %d: %v", round, err)
			}
			if len(p.Actions) == 0 {
				return
			}
			if round == 6 {
				c.Fatalf("does not settle:\n%s", renderPlan(p))
			}
			for i := range p.Actions {
				if a := &p.Actions[i]; a.Kind == engine.Move && a.Demand.Kind == "" {
					key := string(a.VM) + " " + a.Why[0].String()
					if moves[key]++; moves[key] > 1 {
						c.Errorf("round %d: %s moves again for %s", round, a, a.Why[0])
					}
				}
			}
			if _, err := w.Carry(p); err != nil {
				c.Fatalf("round %d: %v", round, err)
			}
		}
	})
}

// failures: whatever fails, nothing is overcommitted, and the next plan still passes Check.
func failures(t *testing.T) {
	propCases(t, 50, func(c *propCase) {
		w := sim.NewWorld(c.s, engine.DefaultLimits())
		w.Fails = func(*engine.Action) bool { return c.r.IntN(5) == 0 }
		for round := range 4 {
			in := engine.Input{Cycle: uint64(round), Now: w.Now, Level: engine.Enforce, Snapshot: w.Snapshot, Decision: &c.o.Decision, History: w.History, Config: rested()}
			p := Build(in)
			if err := check.Plan(in, p); err != nil {
				c.Fatalf("round %d: %v", round, err)
			}
			if _, err := w.Carry(p); err != nil {
				c.Fatalf("round %d: %v", round, err)
			}
		}
	})
}

// TestOpenStands: a plan made while part of the last one is under way contradicts nothing of it.
func TestOpenStands(t *testing.T) {
	propCases(t, 50, func(c *propCase) {
		in := input(c.s, c.o)
		p := Build(in)
		open := map[engine.VMID]bool{}
		for i := range p.Actions {
			if a := p.Actions[i]; len(a.After) == 0 && c.r.IntN(2) == 0 {
				in.Open = append(in.Open, engine.ActionRecord{Action: a, State: engine.StateStarted, Started: in.Now})
				open[a.VM] = a.Kind == engine.Move
			}
		}
		in.Cycle++
		q := Build(in)
		if err := check.Plan(in, q); err != nil {
			c.Error(err)
		}
		for i := range q.Actions {
			if a := &q.Actions[i]; a.Kind == engine.Move && open[a.VM] {
				c.Errorf("%s is under way already", a)
			}
		}
	})
}

// TestProperty09Vetoes: a vetoed move never appears again, and what takes its place is safe.
func TestProperty09Vetoes(t *testing.T) {
	propCases(t, 50, func(c *propCase) {
		in := input(c.s, c.o)
		vetoed := map[string]bool{}
		for range 3 {
			p := Build(in)
			if err := check.Plan(in, p); err != nil {
				c.Fatal(err)
			}
			for i := range p.Actions {
				a := &p.Actions[i]
				if a.Kind != engine.Move {
					continue
				}
				key := string(a.VM) + ">" + string(a.To.Host)
				if vetoed[key] {
					c.Fatalf("%s was vetoed", a)
				}
				if c.r.IntN(3) == 0 {
					vetoed[key] = true
					in.Vetoes = append(in.Vetoes, engine.Veto{VM: a.VM, To: a.To.Host, Code: "no", Reason: "no", Policy: "p", Mode: engine.Enforce})
				}
			}
		}
	})
}

// TestBudgets: moves outside demands and standbys stay within every budget, spent and open ones counted.
func TestBudgets(t *testing.T) {
	propCases(t, 50, func(c *propCase) {
		in := input(c.s, c.o)
		in.Config.MovesPerCycle, in.Config.MovesPerHour, in.Config.MovesPerDay, in.Config.PowerPerHour = int32(c.r.IntN(9)), 8, 11, 2
		for i := range 5 {
			in.History.Spent = append(in.History.Spent, engine.Spend{At: in.Now - engine.Unix(i*1500), Kind: engine.Move})
		}
		in.History.Spent = append(in.History.Spent, engine.Spend{At: in.Now - 60, Kind: engine.Standby})
		p := Build(in)
		var moves, standby int32
		for i := range p.Actions {
			a := &p.Actions[i]
			if a.Demand.Kind == "" && a.Kind == engine.Move {
				moves++
			}
			if a.Kind == engine.Standby {
				standby++
			}
		}
		// Three of five moves were made within the hour.
		if limit := min(in.Config.MovesPerCycle, 8-3, 11-5); moves > limit || standby > 1 {
			c.Errorf("%d moves of %d, %d standbys of 1", moves, limit, standby)
		}
	})
}

// TestFrozen: no wish touches a frozen place.
func TestFrozen(t *testing.T) {
	propCases(t, 50, func(c *propCase) {
		site := c.s.Sites[c.r.IntN(len(c.s.Sites))].ID
		c.o.Freezes = append(c.o.Freezes, engine.Freeze{Place: engine.Subject{Kind: "site", ID: string(site)}, By: c.o.by("freeze", engine.RuleFreeze, "frozen", 0, true)})
		p := Build(input(c.s, c.o))
		for i := range p.Actions {
			a := &p.Actions[i]
			if a.Demand.Kind == "" && (a.From.Site == site || a.To.Site == site) {
				c.Errorf("%s touches frozen %s", a, site)
			}
		}
	})
}

// moreLeave: a larger evaluation budget never moves fewer VMs out of a doomed site.
func moreLeave(t *testing.T) {
	s := sim.Fleet(3, sim.FleetConfig{LoadPct: 50})
	o := &opinions{}
	o.evacuate("site", string(s.Sites[0].ID), 0)
	last := -1
	for _, budget := range []int64{1, 10, 100, 1000, 100_000} {
		in := input(s, o)
		in.Budget = budget
		if n := count(Build(in), engine.Move); n < last {
			t.Errorf("budget %d: %d moves, fewer than %d", budget, n, last)
		} else {
			last = n
		}
	}
}

// asManyLeave: with other names for the VMs, as many of them are saved and held.
func asManyLeave(t *testing.T) {
	propCases(t, 20, func(c *propCase) {
		o := &opinions{}
		o.evacuate("site", string(c.s.Sites[0].ID), 0)
		c.s.Rules = nil // they name VMs by index
		a := Build(input(c.s, o))
		other := relabel(c.s)
		b := Build(input(other, o))
		if x, y := count(a, engine.Move), count(b, engine.Move); x != y || !maps.Equal(holds(a), holds(b)) {
			c.Errorf("%d moves and holds %v, relabelled %d and %v", x, holds(a), y, holds(b))
		}
	})
}

// relabel gives the VMs new IDs in the opposite order.
func relabel(s *engine.Snapshot) *engine.Snapshot {
	out := &engine.Snapshot{
		At: s.At, Sites: s.Sites, VCenters: s.VCenters, Clusters: s.Clusters, Hosts: s.Hosts, Datastores: s.Datastores, Networks: s.Networks, Links: s.Links, VMs: slices.Clone(s.VMs),
	}
	slices.Reverse(out.VMs)
	for i := range out.VMs {
		out.VMs[i].ID = engine.VMID(fmt.Sprintf("%08d", i))
	}
	return out
}
