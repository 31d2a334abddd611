package plan

import (
	"fmt"
	"slices"

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
// The replays have nothing in common but what they start from, and are made on
// all processors. What they find is reported in their order.
func (c *checker) replays() {
	w := c.world()
	w.edges()
	list := []func(*checkRun){func(r *checkRun) { r.byRule(nil) }}
	for _, done := range w.worst() {
		list = append(list, func(r *checkRun) { r.moment(done) })
	}
	rounds := min(max(1000/len(c.p.Actions), 1), 8)
	for n := range uint64(rounds) {
		list = append(list,
			func(r *checkRun) { r.byRule(checkRandom(c.in.Seed, 3*n)) },
			func(r *checkRun) { r.byEdges(checkRandom(c.in.Seed, 3*n+1), 0) },
			func(r *checkRun) { r.byEdges(checkRandom(c.in.Seed, 3*n+2), 15) })
	}
	found := make([][]checkFinding, len(list))
	inParallel(len(list), func() func(int) {
		return func(k int) {
			r := w.run()
			list[k](r)
			found[k] = r.found
		}
	})
	for _, fs := range found {
		for _, f := range fs {
			c.refuse(f.action, f.code, "%s", f.text)
		}
	}
}

// A checkFinding is a violation that one replay shows.
type checkFinding struct {
	checkFault
	text string
}

// refuse records a violation in this replay, once per code. So many that no
// others are left to report, whatever the replays before it found, are enough.
func (r *checkRun) refuse(i int32, code engine.HoldCode, format string, args ...any) {
	f := checkFault{i, code}
	if len(r.found) >= 2*checkMost || slices.ContainsFunc(r.found, func(x checkFinding) bool { return x.checkFault == f }) {
		return
	}
	r.found = append(r.found, checkFinding{f, fmt.Sprintf(format, args...)})
}

// A checkNeed is what an action takes of one slot counter: the queue is where
// it waits when that is what it lacks.
type checkNeed struct{ counter, cost, queue int32 }

// A checkQueue is those who lack the same of the same counter.
type checkQueue struct{ counter, cost int32 }

// A checkWorld is what all replays start from.
type checkWorld struct {
	c    *checker
	acts []*engine.Action // the plan's, then the open ones that hold something
	ends []checkEnds
	open int // index of the first open one

	base     *engine.State
	overCPU  []int32    // by host: MHz that are not a VM's
	overMem  []int32    // by host: MiB that are not a VM's
	readyAt  [2][]int32 // by cluster, by site: hosts that can take a VM at the start
	waits    []int32
	next     [][]int32
	need     [][]checkNeed
	capacity []int32
	queues   []checkQueue
	of       [][]int32 // queues by counter

	twins    map[string][]int32 // datastores by URL, where two vCenters see one volume
	groups   []checkGroup
	groupsOf [][]int32 // by action
}

// A checkRun is one replay.
type checkRun struct {
	*checkWorld
	st     *engine.State
	now    int64
	timed  bool // durations are as estimated
	used   []int32
	left   []int32            // by action: how many it still waits for
	ready  [2][]int32         // by cluster, by site: hosts that can take a VM
	twice  map[int32][2]int64 // by cluster: MHz and MiB that a move inside it occupies at both ends
	flight int                // moves under way
	parked []checkHeap
	ending checkHeap
	counts []checkCount // by group
	found  []checkFinding
	short  map[int32][2]int64 // by cluster: MHz and MiB that its reserve lacks at the start
	remain map[int32]bool     // by cluster that is being emptied: VMs stay behind
}

func (c *checker) world() *checkWorld {
	w := &checkWorld{c: c, ends: slices.Clone(c.ends), open: len(c.p.Actions)}
	w.waits, w.next = checkEdges(c.p)
	for i := range c.p.Actions {
		w.acts = append(w.acts, &c.p.Actions[i])
	}
	w.base = engine.NewState(c.s, c.footprints())
	w.hypervisors()
	w.overCPU, w.overMem = slices.Clone(w.base.CPU), slices.Clone(w.base.Mem)
	for v, h := range w.base.Host {
		if h >= 0 {
			w.overCPU[h] -= w.base.Foot[v].CPUMHz
			w.overMem[h] -= w.base.Foot[v].MiB
		}
	}
	w.opens()
	w.twins = checkTwins(c.s)
	w.readyAt = [2][]int32{make([]int32, len(c.s.Clusters)), make([]int32, len(c.s.Sites))}
	for h := range c.s.Hosts {
		if w.base.Ready(int32(h)) {
			w.count(w.readyAt, int32(h), 1)
		}
	}
	w.slots()
	w.memberships()
	return w
}

// hypervisors gives every host in standby what its hypervisor took before, for when
// it is woken; where that was never seen, what the hungriest of its cluster took.
func (w *checkWorld) hypervisors() {
	s := w.c.s
	worst := make([][2]int32, len(s.Clusters))
	for h := range s.Hosts {
		own, c := w.c.h.Host(s.Hosts[h].ID), s.Hosts[h].Cluster
		worst[c] = [2]int32{max(worst[c][0], own.OwnMHz), max(worst[c][1], own.OwnMiB)}
	}
	for h := range s.Hosts {
		if s.Hosts[h].Power != engine.HostStandby {
			continue
		}
		own, seen := worst[s.Hosts[h].Cluster], w.c.h.Host(s.Hosts[h].ID)
		if seen.SameSince > 0 {
			own = [2]int32{seen.OwnMHz, seen.OwnMiB}
		}
		w.base.CPU[h] += own[0]
		w.base.Mem[h] += own[1]
	}
}

// footprints packs each VM on its percentile over the last hour, as configured.
// History and snapshot are both sorted by ID.
func (c *checker) footprints() []engine.Footprint {
	foot := make([]engine.Footprint, len(c.s.VMs))
	k := 0
	for i := range c.s.VMs {
		v := &c.s.VMs[i]
		for k < len(c.h.VMs) && c.h.VMs[k].ID < v.ID {
			k++
		}
		pack := int32(engine.Unknown)
		if k < len(c.h.VMs) && c.h.VMs[k].ID == v.ID && v.Power == engine.VMOn {
			pack = c.h.VMs[k].CPU.Percentile(int(c.in.Config.PackPct))
		}
		foot[i] = engine.FootprintOf(v, pack)
	}
	return foot
}

// checkTwins finds the volumes that several vCenters see, each under an ID of its own.
func checkTwins(s *engine.Snapshot) map[string][]int32 {
	twins := map[string][]int32{}
	for d := range s.Datastores {
		if url := s.Datastores[d].URL; url != "" {
			twins[url] = append(twins[url], int32(d))
		}
	}
	return twins
}

// count adds n to the hosts that are ready in h's cluster and site.
func (w *checkWorld) count(ready [2][]int32, h, n int32) {
	host := &w.c.s.Hosts[h]
	ready[0][host.Cluster] += n
	if host.Site >= 0 {
		ready[1][host.Site] += n
	}
}

// slots looks every action's counters up once.
func (w *checkWorld) slots() {
	slots := engine.NewSlots(w.c.in.Config.Limits, w.c.s)
	counters, queues := map[*int32]int32{}, map[checkQueue]int32{}
	w.need = make([][]checkNeed, len(w.acts))
	for i, a := range w.acts {
		slots.Visit(a, func(used *int32, cost, capacity int32) {
			id, ok := counters[used]
			if !ok {
				id = int32(len(w.capacity))
				counters[used] = id
				w.capacity, w.of = append(w.capacity, capacity), append(w.of, nil)
			}
			key := checkQueue{id, cost}
			q, ok := queues[key]
			if !ok {
				q = int32(len(w.queues))
				queues[key] = q
				w.queues, w.of[id] = append(w.queues, key), append(w.of[id], q)
			}
			w.need[i] = append(w.need[i], checkNeed{id, cost, q})
		})
	}
}

// run is a fresh replay, with what is under way holding its slots.
func (w *checkWorld) run() *checkRun {
	b := w.base
	r := &checkRun{
		checkWorld: w, used: make([]int32, len(w.capacity)), left: slices.Clone(w.waits), parked: make([]checkHeap, len(w.queues)),
		ready: [2][]int32{slices.Clone(w.readyAt[0]), slices.Clone(w.readyAt[1])}, twice: map[int32][2]int64{}, short: map[int32][2]int64{}, remain: map[int32]bool{},
		st: &engine.State{
			S: b.S, Foot: b.Foot, Host: slices.Clone(b.Host), CPU: slices.Clone(b.CPU), Mem: slices.Clone(b.Mem), VCPU: slices.Clone(b.VCPU),
			On: slices.Clone(b.On), In: slices.Clone(b.In), Free: slices.Clone(b.Free), Power: slices.Clone(b.Power), Maint: slices.Clone(b.Maint),
			Moved: slices.Clone(b.Moved),
		},
	}
	for i := w.open; i < len(w.acts); i++ {
		r.take(int32(i), 1)
		r.double(int32(i), 1)
	}
	r.counts = w.countAll()
	return r
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
	for i := r.open; i < len(r.acts); i++ {
		r.ending.push(checkItem{lasts(int32(i)), int32(i)})
	}
	var fresh checkHeap
	for i := range r.open {
		if r.left[i] == 0 {
			fresh.push(checkItem{int64(r.acts[i].Rank), int32(i)})
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
	for _, q := range r.parked {
		for _, x := range q {
			r.refuse(x.act, engine.HoldBandwidth, "never gets its slots, though nothing else runs")
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
	for i := range r.open {
		if r.left[i] == 0 {
			ready = append(ready, int32(i))
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
