package plan

import (
	"cmp"
	"math/bits"
	"slices"

	"heliostat/engine"
)

// A barrier is one constraint on where a VM may go, asked by itself: what it says of a
// host does not depend on what the others say.
type barrier struct {
	ready   func() // before it is asked; nil for nothing
	refuses func(h int32) reason
}

// conflictMost bounds how often barriers are asked for one plan: some ten
// milliseconds. VMs beyond that are held with the code and the detail alone.
const conflictMost = 400_000

// conflicts names, for each VM that a demand cannot move, a minimal set of what
// forbids it: together they leave no host, and without any one of them there is one.
func (b *builder) conflicts() {
	if len(b.demands) == 0 {
		return
	}
	left := conflictMost
	for i := range b.holds {
		h := &b.holds[i]
		if h.Subject.Kind != "vm" || h.Demand.Kind == "" || h.Code == engine.HoldDeadline || h.Code == engine.HoldBudget {
			continue
		}
		v, ok := b.s.FindVM(engine.VMID(h.Subject.ID))
		k := slices.IndexFunc(b.demands, func(d demand) bool { return d.subject == h.Demand })
		if !ok || k < 0 || b.dest[v] >= 0 || b.alone() {
			continue
		}
		if h.Conflict = b.conflict(v, int32(k), &left); left <= 0 {
			return
		}
	}
}

// conflict is nil where the VM stays for a reason of its own, where there is no other
// place at all, or where the rest of the plan has changed what kept it.
func (b *builder) conflict(v, k int32, left *int) []engine.Conflict {
	dm := &b.demands[k]
	w := want{
		v: v, demand: k, evac: dm.evac, lax: true, sites: b.refuges(v, dm), cluster: engine.None, host: engine.None, avoid: engine.None,
		here: b.s.VMs[v].Host >= 0 && !b.doomed[b.s.VMs[v].Host],
	}
	if r := b.vmReason(&w); !r.ok() {
		return nil
	}
	var hosts []int32
	for i := range b.s.Hosts {
		h := int32(i)
		if w.sites.Has(b.s.Hosts[h].Site) && !b.drained[h] && !b.doomed[h] && (w.here || h != b.s.VMs[v].Host) {
			hosts = append(hosts, h)
		}
	}
	list := b.barriers(&w)
	if *left -= len(list) * len(hosts); *left < 0 || len(list) > 64 {
		return nil
	}
	against := make([]uint64, len(hosts)) // by host: the barriers that refuse it
	for i := range list {
		if list[i].ready != nil {
			list[i].ready()
		}
		for k, h := range hosts {
			if r := list[i].refuses(h); !r.ok() {
				against[k] |= 1 << i
			}
		}
	}
	set := minimal(against)
	var out []engine.Conflict
	for x := set; x != 0; x &= x - 1 {
		i := bits.TrailingZeros64(x)
		c := engine.Conflict{}
		for k, h := range hosts {
			if against[k]&set != 1<<i {
				continue
			}
			if c.Hosts++; c.Hosts > 1 {
				continue
			}
			if list[i].ready != nil {
				list[i].ready()
			}
			r := list[i].refuses(h)
			c.Code, c.Detail = r.code, b.text(&r)
		}
		out = append(out, c)
	}
	return out
}

// minimal drops barriers, what refuses fewest hosts first, as long as every host is
// refused by another. It is empty where a host is refused by none.
func minimal(against []uint64) uint64 {
	var all uint64
	var refused [64]int
	for _, x := range against {
		if x == 0 {
			return 0
		}
		all |= x
		for ; x != 0; x &= x - 1 {
			refused[bits.TrailingZeros64(x)]++
		}
	}
	var order []int
	for x := all; x != 0; x &= x - 1 {
		order = append(order, bits.TrailingZeros64(x))
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(refused[i], refused[j]) })
	for _, i := range order {
		if rest := all &^ (1 << i); !slices.ContainsFunc(against, func(x uint64) bool { return x&rest == 0 }) {
			all = rest
		}
	}
	return all
}

// barriers lists all that hostReason and clusterReason ask of a host, each by itself:
// first what people and policies say, then the platform, then room.
func (b *builder) barriers(w *want) []barrier {
	vm := &b.s.VMs[w.v]
	out := []barrier{{refuses: func(h int32) reason {
		r := b.openReason(w, h)
		if r.ok() && w.live(b) && h != vm.Host && !b.s.Hosts[h].VMotion {
			r = reason{code: engine.HoldUnavailable, form: "no vMotion interface of %[1]s is up", where: b.s.Hosts[h].Name}
		}
		return r
	}}}
	add := func(refuses func(h int32) reason) { out = append(out, barrier{refuses: refuses}) }
	sites := of(b.d.AllowSites, w.v, func(x *engine.AllowSites) int32 { return x.VM })
	for i := range sites {
		add(func(h int32) reason {
			if sites[i].Sites.Has(b.s.Hosts[h].Site) || b.yields(w, sites[i].By) {
				return reason{}
			}
			return reason{code: engine.HoldSites, form: "site %[1]s is not allowed by %[2]s", where: string(b.s.Sites[b.s.Hosts[h].Site].ID), by: &sites[i].By}
		})
	}
	allowed := of(b.d.AllowHosts, w.v, func(x *engine.AllowHosts) int32 { return x.VM })
	for i := range allowed {
		add(func(h int32) reason {
			if _, ok := slices.BinarySearch(allowed[i].Hosts, h); ok || b.yields(w, allowed[i].By) {
				return reason{}
			}
			return reason{code: engine.HoldHosts, form: "%[1]s is not allowed by %[2]s", where: b.s.Hosts[h].Name, by: &allowed[i].By}
		})
	}
	add(func(h int32) reason { return b.vetoReason(w, h) })
	for _, i := range b.consOf(w.v) {
		out = append(out, barrier{func() { b.prepareOnly(w, i) }, func(h int32) reason { return b.ruleReason(w, h) }})
	}
	return append(out, b.platform(w)...)
}

// platform is the part of barriers that no policy has a say in.
func (b *builder) platform(w *want) (out []barrier) {
	vm := &b.s.VMs[w.v]
	add := func(refuses func(h int32) reason) { out = append(out, barrier{refuses: refuses}) }
	elsewhere := func(ask func(h int32) reason) func(h int32) reason {
		return func(h int32) reason {
			if h == vm.Host {
				return reason{}
			}
			return ask(h)
		}
	}
	add(elsewhere(func(h int32) reason {
		if b.s.Hosts[h].VCenter == vm.VCenter {
			return reason{}
		}
		return b.acrossReason(w, b.s.Hosts[h].Cluster)
	}))
	add(func(h int32) reason {
		if !b.storageNeeded(w, h) {
			return reason{}
		}
		return b.takenAlong(w, h)
	})
	if w.live(b) {
		add(elsewhere(func(h int32) reason { return b.compatReason(vm.Host, h) }))
	}
	add(func(h int32) reason { return b.networkReason(w, h) })
	add(func(h int32) reason { return b.linkReason(w, h, b.storageNeeded(w, h)) })
	add(func(h int32) reason { return b.capacityReason(w, h) })
	if w.live(b) {
		add(func(h int32) reason {
			if c := b.s.Hosts[h].Cluster; c != b.s.VMCluster(w.v) {
				return b.comeReason(w, c)
			}
			return b.roomReason(b.s.VMCluster(w.v), w.lax)
		})
	}
	add(func(h int32) reason {
		if !b.storageNeeded(w, h) {
			return reason{}
		}
		return b.spaceReason(w, h)
	})
	return out
}
