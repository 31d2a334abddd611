package check

import (
	"slices"

	"heliostat/engine"
)

// start begins action i and judges the fleet as it is then. It reports whether
// the action could begin at all.
func (r *replay) start(i int32) bool {
	e := &r.steps[i]
	grows, before := r.grows(e), [2]int64{}
	if grows >= 0 {
		before = r.lack(grows)
	}
	if e.kind != engine.Move {
		return r.startHost(i, e, grows, before)
	}
	if e.from != e.to && !r.st.Ready(e.to) {
		r.refuse(i, engine.HoldUnavailable, "starts while host %s is %s, maintenance %t", r.acts[i].To.Host, r.st.Power[e.to], r.st.Maint[e.to])
	}
	if e.storage || !r.st.Arrive(e.vm, e.from, e.to, &e.foot) {
		if err := r.st.StartMove(r.acts[i], e.vm, e.to); err != nil {
			r.refuse(i, shape, "%v", err)
			return false
		}
	}
	if e.inside {
		r.double(e, 1)
	}
	if e.from != e.to {
		r.room(i, e)
	}
	r.flight++
	if e.storage {
		r.space(i)
	}
	if e.grouped {
		r.enter(i)
	}
	if grows >= 0 {
		r.reserve(i, grows, before)
	}
	return true
}

// startHost begins an action on a host.
func (r *replay) startHost(i int32, e *step, grows int32, before [2]int64) bool {
	a, ready := r.acts[i], r.st.Ready(e.from)
	if e.empties() && (r.st.In[e.from] > 0 || (r.st.On[e.from] > 0 && !r.c.delegates(e))) {
		r.refuse(i, engine.HoldNotEmpty, "starts while %d VMs run on the host, %d of them arriving", r.st.On[e.from], r.st.In[e.from])
	}
	if err := r.st.Start(a); err != nil {
		r.refuse(i, shape, "%v", err)
		return false
	}
	r.turned(e.from, ready)
	if e.kind == engine.Standby {
		r.last(i, a, e)
	}
	if grows >= 0 {
		r.reserve(i, grows, before)
	}
	return true
}

// end finishes action i, or takes it back when it failed.
func (r *replay) end(i int32, failed bool) {
	e := &r.steps[i]
	if e.kind != engine.Move {
		ready := r.st.Ready(e.from)
		r.cannot(i, r.endHost(i, failed))
		r.turned(e.from, ready)
		return
	}
	r.cannot(i, r.endMove(i, e, failed))
	if e.inside {
		r.double(e, -1)
	}
	r.flight--
	if e.grouped {
		r.leave(i, failed)
	}
}

// endMove ends a move on the state; what it moves was looked up before.
func (r *replay) endMove(i int32, e *step, failed bool) error {
	switch {
	case failed:
		return r.st.AbortMove(r.acts[i], e.vm, e.to)
	case !e.storage && r.st.Depart(e.vm, e.to, &e.foot):
		return nil
	}
	return r.st.FinishMove(r.acts[i], e.vm, e.to)
}

func (r *replay) endHost(i int32, failed bool) error {
	if failed {
		return r.st.Abort(r.acts[i])
	}
	return r.st.Finish(r.acts[i])
}

// cannot refuses an action of the plan that cannot end.
func (r *replay) cannot(i int32, err error) {
	if err != nil && int(i) < r.open {
		r.refuse(i, shape, "%v", err)
	}
}

// grows is the cluster on whose reserve the action draws, or None.
func (r *replay) grows(e *step) int32 {
	switch {
	case e.empties():
		return r.c.s.Hosts[e.from].Cluster
	case e.kind == engine.Move && !e.inside && e.from != e.to:
		return r.c.s.Hosts[e.to].Cluster
	}
	return engine.None
}

// turned keeps count of the hosts that can take a VM.
func (r *replay) turned(h int32, before bool) {
	switch after := r.st.Ready(h); {
	case after && !before:
		r.count(r.ready, h, 1)
	case before && !after:
		r.count(r.ready, h, -1)
	}
}

// double keeps count of what moves inside a cluster occupy twice.
func (r *replay) double(e *step, sign int32) {
	c, f := r.c.s.Hosts[e.from].Cluster, &e.foot
	r.twice[c][0] += int64(sign * f.CPUMHz)
	r.twice[c][1] += int64(sign * f.MiB)
}

// room checks that the destination host holds what it has and what arrives. An
// arrival that needs nothing of a resource does not make it worse.
func (r *replay) room(i int32, e *step) {
	cfg, h, f := &r.c.in.Config, &r.c.s.Hosts[e.to], &e.foot
	cpu, mem := cfg.CPUMaxPct, cfg.MemMaxPct
	if e.demanded {
		cpu, mem = max(cpu, cfg.EvacuationCPUPct), max(mem, cfg.EvacuationMemPct)
	}
	if used := r.st.CPU[e.to]; f.CPUMHz > 0 && int64(used)*100 > int64(h.CPUMHz)*int64(cpu) {
		r.refuse(i, engine.HoldCapacity, "host %s would carry %d MHz of %d, at most %d %%, with %d moves under way", h.ID, used, h.CPUMHz, cpu, r.flight)
	}
	if used := r.st.Mem[e.to]; f.MiB > 0 && int64(used)*100 > int64(h.MemoryMiB)*int64(mem) {
		r.refuse(i, engine.HoldCapacity, "host %s would carry %d MiB of %d, at most %d %%, with %d moves under way", h.ID, used, h.MemoryMiB, mem, r.flight)
	}
	if used := r.st.VCPU[e.to]; f.VCPUs > 0 && int64(used)*10 > int64(h.Cores)*int64(cfg.VCPUPerCoreX10) {
		r.refuse(i, engine.HoldCapacity, "host %s would carry %d vCPUs on %d cores, at most %d tenths a core, with %d moves under way", h.ID, used, h.Cores, cfg.VCPUPerCoreX10, r.flight)
	}
}

// space checks that every datastore written to keeps its floor.
func (r *replay) space(i int32) {
	a := r.acts[i]
	check := func(id engine.DatastoreID, brings bool) {
		d, ok := r.c.s.FindDatastore(id)
		if !ok || !brings {
			return
		}
		ds, free := &r.c.s.Datastores[d], r.st.Free[d]
		for _, t := range r.twins[ds.URL] {
			if t != d { // one volume: what is taken there is missing here
				free += r.st.Free[t] - r.c.s.Datastores[t].FreeMiB
			}
		}
		if free*100 < ds.CapacityMiB*int64(r.c.in.Config.DatastoreFreePct) {
			r.refuse(i, engine.HoldSpace, "datastore %s would have %d MiB free of %d, at least %d %%, with %d moves under way",
				id, free, ds.CapacityMiB, r.c.in.Config.DatastoreFreePct, r.flight)
		}
	}
	check(a.HomeTo, a.SwapMiB > 0)
	for k := range a.Disks {
		check(a.Disks[k].To, a.Disks[k].To != a.Disks[k].From && a.Disks[k].MiB > 0)
	}
}

// last checks that standby leaves its cluster and its site a host.
func (r *replay) last(i int32, a *engine.Action, e *step) {
	h := &r.c.s.Hosts[e.from]
	if r.ready[0][h.Cluster] < 1 {
		r.refuse(i, engine.HoldLast, "leaves cluster %s without a host that can take a VM", a.From.Cluster)
	}
	if h.Site >= 0 && r.ready[1][h.Site] < 1 {
		r.refuse(i, engine.HoldLast, "leaves site %s without a host that can take a VM", a.From.Site)
	}
}

// reserve checks that the cluster still survives the failures it must, or lacks
// no more for it than at the start. A demand may use the reserve up to its own
// floor, which room checks host by host; it takes a host away at any price. And
// where all that runs leaves, and nothing may come, no reserve is kept.
func (r *replay) reserve(i, cluster int32, before [2]int64) {
	e := &r.steps[i]
	if e.kind == engine.EnterMaintenance && r.st.On[e.from] > 0 {
		r.floor(i, cluster)
	}
	if e.kind == engine.Standby && r.c.marks[e.from]&leaving != 0 && !r.stays(cluster) {
		return
	}
	if e.demanded || e.kind == engine.EnterMaintenance {
		return
	}
	start := r.lacked[cluster]
	now := r.lack(cluster)
	for k, unit := range units {
		if now[k] > 0 && now[k] > start[k] && now[k] > before[k] {
			r.refuse(i, engine.HoldReserve, "cluster %s would lack %d %s to survive %d host failures, lacked %d at the start, with %d moves under way",
				r.c.s.Clusters[cluster].ID, now[k], unit, r.failures(cluster), max(start[k], 0), r.flight)
		}
	}
}

// stay is whether VMs stay behind in a cluster, once that was asked.
type stay uint8

const (
	notAsked stay = iota
	allLeave
	someStay
)

// stays reports, looked up once, whether VMs stay behind in the cluster.
func (r *replay) stays(cluster int32) bool {
	if r.remain[cluster] == notAsked {
		r.remain[cluster] = allLeave
		if r.c.behind(cluster) {
			r.remain[cluster] = someStay
		}
	}
	return r.remain[cluster] == someStay
}

// floor checks that the rest of a cluster holds what its own scheduler has to
// take off a host for maintenance.
func (r *replay) floor(i, cluster int32) {
	load := r.load(cluster)
	for k, most := range []int32{r.c.in.Config.EvacuationCPUPct, r.c.in.Config.EvacuationMemPct} {
		capacity, _ := r.capacityOf(cluster, k, 0)
		if load[k]*100 > capacity*int64(most) {
			r.refuse(i, engine.HoldReserve, "cluster %s would have to carry %d %s on %d, at most %d %%", r.c.s.Clusters[cluster].ID, load[k], units[k], capacity, most)
		}
	}
}

// units names the two resources that a cluster's reserve is about.
var units = [2]string{"MHz", "MiB"}

// failures is how many host failures the cluster must survive: the configured
// number, its own admission policy's, or its dedicated failover hosts, whichever
// is most. A stand-alone host has nowhere to fail over to.
func (w *world) failures(cluster int32) int {
	c := &w.c.s.Clusters[cluster]
	n := max(w.c.in.Config.ReserveHosts, int32(len(c.FailOn)))
	if c.HA.Enabled && c.HA.Admission {
		n = max(n, c.HA.HostFailures)
	}
	return int(n)
}

// lack is how many MHz and MiB the cluster's load exceeds what would be left
// after the largest hosts have failed, and after the share that its own
// admission policy holds back; negative when it does not. A VM on its way
// inside the cluster counts once.
func (r *replay) lack(cluster int32) [2]int64 {
	if r.c.s.Clusters[cluster].Lone {
		return [2]int64{}
	}
	load, share := r.load(cluster), r.share(cluster)
	var out [2]int64
	for k := range out {
		capacity, lost := r.capacityOf(cluster, k, r.failures(cluster))
		out[k] = load[k] - (capacity - max(lost, capacity*int64(share[k])/100))
	}
	return out
}

// unasked refuses to wake hosts that no policy permits to wake, and that no demand
// needs, unless their cluster as it stands is short of room.
func (r *replay) unasked() {
	for k := range r.c.p.Actions {
		a, h := &r.c.p.Actions[k], r.c.steps[k].from
		if a.Kind == engine.Wakeup && a.Demand.Kind == "" && r.c.marks[h]&mayWake == 0 && !r.short(r.c.s.Hosts[h].Cluster) {
			r.c.refuse(int32(k), "demand", "no policy permits to wake the host, no demand needs it, and its cluster is not short of room")
		}
	}
}

// short reports whether a host of the cluster is over its capacity, or whether the
// cluster carries more than it may with its reserve.
func (r *replay) short(cluster int32) bool {
	if slices.ContainsFunc(r.c.s.HostsOf(cluster), r.c.over) {
		return true
	}
	failures, share, load := r.failures(cluster), r.share(cluster), r.load(cluster)
	if r.c.s.Clusters[cluster].Lone {
		failures = 0
	}
	for k, most := range []int32{r.c.in.Config.CPUMaxPct, r.c.in.Config.MemMaxPct} {
		all, lost := r.capacityOf(cluster, k, failures)
		if load[k]*100 > min((all-lost)*int64(most), all*int64(100-share[k])) {
			return true
		}
	}
	return false
}

// share is what of CPU and memory the cluster's own admission policy holds back, percent.
func (w *world) share(cluster int32) [2]int32 {
	if x := &w.c.s.Clusters[cluster].HA; x.Enabled && x.Admission {
		return [2]int32{x.CPUPct, x.MemoryPct}
	}
	return [2]int32{}
}

// capacityOf is how much of a resource the hosts have that can take VMs, and how
// much of it goes with so many failures, of the largest.
func (r *replay) capacityOf(cluster int32, resource, failures int) (all, lost int64) {
	for _, h := range r.bySize[resource][cluster] {
		if !r.st.Ready(h) {
			continue
		}
		size := int64(r.c.s.Hosts[h].CPUMHz)
		if resource == 1 {
			size = int64(r.c.s.Hosts[h].MemoryMiB)
		}
		if all += size; failures > 0 {
			failures, lost = failures-1, lost+size
		}
	}
	return all, lost
}

// load is what the cluster's VMs and the hypervisors that are up use, in MHz and MiB.
func (r *replay) load(cluster int32) (load [2]int64) {
	for _, h := range r.c.s.HostsOf(cluster) {
		load[0] += int64(r.st.CPU[h])
		load[1] += int64(r.st.Mem[h])
		if !r.st.Ready(h) { // its hypervisor's own use goes with it
			load[0] -= int64(r.overCPU[h])
			load[1] -= int64(r.overMem[h])
		}
	}
	for k := range load {
		load[k] -= r.twice[cluster][k]
	}
	return load
}

// empties reports whether the action is for an empty host only.
func (e *step) empties() bool {
	return e.kind == engine.Standby || e.kind == engine.EnterMaintenance
}
