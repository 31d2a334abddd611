// Package shuffle carries one plan out in many orders, and judges the fleet at every
// event with code of its own.
//
// An order is any that the plan's edges allow, with any overlap: at each moment one of
// the actions that wait for nothing starts, or one that is under way ends, well or
// badly. Every other order knows the executor's slots, and starts the lowest rank
// that fits them. The judge (judge.go) shares nothing with the planner and its check
// but what a VM takes of a host, and where the fleet stood at the start.
package shuffle

import (
	"fmt"
	"slices"

	"heliostat/engine"
)

// A Course is one plan on the fleet that it was made for.
type Course struct {
	in    *engine.Input
	s     *engine.Snapshot
	p     *engine.Plan
	acts  []act
	start occupied // before the first action
	waits []int32  // by action: for how many others it waits
	next  [][]int32

	groups   []group
	capacity []int32 // of each slot counter, as counted here
	rule     []int32 // of each counter of the executor's
	evacuate map[engine.Subject]bool

	Always []Fault // what is against a rule in every order
}

// An act is an action with all that is looked up once.
type act struct {
	*engine.Action
	vm, from, to int32 // None where there is none
	foot         engine.Footprint
	counts       bool // it keeps a host from being empty: it runs, and is no agent
	moves        bool // to another host
	writes       []write
	slots        []slot // as counted here
	rule         []slot // as the executor counts
	groups       []int32
}

// A write is what a move needs of a datastore, and what it leaves behind elsewhere.
type write struct {
	to, from int32
	mib      int64
}

// An Outcome is one execution.
type Outcome struct {
	Events int // starts and ends
	Failed int
	Wrong  []Fault
}

// A Fault is a rule that was broken: overcommit, space, reserve, ready, empty, apart,
// place, slots.
type Fault struct{ Rule, Text string }

// New reads a plan.
func New(in *engine.Input, p *engine.Plan) *Course {
	c := &Course{
		in: in, s: in.Snapshot, p: p, acts: make([]act, len(p.Actions)), waits: make([]int32, len(p.Actions)),
		next: make([][]int32, len(p.Actions)), evacuate: map[engine.Subject]bool{},
	}
	for _, e := range in.Decision.Evacuations {
		c.evacuate[e.Place] = true
	}
	foot := make([]engine.Footprint, len(c.s.VMs))
	for v := range c.s.VMs {
		vm, pack := &c.s.VMs[v], int32(engine.Unknown)
		if past := in.History.VM(vm.ID); vm.Power == engine.VMOn {
			pack = past.CPU.Percentile(int(in.Config.PackPct))
		}
		foot[v] = engine.FootprintOf(vm, pack)
	}
	c.start.from(c.s, foot)
	moved := map[int32][]int32{}
	for i := range p.Actions {
		a := &p.Actions[i]
		c.waits[i] = int32(len(a.After))
		for _, k := range a.After {
			c.next[k] = append(c.next[k], int32(i))
		}
		c.acts[i] = c.look(a, foot)
		if x := &c.acts[i]; x.vm >= 0 {
			moved[x.vm] = append(moved[x.vm], int32(i))
		}
	}
	c.slots()
	c.ruled()
	c.findGroups(moved)
	c.static()
	return c
}

func (c *Course) look(a *engine.Action, foot []engine.Footprint) act {
	s := c.s
	x := act{Action: a, vm: engine.None, to: engine.None}
	x.from, _ = s.FindHost(a.From.Host)
	if a.Kind != engine.Move {
		return x
	}
	x.vm, _ = s.FindVM(a.VM)
	x.to, _ = s.FindHost(a.To.Host)
	vm := &s.VMs[x.vm]
	x.foot, x.moves = foot[x.vm], x.from != x.to
	x.counts = vm.Power == engine.VMOn && vm.Obstacles&engine.ObAgent == 0
	if !a.Storage {
		return x
	}
	add := func(from int32, id engine.DatastoreID, mib int64) {
		if to, ok := s.FindDatastore(id); ok && to != from && mib > 0 {
			x.writes = append(x.writes, write{to, from, mib})
		}
	}
	for _, d := range a.Disks {
		from, ok := s.FindDatastore(d.From)
		if !ok {
			from = engine.None
		}
		add(from, d.To, d.MiB)
	}
	add(vm.Home, a.HomeTo, a.SwapMiB)
	return x
}

// Run carries the plan out in one order. pick gives a number from 0 to n-1, and is
// all that the order depends on.
func (c *Course) Run(pick func(n int) int) Outcome {
	r := &run{Course: c, occupied: c.start.copied(), taken: make([]int32, len(c.capacity)), ruled: make([]int32, len(c.rule)), waits: slices.Clone(c.waits), pairs: make([]bool, len(c.groups))}
	r.limited = pick(2) == 0
	eager := []int{10, 50, 90, 100}[pick(4)] // percent of events that are starts, where one can start
	fails := []int{0, 5, 25}[pick(3)]        // percent of ends
	var ready, flying []int32
	for i := range c.acts {
		if r.waits[i] == 0 {
			ready = append(ready, int32(i))
		}
	}
	for {
		k := -1
		if len(ready) > 0 && (len(flying) == 0 || pick(100) < eager) {
			if k = pick(len(ready)); r.limited {
				k = r.lowest(ready)
			}
		}
		switch {
		case k >= 0:
			i := ready[k]
			ready = slices.Delete(ready, k, k+1)
			r.begin(i)
			flying = append(flying, i)
		case len(flying) > 0:
			k = pick(len(flying))
			i := flying[k]
			flying = slices.Delete(flying, k, k+1)
			failed := pick(100) < fails
			r.end(i, failed)
			if failed {
				continue // what waits for it never starts
			}
			for _, j := range c.next[i] {
				if r.waits[j]--; r.waits[j] == 0 {
					ready = append(ready, j)
				}
			}
		default:
			if r.limited && len(ready) > 0 {
				r.wrong("slots", &c.acts[ready[0]], "never gets its slots")
			}
			return r.Outcome
		}
	}
}

// A run is one execution under way.
type run struct {
	*Course
	occupied
	Outcome
	taken   []int32 // of each slot counter
	ruled   []int32 // of each counter of the executor's
	limited bool    // nothing starts that does not fit its slots
	waits   []int32
	pairs   []bool // by group: it has been found broken
	many    int    // moves under way
}

// lowest is the place of the lowest rank that fits the slots by the executor's rule, -1 where none does.
func (r *run) lowest(ready []int32) int {
	best := -1
	for k, i := range ready {
		if best >= 0 && r.acts[i].Rank > r.acts[ready[best]].Rank {
			continue
		}
		if !slices.ContainsFunc(r.acts[i].rule, func(n slot) bool { return r.ruled[n.counter]+n.cost > r.rule[n.counter] }) {
			best = k
		}
	}
	return best
}

// wrong notes a rule that was broken.
func (r *run) wrong(rule string, x *act, format string, args ...any) {
	r.Wrong = append(r.Wrong, Fault{rule, fmt.Sprintf("%s %s: %s", x.ID, x.Action, fmt.Sprintf(format, args...))})
}

func (r *run) begin(i int32) {
	x := &r.acts[i]
	r.Events++
	r.take(x, 1)
	if x.Kind == engine.Move {
		r.beginMove(x)
	} else {
		r.beginHost(x)
	}
}

// take occupies the slots of an action (sign 1), or frees them. No counter is ever
// exceeded where the executor's rule is kept.
func (r *run) take(x *act, sign int32) {
	for _, n := range x.rule {
		r.ruled[n.counter] += sign * n.cost
	}
	for _, n := range x.slots {
		if r.taken[n.counter] += sign * n.cost; r.limited && r.taken[n.counter] > r.capacity[n.counter] {
			r.wrong("slots", x, "%d units of %d, with %d moves under way", r.taken[n.counter], r.capacity[n.counter], r.many)
		}
	}
}

func (r *run) beginMove(x *act) {
	r.many++
	for _, w := range x.writes {
		r.free[w.to] -= w.mib
	}
	r.judgeSpace(x)
	if !x.moves {
		return
	}
	if !r.ready[x.to] {
		r.wrong("ready", x, "its destination is not")
	}
	far := r.s.Hosts[x.from].Cluster != r.s.Hosts[x.to].Cluster
	before := r.lack(r.s.Hosts[x.to].Cluster)
	r.add(x.to, &x.foot, 1)
	if far {
		r.load(r.s.Hosts[x.to].Cluster, &x.foot, 1)
	}
	r.arriving[x.to]++
	r.going[x.vm] = x.to
	r.judgeHost(x)
	r.judgeGroups(x)
	if far {
		r.judgeReserve(x, r.s.Hosts[x.to].Cluster, before)
	}
}

func (r *run) beginHost(x *act) {
	h := x.from
	cluster := r.s.Hosts[h].Cluster
	before := r.lack(cluster)
	switch x.Kind {
	case engine.Standby, engine.EnterMaintenance:
		own := r.s.Clusters[cluster].DRS == engine.DRSFull // empties it itself
		if r.arriving[h] > 0 || (r.on[h] > 0 && !own) {
			r.wrong("empty", x, "%d VMs run on it, %d are on their way to it", r.on[h], r.arriving[h])
		}
		r.turn(h, false)
		if x.Kind == engine.Standby && x.Demand.Kind == "" && !r.doomed(h) {
			r.judgeReserve(x, cluster, before)
		}
	case engine.Wakeup, engine.ExitMaintenance, engine.Move:
	}
}

func (r *run) end(i int32, failed bool) {
	x := &r.acts[i]
	r.Events++
	if failed {
		r.Failed++
	}
	r.take(x, -1)
	if x.Kind != engine.Move {
		switch closes := x.Kind == engine.Standby || x.Kind == engine.EnterMaintenance; {
		case closes && failed, !closes && !failed:
			r.turn(x.from, true)
		}
		return
	}
	r.many--
	for _, w := range x.writes {
		switch {
		case failed:
			r.free[w.to] += w.mib
		case w.from >= 0:
			r.free[w.from] += w.mib
		}
	}
	if !x.moves {
		return
	}
	r.arriving[x.to]--
	r.going[x.vm] = engine.None
	left, now := x.from, x.to
	if failed {
		left, now = x.to, x.from
	}
	r.add(left, &x.foot, -1)
	if c := r.s.Hosts[left].Cluster; c != r.s.Hosts[now].Cluster {
		r.load(c, &x.foot, -1)
	}
	if !failed {
		r.at[x.vm] = x.to
		if x.counts {
			r.on[x.from]--
			r.on[x.to]++
		}
	}
}
