package plan

import (
	"cmp"
	"math"
	"slices"

	"heliostat/engine"
)

// Which wishes are granted where moves, room or links do not suffice for all of them
// is settled by prices on what is short, and the same prices bound what any plan could
// have granted. Where a VM goes is not for sale: sent to its second best place, it
// would move again for the same wish as soon as there is room in the best.

// A bid is a wish that competes.
type bid struct {
	wish
	mark   float64 // what it is worth for what it takes at the prices
	chosen bool    // all that it takes is left for it
}

// leastRivals is how many wishes at least compete by prices. What the others may be
// worth beyond the price of a move is added to the bound.
const leastRivals = 1024

// compete puts wishes, which come in order of density, in the order in which they are
// to be granted. Those that the prices choose go in the order of density, as links are
// used best; should one of them fail, the next by its mark has its turn.
func (b *builder) compete(wishes []wish) (*wishMarket, []bid) {
	n := int(min(int64(len(wishes)), max(leastRivals, 8*int64(b.wishes))))
	if n < len(wishes) {
		slices.SortStableFunc(wishes, func(x, y wish) int { return cmp.Compare(y.net, x.net) })
		slices.SortFunc(wishes[n:], byDensity)
	}
	bids := make([]bid, len(wishes))
	for i := range wishes {
		bids[i].wish = wishes[i]
	}
	m := b.wishMarket(bids[:n])
	m.settle(bids[:n])
	for i := range bids[n:] {
		m.least += max(0, float64(bids[n+i].net)-m.price[0])
	}
	b.granted.Bound = whole(m.least)
	m.cap(bids[:n])
	slices.SortStableFunc(bids[:n], func(x, y bid) int {
		switch {
		case x.chosen != y.chosen && x.chosen:
			return -1
		case x.chosen != y.chosen:
			return 1
		case x.chosen:
			return byDensity(x.wish, y.wish)
		}
		return cmp.Or(cmp.Compare(y.mark, x.mark), byDensity(x.wish, y.wish))
	})
	return m, bids
}

func byDensity(x, y wish) int {
	return cmp.Or(cmp.Compare(y.density, x.density), cmp.Compare(x.v, y.v))
}

// A wishMarket is what wishes compete for: moves, room at sites and in clusters that
// are asked for by name, and what links carry while a choice is expected to hold.
// Nobody's departure makes room here, as in the plan.
type wishMarket struct {
	market
	link    []int32 // by link: its row, None until it is used
	site    []int32 // by site: the row of its MHz; that of its MiB is the next
	cluster []int32 // likewise
	price   []float64
	least   float64 // no more can be granted
}

func (b *builder) wishMarket(bids []bid) *wishMarket {
	m := &wishMarket{link: nones(len(b.s.Links)), site: nones(len(b.s.Sites)), cluster: nones(len(b.s.Clusters))}
	m.work = 6_000_000
	m.capacity, m.items = append(m.capacity, float64(b.wishes)), make([]item, len(bids))
	for i := range bids {
		one := member{vm: bids[i].v}
		if x := &bids[i].wish; b.reaches(x) {
			one.options = []option{{dest: x.site, uses: m.uses(b, x)}}
		}
		m.items[i] = item{worth: float64(bids[i].net), members: []member{one}}
	}
	return m
}

// reaches reports whether anything could grant wish x, whatever room there is.
func (b *builder) reaches(x *wish) bool {
	if from := b.s.VMSite(x.v); x.site != from {
		if r := b.siteLinkReason(from, x.site, true); !r.ok() {
			return false
		}
	}
	clusters := b.siteClust[x.site]
	if x.cluster >= 0 {
		clusters = []int32{x.cluster}
	}
	w := want{v: x.v, demand: engine.None}
	return slices.ContainsFunc(clusters, func(c int32) bool {
		if c == b.s.VMCluster(x.v) {
			return b.s.Clusters[c].DRS != engine.DRSFull
		}
		if b.s.Clusters[c].VCenter == b.s.VMs[x.v].VCenter {
			return true
		}
		r := b.acrossReason(&w, c)
		return r.ok()
	})
}

// uses is what wish w takes, with a row for each thing that is taken for the first time.
func (m *wishMarket) uses(b *builder, w *wish) []use {
	out := append(make([]use, 0, 6), use{0, 1})
	take := func(row *int32, clusters []int32) {
		if *row < 0 {
			*row = int32(len(m.capacity))
			var cpu, mem int64
			for _, c := range clusters {
				x := b.roomOf(c)
				cpu, mem = cpu+max(x.cpu[0]-x.usedCPU, 0), mem+max(x.mem[0]-x.usedMem, 0)
			}
			m.capacity = append(m.capacity, float64(cpu), float64(mem))
		}
		f := b.st.Foot[w.v]
		out = append(out, use{*row, float64(f.CPUMHz)}, use{*row + 1, float64(f.MiB)})
	}
	from, own := b.s.VMSite(w.v), b.s.VMCluster(w.v)
	if clusters := b.siteClust[w.site]; w.cluster != own && !slices.Contains(clusters, own) {
		take(&m.site[w.site], clusters)
	}
	if w.cluster >= 0 && w.cluster != own {
		take(&m.cluster[w.cluster], []int32{w.cluster})
	}
	if k := b.linkIndex(from, w.site); k >= 0 && w.site != from {
		if m.link[k] < 0 {
			m.link[k] = int32(len(m.capacity))
			m.capacity = append(m.capacity, float64(max(b.linkHolds(k)-b.queue[k], 0)))
		}
		out = append(out, use{m.link[k], float64(w.mib)})
	}
	return out
}

// linkHolds is how many MiB link k carries while a choice is expected to hold. Who
// comes later than that would come for nothing.
func (b *builder) linkHolds(k int32) int64 {
	const bytesPerMbit, bytesPerMiB = 1e6 / 8, 1 << 20
	return int64(max(b.s.Links[k].Mbps, 0)) * bytesPerMbit * b.c.HoldsS / bytesPerMiB
}

// settle finds the prices, and chooses at these.
func (m *wishMarket) settle(bids []bid) {
	m.price = make([]float64, len(m.capacity))
	const enough = 1.0005 // nearer to the bound, prices hardly change any more
	m.least, m.price = m.bound(m.choose(bids) * enough)
	m.choose(bids)
}

// choose chooses bids whose needs are left, those first that are worth most for what
// they take at the prices. It returns what they are worth in all.
func (m *wishMarket) choose(bids []bid) float64 {
	order := make([]int, len(bids))
	for i := range bids {
		order[i], bids[i].mark, bids[i].chosen = i, 0, false
		if o, cost := m.items[i].members[0].cheapest(m.price); o >= 0 {
			bids[i].mark = m.items[i].worth / max(cost, 1e-9)
		}
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(bids[y].mark, bids[x].mark) })
	left, value := slices.Clone(m.capacity), 0.0
	for _, i := range order {
		for _, o := range m.items[i].members[0].options {
			if slices.ContainsFunc(o.uses, func(u use) bool { return u.amount > left[u.row] }) {
				continue
			}
			for _, u := range o.uses {
				left[u.row] -= u.amount
			}
			bids[i].chosen, value = true, value+m.items[i].worth
		}
	}
	return value
}

// cap lowers each price to what the best of those not chosen would pay: where nothing
// is left to be had, any price above that bounds as well, and says less.
func (m *wishMarket) cap(bids []bid) {
	most := make([]float64, len(m.price))
	for i := range bids {
		for _, o := range m.items[i].members[0].options {
			for _, u := range o.uses {
				if !bids[i].chosen {
					most[u.row] = max(most[u.row], m.items[i].worth/max(u.amount, 1))
				}
			}
		}
	}
	for r := range m.price {
		m.price[r] = min(m.price[r], most[r])
	}
}

// scarce is the dearest of what wish x takes at a place that has none left.
func (m *wishMarket) scarce(b *builder, x *wish) engine.Scarcity {
	best, out := 0.0, engine.Scarcity{}
	offer := func(row int32, unit float64, amount int64, what string) {
		if row < 0 || m.price[row]*float64(amount) <= best {
			return
		}
		best = m.price[row] * float64(amount)
		out = engine.Scarcity{What: what, MicroEURPerH: int64(math.Round(m.price[row] * unit * 3600 / float64(b.c.HoldsS)))}
	}
	f, site := b.st.Foot[x.v], "site "+string(b.s.Sites[x.site].ID)
	offer(m.site[x.site]+0, 1000, int64(f.CPUMHz), "a GHz at "+site)
	if m.site[x.site] >= 0 {
		offer(m.site[x.site]+1, 1024, int64(f.MiB), "a GiB at "+site)
	}
	if x.cluster >= 0 && m.cluster[x.cluster] >= 0 {
		offer(m.cluster[x.cluster], 1000, int64(f.CPUMHz), "a GHz in cluster "+b.s.Clusters[x.cluster].Name)
		offer(m.cluster[x.cluster]+1, 1024, int64(f.MiB), "a GiB in cluster "+b.s.Clusters[x.cluster].Name)
	}
	if k := b.linkIndex(b.s.VMSite(x.v), x.site); k >= 0 {
		l := &b.s.Links[k]
		offer(m.link[k], 1024, x.mib, "a GiB on the link "+string(b.s.Sites[l.A].ID)+"-"+string(b.s.Sites[l.B].ID))
	}
	return out
}

// aMove is what one move more would save.
func (m *wishMarket) aMove(holdsS int64) engine.Scarcity {
	return engine.Scarcity{What: "a move", MicroEURPerH: int64(math.Round(m.price[0] * 3600 / float64(holdsS)))}
}
