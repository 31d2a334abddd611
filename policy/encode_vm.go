package policy

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// vmDoc is all that a VM's term is made of, lists apart: equal docs and lists,
// equal terms.
type vmDoc struct {
	id                                     engine.VMID
	vcenter                                engine.VCenterID
	host                                   engine.HostID
	cluster                                engine.ClusterID
	site                                   engine.SiteID
	name, region, path, folder, pool       string
	managedBy, protectedBy, task           string
	power                                  engine.VMPower
	mode                                   engine.Mode
	template, across                       bool
	vcpus, memMB, reserveMHz, reserveMB, h int32 // h: hardware version
	moves                                  int32
	disk, copied                           int64 // MiB
	moveS                                  int64 // None where no link is known
	obstacles                              engine.Obstacles
	movedAt                                engine.Unix
}

// A vmSlot has what a VM's term is made of, and the term once somebody has asked for
// it: of most VMs nobody does. It never changes but for that.
type vmSlot struct {
	doc        vmDoc
	tags, attr []string
	stores     []*ast.Term
	nets       []*ast.Term
	names      []string // that it is marked under, as far as they are needed
	term       atomic.Pointer[ast.Term]
}

type storeDoc struct {
	name, kind         string
	shared, replicated bool
	sites, survives    string
}

type storeSlot struct {
	doc  storeDoc
	term *ast.Term
}

type netDoc struct{ name, segment string }

type netSlot struct {
	doc  netDoc
	term *ast.Term
}

// devices are the obstacles that are devices.
const devices = engine.ObPassthrough | engine.ObVGPU | engine.ObUSB | engine.ObClientMedia | engine.ObLocalISO | engine.ObRDM |
	engine.ObIndependent | engine.ObMultiWriter

// encodeVMs fills vms, on as many goroutines as there are processors.
func (e *encoder) encodeVMs(d *document) {
	s := d.snap
	x := vmEncoder{e: e, d: d, stores: e.storeTerms(s), nets: e.netTerms(s), fat: fattestLinks(s), old: e.vms}
	d.vms = make([]*vmSlot, len(s.VMs))
	inParts(len(s.VMs), x.encode)
	e.vms = d.vms
}

// vm is the term of VM v.
func (e *encoder) vm(d *document, v int32) *ast.Term {
	slot := d.vms[v]
	if t := slot.term.Load(); t != nil {
		return t
	}
	slot.term.CompareAndSwap(nil, e.newVMTerm(slot)) // two documents may share a slot
	return slot.term.Load()
}

// A vmEncoder encodes the VMs of one view.
type vmEncoder struct {
	e            *encoder
	d            *document
	stores, nets []*ast.Term // by index
	fat          []fatLink
	old          []*vmSlot // of the view before, by ID
}

// encode encodes the VMs from..to-1. VMs, slots and history are all sorted by
// ID: it walks along them.
func (x *vmEncoder) encode(from, to int) {
	s, hist := x.d.snap, x.d.hist.VMs
	first := s.VMs[from].ID
	kept, _ := slices.BinarySearchFunc(x.old, first, func(o *vmSlot, id engine.VMID) int { return cmp.Compare(o.doc.id, id) })
	past := sort.Search(len(hist), func(i int) bool { return hist[i].ID >= first })
	var stores, nets []*ast.Term // scratch
	for i := from; i < to; i++ {
		v := &s.VMs[i]
		for past < len(hist) && hist[past].ID < v.ID {
			past++
		}
		for kept < len(x.old) && x.old[kept].doc.id < v.ID {
			kept++
		}
		vd := vmDocOf(s, v, x.fat)
		if past < len(hist) && hist[past].ID == v.ID {
			vd.movedAt, vd.moves = hist[past].MovedAt, hist[past].Moves
		}
		stores, nets = x.storesOf(stores[:0], v), x.netsOf(nets[:0], v)
		if kept < len(x.old) && x.old[kept].same(&vd, v, stores, nets) {
			x.d.vms[i] = x.old[kept]
			continue
		}
		slot := &vmSlot{doc: vd, tags: v.Tags, attr: v.Attributes, stores: slices.Clone(stores), nets: slices.Clone(nets), names: x.e.need.markedUnder(v)}
		if kept < len(x.old) && x.old[kept].doc.id == v.ID {
			if t := x.old[kept].term.Load(); t != nil {
				slot.term.Store(keep(t, x.e.newVMTerm(slot)))
			}
		}
		x.d.vms[i] = slot
	}
}

// markedUnder lists the names of the VM's tags and attributes, each once.
func (n *need) markedUnder(v *engine.VM) []string {
	var names []string
	add := func(labels []string, separator string) {
		for _, label := range labels {
			name, _, _ := strings.Cut(label, separator)
			if (n == nil || n.marked || slices.Contains(n.names, name)) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	add(v.Tags, ":")
	add(v.Attributes, "=")
	return names
}

// storesOf appends the terms of the VM's datastores, each once.
func (x *vmEncoder) storesOf(out []*ast.Term, v *engine.VM) []*ast.Term {
	if v.Home >= 0 {
		out = append(out, x.stores[v.Home])
	}
	for i := range v.Disks {
		if k := v.Disks[i].Datastore; k >= 0 && !slices.Contains(out, x.stores[k]) {
			out = append(out, x.stores[k])
		}
	}
	return out
}

// netsOf appends the terms of the VM's networks, each once.
func (x *vmEncoder) netsOf(out []*ast.Term, v *engine.VM) []*ast.Term {
	for i := range v.NICs {
		if k := v.NICs[i].Network; k >= 0 && !slices.Contains(out, x.nets[k]) {
			out = append(out, x.nets[k])
		}
	}
	return out
}

// same reports whether the VM's term would be the kept one.
func (o *vmSlot) same(vd *vmDoc, v *engine.VM, stores, nets []*ast.Term) bool {
	return o.doc == *vd && slices.Equal(o.tags, v.Tags) && slices.Equal(o.attr, v.Attributes) &&
		slices.Equal(o.stores, stores) && slices.Equal(o.nets, nets)
}

// A fatLink is the link of a site over which most is carried.
type fatLink struct{ mbps, rtt int32 }

func fattestLinks(s *engine.Snapshot) []fatLink {
	out := make([]fatLink, len(s.Sites))
	for _, l := range s.Links {
		for _, i := range []int32{l.A, l.B} {
			if l.Mbps > out[i].mbps { // Unknown is negative
				out[i] = fatLink{l.Mbps, l.RTTMicros}
			}
		}
	}
	return out
}

func vmDocOf(s *engine.Snapshot, v *engine.VM, fat []fatLink) vmDoc {
	vd := vmDoc{
		id: v.ID, vcenter: s.VCenters[v.VCenter].ID, name: v.Name, path: v.Path, folder: v.Folder, pool: v.Pool,
		managedBy: v.ManagedBy, protectedBy: v.ProtectedBy, task: v.Task, power: v.Power, mode: v.Mode, template: v.Template, across: v.Across,
		vcpus: v.VCPUs, memMB: v.MemoryMiB, reserveMHz: v.ReserveMHz, reserveMB: v.ReserveMiB, h: v.HWVersion,
		copied: v.DiskMiB(), moveS: int64(engine.None), obstacles: v.Obstacles,
	}
	for i := range v.Disks {
		vd.disk += v.Disks[i].MiB
	}
	if v.Host < 0 {
		return vd
	}
	h := &s.Hosts[v.Host]
	vd.host, vd.cluster = h.ID, s.Clusters[h.Cluster].ID
	if h.Site < 0 {
		return vd
	}
	vd.site, vd.region = s.Sites[h.Site].ID, s.Sites[h.Site].Region
	if l := fat[h.Site]; l.mbps > 0 {
		full := engine.VM{Power: v.Power, MemoryMiB: v.MemoryMiB, UsedMiB: engine.Unknown}
		vd.moveS = engine.DefaultCostModel().Estimate(&full, l.mbps, l.rtt, vd.copied).Seconds
	}
	return vd
}

func (e *encoder) newVMTerm(slot *vmSlot) *ast.Term {
	vd, in, tagged := &slot.doc, &e.in, engine.VM{Tags: slot.tags}
	var room [48][2]*ast.Term
	o := doc{pairs: room[:0]}
	if e.need != nil {
		o.only = &e.need.vm
	}
	o.str("id", string(vd.id))
	o.str("name", vd.name)
	o.put("vcenter", in.str(string(vd.vcenter)))
	o.put("host", in.orNull(string(vd.host)))
	o.put("cluster", in.orNull(string(vd.cluster)))
	o.put("site", in.orNull(string(vd.site)))
	o.put("region", in.orNull(vd.region))
	o.str("path", vd.path)
	o.put("folder", in.str(vd.folder))
	o.put("pool", in.str(vd.pool))
	o.put("power", in.str(vd.power.String()))
	o.bool("template", vd.template)
	o.int("vcpus", int64(vd.vcpus))
	o.int("mem_mb", int64(vd.memMB))
	o.int("reserve_mhz", int64(vd.reserveMHz))
	o.int("reserve_mb", int64(vd.reserveMB))
	o.int("disk_gb", gib(vd.disk))
	o.int("gb_to_copy", gib(vd.copied))
	if vd.moveS < 0 {
		o.put("est_move_s", ast.InternedNullTerm)
	} else {
		o.int("est_move_s", vd.moveS)
	}
	if o.has("datastores") {
		o.put("datastores", array(slot.stores))
	}
	if o.has("networks") {
		o.put("networks", array(slot.nets))
	}
	if o.has("tags") {
		o.put("tags", in.pairs(slot.tags, ":"))
	}
	if o.has("attributes") {
		o.put("attributes", in.pairs(slot.attr, "="))
	}
	o.put("criticality", in.str(or(tagged.Tag("criticality"), "3-normal")))
	o.put("residency", in.str(or(tagged.Tag("residency"), "any")))
	o.put("home_site", in.orNull(tagged.Tag("home_site")))
	o.put("managed_by", in.orNull(vd.managedBy))
	o.put("protected_by", in.orNull(vd.protectedBy))
	o.int("hw_version", int64(vd.h))
	o.put("mode", in.str(vd.mode.String()))
	o.bool("across", vd.across)
	o.put("obstacles", in.obstacleNames(vd.obstacles))
	o.put("devices", in.obstacleNames(vd.obstacles&devices))
	o.bool("passthrough", vd.obstacles&engine.ObPassthrough != 0)
	o.bool("disk_snapshots", vd.obstacles&engine.ObDiskSnapshot != 0)
	o.put("task", in.orNull(vd.task))
	o.int("last_moved", int64(vd.movedAt))
	o.int("moves", int64(vd.moves))
	o.put("x", ast.InternedEmptyObject)
	return o.term()
}

func or(s, without string) string {
	if s == "" {
		return without
	}
	return s
}

// gib rounds MiB up to GiB.
func gib(mib int64) int64 { return (mib + 1023) / 1024 }

// pairs is an object of "key<sep>value" strings; of equal keys the last counts.
func (in *interner) pairs(list []string, sep string) *ast.Term {
	if len(list) == 0 {
		return ast.InternedEmptyObject
	}
	kv := make([][2]*ast.Term, 0, len(list))
	for _, s := range list {
		k, v, _ := strings.Cut(s, sep)
		kv = append(kv, [2]*ast.Term{in.str(k), in.str(v)})
	}
	return ast.NewTerm(ast.NewObject(kv...))
}

func (in *interner) obstacleNames(o engine.Obstacles) *ast.Term {
	if o == 0 {
		return ast.InternedEmptyArray
	}
	var items []*ast.Term
	for _, n := range o.Names() {
		items = append(items, in.str(n))
	}
	return array(items)
}

// storeTerms is a term for each datastore, the kept one where it is the same.
func (e *encoder) storeTerms(s *engine.Snapshot) []*ast.Term {
	out := make([]*ast.Term, len(s.Datastores))
	for i := range s.Datastores {
		x := &s.Datastores[i]
		sites, survives := e.siteNames(s, x.Sites), e.siteNames(s, x.Survives)
		sd := storeDoc{x.Name, x.Type, x.Shared, x.Replicated, sites.String(), survives.String()}
		slot := e.ds[x.ID]
		if slot == nil || slot.doc != sd {
			var o doc
			o.str("id", string(x.ID))
			o.str("name", x.Name)
			o.put("type", e.in.str(x.Type))
			o.bool("shared", x.Shared)
			o.bool("replicated", x.Replicated)
			o.put("sites", sites)
			o.put("survives", survives)
			slot = &storeSlot{sd, o.term()}
			e.ds[x.ID] = slot
		}
		out[i] = slot.term
	}
	return out
}

func (e *encoder) netTerms(s *engine.Snapshot) []*ast.Term {
	out := make([]*ast.Term, len(s.Networks))
	for i := range s.Networks {
		x := &s.Networks[i]
		nd := netDoc{x.Name, x.Segment}
		slot := e.nets[x.ID]
		if slot == nil || slot.doc != nd {
			var o doc
			o.str("id", string(x.ID))
			o.str("name", x.Name)
			o.put("segment", e.in.orNull(x.Segment))
			slot = &netSlot{nd, o.term()}
			e.nets[x.ID] = slot
		}
		out[i] = slot.term
	}
	return out
}

// vmLoad is what changes with every cycle, and is built only for rules that read it.
func vmLoad(v *engine.VM, hist *engine.History) *ast.Term {
	memory := hist.VM(v.ID)
	var o doc
	o.str("vm", string(v.ID))
	o.bool("usable", v.Seen())
	o.seen("cpu_mhz", v.UsedMHz)
	o.seen("cpu_mhz_5m", fiveMinutes(&memory.CPU))
	o.seen("cpu_mhz_40m", memory.CPU.Mean(8))
	o.seen("cpu_mhz_p95", memory.CPU.Percentile(95))
	o.seen("mem_mb", v.UsedMiB)
	o.seen("mem_pct", percent(percent10(v.UsedMiB, v.MemoryMiB)))
	o.seen("active_mb", v.ActiveMiB)
	o.seen("dirty_mbps", v.DirtyMbps)
	return o.term()
}
