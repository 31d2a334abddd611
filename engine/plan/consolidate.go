package plan

import (
	"cmp"
	"math"
	"slices"

	"heliostat/engine"
	"heliostat/internal/parallel"
)

// A sleeper is a host that policies permit to be put in standby.
type sleeper struct {
	h     int32
	why   []engine.Why
	vms   int32
	mem   int64
	idle  int64
	stays bool // it is being evacuated, and VMs stay behind in its cluster

	d  *domain // of its cluster; nil where nothing was searched
	at int     // which host it is there

	// What the search came to.
	goes    bool            // it should go to sleep
	gain    int64           // what that saves for each move
	gives   []int32         // VMs of hosts that stay on which leave the cluster before it goes
	closing int             // for the how manieth host that only the merging closes VMs leave it for another cluster; 0: none does
	kept    engine.HoldCode // why it stays on, and in words
	text    string
}

// A block is what is searched together: the clusters of one site, or a cluster by
// itself.
type block struct {
	lists   [][]sleeper // by cluster
	domains []*domain   // likewise; nil where there is nothing to search, or was no budget left
	m       *merger     // nil where clusters are not merged
	affords bool        // the moves that are left could empty one of the hosts
}

// consolidateStage empties hosts that policies name and puts them in standby. In
// each cluster a search over arrays proposes which hosts and where their VMs go
// (domain.go, evict.go); then one over the clusters of each site proposes further
// hosts, whose VMs go to other clusters (merge.go). Then the hosts are emptied one
// by one under all rules, what brings most for the moves first. The hosts that were
// not proposed are tried too: what keeps them on is said.
func (b *builder) consolidateStage() {
	if !slices.Contains(b.sleepy, true) {
		return
	}
	b.astir = slices.Contains(b.openTo, true) || slices.ContainsFunc(b.waking, func(k int32) bool { return k > 0 })
	groups := b.sleepers()
	b.readyAims()
	evaluations := max(b.budget-b.evaluated, 0) / int64(max(len(groups), 1))
	blocks := b.blocks(groups)
	if most := int32(len(b.s.VMs)); b.wishes >= max(most, 1) && min(b.left.PowerHour, b.left.PowerDay) >= int32(len(b.s.Hosts)) {
		b.sleepBeside(blocks, evaluations) // no budget that one uses is missing to another
		return
	}
	for n := atOnce; len(blocks) > 0; n = min(2*n, mostAtOnce) {
		some, clusters := 0, 0
		for some < len(blocks) && (some == 0 || clusters+len(blocks[some].lists) <= n) {
			clusters, some = clusters+len(blocks[some].lists), some+1
		}
		part, first := make([]*block, some), n
		for i := range part {
			part[i] = &blocks[i]
		}
		if some == 1 {
			first = atOnce
		}
		b.searchClusters(part, first, evaluations)
		parallel.Each(some, b.apart(func(n *builder, k int) { n.merge(part[k], evaluations) }))
		for _, x := range part {
			b.putToSleep(x)
		}
		blocks = blocks[some:]
	}
}

// readyAims makes room for where searches send VMs, and for what leaves before others come.
func (b *builder) readyAims() {
	b.aimed = true
	if b.aim == nil {
		b.aim, b.gone = nones(len(b.s.VMs)), make([]load, len(b.s.Hosts))
		b.goneBy, b.ejected = make([][]int32, len(b.s.Hosts)), make([][]int32, len(b.s.Hosts))
	}
}

// blocks puts clusters together that may exchange VMs, in the order of the first of each.
func (b *builder) blocks(groups [][]sleeper) []block {
	var out []block
	at := map[int32]int{} // by site
	for _, list := range groups {
		site := engine.None
		if b.c.Consolidate != engine.ReachCluster {
			site = b.siteOf[b.s.Hosts[list[0].h].Cluster]
		}
		k, ok := at[site]
		if !ok || site < 0 {
			k, out = len(out), append(out, block{})
			at[site] = k
		}
		out[k].lists = append(out[k].lists, list)
	}
	return out
}

// atOnce is how many clusters are searched before what they came to is planned,
// twice as many each time up to mostAtOnce: enough for many processors, and few
// enough that little is in vain where a budget of moves is used up by the first.
const atOnce, mostAtOnce = 1, 256

// searchClusters searches the clusters of some blocks, n at a time, those first of which
// the moves that are left could empty a host. When they by themselves use up the moves
// that are allowed, there is nothing left for the rest of a block.
func (b *builder) searchClusters(some []*block, n int, evaluations int64) {
	type place struct{ block, list int }
	var all, rest []place
	for i := range some {
		x := some[i]
		x.domains = make([]*domain, len(x.lists))
		for k, list := range x.lists {
			if b.affords(list) {
				x.affords, all = true, append(all, place{i, k})
			} else {
				rest = append(rest, place{i, k})
			}
		}
	}
	all = append(all, rest...)
	for lo := 0; lo < len(all) && (lo == 0 || !b.used(some[0])); lo, n = lo+n, min(2*n, mostAtOnce) {
		part := all[lo:min(lo+n, len(all))]
		parallel.Each(len(part), b.apart(func(n *builder, k int) {
			if x := some[part[k].block]; x.affords {
				x.domains[part[k].list] = n.searched(x.lists[part[k].list], evaluations)
			}
		}))
	}
}

// searched is what the search of one cluster comes to, nil where there is none.
func (b *builder) searched(list []sleeper, evaluations int64) *domain {
	d := b.domainOf(b.s.Hosts[list[0].h].Cluster, list)
	if d == nil {
		return nil
	}
	d.search(evaluations)
	d.b = nil
	return d
}

// least is how many moves it takes to empty any host of the list, of those with so many
// VMs or more.
func (b *builder) least(list []sleeper, vms int32) int32 {
	least := int32(math.MaxInt32)
	for i := range list {
		if x := &list[i]; x.vms >= vms {
			least = min(least, max(x.vms-b.sentOff[x.h], 0))
		}
	}
	return least
}

// affords reports whether the moves that are left could empty any of the hosts: which
// of those that need none go to sleep takes no search.
func (b *builder) affords(list []sleeper) bool { return b.wishes > 0 && b.least(list, 1) <= b.wishes }

// used reports whether what the clusters of a block do by themselves uses up the
// moves that are allowed.
func (b *builder) used(x *block) bool {
	moves := int32(0)
	for _, d := range x.domains {
		if d == nil {
			continue
		}
		for v, h := range d.home {
			if d.at[v] != h {
				moves++
			}
		}
	}
	return moves >= b.wishes
}

// merge searches a block for hosts whose VMs go to other clusters, with the
// evaluations that its clusters have left.
func (b *builder) merge(x *block, evaluations int64) {
	if b.c.Consolidate == engine.ReachCluster || b.used(x) {
		return
	}
	domains := slices.DeleteFunc(slices.Clone(x.domains), func(d *domain) bool { return d == nil })
	m := b.merging(domains)
	if m == nil {
		return
	}
	left := evaluations * int64(len(domains))
	for _, d := range domains {
		left -= d.evals
	}
	m.judge()
	m.search(left)
	m.b, x.m = nil, m
}

// putToSleep plans what the search of a block proposes, and what else can be.
func (b *builder) putToSleep(x *block) {
	if x.m != nil {
		b.sleepMerged(x)
	} else {
		for k, list := range x.lists {
			for _, s := range b.chooseSleepers(list, x.domains[k]) {
				b.try(s)
			}
		}
	}
	for _, list := range x.lists {
		for i := range list {
			if s := &list[i]; s.kept != "" {
				b.keepHost(s.h, s.kept, s.text, "standby", engine.Subject{}, s.why)
			}
		}
	}
	for _, d := range x.domains {
		if d != nil {
			b.evaluated += d.evals
		}
	}
	if x.m != nil {
		b.evaluated += x.m.evals
	}
	b.judgePower(x)
}

// sleepMerged tries the hosts of a block that VMs leave for other clusters, too. Those
// whose VMs stay in their cluster come first, cluster by cluster; then those that some
// leave, in the order in which they were found to fit; then, once more, what lacked room
// before; and at the end what was not proposed.
func (b *builder) sleepMerged(x *block) {
	var order []*sleeper
	for k, list := range x.lists {
		order = append(order, b.chooseSleepers(list, x.domains[k])...)
	}
	b.followTrips(x.m, order)
	try := func(which func(s *sleeper) bool) {
		for _, s := range order {
			if which(s) {
				b.try(s)
			}
		}
	}
	try(func(s *sleeper) bool { return s.goes && s.closing == 0 })
	slices.SortStableFunc(order, func(s, t *sleeper) int { return cmp.Compare(s.closing, t.closing) })
	try(func(s *sleeper) bool { return s.closing > 0 })
	try(func(s *sleeper) bool {
		return s.goes && (s.kept == engine.HoldReserve || s.kept == engine.HoldCapacity)
	})
	try(func(s *sleeper) bool { return !s.goes })
}

// sleepers lists the hosts that policies permit to sleep, by cluster.
func (b *builder) sleepers() [][]sleeper {
	b.readTraits()
	at := make([]int32, len(b.s.Hosts)) // index + 1 of what is first said of each
	for i, d := range slices.Backward(b.d.Drains) {
		at[d.Host] = int32(i) + 1
	}
	var out [][]sleeper
	b.beds = slices.Grow(b.beds[:0], len(b.d.Drains))
	all := b.beds
	by, why := engine.By{Voice: engine.None}, []engine.Why(nil) // mostly one policy says one thing of all
	for c := range int32(len(b.s.Clusters)) {
		list, stays := all[len(all):], false
		for _, h := range b.s.HostsOf(c) {
			if !b.sleepy[h] || b.st.Power[h] != engine.HostOn || b.st.Maint[h] {
				continue
			}
			if len(list) == 0 {
				stays = b.staysBehind(c)
			}
			x := b.sleeper(h)
			x.stays = stays
			for _, d := range b.d.Drains[at[h]-1:] {
				if d.Host != h {
					break
				}
				switch {
				case d.Then != engine.ThenStandby:
				case x.why != nil:
					x.why = append(slices.Clip(x.why), b.d.Why(d.By))
				case d.By == by:
					x.why = why
				default:
					by, why = d.By, []engine.Why{b.d.Why(d.By)}
					x.why = why
				}
			}
			list = append(list, x)
		}
		if len(list) > 0 {
			all, out = all[:len(all)+len(list)], append(out, slices.Clip(list))
		}
	}
	b.beds = all
	return out
}

// chooseSleepers tells which hosts of a cluster should all go in the end, and in
// which order all are tried: none of them may take the VMs of another, or these
// would move twice.
func (b *builder) chooseSleepers(list []sleeper, d *domain) []*sleeper {
	if b.least(list, 0) <= b.wishes {
		// The cheapest to empty first; where none can be, all are only told why.
		slices.SortStableFunc(list, func(x, y sleeper) int {
			return cmp.Or(cmp.Compare(x.mem, y.mem), cmp.Compare(x.vms, y.vms), cmp.Compare(y.idle, x.idle))
		})
	}
	order := make([]*sleeper, len(list))
	for i := range list {
		order[i] = &list[i]
	}
	if d == nil {
		if b.affords(list) { // or nothing looks for a place
			b.choose(list)
		}
		return order
	}
	b.follow(list, d)
	slices.SortStableFunc(order, func(s, t *sleeper) int { return cmp.Compare(t.gain, s.gain) })
	return order
}

// choose takes as many as the cluster's reserve allows.
func (b *builder) choose(list []sleeper) {
	c := b.s.Hosts[list[0].h].Cluster
	for i := range list {
		h := list[i].h
		if r := b.sleepReason(&list[i], false); !r.ok() || b.doomed[h] {
			continue
		}
		b.drained[h], b.rooms[c].fresh, b.rooms[c].others.known = true, false, false
		if r := b.roomReason(c, false); !r.ok() {
			b.drained[h] = false
		} else {
			b.going[h] = true
		}
	}
	for i := range list {
		b.drained[list[i].h] = false
	}
	b.rooms[c].fresh, b.rooms[c].others.known = false, false
}

// follow takes what the search of a domain proposes, and notes where it sends the
// VMs and what each host that goes off saves for each move.
func (b *builder) follow(list []sleeper, d *domain) {
	var gain [mostHosts]int64
	for i, h := range d.hosts {
		if !d.on.has(i) {
			b.going[h] = true
			gain[i] = d.idle[i]
		}
	}
	for i, v := range d.vms {
		if d.at[i] == d.home[i] || d.at[i] == abroad {
			continue
		}
		b.aim[v], b.stirred = d.hosts[d.at[i]], append(b.stirred, v)
		if from := d.home[i]; !d.on.has(int(from)) {
			gain[from] += d.gain(int32(i), int(from), int(d.at[i]))
		} else {
			b.ejected[d.hosts[from]] = append(b.ejected[d.hosts[from]], v)
		}
	}
	for i := range list {
		s := &list[i]
		k, ok := slices.BinarySearch(d.hosts, s.h)
		if !ok {
			continue
		}
		if s.d, s.at = d, k; !d.on.has(k) {
			s.goes, s.gain = true, max(gain[k]/int64(s.vms+1), 1)
		}
	}
}

// followTrips notes where VMs go that leave their cluster, and for which hosts.
func (b *builder) followTrips(m *merger, list []*sleeper) {
	last, gives := make(map[int32]int, len(m.closed)), map[int32][]int32{}
	for i, h := range m.closed {
		last[h] = i + 1
	}
	for i := range m.trips {
		t := &m.trips[i]
		d := m.domains[t.d]
		b.aim[d.vms[t.v]], b.stirred = m.domains[t.to].hosts[t.on], append(b.stirred, d.vms[t.v])
		from := d.hosts[d.home[t.v]]
		if b.going[from] {
			last[from] = max(last[from], t.closing)
			continue
		}
		b.ejected[from] = append(b.ejected[from], d.vms[t.v])
		h := m.closed[t.closing-1]
		gives[h] = append(gives[h], d.vms[t.v])
	}
	for _, s := range list {
		s.closing, s.gives = last[s.h], gives[s.h]
	}
}

func (b *builder) sleeper(h int32) sleeper {
	return sleeper{h: h, idle: int64(max(b.s.Hosts[h].IdleW, 0)), vms: b.ground.On[h], mem: int64(b.lodgers[h].mib)}
}
