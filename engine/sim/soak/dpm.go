package soak

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// The bounds of a host's load, in thousandths, that both the daemon and the emulation
// of vSphere's power management keep to: CPU is to stay within 63 per cent give or take
// 18, memory within what the policy dpm ships with.
const (
	lowCPU, highCPU = 450, 810
	lowMem, highMem = 800, 920
	slow            = 8   // intervals of five minutes over which low is judged
	fillCPU         = 800 // a host is filled so far by what comes to it
	fillMem         = 900
)

// A power manager is what the clusters' own scheduler knows of hosts: what each has
// carried, and which are being emptied.
type manager struct {
	cpu, mem []engine.Ring // by host, thousandths
	quits    []bool        // by host: its VMs leave, then it sleeps
	wakes    []bool        // by host: it is being woken
}

func newManager(hosts int) manager {
	return manager{make([]engine.Ring, hosts), make([]engine.Ring, hosts), make([]bool, hosts), make([]bool, hosts)}
}

// open reports whether the clusters' own scheduler may put VMs on host h.
func (w *world) open(h int32) bool {
	return w.t.Hosts[h].Ready() && w.hostJob[h] == nil && !w.m.quits[h]
}

// manage is what the power management of every cluster does each five minutes: it wakes
// a host where one has been high for five minutes, and empties one that has been low
// for forty where the others hold what it carries, within the same bounds and with one
// of them lost.
func (w *world) manage() {
	for c := range w.t.Clusters {
		high, idle, busy := false, engine.None, false
		var low []int32
		for _, h := range w.t.HostsOf(int32(c)) {
			x, m := &w.t.Hosts[h], &w.m
			if !x.Ready() {
				m.cpu[h].Add(w.now, engine.Unknown)
				m.mem[h].Add(w.now, engine.Unknown)
				if x.Power == engine.HostStandby && !m.wakes[h] && idle < 0 {
					idle = h
				}
				busy = busy || m.wakes[h]
				continue
			}
			cpu, mem := w.carries(h)
			m.cpu[h].Add(w.now, cpu)
			m.mem[h].Add(w.now, mem)
			high = high || cpu > highCPU || mem > highMem
			if m.quits[h] {
				busy = true
				w.vacate(h)
				continue
			}
			if cpu, mem = m.cpu[h].Mean(slow), m.mem[h].Mean(slow); cpu != engine.Unknown && cpu < lowCPU && mem < lowMem && x.Standby {
				low = append(low, h)
			}
		}
		switch {
		case high && idle >= 0:
			w.rouse(idle)
		case high || busy:
		default:
			slices.SortStableFunc(low, func(a, b int32) int { return cmp.Compare(w.memory(a), w.memory(b)) })
			for _, h := range low {
				if w.spare(h) {
					w.m.quits[h] = true
					w.vacate(h)
					break
				}
			}
		}
	}
}

// carries is what host h carries of its CPU and its memory now, in thousandths.
func (w *world) carries(h int32) (cpu, mem int32) {
	x := &w.t.Hosts[h]
	return int32(int64(x.UsedMHz) * 1000 / int64(x.CPUMHz)), int32(int64(w.memory(h)) * 1000 / int64(x.MemoryMiB))
}

// spare reports whether every VM of host h has a place on the other hosts of its
// cluster, and whether these hold all with the largest of them lost.
func (w *world) spare(h int32) bool {
	var has, largest, takes [2]int64
	room := map[int32][2]int64{}
	for _, o := range w.t.HostsOf(w.t.Hosts[h].Cluster) {
		x := &w.t.Hosts[o]
		if !x.Ready() {
			continue
		}
		size := [2]int64{int64(x.CPUMHz) * fillCPU / 1000, int64(x.MemoryMiB) * fillMem / 1000}
		used := [2]int64{int64(x.UsedMHz), int64(w.memory(o))}
		if o == h { // what the hypervisor takes goes with it
			used[0], used[1] = used[0]-ownMHz, used[1]-int64(ownMiB(x))
		}
		for k := range takes {
			takes[k] += used[k]
			if o != h {
				has[k], largest[k] = has[k]+size[k], max(largest[k], size[k])
			}
		}
		if o != h && w.open(o) {
			room[o] = [2]int64{size[0] - used[0], size[1] - used[1]}
		}
	}
	if takes[0] > has[0]-largest[0] || takes[1] > has[1]-largest[1] {
		return false
	}
	for v := range w.t.VMs {
		vm := &w.t.VMs[v]
		if vm.Host != h || vm.Obstacles&engine.ObAgent != 0 {
			continue
		}
		if vm.Power != engine.VMOn || vm.Obstacles != 0 || vm.DRSOwn || w.ruled(int32(v)) {
			return false
		}
		best := engine.None
		for o, r := range room {
			if r[0] >= int64(vm.UsedMHz) && r[1] >= int64(vm.UsedMiB) && (best < 0 || r[1] > room[best][1] || (r[1] == room[best][1] && o < best)) {
				best = o
			}
		}
		if best < 0 {
			return false
		}
		r := room[best]
		room[best] = [2]int64{r[0] - int64(vm.UsedMHz), r[1] - int64(vm.UsedMiB)}
	}
	return true
}

// vacate sends the VMs of host h to the emptiest hosts of its cluster, and puts it to
// sleep once it is empty. Where there is no room any more, it stays on after all.
func (w *world) vacate(h int32) {
	if w.occupied(h) == 0 {
		w.m.quits[h] = false
		w.note("dpm sleeps %s", w.t.Hosts[h].Name)
		w.t.Hosts[h].Power = engine.HostStandby
		return
	}
	for v := range w.t.VMs {
		vm := &w.t.VMs[v]
		if vm.Host != h || vm.Power != engine.VMOn || vm.Obstacles&engine.ObAgent != 0 || w.task[v] != nil {
			continue
		}
		to := w.chosen(int32(v), h)
		if to < 0 {
			w.m.quits[h] = false
			return
		}
		w.take(int32(v), to, w.lasting(int32(v), to))
	}
}

// rouse wakes host h: it takes three to five minutes.
func (w *world) rouse(h int32) {
	w.m.wakes[h] = true
	w.note("dpm wakes %s", w.t.Hosts[h].Name)
	w.in(w.d.between(180, 300), func() {
		x := &w.t.Hosts[h]
		w.m.wakes[h], x.Power, x.Connected = false, engine.HostOn, true
	})
}

// decidePower is what the policies dpm and load_balance say, by the same bounds.
func (w *world) decidePower(d *engine.Decision, s *engine.Snapshot, h *engine.History) {
	for c := range s.Clusters {
		idlest, least, high := engine.None, int32(1<<30), false
		for _, i := range s.HostsOf(int32(c)) {
			if x := h.Host(s.Hosts[i].ID); s.Hosts[i].Ready() {
				cpu := x.CPU.Mean(1)
				high = high || cpu > highCPU || x.Mem.Mean(1) > highMem
				if cpu != engine.Unknown && cpu < least {
					idlest, least = i, cpu
				}
			}
		}
		for _, i := range s.HostsOf(int32(c)) {
			x := h.Host(s.Hosts[i].ID)
			cpu := x.CPU.Mean(slow)
			switch {
			case s.Hosts[i].Power == engine.HostStandby && high:
				d.Wakes = append(d.Wakes, engine.Wake{Host: i, By: engine.By{Voice: byHigh, Reason: byHigh}})
			case s.Hosts[i].Ready() && !high && cpu != engine.Unknown && cpu < lowCPU && x.Mem.Mean(slow) < lowMem:
				d.Drains = append(d.Drains, engine.Drain{Host: i, Then: engine.ThenStandby, By: engine.By{Voice: byLow, Reason: byLow}})
			}
			if gap := x.CPU.Mean(1) - least; idlest >= 0 && s.Hosts[i].Ready() && gap > spread {
				w.prefer(d, s, h, i, idlest, int64(gap)*int64(s.Hosts[i].CPUMHz)/2000)
			}
		}
	}
}

// prefer is a premium, as load_balance has, on the VM of a busy host that comes nearest
// to closing half of the gap to the idlest.
func (w *world) prefer(d *engine.Decision, s *engine.Snapshot, h *engine.History, busy, idlest int32, half int64) {
	best, most := engine.None, int32(0)
	for _, v := range s.VMsOn(busy) {
		x := h.VM(s.VMs[v].ID)
		if mhz := x.CPU.Mean(1); int64(mhz) <= half && mhz > most {
			best, most = v, mhz
		}
	}
	if best >= 0 {
		d.Prefers = append(d.Prefers, engine.Prefer{VM: best, To: engine.Subject{Kind: "host", ID: string(s.Hosts[idlest].ID)}, MicroEUR: 20_000, By: engine.By{Voice: byGap, Reason: byGap}})
	}
}

// lasting is for how long a scheduler's move of VM v copies memory, in seconds: what
// the daemon's do, by the same model of cost.
func (w *world) lasting(v, to int32) int {
	mbps := min(w.t.Hosts[w.t.VMs[v].Host].NICMbps, w.t.Hosts[to].NICMbps) / w.cfg.Limits.NICUnitsFast
	return max(int(w.cfg.Cost.Estimate(&w.t.VMs[v], mbps, 0, 0).Seconds)*w.d.between(60, 140)/100, 2)
}

// tally counts what hosts cost for the next interval.
func (w *world) tally() {
	for h := range w.t.Hosts {
		switch x := &w.t.Hosts[h]; {
		case x.Power == engine.HostStandby:
			w.r.SavedWs += int64(max(x.IdleW, 0)) * every
			w.r.Asleep++
		case x.Ready():
			w.r.Awake++
			if x.UsedMHz > x.CPUMHz {
				w.r.Overloaded++
			}
		}
	}
}
