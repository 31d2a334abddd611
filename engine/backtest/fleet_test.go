package backtest

import (
	"testing"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// TestFleetFollowsPersonsAndNotTheRecordedDaemon: where VMs stand is the
// simulation's, unless somebody else moved them.
func TestFleetFollowsPersonsAndNotTheRecordedDaemon(t *testing.T) {
	first := sim.Fleet(3, sim.FleetConfig{Sites: 2, Hosts: 6, VMs: 12})
	at := func(s *engine.Snapshot, now engine.Unix) *moment {
		return &moment{snapshot: s, history: &engine.History{}, in: engine.Input{Now: now}}
	}
	w := newFleet()
	w.observe(at(first, sim.Start))

	// The record goes on: the daemon has moved VM 0 and put host 5 to sleep, a
	// person has moved VM 1 and put host 4 into maintenance.
	next := copyOf(first)
	elsewhere := func(v int32) int32 { return (next.VMs[v].Host + 1) % 4 }
	ours, theirs := elsewhere(0), elsewhere(1)
	next.VMs[0].Host, next.VMs[1].Host = ours, theirs
	next.Hosts[5].Power, next.Hosts[5].Connected, next.Hosts[4].Maintenance = engine.HostStandby, false, true
	next.Hosts[5].UsedMHz, next.Hosts[5].UsedMiB = 0, 0
	w.recordedActions(sim.Start+200, []engine.ActionRecord{
		{Action: engine.Action{Kind: engine.Move, VM: next.VMs[0].ID, To: engine.Place{Host: next.Hosts[ours].ID}}},
		{Action: engine.Action{Kind: engine.Standby, From: engine.Place{Host: next.Hosts[5].ID}}},
	})
	s := w.observe(at(next, sim.Start+300))
	if s.VMs[0].Host != first.VMs[0].Host {
		t.Error("the simulation follows a move of the recorded daemon")
	}
	if s.VMs[1].Host != theirs {
		t.Error("the simulation does not follow a person's move")
	}
	if x := &s.Hosts[5]; x.Power != engine.HostOn || !x.Connected || x.UsedMHz == 0 && len(first.VMsOn(5)) > 0 {
		t.Errorf("a host that only the recorded daemon put to sleep is %s with %d MHz", x.Power, x.UsedMHz)
	}
	if !s.Hosts[4].Maintenance {
		t.Error("the simulation does not follow a person's maintenance")
	}
	for h := range int32(4) {
		var mhz, mib int32
		for v := range s.VMs {
			if x := &s.VMs[v]; x.Host == h && x.Power == engine.VMOn {
				mhz, mib = mhz+x.UsedMHz, mib+x.UsedMiB
			}
		}
		own := w.own[s.Hosts[h].ID]
		if s.Hosts[h].UsedMHz != own.mhz+mhz || s.Hosts[h].UsedMiB != own.mib+mib {
			t.Errorf("host %d takes %d MHz and %d MiB, its VMs %d and %d beside %+v", h, s.Hosts[h].UsedMHz, s.Hosts[h].UsedMiB, mhz, mib, own)
		}
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

// TestMeter counts energy, overload and what is left at a deadline.
func TestMeter(t *testing.T) {
	s := &engine.Snapshot{
		Sites: []engine.Site{{ID: "a", PUEMilli: 1500, PriceMicroEURPerKWh: 200_000, CarbonGPerKWh: 100}}, VCenters: []engine.VCenter{{}}, Clusters: []engine.Cluster{{ID: "c"}},
		Hosts: []engine.Host{{ID: "h0", Power: engine.HostOn, CPUMHz: 1000, MemoryMiB: 100, IdleW: 100, MaxW: 300}, {ID: "h1", Power: engine.HostStandby, CPUMHz: 1000, MemoryMiB: 100, IdleW: 100, MaxW: 300}},
		VMs:   []engine.VM{{ID: "v", Power: engine.VMOn, Host: 0, UsedMHz: 500, UsedMiB: 120}},
	}
	m := newMeter("x")
	m.decided(s, &engine.Decision{Evacuations: []engine.Evacuation{{Place: engine.Subject{Kind: "site", ID: "a"}, Deadline: 5000}}}, 2)
	m.pass(0, 3600, s, nil)
	if m.run.Totals.Missed != 0 {
		t.Error("judged before the deadline")
	}
	m.pass(3600, 7200, s, nil)
	m.pass(7200, 7200, s, nil)
	r := m.close(s)
	// 100 W + half of 200 W, 1.5 times, for two hours.
	if got := r.Totals; round(got.KWh, 6) != 0.6 || round(got.EUR, 6) != 0.12 || round(got.CO2Kg, 6) != 0.06 || got.OverMin != 120 || got.Missed != 1 {
		t.Errorf("%+v", got)
	}
	if r.Hosts[1].StandbyH != 2 || r.VMs[0].Left != "site a" {
		t.Errorf("%+v %+v", r.Hosts, r.VMs)
	}
}
