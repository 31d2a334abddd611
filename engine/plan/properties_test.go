package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
	"heliostat/internal/race"
)

// The properties of the planner, by number; `go test -list TestProperty` shows the
// twelve. 1, 2 and 11 are judged at every event of random executions
// (property_orders_test.go), 5 in property_bounds_test.go, 9 in property_test.go and
// 12 in property_conflict_test.go. engine/search has its own tests of 3 to 6 and 10.

// TestProperty03SameBytes: the same input, seed and budget give the same bytes.
func TestProperty03SameBytes(t *testing.T) {
	t.Run("again", again)
	t.Run("workers", anyWorkers)
}

// TestProperty04Increments: what is kept by increments is what is counted from scratch.
func TestProperty04Increments(t *testing.T) {
	race.Alone(t)
	t.Run("search", accounts)
	t.Run("state", states)
}

// TestProperty06MonotoneInBudget: a larger budget is never worse.
func TestProperty06MonotoneInBudget(t *testing.T) {
	t.Run("leaving", moreLeave)
	t.Run("saving", moreSaved)
}

// TestProperty07Idempotent: plan, carry out, plan again: nothing, at once or soon.
func TestProperty07Idempotent(t *testing.T) {
	t.Run("sleep", carriedOut)
	t.Run("wishes", settles)
	t.Run("failures", failures)
}

// TestProperty10Relabelling: other names change nothing that matters.
func TestProperty10Relabelling(t *testing.T) {
	t.Run("leaving", asManyLeave)
	t.Run("saving", asMuchSaved)
}

// states: an engine.State through which a plan was carried is that of the fleet after it.
func states(t *testing.T) {
	for seed := range uint64(40) {
		s := sim.Fleet(seed, sim.FleetConfig{Sites: 2, Hosts: 16, VMs: 120, HostsPerCluster: 8, AcrossPct: 70, LoadPct: 50})
		o := &opinions{sim.Opinions(s, rand.New(rand.NewPCG(seed, 3)).IntN)}
		p := Build(input(s, o))
		st := engine.NewState(s, nil)
		for i := range p.Actions { // in the order of their ranks, each after what it waits for
			a := &p.Actions[i]
			if err := st.Start(a); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := st.Finish(a); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		w := sim.NewWorld(s, engine.DefaultLimits())
		if _, err := w.Carry(p); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		fresh := engine.NewState(w.Snapshot, nil)
		for h := range s.Hosts {
			if fresh.Power[h] != engine.HostOn {
				continue // what sleeps shows nothing
			}
			now, then := [4]int32{st.CPU[h], st.Mem[h], st.VCPU[h], st.On[h]}, [4]int32{fresh.CPU[h], fresh.Mem[h], fresh.VCPU[h], fresh.On[h]}
			if now != then || st.Ready(int32(h)) != fresh.Ready(int32(h)) {
				t.Errorf("seed %d: %s carries %v, from scratch %v", seed, s.Hosts[h].Name, now, then)
			}
		}
		for d := range s.Datastores {
			if st.Free[d] != fresh.Free[d] {
				t.Errorf("seed %d: %s has %d MiB, from scratch %d", seed, s.Datastores[d].Name, st.Free[d], fresh.Free[d])
			}
		}
	}
}

// TestProperty08NoWayBack: while scores, sleep and loads change all the time, no wish
// brings a VM back to the host or the site that it has left, within the time in which
// that move was to pay back.
func TestProperty08NoWayBack(t *testing.T) {
	moves, again := 0, 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 8))
		w := sim.NewWorld(sim.Fleet(seed, sim.FleetConfig{Sites: 2, Hosts: 12, VMs: 80, HostsPerCluster: 6, AcrossPct: 90, LoadPct: 50}), engine.DefaultLimits())
		w.Fails = func(*engine.Action) bool { return r.IntN(20) == 0 }
		type way struct {
			a  engine.Action
			at engine.Unix
		}
		last := map[engine.VMID]way{}
		for round := range 16 {
			o := &opinions{sim.Opinions(w.Snapshot, r.IntN)}
			o.Pins, o.AllowHosts, o.AllowSites, o.Freezes, o.Evacuations = nil, nil, nil, nil, nil
			in := engine.Input{Cycle: uint64(round), Now: w.Now, Seed: seed, Level: engine.Enforce, Snapshot: w.Snapshot, Decision: &o.Decision, History: w.History, Config: enforcing()}
			in.Config.CooldownS = 0
			in.Config.MovesPerCycle, in.Config.MovesPerHour = 100, 1000
			p := Build(in)
			if err := check.Plan(in, p); err != nil {
				t.Fatal(err)
			}
			for i := range p.Actions {
				a := &p.Actions[i]
				l, was := last[a.VM]
				if a.Kind != engine.Move || a.Demand.Kind != "" || !was || in.Now-l.at >= engine.Unix(min(in.Config.ReturnS, in.Config.PowerHoldsS)) {
					continue
				}
				again++
				if a.To.Host == l.a.From.Host || (a.To.Site == l.a.From.Site && a.From.Site != l.a.From.Site) {
					t.Errorf("seed %d, round %d: %s, %d s after %s", seed, round, a, in.Now-l.at, &l.a)
				}
			}
			records, err := w.Carry(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range records {
				if x.Action.Kind == engine.Move && x.State == engine.StateSucceeded && x.Action.From.Host != x.Action.To.Host {
					last[x.Action.VM] = way{x.Action, x.Ended}
					moves++
				}
			}
			w.Now = max(w.Now, in.Now+engine.Unix(300+r.IntN(900)))
			later(w)
		}
	}
	if moves < 200 || again < 10 {
		t.Errorf("%d moves, %d of VMs that had just moved: nothing was tried", moves, again)
	}
}

// later is the fleet of w as it is seen now.
func later(w *sim.World) {
	p := &engine.Plan{}
	if _, err := w.Carry(p); err != nil {
		panic(fmt.Sprint("nothing was carried out: ", err))
	}
}
