package plan

import (
	"cmp"
	"slices"
)

// search looks for the hosts of the domain that should go off and for where
// their VMs go. It empties hosts one by one, in several orders, each VM to the
// fullest host that takes it, or past another VM that makes room (an ejection).
// Then it wakes hosts again to empty others in their place, as long as that pays
// and until the evaluations are used up, nothing helps, or the bound is met.
func (d *domain) search(evaluations int64) {
	d.bound = d.gainBound()
	d.aim()
	best, saved := slices.Clone(d.at), int64(0)
	for order := range orders {
		d.reset()
		d.empty(order, evaluations)
		if d.value > saved {
			best, saved = append(best[:0], d.at...), d.value
		}
		if d.value >= d.goal || d.evals >= evaluations {
			break
		}
	}
	d.restore(best)
	d.exchange(evaluations)
	d.settle()
}

// orders are the ways to order hosts: those first that the bound counts on; by net
// gain, by gain for each unit of capacity that it costs, by what the moves cost.
const orders = 4

// empty tries to empty each host that may go off: first with what fits, then with
// ejections.
func (d *domain) empty(order int, evaluations int64) {
	var list []rated
	for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
		moves := d.moving(h)
		key := d.idle[h] - moves
		switch order {
		case 0:
			if key = d.hope(h); !d.target.has(h) {
				key -= 1 << 60
			}
		case 2:
			key = key * 1000 / max(d.size[0][h]*1000/max(d.total(0), 1)+d.size[1][h]*1000/max(d.total(1), 1), 1)
		case 3:
			key = -moves
		}
		list = append(list, rated{h, h, key})
	}
	slices.SortFunc(list, rated.compare)
	for depth := range 2 {
		for _, x := range list {
			if d.evals >= evaluations {
				return
			}
			if d.on.has(x.h) {
				d.off(x.h, depth, d.value)
			}
		}
	}
}

// A rated is what promises so much: that host h goes off, or that it does instead of another.
type rated struct {
	h, instead int
	key        int64
}

func (x rated) compare(y rated) int {
	return cmp.Or(cmp.Compare(y.key, x.key), cmp.Compare(x.h, y.h), cmp.Compare(x.instead, y.instead))
}

// hope is what emptying host h brings at most, if no VM of another moves for it.
func (d *domain) hope(h int) int64 {
	sum := d.idle[h]
	for _, v := range d.list[h] {
		sum += d.away(v, h)
	}
	return sum
}

// away is what VM v brings at most by leaving host h, where it is.
func (d *domain) away(v int32, h int) int64 {
	if int(d.home[v]) == h {
		return d.brings[v]
	}
	return d.cost[v] + d.mhz[v]*(d.slope[h]-d.grades[0].slope)
}

// moving is what the moves of the VMs on host h cost.
func (d *domain) moving(h int) int64 {
	var sum int64
	for _, v := range d.list[h] {
		sum += d.cost[v]
	}
	return sum
}

func (d *domain) total(k int) int64 {
	var sum int64
	for _, x := range d.size[k] {
		sum += x
	}
	return sum
}

// keeps reports whether the hosts that are on survive the failures that they
// must, beside what the cluster carries.
func (d *domain) keeps(on hostSet) bool {
	most, working := d.most(on)
	return working && d.used[0]-d.gone[0] <= most[0] && d.used[1]-d.gone[1] <= most[1]
}

// most is how many MHz and MiB the hosts may carry that are on, beside what the
// hypervisors of the others take now, and whether any of them may run VMs at all.
func (d *domain) most(on hostSet) (most [2]int64, working bool) {
	for k := range d.size {
		var sum, lost, own, net int64
		need := d.need
		for _, h := range d.largest[k] {
			if !on.has(h) {
				own += d.own[k][h]
				continue
			}
			sum += d.size[k][h]
			if k == 0 && !d.failOn.has(h) {
				net += d.net[h]
			}
			if need > 0 {
				need, lost = need-1, lost+d.size[k][h]
			}
			working = working || !d.failOn.has(h)
		}
		most[k] = min((sum-lost)*d.pct[k], sum*d.share[k])/100 + own
		if k == 0 {
			most[k] = min(most[k], d.used[k]+net-d.surge)
		}
	}
	return most, working
}

// off empties host h and switches it off if more than least is saved then.
// Otherwise nothing has changed.
func (d *domain) off(h, depth int, least int64) bool {
	on := d.on
	on.drop(h)
	if !d.keeps(on) {
		return false
	}
	before, value, mark := d.on, d.value, len(d.undone)
	d.on = on
	d.value += d.idle[h]
	hope := d.hope(h)
	ok := value+hope > least
	for _, v := range d.heaviest(h) {
		if !ok {
			break
		}
		was, away := d.value, d.away(v, h)
		ok = d.insert(v, hostSet{}, depth)
		hope += d.value - was - away
		ok = ok && value+hope > least
	}
	if ok && d.value > least {
		return true
	}
	d.rollback(mark)
	d.on, d.value = before, value
	return false
}

// heaviest lists the VMs on host h, the heaviest first. It is good until it is called again.
func (d *domain) heaviest(h int) []int32 {
	d.order = append(d.order[:0], d.list[h]...)
	slices.SortFunc(d.order, func(x, y int32) int {
		if p, q := d.heavy[x], d.heavy[y]; p != q {
			return cmp.Compare(q, p)
		}
		return cmp.Compare(x, y)
	})
	return d.order
}

// weight is how much of a host of the domain's kind VM v takes, in millionths:
// the scarcer of MHz and MiB.
func (d *domain) weight(v int32) int64 { return d.heavy[v] }

// allowed are the hosts where VM v may go from where it is.
func (d *domain) allowed(v int32) hostSet {
	to := d.masks[v].and(d.on)
	to.drop(int(d.at[v]))
	for _, m := range d.mates[v] {
		if at := d.at[m]; at != abroad {
			to.drop(int(at))
		}
	}
	return to
}

// insert moves VM v to where it fits best, or past a smaller VM that leaves for
// somewhere else. It reports whether it did.
func (d *domain) insert(v int32, avoid hostSet, depth int) bool {
	to := d.allowed(v)
	to[0], to[1] = to[0]&^avoid[0], to[1]&^avoid[1]
	if h := d.fit(v, to); h >= 0 {
		d.move(v, h)
		return true
	}
	if depth == 0 {
		return false
	}
	x, home := &d.size4[v], int(d.at[v])
	for g := to.next(0); g >= 0; g = to.next(g + 1) {
		for _, w := range d.list[g] {
			d.evals++
			y := d.free[g]
			y.take(&d.size4[w], 1)
			// Only what stands there has room to give: what came must not move twice.
			if !y.fits(x) || d.weight(w) >= d.weight(v) || int(d.home[w]) != g {
				continue
			}
			mark := len(d.undone)
			less := avoid
			less.add(g)
			less.add(home)
			if d.insert(w, less, depth-1) {
				d.move(v, g)
				return true
			}
			d.rollback(mark)
		}
	}
	return false
}

// fit is the host of the set where VM v costs least, of equals one that will not
// sleep, then the fullest; -1 when it fits nowhere. Where it stands costs no move.
func (d *domain) fit(v int32, to hostSet) int {
	best, cost, left := -1, int64(0), int64(0)
	x := &d.size4[v]
	for h := to.next(0); h >= 0; h = to.next(h + 1) {
		d.evals++
		if !d.free[h].fits(x) {
			continue
		}
		c := d.mhz[v] * d.slope[h]
		if int(d.home[v]) == h {
			c -= d.cost[v]
		}
		if best >= 0 && c > cost {
			continue
		}
		if l := d.room(h); best < 0 || c < cost || l < left {
			best, cost, left = h, c, l
		}
	}
	return best
}

// room is how much room host h has, in permille of both resources; one that may
// sleep is the last choice.
func (d *domain) room(h int) int64 {
	l := int64(d.free[h][1])*1000/max(d.size[1][h], 1) + int64(d.free[h][0])*1000/max(d.size[0][h], 1)
	if d.sleepy.has(h) {
		l += 1 << 40
	}
	return l
}

// move puts VM v on host h.
func (d *domain) move(v int32, h int) {
	d.undone = append(d.undone, undo{v, d.at[v]})
	d.value += d.gain(v, int(d.at[v]), h)
	d.shift(v, h)
}

// gain is what is saved when VM v goes from one host to the other.
func (d *domain) gain(v int32, from, to int) int64 {
	g := d.mhz[v] * (d.slope[from] - d.slope[to])
	if from != int(d.home[v]) {
		g += d.cost[v]
	}
	if to != int(d.home[v]) {
		g -= d.cost[v]
	}
	return g
}

// shift moves VM v without an account. Where it stands now it counts until the
// plan is carried out: its home is never given more than it had.
func (d *domain) shift(v int32, h int) {
	d.lift(v)
	d.put(v, h)
}

// lift takes VM v off the host where it is.
func (d *domain) lift(v int32) {
	from := d.at[v]
	l := d.list[from]
	last := l[len(l)-1]
	l[d.pos[v]], d.pos[last] = last, d.pos[v]
	d.list[from] = l[:len(l)-1]
	d.free[from].take(&d.size4[v], 1)
}

// put puts VM v, which is nowhere, on host h.
func (d *domain) put(v int32, h int) {
	d.free[h].take(&d.size4[v], -1)
	d.pos[v], d.list[h] = int32(len(d.list[h])), append(d.list[h], v)
	d.at[v] = int16(h)
}

// rollback takes back the moves since mark.
func (d *domain) rollback(mark int) {
	for len(d.undone) > mark {
		u := d.undone[len(d.undone)-1]
		d.undone = d.undone[:len(d.undone)-1]
		d.value += d.gain(u.v, int(d.at[u.v]), int(u.from))
		d.shift(u.v, int(u.from))
	}
}

// reset puts everything where it stands, with every host on.
func (d *domain) reset() {
	for v := range d.at {
		if d.at[v] != d.home[v] {
			d.shift(int32(v), int(d.home[v]))
		}
	}
	for h := range d.hosts {
		d.on.add(h)
	}
	d.value, d.undone = 0, d.undone[:0]
}

// restore brings an assignment back; a host that may go and holds nothing that
// stood on it is off.
func (d *domain) restore(at []int16) {
	d.reset()
	for v, h := range at {
		if h != d.at[v] {
			d.move(int32(v), int(h))
		}
	}
	for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
		on := d.on
		on.drop(h)
		if len(d.list[h]) == 0 && d.keeps(on) && d.idle[h] > 0 {
			d.on = on
			d.value += d.idle[h]
		}
	}
	d.undone = d.undone[:0]
}

// exchange empties further hosts past up to two VMs that make room; where none can be,
// it lets a host that is off stay on after all and empties another instead. What
// promises most is tried first, until nothing helps.
func (d *domain) exchange(evaluations int64) {
	for d.value < d.goal && d.evals < evaluations && (d.further(evaluations) || d.instead(evaluations)) {
	}
}

// further empties one more host. It reports whether it did.
func (d *domain) further(evaluations int64) bool {
	var list []rated
	for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
		if d.on.has(h) {
			if hope := d.hope(h); hope > 0 {
				list = append(list, rated{h, h, hope})
			}
		}
	}
	slices.SortFunc(list, rated.compare)
	for _, x := range list {
		if d.evals >= evaluations {
			return false
		}
		if d.off(x.h, 2, d.value) {
			return true
		}
	}
	return false
}

// instead lets a host that is off stay on, and empties another. It reports whether it did.
func (d *domain) instead(evaluations int64) bool {
	lost := make([]int64, len(d.hosts)) // without a host that is off
	for h := range lost {
		lost[h] = d.idle[h]
	}
	for v, h := range d.home {
		if at := d.at[v]; at != h && at != abroad {
			lost[h] -= d.gain(int32(v), int(at), int(h))
		}
	}
	var list []rated
	for g := d.may.next(0); g >= 0; g = d.may.next(g + 1) {
		if !d.on.has(g) {
			continue
		}
		hope := d.hope(g)
		for a := d.may.next(0); a >= 0; a = d.may.next(a + 1) {
			if !d.on.has(a) && hope > lost[a] {
				list = append(list, rated{g, a, hope - lost[a]})
			}
		}
	}
	slices.SortFunc(list, rated.compare)
	for _, x := range list {
		if d.evals >= evaluations {
			return false
		}
		if d.swap(x.instead, x.h) {
			return true
		}
	}
	return false
}

// swap switches host a on and empties g. Where that brings nothing, nothing has changed.
func (d *domain) swap(a, g int) bool {
	before, value := d.on, d.value
	on := d.on
	on.add(a)
	on.drop(g)
	if !d.keeps(on) {
		return false
	}
	d.undone = d.undone[:0]
	d.on.add(a)
	d.value -= d.idle[a]
	for v := d.first[a]; v < d.first[a+1]; v++ {
		if d.at[v] != int16(a) && d.free[a].fits(&d.size4[v]) && !d.mated(v, int16(a)) {
			d.move(v, a)
		}
	}
	if d.off(g, 1, value) {
		return true
	}
	d.rollback(0)
	d.on, d.value = before, value
	return false
}

// settle sends VMs that were moved in vain back to where they stand.
func (d *domain) settle() {
	for v, h := range d.home {
		if d.at[v] != h && d.on.has(int(h)) && d.free[h].fits(&d.size4[v]) && d.gain(int32(v), int(d.at[v]), int(h)) > 0 && !d.mated(int32(v), h) {
			d.move(int32(v), int(h))
		}
	}
}

// mated reports whether a mate of VM v is on host h.
func (d *domain) mated(v int32, h int16) bool {
	return slices.ContainsFunc(d.mates[v], func(m int32) bool { return d.at[m] == h })
}
