package plan

import "heliostat/engine"

// compileOpen reserves what is under way, and counts it against the budgets,
// which only know what has ended.
func (b *builder) compileOpen() {
	b.wishes = b.c.MovesPerCycle
	for i := range b.in.Open {
		a := &b.in.Open[i].Action
		// An action that the snapshot contradicts stays reserved as far as it can be seen.
		started := b.st.Start(a) == nil
		if h, ok := b.s.FindHost(a.From.Host); ok && a.Kind != engine.Move {
			b.openHost[h], b.openTo[h] = true, true
		}
		if a.Kind == engine.Standby && a.Demand.Kind == "" {
			b.left.PowerHour, b.left.PowerDay = b.left.PowerHour-1, b.left.PowerDay-1
		}
		if a.Kind != engine.Move {
			continue
		}
		if a.Demand.Kind == "" {
			b.left.MovesHour, b.left.MovesDay = b.left.MovesHour-1, b.left.MovesDay-1
		}
		if h, ok := b.s.FindHost(a.From.Host); ok {
			b.openHost[h] = true
		}
		v, ok := b.s.FindVM(a.VM)
		if !ok {
			b.expectUnseen(a)
			continue
		}
		b.openVM[v], b.stirred = true, append(b.stirred, v)
		to, ok := b.s.FindHost(a.To.Host)
		if !ok {
			continue
		}
		b.openHost[to] = true
		if started {
			b.dest[v] = to
			b.soonOn[to] += b.soon(v)
			b.arrive(v, to)
			if k := b.linkIndex(b.s.VMSite(v), b.s.Hosts[to].Site); k >= 0 && b.s.VMSite(v) != b.s.Hosts[to].Site {
				b.queue[k] += a.Estimate.MemoryMiB + a.Estimate.DiskMiB
			}
		}
	}
	b.left.MovesHour, b.left.MovesDay = max(b.left.MovesHour, 0), max(b.left.MovesDay, 0)
	b.left.PowerHour, b.left.PowerDay = max(b.left.PowerHour, 0), max(b.left.PowerDay, 0)
	b.budgetName = "this cycle"
	if b.left.MovesHour < b.wishes {
		b.wishes, b.budgetName = b.left.MovesHour, "this hour"
	}
	if b.left.MovesDay < b.wishes {
		b.wishes, b.budgetName = b.left.MovesDay, "this day"
	}
}

// expectUnseen makes room for a VM that no inventory shows: for a moment a move
// across vCenters has left the one and has not been read in the other. How much it
// takes is not known, so its host, and in a cluster that chooses hosts itself every
// one, takes no other VM and keeps its state meanwhile. Its disks are counted.
func (b *builder) expectUnseen(a *engine.Action) {
	to, ok := b.s.FindHost(a.To.Host)
	if !ok {
		return
	}
	if b.unseen == nil {
		b.unseen = make([]bool, len(b.s.Hosts))
	}
	b.unseen[to], b.openHost[to] = true, true
	if a.To.DRS {
		for _, h := range b.s.HostsOf(b.s.Hosts[to].Cluster) {
			b.unseen[h], b.openHost[h] = true, true
		}
	}
	take := func(id engine.DatastoreID, mib int64) {
		if d, ok := b.s.FindDatastore(id); ok {
			b.st.Free[d] -= mib
		}
	}
	take(a.HomeTo, a.SwapMiB)
	for i := range a.Disks {
		if x := &a.Disks[i]; x.From != x.To {
			take(x.To, x.MiB)
		}
	}
}

// unseenReason says that a VM that is not seen is on its way to host h.
func (b *builder) unseenReason(h int32) reason {
	if b.unseen == nil || !b.unseen[h] {
		return reason{}
	}
	return reason{code: engine.HoldBusy, stage: stHost, form: "a VM that no inventory shows is on its way to %[1]s", where: b.s.Hosts[h].Name}
}

// arrive counts a VM that comes into a cluster from outside.
func (b *builder) arrive(v, to int32) {
	c := b.s.Hosts[to].Cluster
	if b.s.VMCluster(v) == c {
		return
	}
	b.rooms[c].usedCPU += int64(b.st.Foot[v].CPUMHz)
	b.rooms[c].usedMem += int64(b.st.Foot[v].MiB)
}
