package policy

import (
	"slices"
	"strings"

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

type vmSlot struct {
	doc        vmDoc
	tags, attr []string
	stores     []*ast.Term
	nets       []*ast.Term
	term       *ast.Term
	gen        uint64
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

// encodeVMs fills vms.
func (e *encoder) encodeVMs(d *document) {
	s := d.snap
	stores, nets := e.storeTerms(s), e.netTerms(s)
	fat := fattestLinks(s)
	d.vms = make([]*ast.Term, len(s.VMs))
	var sb, nb []*ast.Term // scratch
	past := 0
	for i := range s.VMs {
		v := &s.VMs[i]
		for past < len(d.hist.VMs) && d.hist.VMs[past].ID < v.ID {
			past++
		}
		vd := vmDocOf(s, v, fat)
		if past < len(d.hist.VMs) && d.hist.VMs[past].ID == v.ID {
			vd.movedAt, vd.moves = d.hist.VMs[past].MovedAt, d.hist.VMs[past].Moves
		}
		sb, nb = sb[:0], nb[:0]
		if v.Home >= 0 {
			sb = append(sb, stores[v.Home])
		}
		for j := range v.Disks {
			if k := v.Disks[j].Datastore; k >= 0 && !slices.Contains(sb, stores[k]) {
				sb = append(sb, stores[k])
			}
		}
		for j := range v.NICs {
			if k := v.NICs[j].Network; k >= 0 && !slices.Contains(nb, nets[k]) {
				nb = append(nb, nets[k])
			}
		}
		d.vms[i] = e.vmTerm(&vd, v, sb, nb)
	}
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

// vmTerm returns the kept term where nothing in doc and lists changed.
func (e *encoder) vmTerm(vd *vmDoc, v *engine.VM, stores, nets []*ast.Term) *ast.Term {
	slot := e.vms[vd.id]
	if slot == nil {
		slot = &vmSlot{}
		e.vms[vd.id] = slot
	}
	slot.gen = e.gen
	if slot.term != nil && slot.doc == *vd && slices.Equal(slot.tags, v.Tags) && slices.Equal(slot.attr, v.Attributes) &&
		slices.Equal(slot.stores, stores) && slices.Equal(slot.nets, nets) {
		return slot.term
	}
	*slot = vmSlot{doc: *vd, tags: v.Tags, attr: v.Attributes, stores: slices.Clone(stores), nets: slices.Clone(nets), gen: e.gen}
	slot.term = e.newVMTerm(slot, v)
	return slot.term
}

func (e *encoder) newVMTerm(slot *vmSlot, v *engine.VM) *ast.Term {
	vd := &slot.doc
	o := doc{pairs: make([][2]*ast.Term, 0, 48)}
	o.str("id", string(vd.id))
	o.str("name", vd.name)
	o.put("vcenter", e.in.str(string(vd.vcenter)))
	o.put("host", e.in.orNull(string(vd.host)))
	o.put("cluster", e.in.orNull(string(vd.cluster)))
	o.put("site", e.in.orNull(string(vd.site)))
	o.put("region", e.in.orNull(vd.region))
	o.str("path", vd.path)
	o.put("folder", e.in.str(vd.folder))
	o.put("pool", e.in.str(vd.pool))
	o.put("power", e.in.str(vd.power.String()))
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
	o.put("datastores", array(slot.stores))
	o.put("networks", array(slot.nets))
	o.put("tags", e.pairs(slot.tags, ":"))
	o.put("attributes", e.pairs(slot.attr, "="))
	o.put("criticality", e.in.str(or(v.Tag("criticality"), "3-normal")))
	o.put("residency", e.in.str(or(v.Tag("residency"), "any")))
	o.put("home_site", e.in.orNull(v.Tag("home_site")))
	o.put("managed_by", e.in.orNull(vd.managedBy))
	o.put("protected_by", e.in.orNull(vd.protectedBy))
	o.int("hw_version", int64(vd.h))
	o.put("mode", e.in.str(vd.mode.String()))
	o.bool("across", vd.across)
	o.put("obstacles", e.obstacleNames(vd.obstacles))
	o.put("devices", e.obstacleNames(vd.obstacles&devices))
	o.bool("passthrough", vd.obstacles&engine.ObPassthrough != 0)
	o.bool("disk_snapshots", vd.obstacles&engine.ObDiskSnapshot != 0)
	o.put("task", e.in.orNull(vd.task))
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
func (e *encoder) pairs(list []string, sep string) *ast.Term {
	if len(list) == 0 {
		return ast.InternedEmptyObject
	}
	kv := make([][2]*ast.Term, 0, len(list))
	for _, s := range list {
		k, v, _ := strings.Cut(s, sep)
		kv = append(kv, [2]*ast.Term{e.in.str(k), e.in.str(v)})
	}
	return ast.NewTerm(ast.NewObject(kv...))
}

func (e *encoder) obstacleNames(o engine.Obstacles) *ast.Term {
	if o == 0 {
		return ast.InternedEmptyArray
	}
	var items []*ast.Term
	for _, n := range o.Names() {
		items = append(items, e.in.str(n))
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
