package plan

import (
	"slices"
	"sync/atomic"

	"heliostat/engine"
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
	found := make([]checkFindings, len(coarse)+len(fine))
	var worker atomic.Int32 // the first state is the base
	inParallel(len(found), func() func(int) {
		r := w.run(int(worker.Add(1)))
		return func(k int) {
			r.checkFindings = nil
			if k < len(fine) {
				r.anyhow(fine[k], rounds)
			} else {
				r.executor(coarse[k-len(fine)], rounds)
			}
			found[k] = r.checkFindings
		}
	})
	for _, x := range found {
		c.join(x)
	}
}

// rounds is how often random orders are drawn: less often for large plans.
func (c *checker) rounds() uint64 { return uint64(min(max(1000/len(c.p.Actions), 1), 8)) }

// executor replays an island as the executor would carry it out.
func (r *checkRun) executor(x *checkIsland, rounds uint64) {
	r.begin(x)
	r.byRule(nil)
	for n := range rounds {
		r.begin(x)
		r.byRule(r.random(3 * n))
	}
}

// anyhow replays an island in orders that the edges allow, whatever the slots.
func (r *checkRun) anyhow(x *checkIsland, rounds uint64) {
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
func (r *checkRun) random(stream uint64) func(int64) int64 {
	return checkRandom(r.c.in.Seed, stream+uint64(r.x.acts[0])<<32)
}

// A checkRun is one replay after the other, each of one island.
type checkRun struct {
	*checkWorld
	checkFindings
	x      *checkIsland
	st     *engine.State
	now    int64
	timed  bool // durations are as estimated
	used   []int32
	left   []int32    // by action: how many it still waits for
	ready  [2][]int32 // by cluster, by site: hosts that can take a VM
	twice  [][2]int64 // by cluster: MHz and MiB that a move inside it occupies at both ends
	flight int        // moves under way
	parked []checkHeap
	ending checkHeap
	counts []checkCount // by group
	remain []checkStays // by cluster that is being emptied
	mark   []int32      // by action: == stamp when it is in a set
	stamp  int32
}

// run is what the replays of one worker need; none has begun.
func (w *checkWorld) run(worker int) *checkRun {
	return &checkRun{
		checkWorld: w, used: make([]int32, len(w.capacity)), left: slices.Clone(w.waits), parked: make([]checkHeap, len(w.queues)),
		ready: [2][]int32{make([]int32, len(w.c.s.Clusters)), make([]int32, len(w.c.s.Sites))}, twice: make([][2]int64, len(w.c.s.Clusters)),
		counts: make([]checkCount, len(w.groups)), remain: make([]checkStays, len(w.c.s.Clusters)), mark: make([]int32, len(w.acts)),
		st: w.c.kept.state(worker, w.c.s),
	}
}

// begin puts the island back to the start, with what is under way holding its slots.
func (r *checkRun) begin(x *checkIsland) {
	r.x, r.now, r.timed, r.flight, r.ending = x, 0, false, 0, r.ending[:0]
	r.st.Restore(r.base, x.hosts, x.vms, x.stores)
	copy(r.ready[1], r.readyAt[1])
	for _, k := range x.clusters {
		r.ready[0][k], r.twice[k] = r.readyAt[0][k], [2]int64{}
	}
	for _, acts := range [2][]int32{x.acts, x.open} {
		for _, i := range acts {
			r.left[i] = r.waits[i]
			for _, n := range r.need[i] {
				r.used[n.counter] = 0
				r.parked[n.queue] = r.parked[n.queue][:0]
			}
		}
	}
	for _, i := range x.open {
		r.take(i, 1)
		r.double(i, 1)
	}
	for _, g := range x.groups {
		r.counts[g] = r.countOf(g)
	}
}

// byRule replays what the executor does. A nil source of chance means estimated
// durations and no failure; then every action must get its turn.
func (r *checkRun) byRule(random func(int64) int64) {
	lasts := func(i int32) int64 {
		d := max(r.acts[i].Estimate.Seconds, 1)
		if random != nil {
			d = d/10 + random(10*d)
		}
		return max(d, 1)
	}
	r.timed = random == nil
	for _, i := range r.x.open {
		r.ending.push(checkItem{lasts(i), i})
	}
	var fresh checkHeap
	for _, i := range r.x.acts {
		if r.left[i] == 0 {
			fresh.push(checkItem{int64(r.acts[i].Rank), i})
		}
	}
	begin := func(i int32) {
		if r.start(i) {
			r.take(i, 1)
			r.ending.push(checkItem{r.now + lasts(i), i})
		}
	}
	r.fill(nil, &fresh, begin)
	for len(r.ending) > 0 {
		e := r.ending.pop()
		r.now = e.key
		failed := random != nil && random(100) < 10
		r.end(e.act, failed)
		r.take(e.act, -1)
		if !failed {
			for _, j := range r.next[e.act] {
				if r.left[j]--; r.left[j] == 0 {
					fresh.push(checkItem{int64(r.acts[j].Rank), j})
				}
			}
		}
		r.fill(r.need[e.act], &fresh, begin)
	}
	if random != nil {
		return
	}
	r.settled()
	for _, i := range r.x.acts {
		for _, n := range r.need[i] {
			for _, x := range r.parked[n.queue] {
				r.refuse(x.act, engine.HoldBandwidth, "never gets its slots, though nothing else runs")
			}
		}
	}
}

// fill begins what can be started, the lowest rank first: of those just ready,
// and of those that waited for a counter that was just released.
func (r *checkRun) fill(released []checkNeed, fresh *checkHeap, begin func(int32)) {
	for {
		best := fresh
		for _, c := range released {
			for _, q := range r.of[c.counter] {
				p := &r.parked[q]
				fits := r.used[c.counter]+r.queues[q].cost <= r.capacity[c.counter]
				if len(*p) > 0 && fits && (len(*best) == 0 || (*p)[0].key < (*best)[0].key) {
					best = p
				}
			}
		}
		if len(*best) == 0 {
			return
		}
		x := best.pop()
		if q := r.lacks(x.act); q >= 0 {
			r.parked[q].push(x)
			continue
		}
		begin(x.act)
	}
}

// lacks gives the queue of the first counter without room for the action, or -1.
func (r *checkRun) lacks(i int32) int32 {
	for _, n := range r.need[i] {
		if r.used[n.counter]+n.cost > r.capacity[n.counter] {
			return n.queue
		}
	}
	return -1
}

func (r *checkRun) take(i, sign int32) {
	for _, n := range r.need[i] {
		r.used[n.counter] += sign * n.cost
	}
}

// byEdges replays the edges alone: all that is ready starts, then one that runs
// ends, drawn at random; in so many of a hundred cases it fails.
func (r *checkRun) byEdges(random func(int64) int64, failures int64) {
	var ready, running []int32
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
		for _, j := range r.next[i] {
			if r.left[j]--; r.left[j] == 0 {
				ready = append(ready, j)
			}
		}
	}
}

// checkRandom is a small source of chance (splitmix64): numbers from 0 to n-1.
func checkRandom(seed, stream uint64) func(n int64) int64 {
	x := seed ^ (stream+1)*0xd1342543de82ef95
	return func(n int64) int64 {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return int64((z ^ z>>31) % uint64(n))
	}
}

// A checkItem is an action with what it is ordered by: a rank, or a moment.
type checkItem struct {
	key int64
	act int32
}

// A checkHeap gives the smallest key first, and among equals the lowest action.
type checkHeap []checkItem

func (h *checkHeap) less(i, j int) bool {
	x, y := (*h)[i], (*h)[j]
	return x.key < y.key || (x.key == y.key && x.act < y.act)
}

func (h *checkHeap) push(x checkItem) {
	*h = append(*h, x)
	for i := len(*h) - 1; i > 0 && h.less(i, (i-1)/2); i = (i - 1) / 2 {
		(*h)[i], (*h)[(i-1)/2] = (*h)[(i-1)/2], (*h)[i]
	}
}

func (h *checkHeap) pop() checkItem {
	x, last := (*h)[0], len(*h)-1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	for i := 0; 2*i+1 < last; {
		k := 2*i + 1
		if k+1 < last && h.less(k+1, k) {
			k++
		}
		if !h.less(k, i) {
			break
		}
		(*h)[i], (*h)[k] = (*h)[k], (*h)[i]
		i = k
	}
	return x
}
