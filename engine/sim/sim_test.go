package sim

import (
	"bytes"
	"strings"
	"testing"

	"heliostat/engine"
)

// TestFleetIsSeeded: one seed, one fleet; another seed, another.
func TestFleetIsSeeded(t *testing.T) {
	cfg := FleetConfig{Sites: 4, Hosts: 40, VMs: 300, OffPct: 5, TemplatePct: 2, ObstaclePct: 5, AcrossPct: 50, RulePct: 50, GapPct: 3, StandbyPct: 20, DRSPct: 30}
	a, err1 := engine.Encode(Fleet(7, cfg))
	b, err2 := engine.Encode(Fleet(7, cfg))
	c, err3 := engine.Encode(Fleet(8, cfg))
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	if !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("a seed must make one fleet, and another seed another")
	}
}

// TestFleetFits: no host is over its capacity, and a host's use is its VMs' and a little of its own.
func TestFleetFits(t *testing.T) {
	s := Fleet(1, FleetConfig{Sites: 20, Hosts: 200, VMs: 3000, LoadPct: 60})
	if len(s.Sites) != 20 || len(s.Hosts) != 200 || len(s.VMs) < 2900 {
		t.Fatalf("%d sites, %d hosts, %d VMs", len(s.Sites), len(s.Hosts), len(s.VMs))
	}
	st := engine.NewState(s, nil)
	for h := range s.Hosts {
		if st.CPU[h] != s.Hosts[h].UsedMHz || st.CPU[h] > s.Hosts[h].CPUMHz || st.Mem[h] > s.Hosts[h].MemoryMiB {
			t.Errorf("host %d: %d MHz occupied, %d used, %d MiB occupied", h, st.CPU[h], s.Hosts[h].UsedMHz, st.Mem[h])
		}
	}
}

// move is a move of VM v to host h of its own cluster.
func move(s *engine.Snapshot, v, h int32) engine.Action {
	place := func(h int32) engine.Place {
		x := &s.Hosts[h]
		return engine.Place{Site: s.Sites[x.Site].ID, VCenter: s.VCenters[x.VCenter].ID, Cluster: s.Clusters[x.Cluster].ID, Host: x.ID, Pool: s.VMs[v].Pool, Folder: s.VMs[v].Folder}
	}
	return engine.Action{ID: "c1-1", Kind: engine.Move, VM: s.VMs[v].ID, From: place(s.VMs[v].Host), To: place(h), Estimate: engine.Estimate{Seconds: 60}}
}

// other is a host beside h in its cluster.
func other(s *engine.Snapshot, h int32) int32 {
	for _, x := range s.HostsOf(s.Hosts[h].Cluster) {
		if x != h {
			return x
		}
	}
	return h
}

// TestCarryMoves: the VM, the hosts' loads and the memory of it are as the plan says, a minute later.
func TestCarryMoves(t *testing.T) {
	s := Fleet(1, FleetConfig{})
	from := s.VMs[0].Host
	to := other(s, from)
	w := NewWorld(s, engine.DefaultLimits())
	records, err := w.Carry(&engine.Plan{Actions: []engine.Action{move(s, 0, to)}})
	if err != nil {
		t.Fatal(err)
	}
	n := w.Snapshot
	if records[0].State != engine.StateSucceeded || n.VMs[0].Host != to || w.Now != Start+60 || n.Hosts[to].UsedMHz != s.Hosts[to].UsedMHz+s.VMs[0].UsedMHz {
		t.Errorf("%s at %d, on host %d of %d", records[0].State, w.Now, n.VMs[0].Host, to)
	}
	if h := w.History.VM(n.VMs[0].ID); h.MovedAt != w.Now || h.LeftHost != s.Hosts[from].ID {
		t.Errorf("remembered is %+v", h)
	}
}

// TestCarryRefuses: what no plan may do is reported.
func TestCarryRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(s *engine.Snapshot, a *engine.Action, to int32)
		want  string
	}{
		"overcommit":  {func(s *engine.Snapshot, _ *engine.Action, to int32) { s.Hosts[to].MemoryMiB = s.Hosts[to].UsedMiB + 1 }, "overcommits"},
		"not ready":   {func(s *engine.Snapshot, _ *engine.Action, to int32) { s.Hosts[to].Maintenance = true }, "not ready"},
		"stale":       {func(_ *engine.Snapshot, a *engine.Action, _ int32) { a.From.Host = a.To.Host }, "is not on"},
		"not emptied": {func(_ *engine.Snapshot, a *engine.Action, _ int32) { a.Kind = engine.Standby }, "VMs on the host"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Fleet(1, FleetConfig{})
			to := other(s, s.VMs[0].Host)
			a := move(s, 0, to)
			c.spoil(s, &a, to)
			_, err := NewWorld(s, engine.DefaultLimits()).Carry(&engine.Plan{Actions: []engine.Action{a}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestCarryStopsBehindFailures: what waits for a failed action never starts.
func TestCarryStopsBehindFailures(t *testing.T) {
	s := Fleet(1, FleetConfig{})
	from := s.VMs[0].Host
	a, b := move(s, 0, other(s, from)), engine.Action{ID: "c1-2", Kind: engine.EnterMaintenance, Rank: 1, After: []int32{0}}
	b.From = a.From
	w := NewWorld(s, engine.DefaultLimits())
	w.Fails = func(a *engine.Action) bool { return a.Kind == engine.Move }
	records, err := w.Carry(&engine.Plan{Actions: []engine.Action{a, b}})
	if err != nil || records[0].State != engine.StateFailed || records[1].State != engine.StateStale || w.Snapshot.Hosts[from].Maintenance {
		t.Errorf("%v, %s, %s", err, records[0].State, records[1].State)
	}
}
