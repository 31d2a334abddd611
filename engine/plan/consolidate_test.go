package plan

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
)

// searched makes the domains of n small worlds, each with its bound and searched
// for so many evaluations.
func searched(t *testing.T, n uint64, cfg sim.FleetConfig, evaluations int64, f func(*testing.T, *domain)) {
	t.Helper()
	for seed := range n {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			s := sim.Fleet(seed, cfg)
			generations(s)
			in := input(s, idle(s))
			in.Config = rested()
			in.Config.ReserveHosts = int32(seed % 3)
			b := compile(in)
			b.hostBars()
			for _, list := range b.sleepers() {
				if d := b.domainOf(s.Hosts[list[0].h].Cluster, list); d != nil {
					d.search(evaluations)
					f(t, d)
				}
			}
		})
	}
}

// everyPlacement: no way to place the VMs of a tiny cluster saves more than the bound,
// and the search saves no more than the best way and no less than nothing.
func everyPlacement(t *testing.T) {
	exact, found, all := 0, 0, 0
	searched(t, 120, sim.FleetConfig{Sites: 1, Hosts: 4, VMs: 7, HostsPerCluster: 4, RulePct: 60, ObstaclePct: 10, LoadPct: 60}, 100_000, func(t *testing.T, d *domain) {
		value, bound := d.value, d.bound
		best := bruteForce(d)
		if best > bound || value > best || value < 0 {
			t.Errorf("saves %d, the best is %d, the bound is %d", value, best, bound)
		}
		all++
		if value == best {
			found++
		}
		if best == bound {
			exact++
		}
	})
	t.Logf("of %d domains the search found the best of %d, and the bound is met in %d", all, found, exact)
	if all < 100 || found < all*90/100 {
		t.Errorf("of %d domains the search found the best of %d only", all, found)
	}
}

// bruteForce tries every host for every VM, and every set of hosts that may go off.
func bruteForce(d *domain) int64 {
	d.reset()
	best, at := int64(0), make([]int, len(d.vms))
	var place func(v int)
	place = func(v int) {
		if v == len(d.vms) {
			best = max(best, judge(d, at))
			return
		}
		for h := d.masks[v].next(0); h >= 0; h = d.masks[v].next(h + 1) {
			at[v] = h
			place(v + 1)
		}
	}
	place(0)
	return best
}

// judge is what an assignment saves, all empty hosts that may go off: -1 when it
// breaks a rule. It is written from what the domain says, not from how it searches.
func judge(d *domain, at []int) int64 {
	free, saved := slices.Clone(d.free), int64(0)
	empty := slices.Repeat([]bool{true}, len(d.hosts))
	for v, h := range at {
		for lane := range 3 {
			free[d.home[v]][lane] += d.size4[v][lane]
			free[h][lane] -= d.size4[v][lane]
		}
		saved += d.mhz[v] * (d.slope[d.home[v]] - d.slope[h])
		if h != int(d.home[v]) {
			saved -= d.cost[v]
		}
		empty[h] = false
		for _, m := range d.mates[v] {
			if at[m] == h && (h != int(d.home[v]) || h != int(d.home[m])) {
				return -1
			}
		}
	}
	for h := range free {
		if slices.Min(free[h][:3]) < min(0, slices.Min(d.free[h][:3])) {
			return -1
		}
	}
	most := int64(-1)
	for set := range 1 << len(d.hosts) {
		on, sum := hostSet{}, saved
		for h := range d.hosts {
			switch {
			case set>>h&1 == 0:
				on.add(h)
			case !empty[h] || !d.may.has(h):
				sum = -1 << 60
			default:
				sum += d.idle[h]
			}
		}
		if d.keeps(on) {
			most = max(most, sum)
		}
	}
	return most
}

// accounts: what the search says that it saves is what its assignment
// saves, counted again, and nothing is overfull.
func accounts(t *testing.T) {
	searched(t, 20, sim.FleetConfig{Sites: 2, Hosts: 40, VMs: 500, HostsPerCluster: 20, RulePct: 60, ObstaclePct: 3, LoadPct: 60}, 1<<40, func(t *testing.T, d *domain) {
		saved := int64(0)
		free := slices.Clone(d.free)
		for h := range d.hosts {
			if !d.on.has(h) {
				saved += d.idle[h]
				if len(d.list[h]) > 0 {
					t.Errorf("host %d is off with %d VMs", h, len(d.list[h]))
				}
			}
			if !free[h].fits(&load{}) {
				t.Errorf("host %d is overfull: %v", h, free[h])
			}
		}
		for v := range d.vms {
			from, to := d.home[v], d.at[v]
			saved += d.mhz[v] * (d.slope[from] - d.slope[to])
			if from != to {
				saved -= d.cost[v]
			}
			if !d.masks[v].has(int(to)) || d.mated(int32(v), to) && from != to {
				t.Errorf("VM %d may not be on host %d", v, to)
			}
		}
		if saved != d.value || d.value > d.bound {
			t.Errorf("says %d, saves %d, of at most %d", d.value, saved, d.bound)
		}
	})
}

// moreSaved: with more evaluations a search never saves less.
func moreSaved(t *testing.T) {
	last := map[string]int64{}
	for _, evaluations := range []int64{0, 50, 500, 5_000, 50_000, 1 << 40} {
		searched(t, 10, sim.FleetConfig{Sites: 1, Hosts: 24, VMs: 300, HostsPerCluster: 24, RulePct: 60, ObstaclePct: 3, LoadPct: 60}, evaluations, func(t *testing.T, d *domain) {
			name := t.Name()[:len("TestProperty06MonotoneInBudget/saving/seed=0")]
			if d.value < last[name] {
				t.Errorf("%d evaluations save %d, fewer saved %d", evaluations, d.value, last[name])
			}
			last[name] = d.value
		})
	}
}

// anyWorkers: any number of processors gives the same bytes.
func anyWorkers(t *testing.T) {
	s := sim.Fleet(5, sim.FleetConfig{Sites: 3, Hosts: 120, VMs: 1500, HostsPerCluster: 12, RulePct: 60, ObstaclePct: 3, LoadPct: 50})
	generations(s)
	o := idle(s)
	by := o.by("follow_the_sun", engine.RuleSiteScore, "the sun is up", 20_000, false)
	o.SiteScores = append(o.SiteScores, engine.SiteScore{Site: 1, Milli: 900, By: by})
	var first []byte
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, n := range []int{1, 2, 3, 8} {
		runtime.GOMAXPROCS(n)
		got, err := engine.Encode(Build(input(s, o)))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		} else if !bytes.Equal(first, got) {
			t.Errorf("%d workers give another plan", n)
		}
	}
}

// consolidated is a fleet in which every host may sleep and nothing is rationed.
func consolidated(seed uint64) (*engine.Snapshot, *opinions) {
	s := sim.Fleet(seed, sim.FleetConfig{Sites: 2, Hosts: 48, VMs: 500, HostsPerCluster: 12, RulePct: 60, ObstaclePct: 2, LoadPct: 50})
	generations(s)
	return s, idle(s)
}

// carriedOut: plan, carry out, plan again: nothing.
func carriedOut(t *testing.T) {
	for seed := range uint64(20) {
		s, o := consolidated(seed)
		w := sim.NewWorld(s, engine.DefaultLimits())
		for round := range 2 {
			in := engine.Input{Cycle: uint64(round), Now: w.Now, Seed: uint64(round), Level: engine.Enforce, Snapshot: w.Snapshot, Decision: &o.Decision, History: w.History, Config: rested()}
			p := Build(in)
			if err := check.Plan(in, p); err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
			if round == 0 && count(p, engine.Standby) == 0 {
				t.Fatalf("seed %d: no host sleeps", seed)
			}
			if round == 1 && len(p.Actions) > 0 {
				t.Errorf("seed %d: plans again:\n%s", seed, renderPlan(p))
			}
			if _, err := w.Carry(p); err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
		}
	}
}

// asMuchSaved: with other names for the VMs the plan saves as much, up to
// a hundredth of what could be saved.
func asMuchSaved(t *testing.T) {
	for seed := range uint64(20) {
		s, o := consolidated(seed)
		s.Rules = nil // they name VMs by index
		in, other := input(s, o), input(relabel(s), o)
		in.Config, other.Config = rested(), rested()
		x, y := Build(in).Effect.Power, Build(other).Effect.Power
		if x.Start != y.Start || x.Bound != y.Bound || max(x.Planned, y.Planned)-min(x.Planned, y.Planned) > (x.Start-x.Bound)/100 {
			t.Errorf("seed %d: %+v, relabelled %+v", seed, x, y)
		}
	}
}

// TestRests: a VM does not go back within the time in which its move was to pay
// back, though the configuration would let it return at once; and a host that was
// woken stays on until idling has cost as much as another standby and wake.
func TestRests(t *testing.T) {
	s, o := consolidated(1)
	in := input(s, o)
	in.Config = rested()
	in.Config.PowerHoldsS = 3600
	in.Config.PowerCycleMicro = 1
	first := Build(in)
	standby, wait := 0, int64(0)
	for i := range first.Actions {
		a := &first.Actions[i]
		if a.Kind == engine.Move {
			continue
		}
		h, _ := s.FindHost(a.HostOf())
		standby++
		for k := range in.History.Hosts {
			if in.History.Hosts[k].ID == a.HostOf() {
				in.History.Hosts[k].ChangeAt = in.Now - 600
			}
		}
		wait = max(wait, compile(in).powerRest(h))
	}
	if standby == 0 || wait >= 600 {
		t.Fatalf("%d hosts sleep, and a host rests for %d s", standby, wait)
	}
	if n := count(Build(in), engine.Standby); n != standby {
		t.Errorf("%d hosts sleep of %d that have rested", n, standby)
	}
	in.Config.PowerCycleMicro = 20_000 // 150 W at 0.2 EUR/kWh take 40 minutes to cost that
	tired := Build(in)
	for i := range tired.Actions {
		if a := &tired.Actions[i]; a.Kind == engine.Standby && in.History.Host(a.HostOf()).ChangeAt != 0 {
			t.Errorf("%s, ten minutes after it was woken", a)
		}
	}

	in = input(s, o)
	in.Config = rested()
	for i := range first.Actions {
		a := &first.Actions[i]
		if a.Kind != engine.Move {
			continue
		}
		for k := range in.History.VMs {
			if x := &in.History.VMs[k]; x.ID == a.VM {
				x.MovedAt, x.LeftHost, x.LeftSite = in.Now-600, a.To.Host, a.To.Site
			}
		}
	}
	p := Build(in)
	for i := range p.Actions {
		if a := &p.Actions[i]; a.Kind == engine.Move && in.History.VM(a.VM).LeftHost == a.To.Host {
			t.Errorf("%s returns to where it was ten minutes ago", a)
		}
	}
}
