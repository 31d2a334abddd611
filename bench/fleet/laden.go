package main

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"heliostat/engine"
)

// laden is the fleet with the load of one in use (see [lade]). VMs that a rule binds
// stay where they are.
func laden(s *engine.Snapshot, seed uint64) *engine.Snapshot {
	rnd := rand.New(rand.NewPCG(seed, 3))
	out := same(s)
	ruled := make([]bool, len(s.VMs))
	for i := range s.Rules {
		for _, v := range s.Rules[i].VMs {
			ruled[v] = true
		}
	}
	for c := range s.Clusters {
		lade(out, s.HostsOf(int32(c)), rnd, ruled)
	}
	return same(out) // which VMs are on a host was looked up before they were moved
}

// lade makes the VMs of a cluster grow until they take between 33 and 63 % of its
// memory, and its CPU is between 0.6 and 1.3 times as scarce. Those that are not fixed
// stand on its least loaded hosts, the largest first.
func lade(s *engine.Snapshot, hosts []int32, rnd *rand.Rand, fixed []bool) {
	load, ratio := 0.33+0.30*rnd.Float64(), 0.6+0.7*rnd.Float64()
	var vms []int32
	var mib, mhz, allMiB, allMHz float64
	least := s.Hosts[hosts[0]].CPUMHz
	for _, h := range hosts {
		x := &s.Hosts[h]
		allMiB, allMHz, least = allMiB+float64(x.MemoryMiB), allMHz+float64(x.CPUMHz), min(least, x.CPUMHz)
		x.UsedMHz, x.UsedMiB = 400, 6<<10
		for _, v := range s.VMsOn(h) {
			vms = append(vms, v)
			mib, mhz = mib+float64(s.VMs[v].UsedMiB), mhz+float64(s.VMs[v].UsedMHz)
		}
	}
	grow, busy := allMiB*load/max(mib, 1), allMHz*load*ratio*0.8/0.9/max(mhz, 1)
	free := vms[:0]
	for _, v := range vms {
		x := &s.VMs[v]
		x.MemoryMiB, x.UsedMiB, x.ActiveMiB = int32(float64(x.MemoryMiB)*grow), int32(float64(x.UsedMiB)*grow), int32(float64(x.ActiveMiB)*grow)
		x.UsedMHz = min(int32(float64(x.UsedMHz)*busy), least*6/10)
		if fixed != nil && fixed[v] {
			y := &s.Hosts[x.Host]
			y.UsedMHz, y.UsedMiB = y.UsedMHz+x.UsedMHz, y.UsedMiB+x.UsedMiB
		} else {
			free = append(free, v)
		}
	}
	spread(s, hosts, free)
}

// spread puts each VM on the host of its cluster that it leaves least loaded.
func spread(s *engine.Snapshot, hosts, vms []int32) {
	slices.SortStableFunc(vms, func(v, w int32) int { return cmp.Compare(s.VMs[w].UsedMiB, s.VMs[v].UsedMiB) })
	for _, v := range vms {
		x := &s.VMs[v]
		after := func(h int32) float64 {
			y := &s.Hosts[h]
			return max(float64(y.UsedMHz+x.UsedMHz)/float64(y.CPUMHz), float64(y.UsedMiB+x.UsedMiB)/float64(y.MemoryMiB))
		}
		x.Host = slices.MinFunc(hosts, func(a, b int32) int { return cmp.Compare(after(a), after(b)) })
		y := &s.Hosts[x.Host]
		y.UsedMHz, y.UsedMiB = y.UsedMHz+x.UsedMHz, y.UsedMiB+x.UsedMiB
	}
}
