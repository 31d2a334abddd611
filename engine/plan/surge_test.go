package plan

import (
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
)

// risen is one cluster of four hosts, the last of them asleep by our doing, whose
// twelve VMs take 100 MHz each, and what an hour of that and a week before told.
func risen(t *testing.T, surge engine.ClusterHistory) engine.Input {
	t.Helper()
	s := sim.Fleet(3, sim.FleetConfig{Sites: 1, Hosts: 4, VMs: 12, HostsPerCluster: 4})
	s.Rules = nil
	for h := range s.Hosts {
		x := &s.Hosts[h]
		x.CPUMHz, x.MemoryMiB, x.Power, x.Connected, x.UsedMHz, x.UsedMiB = 10_000, 1<<18, engine.HostOn, true, 0, 0
	}
	for v := range s.VMs {
		y := &s.VMs[v]
		y.Host, y.Power, y.UsedMHz, y.UsedMiB, y.VCPUs, y.Obstacles, y.ReserveMHz, y.ReserveMiB = int32(v%3), engine.VMOn, 100, 1024, 1, 0, 0, 0
		s.Hosts[y.Host].UsedMHz += 100
		s.Hosts[y.Host].UsedMiB += 1024
	}
	last := &s.Hosts[3]
	last.Power, last.Connected, last.Standby, last.Mark = engine.HostStandby, false, true, "standby c1-1"
	in := input(s, idle(s))
	in.Config.ReserveHosts, in.Config.SurgePct = 0, 100
	in.History.Hosts[3].Own = engine.OwnStandby
	for c := range in.History.Clusters {
		surge.ID = in.History.Clusters[c].ID
		in.History.Clusters[c] = surge
	}
	return in
}

func built(t *testing.T, in engine.Input) *engine.Plan {
	t.Helper()
	p := Build(in)
	if err := check.Plan(in, p); err != nil {
		t.Fatalf("own plan refused: %v", err)
	}
	return p
}

// A cluster that has lately risen by much keeps hosts on for it, and says so.
func TestHostsStayOnForWhatMayCome(t *testing.T) {
	if p := built(t, risen(t, engine.ClusterHistory{})); count(p, engine.Standby) == 0 {
		t.Fatalf("nothing sleeps where nothing ever rose: %v", p.Holds)
	}
	in := risen(t, engine.ClusterHistory{Hours: [6]int32{1200}, Peaks: [7]int32{28_000}, Rises: [7]int32{26_000}})
	p := built(t, in)
	if len(p.Actions) > 0 {
		t.Errorf("actions: %v", p.Actions)
	}
	held := 0
	for i := range p.Holds {
		if h := &p.Holds[i]; h.Code == engine.HoldReserve && strings.Contains(h.Detail, "may soon ask for 27200 MHz") {
			held++
		}
	}
	if held == 0 {
		t.Errorf("no hold says why: %+v", p.Holds)
	}
	in.Config.SurgePct = 0
	if p := built(t, in); count(p, engine.Standby) == 0 {
		t.Errorf("surge_pct 0 keeps hosts on: %+v", p.Holds)
	}
	in.Config.SurgePct, in.History.Clusters[0].Peaks[0], in.History.Clusters[0].Rises[0] = 100, 36_000, 36_000
	if p := built(t, in); count(p, engine.Wakeup) != 0 {
		t.Errorf("a host is woken unasked for what only may come: %v", p.Actions)
	}
	in.Decision.Wakes = []engine.Wake{{Host: 3}}
	if p := built(t, in); count(p, engine.Wakeup) != 1 {
		t.Errorf("no host is woken for what three do not have: %v", p.Actions)
	}
}

// A host that is asked for more than it has is relieved, of what moved a while ago as
// well, and where no host has room one of ours is woken whoever asks for it.
func TestAnOverloadedHostIsRelieved(t *testing.T) {
	in := risen(t, engine.ClusterHistory{})
	in.Decision = &engine.Decision{}
	for _, v := range in.Snapshot.VMsOn(0) {
		in.Snapshot.VMs[v].UsedMHz = 3000
		in.Snapshot.Hosts[0].UsedMHz += 2900
		in.History.VMs[v].MovedAt, in.History.VMs[v].LeftHost = in.Now-600, in.Snapshot.Hosts[1].ID
	}
	p := built(t, in)
	if count(p, engine.Move) != 2 || count(p, engine.Wakeup) != 0 {
		t.Errorf("want two moves off it: %v", p.Actions)
	}
	for i := range p.Actions {
		if a := &p.Actions[i]; a.From.Host != in.Snapshot.Hosts[0].ID || a.To.Host == in.Snapshot.Hosts[1].ID {
			t.Errorf("%s: returns to where it has come from", a)
		}
	}
	for v := range in.Snapshot.VMs {
		if h := in.Snapshot.VMs[v].Host; h != 0 {
			in.Snapshot.VMs[v].UsedMHz = 1900
			in.Snapshot.Hosts[h].UsedMHz += 1800
		}
	}
	p = built(t, in)
	if count(p, engine.Wakeup) != 1 || count(p, engine.Move) != 2 {
		t.Errorf("want a host woken and two moves to it: %v, %+v", p.Actions, p.Holds)
	}
}

// Where a large VM finds no place one is woken for it, and small ones, of which many would
// have to move for as much, stay. Without a host to wake they move.
func TestFewAreMovedForRelief(t *testing.T) {
	in := risen(t, engine.ClusterHistory{})
	in.Decision = &engine.Decision{}
	load := func(v, mhz int32) {
		x := &in.Snapshot.VMs[v]
		in.Snapshot.Hosts[x.Host].UsedMHz += mhz - x.UsedMHz
		x.UsedMHz = mhz
	}
	for v := range in.Snapshot.VMs {
		if in.Snapshot.VMs[v].Host != 0 {
			load(int32(v), 1900)
		}
	}
	for _, v := range in.Snapshot.VMsOn(0)[:2] {
		load(v, 6000)
	}
	p := built(t, in)
	if count(p, engine.Wakeup) != 1 || count(p, engine.Move) != 1 {
		t.Errorf("want a host woken and one move: %v, %+v", p.Actions, p.Holds)
	}
	in.History.Hosts[3].Own, in.Snapshot.Hosts[3].Standby = engine.OwnNothing, false
	if p := built(t, in); count(p, engine.Wakeup) != 0 || count(p, engine.Move) != 2 {
		t.Errorf("want both small ones moved: %v, %+v", p.Actions, p.Holds)
	}
}

// No host is woken for what the VMs of a cluster have not taken for two intervals, unless
// one is over its capacity.
func TestNoHostIsWokenForWhatPasses(t *testing.T) {
	in := risen(t, engine.ClusterHistory{})
	in.Decision.Drains, in.Decision.Wakes = nil, []engine.Wake{{Host: 3}}
	for v := range in.Snapshot.VMs {
		x := &in.Snapshot.VMs[v]
		in.Snapshot.Hosts[x.Host].UsedMHz += 2100 - x.UsedMHz
		x.UsedMHz = 2100
	}
	for _, c := range []struct {
		before int32 // MHz of the cluster, an interval ago
		wakes  int
	}{{engine.Unknown, 1}, {1200, 0}, {25_200, 1}} {
		ring := engine.Ring{}
		ring.Add(in.Now-engine.RingSeconds, c.before)
		ring.Add(in.Now, 25_200)
		in.History.Clusters[0].CPU = ring
		if p := built(t, in); count(p, engine.Wakeup) != c.wakes {
			t.Errorf("%d MHz before: %d hosts woken, want %d: %v", c.before, count(p, engine.Wakeup), c.wakes, p.Actions)
		}
	}
	in.History.Clusters[0].CPU = engine.Ring{}
	in.History.Clusters[0].CPU.Add(in.Now-engine.RingSeconds, 1200)
	in.History.Clusters[0].CPU.Add(in.Now, 25_200)
	for v := range in.Snapshot.VMs {
		in.Snapshot.Hosts[in.Snapshot.VMs[v].Host].UsedMHz += 1900
		in.Snapshot.VMs[v].UsedMHz += 1900
	}
	if p := built(t, in); count(p, engine.Wakeup) != 1 {
		t.Errorf("hosts are over their capacity: %v", p.Actions)
	}
}

// VMs that may all rise are spread before they do.
func TestWhatMayRiseIsSpread(t *testing.T) {
	in := risen(t, engine.ClusterHistory{Hours: [6]int32{1200}, Peaks: [7]int32{24_000}, Rises: [7]int32{24_000}})
	in.Decision = &engine.Decision{}
	for _, v := range in.Snapshot.VMsOn(0) {
		in.History.VMs[v].Peak = 6000
	}
	p := built(t, in)
	if count(p, engine.Move) != 2 {
		t.Errorf("want one moved to each of the others: %v", p.Actions)
	}
	for i := range p.Actions {
		if a := &p.Actions[i]; a.From.Host != in.Snapshot.Hosts[0].ID || a.Why[0].Rule != "balance" {
			t.Errorf("%s for %v", a, a.Why)
		}
	}
}
