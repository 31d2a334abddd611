package plan

import (
	"slices"

	"heliostat/engine"
)

// slept is what consolidation planned in one cluster by itself. Indices of actions
// count from what was planned before all of them.
type slept struct {
	actions   []engine.Action
	acts      []act
	holds     []engine.Hold
	power     engine.PowerCost
	evaluated int64
	moves     int32
	standbys  int32
	deferred  bool // it is not for one cluster to decide: nothing was planned yet
}

// sleepBeside consolidates clusters at the same time, on all processors, as though
// one after the other: a cluster that has to do with others, by a constraint, by
// two sites or by room on a datastore, is done after those that have not, in its turn.
func (b *builder) sleepBeside(groups [][]sleeper, evaluations int64) {
	b.wide = true
	out, base := make([]slept, len(groups)), len(b.actions)
	tied := b.tied()
	inParallel(len(groups), func() func(int) {
		n := b.another()
		n.confined = true
		return func(k int) {
			c := n.s.Hosts[groups[k][0].h].Cluster
			if out[k].deferred = tied[c]; tied[c] {
				return
			}
			d := n.searched(groups[k], evaluations)
			if out[k] = n.sleepOne(b, groups[k], d); n.strayed {
				n.forget(groups[k], d, base)
				out[k] = slept{deferred: true}
			}
		}
	})
	n := b.another()
	for lo := 0; lo < len(groups); lo += atOnce {
		some := make([]*domain, atOnce)
		for k := lo; k < min(lo+atOnce, len(groups)); k++ {
			if out[k].deferred {
				some[k-lo] = n.searched(groups[k], evaluations)
			}
		}
		for k := lo; k < min(lo+atOnce, len(groups)); k++ {
			if out[k].deferred {
				out[k] = n.sleepOne(b, groups[k], some[k-lo])
			}
		}
	}
	b.join(groups, out, base)
}

// another is the builder for one of several goroutines, each of which decides about
// clusters of its own.
func (b *builder) another() *builder {
	n := *b
	n.last, n.mark = lastText{}, scratch{}
	n.mark.init(b.s)
	n.actions, n.acts = slices.Clip(b.actions), slices.Clip(b.acts)
	return &n
}

// tied tells which clusters have to do with others: they stand at several sites, or
// a constraint is about VMs of several.
func (b *builder) tied() []bool {
	out := make([]bool, len(b.s.Clusters))
	for c := range out {
		out[c] = b.s.ClusterSite(int32(c)) < 0
	}
	for i := range b.cons {
		vms := b.cons[i].vms
		spans := slices.ContainsFunc(vms, func(v int32) bool { return b.s.VMCluster(v) != b.s.VMCluster(vms[0]) })
		for _, v := range vms {
			if c := b.s.VMCluster(v); spans && c >= 0 {
				out[c] = true
			}
		}
	}
	return out
}

// sleepOne plans one cluster on a builder that starts from b.
func (b *builder) sleepOne(from *builder, list []sleeper, d *domain) slept {
	base := len(from.actions)
	b.actions, b.acts, b.holds = b.actions[:base], b.acts[:base], nil
	b.power, b.evaluated, b.wishes, b.left = engine.PowerCost{}, from.evaluated, from.wishes, from.left
	b.strayed = false
	b.putToSleep(list, d)
	return slept{
		actions: slices.Clone(b.actions[base:]), acts: slices.Clone(b.acts[base:]), holds: b.holds, power: b.power,
		evaluated: b.evaluated - from.evaluated, moves: from.wishes - b.wishes, standbys: from.left.PowerHour - b.left.PowerHour,
	}
}

// forget takes back what was planned for a cluster.
func (b *builder) forget(list []sleeper, d *domain, base int) {
	b.undo(base)
	for i := range list {
		b.drained[list[i].h], b.going[list[i].h] = false, false
	}
	if d != nil {
		for _, v := range d.vms {
			b.aim[v] = engine.None
		}
	}
	b.rooms[b.s.Hosts[list[0].h].Cluster].fresh = false
}

// join puts what was planned for each cluster together, in their order.
func (b *builder) join(groups [][]sleeper, out []slept, base int) {
	at, holds := make([]int, len(out)+1), make([]int, len(out)+1)
	for k := range out {
		x := &out[k]
		at[k+1], holds[k+1] = at[k]+len(x.actions), holds[k]+len(x.holds)
		b.power.Start += x.power.Start
		b.power.Planned += x.power.Planned
		b.power.Bound += x.power.Bound
		b.evaluated += x.evaluated
		b.wishes -= x.moves
		b.left.PowerHour, b.left.PowerDay = b.left.PowerHour-x.standbys, b.left.PowerDay-x.standbys
	}
	first := len(b.holds)
	b.actions, b.acts = slices.Grow(b.actions, at[len(out)])[:base+at[len(out)]], slices.Grow(b.acts, at[len(out)])[:base+at[len(out)]]
	b.holds = slices.Grow(b.holds, holds[len(out)])[:first+holds[len(out)]]
	shift := func(list []int32, by int) {
		for i := range list {
			if int(list[i]) >= base {
				list[i] += int32(by)
			}
		}
	}
	inParallel(len(out), func() func(int) {
		return func(k int) {
			x := &out[k]
			for i := range x.actions {
				shift(x.actions[i].After, at[k])
				if v := x.acts[i].vm; v >= 0 {
					b.moved[v] += int32(at[k])
				}
			}
			for _, h := range b.s.HostsOf(b.s.Hosts[groups[k][0].h].Cluster) {
				shift(b.goneBy[h], at[k])
			}
			copy(b.actions[base+at[k]:], x.actions)
			copy(b.acts[base+at[k]:], x.acts)
			copy(b.holds[first+holds[k]:], x.holds)
		}
	})
}
