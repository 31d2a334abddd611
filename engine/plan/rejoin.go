package plan

import (
	"slices"

	"heliostat/engine"
)

// rejoin takes back the demanded moves that would leave a group worse than it
// is: where one member finds no way out, those that must be with it stay too.
// Taking back can break other groups, so it goes on until nothing changes.
func (b *builder) rejoin() {
	gone := make([]bool, len(b.actions))
	for again := true; again; {
		again = false
		var ends []int64 // of this round, when a group asks
		for i := range b.cons {
			k := &b.cons[i]
			if (k.kind != conTogether && k.kind != conNear) || !b.worse(k, &ends) {
				continue
			}
			for _, v := range k.vms {
				j := b.moved[v] - 1
				if j < 0 || gone[j] {
					continue
				}
				dm := &b.demands[b.acts[j].demand]
				b.takeBack(int(j))
				gone[j], again = true, true
				b.holdVM(v, reason{code: engine.HoldRule, form: "%[2]s: a member of it cannot leave with it in time", other: k.name},
					"leave "+dm.subject.Kind+" "+dm.name, dm.subject, dm.why)
			}
		}
	}
	b.compact(gone)
}

// worse reports whether a pair of members that is as it should be now would end
// otherwise, or would be otherwise for too long on the way.
func (b *builder) worse(k *con, ends *[]int64) bool {
	moving := false
	for _, v := range k.vms {
		if b.moved[v] == 0 {
			continue
		}
		moving = true
		for _, x := range k.vms {
			if x != v && b.s.VMs[x].Power == engine.VMOn && b.st.Host[x] >= 0 && !b.parted(k, b.st.Host[v], b.now(x)) && b.parted(k, b.final(v), b.final(x)) {
				return true
			}
		}
	}
	if !moving || k.kind != conNear || k.split == 0 {
		return false
	}
	if *ends == nil {
		*ends = b.simulate()
	}
	return b.splitFor(k, *ends) > int64(k.split)
}

// parted reports whether two hosts are not as the group asks of its members.
func (b *builder) parted(k *con, x, y int32) bool {
	if k.kind == conNear {
		return b.far(b.s.Hosts[x].Site, b.s.Hosts[y].Site, k)
	}
	return b.scopeOf(k.scope, x) != b.scopeOf(k.scope, y)
}

// final is where VM v ends.
func (b *builder) final(v int32) int32 {
	if h := b.dest[v]; h >= 0 {
		return h
	}
	return b.st.Host[v]
}

// splitFor is for how many seconds the members that change site may be split:
// from the first arrival to the last, and as much again as the longest of the
// moves, since the executor's order differs from the estimate's.
func (b *builder) splitFor(k *con, ends []int64) int64 {
	first, last, longest := int64(-1), int64(0), int64(0)
	for _, v := range k.vms {
		j := b.moved[v] - 1
		if j < 0 || b.s.Hosts[b.acts[j].from].Site == b.s.Hosts[b.acts[j].to].Site {
			continue
		}
		if first < 0 || ends[j] < first {
			first = ends[j]
		}
		last, longest = max(last, ends[j]), max(longest, b.actions[j].Estimate.Seconds)
	}
	if first < 0 || last == first {
		return 0
	}
	return last - first + longest
}

// compact drops the moves that were taken back and renumbers the rest.
func (b *builder) compact(gone []bool) {
	if !slices.Contains(gone, true) {
		return
	}
	at := make([]int32, len(gone))
	n := int32(0)
	for i := range gone {
		at[i] = n
		if gone[i] {
			continue
		}
		b.actions[n], b.acts[n] = b.actions[i], b.acts[i]
		if v := b.acts[n].vm; v >= 0 {
			b.moved[v] = n + 1
		} else if b.actions[n].Kind == engine.Wakeup {
			b.waking[b.acts[n].from] = n + 1
		}
		n++
	}
	b.actions, b.acts = b.actions[:n], b.acts[:n]
	for i := range b.actions {
		for j := range b.actions[i].After {
			b.actions[i].After[j] = at[b.actions[i].After[j]]
		}
	}
}
