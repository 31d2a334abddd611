package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// repairStage moves VMs off hosts over capacity and out of violated rules, the
// shortest migrations first. Each is a move outside demands, and the budgets
// count it.
func (b *builder) repairStage() {
	for _, h := range b.over {
		if b.bars[0][h] == barNone && !b.doomed[h] {
			b.relieve(h)
		}
	}
	b.rearrange()
	for i := range b.cons {
		if b.broke[i] {
			b.mend(&b.cons[i])
		}
	}
}

// violated reports whether the fleet as it stands breaks the constraint, so that
// there is something to mend. What moves or leaves takes no part in that.
func (b *builder) violated(k *con) bool {
	places := make([]int32, 0, 8)
	for _, v := range k.vms {
		h := b.s.VMs[v].Host
		if b.s.VMs[v].Power != engine.VMOn || h < 0 || (k.cluster >= 0 && b.s.Hosts[h].Cluster != k.cluster) {
			continue
		}
		switch p := b.scopeOf(k.scope, h); k.kind {
		case conOn, conNotOn:
			if k.breaks(h) {
				return true
			}
		case conApart:
			places = append(places, p)
		case conTogether:
			if k.scope == scopeHost && len(places) > 0 && places[0] != h {
				return true
			}
			places = append(places, h)
		case conNear:
		}
	}
	if k.kind != conApart {
		return false
	}
	slices.Sort(places)
	for i := 1; i < len(places); i++ {
		if places[i] >= 0 && places[i] == places[i-1] {
			return true
		}
	}
	return false
}

// overloaded reports whether host h uses more than it has.
func (b *builder) overloaded(h int32) bool {
	x := &b.s.Hosts[h]
	return x.UsedMHz > x.CPUMHz || x.UsedMiB > x.MemoryMiB
}

// excess is by how much the load of host h exceeds it once the VMs have left that
// are to leave.
func (b *builder) excess(h int32) (cpu, mem int64) {
	return b.beyond(h, 100, 100)
}

// beyond is by how much its load exceeds so many percent of it.
func (b *builder) beyond(h, cpuPct, memPct int32) (cpu, mem int64) {
	host := &b.s.Hosts[h]
	cpu, mem = int64(host.UsedMHz)-int64(host.CPUMHz)*int64(cpuPct)/100, int64(host.UsedMiB)-int64(host.MemoryMiB)*int64(memPct)/100
	for _, v := range b.s.VMsOn(h) {
		if vm := &b.s.VMs[v]; b.dest[v] >= 0 && vm.Power == engine.VMOn {
			cpu, mem = cpu-int64(max(vm.UsedMHz, 0)), mem-int64(max(vm.UsedMiB, 0))
		}
	}
	return max(cpu, 0), max(mem, 0)
}

// relieve moves VMs off host h, which is asked for more than it has, until it is
// filled as far as hosts may be. Those that take little of what is too much move only
// where no other lacks a place, which may be made or woken for it.
func (b *builder) relieve(h int32) {
	stuck := len(b.stuck)
	b.shed(h, b.c.CPUMaxPct, b.c.MemMaxPct, worthRelief)
	if len(b.stuck) == stuck {
		b.shed(h, 100, 100, 0)
	}
}

// worthRelief is the part of what a host has too much that a VM has to take: dozens of
// small ones would move for less than one that is large.
const worthRelief = 16

// shed moves VMs off host h, if it is over its capacity, until it is filled to so many
// percent: those that take an nth of what is beyond that, or all; first those that take
// most of what is short for the memory that has to move.
func (b *builder) shed(h, cpuPct, memPct int32, n int64) {
	if cpu, mem := b.excess(h); cpu == 0 && mem == 0 {
		return
	}
	host := &b.s.Hosts[h]
	vms := b.byBytes(b.s.VMsOn(h))
	if host.UsedMHz > host.CPUMHz {
		vms = b.byNeed(vms, func(v int32) int32 { return b.s.VMs[v].UsedMHz })
	}
	allCPU, allMem := b.beyond(h, cpuPct, memPct)
	for _, v := range vms {
		if cpu, mem := b.beyond(h, cpuPct, memPct); cpu == 0 && mem == 0 {
			return
		}
		vm := &b.s.VMs[v]
		little := n > 0 && (allCPU == 0 || int64(vm.UsedMHz)*n < allCPU) && (allMem == 0 || int64(vm.UsedMiB)*n < allMem)
		if !little && vm.Power == engine.VMOn && vm.Obstacles&engine.ObAgent == 0 && b.dest[v] < 0 {
			b.repair(v, engine.None, nil, b.overWhy(h))
		}
	}
}

func (b *builder) overWhy(h int32) engine.Why {
	return engine.Why{Policy: "engine", Rule: "repair", Reason: b.s.Hosts[h].Name + " is over its capacity"}
}

// byBytes sorts VMs by what a move of their memory sends.
func (b *builder) byBytes(vms []int32) []int32 {
	out := slices.Clone(vms)
	slices.SortStableFunc(out, func(x, y int32) int { return cmp.Compare(b.s.VMs[x].UsedMiB, b.s.VMs[y].UsedMiB) })
	return out
}

// mend moves VMs until the constraint holds.
func (b *builder) mend(k *con) {
	why := engine.Why{Policy: "engine", Rule: "repair", Reason: k.name + " is violated"}
	switch k.kind {
	case conOn, conNotOn:
		for _, v := range b.byBytes(k.vms) {
			if b.mendable(v) && k.breaks(b.st.Host[v]) && b.s.VMCluster(v) == k.cluster {
				b.repair(v, engine.None, k, why)
			}
		}
	case conApart:
		taken := map[int32]bool{}
		// The largest stays, so that the shortest migration is made.
		order := b.byBytes(k.vms)
		for _, v := range slices.Backward(order) {
			if !b.mendable(v) || (k.cluster >= 0 && b.s.VMCluster(v) != k.cluster) {
				continue
			}
			p := b.scopeOf(k.scope, b.st.Host[v])
			if p >= 0 && taken[p] {
				b.repair(v, engine.None, k, why)
			}
			taken[p] = true
		}
	case conTogether:
		b.gather(k, why)
	case conNear:
	}
}

// gather brings the members of a violated host-scope group to the host that
// has most of them. Where two hosts have several each, moving one by one would
// part those that are together, and the rule holds them.
func (b *builder) gather(k *con, why engine.Why) {
	still := !slices.ContainsFunc(k.vms, func(v int32) bool { return b.dest[v] >= 0 || b.leaving[v] })
	if k.scope != scopeHost || !still {
		return
	}
	counts := map[int32]int{}
	anchor := engine.None
	for _, v := range k.vms {
		if h := b.st.Host[v]; b.mendable(v) && (k.cluster < 0 || b.s.VMCluster(v) == k.cluster) {
			counts[h]++
			if anchor < 0 || counts[h] > counts[anchor] || (counts[h] == counts[anchor] && h < anchor) {
				anchor = h
			}
		}
	}
	if len(counts) < 2 {
		return
	}
	for _, v := range b.byBytes(k.vms) {
		if b.mendable(v) && b.st.Host[v] != anchor && (k.cluster < 0 || b.s.VMCluster(v) == k.cluster) {
			b.repair(v, anchor, k, why)
		}
	}
}

// mendable reports whether VM v takes part in repairs: on, and not already moving.
func (b *builder) mendable(v int32) bool {
	return b.s.VMs[v].Power == engine.VMOn && b.st.Host[v] >= 0 && b.dest[v] < 0 && !b.leaving[v]
}

// scopeOf is the place of host h at a scope.
func (b *builder) scopeOf(scope uint8, h int32) int32 {
	switch scope {
	case scopeCluster:
		return b.s.Hosts[h].Cluster
	case scopeSite:
		return b.s.Hosts[h].Site
	}
	return h
}

// wantAway is what is held where a repair finds no place.
const wantAway = "move away"

// repair moves VM v to where k (if any) is not violated any more: in its cluster
// first, then at its site, then at others if k is about sites.
func (b *builder) repair(v, to int32, k *con, why engine.Why) {
	w := want{v: v, demand: engine.None, cluster: engine.None, host: to, avoid: b.leftRecently(v)}
	w.mend = k
	w.sites = w.sites.With(b.s.VMSite(v))
	if k == nil {
		w = b.urgent(v)
	}
	if k != nil && k.scope == scopeSite {
		w.sites = ^(b.doomedSite | b.threatened)
	}
	if b.held[v] {
		return
	}
	if r := b.vmReason(&w); !r.ok() {
		b.holdVM(v, r, wantAway, engine.Subject{}, []engine.Why{why})
		return
	}
	site := b.s.VMSite(v)
	if to >= 0 {
		site = b.s.Hosts[to].Site
	}
	// Even a host over its capacity does not undo what somebody else has just done.
	if r := b.coolReason(v, site); !r.ok() && (!w.urgent || b.meddled(v)) {
		b.holdVM(v, r, wantAway, engine.Subject{}, []engine.Why{why})
		return
	}
	if r := b.spent(); !r.ok() {
		b.holdVM(v, r, wantAway, engine.Subject{}, []engine.Why{why})
		return
	}
	h, r := b.find(&w)
	if w.urgent && r.stage == stCapacity {
		b.stuck = append(b.stuck, v)
		return
	}
	if !r.ok() {
		b.holdVM(v, r, wantAway, engine.Subject{}, []engine.Why{why})
		return
	}
	b.send(&w, h, why)
}

// urgent is the want of VM v, whose host is over its capacity.
func (b *builder) urgent(v int32) want {
	w := want{v: v, urgent: true, demand: engine.None, cluster: engine.None, host: engine.None, avoid: b.leftForGain(v)}
	w.sites = w.sites.With(b.s.VMSite(v))
	return w
}

// send moves a VM to host h, outside demands.
func (b *builder) send(w *want, h int32, why engine.Why) {
	storage, from := b.storageNeeded(w, h), b.st.Host[w.v]
	e := b.estimate(w.v, h, storage, b.diskCopy(w, h))
	b.commit(w, h, []engine.Why{why}, engine.Ledger{CostOnce: b.moveCost(w.v, from, h, &e, b.rate(from, h, storage, false))})
	b.wishes--
}

// spent says that the budget of moves outside demands is used up, or is ok.
func (b *builder) spent() reason {
	if b.evaluated >= b.budget {
		return b.exhausted()
	}
	if b.wishes > 0 {
		return reason{}
	}
	limit := b.c.MovesPerCycle
	switch b.budgetName {
	case "this hour":
		limit = b.c.MovesPerHour
	case "this day":
		limit = b.c.MovesPerDay
	}
	return reason{code: engine.HoldBudget, stage: stReserve, form: "%[1]s's %[3]d moves are used up", where: b.budgetName, a: int64(limit)}
}
