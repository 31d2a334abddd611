package plan

import (
	"slices"

	"heliostat/engine"
)

// masks tells where the VMs of a domain may go, as far as that is not a matter
// of room. What many VMs have in common is looked up once.
type masks struct {
	d      *domain
	ways   []hostSet // by host: where live moves from it can go
	nets   []holder
	stores []holder
	least  int32 // threads of the host with the fewest
}

// A look is what of a VM says where it may go, and what it takes.
type look struct {
	home, net, vcpus int32
	active           int32
	stops            engine.Obstacles
	nics             []engine.NIC
	disks            []engine.Disk
	diskMiB          int64
	simple           bool // on one network at most, which is seen, and all its disks where its home is
	moved, ruled     bool // it is in the plan; groups have a say in where it goes
	traits           traits
	foot             engine.Footprint
	part             part
}

// lookAll looks at VMs together. They lie far apart in memory, in several arrays: so
// none waits for another.
func (b *builder) lookAll(looks []look, vms []int32) []look {
	looks = looks[:0]
	for _, v := range vms {
		vm := &b.s.VMs[v]
		looks = append(looks, look{home: vm.Home, net: engine.None, vcpus: vm.VCPUs, active: vm.ActiveMiB, stops: vm.Obstacles, nics: vm.NICs, disks: vm.Disks})
	}
	for k, v := range vms {
		x := &looks[k]
		x.foot, x.part, x.traits, x.moved, x.ruled = b.st.Foot[v], b.parts[v], b.known(v), b.moved[v] != 0, len(b.consOf(v)) > 0
	}
	for k := range looks {
		x := &looks[k]
		x.simple = len(x.nics) <= 1
		if len(x.nics) == 1 {
			x.net = x.nics[0].Network
			x.simple = x.net >= 0
		}
		for i := range x.disks {
			x.simple = x.simple && x.disks[i].Datastore == x.home
			x.diskMiB += x.disks[i].CopyMiB()
		}
	}
	return looks
}

// A holder is a network or datastore, and the hosts that have it.
type holder struct {
	id int32
	at hostSet
}

func (m *masks) look(list *[]holder, id int32, has func(h int32) bool) hostSet {
	for i := range *list {
		if (*list)[i].id == id {
			return (*list)[i].at
		}
	}
	p := holder{id: id}
	for i, h := range m.d.hosts {
		if has(h) {
			p.at.add(i)
		}
	}
	*list = append(*list, p)
	return p.at
}

// net is where network n is, and store where datastore ds is.
func (m *masks) net(n int32) hostSet {
	return m.look(&m.nets, n, func(h int32) bool { _, ok := slices.BinarySearch(m.d.b.s.Hosts[h].Networks, n); return ok })
}

func (m *masks) store(ds int32) hostSet {
	return m.look(&m.stores, ds, func(h int32) bool { return m.d.b.keeps(ds, h) })
}

// readWays finds where live moves from each host can go, whatever the VM.
func (m *masks) readWays() {
	b, hosts := m.d.b, m.d.hosts
	m.ways = make([]hostSet, len(hosts))
	var to hostSet
	for j, h := range hosts {
		if b.bars[0][h] == barNone && !b.openTo[h] && (b.unseen == nil || !b.unseen[h]) && b.s.Hosts[h].VMotion {
			to.add(j)
		}
	}
	rate := m.d.rate
	for i, here := range hosts {
		x, cpu := &b.s.Hosts[here], m.d.cpu[i]
		if !x.VMotion || b.cpus(here) == "" {
			continue
		}
		for j := to.next(0); j >= 0; j = to.next(j + 1) {
			if h := hosts[j]; j != i && m.d.cpu[j] == cpu && x.Site == b.s.Hosts[h].Site && (rate[i] > 0 && rate[j] > 0 || b.rate(here, h, false, false) > 0) {
				m.ways[i].add(j)
			}
		}
	}
}

// of is where VM v, on host i, may go without its disks: none when nowhere.
func (m *masks) of(v int32, i int, x *look) hostSet {
	b := m.d.b
	vm := &b.s.VMs[v]
	if x.simple && x.vcpus <= m.least && x.traits.have(trLoose|trFresh) && !x.ruled {
		to := m.ways[i]
		to = to.and(m.store(x.home))
		if x.net >= 0 {
			to = to.and(m.net(x.net))
		}
		if !b.c.Cost.Converges(vm, m.d.rate[i]) {
			return hostSet{}
		}
		return to
	}
	w := want{v: v, demand: engine.None, inside: true, cluster: engine.None, host: engine.None, avoid: b.leftForGain(v)}
	to := m.ways[i]
	for k := range vm.NICs {
		n := vm.NICs[k].Network
		if n < 0 {
			return hostSet{}
		}
		to = to.and(m.net(n))
	}
	to = to.and(m.store(vm.Home))
	for k := range vm.Disks {
		to = to.and(m.store(vm.Disks[k].Datastore))
	}
	if !b.c.Cost.Converges(vm, m.d.rate[i]) || to == (hostSet{}) {
		return hostSet{}
	}
	bound := !x.traits.have(trLoose)
	if x.ruled {
		b.prepare(&w)
	}
	for j := to.next(0); j >= 0; j = to.next(j + 1) {
		h := m.d.hosts[j]
		bad := vm.VCPUs > b.s.Hosts[h].Threads || h == w.avoid
		if !bad && bound {
			r := b.allowedReason(&w, h)
			bad = !r.ok()
		}
		if !bad && x.ruled {
			r := b.ruleReason(&w, h)
			bad = !r.ok()
		}
		if bad {
			to.drop(j)
		}
	}
	return to
}
