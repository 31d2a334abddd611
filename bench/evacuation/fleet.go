package main

import (
	"math/rand/v2"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// A fleetSize is one generated evacuation.
type fleetSize struct {
	sites, hosts, vms int
	mbps              int32 // of a link, on average
}

// generate makes a fleet of which the first site is to be evacuated in seven tenths
// of the time for which its links would be busy. Where destinations are scarce,
// there is room for half of its VMs besides, on the first hosts of the others, and
// none on the rest. A VM's tier is drawn as 7, 18, 30 and 45 of a hundred for the
// highest to the lowest.
func generate(seed uint64, x fleetSize, scarce bool) engine.Input {
	r := rand.New(rand.NewPCG(seed, 1))
	s := sim.Fleet(seed, sim.FleetConfig{Sites: x.sites, Hosts: x.hosts, VMs: x.vms, ObstaclePct: 1, OffPct: 4, TemplatePct: 1, AcrossPct: 60, LoadPct: 60})
	c := engine.DefaultConfig()
	c.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	mbps := int64(0)
	for i := range s.Links {
		k := &s.Links[i]
		k.Mbps, k.RTTMicros = x.mbps*int32(50+r.IntN(100))/100, min(k.RTTMicros, 90_000)
		if k.A == 0 {
			mbps += int64(k.Mbps) * int64(c.Cost.EfficiencyPct) / 100
		}
	}
	d := &engine.Decision{Voices: []engine.Voice{{Policy: "bench", Rule: engine.RuleEvacuate, Mode: engine.Enforce}}, Reasons: []string{"generated"}}
	need, mib := int64(0), int64(0)
	for v := range s.VMs {
		vm := &s.VMs[v]
		if s.VMSite(int32(v)) != 0 || vm.Power != engine.VMOn {
			continue
		}
		need, mib = need+int64(vm.UsedMiB), mib+int64(vm.UsedMiB)+vm.DiskMiB()
		tier := int32(4)
		switch n := r.IntN(100); {
		case n < 7:
			tier = 1
		case n < 25:
			tier = 2
		case n < 55:
			tier = 3
		}
		d.Priorities = append(d.Priorities, engine.Priority{VM: int32(v), Tier: tier})
	}
	if scarce {
		fill(s, need/2)
	}
	// 1 MiB is 8.388608 Mbit.
	seconds := mib * 8_388_608 / (mbps * 1_000_000) * 7 / 10
	d.Evacuations = []engine.Evacuation{{Place: engine.Subject{Kind: "site", ID: string(s.Sites[0].ID)}, Deadline: s.At + engine.Unix(seconds)}}
	return engine.Input{Cycle: 1, Now: s.At, Seed: seed, Level: engine.Enforce, Snapshot: s, Decision: d, History: engine.Fold(&engine.History{}, s, nil, c.Low), Config: c}
}

// fill leaves so much memory free on the hosts of the other sites, one in turn at
// each, and none on those that come after.
func fill(s *engine.Snapshot, mib int64) {
	for c := range s.Clusters {
		s.Clusters[c].HA.Enabled = false // what is left is left for VMs
	}
	bySite := make([][]int32, len(s.Sites))
	for h := range s.Hosts {
		bySite[s.Hosts[h].Site] = append(bySite[s.Hosts[h].Site], int32(h))
	}
	for k := range len(s.Hosts) {
		for _, hosts := range bySite[1:] {
			if k >= len(hosts) {
				continue
			}
			x := &s.Hosts[hosts[k]]
			room := max(0, int64(x.MemoryMiB)*95/100-int64(x.UsedMiB))
			keep := min(room, mib)
			mib -= keep
			x.MemoryMiB -= int32((room - keep) * 100 / 95)
		}
	}
}
