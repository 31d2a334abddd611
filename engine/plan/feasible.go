package plan

import (
	"cmp"
	"slices"
	"sort"

	"heliostat/engine"
)

// A want is one VM to be placed, and on what terms.
type want struct {
	v      int32
	demand int32 // index in demands, None for repair and wishes
	evac   bool  // vetoes that yield are passed over; moves across vCenters need no opt-in
	lax    bool  // a demand's terms: the reserve may be used down to the evacuation floor
	tight  bool  // fill the fullest host that holds it, to empty others
	inside bool  // only within its cluster
	mend   *con  // the violated constraint that the move is to mend
	urgent bool  // its host is over its capacity: it moved recently or not
	after  bool  // it may wait for VMs that make room for it
	room   bool  // its leaving makes room for such
	here   bool  // its own host is a destination too: disks must leave a datastore

	sites   engine.SiteMask // candidate sites
	cluster int32           // only this cluster; None for any
	host    int32           // only this host; None for any
	avoid   int32           // not this host (it was left recently); None for none
}

func (w *want) live(b *builder) bool { return b.s.VMs[w.v].Power == engine.VMOn }

// A bar says why a host takes no VM at all.
type bar uint8

const (
	barNone bar = iota
	barUnknown
	barStandby
	barOff
	barDisconnected
	barMaintenance
	barNoSite
	barGap
	barUnseen
	barOld
	barFrozen
	barMode
	barFailover
	barLost
	barBroken
)

// hostBars computes, once, why each host takes no VM; for wishes, and for
// evacuations, before which some vetoes yield.
func (b *builder) hostBars() {
	for h := range b.s.Hosts {
		b.bars[0][h], b.bars[1][h] = b.barOf(int32(h), false), b.barOf(int32(h), true)
	}
}

func (b *builder) barOf(h int32, evac bool) bar {
	x := &b.s.Hosts[h]
	switch {
	case x.Site < 0:
		return barNoSite
	case b.hostFreeze[h].binds(evac) > 0 || b.s.Sites[x.Site].Frozen:
		return barFrozen
	case b.weak(b.s.Sites[x.Site].Mode):
		return barMode
	case b.st.Power[h] == engine.HostUnknown:
		return barUnknown
	case b.st.Power[h] == engine.HostStandby:
		return barStandby
	case b.st.Power[h] == engine.HostOff:
		return barOff
	case !x.Connected:
		return barDisconnected
	case b.gapHost[h] > 0:
		return barGap
	case b.brokenAt(h) != nil:
		return barBroken
	case b.quarantined(h):
		return barLost
	case b.st.Maint[h]:
		return barMaintenance
	case slices.Contains(b.s.Clusters[x.Cluster].FailOn, h):
		return barFailover
	case !x.Seen():
		return barUnseen
	case b.in.Now-x.LoadAt > engine.Unix(b.c.LoadMaxAgeS):
		return barOld
	}
	return barNone
}

// barReason puts a bar into a reason.
func (b *builder) barReason(h int32, x bar, evac bool) reason {
	r := reason{stage: stHost, where: b.s.Hosts[h].Name}
	switch x {
	case barUnknown:
		r.code, r.form = engine.HoldUnavailable, "%[1]s does not answer"
	case barStandby:
		r.code, r.form = engine.HoldUnavailable, "%[1]s is in standby"
	case barOff:
		r.code, r.form = engine.HoldUnavailable, "%[1]s is off"
	case barDisconnected:
		r.code, r.form = engine.HoldUnavailable, "%[1]s is disconnected"
	case barMaintenance:
		r.code, r.form = engine.HoldUnavailable, "%[1]s is in maintenance"
	case barNoSite:
		r.code, r.form = engine.HoldGap, "the configuration places %[1]s at no site"
	case barGap:
		r.code, r.form = engine.HoldGap, "%[1]s is not fully seen: %[2]s"
		r.other = b.s.Gaps[b.gapHost[h]-1].Reason
	case barUnseen:
		r.code, r.form = engine.HoldGap, "the load of %[1]s is not seen"
	case barOld:
		r.code, r.form = engine.HoldGap, "the load of %[1]s was read %[3]d s ago, at most %[4]d s is allowed"
		r.a, r.b = int64(b.in.Now-b.s.Hosts[h].LoadAt), b.c.LoadMaxAgeS
	case barFrozen:
		r.code, r.form, r.other = engine.HoldFrozen, "%[2]s", b.frozenText(h, evac)
	case barMode:
		site := &b.s.Sites[b.s.Hosts[h].Site]
		r.code, r.form, r.where, r.other = engine.HoldMode, "site %[1]s is in mode %[2]s", string(site.ID), site.Mode.String()
	case barFailover:
		r.code, r.form = engine.HoldReserve, "%[1]s is kept free for failures"
	case barBroken:
		x := b.vcenterReason(h, b.brokenAt(h))
		r.code, r.form, r.where, r.other = x.code, x.form, x.where, x.other
	case barLost:
		r.code, r.form, r.other = engine.HoldQuarantine, "%[1]s is %[2]s", b.lostHost[h].Text()
	case barNone:
	}
	return r
}

func (b *builder) frozenText(h int32, evac bool) string {
	if f := b.hostFreeze[h].binds(evac); f > 0 {
		return b.freezeText(f)
	}
	return "site " + string(b.s.Sites[b.s.Hosts[h].Site].ID) + " is frozen by an operator"
}

// vmReason says why VM v may not move wherever it goes.
func (b *builder) vmReason(w *want) reason {
	v := w.v
	if b.has(v, trFree) {
		return reason{}
	}
	vm := &b.s.VMs[v]
	r := reason{stage: stVM, where: vm.Name}
	set := func(code engine.HoldCode, form string) reason {
		r.code, r.form = code, form
		return r
	}
	if b.openVM[v] {
		return set(engine.HoldBusy, "a move of it is under way")
	}
	if b.lostVM != nil && b.lostVM[v] != nil {
		r.other = b.lostVM[v].Text()
		return set(engine.HoldQuarantine, "it is %[2]s")
	}
	if vm.Task != "" {
		r.other = vm.Task
		return set(engine.HoldBusy, "a task that is not ours runs on it: %[2]s")
	}
	if vm.Mode == engine.Off {
		return set(engine.HoldPinned, "its tag says never")
	}
	if b.vmFreeze != nil {
		if f := b.vmFreeze[v].binds(w.evac); f > 0 {
			return set(engine.HoldFrozen, b.freezeText(f))
		}
	}
	for _, p := range of(b.d.Pins, v, func(p *engine.Pin) int32 { return p.VM }) {
		if !b.yields(w, p.By) {
			r.other = b.d.Why(p.By).String()
			return set(engine.HoldPinned, "pinned by %[2]s")
		}
	}
	if r := b.vetoReason(w, engine.None); !r.ok() {
		return r
	}
	if vm.Template {
		return set(engine.HoldPoweredOff, "it is a template: templates do not move, and stay behind")
	}
	if b.weak(b.c.Modes.Move) {
		r.other = b.c.Modes.Move.String()
		return set(engine.HoldMode, "moves are in mode %[2]s")
	}
	if b.weak(vm.Mode) {
		r.other = vm.Mode.String()
		return set(engine.HoldMode, "its tag says %[2]s")
	}
	if row, stops := vm.Obstacles.Stops(false, false); stops {
		r.other = row.Text
		return set(engine.HoldObstacle, "it %[2]s")
	}
	if r := b.sourceReason(w); !r.ok() {
		return r
	}
	return b.failureReason(w)
}

// sourceReason says why nothing may leave the host that VM v is on, or what of v is not seen.
func (b *builder) sourceReason(w *want) reason {
	vm := &b.s.VMs[w.v]
	r := reason{stage: stVM, where: vm.Name}
	if vm.Host < 0 {
		r.code, r.form = engine.HoldGap, "the host that it is on is not seen"
		return r
	}
	switch x := b.bars[evacIndex(w.evac)][vm.Host]; x {
	case barNoSite, barFrozen, barMode, barUnknown, barStandby, barOff, barDisconnected, barGap, barBroken:
		r = b.barReason(vm.Host, x, w.evac)
		r.stage = stVM
		return r
	case barNone, barMaintenance, barUnseen, barOld, barFailover, barLost:
	}
	if b.gapVM[w.v] {
		r.code, r.form = engine.HoldGap, "%[1]s is not fully seen"
		return r
	}
	if vm.Home < 0 || slices.ContainsFunc(vm.Disks, func(d engine.Disk) bool { return d.Datastore < 0 }) {
		r.code, r.form = engine.HoldGap, "the datastore of some of its files is not seen"
		return r
	}
	if vm.Power != engine.VMOn {
		return r
	}
	switch {
	case !vm.Seen():
		r.code, r.form = engine.HoldGap, "its load is not seen"
	case b.in.Now-vm.LoadAt > engine.Unix(b.c.LoadMaxAgeS):
		r.code, r.form, r.a, r.b = engine.HoldGap, "its load was read %[3]d s ago, at most %[4]d s is allowed", int64(b.in.Now-vm.LoadAt), b.c.LoadMaxAgeS
	case !b.s.Hosts[vm.Host].VMotion && !w.here:
		r.code, r.form, r.where = engine.HoldUnavailable, "no vMotion interface of %[1]s is up", b.s.Hosts[vm.Host].Name
	}
	return r
}

func evacIndex(evac bool) int {
	if evac {
		return 1
	}
	return 0
}

// failureReason backs off after failures: doubled for wishes, not for demands,
// whose deadline does not wait.
func (b *builder) failureReason(w *want) reason {
	x := b.ofVM(w.v)
	if x.Failures == 0 {
		return reason{}
	}
	const day = 86_400
	wait := b.c.FailureS
	if w.demand == engine.None {
		wait = min(wait<<min(x.Failures-1, 16), day)
	}
	if until := x.FailedAt + engine.Unix(wait); until > b.in.Now {
		return reason{
			code: engine.HoldCooldown, stage: stVM, form: "%[3]d moves in a row failed, the next try is in %[4]d s",
			a: int64(x.Failures), b: int64(until - b.in.Now),
		}
	}
	return reason{}
}

// hostReason says why VM w.v can not go to host h in this state, or is ok. The
// checks run in the order of the stages.
func (b *builder) hostReason(w *want, h int32) reason {
	b.evaluated++
	vm := &b.s.VMs[w.v]
	host := &b.s.Hosts[h]
	if r := b.openReason(w, h); !r.ok() {
		return r
	}
	if r := b.allowedReason(w, h); !r.ok() {
		return r
	}
	storage := b.storageNeeded(w, h)
	if storage {
		if r := b.takenAlong(w, h); !r.ok() {
			return r
		}
	}
	if w.live(b) && h != vm.Host {
		for _, end := range [2]*engine.Host{&b.s.Hosts[vm.Host], host} {
			if !end.VMotion {
				return reason{code: engine.HoldUnavailable, stage: stCompat, form: "no vMotion interface of %[1]s is up", where: end.Name}
			}
		}
		if r := b.compatReason(vm.Host, h); !r.ok() {
			return r
		}
	}
	if r := b.networkReason(w, h); !r.ok() {
		return r
	}
	if r := b.linkReason(w, h, storage); !r.ok() {
		return r
	}
	if r := b.ruleReason(w, h); !r.ok() {
		return r
	}
	if r := b.capacityReason(w, h); !r.ok() {
		return r
	}
	if storage {
		return b.spaceReason(w, h)
	}
	return reason{}
}

// takenAlong says why the VM's disks, which would have to, cannot go to host h.
func (b *builder) takenAlong(w *want, h int32) reason {
	if r := b.leaveReason(w, h); !r.ok() {
		return r
	}
	vm, host := &b.s.VMs[w.v], &b.s.Hosts[h]
	if vm.Obstacles&b.stopMask[engine.ScopeStorage] == 0 {
		return reason{}
	}
	row, _ := vm.Obstacles.Stops(true, host.VCenter != vm.VCenter)
	return reason{code: engine.HoldObstacle, stage: stAcross, form: "it %[2]s, and its disks would have to move to be on %[1]s", where: host.Name, other: row.Text}
}

// openReason says whether the host takes VMs at all.
func (b *builder) openReason(w *want, h int32) reason {
	if h == b.s.VMs[w.v].Host && !w.here {
		return reason{code: engine.HoldNowhere, stage: stNowhere, form: "there is no other host"}
	}
	if own := b.s.VMs[w.v].Host; h != own && b.s.Hosts[h].Cluster == b.s.Hosts[own].Cluster && b.s.Clusters[b.s.Hosts[h].Cluster].DRS == engine.DRSFull {
		return reason{code: engine.HoldDRS, stage: stHost, form: "cluster %[1]s places VMs inside itself", where: b.s.Clusters[b.s.Hosts[h].Cluster].Name}
	}
	if h == w.avoid {
		return reason{code: engine.HoldCooldown, stage: stHost, form: "it left %[1]s %[3]d s ago", where: b.s.Hosts[h].Name, a: int64(b.in.Now - b.ofVM(w.v).MovedAt)}
	}
	if b.drained[h] || (b.doomed[h] && h != b.s.VMs[w.v].Host) {
		return reason{code: engine.HoldNowhere, stage: stNowhere, form: "every other host is being emptied as well"}
	}
	if b.openTo[h] {
		return reason{code: engine.HoldBusy, stage: stHost, form: "the state of %[1]s is being changed", where: b.s.Hosts[h].Name}
	}
	if r := b.unseenReason(h); !r.ok() && h != b.s.VMs[w.v].Host {
		return r
	}
	x := b.bars[evacIndex(w.evac)][h]
	if x == barNone || (x == barStandby && b.waking[h] > 0) {
		return reason{}
	}
	return b.barReason(h, x, w.evac)
}

// allowedReason applies allow_sites, allow_hosts and vetoes.
func (b *builder) allowedReason(w *want, h int32) reason {
	if b.has(w.v, trLoose) {
		return reason{}
	}
	if r := b.allowedSite(w, b.s.Hosts[h].Site); !r.ok() {
		return r
	}
	allow := of(b.d.AllowHosts, w.v, func(x *engine.AllowHosts) int32 { return x.VM })
	for i := range allow {
		if _, ok := slices.BinarySearch(allow[i].Hosts, h); !ok && !b.yields(w, allow[i].By) {
			return reason{code: engine.HoldHosts, stage: stAllowed, form: "%[1]s is not allowed by %[2]s", where: b.s.Hosts[h].Name, by: &allow[i].By}
		}
	}
	return b.vetoReason(w, h)
}

// vetoReason says which policy denies VM w.v host h, or any host where h is None.
func (b *builder) vetoReason(w *want, h int32) reason {
	k := sort.Search(len(b.vetoes), func(i int) bool {
		x := &b.vetoes[i]
		return x.vm > w.v || (x.vm == w.v && x.host >= h)
	})
	for ; k < len(b.vetoes) && b.vetoes[k].vm == w.v && b.vetoes[k].host == h; k++ {
		x := &b.in.Vetoes[b.vetoes[k].index]
		if x.Yields && w.evac {
			continue
		}
		where := " (to any host)"
		if h >= 0 {
			where = " (to " + b.s.Hosts[h].Name + ")"
		}
		return reason{code: engine.HoldVeto, stage: stRule, form: "policy %[1]s denies it: %[2]s", where: x.Policy, other: x.Reason + where}
	}
	return reason{}
}

// allowedSite applies allow_sites.
func (b *builder) allowedSite(w *want, site int32) reason {
	if b.has(w.v, trLoose) {
		return reason{}
	}
	allow := of(b.d.AllowSites, w.v, func(x *engine.AllowSites) int32 { return x.VM })
	for i := range allow {
		if !allow[i].Sites.Has(site) && !b.yields(w, allow[i].By) {
			return reason{code: engine.HoldSites, stage: stAllowed, form: "site %[1]s is not allowed by %[2]s", where: string(b.s.Sites[site].ID), by: &allow[i].By}
		}
	}
	return reason{}
}

func (b *builder) yields(w *want, by engine.By) bool { return w.evac && b.d.Voices[by.Voice].Yields }

// compatReason compares CPUs. They must be equal: a guest that restarts on a
// newer CPU could not come back. What is not known is not equal.
func (b *builder) compatReason(from, to int32) reason {
	here, there := b.cpus(from), b.cpus(to)
	if here == there && here != "" {
		return reason{}
	}
	return reason{
		code: engine.HoldCompat, stage: stCompat, form: "the CPUs of %[1]s differ: %[2]s", where: b.s.Hosts[to].Name,
		other: cmp.Or(there, "unknown") + " there, " + cmp.Or(here, "unknown") + " here",
	}
}

// cpus is the set of CPU features that a guest on the host may come to use.
func (b *builder) cpus(h int32) string {
	x := &b.s.Hosts[h]
	return cmp.Or(b.s.Clusters[x.Cluster].EVC, x.EVCMax, x.CPUModel)
}

// capacityReason asks whether the host holds the VM beside all that is on it,
// all that is coming and all that has not left yet.
func (b *builder) capacityReason(w *want, h int32) reason {
	vm := &b.s.VMs[w.v]
	if h == vm.Host || vm.Power != engine.VMOn {
		return reason{}
	}
	host, f := &b.s.Hosts[h], b.st.Foot[w.v]
	var gone load
	if w.after {
		gone = b.gone[h]
	}
	cpuPct, memPct := b.pct(w.lax)
	r := reason{code: engine.HoldCapacity, stage: stCapacity, where: host.Name}
	if have, limit := int64(b.st.CPU[h]-gone[0]), int64(host.CPUMHz)*int64(cpuPct)/100; have+int64(f.CPUMHz) > limit {
		r.form, r.a, r.b, r.c = "%[1]s has %[3]d of %[4]d MHz taken, it needs %[5]d", have, limit, int64(f.CPUMHz)
		return r
	}
	if have, limit := int64(b.soonOn[h]-gone[3]), b.netMHz(h); w.inside && b.soon(w.v) > 0 && have+int64(b.soon(w.v)) > limit {
		r.form, r.a, r.b, r.c = "the VMs of %[1]s may soon ask for %[3]d of its %[4]d MHz, it for %[5]d", have, limit, int64(b.soon(w.v))
		return r
	}
	if have, limit := int64(b.st.Mem[h]-gone[1]), int64(host.MemoryMiB)*int64(memPct)/100; have+int64(f.MiB) > limit {
		r.form, r.a, r.b, r.c = "%[1]s has %[3]d of %[4]d MiB taken, it needs %[5]d", have, limit, int64(f.MiB)
		return r
	}
	if vm.VCPUs > host.Threads {
		r.form, r.a, r.b = "%[1]s has %[3]d threads, it has %[4]d vCPUs", int64(host.Threads), int64(vm.VCPUs)
		return r
	}
	if have, limit := int64(b.st.VCPU[h]-gone[2]), int64(host.Cores)*int64(b.c.VCPUPerCoreX10)/10; have+int64(f.VCPUs) > limit {
		r.form, r.a, r.b, r.c = "%[1]s has %[3]d of %[4]d vCPUs promised, it has %[5]d", have, limit, int64(f.VCPUs)
		return r
	}
	return reason{}
}

// pct is how far a host may be filled.
func (b *builder) pct(lax bool) (cpu, mem int32) {
	if lax {
		return max(b.c.CPUMaxPct, b.c.EvacuationCPUPct), max(b.c.MemMaxPct, b.c.EvacuationMemPct)
	}
	return b.c.CPUMaxPct, b.c.MemMaxPct
}
