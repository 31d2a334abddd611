package check

import (
	"slices"
	"sync/atomic"

	"heliostat/engine"
	"heliostat/engine/turns"
	"heliostat/internal/chance"
	"heliostat/internal/parallel"
)

// replays carries the plan out on copies of the fleet, in several orders that
// its edges allow, and judges the fleet at every start. A finish or an abort
// only frees what a start has reserved, so it needs no judgement, except of
// groups that must end together.
//
// The orders: the executor's own (the lowest rank that is ready and fits the
// slots) with the estimated durations; the worst moment for each action; the
// executor's with durations of a tenth to ten times the estimate and with
// failures; and the edges alone, without slots, each action started as early as
// can be and ended in random order, with and without failures, while what was
// under way before never ends. The random ones come from the seed: the same
// Input gives the same verdict.
//
// Each is made island by island, since what happens on one is nothing to the others;
// they have nothing in common but what they start from, and are made on all
// processors. What they find is reported in their order.
func (c *checker) replays() {
	w := c.world()
	fine, coarse := w.islands()
	rounds := c.rounds()
	found := make([]findings, len(coarse)+len(fine))
	var worker atomic.Int32 // the first state is the base
	parallel.Each(len(found), func() func(int) {
		r := w.run(int(worker.Add(1)))
		return func(k int) {
			r.findings = c.none()
			if k < len(fine) {
				r.anyhow(fine[k], rounds)
			} else {
				r.executor(coarse[k-len(fine)], rounds)
			}
			found[k] = r.findings
		}
	})
	for _, x := range found {
		c.join(x)
	}
}

// rounds is how often random orders are drawn: less often for large plans.
func (c *checker) rounds() uint64 { return uint64(min(max(1000/len(c.p.Actions), 1), 8)) }

// executor replays an island as the executor would carry it out.
func (r *replay) executor(x *island, rounds uint64) {
	r.begin(x)
	r.byRule(nil)
	for n := range rounds {
		r.begin(x)
		r.byRule(r.random(3 * n))
	}
}

// anyhow replays an island in orders that the edges allow, whatever the slots.
func (r *replay) anyhow(x *island, rounds uint64) {
	r.x = x
	r.edges()
	for _, done := range r.worst() {
		r.begin(x)
		r.moment(done)
	}
	for n := range rounds {
		r.begin(x)
		r.byEdges(r.random(3*n+1), 0)
		r.begin(x)
		r.byEdges(r.random(3*n+2), 15)
	}
}

// random is a source of chance for this island.
func (r *replay) random(stream uint64) func(int64) int64 {
	return chance.From(r.c.in.Seed, stream+uint64(r.x.acts[0])<<32)
}

// A replay is one replay after the other, each of one island.
type replay struct {
	*world
	findings
	x      *island
	st     *engine.State
	now    int64
	timed  bool       // durations are as estimated
	left   []int32    // by action: how many it still waits for
	ready  [2][]int32 // by cluster, by site: hosts that can take a VM
	twice  [][2]int64 // by cluster: MHz and MiB that a move inside it occupies at both ends
	flight int        // moves under way
	turns  *turns.Turns
	ending turns.Heap
	counts []tally // by group
	remain []stay  // by cluster that is being emptied
	mark   []int32 // by action: == stamp when it is in a set
	stamp  int32

	// Room for lists that are made again and again.
	queues [3][]int32
	past   []int32
	key    []byte
}

// run is what the replays of one worker need; none has begun.
func (w *world) run(worker int) *replay {
	return &replay{
		world: w, turns: w.turns.Turns(), left: slices.Clone(w.waits),
		ready: [2][]int32{make([]int32, len(w.c.s.Clusters)), make([]int32, len(w.c.s.Sites))}, twice: make([][2]int64, len(w.c.s.Clusters)),
		counts: make([]tally, len(w.groups)), remain: make([]stay, len(w.c.s.Clusters)), mark: make([]int32, len(w.acts)),
		st: w.c.kept.state(worker, w.c.s),
	}
}

// begin puts the island back to the start.
func (r *replay) begin(x *island) {
	r.x, r.now, r.timed, r.flight, r.ending = x, 0, false, 0, r.ending[:0]
	r.st.Restore(r.base, x.hosts, x.vms, x.stores)
	copy(r.ready[1], r.readyAt[1])
	for _, k := range x.clusters {
		r.ready[0][k], r.twice[k] = r.readyAt[0][k], [2]int64{}
	}
	for _, i := range x.acts {
		r.left[i] = r.waits[i]
	}
	for _, i := range x.open {
		if e := &r.steps[i]; e.inside {
			r.double(e, 1)
		}
	}
	for _, g := range x.groups {
		r.counts[g] = r.countOf(g)
	}
}

// byRule replays what the executor does. A nil source of chance means estimated
// durations and no failure; then every action must get its turn.
func (r *replay) byRule(random func(int64) int64) {
	lasts := func(i int32) int64 {
		d := max(r.steps[i].seconds, 1)
		if random != nil {
			d = d/10 + random(10*d)
		}
		return max(d, 1)
	}
	r.timed = random == nil
	for _, acts := range [2][]int32{r.x.acts, r.x.open} {
		for _, i := range acts {
			r.turns.Reset(i)
		}
	}
	for _, i := range r.x.open {
		r.turns.Take(i)
		r.ending.Push(lasts(i), i)
	}
	for _, i := range r.x.acts {
		if r.left[i] == 0 {
			r.turns.Ready(i, r.steps[i].rank)
		}
	}
	begin := func(i int32) {
		if r.start(i) {
			r.turns.Take(i)
			r.ending.Push(r.now+lasts(i), i)
		}
	}
	r.turns.Start(begin)
	for len(r.ending) > 0 {
		e := r.ending.Pop()
		r.now = e.Key
		failed := random != nil && random(100) < 10
		r.end(e.Act, failed)
		if !failed {
			for _, j := range r.next.of(e.Act) {
				if r.left[j]--; r.left[j] == 0 {
					r.turns.Ready(j, r.steps[j].rank)
				}
			}
		}
		r.turns.End(e.Act, begin)
	}
	if random != nil {
		return
	}
	r.settled()
	for _, i := range r.x.acts {
		r.turns.Waiting(i, func(j int32) { r.refuse(j, engine.HoldBandwidth, "never gets its slots, though nothing else runs") })
	}
}

// byEdges replays the edges alone: all that is ready starts, then one that runs
// ends, drawn at random; in so many of a hundred cases it fails.
func (r *replay) byEdges(random func(int64) int64, failures int64) {
	ready, running := r.queues[0][:0], r.queues[1][:0]
	for _, i := range r.x.acts {
		if r.left[i] == 0 {
			ready = append(ready, i)
		}
	}
	draw := func(from *[]int32) int32 {
		k, last := random(int64(len(*from))), len(*from)-1
		i := (*from)[k]
		(*from)[k] = (*from)[last]
		*from = (*from)[:last]
		return i
	}
	for len(ready)+len(running) > 0 {
		if len(ready) > 0 {
			if i := draw(&ready); r.start(i) {
				running = append(running, i)
			}
			continue
		}
		i := draw(&running)
		failed := random(100) < failures
		r.end(i, failed)
		if failed {
			continue
		}
		for _, j := range r.next.of(i) {
			if r.left[j]--; r.left[j] == 0 {
				ready = append(ready, j)
			}
		}
	}
	r.queues[0], r.queues[1] = ready, running
}
