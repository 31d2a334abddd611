package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// find chooses a destination for w, or says what binds. Sites come in the order
// in which the move would end soonest, clusters by free room, hosts by the work
// already planned there.
func (b *builder) find(w *want) (int32, reason) {
	b.prepare(w)
	why := reason{code: engine.HoldNowhere, stage: stNone, form: "there is no other host"}
	if w.host >= 0 {
		if r := b.clusterReason(w, b.s.Hosts[w.host].Cluster); !r.ok() {
			return engine.None, r
		}
		r := b.hostReason(w, w.host)
		if r.ok() {
			return w.host, r
		}
		return engine.None, r
	}
	own := b.s.VMCluster(w.v)
	if w.cluster >= 0 {
		return b.findIn(w, w.cluster, engine.None, &why)
	}
	if w.inside || w.sites.Has(b.s.VMSite(w.v)) {
		if h, r := b.findIn(w, own, b.s.VMSite(w.v), &why); r.ok() {
			return h, r
		}
	}
	if w.inside {
		return engine.None, why
	}
	for _, site := range b.siteOrder(w) {
		if r := b.siteReason(w, site); !r.ok() {
			why.further(r)
			continue
		}
		order := append(b.mark.order[:0], b.siteClust[site]...)
		b.mark.order = order
		if len(order) > 1 {
			slices.SortStableFunc(order, func(x, y int32) int { return cmp.Compare(b.headroom(y, w.lax), b.headroom(x, w.lax)) })
		}
		for _, c := range order {
			if c == own && site == b.s.VMSite(w.v) {
				continue // looked at first
			}
			if b.evaluated >= b.budget {
				return engine.None, b.exhausted()
			}
			if h, r := b.findIn(w, c, site, &why); r.ok() {
				return h, r
			}
		}
	}
	return engine.None, why
}

func (b *builder) exhausted() reason {
	return reason{code: engine.HoldBudget, stage: stReserve, form: "the budget of %[3]d candidate evaluations is used up", a: b.budget}
}

// siteReason says why no host at the site will do, without looking at its clusters.
func (b *builder) siteReason(w *want, site int32) reason {
	b.evaluated++
	if r := b.allowedSite(w, site); !r.ok() {
		return r
	}
	if w.demand == engine.None {
		if r := b.coolReason(w.v, site); !r.ok() {
			return r
		}
	}
	if from := b.s.VMSite(w.v); from != site {
		return b.siteLinkReason(from, site, w.live(b))
	}
	return reason{}
}

// headroom is the permille of a cluster's limit that is free, of CPU or memory, the scarcer.
func (b *builder) headroom(c int32, lax bool) int64 {
	r := b.roomOf(c)
	k := evacIndex(lax)
	return min((r.cpu[k]-r.usedCPU)*1000/max(r.cpu[k], 1), (r.mem[k]-r.usedMem)*1000/max(r.mem[k], 1))
}

// siteOrder sorts the candidate sites: its own, then by when the queue of the
// link would be through with this VM, then by round trip.
func (b *builder) siteOrder(w *want) []int32 {
	m := &b.mark
	m.siteKeys = m.siteKeys[:0]
	from := b.s.VMSite(w.v)
	for s := range b.s.Sites {
		site := int32(s)
		if !w.sites.Has(site) {
			continue
		}
		key := int64(-1)
		if site != from {
			k, ok := b.s.Link(from, site)
			if !ok || k.Mbps <= 0 || k.RTTMicros == engine.Unknown {
				key = 1 << 60
			} else {
				// Seconds of queue, then microseconds of round trip.
				key = b.queue[b.linkIndex(from, site)]*8/int64(k.Mbps)*10_000_000 + int64(k.RTTMicros)
			}
		}
		m.siteKeys = append(m.siteKeys, siteKey{site, key})
	}
	slices.SortStableFunc(m.siteKeys, func(x, y siteKey) int { return cmp.Compare(x.key, y.key) })
	out := make([]int32, 0, len(m.siteKeys))
	for _, k := range m.siteKeys {
		out = append(out, k.site)
	}
	return out
}

// clusterReason says why no host of cluster c will do, without looking at them.
func (b *builder) clusterReason(w *want, c int32) reason {
	b.evaluated++
	vm := &b.s.VMs[w.v]
	x := &b.s.Clusters[c]
	own := b.s.VMCluster(w.v)
	if c == own {
		if x.DRS == engine.DRSFull && !w.here {
			return reason{code: engine.HoldDRS, stage: stCompat, form: "cluster %[1]s places VMs inside itself", where: x.Name}
		}
		if w.lax && vm.Power == engine.VMOn {
			return b.roomReason(c, true) // the host that it leaves will be missing
		}
		return reason{}
	}
	if x.VCenter != vm.VCenter {
		if r := b.acrossReason(w, c); !r.ok() {
			return r
		}
	}
	if vm.Power != engine.VMOn {
		return reason{}
	}
	return b.comeReason(w, c)
}

// comeReason asks whether cluster c has room for a VM from outside. What the
// cluster is relieved of counts only for what may wait for it.
func (b *builder) comeReason(w *want, c int32) reason {
	x := *b.roomOf(c)
	if !w.after {
		x.relief = relief{}
	}
	return b.holdsIn(&x, c, b.st.Foot[w.v], w.lax)
}

// acrossReason says why the VM may not leave its vCenter.
func (b *builder) acrossReason(w *want, c int32) reason {
	vm := &b.s.VMs[w.v]
	r := reason{stage: stAcross, where: b.s.VCenters[b.s.Clusters[c].VCenter].Name}
	if !w.evac && !vm.Across {
		r.code, r.form = engine.HoldAcross, "%[1]s is another vCenter, and it is not opted in to such moves"
		return r
	}
	if row, stops := vm.Obstacles.Stops(false, true); stops {
		r.code, r.form, r.other = engine.HoldObstacle, "it %[2]s, and %[1]s is another vCenter", row.Text
		return r
	}
	if vm.Template {
		r.code, r.form = engine.HoldPoweredOff, "templates do not move to another vCenter (%[1]s)"
		return r
	}
	for i := range vm.Disks {
		if vm.Disks[i].Profile != "" {
			r.code, r.form, r.other = engine.HoldStorage, "the storage policy %[2]s of a disk has no mapping at %[1]s", vm.Disks[i].Profile
			return r
		}
	}
	return r
}

// findIn chooses a host of cluster c (at the site, unless None).
func (b *builder) findIn(w *want, c, site int32, why *reason) (int32, reason) {
	pre := b.clusterReason(w, c)
	if !pre.ok() && pre.code != engine.HoldReserve {
		why.further(pre)
		return engine.None, *why
	}
	best, bestWork, bestFill := engine.None, int64(0), int64(0)
	for _, h := range b.s.HostsOf(c) {
		if site >= 0 && b.s.Hosts[h].Site != site {
			continue
		}
		if !pre.ok() {
			// Only what a host would say earlier than the reserve is worth hearing.
			r := b.hostReason(w, h)
			if r.ok() {
				why.further(pre)
				break
			}
			why.further(r)
			continue
		}
		r := b.hostReason(w, h)
		if r.ok() && w.tight && b.going[h] {
			r = reason{code: engine.HoldReserve, stage: stReserve, form: "%[1]s is to be emptied next", where: b.s.Hosts[h].Name}
		}
		if !r.ok() {
			why.further(r)
			continue
		}
		work, fill := b.work[h], b.fill(h)
		if w.tight {
			work, fill = 0, -fill
		} else if b.soonOn[h] > 0 && w.demand < 0 {
			work, fill = 0, int64(b.soonOn[h])*1000/max(b.netMHz(h), 1)
		}
		if b.sleepy[h] && !w.lax {
			work += 1 << 40 // the last resort: it may be the next to be emptied
		}
		if best < 0 || work < bestWork || (work == bestWork && fill < bestFill) {
			best, bestWork, bestFill = h, work, fill
		}
	}
	if best < 0 {
		return engine.None, *why
	}
	return best, reason{}
}

// fill is how full a host is, in permille of CPU or memory, the fuller.
func (b *builder) fill(h int32) int64 {
	x := &b.s.Hosts[h]
	return max(int64(b.st.CPU[h])*1000/int64(max(x.CPUMHz, 1)), int64(b.st.Mem[h])*1000/int64(max(x.MemoryMiB, 1)))
}

// commit plans the move of w to host h and reserves it in the state.
func (b *builder) commit(w *want, h int32, why []engine.Why, ledger engine.Ledger) {
	a := b.action(w, h)
	a.Why, a.Ledger = why, ledger
	var after []int32
	from := b.st.Host[w.v]
	if w.demand >= 0 {
		dm := &b.demands[w.demand]
		a.Demand, a.Deadline = dm.subject, dm.deadline
		a.Ledger.CostOnce = b.moveCost(w.v, from, h, &a.Estimate, a.Estimate.Mbps)
	}
	if b.waking[h] > 0 {
		after = append(after, b.waking[h]-1)
	}
	if w.after {
		after = append(after, b.goneBy[h]...)
		if x := *w; b.s.Hosts[h].Cluster != b.s.VMCluster(w.v) {
			x.after = false
			if r := b.comeReason(&x, b.s.Hosts[h].Cluster); !r.ok() {
				after = append(after, b.rooms[b.s.Hosts[h].Cluster].relief.by...)
			}
		}
	}
	// The action was made from this very state: Start can not refuse it.
	if err := b.st.StartMove(a, w.v, h); err != nil {
		panic("plan: " + err.Error())
	}
	b.arrive(w.v, h)
	b.work[h] += b.slotSeconds(a)
	link := b.linkIndex(b.s.Hosts[from].Site, b.s.Hosts[h].Site)
	if link >= 0 {
		b.queue[link] += a.Estimate.MemoryMiB + a.Estimate.DiskMiB
	}
	b.goes(act{vm: w.v, from: from, to: h, link: link, demand: w.demand, mw: b.marginal(w.v, h) - b.marginal(w.v, from), after: after, action: a}, b.soon(w.v))
	if w.room {
		b.leaves(w.v, from, 1)
	}
}

// goes notes a move of a VM that may soon ask for so many MHz.
func (b *builder) goes(x act, soon int32) {
	b.acts = append(b.acts, x)
	b.dest[x.vm], b.moved[x.vm], b.stirred = x.to, int32(len(b.acts)), append(b.stirred, x.vm)
	b.soonOn[x.to] += soon
	b.sentOff[x.from]++
}

// slotSeconds is how long an action is to keep slots of a host, by their number.
func (b *builder) slotSeconds(a *engine.Action) int64 {
	return a.Estimate.Seconds * int64(b.c.Limits.Cost[a.Class()].Host)
}

// leaves credits a departure (sign 1) to what may come after it, or no longer.
func (b *builder) leaves(v, from, sign int32) {
	f := b.st.Foot[v]
	b.gone[from].take(&load{f.CPUMHz, f.MiB, f.VCPUs, b.soon(v)}, sign)
	if sign > 0 {
		b.goneBy[from] = append(b.goneBy[from], b.moved[v]-1)
	} else {
		b.goneBy[from] = b.goneBy[from][:len(b.goneBy[from])-1]
	}
}

// undo takes back the moves planned since mark.
func (b *builder) undo(mark int) {
	for i := len(b.acts) - 1; i >= mark; i-- {
		b.takeBack(i)
	}
	b.acts = b.acts[:mark]
}

// takeBack frees all that planned move i reserved.
func (b *builder) takeBack(i int) {
	x := &b.acts[i]
	b.soonOn[x.to] -= b.soon(x.vm)
	b.dest[x.vm], b.moved[x.vm] = engine.None, 0
	b.sentOff[x.from]--
	a := x.action
	if a == nil {
		b.st.Remain(x.vm, x.to)
		b.work[x.to] -= x.pace.secs * int64(b.c.Limits.Cost[engine.ClassVMotion].Host)
		return
	}
	if err := b.st.AbortMove(a, x.vm, x.to); err != nil {
		panic("plan: " + err.Error())
	}
	if b.goneBy != nil && slices.Contains(b.goneBy[x.from], int32(i)) {
		b.leaves(x.vm, x.from, -1)
	}
	if c := b.s.Hosts[x.to].Cluster; b.s.VMCluster(x.vm) != c {
		b.rooms[c].usedCPU -= int64(b.st.Foot[x.vm].CPUMHz)
		b.rooms[c].usedMem -= int64(b.st.Foot[x.vm].MiB)
	}
	b.work[x.to] -= b.slotSeconds(a)
	if x.link >= 0 {
		b.queue[x.link] -= a.Estimate.MemoryMiB + a.Estimate.DiskMiB
	}
}

// action describes the move of w to host h.
func (b *builder) action(w *want, h int32) *engine.Action {
	vm := &b.s.VMs[w.v]
	a := &engine.Action{
		Kind: engine.Move, VM: vm.ID, Name: vm.Name, Moid: vm.Moid, Cold: vm.Power != engine.VMOn,
		From: b.place(vm.Host), To: b.place(h), Across: b.s.Hosts[h].VCenter != vm.VCenter, Storage: b.storageNeeded(w, h),
	}
	a.From.Pool, a.From.Folder = vm.Pool, vm.Folder
	if b.s.Hosts[h].Cluster == b.s.VMCluster(w.v) {
		a.To.Pool = vm.Pool
	} else {
		a.To.DRS = b.s.Clusters[b.s.Hosts[h].Cluster].DRS == engine.DRSFull
	}
	if !a.Across {
		a.To.Folder = vm.Folder
	}
	if a.Storage {
		b.fillStorage(a, w, h)
	}
	if h != vm.Host {
		a.NICs = b.nics(w.v, h)
	}
	a.Estimate = b.estimate(w.v, h, a.Storage, b.diskCopy(w, h))
	return a
}

// place names a host and all that it is in, with the cluster's root pool and folder.
func (b *builder) place(h int32) engine.Place {
	x := &b.s.Hosts[h]
	c := &b.s.Clusters[x.Cluster]
	p := engine.Place{VCenter: b.s.VCenters[x.VCenter].ID, Cluster: c.ID, Host: x.ID, Name: x.Name, Pool: c.Pool, Folder: c.Folder}
	if x.Site >= 0 {
		p.Site = b.s.Sites[x.Site].ID
	}
	return p
}

func (b *builder) fillStorage(a *engine.Action, w *want, h int32) {
	vm := &b.s.VMs[w.v]
	c, r := b.chooseStorage(w, h, b.mark.disks)
	if !r.ok() {
		panic("plan: " + vm.Name + " has no room at " + b.s.Hosts[h].Name + ": " + b.text(&r))
	}
	b.mark.disks = c.disks
	if c.home >= 0 {
		a.HomeTo = b.s.Datastores[c.home].ID
		if c.home != vm.Home {
			a.SwapMiB = vm.SwapMiB()
		}
	}
	a.Disks = make([]engine.DiskTarget, len(vm.Disks))
	for i := range vm.Disks {
		d := &vm.Disks[i]
		t := engine.DiskTarget{Key: d.Key, Profile: d.Profile, Thin: d.Thin, MiB: d.CopyMiB()}
		if d.Datastore >= 0 {
			t.From = b.s.Datastores[d.Datastore].ID
		}
		if to := c.disks[i]; to >= 0 {
			t.To = b.s.Datastores[to].ID
		}
		if t.From == t.To {
			t.MiB = 0
		}
		a.Disks[i] = t
	}
}

// nics names the network of each card whose port group is not at the destination.
func (b *builder) nics(v, h int32) []engine.NICTarget {
	var out []engine.NICTarget
	for i := range b.s.VMs[v].NICs {
		c := &b.s.VMs[v].NICs[i]
		if _, ok := slices.BinarySearch(b.s.Hosts[h].Networks, c.Network); ok || c.Network < 0 {
			continue
		}
		for _, n := range b.s.Hosts[h].Networks {
			if n >= 0 && b.netSeg[n] == b.netSeg[c.Network] {
				out = append(out, engine.NICTarget{Key: c.Key, To: b.s.Networks[n].ID})
				break
			}
		}
	}
	return out
}

// estimate predicts the move of v to h, with the least that it can get.
func (b *builder) estimate(v, h int32, storage bool, diskMiB int64) engine.Estimate {
	vm := &b.s.VMs[v]
	rtt := int32(0)
	if k, ok := b.s.Link(b.s.VMSite(v), b.s.Hosts[h].Site); ok {
		rtt = k.RTTMicros
	}
	return b.learnt(v, b.s.Hosts[h].Site, storage, b.rate(vm.Host, h, storage, vm.Power != engine.VMOn), rtt, diskMiB)
}

// learnt predicts the move of v to a site by what such moves have taught.
func (b *builder) learnt(v, site int32, storage bool, mbps, rttMicros int32, diskMiB int64) engine.Estimate {
	vm, kind := &b.s.VMs[v], ""
	if storage {
		kind = b.diskKind(vm.Home)
	}
	e := b.c.Cost.Learnt(b.fit(b.s.VMSite(v), site, kind), vm, mbps, rttMicros, diskMiB)
	e.Storage = kind
	return e
}

// diskKind is on what the disks of a VM are whose home is that datastore.
func (b *builder) diskKind(home int32) string {
	if home < 0 {
		return "disks"
	}
	return cmp.Or(b.s.Datastores[home].Type, "disks")
}

// fit is what moves between two sites, with disks on that kind of storage, have taught.
func (b *builder) fit(from, to int32, kind string) *engine.MoveFit {
	var ids [2]engine.SiteID
	for i, site := range [2]int32{from, to} {
		if site >= 0 {
			ids[i] = b.s.Sites[site].ID
		}
	}
	return b.hy.Fit(ids[0], ids[1], kind)
}
