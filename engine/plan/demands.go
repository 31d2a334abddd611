package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"heliostat/engine"
)

// A demand is a place to empty.
type demand struct {
	subject  engine.Subject
	name     string
	deadline engine.Unix
	evac     bool
	then     engine.DrainThen
	why      []engine.Why
	cold     bool // powered-off VMs leave as well
}

// want says what the demand wants of its place.
func (d *demand) want() string {
	switch {
	case d.evac:
		return "evacuate " + d.subject.Kind + " " + d.name
	case d.then == engine.ThenMaintenance:
		return "enter maintenance"
	}
	return "empty " + d.subject.Kind + " " + d.name
}

// sooner orders demands: evacuations first, then by deadline (none is last).
func (d *demand) sooner(x *demand) int {
	return cmp.Or(-cmp.Compare(evacIndex(d.evac), evacIndex(x.evac)), cmp.Compare(uint64(d.deadline-1), uint64(x.deadline-1)))
}

// collectDemands reads evacuations and drains, and marks what they doom.
func (b *builder) collectDemands() {
	for i := range b.d.Evacuations {
		e := &b.d.Evacuations[i]
		b.addDemand(demand{subject: e.Place, deadline: e.Deadline, evac: true, then: engine.ThenNothing, why: []engine.Why{b.d.Why(e.By)}, cold: e.Place.Kind == "site" || e.Place.Kind == "cluster"})
	}
	for i := range b.d.Drains {
		dr := &b.d.Drains[i]
		if dr.Then == engine.ThenStandby {
			continue // a permission: see consolidate.go
		}
		b.addDemand(demand{
			subject: engine.Subject{Kind: "host", ID: string(b.s.Hosts[dr.Host].ID)}, deadline: dr.Deadline, then: dr.Then, why: []engine.Why{b.d.Why(dr.By)},
		})
	}
	for _, id := range b.in.Drain {
		b.addDemand(demand{
			subject: engine.Subject{Kind: "host", ID: string(id)}, then: engine.ThenMaintenance,
			why: []engine.Why{{Policy: "operator", Rule: engine.RuleDrain, Reason: "asked for by a person"}},
		})
	}
	b.doomDatastores()
}

// doomDatastores marks the datastores whose data goes down with a doomed site:
// leaving the site without the data is no rescue.
func (b *builder) doomDatastores() {
	if b.doomedSite == 0 {
		return
	}
	for i := range b.s.Datastores {
		x := &b.s.Datastores[i]
		if x.Sites&b.doomedSite == 0 || x.Survives&^b.doomedSite != 0 || b.doomedDS[i] > 0 {
			continue
		}
		for k := range b.demands {
			if site, ok := b.s.FindSite(engine.SiteID(b.demands[k].subject.ID)); ok && b.demands[k].subject.Kind == "site" && x.Sites.Has(site) {
				b.doomedDS[i] = int32(k) + 1
				break
			}
		}
	}
}

// addDemand keeps a demand, joined with an equal one, and dooms its hosts.
func (b *builder) addDemand(d demand) {
	for i := range b.demands {
		x := &b.demands[i]
		if x.subject != d.subject || x.evac != d.evac {
			continue
		}
		x.why = append(x.why, d.why...)
		if uint64(d.deadline-1) < uint64(x.deadline-1) {
			x.deadline = d.deadline
		}
		if d.then == engine.ThenMaintenance {
			x.then = d.then
		}
		return
	}
	k := int32(len(b.demands))
	ok := false
	switch d.subject.Kind {
	case "site":
		var site int32
		if site, ok = b.s.FindSite(engine.SiteID(d.subject.ID)); ok {
			d.name = d.subject.ID
			b.doomedSite = b.doomedSite.With(site)
			b.doom(k, &d, func(h *engine.Host) bool { return h.Site == site })
		}
	case "cluster":
		var c int32
		if c, ok = b.s.FindCluster(engine.ClusterID(d.subject.ID)); ok {
			d.name = b.s.Clusters[c].Name
			b.doom(k, &d, func(h *engine.Host) bool { return h.Cluster == c })
		}
	case "host":
		var h int32
		if h, ok = b.s.FindHost(engine.HostID(d.subject.ID)); ok {
			d.name = b.s.Hosts[h].Name
			b.doomHost(k, &d, h)
		}
	case "datastore":
		var x int32
		if x, ok = b.s.FindDatastore(engine.DatastoreID(d.subject.ID)); ok {
			d.name = b.s.Datastores[x].Name
			b.doomedDS[x] = k + 1
		}
	}
	if !ok {
		b.holds = append(b.holds, engine.Hold{
			Subject: d.subject, Name: d.subject.ID, Code: engine.HoldGap, Detail: "it is not in the snapshot", Want: d.want(), Demand: d.subject, Why: d.why,
		})
		return
	}
	b.demands = append(b.demands, d)
}

func (b *builder) doom(k int32, d *demand, in func(*engine.Host) bool) {
	for h := range b.s.Hosts {
		if in(&b.s.Hosts[h]) {
			b.doomHost(k, d, int32(h))
		}
	}
}

func (b *builder) doomHost(k int32, d *demand, h int32) {
	b.doomed[h] = true
	if x := b.hostDemand[h]; x < 0 || d.sooner(&b.demands[x]) < 0 {
		b.hostDemand[h] = k
	}
}

// A leaver is one VM that a demand moves, with its place in the order.
type leaver struct {
	v, demand int32
	cold      bool
	tier      int32
	mib       int64 // to be copied, at most
}

// demandStage empties what must be emptied.
func (b *builder) demandStage() {
	b.collectDemands()
	for c := range b.rooms {
		b.rooms[c].fresh = false
	}
	leavers := b.leavers()
	slices.SortFunc(leavers, func(x, y leaver) int {
		return cmp.Or(b.sooner(&x, &y), b.order.compare(x.v, y.v), cmp.Compare(x.mib, y.mib), cmp.Compare(x.v, y.v))
	})
	for i := range leavers {
		b.leaving[leavers[i].v] = true
	}
	for i := range leavers {
		b.leave(&leavers[i])
	}
	held := slices.DeleteFunc(leavers, func(x leaver) bool { return !b.held[x.v] })
	for b.rejoin() && len(held) > 0 {
		held = b.again(held)
	}
	b.maintain()
	b.exitMaintenance()
}

// sooner orders who leaves first, whatever the order of VMs that are alike.
func (b *builder) sooner(x, y *leaver) int {
	return cmp.Or(b.demands[x.demand].sooner(&b.demands[y.demand]), cmp.Compare(evacIndex(x.cold), evacIndex(y.cold)), cmp.Compare(b.tierKey(x.tier), b.tierKey(y.tier)))
}

// leavers lists the VMs that demands want away.
func (b *builder) leavers() []leaver {
	if len(b.demands) == 0 {
		return nil
	}
	b.wide = true
	var out []leaver
	tier := b.tierOf()
	for i := range b.s.VMs {
		v := int32(i)
		k := b.demandOf(v)
		if k < 0 {
			continue
		}
		vm := &b.s.VMs[v]
		if vm.Obstacles&engine.ObAgent != 0 && !b.alone() {
			continue // agents follow their hosts
		}
		if vm.Power != engine.VMOn && !b.demands[k].cold && b.demands[k].subject.Kind != "datastore" && !b.alone() {
			continue // it may stay on the host while that is in maintenance
		}
		mib := vm.DiskMiB() + int64(max(vm.UsedMiB, 0))
		out = append(out, leaver{v: v, demand: k, cold: vm.Power != engine.VMOn, tier: tier[v], mib: mib})
	}
	return out
}

// alone reports whether there is but one host: then nothing can go anywhere,
// and each VM is told so.
func (b *builder) alone() bool { return len(b.s.Hosts) == 1 }

// demandOf is the demand that wants VM v away: its host's, or that of a datastore under it.
func (b *builder) demandOf(v int32) int32 {
	vm := &b.s.VMs[v]
	k := engine.None
	if vm.Host >= 0 {
		k = b.hostDemand[vm.Host]
	}
	take := func(ds int32) {
		if ds < 0 || b.doomedDS[ds] == 0 {
			return
		}
		if x := b.doomedDS[ds] - 1; k < 0 || b.demands[x].sooner(&b.demands[k]) < 0 {
			k = x
		}
	}
	take(vm.Home)
	for i := range vm.Disks {
		take(vm.Disks[i].Datastore)
	}
	return k
}

// leave plans one VM's way out, or says why there is none.
func (b *builder) leave(x *leaver) {
	dm := &b.demands[x.demand]
	vm := &b.s.VMs[x.v]
	if to := b.dest[x.v]; b.openVM[x.v] && to >= 0 && !b.doomed[to] {
		return // it is on its way
	}
	text := "leave " + dm.subject.Kind + " " + dm.name
	if b.alone() {
		b.holdVM(x.v, reason{code: engine.HoldNowhere, form: "%[1]s is the only host", where: b.s.Hosts[0].Name}, text, dm.subject, dm.why)
		return
	}
	if b.delegated(x.v, dm) {
		return
	}
	w := want{
		v: x.v, demand: x.demand, evac: dm.evac, lax: true, tight: b.order != nil && b.order.tight, sites: b.refuges(x.v, dm), cluster: engine.None, host: engine.None, avoid: engine.None,
		here: vm.Host >= 0 && !b.doomed[vm.Host],
	}
	if r := b.vmReason(&w); !r.ok() {
		b.holdVM(x.v, r, text, dm.subject, dm.why)
		return
	}
	if b.evaluated >= b.budget {
		b.holdVM(x.v, b.exhausted(), text, dm.subject, dm.why)
		return
	}
	if w.here {
		w.host = vm.Host
		if h, r := b.find(&w); r.ok() {
			b.commit(&w, h, dm.why, engine.Ledger{})
			return
		}
		w.host = engine.None
	}
	h, r := b.chosen(&w)
	if !r.ok() && dm.evac && !b.order.waits(x.v) && (r.stage == stCapacity || r.stage == stReserve || r.stage == stHost || r.stage == stNowhere) {
		if woken := b.wakeRefuge(&w); woken >= 0 {
			h, r = woken, reason{}
		}
	}
	if !r.ok() {
		if w.sites == 0 {
			r = reason{code: engine.HoldNowhere, form: "every other site is threatened or being emptied as well"}
		}
		b.holdVM(x.v, r, text, dm.subject, dm.why)
		return
	}
	if b.order.waits(x.v) {
		b.holdVM(x.v, reason{code: engine.HoldDeadline, form: "it would be late, and keep others from leaving in time: it waits until the way is free"}, text, dm.subject, dm.why)
		return
	}
	b.commit(&w, h, dm.why, engine.Ledger{})
}

// chosen is the host that the order has chosen for the VM, or else one that is found.
func (b *builder) chosen(w *want) (int32, reason) {
	if b.order != nil && b.order.to != nil && b.order.to[w.v] >= 0 {
		w.host = b.order.to[w.v]
		h, r := b.find(w)
		if w.host = engine.None; r.ok() {
			return h, r
		}
	}
	return b.find(w)
}

// delegated reports whether the cluster's own scheduler empties the VM's host
// when that enters maintenance.
func (b *builder) delegated(v int32, dm *demand) bool {
	return !dm.evac && dm.then == engine.ThenMaintenance && b.s.Clusters[b.s.VMCluster(v)].DRS == engine.DRSFull
}

// refuges are the sites that a VM may flee to: never one that is doomed or
// threatened, except that it may stay where it is when only a host is left.
func (b *builder) refuges(v int32, dm *demand) engine.SiteMask {
	var all engine.SiteMask
	for s := range b.s.Sites {
		all = all.With(int32(s))
	}
	safe := all &^ b.doomedSite &^ b.threatened
	if site := b.s.VMSite(v); dm.subject.Kind != "site" && !b.doomedSite.Has(site) {
		safe = safe.With(site)
	}
	return safe
}

// wakeRefuge wakes a host that this daemon put in standby, if VM w.v can go there then.
func (b *builder) wakeRefuge(w *want) int32 {
	if b.asleep == nil {
		b.asleep = []int32{}
		for h := range b.s.Hosts {
			if r := b.wakeable(int32(h), true); r.ok() && !b.doomed[h] {
				b.asleep = append(b.asleep, int32(h))
			}
		}
	}
	for _, h := range b.asleep {
		if !w.sites.Has(b.s.Hosts[h].Site) || b.waking[h] > 0 {
			continue
		}
		c := b.s.Hosts[h].Cluster
		b.waking[h] = 1 // as if
		b.rooms[c].fresh = false
		b.prepare(w)
		r := b.clusterReason(w, c)
		if r.ok() {
			r = b.hostReason(w, h)
		}
		if r.ok() {
			b.wake(h, b.demands[w.demand].why, w.demand)
			return h
		}
		b.waking[h] = 0
		b.rooms[c].fresh = false
	}
	return engine.None
}

// maintain puts the emptied hosts into maintenance.
func (b *builder) maintain() {
	if len(b.demands) == 0 {
		return
	}
	for i := range b.s.Hosts {
		h := int32(i)
		k := b.hostDemand[h]
		if k < 0 || b.demands[k].then != engine.ThenMaintenance || b.st.Maint[h] {
			continue
		}
		dm := &b.demands[k]
		if b.openTo[h] {
			continue // it is entering
		}
		r := b.maintainReason(h, dm)
		if !r.ok() {
			b.holdHost(h, r, "enter maintenance", dm.subject, dm.why)
			continue
		}
		a := b.hostAction(engine.EnterMaintenance, h, dm.why)
		a.Demand, a.Deadline = dm.subject, dm.deadline
		a.After = b.movesFrom(h)
		if b.s.Clusters[b.s.Hosts[h].Cluster].DRS == engine.DRSFull {
			a.After = append(a.After, b.wakesIn(b.s.Hosts[h].Cluster)...) // their room is counted on
			secs, _ := b.delegate(h)
			a.Estimate.Seconds += secs
		}
		b.addHostAction(a, h, k, 0)
	}
}

// movesFrom lists the planned moves away from host h.
func (b *builder) movesFrom(h int32) []int32 {
	var out []int32
	for _, v := range b.s.VMsOn(h) {
		if k := b.moved[v]; k > 0 && b.acts[k-1].to != h {
			out = append(out, k-1)
		}
	}
	slices.Sort(out)
	return out
}

// wakesIn lists the planned wakes of hosts of cluster c.
func (b *builder) wakesIn(c int32) []int32 {
	var out []int32
	for _, h := range b.s.HostsOf(c) {
		if k := b.waking[h]; k > 0 {
			out = append(out, k-1)
		}
	}
	return out
}

// maintainReason says why host h may not enter maintenance now.
func (b *builder) maintainReason(h int32, dm *demand) reason {
	host := &b.s.Hosts[h]
	if r := b.hostActionReason(h, b.c.Modes.Maintenance, "maintenance", dm.evac); !r.ok() {
		return r
	}
	if b.st.Power[h] != engine.HostOn || !host.Connected {
		return reason{code: engine.HoldUnavailable, form: "%[1]s is not on or not connected", where: host.Name}
	}
	if host.VSANData {
		return reason{code: engine.HoldVSAN, form: "%[1]s contributes storage to vSAN: its data must be moved by a person first", where: host.Name}
	}
	drs := b.s.Clusters[host.Cluster].DRS == engine.DRSFull
	var stay []string
	going := 0
	for _, v := range b.s.VMsOn(h) {
		vm := &b.s.VMs[v]
		if vm.Power != engine.VMOn || vm.Obstacles&engine.ObAgent != 0 {
			continue
		}
		if drs {
			w := want{v: v, demand: 0, host: engine.None, avoid: engine.None}
			if r := b.vmReason(&w); !r.ok() {
				b.holdVM(v, r, "leave host "+host.Name, dm.subject, dm.why)
				stay = append(stay, vm.Name)
			}
		} else if b.openVM[v] {
			going++
		} else if b.moved[v] == 0 {
			stay = append(stay, vm.Name)
		}
	}
	if going > 0 || b.st.In[h] > 0 {
		return reason{code: engine.HoldBusy, form: "%[3]d moves from it and %[4]d to it are under way", a: int64(going), b: int64(b.st.In[h])}
	}
	if len(stay) > 0 {
		return reason{code: engine.HoldNotEmpty, form: "%[3]v left on it: %[2]s", other: someNames(stay), a: int64(len(stay))}
	}
	if drs {
		if r := b.roomReason(host.Cluster, true); !r.ok() {
			return r
		}
	}
	return reason{}
}

// someNames joins the first few names.
func someNames(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// exitMaintenance takes hosts out of the maintenance that this daemon put them
// in, once nothing asks for it any more.
func (b *builder) exitMaintenance() {
	for _, h := range b.resting {
		host := &b.s.Hosts[h]
		if b.openTo[h] || b.ofHost(h).Own != engine.OwnMaintenance || b.hostDemand[h] >= 0 || b.inWindow(h) {
			continue
		}
		why := []engine.Why{{Policy: "engine", Rule: "maintenance", Reason: "nothing asks for its maintenance any more"}}
		if !strings.HasPrefix(host.Mark, "maintenance") {
			b.holdHost(h, reason{code: engine.HoldOwner, form: "the journal says that we put it there, its mark %[2]s does not: a person may own it", other: strconv.Quote(host.Mark)}, "exit maintenance", engine.Subject{}, why)
			continue
		}
		if r := b.hostActionReason(h, b.c.Modes.Maintenance, "maintenance", false); !r.ok() {
			b.holdHost(h, r, "exit maintenance", engine.Subject{}, why)
			continue
		}
		b.addHostAction(b.hostAction(engine.ExitMaintenance, h, why), h, engine.None, 0)
	}
}

// inWindow reports whether a maintenance window covers host h now.
func (b *builder) inWindow(h int32) bool {
	host := &b.s.Hosts[h]
	for i := range b.in.Windows {
		w := &b.in.Windows[i]
		if w.Kind != "maintenance" || b.in.Now < w.From || b.in.Now >= w.To {
			continue
		}
		switch id := w.Place.ID; w.Place.Kind {
		case "fleet":
			return true
		case "site":
			if host.Site >= 0 && string(b.s.Sites[host.Site].ID) == id {
				return true
			}
		case "cluster":
			if c := &b.s.Clusters[host.Cluster]; string(c.ID) == id || c.Name == id {
				return true
			}
		case "host":
			if string(host.ID) == id || host.Name == id {
				return true
			}
		}
	}
	return false
}
