package check

import (
	"slices"

	"heliostat/engine"
)

// A island is actions that have nothing to do with the others of the plan: no
// edge, cluster, datastore or group in common, directly or by way of a third, and in an
// island of the executor's no slots either. What happens on one is the same
// whatever happens on the others, so each is replayed by itself.
type island struct {
	acts     []int32 // ascending; the plan's,
	open     []int32 // and those under way
	clusters []int32
	hosts    []int32
	vms      []int32 // that the actions move
	stores   []int32 // that they write to, or free
	groups   []int32
}

// A union joins things that have to do with one another.
type union []int32

func (u union) root(x int32) int32 {
	for u[x] != x {
		u[x] = u[u[x]]
		x = u[x]
	}
	return x
}

func (u union) join(x, y int32) {
	x, y = u.root(x), u.root(y)
	u[max(x, y)] = min(x, y)
}

// islands takes the plan apart: by what an action changes, and, coarser, by the
// slots that it takes as well.
func (w *world) islands() (fine, coarse []*island) {
	s := w.c.s
	clusters := int32(len(s.Clusters))
	stores := clusters + int32(len(s.Datastores))
	u := make(union, int(stores)+w.turns.Counters())
	for i := range u {
		u[i] = int32(i)
	}
	of := func(h int32) int32 { return s.Hosts[h].Cluster }
	for i, e := range w.steps {
		if e.to >= 0 && !e.inside {
			u.join(of(e.from), of(e.to))
		}
		for _, d := range w.stores(int32(i)) {
			u.join(of(e.from), clusters+d)
		}
		for _, j := range w.next.of(int32(i)) {
			u.join(of(e.from), of(w.steps[j].from))
		}
	}
	for _, same := range w.twins {
		for _, d := range same {
			u.join(clusters+same[0], clusters+d)
		}
	}
	first := make([]int32, len(w.groups)) // a cluster that the group is about, + 1
	for i, list := range w.groupsOf {
		for _, k := range list {
			if first[k] == 0 {
				first[k] = of(w.steps[i].from) + 1
			}
			u.join(first[k]-1, of(w.steps[i].from))
		}
	}
	if w.stretched() { // whether a site keeps a host is then a matter of all its clusters
		for _, k := range w.clusters {
			u.join(w.clusters[0], k)
		}
	}
	fine = w.collect(u)
	last := make([]int32, w.turns.Counters()) // the cluster that took of it last, + 1
	for i := range w.acts {
		k := of(w.steps[i].from)
		w.turns.Visit(int32(i), func(counter int32) {
			if last[counter] != k+1 {
				last[counter] = k + 1
				u.join(k, stores+counter)
			}
		})
	}
	return fine, w.collect(u)
}

// stores lists the datastores whose room an action changes.
func (w *world) stores(i int32) []int32 {
	e := &w.steps[i]
	if !e.storage || e.vm < 0 {
		return nil
	}
	a := w.acts[i]
	var out []int32
	add := func(id engine.DatastoreID) {
		if d, ok := w.c.s.FindDatastore(id); ok {
			out = append(out, d)
		}
	}
	add(a.HomeTo)
	if d := w.c.s.VMs[e.vm].Home; d >= 0 {
		out = append(out, d)
	}
	for k := range a.Disks {
		add(a.Disks[k].From)
		add(a.Disks[k].To)
	}
	return out
}

// collect lists the islands that have an action of the plan, in the order of their
// first.
func (w *world) collect(u union) []*island {
	var out []*island
	at := make([]*island, len(w.c.s.Clusters)) // by root
	of := func(k int32) *island { return at[u.root(k)] }
	for i, e := range w.steps {
		k := w.c.s.Hosts[e.from].Cluster
		x := of(k)
		if x == nil {
			if i >= w.open {
				continue // nothing of the plan is there
			}
			x = &island{}
			at[u.root(k)] = x
			out = append(out, x)
		}
		if i < w.open {
			x.acts = append(x.acts, int32(i))
		} else {
			x.open = append(x.open, int32(i))
		}
		if e.vm >= 0 {
			x.vms = append(x.vms, e.vm)
		}
		x.stores = append(x.stores, w.stores(int32(i))...)
		x.groups = append(x.groups, w.groupsOf[i]...)
	}
	for _, k := range w.clusters {
		if x := of(k); x != nil {
			x.clusters = append(x.clusters, k)
			x.hosts = append(x.hosts, w.c.s.HostsOf(k)...)
		}
	}
	for _, x := range out {
		for _, d := range x.stores {
			x.stores = append(x.stores, w.twins[w.c.s.Datastores[d].URL]...)
		}
		slices.Sort(x.groups)
		x.groups = slices.Compact(x.groups)
	}
	return out
}
