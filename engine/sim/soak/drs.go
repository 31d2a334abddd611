package soak

import (
	"slices"

	"heliostat/engine"
)

// spread is by how many thousandths of their capacity the fullest and the emptiest
// host of a cluster may differ until its own scheduler moves something.
const spread = 150

// balance is what every cluster's own scheduler does each five minutes: it moves one
// VM from the fullest host to the emptiest, if that makes them more equal. It knows
// the cluster's rules, and nothing of the daemon.
func (w *world) balance() {
	for c := range w.t.Clusters {
		full, empty, most, least := engine.None, engine.None, -1, 1<<30
		for _, h := range w.t.HostsOf(int32(c)) {
			if !w.open(h) {
				continue
			}
			n := w.fullness(h)
			if n > most {
				full, most = h, n
			}
			if n < least {
				empty, least = h, n
			}
		}
		if full < 0 || most-least < spread {
			continue
		}
		if v := w.fitting(full, empty, most-least); v >= 0 {
			w.r.Balanced++
			w.note("balance %s to=%s", w.t.VMs[v].Name, w.t.Hosts[empty].Name)
			w.j.contested(v, w.t.Hosts[empty].Name)
			w.take(v, empty, w.lasting(v, empty))
		}
	}
}

// chosen is the host that a cluster's own scheduler takes for VM v, which the daemon
// brings into it: the emptiest that has room, None when none has.
func (w *world) chosen(v, planned int32) int32 {
	best, least := engine.None, 1<<30
	for _, h := range w.t.HostsOf(w.t.Hosts[planned].Cluster) {
		x := &w.t.Hosts[h]
		if !w.open(h) || w.memory(h)+w.t.VMs[v].UsedMiB > x.MemoryMiB {
			continue
		}
		if n := w.fullness(h); n < least {
			best, least = h, n
		}
	}
	return best
}

// fullness is how full host h is, in thousandths: of memory or of CPU, whichever is
// fuller; where hosts are saved, of CPU alone, which the daemon balances too.
func (w *world) fullness(h int32) int {
	cpu, mem := w.carries(h)
	if w.power {
		return int(cpu)
	}
	return int(max(cpu, mem))
}

// fitting is the largest VM that narrows the gap between two hosts and fits, or None.
func (w *world) fitting(from, to int32, gap int) int32 {
	best, most := engine.None, int32(0)
	x := &w.t.Hosts[to]
	for v := range w.t.VMs {
		vm := &w.t.VMs[v]
		if vm.Host != from || vm.Power != engine.VMOn || w.task[v] != nil || vm.DRSOwn || vm.Obstacles&engine.ObAgent != 0 || w.ruled(int32(v)) {
			continue
		}
		size := max(int(int64(vm.UsedMiB)*1000/int64(x.MemoryMiB)), int(int64(vm.UsedMHz)*1000/int64(x.CPUMHz)))
		if size < gap && vm.UsedMiB > most && w.memory(to)+vm.UsedMiB <= x.MemoryMiB*9/10 {
			best, most = int32(v), vm.UsedMiB
		}
	}
	return best
}

// ruled reports whether a rule of its cluster is about VM v: it is then left alone.
func (w *world) ruled(v int32) bool {
	for i := range w.t.Rules {
		if slices.Contains(w.t.Rules[i].VMs, v) {
			return true
		}
	}
	return false
}
