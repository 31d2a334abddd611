package shuffle

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
)

// each is how many orders each plan is carried out in.
const each = 200

// A Tally is what came of many executions.
type Tally struct {
	Executions int    `json:"executions"`
	Seed       uint64 `json:"seed"`
	Plans      int    `json:"plans"`
	Actions    int    `json:"actions"` // of the plans
	Edges      int    `json:"edges"`   // of the plans
	Events     int    `json:"events"`  // starts and ends
	Failures   int    `json:"failures_injected"`
	Violations int    `json:"violations"`

	Broken map[string]int `json:"broken,omitempty"` // violations by rule
	First  []string       `json:"first,omitempty"`  // the first few, with what repeats them
}

// most is how many violations are kept: a person reads the first few.
const most = 20

// Many carries random plans of random fleets out, so many times in all. The plans are
// those of the seeds from the given one on, and spoil, where it is not nil, changes
// each before it is carried out. Equal arguments give equal tallies, on any number of
// processors.
func Many(executions int, seed uint64, spoil func(*engine.Plan)) Tally {
	out := Tally{Seed: seed, Broken: map[string]int{}}
	for batch := uint64(0); out.Executions < executions; batch++ {
		n := runtime.GOMAXPROCS(0)
		parts := make([]Tally, n)
		var wg sync.WaitGroup
		for k := range parts {
			wg.Go(func() { parts[k] = one(seed+batch*uint64(n)+uint64(k), spoil) })
		}
		wg.Wait()
		for _, x := range parts {
			if out.Executions >= executions {
				break
			}
			out.add(&x)
		}
	}
	return out
}

func (t *Tally) add(x *Tally) {
	t.Executions += x.Executions
	t.Plans += x.Plans
	t.Actions += x.Actions
	t.Edges += x.Edges
	t.Events += x.Events
	t.Failures += x.Failures
	t.Violations += x.Violations
	for rule, n := range x.Broken {
		t.Broken[rule] += n
	}
	t.First = append(t.First, x.First...)
	t.First = t.First[:min(len(t.First), most)]
}

// wrong counts faults in an order of the plan of a seed.
func (t *Tally) wrong(seed uint64, order string, faults []Fault) {
	for _, f := range faults {
		t.Violations++
		t.Broken[f.Rule]++
		if len(t.First) < most {
			t.First = append(t.First, fmt.Sprintf("seed %d, %s: %s: %s", seed, order, f.Rule, f.Text))
		}
	}
}

// one makes the plan of a seed and carries it out in many orders. A plan of less than
// two actions has but one order, and is not.
func one(seed uint64, spoil func(*engine.Plan)) Tally {
	t := Tally{Broken: map[string]int{}}
	in := World(seed)
	p := plan.Build(in)
	if err := check.Plan(in, p); err != nil {
		t.wrong(seed, "no order", []Fault{{"two opinions", err.Error()}})
	}
	if len(p.Actions) < 2 {
		return t
	}
	if spoil != nil {
		p.Actions = slices.Clone(p.Actions)
		spoil(p)
	}
	c := New(&in, p)
	t.Plans, t.Actions = 1, len(p.Actions)
	for i := range p.Actions {
		t.Edges += len(p.Actions[i].After)
	}
	t.wrong(seed, "every order", c.Always)
	for n := range uint64(each) {
		o := c.Run(rand.New(rand.NewPCG(seed, n)).IntN)
		t.Executions++
		t.Events += o.Events
		t.Failures += o.Failed
		t.wrong(seed, fmt.Sprint("order ", n), o.Wrong)
	}
	return t
}

// World draws a fleet with what is said about it, to be planned for without budgets
// and rests: as much happens at once as ever may. Every other fleet may sleep as far
// as its load lets it, which fills hosts so that some VMs must leave before others
// come; the others are told all kinds of things.
func World(seed uint64) engine.Input {
	r := rand.New(rand.NewPCG(seed, 77))
	night := seed%2 == 0
	f := sim.FleetConfig{
		Sites: 1 + r.IntN(3), Hosts: 6 + r.IntN(16), VMs: 30 + r.IntN(100), HostsPerCluster: 3 + r.IntN(6), OffPct: 5, TemplatePct: 2, ObstaclePct: 6,
		AcrossPct: 70, RulePct: 60, GapPct: 2, StandbyPct: 20, DRSPct: r.IntN(2) * 40, LoadPct: 20 + r.IntN(60),
	}
	if night {
		f.GapPct, f.DRSPct, f.StandbyPct, f.VMs, f.HostsPerCluster = 0, 0, 0, f.Hosts*2+r.IntN(f.Hosts), 6+r.IntN(6)
	}
	s := sim.Fleet(seed, f)
	for h := range s.Hosts {
		switch x := &s.Hosts[h]; {
		case x.Power != engine.HostOn || !x.Seen():
		case night: // little more room than there must be, for few VMs that are large
			x.MemoryMiB = min(x.MemoryMiB, 8<<10+x.UsedMiB*100/int32(50+r.IntN(40)))
		case r.IntN(4) == 0: // too full, now and then
			x.MemoryMiB = min(x.MemoryMiB, x.UsedMiB*int32(95+r.IntN(20))/100)
		}
	}
	d := sim.Opinions(s, r.IntN)
	if night {
		for c := range s.Clusters {
			s.Clusters[c].HA = engine.HA{}
		}
		d = asleep(s, 1+r.IntN(4))
	}
	c := engine.DefaultConfig()
	c.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	c.CooldownS, c.ReturnS, c.FailureS, c.PowerCooldownS = 0, 0, 0, 0
	c.MovesPerCycle, c.MovesPerHour, c.MovesPerDay, c.PowerPerHour, c.PowerPerDay = 1e6, 1e6, 1e6, 1e6, 1e6
	c.ReserveHosts = int32(r.IntN(2))
	w := sim.NewWorld(s, c.Limits)
	return engine.Input{Cycle: seed, Now: s.At, Seed: seed, Level: engine.Enforce, Snapshot: s, Decision: &d, History: w.History, Config: c}
}

// asleep permits every n-th host to sleep, and says nothing else.
func asleep(s *engine.Snapshot, n int) engine.Decision {
	d := engine.Decision{Voices: []engine.Voice{{Policy: "dpm", Rule: engine.RuleDrain, Mode: engine.Enforce}}, Reasons: []string{"low"}}
	for h := range s.Hosts {
		if s.Hosts[h].Power == engine.HostOn && h%n == 0 {
			d.Drains = append(d.Drains, engine.Drain{Host: int32(h)})
		}
	}
	return d
}
