package plan

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// An offer is what going off takes from a cluster and brings.
type offer struct {
	h    int
	size [2]int64 // MHz and MiB
	own  [2]int64 // of them, what its hypervisor takes
	gain int64    // at most: every VM of the host moves at its price to where its load costs least
}

// offers lists the hosts that may go off, and what moves that empty no host could
// bring on top. The gain of a host counts only what is beyond that.
func (d *domain) offers() (list []offer, beside int64) {
	gain := make([]int64, len(d.hosts))
	for v := range d.vms {
		if x := d.best(v); x != math.MinInt64 {
			beside += max(x, 0)
			gain[d.home[v]] += min(x, 0)
		}
	}
	for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
		list = append(list, offer{h, [2]int64{d.size[0][h], d.size[1][h]}, [2]int64{d.own[0][h], d.own[1][h]}, d.idle[h] + gain[h]})
	}
	return list, beside
}

// best is the most that a move of VM v brings by itself, in its cluster or beyond;
// of one that can go nowhere, [math.MinInt64].
func (d *domain) best(v int) int64 {
	best := d.brings[v]
	if d.leaves != nil {
		best = max(best, d.leaves[v])
	}
	return best
}

// inside is the same in its cluster; it is kept in brings.
func (d *domain) inside(v int) int64 {
	h := int(d.home[v])
	others := d.masks[v]
	others.drop(h)
	for i := range d.grades {
		if g := &d.grades[i]; others.and(g.at) != (hostSet{}) {
			return d.mhz[v]*(d.slope[h]-g.slope) - d.cost[v]
		}
	}
	return math.MinInt64
}

// A kind is hosts of one size.
type kind struct {
	size  [2]int64
	all   int      // that are on
	hosts []int    // that bring something by going off
	best  []int64  // by number of them that go off: the most that it brings
	own   [2]int64 // the most that the hypervisor of one takes that may
}

// A census is the kinds of a domain, and their order by MHz and by MiB, the
// largest first.
type census struct {
	kinds   []kind
	largest [2][]int
}

// mostCounts bounds the ways to choose how many hosts of each size go off. Two
// or three sizes a cluster have fewer; beyond, the bound is that of [fractional].
const mostCounts = 100_000

// gainBound is what no plan for the domain exceeds: for each number of hosts of
// each size that go off, the best of them, as long as what stays on carries the
// load and survives the failures that it must. That each VM must find one host is
// left out, and so is all that VMs ask of each other.
func (d *domain) gainBound() int64 {
	list, beside := d.offers()
	x := d.kinds(list)
	if x.ways() > mostCounts {
		return beside + min(fractional(list, 0, d.slack(0)), fractional(list, 1, d.slack(1)))
	}
	most, _ := d.counted(&x)
	return beside + most
}

// aim sets what emptying hosts brings at most, and those of which the bound has that.
func (d *domain) aim() {
	list, _ := d.offers()
	for i := range list {
		list[i].gain = d.hope(list[i].h)
	}
	d.goal, d.target = math.MaxInt64, d.may
	if x := d.kinds(list); x.ways() <= mostCounts {
		most, best := d.counted(&x)
		d.goal, d.target = most, hostSet{}
		for i, n := range best {
			for _, h := range x.kinds[i].hosts[:n] {
				d.target.add(h)
			}
		}
	}
}

// counted is the most that hosts of these kinds bring, and by how many of each.
func (d *domain) counted(x *census) (most int64, best []int) {
	best = make([]int, len(x.kinds))
	x.each(func(off []int) {
		var sum int64
		for i, n := range off {
			sum += x.kinds[i].best[n]
		}
		if sum > most && d.carries(x, off) {
			most = sum
			copy(best, off)
		}
	})
	return most, best
}

// ways is how many there are to choose how many hosts of each size go off; what is
// more than mostCounts is not counted.
func (x *census) ways() int {
	ways := 1
	for i := range x.kinds {
		if ways *= len(x.kinds[i].best); ways > mostCounts {
			break
		}
	}
	return ways
}

// each calls f for each of them.
func (x *census) each(f func(off []int)) {
	off := make([]int, len(x.kinds))
	for {
		f(off)
		i := 0
		for ; i < len(off); i++ {
			if off[i]++; off[i] < len(x.kinds[i].best) {
				break
			}
			off[i] = 0
		}
		if i == len(off) {
			return
		}
	}
}

// kinds sorts the hosts by size.
func (d *domain) kinds(list []offer) census {
	var kinds []kind
	at := func(size [2]int64) *kind {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.size == size })
		if i < 0 {
			i, kinds = len(kinds), append(kinds, kind{size: size})
		}
		return &kinds[i]
	}
	for h := range d.hosts {
		at([2]int64{d.size[0][h], d.size[1][h]}).all++
	}
	slices.SortFunc(list, func(x, y offer) int {
		return cmp.Or(cmp.Compare(y.gain, x.gain), cmp.Compare(x.size[0], y.size[0]), cmp.Compare(x.size[1], y.size[1]))
	})
	for _, o := range list {
		if k := at(o.size); o.gain > 0 {
			k.best, k.hosts = append(k.best, o.gain), append(k.hosts, o.h)
			k.own = [2]int64{max(k.own[0], o.own[0]), max(k.own[1], o.own[1])}
		}
	}
	for i := range kinds {
		sums := append(make([]int64, 1, len(kinds[i].best)+1), kinds[i].best...)
		for n := 1; n < len(sums); n++ {
			sums[n] += sums[n-1]
		}
		kinds[i].best = sums
	}
	x := census{kinds: kinds}
	for k := range x.largest {
		for i := range kinds {
			x.largest[k] = append(x.largest[k], i)
		}
		slices.SortStableFunc(x.largest[k], func(i, j int) int { return cmp.Compare(kinds[j].size[k], kinds[i].size[k]) })
	}
	return x
}

// carries reports whether the cluster could do without so many hosts of each kind.
func (d *domain) carries(x *census, off []int) bool {
	most := d.carriesMost(x, off)
	return d.used[0] <= most[0] && d.used[1] <= most[1]
}

// carriesMost is how many MHz and MiB the cluster may carry without them, beside
// what their hypervisors take now at most.
func (d *domain) carriesMost(x *census, off []int) (most [2]int64) {
	for k := range d.size {
		var sum, lost, own int64
		need := int64(d.need)
		for _, i := range x.largest[k] {
			own += int64(off[i]) * x.kinds[i].own[k]
			n := int64(x.kinds[i].all - off[i])
			sum += n * x.kinds[i].size[k]
			n = min(n, need)
			lost, need = lost+n*x.kinds[i].size[k], need-n
		}
		most[k] = min((sum-lost)*d.pct[k], sum*d.share[k])/100 + own
		if k == 0 {
			most[k] = min(most[k], d.used[k]+sum-d.surge)
		}
	}
	return most
}

// slack is how many MHz (0) or MiB (1) could go off at most: what is on, without
// the smallest hosts that might be the reserve, and without what the VMs take.
func (d *domain) slack(k int) int64 {
	sizes := slices.Sorted(slices.Values(d.size[k]))
	var sum, lost, own int64
	for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
		own += d.own[k][h]
	}
	for i, x := range sizes {
		if sum += x; i < int(d.need) {
			lost += x
		}
	}
	used := max(d.used[k]-own, 0)
	return min(sum-lost-used*100/d.pct[k], sum-used*100/max(d.share[k], 1))
}

// fractional is the most that offers bring when so much of one resource may go
// off and a host could go off in part.
func fractional(list []offer, k int, slack int64) int64 {
	order := slices.Clone(list)
	// By gain for each unit: x.gain/x.size > y.gain/y.size.
	slices.SortFunc(order, func(x, y offer) int {
		return cmp.Or(product(y.gain, x.size[k]).compare(product(x.gain, y.size[k])), cmp.Compare(x.size[k], y.size[k]))
	})
	var sum int64
	for _, o := range order {
		switch {
		case o.gain <= 0 || slack <= 0:
			return sum
		case o.size[k] <= slack:
			sum, slack = sum+o.gain, slack-o.size[k]
		default:
			hi, lo := bits.Mul64(uint64(o.gain), uint64(slack))
			part, _ := bits.Div64(hi, lo, uint64(o.size[k]))
			return sum + int64(part) + 1
		}
	}
	return sum
}

// A wide is a product of two int64 that are not negative.
type wide struct{ hi, lo uint64 }

func product(x, y int64) wide {
	hi, lo := bits.Mul64(uint64(max(x, 0)), uint64(max(y, 0)))
	return wide{hi, lo}
}

func (x wide) compare(y wide) int { return cmp.Or(cmp.Compare(x.hi, y.hi), cmp.Compare(x.lo, y.lo)) }
