package plan

import (
	"cmp"
	"math/bits"
	"slices"

	"heliostat/engine"
)

// mostHosts is the largest cluster that the search takes: the hosts that a VM may
// be on are bits of two words. vSphere 8 allows 96 hosts in a cluster.
const mostHosts = 128

// A hostSet is hosts of one domain.
type hostSet [2]uint64

func (s *hostSet) has(h int) bool { return s[h>>6]>>(h&63)&1 != 0 }
func (s *hostSet) add(h int)      { s[h>>6] |= 1 << (h & 63) }
func (s *hostSet) drop(h int)     { s[h>>6] &^= 1 << (h & 63) }
func (s *hostSet) and(x hostSet) hostSet {
	return hostSet{s[0] & x[0], s[1] & x[1]}
}

// next is the first member from h on, or -1.
func (s *hostSet) next(h int) int {
	for w := h >> 6; w < len(s); w++ {
		x := s[w]
		if w == h>>6 {
			x &= ^uint64(0) << (h & 63)
		}
		if x != 0 {
			return w<<6 + bits.TrailingZeros64(x)
		}
	}
	return -1
}

// A load is MHz, MiB, vCPUs and the MHz that may be asked for soon: of a VM, or what a host has left of them.
type load [4]int32

// fits reports whether x fits into what is free: no lane becomes negative.
func (l *load) fits(x *load) bool { return (l[0]-x[0])|(l[1]-x[1])|(l[2]-x[2])|(l[3]-x[3]) >= 0 }

func (l *load) take(x *load, sign int32) {
	for i := range x {
		l[i] += sign * x[i]
	}
}

// A domain is one cluster as arrays that fit the processor's cache: which hosts
// are on, which of them may go off, what is on them and where else it may be.
// Money is in nano-euros over the time that a choice is expected to hold.
type domain struct {
	b *builder
	c int32

	hosts   []int32 // that are on; what follows is by index in it
	on      hostSet
	may     hostSet    // may go off
	target  hostSet    // go off in what the bound counts on
	beyond  hostSet    // may, once VMs have left that can go to no other host of the cluster
	free    []load     // what the plan's terms leave, all that is under way counted at both ends
	size    [2][]int64 // MHz and MiB
	largest [2][]int   // the hosts by them, the largest first
	own     [2][]int64 // likewise what the hypervisor takes
	idle    []int64    // saved by going off, the change of power itself deducted
	slope   []int64    // cost of a MHz of load
	grades  []grade    // the hosts by it, the least first
	pct     [2]int64
	share   [2]int64 // percent that HA admission leaves
	need    int32    // host failures to be survived
	failOn  hostSet
	sleepy  hostSet  // may sleep, now or in another cycle
	used    [2]int64 // MHz and MiB that the cluster carries
	gone    [2]int64 // of them, what leaves for other clusters before a host goes off
	surge   int64    // MHz that its VMs may soon ask for
	net     []int64  // MHz that a host leaves to VMs

	vms     []int32 // that can move; what follows is by index in it
	size4   []load
	heavy   []int64 // see weight
	mhz     []int64
	cost    []int64 // of a move
	brings  []int64 // see inside
	masks   []hostSet
	home    []int16
	at      []int16 // abroad in another cluster
	first   []int32 // by host, and after the last: the first VM whose home it is
	limit   []load  // by host: what it may be filled to
	rate    []int32 // by host: Mbit/s of a move to another that is as fast
	cpu     []int16 // by host: the first with the same CPUs
	mw      []int64 // by host: milliwatts of its full load, beyond idling
	unruled []bool  // by VM: no rule binds it
	pace    []pace  // by VM: of a move to a host that is as fast as its own
	// leaves is what the move of a VM to another cluster brings at most, math.MinInt64
	// for those that can go to none; nil where that is not looked at.
	leaves []int64

	kin  []int32 // by VM: index of its kin, or noKin
	far  []int64 // by VM: cost of a move with all its disks, at least
	kins []kin

	mates [][]int32 // by VM: others that it may share no host with
	list  [][]int32 // by host: VMs on it
	pos   []int32

	value  int64 // cost saved so far
	bound  int64 // no plan saves more
	goal   int64 // nor does any that only empties hosts
	start  int64 // cost at the start
	evals  int64
	undone []undo
	order  []int32 // scratch
}

// An undo is where a VM was before.
type undo struct {
	v    int32
	from int16
}

// abroad is where a VM is that leaves its cluster.
const abroad = -1

// domainOf compiles cluster c, in which the hosts of the list may sleep. It is nil
// where the cluster places VMs itself, is being emptied, or is too large.
func (b *builder) domainOf(c int32, list []sleeper) *domain {
	all := b.s.HostsOf(c)
	if b.s.Clusters[c].DRS == engine.DRSFull || len(all) > mostHosts || slices.ContainsFunc(all, func(h int32) bool { return b.doomed[h] }) {
		return nil
	}
	d := &domain{b: b, c: c, surge: b.surge[c], used: [2]int64{b.rooms[c].usedCPU, b.rooms[c].usedMem}}
	for _, h := range all {
		if b.st.Ready(h) && !b.drained[h] {
			d.hosts = append(d.hosts, h)
		}
	}
	d.used[0] = max(d.used[0], b.recent[c])
	d.readTerms()
	for i, h := range d.hosts {
		d.on.add(i)
		if b.sleepy[h] {
			d.sleepy.add(i)
		}
		d.readHost(h)
		if k := slices.IndexFunc(list, func(x sleeper) bool { return x.h == h }); k >= 0 {
			// What the cluster lacks without the host may find room in another.
			if r := b.sleepReason(&list[k], b.c.Consolidate != engine.ReachCluster); r.ok() {
				d.may.add(i)
			}
		}
	}
	if d.may == (hostSet{}) {
		return nil
	}
	for k := range d.largest {
		for i := range d.hosts {
			d.largest[k] = append(d.largest[k], i)
		}
		slices.SortStableFunc(d.largest[k], func(x, y int) int { return cmp.Compare(d.size[k][y], d.size[k][x]) })
	}
	d.grade()
	d.readVMs()
	idle := b.mayIdle(c)
	for i, h := range d.hosts {
		var mib int64
		for _, v := range d.list[i] {
			mib += int64(d.size4[v][1])
		}
		if !b.shares(h, mib, idle) {
			d.may.drop(i)
			d.beyond.drop(i)
		}
		d.start += d.idle[i] + d.b.c.PowerCycleMicro*1000
	}
	d.brings = make([]int64, len(d.vms))
	for v := range d.vms {
		d.brings[v] = d.inside(v)
		d.start += d.mhz[v] * d.slope[d.home[v]]
	}
	return d
}

// readTerms reads how much the cluster must keep.
func (d *domain) readTerms() {
	x := &d.b.s.Clusters[d.c]
	d.pct = [2]int64{int64(d.b.c.CPUMaxPct), int64(d.b.c.MemMaxPct)}
	d.share = [2]int64{100, 100}
	d.need = max(d.b.c.ReserveHosts, int32(len(x.FailOn)))
	if x.HA.Enabled && x.HA.Admission {
		d.need = max(d.need, x.HA.HostFailures)
		d.share = [2]int64{int64(100 - x.HA.CPUPct), int64(100 - x.HA.MemoryPct)}
	}
	if x.Lone {
		d.need = 0
	}
	for i, h := range d.hosts {
		if slices.Contains(x.FailOn, h) {
			d.failOn.add(i)
		}
	}
}

func (d *domain) readHost(h int32) {
	b, x := d.b, &d.b.s.Hosts[h]
	limit := load{
		int32(int64(x.CPUMHz) * d.pct[0] / 100), int32(int64(x.MemoryMiB) * d.pct[1] / 100),
		int32(int64(x.Cores) * int64(b.c.VCPUPerCoreX10) / 10), int32(b.netMHz(h)),
	}
	d.limit, d.free = append(d.limit, limit), append(d.free, limit)
	d.free[len(d.free)-1].take(&load{b.st.CPU[h], b.st.Mem[h], b.st.VCPU[h], b.soonOn[h]}, -1)
	d.rate = append(d.rate, b.rate(h, h, false, false))
	mw := int64(0)
	if x.MaxW > 0 && x.IdleW >= 0 && x.CPUMHz > 0 {
		mw = int64(x.MaxW-x.IdleW) * 1000
	}
	d.mw = append(d.mw, mw)
	d.net = append(d.net, b.netMHz(h))
	d.size[0], d.size[1] = append(d.size[0], int64(x.CPUMHz)), append(d.size[1], int64(x.MemoryMiB))
	cpu, mem := b.itself(h)
	d.own[0], d.own[1] = append(d.own[0], cpu), append(d.own[1], mem)
	d.idle = append(d.idle, b.whileHeld(b.energyPerH(x.Site, int64(max(x.IdleW, 0))*1_000_000))-b.c.PowerCycleMicro*1000)
	d.slope = append(d.slope, b.slope(h))
	d.list = append(d.list, nil)
}

// slope is what a MHz of load on host h costs while a choice holds.
func (b *builder) slope(h int32) int64 {
	x := &b.s.Hosts[h]
	if x.MaxW <= x.IdleW || x.IdleW < 0 || x.CPUMHz <= 0 {
		return 0
	}
	return b.whileHeld(b.energyPerH(x.Site, int64(x.MaxW-x.IdleW)*1_000_000/int64(x.CPUMHz)))
}

// whileHeld is what so much an hour comes to while a standby holds.
func (b *builder) whileHeld(perH int64) int64 { return perH * b.powerHolds() / 3600 }

// powerHolds is how long a standby is expected to hold: what was journaled before it
// had a setting of its own knows that of all choices.
func (b *builder) powerHolds() int64 { return cmp.Or(b.c.PowerHoldsS, b.c.HoldsS) }

// readVMs reads what is on the hosts. A host with a VM that cannot leave stays on.
func (d *domain) readVMs() {
	b := d.b
	m, kins := masks{d: d}, map[kin]int32{}
	d.readCPUs()
	m.readWays()
	d.reserve()
	m.least = b.s.Hosts[d.hosts[0]].Threads
	for _, h := range d.hosts {
		m.least = min(m.least, b.s.Hosts[h].Threads)
	}
	var looks []look
	for i, h := range d.hosts {
		site, rate, farRate := b.s.Hosts[h].Site, d.rate[i], max(d.rate[i], b.rate(h, h, true, false))
		fit, farFit, farFrom := b.fit(site, site, ""), (*engine.MoveFit)(nil), engine.None-1
		looks = b.lookAll(looks, b.s.VMsOn(h))
		d.first = append(d.first, int32(len(d.vms)))
		fixed, lone := false, false
		for k, v := range b.s.VMsOn(h) {
			x := &looks[k]
			if x.moved || !x.traits.have(trPlain) {
				leave, r := b.movesOff(v, h)
				fixed = fixed || !r.ok()
				if !leave || !r.ok() {
					continue
				}
			}
			to := m.of(v, i, x)
			if to == (hostSet{}) {
				if lone = true; b.c.Consolidate == engine.ReachCluster {
					continue
				}
			}
			f := &x.foot
			e := b.c.Cost.Learnt(fit, &b.s.VMs[v], rate, 0, 0)
			n, soon := int32(len(d.vms)), int32(0)
			if d.surge != 0 {
				soon = b.soonOf(&x.part)
			}
			d.vms, d.size4 = append(d.vms, v), append(d.size4, load{f.CPUMHz, f.MiB, f.VCPUs, soon})
			d.heavy = append(d.heavy, max(int64(f.CPUMHz)*1_000_000/max(d.size[0][0], 1), int64(f.MiB)*1_000_000/max(d.size[1][0], 1)))
			d.unruled, d.pace = append(d.unruled, !x.ruled), append(d.pace, paceOf(&e))
			d.mhz, d.cost = append(d.mhz, int64(max(b.s.VMs[v].UsedMHz, 0))), append(d.cost, b.moveCost(v, h, h, &e, rate)*1000)
			if b.c.Consolidate != engine.ReachCluster {
				if x.home != farFrom {
					farFrom, farFit = x.home, b.fit(site, site, b.diskKind(x.home))
				}
				e := b.c.Cost.Learnt(farFit, &b.s.VMs[v], farRate, 0, x.diskMiB)
				d.kin, d.far = append(d.kin, d.kinOf(i, x, kins)), append(d.far, b.moveCost(v, h, h, &e, farRate)*1000)
			}
			to.add(i)
			d.masks, d.home, d.at = append(d.masks, to), append(d.home, int16(i)), append(d.at, int16(i))
			d.pos, d.list[i] = append(d.pos, int32(len(d.list[i]))), append(d.list[i], n)
		}
		if lone && !fixed && d.may.has(i) {
			d.beyond.add(i)
		}
		if lone || fixed {
			d.may.drop(i)
		}
	}
	d.first = append(d.first, int32(len(d.vms)))
	d.readMates()
}

// A grade is the hosts on which a MHz of load costs the same.
type grade struct {
	slope int64
	at    hostSet
}

// grade sorts the hosts by what a MHz of load costs there.
func (d *domain) grade() {
	for i, slope := range d.slope {
		k, ok := slices.BinarySearchFunc(d.grades, slope, func(g grade, slope int64) int { return cmp.Compare(g.slope, slope) })
		if !ok {
			d.grades = slices.Insert(d.grades, k, grade{slope: slope})
		}
		d.grades[k].at.add(i)
	}
}

// readCPUs finds the hosts that have the same CPUs.
func (d *domain) readCPUs() {
	var kinds []int16 // the first host of each
	for i, h := range d.hosts {
		cpus := d.b.cpus(h)
		k := slices.IndexFunc(kinds, func(first int16) bool { return d.b.cpus(d.hosts[first]) == cpus })
		if k < 0 {
			k, kinds = len(kinds), append(kinds, int16(i))
		}
		d.cpu = append(d.cpu, kinds[k])
	}
}

// reserve makes room for the VMs that may be on the hosts.
func (d *domain) reserve() {
	n := 0
	for _, h := range d.hosts {
		n += len(d.b.s.VMsOn(h))
	}
	d.vms, d.size4, d.heavy, d.unruled, d.pace = make([]int32, 0, n), make([]load, 0, n), make([]int64, 0, n), make([]bool, 0, n), make([]pace, 0, n)
	d.mhz, d.cost = make([]int64, 0, n), make([]int64, 0, n)
	if d.b.c.Consolidate != engine.ReachCluster {
		d.kin, d.far = make([]int32, 0, n), make([]int64, 0, n)
	}
	d.masks, d.home, d.at, d.pos = make([]hostSet, 0, n), make([]int16, 0, n), make([]int16, 0, n), make([]int32, 0, n)
	for i, h := range d.hosts {
		d.list[i] = make([]int32, 0, 2*len(d.b.s.VMsOn(h)))
	}
}

// readMates finds who may share no host with whom.
func (d *domain) readMates() {
	b := d.b
	d.mates = make([][]int32, len(d.vms))
	local := map[int32]int32{}
	for i, v := range d.vms {
		if len(b.consOf(v)) > 0 {
			local[v] = int32(i)
		}
	}
	for i, v := range d.vms {
		for _, k := range b.consOf(v) {
			if x := &b.cons[k]; x.kind == conApart && x.scope == scopeHost && (x.cluster < 0 || x.cluster == d.c) {
				for _, o := range x.vms {
					if j, ok := local[o]; ok && o != v {
						d.mates[i] = append(d.mates[i], j)
					}
				}
			}
		}
	}
}
