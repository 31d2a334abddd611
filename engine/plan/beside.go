package plan

import (
	"slices"

	"heliostat/engine"
	"heliostat/internal/parallel"
)

// slept is what consolidation planned in one block by itself. Indices of actions
// count from what was planned before all of them.
type slept struct {
	acts      []act
	holds     []engine.Hold
	power     engine.PowerCost
	evaluated int64
	moves     int32
	standbys  int32
	deferred  bool // it is not for one block to decide: nothing was planned yet
}

// sleepBeside consolidates blocks at the same time, on all processors, as though
// one after the other: a block that has to do with others, by a constraint, by
// two sites or by room on a datastore, is done after those that have not, in its turn.
func (b *builder) sleepBeside(blocks []block, evaluations int64) {
	b.wide = true
	out, base := make([]slept, len(blocks)), len(b.acts)
	tied := b.tied(blocks)
	var free []*block
	clusters := 0
	for k := range blocks {
		if !tied[k] {
			free, clusters = append(free, &blocks[k]), clusters+len(blocks[k].lists)
		}
	}
	b.searchClusters(free, clusters, evaluations)
	parallel.Each(len(blocks), func() func(int) {
		n := b.another()
		n.confined = true
		return func(k int) {
			if out[k].deferred = tied[k]; tied[k] {
				return
			}
			n.home = n.homeOf(&blocks[k])
			n.merge(&blocks[k], evaluations)
			if out[k] = n.sleepOne(b, &blocks[k]); n.strayed {
				n.forget(&blocks[k], base)
				out[k] = slept{deferred: true}
			}
		}
	})
	n := b.another()
	for k := range blocks {
		if out[k].deferred {
			if tied[k] {
				n.searchClusters([]*block{&blocks[k]}, len(blocks[k].lists), evaluations)
				n.merge(&blocks[k], evaluations)
			}
			out[k] = n.sleepOne(b, &blocks[k])
		}
	}
	b.join(blocks, out, base)
}

// homeOf is the site of a block's datastores that no other block asks for room on.
func (b *builder) homeOf(x *block) engine.SiteMask {
	if b.c.Consolidate == engine.ReachCluster {
		return 0
	}
	return engine.SiteMask(0).With(b.s.Hosts[x.lists[0][0].h].Site)
}

// another is the builder for one of several goroutines, each of which decides about
// clusters of its own.
func (b *builder) another() *builder {
	n := *b
	n.said, n.mark = nil, scratch{}
	n.mark.init(b.s)
	n.acts = slices.Clip(b.acts)
	return &n
}

// tied tells which blocks have to do with others: they stand at several sites, or
// a constraint is about VMs of several.
func (b *builder) tied(blocks []block) []bool {
	out, of := make([]bool, len(blocks)), nones(len(b.s.Clusters))
	for k := range blocks {
		for _, list := range blocks[k].lists {
			c := b.s.Hosts[list[0].h].Cluster
			of[c], out[k] = int32(k), out[k] || b.siteOf[c] < 0
		}
	}
	at := func(v int32) int32 {
		if c := b.s.VMCluster(v); c >= 0 {
			return of[c]
		}
		return engine.None
	}
	for i := range b.cons {
		vms := b.cons[i].vms
		spans := slices.ContainsFunc(vms, func(v int32) bool { return b.s.VMCluster(v) != b.s.VMCluster(vms[0]) && at(v) != at(vms[0]) })
		for _, v := range vms {
			if k := at(v); spans && k >= 0 {
				out[k] = true
			}
		}
	}
	return out
}

// sleepOne plans one block on a builder that starts from b.
func (b *builder) sleepOne(from *builder, x *block) slept {
	base := len(from.acts)
	b.acts, b.holds = b.acts[:base], nil
	b.power, b.evaluated, b.wishes, b.left = engine.PowerCost{}, from.evaluated, from.wishes, from.left
	b.strayed = false
	b.putToSleep(x)
	return slept{
		acts: slices.Clone(b.acts[base:]), holds: b.holds, power: b.power,
		evaluated: b.evaluated - from.evaluated, moves: from.wishes - b.wishes, standbys: from.left.PowerHour - b.left.PowerHour,
	}
}

// forget takes back what was planned for a block.
func (b *builder) forget(x *block, base int) {
	b.undo(base)
	for k, list := range x.lists {
		for i := range list {
			b.drained[list[i].h], b.going[list[i].h] = false, false
		}
		c := b.s.Hosts[list[0].h].Cluster
		for _, h := range b.s.HostsOf(c) {
			b.ejected[h] = nil
		}
		b.rooms[c].fresh, b.rooms[c].relief, b.rooms[c].others.known = false, relief{}, false
		if d := x.domains[k]; d != nil {
			for _, v := range d.vms {
				b.aim[v] = engine.None
			}
		}
	}
}

// join puts what was planned for each block together, in their order.
func (b *builder) join(blocks []block, out []slept, base int) {
	at, holds := make([]int, len(out)+1), make([]int, len(out)+1)
	for k := range out {
		x := &out[k]
		at[k+1], holds[k+1] = at[k]+len(x.acts), holds[k]+len(x.holds)
		b.power.Start += x.power.Start
		b.power.Planned += x.power.Planned
		b.power.Bound += x.power.Bound
		b.evaluated += x.evaluated
		b.wishes -= x.moves
		b.left.PowerHour, b.left.PowerDay = b.left.PowerHour-x.standbys, b.left.PowerDay-x.standbys
	}
	first := len(b.holds)
	b.acts = slices.Grow(b.acts, at[len(out)])[:base+at[len(out)]]
	b.holds = slices.Grow(b.holds, holds[len(out)])[:first+holds[len(out)]]
	shift := func(list []int32, by int) {
		for i := range list {
			if int(list[i]) >= base {
				list[i] += int32(by)
			}
		}
	}
	parallel.Each(len(out), func() func(int) {
		return func(k int) {
			x := &out[k]
			for i := range x.acts {
				shift(x.acts[i].after, at[k])
				if v := x.acts[i].vm; v >= 0 {
					b.moved[v] += int32(at[k])
				}
			}
			for _, list := range blocks[k].lists {
				for _, h := range b.s.HostsOf(b.s.Hosts[list[0].h].Cluster) {
					shift(b.goneBy[h], at[k])
				}
			}
			copy(b.acts[base+at[k]:], x.acts)
			copy(b.holds[first+holds[k]:], x.holds)
		}
	})
}
