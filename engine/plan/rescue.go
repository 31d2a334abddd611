package plan

import (
	"math"
	"slices"

	"heliostat/engine"
)

// tierWorth is what a VM is worth more than one of the next tier: about the steps
// 40, 10, 3 and 1 that orders of evacuation were measured with.
const tierWorth = 3

// tierSteps caps the steps, so that no number of tiers makes values overflow.
const tierSteps = 8

// A rescue is one evacuation with a deadline, as its bounds see it: the VMs that
// count, what each is worth, and where each could go.
type rescue struct {
	b        *builder
	k        int32 // of the demand
	seconds  float64
	vms      []int32  // that run there, agents apart; ascending
	at       []int32  // by VM: index in vms, None
	rank     []int32  // by index: 0 for the highest tier
	tiers    []int32  // by rank
	app      []int32  // by index: the least index of those that depend on one another
	lost     []bool   // by index: a gateway of it goes down with the place, or of one elsewhere that it needs
	needs    []int32  // by index: the VM elsewhere that it needs so, None
	doom     int32    // the site that is given up, None where it is a cluster or a host
	inFlight []bool   // by index: on its way out
	least    [2]int64 // MiB and MHz that every one of them needs

	havens  []haven
	placeOf []int32 // by host: index in places, None
	market  market
	names   []string // by row
	units   []string
	options [][]option // by index
}

// A haven is a cluster that VMs may flee to, or a site where clusters are many.
type haven struct {
	name     string
	clusters []int32
	hosts    []int32
	row      int32 // of its memory; then CPU, vCPUs, disks, slots, interfaces
	nic      int32 // the fastest
	one      int32 // the one vCenter of its hosts, None
	disks    int64
	mem, cpu int64
	vcpus    int64
	slots    int64
	nics     int64
}

// The rows of a haven.
const (
	rowMemory int32 = iota
	rowCPU
	rowVCPU
	rowDisk
	rowSlots
	rowNICs
	havenRows
)

// manyClusters is from how many on places are sites: bounds are looser then, and
// ten times faster.
const manyClusters = 48

// survey compiles the input for looking at what could be done: demands are known,
// and every host that may be woken counts as if it were.
func survey(in engine.Input) *builder {
	b := compile(in)
	b.collectDemands()
	b.hostBars()
	for h := range b.s.Hosts {
		if r := b.wakeable(int32(h), true); r.ok() && !b.doomed[h] {
			b.waking[h] = 1
		}
	}
	return b
}

// evacDue reports whether an evacuation is one whose deadline can be missed.
func evacDue(e engine.Evacuation) bool { return e.Deadline != 0 && e.Place.Kind != "datastore" }

// rescues lists the evacuations of a site, cluster or host with a deadline.
func (b *builder) rescues() []int32 {
	var out []int32
	for k := range b.demands {
		if d := &b.demands[k]; d.evac && d.deadline != 0 && d.subject.Kind != "datastore" {
			out = append(out, int32(k))
		}
	}
	return out
}

// rescue prepares the bounds of demand k of a survey.
func (b *builder) rescue(k int32) *rescue {
	r := &rescue{b: b, k: k, seconds: float64(max(b.demands[k].deadline-b.in.Now, 0)), at: nones(len(b.s.VMs)), least: [2]int64{math.MaxInt64, math.MaxInt64}}
	for i := range b.s.VMs {
		vm := &b.s.VMs[i]
		if vm.Power != engine.VMOn || vm.Obstacles&engine.ObAgent != 0 || b.demandOf(int32(i)) != k {
			continue
		}
		r.at[i] = int32(len(r.vms))
		r.vms = append(r.vms, int32(i))
		foot := &b.st.Foot[i]
		r.least = [2]int64{min(r.least[0], int64(foot.MiB)), min(r.least[1], int64(foot.CPUMHz))}
		to := b.dest[i]
		r.inFlight = append(r.inFlight, b.openVM[i] && to >= 0 && !b.doomed[to])
	}
	r.rankTiers()
	r.findLost()
	r.joinApps()
	return r
}

// tierOf is the tier of every VM, the largest number for those in none.
func (b *builder) tierOf() []int32 {
	tier := make([]int32, len(b.s.VMs))
	for i := range tier {
		tier[i] = math.MaxInt32
	}
	for i := range b.d.Priorities {
		p := &b.d.Priorities[i]
		tier[p.VM] = min(tier[p.VM], p.Tier)
	}
	return tier
}

func (r *rescue) rankTiers() {
	tier := r.b.tierOf()
	for _, v := range r.vms {
		r.tiers = append(r.tiers, tier[v])
	}
	slices.Sort(r.tiers)
	r.tiers = slices.Compact(r.tiers)
	r.rank = make([]int32, len(r.vms))
	for i, v := range r.vms {
		at, _ := slices.BinarySearch(r.tiers, tier[v])
		r.rank[i] = int32(at)
	}
}

// worth is what VM i of the rescue counts for.
func (r *rescue) worth(i int32) int64 {
	w := int64(1)
	for range min(len(r.tiers)-1-int(r.rank[i]), tierSteps) {
		w *= tierWorth
	}
	return w
}

// findLost marks the VMs whose gateway stands in the site that is given up.
func (r *rescue) findLost() {
	r.lost, r.doom, r.needs = make([]bool, len(r.vms)), engine.None, nones(len(r.vms))
	d := &r.b.demands[r.k]
	site, ok := r.b.s.FindSite(engine.SiteID(d.subject.ID))
	if d.subject.Kind != "site" || !ok {
		return
	}
	r.doom = site
	for i, v := range r.vms {
		r.lost[i] = r.cutOff(v)
	}
}

// cutOff reports whether the gateway of some card of VM v stands in the site that is
// given up.
func (r *rescue) cutOff(v int32) bool {
	return r.doom >= 0 && slices.ContainsFunc(r.b.s.VMs[v].NICs, func(c engine.NIC) bool { return c.Network >= 0 && r.b.s.Networks[c.Network].Gateway == r.doom })
}

// joinApps finds who depends on whom: VMs that a policy wants near one another, or
// together, work only if all of them do, those too that run elsewhere.
func (r *rescue) joinApps() {
	s := r.b.s
	with := make([]int32, len(s.VMs))
	for v := range with {
		with[v] = int32(v)
	}
	root := func(v int32) int32 {
		for with[v] != v {
			v = with[v]
		}
		return v
	}
	var elsewhere []int32 // who is cut off
	for g := range r.b.d.Groups {
		x := &r.b.d.Groups[g]
		first := engine.None
		if x.Kind == engine.GroupApart {
			continue
		}
		for _, v := range x.VMs {
			if r.at[v] < 0 && (s.VMs[v].Power != engine.VMOn || s.VMs[v].Obstacles&engine.ObAgent != 0) {
				continue
			}
			if r.at[v] < 0 && r.cutOff(v) {
				elsewhere = append(elsewhere, v)
			}
			if first < 0 {
				first = v
			}
			a, b := root(first), root(v)
			with[max(a, b)] = min(a, b)
		}
	}
	cut := map[int32]int32{} // by app
	for _, v := range elsewhere {
		cut[root(v)] = v
	}
	r.app = make([]int32, len(r.vms))
	head := map[int32]int32{}
	for i, v := range r.vms {
		a := root(v)
		if _, ok := head[a]; !ok {
			head[a] = int32(i)
		}
		r.app[i] = head[a]
		if x, ok := cut[a]; ok && !r.lost[i] {
			r.lost[i], r.needs[i] = true, x
		}
	}
}

// works tells which of the VMs that are out can be reached and have what they need.
func (r *rescue) works(out []bool) []bool {
	broken := make([]bool, len(r.vms))
	for i := range r.vms {
		if !out[i] || r.lost[i] {
			broken[r.app[i]] = true
		}
	}
	works := make([]bool, len(r.vms))
	for i := range works {
		works[i] = !broken[r.app[i]]
	}
	return works
}

// out tells which VMs are out by the deadline, by when the plan's moves end.
func (r *rescue) out(f *fluid, ends []float64) (out []bool, act []int32) {
	out, act = make([]bool, len(r.vms)), nones(len(r.vms))
	for n, a := range f.acts {
		if a.Kind != engine.Move {
			continue
		}
		v, ok := r.b.s.FindVM(a.VM)
		h, known := r.b.s.FindHost(a.To.Host)
		if !ok || !known || r.at[v] < 0 || r.b.doomed[h] {
			continue
		}
		act[r.at[v]] = int32(n)
		out[r.at[v]] = ends[n] <= r.seconds
	}
	return out, act
}

// bound is the most value that can work by the deadline, and the prices that prove
// it. reached is what a plan reaches; fewest, by rank, how many of each tier but
// the last must work: nil for no such condition.
func (r *rescue) bound(reached int64, fewest []int) (int64, []float64) {
	m := market{capacity: slices.Clone(r.market.capacity)}
	floor := nones(len(r.tiers))
	for k, n := range fewest {
		if n > 0 && k+1 < len(r.tiers) {
			floor[k] = int32(len(m.capacity))
			m.capacity = append(m.capacity, -float64(n))
		}
	}
	at := map[int32]int32{}
	for i := range r.vms {
		a := r.app[i]
		k, ok := at[a]
		if !ok {
			k = int32(len(m.items))
			at[a] = k
			m.items = append(m.items, item{})
		}
		x := &m.items[k]
		x.members = append(x.members, member{vm: int32(i), options: r.options[i]})
		x.worth += float64(r.worth(int32(i)))
		if r.lost[i] {
			x.members = append(x.members, member{vm: engine.None}) // one that can go nowhere
		}
		if f := floor[r.rank[i]]; f >= 0 {
			x.floors = append(x.floors, use{f, 1})
		}
	}
	ub, price := m.bound(float64(reached))
	return whole(ub), price[:len(r.market.capacity)]
}

// boundUpTo is how many VMs of the first tiers, by rank, can leave at most.
func (r *rescue) boundUpTo(rank int32, reached int) int {
	m := market{capacity: r.market.capacity}
	for i := range r.vms {
		if r.rank[i] <= rank {
			m.items = append(m.items, item{worth: 1, members: []member{{vm: int32(i), options: r.options[i]}}})
		}
	}
	ub, _ := m.bound(float64(reached))
	return int(whole(ub))
}

// costs is what each VM takes at the prices, where it takes least: -1 where it can
// go nowhere.
func (r *rescue) costs(price []float64) []float64 {
	out := make([]float64, len(r.vms))
	for i := range out {
		x := member{options: r.options[i]}
		at, c := x.cheapest(price)
		if out[i] = c; at < 0 {
			out[i] = -1
		}
	}
	return out
}
