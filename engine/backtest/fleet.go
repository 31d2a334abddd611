package backtest

import (
	"slices"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// lag is for how long after an action of the daemon the record's fleet may change by
// its doing: moves take minutes, and inventories are behind.
const lag = 3600

// A fleet is the simulated one: what the record shows, standing where the simulated
// actions have put it.
type fleet struct {
	s   *engine.Snapshot // as it stands; its own copy, changed as actions end
	own map[engine.HostID]load

	recorded *engine.Snapshot // the record's, at the last cycle
	sent     map[engine.VMID]engine.Place
	touched  map[engine.HostID]engine.Unix // hosts that the recorded daemon has last done something to
}

// load is what a hypervisor takes beside its VMs.
type load struct{ mhz, mib int32 }

func newFleet() *fleet {
	return &fleet{own: map[engine.HostID]load{}, sent: map[engine.VMID]engine.Place{}, touched: map[engine.HostID]engine.Unix{}}
}

// recordedActions tells the fleet what the recorded daemon was about: what follows
// from it is not for the simulation to copy.
func (w *fleet) recordedActions(now engine.Unix, recs []engine.ActionRecord) {
	for i := range recs {
		if a := &recs[i].Action; a.Kind == engine.Move {
			w.sent[a.VM] = a.To
		} else {
			w.touched[a.From.Host] = now
		}
	}
}

// observe is the snapshot of a simulated cycle: the recorded one, with VMs and hosts
// as simulated, save where the record shows that somebody else has changed them.
func (w *fleet) observe(m *moment) *engine.Snapshot {
	r := m.snapshot
	s := copyOf(r)
	for h := range s.Hosts {
		w.host(m, s, int32(h))
	}
	for v := range s.VMs {
		w.vm(m.in.Now, r, s, int32(v))
	}
	for v := range s.VMs {
		w.shelter(s, int32(v))
	}
	w.loads(s)
	w.space(r, s)
	s.Rules = sim.RulesLeft(s)
	w.recorded, w.s = r, copyOf(s)
	return s
}

// copyOf copies what simulated actions change.
func copyOf(o *engine.Snapshot) *engine.Snapshot {
	return &engine.Snapshot{
		At: o.At, Sites: o.Sites, VCenters: o.VCenters, Clusters: o.Clusters, Hosts: slices.Clone(o.Hosts), Datastores: slices.Clone(o.Datastores),
		Networks: o.Networks, VMs: slices.Clone(o.VMs), Links: o.Links, Rules: o.Rules, Hazards: o.Hazards, Alerts: o.Alerts, Gaps: o.Gaps,
	}
}

// host gives host h the power and maintenance that it has in the simulation.
func (w *fleet) host(m *moment, s *engine.Snapshot, h int32) {
	x := &s.Hosts[h]
	if x.Power == engine.HostOn && x.Seen() {
		w.own[x.ID] = overhead(m.snapshot, h)
	} else if _, ok := w.own[x.ID]; !ok {
		past := m.history.Host(x.ID)
		w.own[x.ID] = load{past.OwnMHz, past.OwnMiB}
	}
	if w.s == nil {
		return
	}
	i, ok := w.s.FindHost(x.ID)
	before, seen := w.recorded.FindHost(x.ID)
	if !ok || !seen {
		return
	}
	old, is := &w.recorded.Hosts[before], &w.s.Hosts[i]
	if (old.Power != x.Power || old.Maintenance != x.Maintenance) && m.in.Now-w.touched[x.ID] > lag {
		return // somebody else did it, or it broke
	}
	if x.Power == engine.HostUnknown || (is.Power == x.Power && is.Maintenance == x.Maintenance) {
		return
	}
	x.Power, x.Maintenance, x.Mark, x.Entering, x.Connected = is.Power, is.Maintenance, is.Mark, false, is.Power == engine.HostOn
	x.LoadAt, x.PowerAt, x.PowerW = m.in.Now, m.in.Now, engine.Unknown
	x.UsedMHz, x.UsedMiB = 0, 0
}

// vm puts VM v where it stands in the simulation.
func (w *fleet) vm(now engine.Unix, r, s *engine.Snapshot, v int32) {
	x := &s.VMs[v]
	if w.s == nil || x.Host < 0 {
		return
	}
	i, ok := w.s.FindVM(x.ID)
	before, seen := w.recorded.FindVM(x.ID)
	if !ok || !seen || w.s.VMs[i].Host < 0 || w.foreign(now, r, before, v) {
		return
	}
	from := &w.s.VMs[i]
	host, ok := s.FindHost(w.s.Hosts[from.Host].ID)
	if !ok {
		return
	}
	x.Host, x.VCenter, x.Pool, x.Folder = host, s.Hosts[host].VCenter, from.Pool, from.Folder
	datastore := func(to *int32, k int32) {
		if k >= 0 {
			if d, ok := s.FindDatastore(w.s.Datastores[k].ID); ok {
				*to = d
			}
		}
	}
	datastore(&x.Home, from.Home)
	x.Disks, x.NICs = slices.Clone(x.Disks), slices.Clone(x.NICs)
	for k := range x.Disks {
		for _, d := range from.Disks {
			if d.Key == x.Disks[k].Key {
				datastore(&x.Disks[k].Datastore, d.Datastore)
			}
		}
	}
	for k := range x.NICs {
		for _, n := range from.NICs {
			if n.Key != x.NICs[k].Key || n.Network < 0 {
				continue
			}
			if to, ok := s.FindNetwork(w.s.Networks[n.Network].ID); ok {
				x.NICs[k].Network = to
			}
		}
	}
}

// foreign reports whether somebody other than the recorded daemon has moved the VM
// since the last cycle.
func (w *fleet) foreign(now engine.Unix, r *engine.Snapshot, before, v int32) bool {
	was := w.recorded.VMs[before].Host
	if was < 0 {
		return true
	}
	from, to := &w.recorded.Hosts[was], &r.Hosts[r.VMs[v].Host]
	if from.ID == to.ID || now-w.touched[from.ID] <= lag { // its cluster has emptied the host for the daemon
		return false
	}
	sent, ok := w.sent[r.VMs[v].ID]
	return !ok || (sent.Host != to.ID && (!sent.DRS || sent.Cluster != r.Clusters[to.Cluster].ID))
}

// shelter is for a VM that the record has on a host which sleeps in the simulation:
// vCenter would have started it on the host of the cluster with most memory free.
func (w *fleet) shelter(s *engine.Snapshot, v int32) {
	x := &s.VMs[v]
	if x.Power != engine.VMOn || x.Host < 0 || s.Hosts[x.Host].Power != engine.HostStandby {
		return
	}
	best := engine.None
	for h := range s.Hosts {
		k := int32(h)
		if s.Hosts[k].Cluster == s.Hosts[x.Host].Cluster && s.Hosts[k].Ready() && (best < 0 || s.Hosts[k].MemoryMiB-s.Hosts[k].UsedMiB > s.Hosts[best].MemoryMiB-s.Hosts[best].UsedMiB) {
			best = k
		}
	}
	if best >= 0 {
		x.Host = best
	}
}

// loads gives each host that runs what its hypervisor and its VMs take.
func (w *fleet) loads(s *engine.Snapshot) {
	for h := range s.Hosts {
		x := &s.Hosts[h]
		if own := w.own[x.ID]; x.Power == engine.HostOn && x.Seen() {
			x.UsedMHz, x.UsedMiB = own.mhz, own.mib
		}
	}
	for v := range s.VMs {
		x := &s.VMs[v]
		if x.Host < 0 || x.Power != engine.VMOn || !x.Seen() {
			continue
		}
		if h := &s.Hosts[x.Host]; h.Power == engine.HostOn && h.Seen() {
			h.UsedMHz += x.UsedMHz
			h.UsedMiB += x.UsedMiB
		}
	}
}

// space moves the room that VMs take to the datastores on which they stand.
func (w *fleet) space(r, s *engine.Snapshot) {
	add := func(d int32, mib int64) {
		if d >= 0 {
			s.Datastores[d].FreeMiB += mib
		}
	}
	for v := range s.VMs {
		was, is := &r.VMs[v], &s.VMs[v]
		for k := range is.Disks {
			add(was.Disks[k].Datastore, was.Disks[k].CopyMiB())
			add(is.Disks[k].Datastore, -is.Disks[k].CopyMiB())
		}
		if is.Power == engine.VMOn {
			add(was.Home, was.SwapMiB())
			add(is.Home, -is.SwapMiB())
		}
	}
}

// overhead is what host h takes beyond its VMs.
func overhead(s *engine.Snapshot, h int32) load {
	x := load{s.Hosts[h].UsedMHz, s.Hosts[h].UsedMiB}
	for _, v := range s.VMsOn(h) {
		if vm := &s.VMs[v]; vm.Power == engine.VMOn && vm.Seen() {
			x.mhz -= vm.UsedMHz
			x.mib -= vm.UsedMiB
		}
	}
	return load{max(x.mhz, 0), max(x.mib, 0)}
}
