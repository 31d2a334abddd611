package plan

import (
	"cmp"
	"math"
	"slices"

	"heliostat/engine"
	"heliostat/internal/chance"
)

// A pack is the choice of which VMs of an evacuation leave in time, and where to.
// It fills the rows of the bound (what links, slots and places can take until the
// deadline) with whole VMs that find a host, carries the result out in a simulation,
// and corrects how much a link is trusted with by when its last move ended there.
type pack struct {
	x      *rescuer
	r      *rescue
	b      *builder
	traded bool
	tight  bool
	price  []float64 // by row

	items []parcel
	at    []int32 // by VM of the rescue: the option taken, None
	turn  []int32 // likewise: its place in the order, a large number before it has one
	room  []float64
	used  []float64
	work  int64 // looks at a VM that might make room
}

// A parcel is VMs that are worth something only together.
type parcel struct {
	members []int32
	rank    int32 // of the highest tier among them
	worth   int64
	in      bool
}

// packWork bounds how often one filling looks at a VM that might make room, and
// packTry is as how many such looks the search for a host counts: together some tens
// of milliseconds, for the largest sites too.
const (
	packWork = 500_000
	packTry  = 300
)

// packRounds bounds how often what links are trusted with is corrected: the first
// two or three corrections bring nearly all there is.
const packRounds = 10

// packMoves bounds the moves that are simulated for one search of orders.
const packMoves = 20_000

// pack returns the order in which the VMs leave that were chosen, what it saves by
// the simulation, and nil where it found nothing.
func (x *rescuer) pack(from *order, tight bool) *order {
	b := compile(*x.in)
	b.collectDemands()
	b.hostBars()
	for c := range b.rooms {
		b.rooms[c].fresh = false
	}
	for _, l := range b.leavers() {
		b.leaving[l.v] = true
	}
	n := len(x.in.Snapshot.VMs)
	o := &order{key: make([]float64, n), app: make([]int32, n), traded: from.traded, to: nones(n), wait: make([]bool, n)}
	for k, r := range x.all {
		p := &pack{x: x, r: r, b: b, traded: from.traded, tight: tight, price: x.price[k], at: nones(len(r.vms)), room: slices.Clone(r.market.capacity), used: make([]float64, len(r.market.capacity))}
		p.turn = make([]int32, len(r.vms))
		for i := range p.turn {
			p.turn[i] = math.MaxInt32
		}
		p.sort(from)
		p.search(o)
	}
	for _, l := range b.leavers() { // what is powered off uses the links last
		o.wait[l.v] = o.wait[l.v] || l.cold
	}
	x.looked += b.evaluated
	return o
}

// sort makes the parcels, in the order in which they are to be chosen.
func (p *pack) sort(from *order) {
	r := p.r
	index := map[int32]int{}
	for i := range r.vms {
		if r.inFlight[i] || len(r.options[i]) == 0 {
			continue
		}
		k, ok := index[r.app[i]]
		if !ok {
			k = len(p.items)
			index[r.app[i]] = k
			p.items = append(p.items, parcel{rank: r.rank[i]})
		}
		x := &p.items[k]
		x.members, x.worth, x.rank = append(x.members, int32(i)), x.worth+r.worth(int32(i)), min(x.rank, r.rank[i])
	}
	key := func(x *parcel) float64 { return from.key[r.vms[x.members[0]]] }
	slices.SortStableFunc(p.items, func(a, b parcel) int { return cmp.Or(p.above(&a, &b), cmp.Compare(key(&a), key(&b))) })
}

// above compares what may not wait for what: tiers, where they are not traded.
func (p *pack) above(a, b *parcel) int {
	if p.traded {
		return 0
	}
	return cmp.Compare(a.rank, b.rank)
}

// search fills, simulates and corrects until that brings nothing more, and then
// tries other orders, which leave room for more. It writes the best that it met into
// the order.
func (p *pack) search(o *order) {
	var best score
	idle := 0
	for n := range packRounds {
		p.fill()
		actions, vms := p.actions()
		f := newFluid(p.x.in, actions)
		ends := f.run(nil)
		s := p.x.tell(f, ends)
		if n == 0 || s.better(&best, p.traded) {
			best = s
			p.note(o, vms)
			idle = 0
		} else if idle++; idle > 2 {
			return
		}
		if s.all || p.x.near(&s) {
			return
		}
		if idle > 0 {
			ends = p.reorder(f, vms, ends)
		}
		p.correct(vms, ends)
	}
}

// note writes what is chosen, and its order, into the order of the plan.
func (p *pack) note(o *order, vms []int32) {
	for i, v := range p.r.vms {
		o.app[v], o.to[v], o.wait[v] = p.r.app[i], engine.None, !p.r.inFlight[i]
	}
	for k, i := range vms {
		v := p.r.vms[i]
		o.key[v], o.to[v], o.wait[v] = float64(k), p.b.dest[v], false
	}
}

// actions are the moves that are chosen, in the order in which they are to start:
// by tiers, where these are not traded, and then as was found to be best. What was
// not placed before comes in by its size, the longest first, so that none of them
// is left over at the end.
func (p *pack) actions() ([]engine.Action, []int32) {
	r := p.r
	var vms []int32
	for i := range r.vms {
		if p.at[i] >= 0 {
			vms = append(vms, int32(i))
		}
	}
	slices.SortStableFunc(vms, func(a, b int32) int {
		return cmp.Or(p.before(a, b), cmp.Compare(p.turn[a], p.turn[b]), cmp.Compare(p.mib(b), p.mib(a)))
	})
	out := make([]engine.Action, len(vms))
	for k, i := range vms {
		p.turn[i] = int32(k)
		out[k] = *p.b.acts[p.b.moved[r.vms[i]]-1].action
		out[k].Rank, out[k].After = int32(k), nil
	}
	return out, vms
}

// before compares the tiers of two VMs.
func (p *pack) before(a, b int32) int {
	if p.traded {
		return 0
	}
	return cmp.Compare(p.r.rank[a], p.r.rank[b])
}

// mib is what the move of VM i has to copy.
func (p *pack) mib(i int32) int64 {
	e := &p.b.acts[p.b.moved[p.r.vms[i]]-1].action.Estimate
	return e.MemoryMiB + e.DiskMiB
}

// reorder lets moves of one tier start in one another's place, where the links are
// through sooner then. It returns when each ends.
func (p *pack) reorder(f *fluid, vms []int32, ends []float64) []float64 {
	n := len(vms)
	if n < 2 {
		return ends
	}
	cost := p.busy(vms, ends)
	random := chance.From(p.x.in.Seed, uint64(n))
	at := make([]int32, n) // by position: the action
	for k := range at {
		at[k] = int32(k)
	}
	for range packMoves / n {
		a, b := random(int64(n)), random(int64(n))
		x, y := at[a], at[b]
		if x == y || p.before(vms[x], vms[y]) != 0 {
			continue
		}
		swap := func() {
			f.acts[x].Rank, f.acts[y].Rank = f.acts[y].Rank, f.acts[x].Rank
			at[a], at[b] = at[b], at[a]
		}
		swap()
		now := f.run(nil)
		if c := p.busy(vms, now); c <= cost {
			cost, ends = c, now
			continue
		}
		at[a], at[b] = y, x // undone
		f.acts[x].Rank, f.acts[y].Rank = f.acts[y].Rank, f.acts[x].Rank
	}
	for k, i := range at {
		p.turn[vms[i]] = int32(k)
	}
	return ends
}

// busy is for how long the links are busy, by what a second of them is worth.
func (p *pack) busy(vms []int32, ends []float64) float64 {
	sum := 0.0
	for l, last := range p.last(vms, ends) {
		sum += float64((p.price[2*l]*p.r.market.capacity[2*l] + 1e-3) * last)
	}
	return sum
}

// last is when the last move over each link ends.
func (p *pack) last(vms []int32, ends []float64) []float64 {
	last := make([]float64, len(p.b.s.Links))
	for k, i := range vms {
		if l := p.b.acts[p.b.moved[p.r.vms[i]]-1].link; l >= 0 {
			last[l] = max(last[l], ends[k])
		}
	}
	return last
}

// correct trusts each link with as much more, or less, as it could have carried
// between its last end and the deadline, and takes out what is too much.
func (p *pack) correct(vms []int32, ends []float64) {
	r := p.r
	last := p.last(vms, ends)
	for l := range last {
		row := 2 * l
		if last[l] == 0 || p.used[row] == 0 {
			continue
		}
		p.room[row] = max(p.used[row]+float64(r.market.capacity[row]/r.seconds*(r.seconds-last[l])), 0)
	}
	for k := range slices.Backward(p.items) {
		if x := &p.items[k]; x.in && slices.ContainsFunc(x.members, p.over) {
			p.drop(x)
		}
	}
}

// over reports whether a row that VM i takes of is used beyond its room.
func (p *pack) over(i int32) bool {
	return slices.ContainsFunc(p.r.options[i][p.at[i]].uses, func(u use) bool { return p.used[u.row] > p.room[u.row] })
}

// fill puts in what fits, parcel by parcel, also where another has to go somewhere
// else for it, or one of a lower tier has to stay.
func (p *pack) fill() {
	p.work = 0
	for k := range p.items {
		x := &p.items[k]
		if x.in {
			continue
		}
		if x.in = p.put(x); !x.in && len(x.members) == 1 && p.work < packWork {
			x.in = p.squeeze(x)
		}
	}
}

// put puts all members of a parcel in, or none.
func (p *pack) put(x *parcel) bool {
	for k, i := range x.members {
		if !p.place(i, engine.None) {
			for _, j := range x.members[:k] {
				p.takeOut(j)
			}
			return false
		}
	}
	return true
}

func (p *pack) drop(x *parcel) {
	for _, i := range x.members {
		p.takeOut(i)
	}
	x.in = false
}

// place gives VM i the place that costs least at the prices and, of those that cost
// about the same, leaves most of what it takes. not is an option that it may not take.
func (p *pack) place(i, not int32) bool {
	type choice struct {
		k    int32
		cost float64
		left float64
	}
	var buf [8]choice
	list, least := buf[:0], 0.0
	for k := range p.r.options[i] {
		o := &p.r.options[i][k]
		if int32(k) == not || !p.fits(o, nil) {
			continue
		}
		c := choice{k: int32(k), left: 1}
		for _, u := range o.uses {
			c.cost += float64(p.price[u.row] * u.amount)
			c.left = min(c.left, 1-(p.used[u.row]+u.amount)/p.room[u.row])
		}
		if len(list) == 0 || c.cost < least {
			least = c.cost
		}
		list = append(list, c)
	}
	const alike = 1.1
	slices.SortStableFunc(list, func(a, b choice) int {
		return cmp.Or(cmp.Compare(boolInt(a.cost > least*alike), boolInt(b.cost > least*alike)), cmp.Compare(b.left, a.left))
	})
	for _, c := range list {
		if p.settle(i, c.k) {
			return true
		}
	}
	return false
}

// fits reports whether the rows have room for an option, once another is out.
func (p *pack) fits(o, out *option) bool {
	for _, u := range o.uses {
		free := p.room[u.row] - p.used[u.row]
		if out != nil {
			for _, y := range out.uses {
				if y.row == u.row {
					free += y.amount
				}
			}
		}
		if u.amount > free {
			return false
		}
	}
	return true
}

// settle finds a host for VM i at option k.
func (p *pack) settle(i, k int32) bool {
	b, r := p.b, p.r
	v, o := r.vms[i], &r.options[i][k]
	w := want{v: v, demand: r.k, evac: true, lax: true, tight: p.tight, sites: b.refuges(v, &b.demands[r.k]), cluster: engine.None, host: engine.None, avoid: engine.None}
	if x := &r.havens[o.dest]; len(x.clusters) == 1 {
		w.cluster = x.clusters[0]
	} else {
		w.sites = engine.SiteMask(0).With(b.s.Hosts[x.hosts[0]].Site)
	}
	if x := b.vmReason(&w); !x.ok() {
		return false
	}
	h, x := b.find(&w)
	if !x.ok() {
		return false
	}
	b.commit(&w, h, nil, engine.Ledger{})
	p.at[i] = k
	for _, u := range o.uses {
		p.used[u.row] += u.amount
	}
	return true
}

func (p *pack) takeOut(i int32) {
	p.b.takeBack(int(p.b.moved[p.r.vms[i]] - 1))
	for _, u := range p.r.options[i][p.at[i]].uses {
		p.used[u.row] -= u.amount
	}
	p.at[i] = engine.None
}

// squeeze puts a parcel of one VM where another makes room by going somewhere else
// or, if it may wait for this one, by staying.
func (p *pack) squeeze(x *parcel) bool {
	i := x.members[0]
	for stay := range 2 {
		for k := range p.r.options[i] {
			o := &p.r.options[i][k]
			for j := range slices.Backward(p.items) {
				if p.work++; p.work > packWork {
					return false
				}
				y := &p.items[j]
				if !y.in || len(y.members) != 1 || (stay == 1 && !p.yields(y, x)) {
					continue
				}
				m := y.members[0]
				there := p.at[m]
				if out := &p.r.options[m][there]; out.dest != o.dest || !p.fits(o, out) {
					continue
				}
				if stay == 0 && !p.elsewhere(m) {
					continue
				}
				p.work += packTry
				host := p.b.dest[p.r.vms[m]]
				p.takeOut(m)
				if p.settle(i, int32(k)) {
					if stay == 1 {
						y.in = false
						return true
					}
					if p.place(m, there) {
						return true
					}
					p.takeOut(i)
				}
				p.back(m, there, host)
			}
		}
	}
	return false
}

// elsewhere reports whether the rows have room for VM i at another place than its own.
func (p *pack) elsewhere(i int32) bool {
	out := &p.r.options[i][p.at[i]]
	for k := range p.r.options[i] {
		if int32(k) != p.at[i] && p.fits(&p.r.options[i][k], out) {
			return true
		}
	}
	return false
}

// yields reports whether parcel y may stay so that x can leave.
func (p *pack) yields(y, x *parcel) bool {
	if p.traded {
		return y.worth < x.worth
	}
	return y.rank > x.rank
}

// back puts VM i where it was.
func (p *pack) back(i, k, host int32) {
	b, v := p.b, p.r.vms[i]
	w := want{v: v, demand: p.r.k, evac: true, lax: true, sites: b.refuges(v, &b.demands[p.r.k]), cluster: engine.None, host: host, avoid: engine.None}
	b.prepare(&w)
	b.commit(&w, host, nil, engine.Ledger{})
	p.at[i] = k
	for _, u := range p.r.options[i][k].uses {
		p.used[u.row] += u.amount
	}
}
