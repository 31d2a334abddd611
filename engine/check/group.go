package check

import (
	"maps"

	"heliostat/engine"
)

// A group is a DRS rule between VMs or a policy's group. Powered-off members
// do not count.
type group struct {
	name  string
	kind  engine.GroupKind
	scope string
	rtt   int32 // near: most microseconds between two members' sites
	split int64 // near: most seconds that it may be worse than at the start; 0 for any
	vms   []int32
}

// A tally is how a group stands in one replay.
type tally struct {
	at    map[int32]int64 // members by place; apart: one on its way counts at both ends
	pairs int64           // apart: pairs in one place; else: pairs that are not as they should be
	start int64           // the same at the start
	since int64           // near: since when it is worse; -1 when it is not
}

// memberships collects the groups with a member that the plan moves.
func (w *world) memberships() {
	w.groupsOf = make([][]int32, len(w.acts))
	arrived := map[int32]int32{}
	for _, e := range w.steps[w.open:] {
		if e.vm >= 0 {
			arrived[e.vm] = e.to
		}
	}
	// The mover of a VM that is under way is that move: the plan has none for it.
	opened := map[int32]int32{}
	for i := w.open; i < len(w.steps); i++ {
		opened[w.steps[i].vm] = int32(i)
	}
	mover := func(v int32) (int32, bool) {
		i, ok := opened[v]
		if !ok {
			i = w.c.movedBy[v]
		}
		return i, i >= 0 && w.steps[i].from != w.steps[i].to && w.c.s.VMs[v].Power == engine.VMOn
	}
	add := func(g group, vms []int32) {
		found := false
		for _, v := range vms {
			if i, ok := mover(v); ok {
				w.groupsOf[i] = append(w.groupsOf[i], int32(len(w.groups)))
				w.steps[i].grouped = true
				found = true
			}
		}
		if !found {
			return
		}
		for _, v := range vms {
			if w.c.s.VMs[v].Power == engine.VMOn && w.c.s.VMs[v].Host >= 0 {
				g.vms = append(g.vms, v)
			}
		}
		w.groups, w.before = append(w.groups, g), append(w.before, w.countGroup(&g, arrived))
	}
	for k := range w.c.s.Rules {
		r := &w.c.s.Rules[k]
		if r.Disabled {
			continue
		}
		switch r.Kind {
		case engine.RuleApart:
			add(group{name: "rule " + r.Name, kind: engine.GroupApart, scope: "host"}, r.VMs)
		case engine.RuleTogether:
			add(group{name: "rule " + r.Name, kind: engine.GroupTogether, scope: "host"}, r.VMs)
		case engine.RuleOn, engine.RuleNotOn:
		}
	}
	for k := range w.c.d.Groups {
		g := &w.c.d.Groups[k]
		scope := g.Scope
		if g.Kind == engine.GroupNear {
			scope = "site"
		}
		add(group{name: "group " + g.Name + " of " + w.c.d.Why(g.By).Policy, kind: g.Kind, scope: scope, rtt: g.MaxRTTMicros, split: int64(g.MaxSplitS)}, g.VMs)
	}
}

// spot is where host h is, at the group's scope.
func (w *world) spot(g *group, h int32) int32 {
	switch g.scope {
	case "cluster":
		return w.c.s.Hosts[h].Cluster
	case "site":
		return w.c.s.Hosts[h].Site
	}
	return h
}

// countGroup counts a group as it stands before the plan. A move that is under way counts
// at both ends for apart, and as arrived for the others, so that the plan is not
// charged with it.
func (w *world) countGroup(g *group, arrived map[int32]int32) tally {
	n := tally{at: map[int32]int64{}, since: -1}
	for _, v := range g.vms {
		from := w.spot(g, w.c.s.VMs[v].Host)
		to, open := arrived[v]
		switch {
		case !open:
			n.at[from]++
		case g.kind != engine.GroupApart:
			n.at[w.spot(g, to)]++
		default:
			n.at[from]++
			if spot := w.spot(g, to); spot != from {
				n.at[spot]++
			}
		}
	}
	n.pairs = w.bad(g, &n)
	n.start = n.pairs
	return n
}

// countOf is group k as it stands before the plan.
func (w *world) countOf(k int32) tally {
	n := w.before[k]
	n.at = maps.Clone(n.at)
	return n
}

// bad counts the pairs of members that are not as the group asks.
func (w *world) bad(g *group, n *tally) int64 {
	var same, split, all int64
	for a, x := range n.at {
		same += x * (x - 1) / 2
		all += x
		if g.kind != engine.GroupNear {
			continue
		}
		for b, y := range n.at {
			if a < b && !w.near(a, b, g.rtt) {
				split += x * y
			}
		}
	}
	switch g.kind {
	case engine.GroupApart:
		return same
	case engine.GroupTogether:
		return all*(all-1)/2 - same
	case engine.GroupNear:
	}
	return split
}

func (w *world) near(a, b, rtt int32) bool {
	link, ok := w.c.s.Link(a, b)
	return ok && link.RTTMicros != engine.Unknown && link.RTTMicros <= rtt
}

// enter counts a VM at its destination too, where groups must be apart.
func (r *replay) enter(i int32) {
	e := r.steps[i]
	for _, k := range r.groupsOf[i] {
		g, n := &r.groups[k], &r.counts[k]
		from, to := r.spot(g, e.from), r.spot(g, e.to)
		if g.kind != engine.GroupApart || from == to {
			continue
		}
		n.pairs += n.at[to]
		n.at[to]++
		if n.at[to] > 1 && n.pairs > n.start {
			r.refuse(i, engine.HoldRule, "%s: %d members would be in one %s, %d pairs where %d were at the start, with %d moves under way",
				g.name, n.at[to], g.scope, n.pairs, n.start, r.flight)
		}
	}
}

// leave counts a VM no longer where it was, or no longer where it did not get to.
func (r *replay) leave(i int32, failed bool) {
	e := r.steps[i]
	for _, k := range r.groupsOf[i] {
		g, n := &r.groups[k], &r.counts[k]
		from, to := r.spot(g, e.from), r.spot(g, e.to)
		if from == to {
			continue
		}
		if g.kind == engine.GroupApart {
			gone := from
			if failed {
				gone = to
			}
			n.at[gone]--
			n.pairs -= n.at[gone]
			continue
		}
		if failed || int(i) >= r.open { // an open one was counted as arrived
			continue
		}
		n.at[from]--
		n.at[to]++
		n.pairs = r.bad(g, n)
		r.splitFor(i, g, n)
	}
}

// splitFor checks how long a group that should be near has been worse than at
// the start, when every action takes as long as estimated.
func (r *replay) splitFor(i int32, g *group, n *tally) {
	switch {
	case g.kind != engine.GroupNear || g.split == 0 || !r.timed:
	case n.pairs > n.start && n.since < 0:
		n.since = r.now
	case n.pairs <= n.start && n.since >= 0:
		if d := r.now - n.since; d > g.split {
			r.refuse(i, engine.HoldRule, "%s: would be split for %d s, at most %d", g.name, d, g.split)
		}
		n.since = -1
	}
}

// settled judges the groups that must be together or near once everything has
// gone well. In between they may be split: VMs move one by one, and any move may
// fail.
func (r *replay) settled() {
	for _, i := range r.x.acts {
		for _, k := range r.groupsOf[i] {
			g, n := &r.groups[k], &r.counts[k]
			if g.kind != engine.GroupApart && n.pairs > n.start {
				r.refuse(i, engine.HoldRule, "%s: would end with %d pairs not %s, %d at the start", g.name, n.pairs, g.kind, n.start)
			}
		}
	}
}
