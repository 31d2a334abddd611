package collectors

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"heliostat/engine"
)

// Resolve chooses among the sightings of one VM, sorted by vCenter: the index of
// the one that serves. It answers from what is known elsewhere, such as a move
// across vCenters under way. With -1 the VM becomes a Gap, and the powered-on or
// else the first sighting serves.
type Resolve func(vm engine.VMID, seen []engine.Sighting) int

// Merge makes one snapshot of what was seen. It is pure, and changes none of
// its arguments; the order of seen does not matter. It takes as given that c is
// valid. The sightings are those of VMs seen more than once, sorted.
func Merge(c *Config, now engine.Unix, seen []engine.Observation, resolve Resolve) (*engine.Snapshot, []engine.Sighting) {
	m := &merger{c: c, now: now, s: &engine.Snapshot{At: now}, resolve: resolve}
	seen = slices.SortedFunc(slices.Values(seen), func(a, b engine.Observation) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(b.At, a.At))
	})
	m.sites()
	m.accept(seen)
	m.topology()
	m.vms()
	m.rules()
	m.zeroSites()
	for i := range seen {
		m.s.Gaps = append(m.s.Gaps, seen[i].Gaps...)
	}
	m.values(seen)
	m.links(seen)
	m.hazards(seen)
	m.alerts(seen)
	slices.SortFunc(m.s.Gaps, func(a, b engine.Gap) int {
		return cmp.Or(cmp.Compare(a.Subject.Kind, b.Subject.Kind), cmp.Compare(a.Subject.ID, b.Subject.ID),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.At, b.At))
	})
	m.s.Gaps = slices.Compact(m.s.Gaps)
	return m.s, m.twice
}

type merger struct {
	c       *Config
	now     engine.Unix
	s       *engine.Snapshot
	parts   []part // by vCenter
	twice   []engine.Sighting
	resolve Resolve
}

// A part is one inventory, and where its things went in the snapshot.
type part struct {
	*engine.Inventory
	source string
	at     engine.Unix
	// Offsets of its slices in the snapshot's.
	clusters, hosts, datastores, networks int32
	vms                                   []int32 // by its own index: the snapshot's, None for one left out
}

func (m *merger) gap(source, kind, id, format string, args ...any) {
	m.s.Gaps = append(m.s.Gaps, engine.Gap{Source: source, Subject: engine.Subject{Kind: kind, ID: id}, Reason: fmt.Sprintf(format, args...), At: m.now})
}

func (m *merger) old(at engine.Unix, limit time.Duration) bool { return m.now.Sub(at) > limit }

// dated says what is wrong with when a thing was read, "" for nothing. What is dated
// in the future would never grow old.
func (m *merger) dated(at engine.Unix, limit time.Duration) string {
	switch {
	case m.old(at, limit):
		return fmt.Sprintf("older than %v", limit)
	case at.Sub(m.now) > clockSkew:
		return fmt.Sprintf("dated %v in the future: the clocks differ by more than %v", at.Sub(m.now), clockSkew)
	}
	return ""
}

// accept chooses the inventories that can be used, one a vCenter.
func (m *merger) accept(seen []engine.Observation) {
	for i := range seen {
		o := &seen[i]
		inv := o.Inventory
		if inv == nil {
			continue
		}
		if err := check(inv); err != nil {
			m.gap(o.Source, "vcenter", string(inv.VCenter.ID), "its inventory makes no sense: %v", err)
			continue
		}
		if wrong := m.dated(o.At, m.c.MaxAge.Inventory); wrong != "" {
			m.gap(o.Source, "vcenter", string(inv.VCenter.ID), "its inventory is %s, and is left out", wrong)
			continue
		}
		m.parts = append(m.parts, part{Inventory: inv, source: o.Source, at: o.At})
	}
	slices.SortStableFunc(m.parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.VCenter.ID, b.VCenter.ID), cmp.Compare(b.at, a.at))
	})
	for i := len(m.parts) - 1; i > 0; i-- {
		if p := m.parts[i]; p.VCenter.ID == m.parts[i-1].VCenter.ID {
			m.gap(p.source, "vcenter", string(p.VCenter.ID), "two sources show the same vCenter; the newer answer serves")
			m.parts = slices.Delete(m.parts, i, i+1)
		}
	}
	for i := range m.parts {
		m.s.At = min(m.s.At, m.parts[i].at)
	}
}

// topology copies everything but VMs and rules, with the references made right.
func (m *merger) topology() {
	var refs int
	for i := range m.parts {
		p := &m.parts[i]
		for h := range p.Hosts {
			refs += len(p.Hosts[h].Datastores) + len(p.Hosts[h].Networks)
		}
		for c := range p.Clusters {
			refs += len(p.Clusters[c].FailOn)
		}
	}
	arena := make([]int32, 0, refs)
	for i := range m.parts {
		p, vc := &m.parts[i], int32(i)
		p.clusters, p.hosts = int32(len(m.s.Clusters)), int32(len(m.s.Hosts))
		p.datastores, p.networks = int32(len(m.s.Datastores)), int32(len(m.s.Networks))
		m.s.VCenters = append(m.s.VCenters, p.VCenter)
		for _, c := range p.Clusters {
			c.VCenter, c.FailOn = vc, raised(&arena, c.FailOn, p.hosts)
			m.s.Clusters = append(m.s.Clusters, c)
		}
		for _, d := range p.Datastores {
			d.VCenter = vc
			m.s.Datastores = append(m.s.Datastores, d)
		}
		for _, n := range p.Networks {
			n.VCenter = vc
			m.segment(p, &n)
			m.s.Networks = append(m.s.Networks, n)
		}
		places := m.places(p)
		for h := range p.Hosts {
			m.host(p, vc, &p.Hosts[h], places, &arena)
		}
		m.hostLoads(p)
		m.homeless(p)
	}
	m.datastoreSites()
}

// raise makes an index of a part one of the snapshot.
func raise(i, by int32) int32 {
	if i < 0 {
		return i
	}
	return i + by
}

// raised copies indices into the arena, raised.
func raised(arena *[]int32, idx []int32, by int32) []int32 {
	start := len(*arena)
	for _, i := range idx {
		*arena = append(*arena, raise(i, by))
	}
	return (*arena)[start:len(*arena):len(*arena)]
}

func (m *merger) host(p *part, vc int32, from *engine.Host, places [][]place, arena *[]int32) {
	h := *from
	h.VCenter, h.Cluster = vc, raise(h.Cluster, p.clusters)
	h.Datastores = raised(arena, h.Datastores, p.datastores)
	h.Networks = raised(arena, h.Networks, p.networks)
	h.Site = m.siteOf(p, &h, places[from.Cluster])
	for i := range m.c.Power {
		if w := &m.c.Power[i]; match(w.Model, h.CPUModel) {
			h.IdleW, h.MaxW = w.IdleW, w.MaxW
			break
		}
	}
	m.s.Hosts = append(m.s.Hosts, h)
}

// A ref is a VM of a part.
type ref struct{ part, vm int32 }

// vms merges the VMs of all parts by ID.
func (m *merger) vms() {
	var total, disks, nics int
	var runs [][]ref
	for i := range m.parts {
		p := &m.parts[i]
		p.vms = make([]int32, len(p.VMs))
		run := make([]ref, len(p.VMs))
		for v := range p.VMs {
			run[v] = ref{int32(i), int32(v)}
			disks, nics = disks+len(p.VMs[v].Disks), nics+len(p.VMs[v].NICs)
		}
		runs = append(runs, run)
		total += len(run)
	}
	all := m.ordered(runs)
	m.s.VMs = make([]engine.VM, 0, total)
	room := arenas{make([]engine.Disk, 0, disks), make([]engine.NIC, 0, nics)}
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && m.vm(all[i+n]).ID == m.vm(all[i]).ID {
			n++
		}
		keep := 0
		if n > 1 {
			keep = m.choose(all[i : i+n])
		}
		for j, r := range all[i : i+n] {
			m.parts[r.part].vms[r.vm] = engine.None
			if j == keep {
				m.parts[r.part].vms[r.vm] = int32(len(m.s.VMs))
				m.copyVM(r, &room)
			}
		}
		i += n
	}
	m.vmLoads()
}

func (m *merger) vm(r ref) *engine.VM { return &m.parts[r.part].VMs[r.vm] }

// ordered merges sorted runs, two by two; of equals, the earlier run comes first.
func (m *merger) ordered(runs [][]ref) []ref {
	for len(runs) > 1 {
		var next [][]ref
		for pair := range slices.Chunk(runs, 2) {
			if len(pair) == 1 {
				next = append(next, pair[0])
				continue
			}
			a, b := pair[0], pair[1]
			out := make([]ref, 0, len(a)+len(b))
			for len(a) > 0 && len(b) > 0 {
				if m.vm(a[0]).ID <= m.vm(b[0]).ID {
					out, a = append(out, a[0]), a[1:]
				} else {
					out, b = append(out, b[0]), b[1:]
				}
			}
			next = append(next, append(append(out, a...), b...))
		}
		runs = next
	}
	if len(runs) == 0 {
		return nil
	}
	return runs[0]
}

// choose tells which of several sightings of one VM serves.
func (m *merger) choose(refs []ref) int {
	first := len(m.twice)
	on := -1
	for i, r := range refs {
		p, v := &m.parts[r.part], m.vm(r)
		seen := engine.Sighting{VM: v.ID, VCenter: p.VCenter.ID, Moid: v.Moid}
		if v.Host >= 0 {
			seen.Host = p.Hosts[v.Host].ID
		}
		m.twice = append(m.twice, seen)
		if on < 0 && v.Power == engine.VMOn {
			on = i
		}
	}
	seen := m.twice[first:]
	if m.resolve != nil {
		if keep := m.resolve(seen[0].VM, seen); keep >= 0 && keep < len(refs) {
			return keep
		}
	}
	m.gap(m.parts[refs[0].part].source, "vm", string(seen[0].VM), "seen %d times, first as %s/%s and %s/%s, and no move of it is known",
		len(seen), seen[0].VCenter, seen[0].Moid, seen[1].VCenter, seen[1].Moid)
	return max(on, 0)
}

// arenas hold the small slices of all VMs, so that 150,000 VMs are not 300,000 allocations.
type arenas struct {
	disks []engine.Disk
	nics  []engine.NIC
}

func (m *merger) copyVM(r ref, room *arenas) {
	p := &m.parts[r.part]
	m.s.VMs = append(m.s.VMs, p.VMs[r.vm])
	v := &m.s.VMs[len(m.s.VMs)-1]
	v.VCenter = r.part
	v.Host, v.Home = raise(v.Host, p.hosts), raise(v.Home, p.datastores)
	d, n := len(room.disks), len(room.nics)
	room.disks, room.nics = append(room.disks, v.Disks...), append(room.nics, v.NICs...)
	v.Disks, v.NICs = room.disks[d:len(room.disks):len(room.disks)], room.nics[n:len(room.nics):len(room.nics)]
	for i := range v.Disks {
		v.Disks[i].Datastore = raise(v.Disks[i].Datastore, p.datastores)
	}
	for i := range v.NICs {
		v.NICs[i].Network = raise(v.NICs[i].Network, p.networks)
	}
}

// rules copies the DRS rules. VMs left out are left out of them.
func (m *merger) rules() {
	for i := range m.parts {
		p := &m.parts[i]
		for _, r := range p.Rules {
			vms := make([]int32, 0, len(r.VMs))
			for _, v := range r.VMs {
				if to := p.vms[v]; to >= 0 {
					vms = append(vms, to)
				}
			}
			hosts := make([]int32, 0, len(r.Hosts))
			r.Cluster, r.VMs, r.Hosts = raise(r.Cluster, p.clusters), vms, raised(&hosts, r.Hosts, p.hosts)
			m.s.Rules = append(m.s.Rules, r)
		}
	}
	slices.SortStableFunc(m.s.Rules, func(a, b engine.Rule) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
}
