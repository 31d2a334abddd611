package policy

import (
	"iter"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// An encoder turns views into terms and keeps them: of a fleet of 150,000 VMs
// hardly any changes its configuration between two cycles. It is not safe for
// concurrent use; the terms that it returns are.
type encoder struct {
	need     *need // what is asked for; nil for everything
	in       interner
	hosts    []*hostSlot // sorted by ID
	vms      []*vmSlot   // sorted by ID
	clusters map[engine.ClusterID]inputTerms
	fleets   map[string]*ast.Term // data.fleet, key by key
	ds       map[engine.DatastoreID]*storeSlot
	nets     map[engine.NetworkID]*netSlot

	last *document // of the view before
	from source    // what it was made of
}

// A need is what the rules of a bundle read of hosts and VMs, at most: the rest is
// left out of their terms, so that they are small, and stay the same while it changes.
type need struct {
	host, vm fields
	marked   bool     // marked under all names
	names    []string // marked under these, sorted
}

func (n *need) equal(o *need) bool {
	return n.host.equal(&o.host) && n.vm.equal(&o.vm) && n.marked == o.marked && slices.Equal(n.names, o.names)
}

// A source identifies what the terms of hosts, VMs and clusters are made of.
type source struct {
	snapshot *engine.Snapshot
	history  *engine.History
	now      engine.Unix
}

// A document is one view as policies see it.
type document struct {
	snap     *engine.Snapshot
	hist     *engine.History
	now      engine.Unix
	hosts    []*ast.Term  // by index
	vms      []*vmSlot    // by index
	clusters []*ast.Term  // by index: summaries
	inputs   []inputTerms // by index of cluster
	sites    []load       // by index
	fleet    *ast.Term
	parts    map[string]*ast.Term // of fleet, by key
}

// inputTerms are what cluster-scope rules see of one cluster, loads of VMs apart.
type inputTerms struct {
	cluster, hosts *ast.Term
	config         *ast.Term            // stays the same while no host changes but in its load; nobody looks inside
	vms            *ast.Term            // nil until it is asked for: see encodeAll
	marked         *ast.Term            // of marks, an object
	marks          map[string]*ast.Term // the VMs that have a tag or attribute, by its name
}

// encode returns the view's document. Terms of hosts, VMs and clusters are
// those of the call before where snapshot, history and time are the same.
func (e *encoder) encode(v engine.View) *document {
	if v.History == nil {
		v.History = &engine.History{}
	}
	src := source{v.Snapshot, v.History, v.Now}
	if e.last == nil || e.from != src {
		e.last, e.from = e.things(src), src
	}
	out := *e.last
	out.fleet, out.parts = e.fleet(&out, v)
	return &out
}

// things encodes hosts, VMs and clusters.
func (e *encoder) things(src source) *document {
	s := src.snapshot
	if e.ds == nil {
		e.ds = make(map[engine.DatastoreID]*storeSlot, len(s.Datastores))
		e.nets = make(map[engine.NetworkID]*netSlot, len(s.Networks))
	}
	d := &document{snap: s, hist: src.history, now: src.now}
	loads := e.encodeHosts(d)
	e.encodeVMs(d)
	e.encodeClusters(d, loads)
	e.encodeInputs(d)
	return d
}

// encodeInputs fills inputs but for vms.
func (e *encoder) encodeInputs(d *document) {
	s := d.snap
	d.inputs = make([]inputTerms, len(s.Clusters))
	spread(len(s.Clusters), func(c int) {
		var hosts, config []*ast.Term
		for _, h := range s.HostsOf(int32(c)) {
			hosts, config = append(hosts, d.hosts[h]), append(config, e.hosts[h].config)
		}
		old := e.clusters[s.Clusters[c].ID]
		d.clusters[c] = keep(old.cluster, d.clusters[c])
		d.inputs[c] = inputTerms{cluster: d.clusters[c], hosts: keepArray(old.hosts, hosts), config: keepArray(old.config, config)}
		e.mark(d, int32(c), &old)
	})
	e.keepInputs(d)
}

// encodeAll fills vms of each cluster, in a document that is d otherwise. What has
// read d goes on doing so.
func (e *encoder) encodeAll(d *document) *document {
	out := *d
	s := d.snap
	out.inputs = slices.Clone(d.inputs)
	spread(len(s.Clusters), func(c int) {
		var vms []*ast.Term
		for v := range vmsIn(s, int32(c)) {
			vms = append(vms, e.vm(d, v))
		}
		out.inputs[c].vms = keepArray(e.clusters[s.Clusters[c].ID].vms, vms)
	})
	e.keepInputs(&out)
	return &out
}

// keepInputs remembers the inputs of d for the next document.
func (e *encoder) keepInputs(d *document) {
	kept := make(map[engine.ClusterID]inputTerms, len(d.inputs))
	for c := range d.inputs {
		id := d.snap.Clusters[c].ID
		kept[id] = d.inputs[c]
		if in := &d.inputs[c]; in.vms == nil {
			x := kept[id]
			x.vms = e.clusters[id].vms
			kept[id] = x
		}
	}
	e.clusters = kept
}

// vmsIn yields the VMs in cluster c, host by host.
func vmsIn(s *engine.Snapshot, c int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for _, h := range s.HostsOf(c) {
			for _, v := range s.VMsOn(h) {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// mark fills marks and marked of cluster c: what they were, array by array, where the
// VMs are the same terms.
func (e *encoder) mark(d *document, c int32, old *inputTerms) {
	in := &d.inputs[c]
	by := map[string][]*ast.Term{}
	for v := range vmsIn(d.snap, c) {
		for _, name := range d.vms[v].names {
			by[name] = append(by[name], e.vm(d, v))
		}
	}
	in.marks = make(map[string]*ast.Term, len(by))
	same := old.marked != nil && len(by) == len(old.marks)
	var o doc
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t := keepArray(old.marks[name], by[name])
		same = same && t == old.marks[name]
		in.marks[name] = t
		o.add(e.in.str(name), t)
	}
	if in.marked = old.marked; !same {
		in.marked = o.term()
	}
}

// keep returns the old term where the new one is equal: who has seen it knows
// that nothing changed without looking inside.
func keep(old, t *ast.Term) *ast.Term {
	if old != nil && old.Hash() == t.Hash() && old.Equal(t) {
		return old
	}
	return t
}

// keepArray returns the old array where its items are the same terms.
func keepArray(old *ast.Term, items []*ast.Term) *ast.Term {
	if old == nil {
		return array(slices.Clone(items))
	}
	arr, ok := old.Value.(*ast.Array)
	if !ok || arr.Len() != len(items) {
		return array(slices.Clone(items))
	}
	for i := range items {
		if arr.Elem(i) != items[i] {
			return array(slices.Clone(items))
		}
	}
	return old
}

// everything is the footprint of who reads all of a cluster.
var everything = footprint{cluster: true, hosts: true, vms: true, loads: true, marked: true}

// clusterInput is the input of a cluster-scope rule, as far as it reads it.
func clusterInput(d *document, c int32, r *footprint) ast.Value { return d.input(c, &d.inputs[c], r) }

// input is that with other terms than those of the cluster.
func (d *document) input(c int32, in *inputTerms, r *footprint) ast.Value {
	var o doc
	if r.cluster {
		o.put("cluster", in.cluster)
	}
	if r.hosts {
		o.put("hosts", in.hosts)
	}
	if r.vms {
		o.put("vms", in.vms)
	}
	if r.loads {
		var loads []*ast.Term
		for v := range vmsIn(d.snap, c) {
			loads = append(loads, vmLoad(&d.snap.VMs[v], d.hist))
		}
		o.put("vm_load", array(loads))
	}
	if r.marked {
		o.put("marked", in.marked)
	}
	return o.term().Value
}

func percent10(part, whole int32) int32 {
	if part == engine.Unknown || whole <= 0 {
		return engine.Unknown
	}
	return int32(int64(part) * 1000 / int64(whole))
}

// percent rounds tenths of a percent down, as Fold compares them.
func percent(tenths int32) int32 {
	if tenths == engine.Unknown {
		return engine.Unknown
	}
	return tenths / 10
}

// fiveMinutes is the mean of the newest interval, or where it has no sample
// yet of the one before.
func fiveMinutes(r *engine.Ring) int32 {
	if m := r.Mean(1); m != engine.Unknown {
		return m
	}
	return r.Mean(2)
}
