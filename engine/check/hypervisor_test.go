package check

import (
	"fmt"
	"testing"

	"heliostat/engine"
	"heliostat/engine/plan"
)

// asleepFleet has a site to be emptied of fourteen VMs, and one at which all but one
// small host sleep. When they last ran, their hypervisors took own MiB of 200,000;
// host 7 was never seen awake where forgotten is true.
func asleepFleet(own int32, forgotten bool) *fleet {
	f := newFleet()
	for i := range 10 {
		f.addVM(fmt.Sprintf("x%02d", i), int32(i%3))
	}
	s := f.in.Snapshot
	for v := range s.VMs {
		s.VMs[v].Across = true
	}
	f.in.History = engine.Fold(&engine.History{}, s, nil, f.in.Config.Low)
	f.host(5).MemoryMiB = f.host(5).UsedMiB * 2
	for n := 6; n <= 7; n++ {
		f.host(n).Power, f.host(n).Mark, f.host(n).UsedMHz, f.host(n).UsedMiB = engine.HostStandby, "standby c1-1", 0, 0
		x := &f.in.History.Hosts[n-1]
		x.Own, x.OwnMiB = engine.OwnStandby, own
		if n == 7 && forgotten {
			x.SameSince, x.OwnMiB = 0, 0
		}
	}
	f.in.Decision.Evacuations = []engine.Evacuation{{Place: engine.Subject{Kind: "site", ID: "a"}, Deadline: now + 7200}}
	return f
}

// TestAsleep: what a host's hypervisor takes is kept free on a host that is woken,
// though a host that sleeps shows no load.
func TestAsleep(t *testing.T) {
	t.Parallel()
	for _, forgotten := range []bool{false, true} {
		for _, own := range []int32{4000, 30_000, 90_000} {
			f := asleepFleet(own, forgotten)
			p := plan.Build(f.in)
			if err := Plan(f.in, p); err != nil {
				t.Errorf("own %d: %v", own, err)
			}
			arrived := map[engine.HostID]int32{}
			for i := range p.Actions {
				if a := &p.Actions[i]; a.Kind == engine.Move {
					arrived[a.To.Host] += f.vm(a.Name).UsedMiB
				}
			}
			woken := 0
			for n := 6; n <= 7; n++ {
				if got := arrived[f.host(n).ID]; got+own > f.host(n).MemoryMiB {
					t.Errorf("own %d: host %d is to take %d MiB of %d", own, n, got, f.host(n).MemoryMiB)
				} else if got > 0 {
					woken++
				}
			}
			if woken == 0 {
				t.Errorf("own %d: no host is woken", own)
			}
		}
	}
	// A plan made as if the hypervisors took next to nothing is refused.
	p, truth := plan.Build(asleepFleet(4000, false).in), asleepFleet(90_000, false)
	if err := Plan(truth.in, p); err == nil {
		t.Error("a plan that fills hosts beyond what their hypervisors leave is not refused")
	}
}

// TestUnderWayFromALiar: what is under way from a vCenter that is not believed takes
// at its destination what it may take, though its feed says nothing.
func TestUnderWayFromALiar(t *testing.T) {
	t.Parallel()
	f := newFleet()
	f.in.History = engine.Fold(&engine.History{}, f.in.Snapshot, nil, f.in.Config.Low)
	a := *f.move("w1", 5)
	f.in.Open = []engine.ActionRecord{{Action: a, State: engine.StateStarted}}
	f.p.Actions = nil
	s, to := f.in.Snapshot, f.host(5).UsedMiB
	for v := range s.VMs {
		if s.VMs[v].VCenter == 0 {
			s.VMs[v].UsedMHz, s.VMs[v].UsedMiB = 0, 0
		}
	}
	s.Disbelieve([]engine.Gap{{Subject: engine.Subject{Kind: "vcenter", ID: "va"}, Reason: "the demand of all its running VMs is zero"}})
	h, _ := s.FindHost(f.host(5).ID)
	c := newChecker(f.in, f.p, newMemory(s))
	c.resolve()
	if got := c.world().base.Mem[h]; got != to+16_000 {
		t.Errorf("checked with %d MiB on the destination, want %d", got, to+16_000)
	}
}
