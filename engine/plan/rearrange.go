package plan

import (
	"slices"

	"heliostat/engine"
	"heliostat/engine/search"
)

// rearrange relieves hosts in clusters where room is there, but in no one place: the
// core searches each for an arrangement in which every load fits, at the least cost
// of moves, and VMs that make room leave before those that need it. A host is
// relieved as a whole or left as it was.
func (b *builder) rearrange() {
	if len(b.stuck) == 0 {
		return
	}
	b.readyAims()
	var hosts, clusters []int32
	for _, v := range b.stuck {
		if h := b.s.VMs[v].Host; !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	for _, h := range hosts {
		c := b.s.Hosts[h].Cluster
		if slices.Contains(clusters, c) {
			continue
		}
		clusters = append(clusters, c)
		moved := b.arrangement(c)
		for _, h := range hosts {
			if b.s.Hosts[h].Cluster == c {
				b.unload(h)
			}
		}
		for _, v := range moved {
			b.aim[v] = engine.None
		}
	}
	for _, h := range hosts {
		if cpu, mem := b.excess(h); cpu+mem == 0 {
			continue
		}
		for _, v := range b.stuck {
			cpu, mem := b.beyond(h, b.c.CPUMaxPct, b.c.MemMaxPct)
			if b.s.VMs[v].Host == h && b.dest[v] < 0 && cpu+mem > 0 {
				b.wakeFor(v, h)
			}
		}
		b.shed(h, 100, 100, 0)
	}
}

// wakeFor moves VM v, which found no place, to a host of its cluster that is woken,
// for it or for others before it.
func (b *builder) wakeFor(v, over int32) {
	w, why, h, r := b.urgent(v), b.overWhy(over), engine.None, b.spent()
	if r.ok() {
		h, r = b.find(&w)
	}
	cpu, mem := b.excess(over)
	if cpu+mem == 0 && !r.ok() {
		return // it is relieved
	}
	if r.stage == stCapacity {
		list := b.sleeping(b.s.VMCluster(v), nil)
		full := reason{form: why.Reason + ", and no other takes " + b.s.VMs[v].Name}
		if w.host = b.wakeNext(&list, &full); w.host >= 0 {
			h, r = b.find(&w)
		}
	}
	if !r.ok() {
		b.holdVM(v, r, wantAway, engine.Subject{}, []engine.Why{why})
		return
	}
	b.send(&w, h, why)
}

// perVM is how many evaluations a search spends for each VM that can move: a few
// hundredths of a second in a cluster of hundreds, at ten million a second.
const perVM = 1000

// arrangement searches cluster c, sets the aims of the VMs that should move, and
// lists them.
func (b *builder) arrangement(c int32) []int32 {
	all := b.s.HostsOf(c)
	if len(all) > mostHosts || b.evaluated >= b.budget {
		return nil
	}
	d := &domain{b: b, c: c}
	d.readTerms()
	for _, h := range all {
		if b.st.Ready(h) && !b.doomed[h] && b.bars[0][h] == barNone {
			d.on.add(len(d.hosts))
			d.hosts = append(d.hosts, h)
			d.readHost(h)
		}
	}
	d.readVMs()
	p, start := d.problem(), make([]int32, len(d.vms))
	for i, h := range d.home {
		start[i] = int32(h)
	}
	found, err := search.New(p, start, search.Options{Seed: b.in.Seed ^ uint64(c+1)*0x9e3779b97f4a7c15})
	if err != nil {
		panic("plan: " + err.Error()) // the problem was made here
	}
	found.Anneal(min(int64(perVM*len(d.vms)), b.budget-b.evaluated))
	b.evaluated += found.Spent()
	best, _ := found.Best()
	var moved []int32
	for i, h := range best {
		if h != start[i] {
			b.aim[d.vms[i]] = d.hosts[h]
			moved = append(moved, d.vms[i])
		}
	}
	return moved
}

// problem is the domain as the core knows such things. What is over a host's capacity
// has to leave it, and nothing may come there; where no more than the plan's own terms
// are exceeded, nothing has to leave.
func (d *domain) problem() *search.Problem {
	p := &search.Problem{Transient: make([]bool, 3)}
	full := hostSet{}
	for i, h := range d.hosts {
		room := d.free[i]
		for _, v := range d.list[i] {
			room.take(&d.size4[v], 1)
		}
		cpu, mem := d.b.excess(h)
		if cpu+mem > 0 {
			full.add(i)
		}
		x := search.Container{Capacity: make([]int64, len(p.Transient))}
		for k, over := range [...]int64{cpu, mem, 0} {
			x.Capacity[k] = int64(room[k])
			if free := int64(d.free[i][k]); free < 0 {
				x.Capacity[k] -= free + over
			}
		}
		p.Containers = append(p.Containers, x)
	}
	var kinds []hostSet
	for i := range d.vms {
		may := hostSet{d.masks[i][0] &^ full[0], d.masks[i][1] &^ full[1]}
		may.add(int(d.home[i]))
		k := slices.Index(kinds, may)
		if k < 0 {
			k = len(kinds)
			kinds = append(kinds, may)
			row := make([]int64, len(d.hosts))
			for h := range row {
				if !may.has(h) {
					row[h] = search.Never
				}
			}
			p.Kinds = append(p.Kinds, row)
		}
		o := search.Object{Home: int32(d.home[i]), Kind: int32(k), Move: d.cost[i]}
		for k := range p.Transient {
			o.Need = append(o.Need, int64(d.size4[i][k]))
		}
		p.Objects = append(p.Objects, o)
		for _, mate := range d.mates[i] {
			if int(mate) > i {
				p.Rules = append(p.Rules, search.Rule{Kind: search.AtMost, Group: int32(len(p.Groups)), Over: search.Each, Count: 1})
				p.Groups = append(p.Groups, []int32{int32(i), mate})
			}
		}
	}
	return p
}

// unload carries out what was found for host h, if that relieves it.
func (b *builder) unload(h int32) {
	mark, wishes := len(b.acts), b.wishes
	for _, v := range b.byBytes(b.s.VMsOn(h)) {
		if b.aim[v] >= 0 && b.dest[v] < 0 && !b.bring(v, h, deepest) {
			break
		}
	}
	if cpu, mem := b.excess(h); cpu+mem > 0 {
		b.undo(mark)
		b.wishes = wishes
	}
}

// deepest is how many VMs in a row make room for one another. The more there are,
// the longer the last one waits.
const deepest = 4

// bring plans the move of VM v to its aim for the sake of a host that is over its
// capacity, and before it those of VMs that make room there. It reports whether it
// goes.
func (b *builder) bring(v, over int32, depth int) bool {
	w := want{v: v, demand: engine.None, inside: true, after: true, room: true, cluster: engine.None, host: b.aim[v], avoid: b.leftRecently(v)}
	b.aim[v] = engine.None // whatever comes of it: it is not to make room for itself
	h, r := b.find(&w)
	if depth > 1 && r.stage == stCapacity {
		for _, u := range b.byBytes(b.s.VMsOn(w.host)) {
			if b.aim[u] >= 0 && b.dest[u] < 0 && !b.bring(u, over, depth-1) {
				return false
			}
		}
		h, r = b.find(&w)
	}
	if s := b.spent(); !r.ok() || !s.ok() {
		return false
	}
	from, why := b.st.Host[v], b.overWhy(over)
	if from != over {
		why.Reason = "it makes room on " + b.s.Hosts[from].Name + ", since " + why.Reason
	}
	b.send(&w, h, why)
	return true
}
