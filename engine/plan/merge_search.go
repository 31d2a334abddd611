package plan

import (
	"cmp"
	"math/bits"
	"slices"
)

// A closing is a host that may be closed.
type closing struct {
	d, h int
	idle int64
	cost int64 // of the moves
	left int64 // of what it saves, after the moves and what the room is worth that its cluster lacks then
}

// closings lists the hosts that may be closed, those first that bring most beyond
// what they take from others: of each cluster a few.
func (m *merger) closings(tried []hostSet) []closing {
	const few = 3
	var list []closing
	for i, d := range m.domains {
		first := len(list)
		for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
			if !d.on.has(h) || m.guests[i][h] > 0 || tried[i].has(h) || d.idle[h] <= 0 {
				continue
			}
			lack, ok := m.lack(i, h)
			if !ok {
				continue
			}
			x := closing{d: i, h: h, idle: d.idle[h]}
			for _, v := range d.list[h] {
				if int(d.home[v]) == h {
					x.cost += d.cost[v]
				}
			}
			x.left = x.idle - x.cost
			for k := range lack {
				// Where no price binds room is worth something still: half of what the host saves.
				x.left -= lack[k] * max(m.price[i][k], x.idle/max(2*d.size[k][h], 1))
			}
			if x.cost < x.idle {
				list = append(list, x)
			}
		}
		mine := list[first:]
		slices.SortFunc(mine, func(x, y closing) int { return cmp.Or(cmp.Compare(y.left, x.left), cmp.Compare(x.h, y.h)) })
		list = list[:first+min(len(mine), few)]
	}
	slices.SortStableFunc(list, func(x, y closing) int { return cmp.Compare(y.left, x.left) })
	return list
}

// lack is how many MHz and MiB domain i has too few for its reserve without host
// h, and whether the clusters that take VMs of it have as much to spare.
func (m *merger) lack(i, h int) ([2]int64, bool) {
	d := m.domains[i]
	on := d.on
	on.drop(h)
	most, working := d.most(on)
	var lack, spare [2]int64
	for k := range lack {
		lack[k] = max(d.used[k]-d.gone[k]-most[k], 0)
		m.links[i].each(func(e int) bool {
			spare[k] += max(m.spare[e][k], 0)
			return true
		})
	}
	return lack, working && lack[0] <= spare[0] && lack[1] <= spare[1]
}

// search closes hosts until none can be, or the evaluations are used up.
func (m *merger) search(evaluations int64) {
	tried, changed := make([]hostSet, len(m.domains)), make([]bool, len(m.domains))
	for more := true; more; {
		more = false
		clear(changed)
		for _, x := range m.closings(tried) {
			if m.evals >= evaluations {
				return
			}
			if changed[x.d] {
				more = true
				continue
			}
			if tried[x.d].has(x.h) {
				continue
			}
			trips := len(m.trips)
			if ok, relieved := m.close(x); !ok {
				d := m.domains[x.d]
				for h := range d.hosts { // without one of that size the cluster lacks as much
					if h == x.h || (!relieved && d.size[0][h] == d.size[0][x.h] && d.size[1][h] == d.size[1][x.h]) {
						tried[x.d].add(h)
					}
				}
				continue
			}
			more, changed[x.d] = true, true
			for _, t := range m.trips[trips:] {
				changed[t.to] = true
			}
		}
	}
}

// close empties a host and switches it off, if that saves anything. Otherwise
// nothing has changed. It reports whether it is off, and whether other clusters took
// at least what its own lacked room for.
func (m *merger) close(x closing) (off, relieved bool) {
	i, h := x.d, x.h
	d := m.domains[i]
	lack, ok := m.lack(i, h)
	if !ok {
		return false, false
	}
	on, value, mark, trips, evals := d.on, d.value, len(d.undone), len(m.trips), d.evals
	d.on.drop(h)
	d.value += d.idle[h]
	m.closed = append(m.closed, d.hosts[h])
	if lack != [2]int64{} {
		all := append(m.vms[:0], d.list[h]...) // what is on the other hosts can make room as well
		for g := d.on.next(0); g >= 0; g = d.on.next(g + 1) {
			all = append(all, d.list[g]...)
		}
		m.vms = all
		list, n, extra := m.relief(&x, lack, all)
		const vain = 24 // where so many find no place, others hardly do
		for k, left := 0, vain; k < len(list) && left > 0 && lack != [2]int64{} && x.cost+extra < x.idle; k++ {
			if k == n {
				rest := list[n:]
				for j := range rest {
					d.weigh(&rest[j], h, lack, &m.price[i])
				}
				slices.SortFunc(rest, func(x, y giver) int { return x.compare(&y) })
			}
			if !m.send(i, list[k].v) {
				left--
				continue
			}
			for j := range lack {
				lack[j] = max(lack[j]-int64(d.size4[list[k].v][j]), 0)
			}
		}
	}
	relieved = lack == [2]int64{}
	off = relieved
	for _, v := range d.heaviest(h) {
		if off = off && (d.insert(v, hostSet{}, 1) || m.send(i, v)); !off {
			break
		}
	}
	m.evals += d.evals - evals
	if off && d.value > value {
		most, _ := d.most(d.on)
		m.misses[i] = m.misses[i][:0]
		m.spare[i] = [2]int64{most[0] + d.gone[0] - d.used[0], most[1] + d.gone[1] - d.used[1]}
		return true, true
	}
	for len(m.trips) > trips {
		m.back()
	}
	d.rollback(mark)
	d.on, d.value = on, value
	m.closed = m.closed[:len(m.closed)-1]
	return false, relieved
}

// A giver is a VM that may leave for what its cluster lacks.
type giver struct {
	v     int32
	gives int64 // of what is lacking, in millionths, each resource by itself
	skew  int64 // millionths of a host that it gives of what is lacking, less what it takes along of the other
	extra int64 // what its leaving costs beyond a move inside the cluster
	along int64 // what the room is worth that it takes of what is not lacking
}

func (x *giver) compare(y *giver) int {
	if x.extra != 0 || y.extra != 0 {
		if c := product(x.extra+x.along, y.gives).compare(product(y.extra+y.along, x.gives)); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(y.skew, x.skew), cmp.Compare(x.v, y.v))
}

// weigh tells what a VM gives of what domain d lacks without host h.
func (d *domain) weigh(p *giver, h int, lack [2]int64, price *[2]int64) {
	p.gives, p.skew, p.along = 0, 0, 0
	for k := range lack {
		size := int64(d.size4[p.v][k])
		if share := size * 1_000_000 / max(d.size[k][h], 1); lack[k] > 0 {
			p.gives += min(size*1_000_000/lack[k], 1_000_000)
			p.skew += share
		} else {
			p.skew -= share
			p.along += size * price[k]
		}
	}
}

// relief chooses n VMs that together give what the cluster lacks without a host: one
// after the other what costs least for what it gives, and of equals what has most of
// what is lacking for what it has of the rest; without those that the others make
// needless. After them come the others, in no order. The list is good until the next.
// What those cost that are chosen, beyond moves inside the cluster, is extra; what is far too dear is not
// looked for to the end. VMs for which no cluster has room are left out.
func (m *merger) relief(x *closing, lack [2]int64, vms []int32) (list []giver, n int, extra int64) {
	d := m.domains[x.d]
	list = m.givers[:0]
	for _, v := range vms {
		if w := m.ways(x.d, v); m.room(w, &d.size4[v]) {
			cost := m.leastCost(x.d, v, w)
			if at := int(d.at[v]); at == x.h || at != int(d.home[v]) {
				cost -= d.cost[v] // it moves anyway
			}
			list = append(list, giver{v: v, extra: max(cost, 0)})
		}
	}
	m.givers = list
	take := func(p *giver, sign int64) {
		for k := range lack {
			lack[k] -= sign * int64(d.size4[p.v][k])
		}
		extra += sign * p.extra
	}
	for ; n < len(list) && (lack[0] > 0 || lack[1] > 0) && extra < 2*x.idle; n++ {
		best := n
		for k := n; k < len(list); k++ {
			if d.weigh(&list[k], x.h, lack, &m.price[x.d]); list[k].compare(&list[best]) < 0 {
				best = k
			}
		}
		list[n], list[best] = list[best], list[n]
		take(&list[n], 1)
	}
	for k := n - 1; k >= 0; k-- {
		take(&list[k], -1)
		if lack[0] > 0 || lack[1] > 0 {
			take(&list[k], 1)
			continue
		}
		n--
		list[k], list[n] = list[n], list[k]
	}
	return list, n, extra
}

// A stop is a cluster that has room for a VM.
type stop struct {
	d       int
	takes   int64 // millionths of a host of it, of what it has least to spare
	left    int64 // likewise what it has to spare
	storage bool
}

// room reports whether any of the clusters has so much to spare.
func (m *merger) room(w *way, x *load) bool {
	for k := range w.near {
		for s := w.near[k] | w.far[k]; s != 0; s &= s - 1 {
			if spare := &m.spare[k<<6+bits.TrailingZeros64(s)]; int64(x[0]) <= spare[0] && int64(x[1]) <= spare[1] {
				return true
			}
		}
	}
	return false
}

// send lets VM v of domain i leave for another cluster: one that gives little of
// what it has least of and, of those, one that has the least. The host that is closed
// waits for it.
func (m *merger) send(i int, v int32) bool {
	d := m.domains[i]
	w := m.ways(i, v)
	x := &d.size4[v]
	stops := m.stops[:0]
	least := int64(1 << 60)
	offer := func(e int, storage bool) {
		spare, y := m.spare[e], m.domains[e]
		if int64(x[0]) > spare[0] || int64(x[1]) > spare[1] {
			return
		}
		s := stop{d: e, storage: storage, left: spare[0] * 1_000_000 / max(y.size[0][0], 1), takes: int64(x[0]) * 1_000_000 / max(y.size[0][0], 1)}
		if left := spare[1] * 1_000_000 / max(y.size[1][0], 1); left < s.left {
			s.left, s.takes = left, int64(x[1])*1_000_000/max(y.size[1][0], 1)
		}
		stops, least = append(stops, s), min(least, s.takes)
	}
	w.each(offer)
	m.stops = stops
	rank := func(s stop) int {
		switch {
		case s.storage:
			return 2
		case s.takes > least+least/4:
			return 1
		}
		return 0
	}
	for tries := 2; len(stops) > 0; { // what fails in two clusters mostly fails in all
		best := 0
		for k := range stops {
			x, y := &stops[k], &stops[best]
			if cmp.Or(cmp.Compare(rank(*x), rank(*y)), cmp.Compare(x.left, y.left), cmp.Compare(x.d, y.d)) < 0 {
				best = k
			}
		}
		s, h := stops[best], -1
		y := m.domains[s.d]
		mark := len(y.undone)
		if !m.missed(s.d, x, y.on) { // it may be on no more
			to := m.hosts(i, v, s.d, s.storage)
			if h = m.fit(d, v, s.d, to); h < 0 && tries > 0 && !m.missed(s.d, x, to) {
				tries--
				if h = m.shove(d, v, s.d, to); h < 0 {
					m.misses[s.d] = append(m.misses[s.d], miss{*x, to, len(m.trips)})
				}
			}
		}
		if h >= 0 {
			m.leave(i, v, s.d, h, s.storage)
			m.trips[len(m.trips)-1].mark = mark
			return true
		}
		stops[best] = stops[len(stops)-1]
		stops = stops[:len(stops)-1]
	}
	return false
}

// missed reports whether something of which no more would do found no room in domain e.
func (m *merger) missed(e int, x *load, to hostSet) bool {
	return slices.ContainsFunc(m.misses[e], func(p miss) bool { return x.fits(&p.size) && p.to.and(to) == to })
}

// fit is the host of domain e where VM v of domain d costs least, of equals one
// that has guests or will not sleep, then the fullest; -1 when it fits nowhere.
func (m *merger) fit(d *domain, v int32, e int, to hostSet) int {
	y, x := m.domains[e], &d.size4[v]
	best, cost, left := -1, int64(0), int64(0)
	for h := to.next(0); h >= 0; h = to.next(h + 1) {
		m.evals++
		if !y.free[h].fits(x) {
			continue
		}
		c, l := d.mhz[v]*y.slope[h], y.room(h)
		if m.guests[e][h] > 0 {
			l -= 1 << 40 // a host with guests stays on
		}
		if best < 0 || c < cost || (c == cost && l < left) {
			best, cost, left = h, c, l
		}
	}
	return best
}

// shove makes room for VM v of domain d on a host of domain e: a smaller VM that has
// left a host that goes off goes to yet another host of e. It is -1 when that does
// not help.
func (m *merger) shove(d *domain, v int32, e int, to hostSet) int {
	y, x := m.domains[e], &d.size4[v]
	for g := to.next(0); g >= 0; g = to.next(g + 1) {
		for _, w := range y.list[g] {
			m.evals++
			free := y.free[g]
			free.take(&y.size4[w], 1)
			if y.on.has(int(y.home[w])) || !free.fits(x) {
				continue
			}
			if h := y.fit(w, y.allowed(w)); h >= 0 {
				y.move(w, h)
				return g
			}
		}
	}
	return -1
}

// leave sends VM v of domain i to host h of domain e.
func (m *merger) leave(i int, v int32, e, h int, storage bool) {
	d, y := m.domains[i], m.domains[e]
	at := d.at[v]
	t := trip{d: int32(i), v: v, from: at, to: int32(e), on: int32(h), closing: len(m.closed)}
	t.saves = d.mhz[v]*(d.slope[at]-y.slope[h]) - m.cost(d, v, y.hosts[h], storage)
	if at != d.home[v] {
		t.saves += d.cost[v]
	}
	d.lift(v)
	d.at[v] = abroad
	y.free[h].take(&d.size4[v], -1)
	m.count(&t, 1)
	m.trips = append(m.trips, t)
}

// cost is what the move of VM v of domain d to host h of another cluster costs: no
// less than one inside its own. The slots of a host let fewer moves with disks go at
// once, which by themselves would leave each more of its interface; but memory is
// copied last, beside whatever else moves then.
func (m *merger) cost(d *domain, v, h int32, storage bool) int64 {
	b, g := m.b, d.vms[v]
	from := d.hosts[d.home[v]]
	w := want{v: g}
	disk := int64(0)
	if storage {
		disk = b.diskCopy(&w, h)
	}
	rate := b.rate(from, h, storage, false)
	e := b.learnt(g, b.s.Hosts[h].Site, storage, rate, 0, disk)
	return max(b.moveCost(g, from, h, &e, rate)*1000, d.cost[v])
}

// count keeps the sums of a trip that is made (sign 1) or taken back.
func (m *merger) count(t *trip, sign int64) {
	d, y := m.domains[t.d], m.domains[t.to]
	d.value += sign * t.saves
	m.guests[t.to][t.on] += int32(sign)
	for k := range d.gone {
		x := sign * int64(d.size4[t.v][k])
		d.gone[k] += x
		y.used[k] += x
		m.spare[t.to][k] -= x
	}
}

// back takes the last trip back.
func (m *merger) back() {
	t := m.trips[len(m.trips)-1]
	m.trips = m.trips[:len(m.trips)-1]
	m.count(&t, -1)
	m.domains[t.to].free[t.on].take(&m.domains[t.d].size4[t.v], 1)
	m.domains[t.d].put(t.v, int(t.from))
	m.domains[t.to].rollback(t.mark)
	known := m.misses[t.to]
	for len(known) > 0 && known[len(known)-1].trips > len(m.trips) {
		known = known[:len(known)-1]
	}
	m.misses[t.to] = known
}
