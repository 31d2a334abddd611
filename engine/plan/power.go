package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// wakeStage wakes hosts: as many of a cluster as it lacks. Policies name which may be
// woken. What this daemon itself put to sleep is woken whoever asks for it where the
// cluster is short of room.
func (b *builder) wakeStage() {
	named := make([][]int32, len(b.s.Clusters))
	for _, group := range b.byCluster(len(b.d.Wakes), func(i int32) int32 { return b.d.Wakes[i].Host }) {
		named[b.s.Hosts[b.d.Wakes[group[0]].Host].Cluster] = group
	}
	for c := range named {
		list := b.sleeping(int32(c), named[c])
		if len(list) > 0 && !b.short(int32(c)) {
			list = slices.DeleteFunc(list, func(x riser) bool { return len(x.why) == 0 })
		}
		for len(list) > 0 {
			r := b.lacks(int32(c))
			if r.ok() {
				break
			}
			b.wakeNext(&list, &r)
		}
	}
}

// byCluster groups the indices 0..n-1 by their host's cluster, in order of cluster,
// each group by host.
func (b *builder) byCluster(n int, host func(int32) int32) [][]int32 {
	all := newCSR(len(b.s.Clusters), func(add func(bucket, item int32)) {
		for i := range int32(n) {
			add(b.s.Hosts[host(i)].Cluster, i)
		}
	})
	var out [][]int32
	for c := range int32(len(b.s.Clusters)) {
		if list := all.of(c); len(list) > 0 {
			slices.SortStableFunc(list, func(x, y int32) int { return cmp.Compare(host(x), host(y)) })
			out = append(out, list)
		}
	}
	return out
}

// A riser is a host that may be woken, and who says so.
type riser struct {
	h   int32
	why []engine.Why // nobody: it is one of ours
}

// sleeping lists the hosts of cluster c that may be woken: those that policies name
// and those that are ours, the most room for its idle power first.
func (b *builder) sleeping(c int32, named []int32) []riser {
	var list []riser
	for _, h := range b.s.HostsOf(c) {
		if b.st.Power[h] != engine.HostStandby || b.doomed[h] || b.waking[h] > 0 || b.openTo[h] {
			continue
		}
		x := riser{h: h}
		for _, i := range named {
			if w := &b.d.Wakes[i]; w.Host == h {
				x.why = append(x.why, b.d.Why(w.By))
			}
		}
		if len(x.why) > 0 || b.ofHost(h).Own == engine.OwnStandby {
			list = append(list, x)
		}
	}
	slices.SortStableFunc(list, func(x, y riser) int { return cmp.Compare(b.wattsPerGHz(x.h), b.wattsPerGHz(y.h)) })
	return list
}

// wakeNext wakes the first of the list that can be, for the reason given. It returns
// the host, or None.
func (b *builder) wakeNext(list *[]riser, r *reason) int32 {
	for len(*list) > 0 {
		x := (*list)[0]
		*list = (*list)[1:]
		why := append(slices.Clone(x.why), engine.Why{Policy: "engine", Rule: "repair", Reason: b.text(r)})
		if r := b.wakeable(x.h, false); !r.ok() {
			if len(x.why) > 0 {
				b.holdHost(x.h, r, "wake", engine.Subject{}, x.why)
			}
			continue
		}
		b.wake(x.h, why, engine.None)
		return x.h
	}
	return engine.None
}

// short reports whether cluster c, as it stands, has a host over its capacity or
// carries more than it may with its reserve.
func (b *builder) short(c int32) bool {
	if b.strained(c) {
		return true
	}
	x := room{usedCPU: b.carried[c][0], usedMem: b.carried[c][1]}
	for _, h := range b.s.HostsOf(c) {
		if b.ground.Ready(h) {
			continue
		}
		own, foot := &b.own[h], &b.lodgers[h].foot
		cpu, mem := b.ground.CPU[h]-own[0]-foot[0], b.ground.Mem[h]-own[1]-foot[1] // its hypervisor goes with it
		x.usedCPU, x.usedMem = x.usedCPU-int64(cpu), x.usedMem-int64(mem)
	}
	b.limits(&x, c, func(h int32, _ bool) bool { return b.ground.Ready(h) })
	return x.usedCPU > x.cpu[0] || x.usedMem > x.mem[0]
}

// lacks says for what cluster c needs one more host, those that are coming counted:
// it is above its limit for wishes, or wishes without room would pay for it.
func (b *builder) lacks(c int32) reason {
	x := b.rooms[c]
	x.usedCPU -= b.passing(c)
	b.limits(&x, c, func(h int32, _ bool) bool { return b.usable(h) || b.coming(h) })
	if r := b.holdsIn(&x, c, engine.Footprint{}, false); !r.ok() {
		return r
	}
	u := &b.unmet[c]
	if u.vms == 0 || (x.usedCPU+u.cpu <= x.cpu[0] && x.usedMem+u.mem <= x.mem[0]) {
		return reason{}
	}
	for _, h := range b.s.HostsOf(c) {
		if idle := b.energyPerH(b.s.Hosts[h].Site, int64(max(b.s.Hosts[h].IdleW, 0))*1000); b.st.Power[h] == engine.HostStandby && u.saves > idle {
			return reason{code: engine.HoldCapacity, form: "there is no room for %[3]v that would be better there", a: int64(u.vms)}
		}
	}
	return reason{}
}

// passing is what cluster c counts, MHz, beyond what its VMs have taken in this interval
// and in the one before: what has just begun, and what they are packed on besides. Where
// no host is over its capacity none is woken for that: it may be gone before one is on.
func (b *builder) passing(c int32) int64 {
	if b.lasting[c] == engine.Unknown || b.strained(c) {
		return 0
	}
	sum := max(b.partsIn[c].takes-int64(b.lasting[c]), 0)
	for _, h := range b.s.HostsOf(c) {
		for _, v := range b.s.VMsOn(h) {
			if vm := &b.s.VMs[v]; vm.Power == engine.VMOn {
				sum += int64(b.ground.Foot[v].CPUMHz - max(vm.UsedMHz, vm.ReserveMHz, 0))
			}
		}
	}
	return sum
}

// strained reports whether a host of cluster c is over its capacity.
func (b *builder) strained(c int32) bool {
	return slices.ContainsFunc(b.over, func(h int32) bool { return b.s.Hosts[h].Cluster == c })
}

// coming reports whether host h is being woken already.
func (b *builder) coming(h int32) bool {
	return b.openTo[h] && b.s.Hosts[h].Power == engine.HostStandby && b.st.Power[h] == engine.HostStandby && !b.st.Maint[h]
}

func (b *builder) wattsPerGHz(h int32) int64 {
	x := &b.s.Hosts[h]
	return int64(max(x.IdleW, 0)) * 1_000_000 / int64(max(x.CPUMHz, 1))
}

// sleepReason says why a host may not be put in standby whatever its load; with
// less, not that its cluster lacks room without it.
func (b *builder) sleepReason(x *sleeper, less bool) reason {
	if r := b.leavingReason(x.h); !r.ok() {
		return r
	}
	if !b.quiet[x.h] || b.openHost[x.h] {
		if r := b.stateReason(x.h); !r.ok() {
			return r
		}
		b.quiet[x.h] = !b.openHost[x.h]
	}
	switch {
	case b.st.In[x.h] > 0:
		return reason{code: engine.HoldBusy, form: "%[3]v on the way to it", a: int64(b.st.In[x.h])}
	case b.openHost[x.h]:
		return reason{code: engine.HoldBusy, form: "an action on it is under way"}
	}
	if r := b.powerReason(b.s.Hosts[x.h].Cluster); !r.ok() {
		return r
	}
	return b.restReason(x, less)
}

// stateReason says what of host h itself and of its cluster, as they are configured,
// keeps it on: nothing that a plan decides, and nothing that comes with time alone.
func (b *builder) stateReason(h int32) reason {
	host := &b.s.Hosts[h]
	cl := &b.s.Clusters[host.Cluster]
	if r := b.hostActionReason(h, b.c.Modes.Standby, "standby", false); !r.ok() {
		return r
	}
	if k := of(b.d.KeepOns, h, func(k *engine.KeepOn) int32 { return k.Host }); len(k) > 0 {
		return reason{code: engine.HoldKeepOn, form: "kept on by %[2]s", other: b.d.Why(k[0].By).String()}
	}
	switch {
	case b.bars[0][h] != barNone:
		return b.barReason(h, b.bars[0][h], false)
	case cl.DPM:
		return reason{code: engine.HoldDPM, form: "vSphere manages the power of cluster %[1]s", where: cl.Name}
	case !host.Standby:
		return reason{code: engine.HoldStandby, form: "it has neither a BMC nor wake-on-LAN configured, so nothing could wake it"}
	case host.VSANData:
		return reason{code: engine.HoldVSAN, form: "it contributes storage to vSAN"}
	case host.USB:
		return reason{code: engine.HoldStandby, form: "a USB device of it is passed through to a VM"}
	case slices.Contains(cl.FailOn, h):
		return reason{code: engine.HoldReserve, form: "it is a dedicated failover host of cluster %[1]s", where: cl.Name}
	case b.tariff[host.Site] < 0 || host.IdleW < 0:
		return reason{code: engine.HoldGap, form: "the price of energy at %[1]s or its idle power is not known, so a saving cannot be told", where: string(b.s.Sites[host.Site].ID)}
	}
	if x, rest := b.ofHost(h), b.powerRest(h); x.ChangeAt != 0 && int64(b.in.Now-x.ChangeAt) < rest {
		return reason{code: engine.HoldCooldown, form: "its state changed %[3]d s ago, it may change again after %[4]d s", a: int64(b.in.Now - x.ChangeAt), b: rest}
	}
	return reason{}
}

// restReason asks, before anything is tried, what its cluster and its site are
// without the host: one stays on in each, and the cluster holds what it runs.
//
// A host that is being evacuated counts for nothing there, except to others of
// its kind. The VMs that leave need no reserve where they leave from, since
// nothing may come back to it: with them alone the cluster's reserve, and what its
// HA admission asks, do not bind. As long as any must stay behind they bind as ever.
func (b *builder) restReason(x *sleeper, less bool) reason {
	c, doomed := b.s.Hosts[x.h].Cluster, b.doomed[x.h]
	if !doomed && !b.drained[x.h] && b.st.Ready(x.h) && b.spares(c) {
		return reason{}
	}
	rest := room{usedCPU: b.rooms[c].usedCPU, usedMem: b.rooms[c].usedMem, relief: b.rooms[c].relief}
	cpu, mem := b.itself(x.h)
	rest.relief.cpu, rest.relief.mem = rest.relief.cpu+cpu, rest.relief.mem+mem
	other := func(h int32) bool { return h != x.h && b.st.Ready(h) && !b.drained[h] && (doomed || !b.doomed[h]) }
	site, alone := b.s.Hosts[x.h].Site, engine.None
	if doomed || b.drained[x.h] || !b.st.Ready(x.h) {
		b.limits(&rest, c, func(h int32, _ bool) bool { return other(h) })
	} else {
		alone = b.without(&rest, c, x.h)
	}
	switch {
	case rest.hosts == 0:
		return reason{code: engine.HoldLast, form: "it is the last host that is on in cluster %[1]s", where: b.s.Clusters[c].Name}
	case alone != site && !b.anyAt(c, site, other):
		return reason{code: engine.HoldLast, form: "it is the last host that is on at site %[1]s", where: string(b.s.Sites[site].ID)}
	case less || (doomed && !x.stays):
		return reason{}
	}
	rest.usedCPU = max(rest.usedCPU, b.recent[c])
	return b.holdsIn(&rest, c, engine.Footprint{}, false)
}

// anyAt reports whether a host at the site counts; first of cluster c, which settles
// it nearly always.
func (b *builder) anyAt(c, site int32, counts func(h int32) bool) bool {
	in := func(c int32) bool {
		return slices.ContainsFunc(b.s.HostsOf(c), func(h int32) bool { return b.s.Hosts[h].Site == site && counts(h) })
	}
	return in(c) || slices.ContainsFunc(b.siteClust[site], in)
}

// leavingReason says why a host that is being emptied stays on: it is to be left
// in another state, or something is still on it or on its way.
func (b *builder) leavingReason(h int32) reason {
	if !b.doomed[h] {
		return reason{}
	}
	r := reason{code: engine.HoldEvacuating, form: "it stands where everything is to leave"}
	for i := range b.demands {
		if s := &b.demands[i].subject; s.Kind == "host" && s.ID == string(b.s.Hosts[h].ID) {
			r.form = "it is to be emptied itself"
			return r
		}
	}
	left := 0
	for _, v := range b.s.VMsOn(h) {
		if b.s.VMs[v].Obstacles&engine.ObAgent == 0 {
			left++
		}
	}
	if left > 0 {
		r.form, r.a = r.form+", with %[3]v still on it", int64(left)
		return r
	}
	if b.openHost[h] || b.st.In[h] > 0 {
		r.form += ", and a move is still under way"
		return r
	}
	return reason{}
}

// staysBehind reports whether a VM that runs where cluster c is being evacuated
// neither leaves with this plan nor is on its way.
func (b *builder) staysBehind(c int32) bool {
	if len(b.demands) == 0 {
		return false
	}
	for _, h := range b.s.HostsOf(c) {
		if !b.doomed[h] {
			continue
		}
		for _, v := range b.s.VMsOn(h) {
			if vm := &b.s.VMs[v]; vm.Power == engine.VMOn && vm.Obstacles&engine.ObAgent == 0 && b.doomed[b.final(v)] {
				return true
			}
		}
	}
	return false
}

// powerReason applies budgets and what else happens in the cluster.
func (b *builder) powerReason(c int32) reason {
	for _, x := range b.s.HostsOf(c) {
		if !b.astir {
			break
		}
		// Never drain and wake in one cluster at once.
		if b.waking[x] > 0 || (b.openTo[x] && b.st.Power[x] == engine.HostStandby && b.s.Hosts[x].Power == engine.HostStandby) {
			return reason{code: engine.HoldBusy, form: "%[1]s of its cluster is being woken", where: b.s.Hosts[x].Name}
		}
	}
	switch {
	case b.left.PowerHour <= 0:
		return reason{code: engine.HoldBudget, form: "this hour's %[3]d standby actions are used up", a: int64(b.c.PowerPerHour)}
	case b.left.PowerDay <= 0:
		return reason{code: engine.HoldBudget, form: "this day's %[3]d standby actions are used up", a: int64(b.c.PowerPerDay)}
	}
	return reason{}
}

// powerRest is how long a host stays as it is after a change: the cool-down, and
// until idling has cost as much as another standby and wake. Who waits that long
// never pays more than twice what knowing the future would have cost. Source:
// Karlin et al., "Competitive Snoopy Caching", Algorithmica 1988 (ski rental). One
// that is woken soon each time rests longer.
func (b *builder) powerRest(h int32) int64 {
	host := &b.s.Hosts[h]
	idle := b.energyPerH(host.Site, int64(max(host.IdleW, 0))*1000)
	rest := b.c.PowerCooldownS
	if idle > 0 {
		rest = max(rest, b.c.PowerCycleMicro*3600/idle)
	}
	return engine.Longer(rest, b.ofHost(h).Returns)
}
