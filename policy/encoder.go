package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// An encoder turns views into terms and keeps them: of a fleet of 150,000 VMs
// hardly any changes its configuration between two cycles. It is not safe for
// concurrent use; the terms that it returns are.
type encoder struct {
	in    interner
	hosts map[engine.HostID]*hostSlot
	vms   map[engine.VMID]*vmSlot
	ds    map[engine.DatastoreID]*storeSlot
	nets  map[engine.NetworkID]*netSlot

	last *document // of the view before
	from source    // what it was made of
	gen  uint64    // of the view under way: slots of an older one have left the fleet
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
	hosts    []*ast.Term // by index
	vms      []*ast.Term // by index
	clusters []*ast.Term // by index: summaries
	sites    []load      // by index
	fleet    *ast.Term
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
	out.fleet = e.fleet(&out, v)
	return &out
}

// things encodes hosts, VMs and clusters.
func (e *encoder) things(src source) *document {
	s := src.snapshot
	e.gen++
	if e.hosts == nil {
		e.hosts = make(map[engine.HostID]*hostSlot, len(s.Hosts))
		e.vms = make(map[engine.VMID]*vmSlot, len(s.VMs))
		e.ds = make(map[engine.DatastoreID]*storeSlot, len(s.Datastores))
		e.nets = make(map[engine.NetworkID]*netSlot, len(s.Networks))
	}
	d := &document{snap: s, hist: src.history, now: src.now}
	loads := e.encodeHosts(d)
	e.encodeVMs(d)
	e.encodeClusters(d, loads)
	e.forget(s)
	return d
}

// forget drops the slots of what has left the fleet, once they are many.
func (e *encoder) forget(s *engine.Snapshot) {
	if len(e.hosts) > len(s.Hosts)+len(s.Hosts)/8 {
		for id, x := range e.hosts {
			if x.gen != e.gen {
				delete(e.hosts, id)
			}
		}
	}
	if len(e.vms) > len(s.VMs)+len(s.VMs)/8 {
		for id, x := range e.vms {
			if x.gen != e.gen {
				delete(e.vms, id)
			}
		}
	}
}

// clusterInput is the input of a cluster-scope rule.
func clusterInput(d *document, c int32, withLoad bool) ast.Value {
	s := d.snap
	hosts := s.HostsOf(c)
	ht := make([]*ast.Term, 0, len(hosts))
	var vt, lt []*ast.Term
	for _, h := range hosts {
		ht = append(ht, d.hosts[h])
		for _, v := range s.VMsOn(h) {
			vt = append(vt, d.vms[v])
			if withLoad {
				lt = append(lt, vmLoad(&s.VMs[v], d.hist))
			}
		}
	}
	var o doc
	o.put("cluster", d.clusters[c])
	o.put("hosts", array(ht))
	o.put("vms", array(vt))
	o.put("vm_load", array(lt))
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
