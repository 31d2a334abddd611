package plan

import (
	"testing"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// TestUnderWayFromALiar: what is under way from a vCenter that is not believed takes
// at its destination what it may take, though its feed says nothing.
func TestUnderWayFromALiar(t *testing.T) {
	t.Parallel()
	s := sim.Fleet(3, sim.FleetConfig{Sites: 2, Hosts: 8, VMs: 40, AcrossPct: 100})
	in := input(s, &opinions{})
	v, to := &s.VMs[0], int32(len(s.Hosts)-1)
	from, h := &s.Hosts[v.Host], &s.Hosts[to]
	if v.VCenter == h.VCenter || v.Power != engine.VMOn || h.Power != engine.HostOn {
		t.Fatalf("%s at %s and %s do not do", v.ID, from.ID, h.ID)
	}
	want := compile(in).st.Mem[to] + v.MemoryMiB
	in.Open = []engine.ActionRecord{{State: engine.StateStarted, Action: engine.Action{
		ID: "c1-1", Kind: engine.Move, VM: v.ID, Name: v.Name, From: engine.Place{Host: from.ID}, To: engine.Place{Host: h.ID},
	}}}
	for i := range s.VMs {
		if s.VMs[i].VCenter == v.VCenter {
			s.VMs[i].UsedMHz, s.VMs[i].UsedMiB = 0, 0
		}
	}
	id := string(s.VCenters[v.VCenter].ID)
	s.Disbelieve([]engine.Gap{{Subject: engine.Subject{Kind: "vcenter", ID: id}, Reason: "the demand of all its running VMs is zero"}})
	if got := compile(in).st.Mem[to]; got != want {
		t.Errorf("planned with %d MiB on the destination, want %d", got, want)
	}
}
