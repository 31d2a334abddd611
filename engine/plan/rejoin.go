package plan

import (
	"slices"

	"heliostat/engine"
)

// rejoin takes back the demanded moves that would leave a group worse than it
// is: where one member finds no way out, those that must be with it stay too.
// Taking back can break other groups, so it goes on until nothing changes.
//
// A group that may be split only for so long must be known to keep that: its
// moves come before all others and fit the slots at once, so that they start
// together, and the split is the difference of their durations. It reports whether
// any was taken back.
func (b *builder) rejoin() bool {
	if len(b.acts) == 0 {
		return false
	}
	gone, first := make([]bool, len(b.acts)), make([]bool, len(b.acts))
	for again := true; again; {
		again = false
		slots := engine.NewSlots(b.c.Limits, b.s)
		for i := range b.in.Open {
			slots.Take(&b.in.Open[i].Action)
		}
		clear(first)
		for i := range b.cons {
			k := &b.cons[i]
			if (k.kind != conTogether && k.kind != conNear) || (!b.worse(k) && b.swift(k, slots, first)) {
				continue
			}
			again = b.stay(k, gone) || again
		}
	}
	var order []int32
	for _, want := range [2]bool{true, false} {
		for i := range gone {
			if !gone[i] && first[i] == want {
				order = append(order, int32(i))
			}
		}
	}
	b.reorder(order)
	return slices.Contains(gone, true)
}

// again tries those who were held once more: what was taken back has freed room, and
// may have been what they had to be kept apart from. Whoever finds a way now takes the
// place in the order that is its own. It returns those who are held still.
func (b *builder) again(held []leaver) (still []leaver) {
	anew := make(map[string]bool, len(held))
	for i := range held {
		b.held[held[i].v] = false
		anew[string(b.s.VMs[held[i].v].ID)] = true
	}
	b.holds = slices.DeleteFunc(b.holds, func(h engine.Hold) bool { return h.Subject.Kind == "vm" && anew[h.Subject.ID] })
	mark, tier := len(b.acts), b.tierOf()
	order := make([]int32, 0, mark+len(held))
	for i := range mark {
		order = append(order, int32(i))
	}
	for i := range held {
		x := &held[i]
		if b.leave(x); b.moved[x.v] == 0 {
			still = append(still, *x)
			continue
		}
		for len(order) < len(b.acts) {
			order = append(order, int32(len(order)))
		}
		n := len(order) - 1
		for k := n; k > 0; k-- {
			p := &b.acts[order[k-1]]
			if slices.Contains(b.acts[order[n]].after, order[k-1]) {
				break
			}
			if p.vm >= 0 && b.leaving[p.vm] {
				if y := (leaver{demand: p.demand, cold: b.s.VMs[p.vm].Power != engine.VMOn, tier: tier[p.vm]}); b.sooner(&y, x) <= 0 {
					break
				}
				last := order[n]
				copy(order[k:n+1], order[k-1:n])
				order[k-1], n = last, k-1
			}
		}
	}
	b.reorder(order)
	return still
}

// stay takes back the moves of a group's members. It reports whether there were any.
func (b *builder) stay(k *con, gone []bool) bool {
	some := false
	for _, v := range k.vms {
		j := b.moved[v] - 1
		if j < 0 {
			continue
		}
		dm := &b.demands[b.acts[j].demand]
		b.takeBack(int(j))
		gone[j], some = true, true
		b.holdVM(v, reason{code: engine.HoldRule, form: "%[2]s: a member of it cannot leave with it in time", other: k.name},
			"leave "+dm.subject.Kind+" "+dm.name, dm.subject, dm.why)
	}
	return some
}

// worse reports whether a pair of members that is as it should be now would end otherwise.
func (b *builder) worse(k *con) bool {
	for _, v := range k.vms {
		if b.moved[v] == 0 {
			continue
		}
		for _, x := range k.vms {
			if x != v && b.s.VMs[x].Power == engine.VMOn && b.st.Host[x] >= 0 && !b.parted(k, b.st.Host[v], b.now(x)) && b.parted(k, b.final(v), b.final(x)) {
				return true
			}
		}
	}
	return false
}

// swift reports whether the members of a group with a longest split leave and
// arrive within it, and then takes their slots and puts them first.
func (b *builder) swift(k *con, slots *engine.Slots, first []bool) bool {
	if k.kind != conNear || k.split == 0 {
		return true
	}
	soonest, latest := int64(-1), int64(0)
	for _, v := range k.vms {
		j := b.moved[v] - 1
		if j < 0 || b.s.Hosts[b.acts[j].from].Site == b.s.Hosts[b.acts[j].to].Site {
			continue
		}
		a := b.acts[j].action
		if !first[j] {
			if len(b.acts[j].after) > 0 || !slots.Fits(a) {
				return false
			}
			slots.Take(a)
			first[j] = true
		}
		if soonest < 0 || a.Estimate.Seconds < soonest {
			soonest = a.Estimate.Seconds
		}
		latest = max(latest, a.Estimate.Seconds)
	}
	return soonest < 0 || latest-soonest <= int64(k.split)
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

// reorder keeps the actions listed, in that order, and renumbers what refers to them.
func (b *builder) reorder(order []int32) {
	if len(order) == len(b.acts) && slices.IsSorted(order) {
		return
	}
	at := make([]int32, len(b.acts))
	acts := make([]act, 0, len(order))
	for _, i := range order {
		at[i] = int32(len(acts))
		acts = append(acts, b.acts[i])
	}
	b.acts = acts
	for i := range acts {
		for j := range acts[i].after {
			acts[i].after[j] = at[acts[i].after[j]]
		}
		if v := acts[i].vm; v >= 0 {
			b.moved[v] = int32(i) + 1
		} else if acts[i].action.Kind == engine.Wakeup {
			b.waking[acts[i].from] = int32(i) + 1
		}
	}
}
