package plan

import (
	"cmp"
	"slices"
)

// A closing is a host that may be closed, and what its cluster lacks without it.
type closing struct {
	d, h  int
	lacks int64 // permille of the host
	idle  int64
	cost  int64 // of the moves
}

// closings lists the hosts that may be closed, those first that take least from
// others for what they bring. For each size of host in a cluster these are the few
// that are the cheapest to empty.
func (m *merger) closings(tried [][]int8) []closing {
	const few, tries = 3, 2
	var list []closing
	for i, d := range m.domains {
		first := len(list)
		for h := d.may.next(0); h >= 0; h = d.may.next(h + 1) {
			if !d.on.has(h) || m.guests[i][h] > 0 || tried[i][h] >= tries || d.idle[h] <= 0 {
				continue
			}
			lack, ok := m.lack(i, h)
			if !ok {
				continue
			}
			x := closing{d: i, h: h, idle: d.idle[h]}
			for k := range lack {
				x.lacks = max(x.lacks, lack[k]*100_000/max(d.size[k][h]*d.pct[k], 1))
			}
			for _, v := range d.list[h] {
				if int(d.home[v]) == h {
					x.cost += d.cost[v]
				}
			}
			list = append(list, x)
		}
		mine := list[first:]
		slices.SortFunc(mine, func(x, y closing) int { return cmp.Or(x.compare(y), cmp.Compare(x.h, y.h)) })
		list = list[:first+min(len(mine), few)]
	}
	slices.SortStableFunc(list, closing.compare)
	return list
}

func (x closing) compare(y closing) int {
	return cmp.Or(product(x.lacks, y.idle).compare(product(y.lacks, x.idle)), cmp.Compare(x.cost, y.cost))
}

// lack is how many MHz and MiB domain i has too few for its reserve without host
// h, and whether the site has as much to spare.
func (m *merger) lack(i, h int) ([2]int64, bool) {
	d := m.domains[i]
	on := d.on
	on.drop(h)
	most, working := d.most(on)
	var lack, spare [2]int64
	for k := range lack {
		lack[k] = max(d.used[k]-d.gone[k]-most[k], 0)
		for e := range m.spare {
			if e != i {
				spare[k] += max(m.spare[e][k], 0)
			}
		}
	}
	return lack, working && lack[0] <= spare[0] && lack[1] <= spare[1]
}

// search closes hosts until none can be, or the evaluations are used up.
func (m *merger) search(evaluations int64) {
	tried := make([][]int8, len(m.domains))
	for i, d := range m.domains {
		tried[i] = make([]int8, len(d.hosts))
	}
	changed := make([]bool, len(m.domains))
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
			trips := len(m.trips)
			if !m.close(x.d, x.h) {
				tried[x.d][x.h]++
				continue
			}
			more, changed[x.d] = true, true
			for _, t := range m.trips[trips:] {
				changed[t.to] = true
			}
		}
	}
}

// close empties host h of domain i and switches it off, if that saves anything.
// Otherwise nothing has changed.
func (m *merger) close(i, h int) bool {
	d := m.domains[i]
	lack, ok := m.lack(i, h)
	if !ok {
		return false
	}
	on, value, mark, trips, evals := d.on, d.value, len(d.undone), len(m.trips), d.evals
	d.on.drop(h)
	d.value += d.idle[h]
	m.closed = append(m.closed, d.hosts[h])
	if lack != [2]int64{} {
		for _, v := range m.relief(i, h, lack) {
			if lack != [2]int64{} && m.send(i, v) {
				for k := range lack {
					lack[k] = max(lack[k]-int64(d.size4[v][k]), 0)
				}
			}
		}
	}
	ok = lack == [2]int64{}
	stay := slices.Clone(d.list[h])
	slices.SortFunc(stay, func(x, y int32) int { return cmp.Or(cmp.Compare(d.weight(y), d.weight(x)), cmp.Compare(x, y)) })
	for _, v := range stay {
		if ok = ok && (d.insert(v, hostSet{}, 1) || m.send(i, v)); !ok {
			break
		}
	}
	m.evals += d.evals - evals
	if ok && d.value > value {
		most, _ := d.most(d.on)
		m.spare[i] = [2]int64{most[0] + d.gone[0] - d.used[0], most[1] + d.gone[1] - d.used[1]}
		return true
	}
	for len(m.trips) > trips {
		m.back()
	}
	d.rollback(mark)
	d.on, d.value = on, value
	m.closed = m.closed[:len(m.closed)-1]
	return false
}

// A giver is a VM that may leave for what its cluster lacks.
type giver struct {
	v     int32
	gives int64 // of what is lacking, in millionths, each resource by itself
	skew  int64 // millionths of a host that it gives of what is lacking, less what it takes along of the other
	extra int64 // what its leaving costs beyond a move inside the cluster
}

// relief chooses VMs of host h of domain i that together give what is lacking: what
// costs least for what it gives, and of equals what has most of what is lacking for
// what it has of the rest; without those that the others make needless. After them
// come the others, in the same order.
func (m *merger) relief(i, h int, lack [2]int64) []int32 {
	d := m.domains[i]
	var list []giver
	for _, v := range d.list[h] {
		if d.on.has(int(d.home[v])) || !m.ways(i, v) {
			continue // only a host that goes off waits for what leaves it
		}
		p := giver{v: v, extra: max(m.leastCost(i, v)-d.cost[v], 0)}
		for k := range lack {
			share := int64(d.size4[v][k]) * 1_000_000 / max(d.size[k][h], 1)
			if lack[k] > 0 {
				p.gives += min(int64(d.size4[v][k])*1_000_000/lack[k], 1_000_000)
				p.skew += share
			} else {
				p.skew -= share
			}
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y giver) int {
		return cmp.Or(product(x.extra, y.gives).compare(product(y.extra, x.gives)), cmp.Compare(y.skew, x.skew), cmp.Compare(x.v, y.v))
	})
	n := 0
	left := lack
	take := func(v int32, sign int64) {
		for k := range left {
			left[k] -= sign * int64(d.size4[v][k])
		}
	}
	for ; n < len(list) && (left[0] > 0 || left[1] > 0); n++ {
		take(list[n].v, 1)
	}
	out, rest := make([]int32, 0, len(list)), make([]int32, 0, len(list))
	for k := range list {
		v := list[k].v
		if k < n {
			take(v, -1)
			if left[0] > 0 || left[1] > 0 {
				take(v, 1)
				out = append(out, v)
				continue
			}
		}
		rest = append(rest, v)
	}
	return append(out, rest...)
}

// A stop is a cluster that has room for a VM.
type stop struct {
	d       int
	takes   int64 // millionths of a host of it, of what it has least to spare
	left    int64 // likewise what it has to spare
	storage bool
}

// send lets VM v of domain i leave for another cluster: one that gives little of
// what it has least of and, of those, one that has the least. Only a VM whose host
// goes off leaves: the host waits for it.
func (m *merger) send(i int, v int32) bool {
	d := m.domains[i]
	if d.on.has(int(d.home[v])) || !m.ways(i, v) {
		return false
	}
	x := &d.size4[v]
	var stops []stop
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
	m.near.each(func(e int) bool { offer(e, false); return true })
	m.far.each(func(e int) bool { offer(e, true); return true })
	rank := func(s stop) int {
		switch {
		case s.storage:
			return 2
		case s.takes > least+least/4:
			return 1
		}
		return 0
	}
	slices.SortFunc(stops, func(a, b stop) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.left, b.left), cmp.Compare(a.d, b.d))
	})
	for _, s := range stops {
		if h := m.fit(d, v, s.d, m.hosts(i, v, s.d, s.storage)); h >= 0 {
			m.leave(i, v, s.d, h, s.storage)
			return true
		}
	}
	return false
}

// fit is the host of domain e where VM v of domain d costs least, of equals one
// that will not sleep, then the fullest; -1 when it fits nowhere.
func (m *merger) fit(d *domain, v int32, e int, to hostSet) int {
	y, x := m.domains[e], &d.size4[v]
	best, cost, left := -1, int64(0), int64(0)
	for h := to.next(0); h >= 0; h = to.next(h + 1) {
		m.evals++
		if !y.free[h].fits(x) {
			continue
		}
		c, l := d.mhz[v]*y.slope[h], y.room(h)
		if best < 0 || c < cost || (c == cost && l < left) {
			best, cost, left = h, c, l
		}
	}
	return best
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

// cost is what the move of VM v of domain d to host h of another cluster costs.
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
	return b.moveCost(g, from, h, &e, rate) * 1000
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
}
