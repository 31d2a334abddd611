package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// try puts a host to sleep, or says why not.
func (b *builder) try(x *sleeper) {
	var r reason
	if b.outspent(x.h) {
		r = b.tooMany(b.tenants[x.h].plain)
	} else {
		r = b.sleep(x)
	}
	if x.kept, x.text = r.code, ""; !r.ok() {
		x.text = b.text(&r)
	}
}

// outspent reports whether it is plain without trying that nothing but the budget of
// moves keeps host h on, which is what most hosts are told in most cycles.
func (b *builder) outspent(h int32) bool {
	return b.quiet[h] && !b.openHost[h] && !b.doomed[h] && !b.drained[h] && b.st.In[h] == 0 && b.st.Ready(h) && !b.astir && min(b.left.PowerHour, b.left.PowerDay) > 0 &&
		b.unaffordable(h) && b.spares(b.s.Hosts[h].Cluster)
}

// sleep plans to empty a host and put it in standby, or says why not.
func (b *builder) sleep(x *sleeper) reason {
	if r := b.sleepReason(x, x.closing > 0); !r.ok() {
		return r
	}
	if b.unaffordable(x.h) {
		return b.tooMany(b.tenants[x.h].plain)
	}
	if r := b.futile(x); !r.ok() {
		return r
	}
	if r := b.stuckOn(x); !r.ok() {
		return r
	}
	c := b.s.Hosts[x.h].Cluster
	b.drained[x.h] = true
	b.rooms[c].fresh = false
	mark, wishes, holds, relief := len(b.acts), b.wishes, len(b.holds), b.rooms[c].relief
	cost, r := b.emptyFor(x)
	for _, v := range x.gives {
		if r.ok() && b.moved[v] == 0 {
			var once int64
			once, r = b.sendOff(x, v, 2)
			cost += once
		}
	}
	leave := b.lighten(x.h, mark)
	if r.ok() && !b.doomed[x.h] {
		r = b.roomReason(c, false)
	}
	host := &b.s.Hosts[x.h]
	ledger := account(b.energyPerH(host.Site, x.idle*1000+b.shifted(mark)), cost+b.c.PowerCycleMicro, b.powerHolds())
	if r.ok() && !worth(ledger, b.powerHolds()) {
		r = reason{code: engine.HoldWorth, form: ledger.String()}
	}
	if r.ok() {
		r = b.shareReason(x, mark)
	}
	if !r.ok() {
		b.undo(mark)
		b.wishes = wishes
		for _, h := range b.holds[holds:] {
			if v, ok := b.s.FindVM(engine.VMID(h.Subject.ID)); ok {
				b.held[v] = false
			}
		}
		b.holds = b.holds[:holds]
		b.drained[x.h] = false
		b.rooms[c].fresh, b.rooms[c].relief = false, relief
		return r
	}
	a := b.hostAction(engine.Standby, x.h, x.why)
	a.After, a.Ledger = b.movesFrom(x.h), ledger
	for _, i := range leave {
		if b.acts[i].from != x.h {
			a.After = append(a.After, i)
		}
	}
	if b.s.Clusters[c].DRS == engine.DRSFull {
		secs, _ := b.delegate(x.h)
		a.Estimate.Seconds += secs
	}
	if relief.out > 0 {
		a.After = append(a.After, relief.out-1)
	}
	b.addHostAction(a, x.h, engine.None, -x.idle)
	b.rooms[c].others.known = false
	if k := &b.rooms[c].relief; len(leave) > 0 {
		k.out = int32(len(b.acts))
	}
	b.rooms[c].relief.by = append(relief.by, int32(len(b.acts)-1))
	b.left.PowerHour, b.left.PowerDay = b.left.PowerHour-1, b.left.PowerDay-1
	return reason{}
}

// shareReason holds a standby for which a larger share of its cluster's memory would
// have to move than twice the share that it is of the power of idle hosts there that
// policies permit to save: others are emptied for less.
func (b *builder) shareReason(x *sleeper, mark int) reason {
	c := b.s.Hosts[x.h].Cluster
	var moved int64
	for _, i := range b.movesFrom(x.h) { // also what made room for others before
		moved += int64(b.st.Foot[b.acts[i].vm].MiB)
	}
	for i := mark; i < len(b.acts); i++ {
		if a := &b.acts[i]; a.vm >= 0 && a.from != x.h {
			moved += int64(b.st.Foot[a.vm].MiB)
		}
	}
	idle := b.mayIdle(c)
	if b.shares(x.h, moved, idle) {
		return reason{}
	}
	return reason{code: engine.HoldWorth, form: "it is %[3]d %% of the idle power that could be saved in cluster %[1]s, and %[4]d %% of the memory would have to move", where: b.s.Clusters[c].Name, a: 100 * x.idle / idle, b: 100 * moved / b.rooms[c].usedMem}
}

// mayIdle is what idle hosts of cluster c draw that policies permit to sleep, watts.
func (b *builder) mayIdle(c int32) int64 {
	var idle int64
	for _, h := range b.s.HostsOf(c) {
		if b.sleepy[h] {
			idle += int64(max(b.s.Hosts[h].IdleW, 0))
		}
	}
	return idle
}

// shares reports whether host h is worth that so many MiB move, where so many watts
// could be saved in its cluster.
func (b *builder) shares(h int32, mib, idle int64) bool {
	x := &b.s.Hosts[h]
	return 2*int64(max(x.IdleW, 0))*b.rooms[x.Cluster].usedMem >= mib*idle
}

// futile says that emptying a host that its search does not propose does not pay even
// if each VM goes where its load costs least: no place needs to be looked for.
func (b *builder) futile(x *sleeper) reason {
	if x.d == nil || x.goes || !x.d.may.has(x.at) {
		return reason{}
	}
	d, saved, once := x.d, int64(0), int64(0)
	for v := d.first[x.at]; v < d.first[x.at+1]; v++ {
		if b.moved[d.vms[v]] == 0 { // else it has made room
			saved, once = saved+d.inside(int(v))+d.cost[v]+d.mhz[v]*b.whileHeld(1), once+d.cost[v] // what a MHz costs is rounded down
		}
	}
	ledger := account(b.energyPerH(b.s.Hosts[x.h].Site, x.idle*1000)+saved*3600/b.powerHolds()/1000, once/1000+b.c.PowerCycleMicro, b.powerHolds())
	if worth(ledger, b.powerHolds()) {
		return reason{}
	}
	return reason{code: engine.HoldWorth, form: ledger.String()}
}

// emptyFor plans the moves that empty the host, all or none, and returns their
// cost. In a cluster that places VMs itself there are none to plan.
func (b *builder) emptyFor(x *sleeper) (int64, reason) {
	if x.goes && x.d != nil {
		return b.vacate(x)
	}
	var list []int32
	for _, v := range b.s.VMsOn(x.h) {
		if leaves, _ := b.movesOff(v, x.h); leaves {
			list = append(list, v)
		}
	}
	if b.s.Clusters[b.s.Hosts[x.h].Cluster].DRS == engine.DRSFull {
		_, cost := b.delegate(x.h)
		return cost, reason{}
	}
	if int32(len(list)) > b.wishes {
		return 0, b.tooMany(int32(len(list)))
	}
	// The largest first: they fit in the fewest places.
	slices.SortStableFunc(list, func(p, q int32) int { return cmp.Compare(b.st.Foot[q].MiB, b.st.Foot[p].MiB) })
	var cost int64
	for _, v := range list {
		once, r := b.sendOff(x, v, 2)
		if !r.ok() {
			return 0, b.keptBy(v, &r)
		}
		cost += once
	}
	return cost, reason{}
}

// unaffordable reports whether it is plain without trying that emptying host h takes
// more moves than the budget still allows.
func (b *builder) unaffordable(h int32) bool {
	t := &b.tenants[h]
	return t.others == 0 && t.plain > b.wishes && b.sentOff[h] == 0 && b.s.Clusters[b.s.Hosts[h].Cluster].DRS != engine.DRSFull
}

// keptBy says that VM v keeps its host on.
func (b *builder) keptBy(v int32, r *reason) reason {
	return reason{code: cmp.Or(notEmptyCode(r.code), engine.HoldNotEmpty), form: "%[1]s cannot leave it: %[2]s", where: b.s.VMs[v].Name, other: b.text(r)}
}

// vacate plans the moves that empty a host that the search of its cluster proposes,
// all or none, and returns their cost. What the search knows is not asked again.
func (b *builder) vacate(x *sleeper) (int64, reason) {
	d := x.d
	list := b.mark.leave[:0]
	for i := d.first[x.at]; i < d.first[x.at+1]; i++ {
		if b.moved[d.vms[i]] == 0 { // else it has made room
			list = append(list, i)
		}
	}
	b.mark.leave = list
	if int32(len(list)) > b.wishes {
		return 0, b.tooMany(int32(len(list)))
	}
	// The largest first: they fit in the fewest places.
	for i := range list {
		for k := i; k > 0 && d.size4[list[k]][1] > d.size4[list[k-1]][1]; k-- {
			list[k], list[k-1] = list[k-1], list[k]
		}
	}
	var cost int64
	for _, i := range list {
		if b.slip(x, i) {
			cost += d.cost[i] / 1000
			continue
		}
		once, r := b.sendOff(x, d.vms[i], 2)
		if !r.ok() {
			return 0, b.keptBy(d.vms[i], &r)
		}
		cost += once
	}
	return cost, reason{}
}

// slip plans the move of VM i of a domain to where the search sends it in its cluster,
// if there is room: it may go there, as far as that does not depend on where others
// go. It reports whether it does.
func (b *builder) slip(x *sleeper, i int32) bool {
	d, from := x.d, x.at
	to := int(d.at[i])
	if to == abroad || !d.unruled[i] || d.rate[to] < d.rate[from] || b.drained[d.hosts[to]] || b.wishes <= 0 {
		return false
	}
	v, h, f := d.vms[i], d.hosts[to], &d.size4[i]
	taken, gone := load{b.st.CPU[h], b.st.Mem[h], b.st.VCPU[h], b.soonOn[h]}, &b.gone[h]
	for k := range taken {
		if taken[k]-gone[k]+f[k] > d.limit[to][k] && (k < 3 || f[k] > 0) {
			return false
		}
	}
	b.evaluated += 2 // the cluster and the host
	b.st.Leave(v, h)
	b.work[h] += d.pace[i].secs * int64(b.c.Limits.Cost[engine.ClassVMotion].Host)
	mw := d.mhz[i]*d.mw[to]/max(d.size[0][to], 1) - d.mhz[i]*d.mw[from]/max(d.size[0][from], 1)
	b.goes(act{
		vm: v, from: x.h, to: h, link: engine.None, demand: engine.None, mw: mw,
		after: append([]int32(nil), b.goneBy[h]...), why: x.why, pace: d.pace[i], once: d.cost[i] / 1000,
	}, f[3])
	b.wishes--
	return true
}

// tooMany says that so many moves are more than the budget still allows.
func (b *builder) tooMany(n int32) reason {
	return reason{code: engine.HoldBudget, form: "%[3]d moves would empty it, %[1]s allows %[4]d more", where: b.budgetName, a: int64(n), b: int64(max(b.wishes, 0))}
}

// A hindrance is which VM keeps a host on, in words.
type hindrance struct {
	code engine.HoldCode
	text string
}

// stuckOn says which VM keeps a host on that the search does not propose, wherever there
// is room for others. What does not change with time is kept until something about the
// host or its VMs is new.
func (b *builder) stuckOn(x *sleeper) reason {
	if x.goes && x.d != nil {
		return reason{}
	}
	still := b.sentOff[x.h] == 0 && !b.openHost[x.h]
	if k := &b.hindrance[x.h]; k.code != "" && still {
		return reason{code: k.code, form: "%[1]s", where: k.text}
	}
	for _, v := range b.s.VMsOn(x.h) {
		if _, r := b.movesOff(v, x.h); !r.ok() {
			if still && b.has(v, trFresh) && b.ofVM(v).Failures == 0 {
				b.hindrance[x.h] = hindrance{r.code, b.text(&r)}
			}
			return r
		}
	}
	return reason{}
}

// movesOff reports whether VM v has to move for host h to be empty, or why the
// host cannot become so.
func (b *builder) movesOff(v, h int32) (bool, reason) {
	if b.has(v, trPlain) && b.moved[v] == 0 {
		return true, reason{}
	}
	vm := &b.s.VMs[v]
	switch {
	case vm.Power == engine.VMOff && b.c.PoweredOff == engine.LeaveOff:
		return false, reason{}
	case vm.Power != engine.VMOn:
		return false, reason{code: engine.HoldPoweredOff, form: "%[1]s is registered on it, and could not be powered on while it sleeps", where: vm.Name}
	case vm.Obstacles&engine.ObAgent != 0:
		return false, reason{}
	}
	if k := b.moved[v]; k > 0 {
		if b.acts[k-1].to == h {
			return false, reason{code: engine.HoldBusy, form: "the disks of %[1]s are being moved on it", where: vm.Name}
		}
		return false, reason{}
	}
	w := want{v: v, demand: engine.None, host: engine.None}
	r := b.vmReason(&w)
	if r.ok() {
		r = b.coolReason(v, b.s.Hosts[h].Site)
	}
	if !r.ok() {
		return false, reason{code: engine.HoldNotEmpty, form: "%[1]s cannot leave it: %[2]s", where: vm.Name, other: b.text(&r)}
	}
	return true, reason{}
}

// sendOff plans the move of VM v for the sake of sleeper x: to where the search
// would have it, VMs that must make room there moved before it, or to any other
// host of the cluster. It returns what the moves cost.
func (b *builder) sendOff(x *sleeper, v int32, depth int) (int64, reason) {
	w := want{v: v, demand: engine.None, tight: true, inside: true, after: true, room: !b.drained[b.st.Host[v]], cluster: engine.None, host: b.aim[v], avoid: b.leftForGain(v)}
	why := x.why
	cost, h, r := int64(0), engine.None, reason{code: engine.HoldNowhere}
	if w.host >= 0 {
		h, r = b.find(&w)
		if depth > 0 && r.stage == stCapacity {
			cost = b.makeRoom(x, w.host, depth)
			h, r = b.find(&w)
		}
		if r.ok() && b.s.Hosts[h].Cluster != b.s.VMCluster(v) {
			why = append(slices.Clone(why), b.mergeWhy(x.h))
		}
		w.host = engine.None
	}
	if !r.ok() {
		h, r = b.find(&w)
	}
	if !r.ok() {
		return 0, r
	}
	if b.wishes <= 0 {
		return 0, b.spent()
	}
	storage := b.storageNeeded(&w, h)
	e := b.estimate(v, h, storage, b.diskCopy(&w, h))
	once := b.moveCost(v, b.st.Host[v], h, &e, b.rate(b.st.Host[v], h, storage, false))
	b.commit(&w, h, why, engine.Ledger{CostOnce: once})
	b.wishes--
	return cost + once, reason{}
}

// makeRoom moves VMs off host h that the search ejects, and returns the cost.
func (b *builder) makeRoom(x *sleeper, h int32, depth int) int64 {
	var cost int64
	for _, v := range b.ejected[h] {
		if b.st.Host[v] == h && b.moved[v] == 0 {
			once, _ := b.sendOff(x, v, depth-1) // what stays after all gives no room
			cost += once
		}
	}
	return cost
}

// shifted is by how many milliwatts less the VMs moved since mark load their hosts.
func (b *builder) shifted(mark int) int64 {
	var sum int64
	for i := mark; i < len(b.acts); i++ {
		sum -= b.acts[i].mw
	}
	return sum
}

// notEmptyCode keeps the codes that speak of room, which bind the host as such.
func notEmptyCode(c engine.HoldCode) engine.HoldCode {
	if c == engine.HoldCapacity || c == engine.HoldReserve || c == engine.HoldBudget {
		return c
	}
	return ""
}

// A relief is what a cluster carries no more once hosts of it sleep: what their
// hypervisors take, and what leaves it before.
type relief struct {
	cpu, mem int64
	by       []int32 // these standbys, by index in acts
	out      int32   // the last of them before which VMs leave, index in acts + 1: the next one waits for it
}

// lighten counts what host h and the moves since mark take from its cluster. It lists
// the moves of VMs that leave the cluster.
func (b *builder) lighten(h int32, mark int) (leave []int32) {
	c := b.s.Hosts[h].Cluster
	x := &b.rooms[c].relief
	cpu, mem := b.itself(h)
	x.cpu, x.mem = x.cpu+cpu, x.mem+mem
	for i := mark; i < len(b.acts); i++ {
		if a := &b.acts[i]; a.vm >= 0 && b.s.Hosts[a.from].Cluster == c && b.s.Hosts[a.to].Cluster != c {
			x.cpu, x.mem = x.cpu+int64(b.st.Foot[a.vm].CPUMHz), x.mem+int64(b.st.Foot[a.vm].MiB)
			leave = append(leave, int32(i))
		}
	}
	return leave
}
