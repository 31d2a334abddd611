package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// A sleeper is a host that policies permit to be put in standby.
type sleeper struct {
	h     int32
	why   []engine.Why
	vms   int32
	mem   int64
	idle  int64
	stays bool // it is being evacuated, and VMs stay behind in its cluster
	d     *domain
}

// consolidateStage empties hosts that policies name and puts them in standby. In
// each cluster a search over arrays proposes which hosts and where their VMs go
// (domain.go, evict.go); then the hosts are emptied one by one under all rules,
// what brings most for the moves first. The hosts that were not proposed are tried
// too: what keeps them on is said.
func (b *builder) consolidateStage() {
	if !slices.Contains(b.sleepy, true) {
		return
	}
	b.readTraits()
	groups := b.sleepers()
	if b.aim == nil {
		b.aim, b.gone, b.goneBy = nones(len(b.s.VMs)), make([]load, len(b.s.Hosts)), make([][]int32, len(b.s.Hosts))
	}
	evaluations := max(b.budget-b.evaluated, 0) / int64(max(len(groups), 1))
	if most := int32(len(b.s.VMs)); b.wishes >= max(most, 1) && min(b.left.PowerHour, b.left.PowerDay) >= int32(len(b.s.Hosts)) {
		b.sleepBeside(groups, evaluations) // no budget that one uses is missing to another
		return
	}
	for lo := 0; lo < len(groups); lo += atOnce {
		some := groups[lo:min(lo+atOnce, len(groups))]
		domains := b.searchAll(some, evaluations)
		for k, list := range some {
			b.putToSleep(list, domains[k])
		}
	}
}

// atOnce is how many clusters are searched before what they came to is planned:
// enough for many processors, and few enough that little is in vain where a budget
// of moves is used up by the first.
const atOnce = 16

// searchAll searches the clusters of some lists; where no more moves are allowed
// there is nothing to be found.
func (b *builder) searchAll(groups [][]sleeper, evaluations int64) []*domain {
	domains := make([]*domain, len(groups))
	if b.wishes <= 0 {
		return domains
	}
	inParallel(len(groups), b.apart(func(n *builder, k int) {
		domains[k] = n.searched(groups[k], evaluations)
	}))
	return domains
}

// searched is what the search of one cluster comes to, nil where there is none.
func (b *builder) searched(list []sleeper, evaluations int64) *domain {
	d := b.domainOf(b.s.Hosts[list[0].h].Cluster, list)
	if d == nil {
		return nil
	}
	d.search(evaluations)
	d.b = nil
	return d
}

// putToSleep plans what the search of one cluster proposes, and what else can be.
func (b *builder) putToSleep(list []sleeper, d *domain) {
	why := make([]reason, len(list))
	for _, i := range b.chooseSleepers(list, d) {
		why[i] = b.sleep(&list[i])
	}
	for i := range list {
		if !why[i].ok() {
			b.holdHost(list[i].h, why[i], "standby", engine.Subject{}, list[i].why)
		}
	}
	if d != nil {
		b.evaluated += d.evals
		b.judgePower(d)
	}
}

// sleepers lists the hosts that policies permit to sleep, by cluster, the
// cheapest to empty first.
func (b *builder) sleepers() [][]sleeper {
	var named []int
	for i := range b.d.Drains {
		if b.d.Drains[i].Then == engine.ThenStandby {
			named = append(named, i)
		}
	}
	var out [][]sleeper
	for _, group := range b.byCluster(len(named), func(i int) int32 { return b.d.Drains[named[i]].Host }) {
		var list []sleeper
		stays := b.staysBehind(b.s.Hosts[b.d.Drains[named[group[0]]].Host].Cluster)
		for _, i := range group {
			d := &b.d.Drains[named[i]]
			if n := len(list); n > 0 && list[n-1].h == d.Host {
				list[n-1].why = append(list[n-1].why, b.d.Why(d.By))
			} else if b.st.Power[d.Host] == engine.HostOn && !b.st.Maint[d.Host] {
				list = append(list, b.sleeper(d.Host, b.d.Why(d.By)))
				list[len(list)-1].stays = stays
			}
		}
		slices.SortStableFunc(list, func(x, y sleeper) int {
			return cmp.Or(cmp.Compare(x.mem, y.mem), cmp.Compare(x.vms, y.vms), cmp.Compare(y.idle, x.idle))
		})
		if len(list) > 0 {
			out = append(out, list)
		}
	}
	return out
}

// judgePower puts what the plan makes of a domain beside what it costs now and what
// no plan could go below.
func (b *builder) judgePower(d *domain) {
	value := int64(0)
	index := make(map[int32]int, len(d.hosts))
	for i, h := range d.hosts {
		index[h] = i
		if b.drained[h] {
			value += d.idle[i]
		}
	}
	for i, v := range d.vms {
		if b.moved[v] > 0 {
			value += d.gain(int32(i), int(d.home[i]), index[b.dest[v]])
		}
	}
	perH := func(held int64) int64 { return held * 3600 / b.c.HoldsS / 1000 }
	b.power.Start += perH(d.start)
	b.power.Planned += perH(d.start - value)
	b.power.Bound += perH(d.start - d.bound)
}

// chooseSleepers tells which hosts of a cluster should all go in the end, and in
// which order all are tried: none of them may take the VMs of another, or these
// would move twice.
func (b *builder) chooseSleepers(list []sleeper, d *domain) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	if d == nil {
		b.choose(list)
		return order
	}
	gain := b.follow(list, d)
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(gain[j], gain[i]) })
	return order
}

// choose takes as many as the cluster's reserve allows.
func (b *builder) choose(list []sleeper) {
	c := b.s.Hosts[list[0].h].Cluster
	for i := range list {
		h := list[i].h
		if r := b.sleepReason(&list[i]); !r.ok() || b.doomed[h] {
			continue
		}
		b.drained[h], b.rooms[c].fresh = true, false
		if r := b.roomReason(c, engine.Footprint{}, false); !r.ok() {
			b.drained[h] = false
		} else {
			b.going[h] = true
		}
	}
	for i := range list {
		b.drained[list[i].h] = false
	}
	b.rooms[c].fresh = false
}

// follow takes what the search of a domain proposes, notes where it sends the VMs,
// and gives what each host saves for each move; 0 for those that stay on.
func (b *builder) follow(list []sleeper, d *domain) []int64 {
	gain := make(map[int32]int64, len(d.hosts))
	for i, h := range d.hosts {
		if !d.on.has(i) {
			b.going[h] = true
			gain[h] = d.idle[i]
		}
	}
	for i, v := range d.vms {
		if d.at[i] == d.home[i] {
			continue
		}
		b.aim[v], b.stirred = d.hosts[d.at[i]], append(b.stirred, v)
		if from := d.hosts[d.home[i]]; b.going[from] {
			gain[from] += d.gain(int32(i), int(d.home[i]), int(d.at[i]))
		} else {
			d.ejected = append(d.ejected, v)
		}
	}
	out := make([]int64, len(list))
	for i := range list {
		if list[i].d = d; b.going[list[i].h] {
			out[i] = max(gain[list[i].h]/int64(list[i].vms+1), 1)
		}
	}
	return out
}

func (b *builder) sleeper(h int32, why engine.Why) sleeper {
	x := sleeper{h: h, why: []engine.Why{why}, idle: int64(max(b.s.Hosts[h].IdleW, 0))}
	for _, v := range b.s.VMsOn(h) {
		if b.has(v, trLive) {
			x.vms++
			x.mem += int64(b.st.Foot[v].MiB)
		}
	}
	return x
}

// sleep plans to empty a host and put it in standby, or says why not.
func (b *builder) sleep(x *sleeper) reason {
	if r := b.sleepReason(x); !r.ok() {
		return r
	}
	c := b.s.Hosts[x.h].Cluster
	b.drained[x.h] = true
	b.rooms[c].fresh = false
	mark, wishes, holds := len(b.actions), b.wishes, len(b.holds)
	cost, r := b.emptyFor(x)
	if r.ok() && !b.doomed[x.h] {
		r = b.roomReason(c, engine.Footprint{}, false)
	}
	host := &b.s.Hosts[x.h]
	ledger := b.account(b.energyPerH(host.Site, x.idle*1000+b.shifted(mark)), cost+b.c.PowerCycleMicro)
	if r.ok() && !b.worth(ledger) {
		r = reason{code: engine.HoldWorth, form: ledgerText(ledger)}
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
		b.rooms[c].fresh = false
		return r
	}
	a := b.hostAction(engine.Standby, x.h, x.why)
	a.After, a.Ledger = b.movesFrom(x.h), ledger
	if b.s.Clusters[c].DRS == engine.DRSFull {
		secs, _ := b.delegate(x.h)
		a.Estimate.Seconds += secs
	}
	b.addHostAction(a, x.h, engine.None, -x.idle)
	b.left.PowerHour, b.left.PowerDay = b.left.PowerHour-1, b.left.PowerDay-1
	return reason{}
}

// emptyFor plans the moves that empty the host, all or none, and returns their
// cost. In a cluster that places VMs itself there are none to plan.
func (b *builder) emptyFor(x *sleeper) (int64, reason) {
	var list []int32
	for _, v := range b.s.VMsOn(x.h) {
		leaves, r := b.movesOff(v, x.h)
		if !r.ok() {
			return 0, r
		}
		if leaves {
			list = append(list, v)
		}
	}
	if b.s.Clusters[b.s.Hosts[x.h].Cluster].DRS == engine.DRSFull {
		_, cost := b.delegate(x.h)
		return cost, reason{}
	}
	if int32(len(list)) > b.wishes {
		return 0, reason{code: engine.HoldBudget, form: "%[3]d moves would empty it, %[1]s allows %[4]d more", where: b.budgetName, a: int64(len(list)), b: int64(max(b.wishes, 0))}
	}
	// The largest first: they fit in the fewest places.
	slices.SortStableFunc(list, func(p, q int32) int { return cmp.Compare(b.st.Foot[q].MiB, b.st.Foot[p].MiB) })
	var cost int64
	for _, v := range list {
		once, r := b.sendOff(x, v, 2)
		if !r.ok() {
			return 0, reason{code: cmp.Or(notEmptyCode(r.code), engine.HoldNotEmpty), form: "%[1]s cannot leave it: %[2]s", where: b.s.VMs[v].Name, other: b.text(&r)}
		}
		cost += once
	}
	return cost, reason{}
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
	cost, h, r := int64(0), engine.None, reason{code: engine.HoldNowhere}
	if w.host >= 0 {
		h, r = b.find(&w)
		if depth > 0 && r.stage == stCapacity {
			cost = b.makeRoom(x, w.host, depth)
			h, r = b.find(&w)
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
	b.commit(&w, h, x.why, engine.Ledger{CostOnce: once})
	b.wishes--
	return cost + once, reason{}
}

// makeRoom moves VMs off host h that the search ejects, and returns the cost.
func (b *builder) makeRoom(x *sleeper, h int32, depth int) int64 {
	var cost int64
	for _, v := range x.d.ejected {
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
		if x := &b.acts[i]; x.vm >= 0 {
			sum += b.marginal(x.vm, x.from) - b.marginal(x.vm, x.to)
		}
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
