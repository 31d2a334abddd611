package plan

import (
	"cmp"
	"math"
	"slices"
)

// judgePower puts what the plan makes of the clusters of a block beside what they
// cost now and what no plan could go below.
func (b *builder) judgePower(x *block) {
	perH := func(held int64) int64 { return held * 3600 / b.powerHolds() / 1000 }
	start := int64(0)
	for _, d := range x.domains {
		if d == nil {
			continue
		}
		start += d.start
		b.power.Start += perH(d.start)
		b.power.Planned += perH(d.start - b.value(d))
		if x.m == nil {
			b.power.Bound += perH(d.start - d.bound)
		}
	}
	if x.m != nil {
		b.power.Bound += perH(start - x.m.bound)
	}
}

// value is what the plan saves on a domain, by the moves as they were planned.
func (b *builder) value(d *domain) int64 {
	value := int64(0)
	index := make(map[int32]int, len(d.hosts))
	for i, h := range d.hosts {
		index[h] = i
		if b.drained[h] {
			value += d.idle[i]
		}
	}
	for i, v := range d.vms {
		if b.moved[v] == 0 {
			continue
		}
		if to, ok := index[b.dest[v]]; ok {
			value += d.gain(int32(i), int(d.home[i]), to)
			continue
		}
		cost := max(b.acts[b.moved[v]-1].action.Ledger.CostOnce*1000, d.cost[i]) // see [merger.cost]
		value += d.mhz[i]*(d.slope[d.home[i]]-b.slope(b.dest[v])) - cost
	}
	return value
}

// A toll is a price on each MHz or MiB that leaves a cluster for others, paid by what
// it lacks: with any, no plan brings more than base, and what is best for each host
// that goes off.
type toll struct {
	k     int // MHz or MiB
	price int64
	base  int64     // moves that empty no host
	best  [][]int64 // by kind, and number of its hosts that go off: the most that these bring
}

// A choice is one way to choose how many hosts of each size of a cluster go off.
type choice struct {
	gain int64
	most [2]int64 // MHz and MiB that the cluster may carry then
}

// judge finds what no plan exceeds that lets VMs go to other clusters: in each
// group of clusters that exchange VMs, directly or by way of others, what stays on
// carries all that runs in them. It asks of each cluster what [domain.gainBound]
// asks, but not that it carries what it carries now: what it lacks leaves, as far
// as VMs can, at the least that this costs. It is called before the search.
func (m *merger) judge() {
	group := make([]int, len(m.domains))
	for i := range group {
		group[i] = i
	}
	root := func(i int) int {
		for group[i] != i {
			i = group[i]
		}
		return i
	}
	slope := make([]int64, len(m.domains)) // of the host where load costs least
	for i, d := range m.domains {
		slope[i] = slices.Min(d.slope)
	}
	for i, d := range m.domains {
		d.leaves = make([]int64, len(d.vms))
		links := m.set()
		for v := range d.vms {
			d.leaves[v] = math.MinInt64
			if w := m.ways(i, int32(v)); !w.none() {
				links.or(w.near)
				links.or(w.far)
				least := int64(math.MaxInt64)
				w.each(func(e int, _ bool) { least = min(least, slope[e]) })
				d.leaves[v] = d.mhz[v]*(d.slope[d.home[v]]-least) - m.leastCost(i, int32(v), w)
			}
		}
		m.links = append(m.links, links)
		links.each(func(e int) bool {
			x, y := root(i), root(e)
			group[max(x, y)] = min(x, y)
			return true
		})
	}
	for i := range m.domains {
		if root(i) != i {
			continue
		}
		var members []int
		for e := range m.domains {
			if root(e) == i {
				members = append(members, e)
			}
		}
		if len(members) == 1 {
			m.domains[i].leaves = nil
			m.bound += m.domains[i].gainBound()
			continue
		}
		bound, price := m.groupBound(members)
		for _, e := range members {
			m.price[e] = price
		}
		m.bound += bound
	}
}

// leastCost is what VM v of domain i costs at least to move to another cluster.
func (m *merger) leastCost(i int, v int32, w *way) int64 {
	b, d := m.b, m.domains[i]
	if !w.near.empty() {
		return d.cost[v]
	}
	stays := func(ds int32) bool { // in one of the clusters
		x := m.stores[ds]
		return x != nil && x.in.meets(w.far)
	}
	if k := d.kin[v]; k != noKin && !stays(d.kins[k].ds) {
		return max(d.far[v], d.cost[v])
	}
	vm, disk := &b.s.VMs[d.vms[v]], int64(0)
	for k := range vm.Disks {
		if !stays(vm.Disks[k].Datastore) {
			disk += vm.Disks[k].CopyMiB()
		}
	}
	h := d.hosts[d.home[v]]
	return max(b.farCost(d.vms[v], h, max(b.rate(h, h, false, false), b.rate(h, h, true, false)), disk), d.cost[v])
}

// farCost is what the move of VM v from host h with so much of its disks costs, at the
// rate of a copy between a host and itself: none is faster.
func (b *builder) farCost(v, h, rate int32, diskMiB int64) int64 {
	e := b.learnt(v, b.s.Hosts[h].Site, true, rate, 0, diskMiB)
	return b.moveCost(v, h, h, &e, rate) * 1000
}

// tolls are those at which VMs leave from none to most, and none at all. A whole host
// that leaves costs no more than it saves, or it stays on: prices are around that.
func (d *domain) tolls(x *census) []toll {
	const steps = 8
	list := []toll{{}}
	for k := range d.size {
		most := int64(0)
		for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
			most = max(most, d.idle[h]/max(d.size[k][h], 1))
		}
		for n, price := 0, most/16; n < steps; n, price = n+1, price*17/10+1 {
			list = append(list, toll{k: k, price: price})
		}
	}
	exits, first := d.exits()
	lost, room := make([]int64, len(d.hosts)), 0
	for k := range x.kinds {
		room += len(x.kinds[k].hosts) + 1
	}
	all := make([]int64, 0, room*len(list))
	for i := range list {
		t := &list[i]
		for h := range lost {
			lost[h] = 0
			for j := first[h]; j < first[h+1]; j++ {
				e := &exits[j]
				best := max(e.inside, e.out+t.price*e.size[t.k])
				t.base += max(best, 0)
				lost[h] += min(best, 0)
			}
		}
		t.best = make([][]int64, 0, len(x.kinds))
		for k := range x.kinds {
			from := len(all)
			all = append(all, 0)
			for _, h := range x.kinds[k].hosts {
				all = append(all, d.idle[h]+lost[h])
			}
			sums := all[from:]
			slices.SortFunc(sums[1:], func(x, y int64) int { return cmp.Compare(y, x) })
			for n := 1; n < len(sums); n++ {
				sums[n] += sums[n-1]
			}
			t.best = append(t.best, sums)
		}
	}
	return list
}

// An exit is what a VM that can move brings by going to another host of its cluster, and
// by leaving it.
type exit struct {
	inside, out int64
	size        [2]int64
}

// exits lists them, and the first of each host and after the last.
func (d *domain) exits() (list []exit, first []int32) {
	const never = math.MinInt64 / 2 // whatever it is paid
	list, first = make([]exit, 0, len(d.vms)), make([]int32, 0, len(d.hosts)+1)
	for h := range d.hosts {
		first = append(first, int32(len(list)))
		for v := d.first[h]; v < d.first[h+1]; v++ {
			if x := (exit{max(d.brings[v], never), max(d.leaves[v], never), [2]int64{int64(d.size4[v][0]), int64(d.size4[v][1])}}); max(x.inside, x.out) > never {
				list = append(list, x)
			}
		}
	}
	return list, append(first, int32(len(list)))
}

// mostChoices bounds the choices of all clusters of a group together.
const mostChoices = 1_000_000

// groupBound is what no plan for the members exceeds, and the prices of a MHz and a
// MiB of room at which that is so, as far as they are known.
func (m *merger) groupBound(members []int) (int64, [2]int64) {
	var beside, used0, used1 int64
	var all []offer
	var slack [2]int64
	choices, count := make([][]choice, 0, len(members)), 0
	for _, i := range members {
		d := m.domains[i]
		list, more := d.offers()
		beside += more
		used0, used1 = used0+d.used[0], used1+d.used[1]
		slack[0], slack[1] = slack[0]+d.slack(0), slack[1]+d.slack(1)
		all = append(all, list...)
		if count > mostChoices {
			continue
		}
		x := d.kinds(list)
		if x.ways() > mostCounts {
			count = mostChoices + 1
			continue
		}
		cs := d.choices(&x)
		choices, count = append(choices, cs), count+len(cs)
	}
	if count > mostChoices {
		return beside + min(fractional(all, 0, slack[0]), fractional(all, 1, slack[1])), [2]int64{}
	}
	return priced(choices, [2]int64{used0, used1})
}

// choices lists what a cluster may do: how many hosts of each size go off, what
// that brings at most, with the cost of what must leave, and what it carries then.
func (d *domain) choices(x *census) []choice {
	list := make([]choice, 0, x.ways())
	var leave [2]int64
	for v, best := range d.leaves {
		if best != math.MinInt64 {
			leave[0], leave[1] = leave[0]+int64(d.size4[v][0]), leave[1]+int64(d.size4[v][1])
		}
	}
	tolls := d.tolls(x)
	x.each(func(off []int) {
		c := choice{gain: math.MaxInt64, most: d.carriesMost(x, off)}
		if len(list) == 0 { // all stay on, and what they carry now may stay
			c.most = [2]int64{max(c.most[0], d.used[0]), max(c.most[1], d.used[1])}
		}
		if d.used[0]-c.most[0] > leave[0] || d.used[1]-c.most[1] > leave[1] {
			return
		}
		for i := range tolls {
			t := &tolls[i]
			gain := t.base - t.price*(d.used[t.k]-c.most[t.k])
			for k, n := range off {
				gain += t.best[k][n]
			}
			c.gain = min(c.gain, gain)
		}
		list = append(list, c)
	})
	// What brings less than another and carries no more of anything is never chosen.
	slices.SortFunc(list, func(x, y choice) int {
		return cmp.Or(cmp.Compare(y.gain, x.gain), cmp.Compare(y.most[0], x.most[0]), cmp.Compare(y.most[1], x.most[1]))
	})
	kept := list[:0]
	for _, c := range list {
		if !slices.ContainsFunc(kept, func(x choice) bool { return x.most[0] >= c.most[0] && x.most[1] >= c.most[1] }) {
			kept = append(kept, c)
		}
	}
	return kept
}

// priced bounds the sum of one choice for each cluster under which all together
// carry what is used: for any prices of a MHz and a MiB no such sum exceeds
//
//	sum over clusters of max(gain + prices x most) - prices x used
//
// The prices are raised from zero by subgradient steps, scaled by what is used.
// Products are rounded before they are added, so that every processor gives the
// same bits. It returns the prices as well.
func priced(clusters [][]choice, used [2]int64) (int64, [2]int64) {
	var price, best [2]float64
	scale := [2]float64{1 / float64(max(used[0], 1)), 1 / float64(max(used[1], 1))}
	least, lack := dual(clusters, used, price)
	const rounds, patience = 100, 6
	theta, stale := 1.0, 0
	for range rounds {
		g := [2]float64{float64(lack[0]) * scale[0], float64(lack[1]) * scale[1]}
		norm := 0.0
		for k := range g {
			if price[k] > 0 || g[k] > 0 {
				norm += float64(g[k] * g[k])
			}
		}
		if norm == 0 {
			break
		}
		// The gap is not known; a hundredth of the value is where it starts.
		step := float64(theta*math.Abs(least)) / 100 / norm
		for k := range price {
			price[k] = max(0, price[k]+float64(float64(step*g[k])*scale[k]))
		}
		var value float64
		if value, lack = dual(clusters, used, price); value < least {
			least, best, stale = value, price, 0
		} else if stale++; stale > patience {
			theta, stale, price = theta/2, 0, best
			_, lack = dual(clusters, used, price)
		}
	}
	return int64(math.Ceil(least*(1+1e-9))) + 1, [2]int64{int64(best[0]), int64(best[1])}
}

// dual is the bound at the prices, and what the best choices carry too little.
func dual(clusters [][]choice, used [2]int64, price [2]float64) (float64, [2]int64) {
	value, lack := 0.0, used
	for _, cs := range clusters {
		best, most := math.Inf(-1), -1
		for i := range cs {
			c := &cs[i]
			if x := float64(c.gain) + float64(price[0]*float64(c.most[0])) + float64(price[1]*float64(c.most[1])); x > best {
				best, most = x, i
			}
		}
		value += best
		for k := range lack {
			lack[k] -= cs[most].most[k]
		}
	}
	return value - float64(price[0]*float64(used[0])) - float64(price[1]*float64(used[1])), lack
}
