package plan

import (
	"fmt"
	"math/bits"
	"slices"

	"heliostat/engine"
)

// A merger is the clusters of one site, each searched by itself, whose VMs may go
// to one another so that further hosts can sleep.
//
// A cluster keeps a host on for what does not fill one, and one whose CPU is taken
// keeps memory that another lacks. So hosts are closed one by one, where the
// cluster lacks least without them for what the host costs: as much as it lacks goes
// to clusters that have it to spare, the rest stays in the cluster. Each cluster
// keeps its own reserve.
type merger struct {
	b       *builder
	domains []*domain
	spare   [][2]int64 // by domain: MHz and MiB that it could take beside its reserve
	guests  [][]int32  // by domain and host: VMs that come there from other clusters
	trips   []trip     // in the order in which they were decided
	closed  []int32    // hosts, likewise
	evals   int64
	bound   int64      // no plan for these clusters saves more
	price   [][2]int64 // by domain: of a MHz and a MiB of room in its group where the bound is met, nano-euros

	cpus   map[string]*spots // by CPU features: hosts that take VMs
	nets   map[int32]*spots  // by segment; networks of none after all segments
	stores map[int32]*spots
	at     map[int32]clusterSet // by vCenter

	misses  [][]miss // by domain: what found no room
	kins    [][]*way // by domain and kin, once asked for
	nowhere way
	links   []clusterSet // by domain: where any VM of it may go
	stops   []stop       // scratch, and so are these
	vms     []int32
	givers  []giver
}

// A trip is a VM that leaves its cluster.
type trip struct {
	d, v    int32 // domain and VM in it
	from    int16 // host where the search of its own cluster had put it
	to, on  int32 // domain and host in it
	saves   int64
	mark    int // what its destination had undone before room was made for it
	closing int // for the how manieth host that is closed
}

// A miss is a VM for which no host of a domain had room, nor could be made to, when
// so many trips were decided: it may be on these hosts.
type miss struct {
	size  load
	to    hostSet
	trips int
}

// A clusterSet is domains of one merger.
type clusterSet []uint64

func (s clusterSet) add(i int)  { s[i>>6] |= 1 << (i & 63) }
func (s clusterSet) drop(i int) { s[i>>6] &^= 1 << (i & 63) }
func (s clusterSet) and(x clusterSet) {
	for w := range s {
		s[w] &= x[w]
	}
}

func (s clusterSet) or(x clusterSet) {
	for w := range s {
		s[w] |= x[w]
	}
}

func (s clusterSet) meets(x clusterSet) bool {
	for w := range s {
		if s[w]&x[w] != 0 {
			return true
		}
	}
	return false
}

func (s clusterSet) empty() bool {
	return !slices.ContainsFunc(s, func(w uint64) bool { return w != 0 })
}

// each calls f for the members in order, until it returns false.
func (s clusterSet) each(f func(i int) bool) {
	for w, x := range s {
		for ; x != 0; x &= x - 1 {
			if !f(w<<6 + bits.TrailingZeros64(x)) {
				return
			}
		}
	}
}

// A spots is the hosts that have one thing, by domain.
type spots struct {
	in clusterSet
	at []hostSet
}

// merging compiles what the clusters of a site have in common. It is nil where
// there is nothing to merge.
func (b *builder) merging(domains []*domain) *merger {
	if len(domains) < 2 {
		return nil
	}
	m := &merger{b: b, domains: domains, cpus: map[string]*spots{}, nets: map[int32]*spots{}, stores: map[int32]*spots{}, at: map[int32]clusterSet{}, kins: make([][]*way, len(domains)), misses: make([][]miss, len(domains)), price: make([][2]int64, len(domains))}
	m.nowhere = way{m.set(), m.set()}
	for i, d := range domains {
		vc := b.s.Clusters[d.c].VCenter
		if m.at[vc] == nil {
			m.at[vc] = m.set()
		}
		m.at[vc].add(i)
		most, _ := d.most(d.on)
		m.spare = append(m.spare, [2]int64{most[0] - d.used[0], most[1] - d.used[1]})
		m.guests = append(m.guests, make([]int32, len(d.hosts)))
		m.read(i)
	}
	for i := range domains {
		m.widen(i)
	}
	return m
}

// widen lets hosts of domain i go off from which a VM could go to no other host of
// the cluster, if it can go to another cluster.
func (m *merger) widen(i int) {
	d := m.domains[i]
	for v, h := range d.home {
		own := hostSet{}
		if own.add(int(h)); d.beyond.has(int(h)) && d.masks[v] == own && m.ways(i, int32(v)).none() {
			d.beyond.drop(int(h))
		}
	}
	d.may[0], d.may[1] = d.may[0]|d.beyond[0], d.may[1]|d.beyond[1]
}

func (m *merger) set() clusterSet { return make(clusterSet, (len(m.domains)+63)/64) }

// read notes what the hosts of domain i have. Those of a cluster mostly have the
// same, so that a list is read once for all hosts that share it.
func (m *merger) read(i int) {
	b, d := m.b, m.domains[i]
	for j, h := range d.hosts {
		x := &b.s.Hosts[h]
		cpu := b.cpus(h)
		if unseen := b.unseenReason(h); cpu != "" && x.VMotion && x.NICMbps > 0 && b.bars[0][h] == barNone && !b.openTo[h] && unseen.ok() {
			note(m, m.cpus, cpu, i, hostSet{}, j)
		}
	}
	lists := func(list func(h int32) []int32, add func(id int32, at hostSet, j int)) {
		var same hostSet
		first := list(d.hosts[0])
		for j, h := range d.hosts {
			own := list(h)
			if slices.Equal(own, first) {
				same.add(j)
				continue
			}
			for _, id := range own {
				add(id, hostSet{}, j)
			}
		}
		for _, id := range first {
			add(id, same, 0)
		}
	}
	lists(func(h int32) []int32 { return b.s.Hosts[h].Networks }, func(n int32, at hostSet, j int) {
		if n >= 0 {
			note(m, m.nets, m.segment(n), i, at, j)
		}
	})
	lists(func(h int32) []int32 { return b.s.Hosts[h].Datastores }, func(ds int32, at hostSet, j int) {
		if b.keeps(ds, d.hosts[j]) {
			note(m, m.stores, ds, i, at, j)
		}
	})
}

// segment is what network n shares with those that a VM on it can go to.
func (m *merger) segment(n int32) int32 {
	if seg := m.b.netSeg[n]; seg >= 0 {
		return seg
	}
	return int32(len(m.b.s.Networks)) + n
}

// note adds hosts of domain i, host j among them, to those that have a thing.
func note[K comparable](m *merger, to map[K]*spots, k K, i int, at hostSet, j int) {
	x := to[k]
	if x == nil {
		x = &spots{in: m.set(), at: make([]hostSet, len(m.domains))}
		to[k] = x
	}
	at.add(j)
	x.in.add(i)
	x.at[i][0], x.at[i][1] = x.at[i][0]|at[0], x.at[i][1]|at[1]
}

// A kin is VMs that may go to the same places: by what their hosts' CPUs are, their
// network, and the datastore of all that is theirs.
type kin struct {
	cpu     int32 // the first host of the domain with these CPUs
	net, ds int32
	across  bool // may leave the vCenter
	copied  bool // may be copied to another datastore
}

// noKin is a VM that is looked at by itself.
const noKin = -1

// kinOf adds a VM on host i to the kins of its domain.
func (d *domain) kinOf(i int, l *look, kins map[kin]int32) int32 {
	b := d.b
	if !l.simple || l.ruled {
		return noKin
	}
	x := kin{cpu: int32(d.cpu[i]), net: l.net, ds: l.home, across: b.crosses(l.traits), copied: l.stops&b.stopMask[engine.ScopeStorage] == 0}
	k, ok := kins[x]
	if !ok {
		k = int32(len(d.kins))
		kins[x], d.kins = k, append(d.kins, x)
	}
	return k
}

// crosses reports whether a VM may leave its vCenter so that a host can sleep.
func (b *builder) crosses(t traits) bool {
	return b.c.Consolidate == engine.ReachSite && t.have(trCrosses)
}

// A way is where VMs may go, as far as that is not a matter of room, of policies, or
// of other VMs: other clusters to which they need not bring their disks, and others.
type way struct{ near, far clusterSet }

// each calls f for the clusters.
func (w *way) each(f func(e int, storage bool)) {
	w.near.each(func(e int) bool { f(e, false); return true })
	w.far.each(func(e int) bool { f(e, true); return true })
}

func (w *way) none() bool { return w.near.empty() && w.far.empty() }

// ways finds the clusters that VM v of domain i may go to.
func (m *merger) ways(i int, v int32) *way {
	d := m.domains[i]
	k := d.kin[v]
	if k == noKin {
		vm := &m.b.s.VMs[d.vms[v]]
		if m.tied(d.vms[v]) {
			return &m.nowhere
		}
		nets, stores := make([]int32, 0, len(vm.NICs)), append(make([]int32, 0, 1+len(vm.Disks)), vm.Home)
		for j := range vm.NICs {
			nets = append(nets, vm.NICs[j].Network)
		}
		for j := range vm.Disks {
			stores = append(stores, vm.Disks[j].Datastore)
		}
		return m.way(i, int(d.home[v]), nets, stores, m.b.crosses(m.b.known(d.vms[v])), vm.Obstacles&m.b.stopMask[engine.ScopeStorage] == 0)
	}
	if m.kins[i] == nil {
		m.kins[i] = make([]*way, len(d.kins))
	}
	if m.kins[i][k] == nil {
		x := &d.kins[k]
		var nets []int32
		if x.net >= 0 {
			nets = []int32{x.net}
		}
		m.kins[i][k] = m.way(i, int(x.cpu), nets, []int32{x.ds}, x.across, x.copied)
	}
	return m.kins[i][k]
}

// way finds the clusters that VMs on host h of domain i may go to that are on these
// networks and datastores.
func (m *merger) way(i, h int, nets, stores []int32, across, copied bool) *way {
	b, d := m.b, m.domains[i]
	cpu := m.cpus[b.cpus(d.hosts[h])]
	if cpu == nil {
		return &m.nowhere
	}
	w := way{m.set(), m.set()}
	copy(w.far, cpu.in)
	w.far.drop(i)
	for _, n := range nets {
		if n < 0 || m.nets[m.segment(n)] == nil {
			return &m.nowhere
		}
		w.far.and(m.nets[m.segment(n)].in)
	}
	own := m.at[b.s.Clusters[d.c].VCenter]
	if !across {
		w.far.and(own)
	}
	copy(w.near, w.far)
	w.near.and(own)
	for _, ds := range stores {
		if x := m.stores[ds]; x != nil {
			w.near.and(x.in)
		} else {
			clear(w.near)
		}
	}
	if !copied {
		clear(w.far)
	}
	for k := range w.far {
		w.far[k] &^= w.near[k]
	}
	return &w
}

// roomy reports whether a datastore of host h had as much free before anything was
// planned: what is planned there at the same time is for the plan to see.
func (b *builder) roomy(h int32, need int64) bool {
	return slices.ContainsFunc(b.s.Hosts[h].Datastores, func(d int32) bool {
		x := &b.s.Datastores[d]
		return x.Accessible && !x.Maintenance && x.FreeMiB-x.CapacityMiB*int64(b.c.DatastoreFreePct)/100 >= need
	})
}

// tied reports whether a mandatory rule ties the VM to hosts of its cluster.
func (m *merger) tied(v int32) bool {
	b := m.b
	return slices.ContainsFunc(b.consOf(v), func(k int32) bool {
		x := &b.cons[k]
		return (x.kind == conOn || x.kind == conNotOn) && x.cluster == b.s.VMCluster(v)
	})
}

// hosts are those of domain e that VM v of domain i may go to, all but room
// considered.
func (m *merger) hosts(i int, v int32, e int, storage bool) hostSet {
	b, d := m.b, m.domains[i]
	g := d.vms[v]
	h, vm := d.hosts[d.home[v]], &b.s.VMs[g]
	to := m.cpus[b.cpus(h)].at[e].and(m.domains[e].on)
	for k := range vm.NICs {
		to = to.and(m.nets[m.segment(vm.NICs[k].Network)].at[e])
	}
	if !storage {
		to = to.and(m.stores[vm.Home].at[e])
		for k := range vm.Disks {
			to = to.and(m.stores[vm.Disks[k].Datastore].at[e])
		}
	}
	w := want{v: g, demand: engine.None, cluster: engine.None, host: engine.None, avoid: b.leftForGain(g)}
	if w.avoid >= 0 && b.s.Hosts[w.avoid].Cluster == m.domains[e].c {
		return hostSet{} // it would go back to where it came from
	}
	one := to.next(0)
	if one < 0 || !b.c.Cost.Converges(vm, b.rate(h, m.domains[e].hosts[one], storage, false)) {
		return hostSet{}
	}
	ruled, bound := len(b.consOf(g)) > 0, !b.has(g, trLoose)
	if ruled {
		b.prepare(&w)
	}
	for j := one; j >= 0; j = to.next(j + 1) {
		x := m.domains[e].hosts[j]
		var r reason
		if bound {
			r = b.allowedReason(&w, x)
		}
		if r.ok() && ruled {
			r = b.ruleReason(&w, x)
		}
		if r.ok() && storage {
			if r = b.leaveReason(&w, x); r.ok() && !b.roomy(x, b.diskCopy(&w, x)) {
				r.code = engine.HoldSpace
			}
		}
		if !r.ok() || vm.VCPUs > b.s.Hosts[x].Threads {
			to.drop(j)
		}
	}
	return to
}

// mergeWhy says why VMs of host h leave their cluster.
func (b *builder) mergeWhy(h int32) engine.Why {
	x := &b.s.Hosts[h]
	return engine.Why{
		Policy: "engine", Rule: "consolidate",
		Reason: fmt.Sprintf("cluster %s can do without %s if other clusters of site %s take what it then lacks room for", b.s.Clusters[x.Cluster].Name, x.Name, b.s.Sites[x.Site].ID),
	}
}
