package plan

import (
	"math"
	"slices"

	"heliostat/engine"
)

// A room is what a cluster holds and may hold: all its VMs and hypervisors,
// against its usable hosts without those that must be able to fail.
type room struct {
	usedCPU, usedMem int64
	ownCPU, ownMem   int64 // for demands: what the hypervisors that are woken will take
	fresh            bool
	hosts            int32    // usable
	whole            int64    // MHz that they leave to VMs when they are full
	cpu, mem         [2]int64 // limits: for wishes, for demands
	relief           relief
	others           others
}

// usable reports whether host h can run VMs in the state that the plan leads to.
func (b *builder) usable(h int32) bool {
	if b.doomed[h] || b.drained[h] {
		return false
	}
	return b.st.Ready(h) || (b.waking[h] > 0 && !b.st.Maint[h] && b.s.Hosts[h].Reachable())
}

// roomOf computes the limits of cluster c when they are asked for.
func (b *builder) roomOf(c int32) *room {
	r := &b.rooms[c]
	if !r.fresh {
		// Only the moves that wait for it may count on a host that is being woken.
		b.limits(r, c, func(h int32, lax bool) bool { return b.usable(h) && (lax || b.st.Ready(h)) })
		r.fresh = true
	}
	return r
}

// limits computes how much cluster c may hold on the hosts that count: for wishes
// with ReserveHosts (or more, if HA asks) lost and hosts filled as configured, for
// demands with HA's own failures lost and hosts filled to the evacuation floor.
func (b *builder) limits(r *room, c int32, counts func(h int32, lax bool) bool) {
	x := &b.s.Clusters[c]
	need, cpuHA, memHA := b.failures(c)
	ha := int32(0)
	if x.HA.Enabled && x.HA.Admission {
		ha = x.HA.HostFailures
	}
	r.hosts, r.whole, r.ownCPU, r.ownMem = 0, 0, 0, 0
	for k, lost := range [2]int32{need, max(ha, int32(len(x.FailOn)))} {
		cpus, mems := b.mark.cpus[:0], b.mark.mems[:0]
		for _, h := range b.s.HostsOf(c) {
			if !counts(h, k == 1) {
				continue
			}
			cpus, mems = append(cpus, int64(b.s.Hosts[h].CPUMHz)), append(mems, int64(b.s.Hosts[h].MemoryMiB))
			if k == 0 && !slices.Contains(x.FailOn, h) {
				r.hosts++
				r.whole += b.netMHz(h)
			}
			if k == 1 {
				cpu, mem := b.hypervisor(h)
				r.ownCPU, r.ownMem = r.ownCPU+int64(cpu), r.ownMem+int64(mem)
			}
		}
		b.mark.cpus, b.mark.mems = cpus, mems
		cpuPct, memPct := b.pct(k == 1)
		allCPU, allMem := allBut(cpus, 0), allBut(mems, 0)
		r.cpu[k] = min(allBut(cpus, lost)*int64(cpuPct), allCPU*cpuHA) / 100
		r.mem[k] = min(allBut(mems, lost)*int64(memPct), allMem*memHA) / 100
	}
}

// others are the hosts of a cluster that count for one of them that goes: on, and not
// going themselves.
type others struct {
	known bool
	hosts int32    // without failover hosts
	whole int64    // MHz that these leave to VMs when they are full
	site  int32    // where all hosts of the cluster stand, None where that is several
	all   [2]int64 // MHz and MiB
	lost  [2]int64 // of the largest that may fail
	least [2]int64 // the smallest of these
	next  [2]int64 // the largest after these
	most  [2]int64 // that the cluster may hold, for wishes, when the largest goes
	net   int64    // the most MHz that one leaves to VMs
}

// othersOf sums up the hosts of cluster c, once until one of them goes.
func (b *builder) othersOf(c int32) *others {
	o := &b.rooms[c].others
	if o.known {
		return o
	}
	x := &b.s.Clusters[c]
	need, _, _ := b.failures(c)
	*o = others{known: true, site: b.siteOf[c]}
	largest := [2][]int64{b.mark.cpus[:0], b.mark.mems[:0]}
	for _, h := range b.s.HostsOf(c) {
		if !b.st.Ready(h) || b.drained[h] || b.doomed[h] {
			continue
		}
		for k, size := range [2]int64{int64(b.s.Hosts[h].CPUMHz), int64(b.s.Hosts[h].MemoryMiB)} {
			o.all[k] += size
			largest[k] = among(largest[k], size, int(need)+1)
		}
		if !slices.Contains(x.FailOn, h) {
			o.hosts++
			o.whole += b.netMHz(h)
			o.net = max(o.net, b.netMHz(h))
		}
	}
	b.mark.cpus, b.mark.mems = largest[0], largest[1]
	for k, list := range largest {
		o.least[k] = math.MaxInt64
		for n, size := range list {
			if int32(n) < need {
				o.lost[k], o.least[k] = o.lost[k]+size, size
			} else {
				o.next[k] = size
			}
		}
		if len(list) > 0 {
			o.most[k] = b.mostWithout(c, k, list[0])
		}
	}
	return o
}

// among is the n largest, the largest first, once size is one of those to choose from.
func among(largest []int64, size int64, n int) []int64 {
	if len(largest) < n {
		largest = append(largest, size)
	} else if size <= largest[n-1] {
		return largest
	}
	i := len(largest) - 1
	for ; i > 0 && largest[i-1] < size; i-- {
		largest[i] = largest[i-1]
	}
	largest[i] = size
	return largest
}

// spares reports whether cluster c can do without any one of the hosts that count,
// whatever that takes itself.
func (b *builder) spares(c int32) bool {
	o, x := b.othersOf(c), &b.rooms[c]
	return o.hosts > 1 && o.site >= 0 && max(x.usedCPU, b.recent[c])-x.relief.cpu <= o.most[0] && x.usedMem-x.relief.mem <= o.most[1] && b.surge[c] <= o.whole-o.net
}

// mostWithout is how many MHz (0) or MiB (1) cluster c may hold, for wishes, without a
// host of that size, which is one that counts: less without a larger one.
func (b *builder) mostWithout(c int32, k int, size int64) int64 {
	o := &b.rooms[c].others
	_, cpuHA, memHA := b.failures(c)
	cpuPct, memPct := b.pct(false)
	all, lost := o.all[k]-size, o.lost[k]
	if size >= o.least[k] {
		lost += o.next[k] - size
	}
	return min((all-lost)*[2]int64{int64(cpuPct), int64(memPct)}[k], all*[2]int64{cpuHA, memHA}[k]) / 100
}

// without computes how much cluster c may hold, for wishes, without host h, which is
// one that counts. It gives the site of all its hosts.
func (b *builder) without(r *room, c, h int32) int32 {
	o, host := b.othersOf(c), &b.s.Hosts[h]
	r.hosts, r.whole = o.hosts, o.whole
	if !slices.Contains(b.s.Clusters[c].FailOn, h) {
		r.hosts, r.whole = r.hosts-1, r.whole-b.netMHz(h)
	}
	r.cpu[0], r.mem[0] = b.mostWithout(c, 0, int64(host.CPUMHz)), b.mostWithout(c, 1, int64(host.MemoryMiB))
	return o.site
}

// failures is how many hosts of cluster c must be able to fail, for wishes, and which
// shares of CPU and memory its HA admission leaves, percent.
func (b *builder) failures(c int32) (need int32, cpuHA, memHA int64) {
	x := &b.s.Clusters[c]
	need, cpuHA, memHA = max(b.c.ReserveHosts, int32(len(x.FailOn))), 100, 100
	if x.HA.Enabled && x.HA.Admission {
		need, cpuHA, memHA = max(need, x.HA.HostFailures), int64(100-x.HA.CPUPct), int64(100-x.HA.MemoryPct)
	}
	if x.Lone {
		need = 0 // a stand-alone host has nowhere to fail over to
	}
	return need, cpuHA, memHA
}

// allBut sums all but the n largest; the order of x is lost.
func allBut(x []int64, n int32) int64 {
	for range min(int(n), len(x)) {
		largest := 0
		for i := range x {
			if x[i] > x[largest] {
				largest = i
			}
		}
		x[largest] = x[len(x)-1]
		x = x[:len(x)-1]
	}
	var sum int64
	for _, v := range x {
		sum += v
	}
	return sum
}

// roomReason asks whether cluster c holds all that it runs and awaits, and still
// survives the failures that it must survive.
func (b *builder) roomReason(c int32, lax bool) reason {
	return b.holdsIn(b.roomOf(c), c, engine.Footprint{}, lax)
}

// holdsIn asks the same of a room that was computed for cluster c, with f beside.
func (b *builder) holdsIn(x *room, c int32, f engine.Footprint, lax bool) reason {
	k, cpu, mem := evacIndex(lax), x.usedCPU-x.relief.cpu, x.usedMem-x.relief.mem
	if lax {
		cpu, mem = cpu+x.ownCPU, mem+x.ownMem
	}
	r := reason{code: engine.HoldReserve, stage: stReserve, where: b.s.Clusters[c].Name}
	switch {
	case cpu+int64(f.CPUMHz) > x.cpu[k]:
		r.form, r.a, r.b, r.c = "cluster %[1]s runs %[3]d MHz, with its reserve it may run %[4]d, and this needs %[5]d", cpu, x.cpu[k], int64(f.CPUMHz)
		if f.CPUMHz == 0 {
			r.form = "cluster %[1]s runs %[3]d MHz, without the host and with its reserve it may run %[4]d"
		}
	case mem+int64(f.MiB) > x.mem[k]:
		r.form, r.a, r.b, r.c = "cluster %[1]s holds %[3]d MiB, with its reserve it may hold %[4]d, and this needs %[5]d", mem, x.mem[k], int64(f.MiB)
		if f.MiB == 0 {
			r.form = "cluster %[1]s holds %[3]d MiB, without the host and with its reserve it may hold %[4]d"
		}
	case f == (engine.Footprint{}) && !lax && b.surge[c] > x.whole:
		// Whoever comes from elsewhere brings no power-off along, and may have a host woken.
		r.form, r.a, r.b = "by what they have done this week, the VMs of cluster %[1]s may soon ask for %[3]d MHz, and without the host there are %[4]d", b.surge[c], x.whole
	default:
		return reason{}
	}
	return r
}
