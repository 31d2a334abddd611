package plan

import (
	"math"
	"slices"

	"heliostat/engine"
	"heliostat/engine/turns"
)

// A fluid carries a plan out by the executor's rule (the lowest rank that is ready
// and has its slots) while moves share interfaces and links: each gets the most
// that it can without another getting less (max-min fair). Estimates of single
// moves know only the least that each gets.
type fluid struct {
	in    *engine.Input
	acts  []*engine.Action // the plan's, then those under way
	open  int              // index of the first that is under way
	next  csr              // by action of the plan: those that wait for it
	table *turns.Table
	mbit  []float64 // by action: payload, at the efficiency that is configured
	fixed []float64 // by action: seconds, where no data flows
	pipes [][]int32 // by action: what it flows through
	most  []float64 // by action: Mbit/s of the narrowest of its pipes
	rate  []float64 // by pipe through which something flows: Mbit/s of payload
	begun []float64 // by action: the share that is done already
}

// mbitPerMiB: 1 MiB is 8.388608 Mbit.
const mbitPerMiB = 8.388608

func newFluid(in *engine.Input, actions []engine.Action) *fluid {
	s := in.Snapshot
	acts := make([]*engine.Action, 0, len(actions)+len(in.Open))
	for i := range actions {
		acts = append(acts, &actions[i])
	}
	for i := range in.Open {
		if o := &in.Open[i]; !o.State.Terminal() {
			acts = append(acts, &o.Action)
		}
	}
	n := len(acts)
	f := &fluid{
		in: in, acts: acts, open: len(actions),
		mbit: make([]float64, n), fixed: make([]float64, n), pipes: make([][]int32, n), most: make([]float64, n), begun: make([]float64, n),
	}
	f.next = newCSR(n, func(add func(before, after int32)) {
		for i := range actions {
			for _, j := range actions[i].After {
				add(j, int32(i))
			}
		}
	})
	slots := engine.NewSlots(in.Config.Limits, s)
	f.table = turns.NewTable(slots, n, func(i int, visit func(counter, cost, capacity int32)) { slots.Visit(acts[i], visit) })
	nh := len(s.Hosts)
	f.rate = make([]float64, nh+len(s.Links))
	for i, a := range acts {
		f.plumb(int32(i), a, int32(nh))
	}
	k := f.open
	for i := range in.Open {
		o := &in.Open[i]
		if o.State.Terminal() {
			continue
		}
		f.underway(k, o)
		k++
	}
	return f
}

// overdue is the share of its bytes that a move under way is taken to have left at
// least: what it has had says that it should be over, and it is not.
const overdue = 0.05

// underway takes off what action i, which is under way, has behind it.
func (f *fluid) underway(i int, o *engine.ActionRecord) {
	in := f.in
	if had, ok := in.History.Flow(o.Action.ID); ok && f.mbit[i] > 0 {
		f.fixed[i] = max(float64(had.Since-in.Now), 0)
		f.begun[i] = had.Mbit * float64(in.Config.Cost.EfficiencyPct) / 100 / f.mbit[i]
		return
	}
	if o.Started != 0 && o.Action.Estimate.Seconds > 0 {
		f.begun[i] = min(max(float64(in.Now-o.Started)/float64(o.Action.Estimate.Seconds), 0), 1)
		f.fixed[i] *= 1 - f.begun[i]
	}
}

// rest is the share of its bytes that action i has left when it sends k times as many
// as it should.
func (f *fluid) rest(i int32, k float64) float64 {
	return max(k-f.begun[i], overdue*min(f.begun[i], 1))
}

// plumb finds what action i flows through. links is the index of the first link.
func (f *fluid) plumb(i int32, a *engine.Action, links int32) {
	s := f.in.Snapshot
	from, ok1 := s.FindHost(a.From.Host)
	to, ok2 := s.FindHost(a.To.Host)
	if a.Kind != engine.Move || !ok1 || !ok2 {
		f.fixed[i] = float64(a.Estimate.Seconds)
		return
	}
	fit := fitOf(f.in, a)
	f.fixed[i], f.mbit[i] = fit.SetupS, fit.mbit(f.in, a)
	f.pipes[i] = append(f.pipes[i], from)
	if to != from {
		f.pipes[i] = append(f.pipes[i], to)
	}
	if x, y := s.Hosts[from].Site, s.Hosts[to].Site; x >= 0 && y >= 0 && x != y {
		if k := findLink(s, x, y); k >= 0 {
			f.pipes[i] = append(f.pipes[i], links+k)
		}
	}
	f.most[i] = math.Inf(1)
	for _, p := range f.pipes[i] {
		var mbps int32
		if p < links {
			mbps = s.Hosts[p].NICMbps
		} else {
			mbps = s.Links[p-links].Mbps
		}
		f.rate[p] = float64(max(mbps, 0)) * (float64(f.in.Config.Cost.EfficiencyPct) / 100)
		f.most[i] = min(f.most[i], f.rate[p])
		if f.rate[p] <= 0 { // unknown: as long as was estimated
			f.fixed[i], f.mbit[i], f.pipes[i] = float64(a.Estimate.Seconds), 0, nil
			return
		}
	}
}

// A kindFit is what moves of a kind have taught, or the model.
type kindFit struct{ engine.MoveFit }

func fitOf(in *engine.Input, a *engine.Action) kindFit {
	if x := in.History.Fit(a.From.Site, a.To.Site, a.Estimate.Storage); x != nil {
		return kindFit{*x}
	}
	return kindFit{engine.NewMoveFit(in.Config.Cost)}
}

// mbit is the payload of a move at the efficiency that is configured.
func (k *kindFit) mbit(in *engine.Input, a *engine.Action) float64 {
	return float64(a.Estimate.MemoryMiB+a.Estimate.DiskMiB) * mbitPerMiB * k.Slow * float64(in.Config.Cost.EfficiencyPct) / 100
}

// run returns when each action ends, in seconds from now, with what is under way
// after the plan's own; infinity for one that never starts. stretch is how much
// longer an action takes than it should; nil: it does not.
func (f *fluid) run(stretch func(i int32) float64) []float64 {
	_, ends := f.times(stretch)
	return ends
}

// times returns when each action starts, and when it ends.
func (f *fluid) times(stretch func(i int32) float64) (starts, ends []float64) {
	n, np := len(f.acts), len(f.rate)
	r := f.table.Turns()
	x := &fluidRun{
		fluid: f, starts: make([]float64, n), ends: make([]float64, n), stretch: stretch,
		waits: make([]int32, n), left: make([]float64, n), speed: make([]float64, n), since: make([]float64, n), due: make([]float64, n), seen: make([]int32, n),
		on: make([][]int32, np), tight: make([]bool, np), free: make([]float64, np), count: make([]int32, np),
	}
	for i := f.open; i < n; i++ {
		r.Take(int32(i))
		x.begin(int32(i))
	}
	for i := range f.open {
		x.ends[i] = math.Inf(1)
		if x.waits[i] = int32(len(f.acts[i].After)); x.waits[i] == 0 {
			r.Ready(int32(i), f.acts[i].Rank)
		}
	}
	start := func(i int32) {
		r.Take(i)
		x.begin(i)
	}
	r.Start(start)
	for x.step() {
		for _, i := range x.done {
			for _, j := range f.next.of(i) {
				if x.waits[j]--; x.waits[j] == 0 {
					r.Ready(j, f.acts[j].Rank)
				}
			}
			r.End(i, start)
		}
	}
	return x.starts, x.ends
}

// A fluidRun is one simulation. It goes from one moment at which a stream begins or
// ends to the next, and then shares anew among the streams alone that are joined to
// that one by pipes that bind: all others keep what they have.
type fluidRun struct {
	*fluid
	now     float64
	events  turns.Heap // keys are the bits of moments: those that are not an action's due are over
	done    []int32    // what ended in this step
	starts  []float64
	ends    []float64
	stretch func(i int32) float64

	waits []int32   // by action: how many it still waits for
	left  []float64 // by action: Mbit at since
	speed []float64 // by action: Mbit/s; 0 while no data flows
	since []float64 // by action: when its speed last changed
	due   []float64 // by action: when it ends, or its data begins to flow

	on    [][]int32 // by pipe: streams
	tight []bool    // by pipe: its streams could fill it
	seeds []int32   // streams whose share may have changed
	seen  []int32   // by action: the stamp of the last sharing that it was part of
	stamp int32

	part  []int32 // streams that are joined, and of them
	heap  turns.Heap
	free  []float64 // by pipe: Mbit/s not given out
	count []int32   // by pipe: streams whose share is open
}

// grain is what is left to rounding, in seconds and Mbit.
const grain = 1e-6

func (x *fluidRun) begin(i int32) {
	k := 1.0
	if x.stretch != nil {
		k = x.stretch(i)
	}
	x.starts[i], x.left[i] = x.now, x.mbit[i]*x.rest(i, k)
	x.at(i, x.now+float64(x.fixed[i]*k))
}

// at foresees the next event of action i.
func (x *fluidRun) at(i int32, moment float64) {
	x.due[i] = moment
	x.events.Push(int64(math.Float64bits(moment)), i)
}

// step goes to the next moment at which something ends, and reports whether there
// is one.
func (x *fluidRun) step() bool {
	x.done = x.done[:0]
	for len(x.done) == 0 {
		x.share()
		if len(x.events) == 0 {
			return false
		}
		first := true
		for len(x.events) > 0 {
			e := x.events[0]
			moment := math.Float64frombits(uint64(e.Key))
			if stale := moment != x.due[e.Act]; !stale && !first && moment > x.now+grain {
				break
			}
			x.events.Pop()
			if moment != x.due[e.Act] {
				continue
			}
			if first {
				x.now, first = max(x.now, moment), false
			}
			x.turn(e.Act)
		}
	}
	slices.Sort(x.done)
	return true
}

// turn lets the data of action i begin to flow, or ends it.
func (x *fluidRun) turn(i int32) {
	x.due[i] = -1
	if x.speed[i] > 0 {
		x.speed[i], x.left[i] = 0, 0
		for _, p := range x.pipes[i] {
			k := slices.Index(x.on[p], i)
			x.on[p] = slices.Delete(x.on[p], k, k+1)
			x.changed(p)
		}
	}
	if x.left[i] <= grain {
		x.ends[i] = x.now
		x.done = append(x.done, i)
		return
	}
	x.since[i] = x.now
	for _, p := range x.pipes[i] {
		x.on[p] = append(x.on[p], i)
		x.changed(p)
	}
	x.seeds = append(x.seeds, i)
}

// changed notes that other streams than before flow through pipe p. One that all of
// them could not fill, each as fast as it can ever be, is no matter to any of them.
func (x *fluidRun) changed(p int32) {
	sum := 0.0
	for _, i := range x.on[p] {
		sum += x.most[i]
	}
	before := x.tight[p]
	x.tight[p] = sum > x.rate[p]
	if before || x.tight[p] {
		x.seeds = append(x.seeds, x.on[p]...)
	}
}

// binds reports whether pipe p may be what limits stream i.
func (x *fluidRun) binds(p, i int32) bool { return x.tight[p] || x.rate[p] <= x.most[i] }

// share gives new shares to all streams that are joined to one whose share may have
// changed, and foresees which of them end first.
func (x *fluidRun) share() {
	x.stamp++
	for _, i := range x.seeds {
		if x.seen[i] == x.stamp || x.left[i] == 0 {
			continue
		}
		x.joined(i)
		x.fill()
		soonest := math.Inf(1)
		for _, k := range x.part {
			x.due[k] = x.since[k] + float64(x.left[k]/x.speed[k])
			soonest = min(soonest, x.due[k])
		}
		for _, k := range x.part { // when they have ended, the others are looked at again
			if x.due[k] <= soonest+grain {
				x.at(k, max(x.due[k], x.now))
			}
		}
	}
	x.seeds = x.seeds[:0]
}

// joined collects the streams that are joined to stream i by pipes that bind, and
// these pipes.
func (x *fluidRun) joined(i int32) {
	x.part, x.heap = append(x.part[:0], i), x.heap[:0]
	x.seen[i] = x.stamp
	for k := 0; k < len(x.part); k++ {
		s := x.part[k]
		for _, p := range x.pipes[s] {
			if x.count[p] > 0 || !x.binds(p, s) {
				continue
			}
			n := len(x.on[p])
			x.count[p], x.free[p] = int32(n), x.rate[p]
			x.heap.Push(int64(math.Float64bits(x.rate[p]/float64(n))), p)
			for _, j := range x.on[p] {
				if x.seen[j] != x.stamp {
					x.seen[j] = x.stamp
					x.part = append(x.part, j)
				}
			}
		}
	}
}

// fill shares max-min fairly: again and again the pipe whose streams get least is
// closed, and what they leave elsewhere is shared by the others. What a pipe gives
// to each only grows by that.
func (x *fluidRun) fill() {
	open := -x.stamp
	for _, i := range x.part {
		x.seen[i] = open
	}
	for left := len(x.part); left > 0; {
		e := x.heap.Pop()
		p := e.Act
		if x.count[p] == 0 {
			continue
		}
		least := max(x.free[p], 0) / float64(x.count[p])
		if key := int64(math.Float64bits(least)); key > e.Key {
			x.heap.Push(key, p)
			continue
		}
		for _, i := range x.on[p] {
			if x.seen[i] != open {
				continue
			}
			x.seen[i] = x.stamp
			left--
			for _, q := range x.pipes[i] {
				if x.count[q] > 0 {
					x.free[q] -= least
					x.count[q]--
				}
			}
			x.pace(i, least)
		}
	}
}

// pace gives stream i its speed.
func (x *fluidRun) pace(i int32, speed float64) {
	if speed == x.speed[i] {
		return
	}
	x.left[i] = max(x.left[i]-float64(x.speed[i]*(x.now-x.since[i])), grain)
	x.since[i], x.speed[i] = x.now, speed
}
