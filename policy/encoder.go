package policy

import (
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// An encoder turns views into terms and keeps them: of a fleet of 150,000 VMs
// hardly any changes its configuration between two cycles. It is not safe for
// concurrent use; the terms that it returns are.
type encoder struct {
	in       interner
	ins      []interner // of the goroutines that encode VMs
	hosts    map[engine.HostID]*hostSlot
	vms      []*vmSlot // sorted by ID
	clusters map[engine.ClusterID]inputTerms
	fleets   map[string]*ast.Term // data.fleet, key by key
	ds       map[engine.DatastoreID]*storeSlot
	nets     map[engine.NetworkID]*netSlot

	last *document // of the view before
	from source    // what it was made of
	gen  uint64    // of the view under way: hosts of an older one have left the fleet
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
	vms      []*ast.Term  // by index
	clusters []*ast.Term  // by index: summaries
	inputs   []inputTerms // by index of cluster
	sites    []load       // by index
	fleet    *ast.Term
	parts    map[string]*ast.Term // of fleet, by key
}

// inputTerms are what cluster-scope rules see of one cluster, loads of VMs apart.
type inputTerms struct {
	cluster, hosts, vms *ast.Term
	marked              *ast.Term // those of vms that have a tag or attribute, by its name
	marks               map[string]*ast.Term
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
	e.gen++
	if e.hosts == nil {
		e.ins = make([]interner, runtime.GOMAXPROCS(0))
		e.hosts = make(map[engine.HostID]*hostSlot, len(s.Hosts))
		e.ds = make(map[engine.DatastoreID]*storeSlot, len(s.Datastores))
		e.nets = make(map[engine.NetworkID]*netSlot, len(s.Networks))
	}
	d := &document{snap: s, hist: src.history, now: src.now}
	loads := e.encodeHosts(d)
	e.encodeVMs(d)
	e.encodeClusters(d, loads)
	e.encodeInputs(d)
	e.forget(s)
	return d
}

// encodeInputs fills inputs.
func (e *encoder) encodeInputs(d *document) {
	s := d.snap
	d.inputs = make([]inputTerms, len(s.Clusters))
	kept := make(map[engine.ClusterID]inputTerms, len(s.Clusters))
	var hosts, vms []*ast.Term // scratch
	for c := range s.Clusters {
		hosts, vms = hosts[:0], vms[:0]
		for _, h := range s.HostsOf(int32(c)) {
			hosts = append(hosts, d.hosts[h])
			for _, v := range s.VMsOn(h) {
				vms = append(vms, d.vms[v])
			}
		}
		old := e.clusters[s.Clusters[c].ID]
		d.clusters[c] = keep(old.cluster, d.clusters[c])
		d.inputs[c] = inputTerms{cluster: d.clusters[c], hosts: keepArray(old.hosts, hosts), vms: keepArray(old.vms, vms)}
		e.mark(d, int32(c), &old)
		kept[s.Clusters[c].ID] = d.inputs[c]
	}
	e.clusters = kept
}

// mark fills marked of cluster c: what it was where its VMs are the same terms,
// and array by array where those of one name are.
func (e *encoder) mark(d *document, c int32, old *inputTerms) {
	in := &d.inputs[c]
	if in.vms == old.vms && old.marked != nil {
		in.marked, in.marks = old.marked, old.marks
		return
	}
	s := d.snap
	by := map[string][]*ast.Term{}
	add := func(label, separator string, vm *ast.Term) {
		name, _, _ := strings.Cut(label, separator)
		if list := by[name]; len(list) == 0 || list[len(list)-1] != vm { // several tags of a category are next to each other
			by[name] = append(list, vm)
		}
	}
	for _, h := range s.HostsOf(c) {
		for _, v := range s.VMsOn(h) {
			for _, tag := range s.VMs[v].Tags {
				add(tag, ":", d.vms[v])
			}
			for _, attr := range s.VMs[v].Attributes {
				add(attr, "=", d.vms[v])
			}
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
	if old != nil && old.Equal(t) {
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

// forget drops the slots of hosts that have left the fleet, once they are many.
func (e *encoder) forget(s *engine.Snapshot) {
	if len(e.hosts) <= len(s.Hosts)+len(s.Hosts)/8 {
		return
	}
	for id, x := range e.hosts {
		if x.gen != e.gen {
			delete(e.hosts, id)
		}
	}
}

// clusterInput is the input of a cluster-scope rule.
func clusterInput(d *document, c int32, withLoad bool) ast.Value {
	s := d.snap
	var loads []*ast.Term
	if withLoad {
		for _, h := range s.HostsOf(c) {
			for _, v := range s.VMsOn(h) {
				loads = append(loads, vmLoad(&s.VMs[v], d.hist))
			}
		}
	}
	in := &d.inputs[c]
	var o doc
	o.put("cluster", in.cluster)
	o.put("hosts", in.hosts)
	o.put("vms", in.vms)
	o.put("vm_load", array(loads))
	o.put("marked", in.marked)
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
