package plan

import (
	"math"

	"heliostat/engine"
)

// A fluid carries a plan out by the executor's rule (the lowest rank that is ready
// and has its slots) while moves share interfaces and links: each gets the most
// that it can without another getting less (max-min fair). Estimates of single
// moves know only the least that each gets.
type fluid struct {
	*checkWorld
	mbit  []float64 // by action: payload, at the efficiency that is configured
	fixed []float64 // by action: seconds, where no data flows
	pipes [][]int32 // by action: what it flows through
	rate  []float64 // by pipe: Mbit/s of payload
	begun []float64 // by action: the share that is done already
}

// mbitPerMiB: 1 MiB is 8.388608 Mbit.
const mbitPerMiB = 8.388608

func newFluid(in *Input, actions []engine.Action) *fluid {
	s := in.Snapshot
	w := &checkWorld{c: &checker{in: in, s: s}, open: len(actions)}
	for i := range actions {
		w.acts = append(w.acts, &actions[i])
	}
	for i := range in.Open {
		if o := &in.Open[i]; !o.State.Terminal() {
			w.acts = append(w.acts, &o.Action)
		}
	}
	w.waits, w.next = checkEdges(&engine.Plan{Actions: actions})
	for range w.acts[w.open:] {
		w.waits, w.next = append(w.waits, 0), append(w.next, nil)
	}
	w.slots()
	n := len(w.acts)
	f := &fluid{
		checkWorld: w, mbit: make([]float64, n), fixed: make([]float64, n), pipes: make([][]int32, n), begun: make([]float64, n),
	}
	nh := len(s.Hosts)
	f.rate = make([]float64, nh+len(s.Links))
	eff := float64(in.Config.Cost.EfficiencyPct) / 100
	for h := range s.Hosts {
		f.rate[h] = float64(max(s.Hosts[h].NICMbps, 0)) * eff
	}
	for i := range s.Links {
		f.rate[nh+i] = float64(max(s.Links[i].Mbps, 0)) * eff
	}
	for i, a := range w.acts {
		f.plumb(int32(i), a, int32(nh))
	}
	k := w.open
	for i := range in.Open {
		o := &in.Open[i]
		if o.State.Terminal() {
			continue
		}
		if o.Started != 0 && o.Action.Estimate.Seconds > 0 {
			f.begun[k] = min(max(float64(in.Now-o.Started)/float64(o.Action.Estimate.Seconds), 0), 1)
		}
		k++
	}
	return f
}

// plumb finds what action i flows through. links is the index of the first link.
func (f *fluid) plumb(i int32, a *engine.Action, links int32) {
	s := f.c.s
	from, ok1 := s.FindHost(a.From.Host)
	to, ok2 := s.FindHost(a.To.Host)
	if a.Kind != engine.Move || !ok1 || !ok2 {
		f.fixed[i] = float64(a.Estimate.Seconds)
		return
	}
	fit := fitOf(f.c.in, a)
	f.fixed[i], f.mbit[i] = fit.SetupS, fit.mbit(f.c.in, a)
	f.pipes[i] = append(f.pipes[i], from)
	if to != from {
		f.pipes[i] = append(f.pipes[i], to)
	}
	if x, y := s.Hosts[from].Site, s.Hosts[to].Site; x >= 0 && y >= 0 && x != y {
		if k := findLink(s, x, y); k >= 0 {
			f.pipes[i] = append(f.pipes[i], links+k)
		}
	}
	for _, p := range f.pipes[i] {
		if f.rate[p] <= 0 { // unknown: as long as was estimated
			f.fixed[i], f.mbit[i], f.pipes[i] = float64(a.Estimate.Seconds), 0, nil
			return
		}
	}
}

// A kindFit is what moves of a kind have taught, or the model.
type kindFit struct{ engine.MoveFit }

func fitOf(in *Input, a *engine.Action) kindFit {
	if x := in.History.Fit(a.From.Site, a.To.Site, a.Estimate.Storage); x != nil {
		return kindFit{*x}
	}
	return kindFit{engine.NewMoveFit(in.Config.Cost)}
}

// mbit is the payload of a move at the efficiency that is configured.
func (k *kindFit) mbit(in *Input, a *engine.Action) float64 {
	return float64(a.Estimate.MemoryMiB+a.Estimate.DiskMiB) * mbitPerMiB * k.Slow * float64(in.Config.Cost.EfficiencyPct) / 100
}

// A stream is an action under way.
type stream struct {
	act  int32
	wait float64 // seconds until data flows, or until the end where none does
	left float64 // Mbit
	rate float64
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
	r := &checkRun{checkWorld: f.checkWorld, used: make([]int32, len(f.capacity)), left: append([]int32(nil), f.waits...), parked: make([]checkHeap, len(f.queues))}
	starts, ends = make([]float64, len(f.acts)), make([]float64, len(f.acts))
	x := &fluidRun{fluid: f, starts: starts, ends: ends, stretch: stretch, count: make([]int32, len(f.rate)), free: make([]float64, len(f.rate))}
	for i := f.open; i < len(f.acts); i++ {
		r.take(int32(i), 1)
		x.begin(int32(i))
	}
	var fresh checkHeap
	for i := range f.open {
		ends[i] = math.Inf(1)
		if r.left[i] == 0 {
			fresh.push(checkItem{int64(f.acts[i].Rank), int32(i)})
		}
	}
	start := func(i int32) {
		r.take(i, 1)
		x.begin(i)
	}
	r.fill(nil, &fresh, start)
	for len(x.on) > 0 {
		for _, i := range x.step() {
			r.take(i, -1)
			for _, j := range r.next[i] {
				if r.left[j]--; r.left[j] == 0 {
					fresh.push(checkItem{int64(f.acts[j].Rank), j})
				}
			}
			r.fill(r.need[i], &fresh, start)
		}
	}
	return starts, ends
}

// A fluidRun is one simulation.
type fluidRun struct {
	*fluid
	now     float64
	on      []stream
	done    []int32
	starts  []float64
	ends    []float64
	stretch func(i int32) float64
	count   []int32   // by pipe: streams whose rate is open
	free    []float64 // by pipe: Mbit/s not given out
	open    []int32   // streams whose rate is open
	used    []int32   // pipes that carry something
}

func (x *fluidRun) begin(i int32) {
	k := 1 - x.begun[i]
	if x.stretch != nil {
		k *= x.stretch(i)
	}
	x.starts[i] = x.now
	x.on = append(x.on, stream{act: i, wait: x.fixed[i] * k, left: x.mbit[i] * k})
}

const (
	never     = 1e9  // seconds: later than any deadline
	boundless = 1e12 // Mbit/s
)

// step goes to the next moment at which something changes, and returns the actions
// that end there.
func (x *fluidRun) step() []int32 {
	x.share()
	x.done = x.done[:0]
	dt := math.Inf(1)
	for k := range x.on {
		s := &x.on[k]
		switch {
		case s.wait > 0:
			dt = min(dt, s.wait)
		case s.left > 0:
			dt = min(dt, s.left/s.rate)
		default:
			dt = 0
		}
	}
	if !(dt <= never) { // nothing moves: what waits for a pipe without any width does so for ever
		x.now = never
		for _, s := range x.on {
			x.ends[s.act] = never
			x.done = append(x.done, s.act)
		}
		x.on = x.on[:0]
		return x.done
	}
	x.now += dt
	const grain = 1e-6 // Mbit or seconds: what is left of rounding
	keep := x.on[:0]
	for _, s := range x.on {
		if s.wait > 0 {
			if s.wait -= dt; s.wait < grain {
				s.wait = 0
			}
		} else {
			if s.left -= float64(s.rate * dt); s.left < grain {
				s.left = 0
			}
		}
		if s.wait == 0 && s.left == 0 {
			x.ends[s.act] = x.now
			x.done = append(x.done, s.act)
			continue
		}
		keep = append(keep, s)
	}
	x.on = keep
	return x.done
}

// share gives every stream its rate: again and again the pipe whose streams get
// least is closed, and what they leave elsewhere is shared by the others.
func (x *fluidRun) share() {
	x.open, x.used = x.open[:0], x.used[:0]
	for k := range x.on {
		s := &x.on[k]
		if s.rate = 0; s.wait > 0 || s.left == 0 {
			continue
		}
		x.open = append(x.open, int32(k))
		for _, p := range x.pipes[s.act] {
			if x.count[p] == 0 {
				x.used, x.free[p] = append(x.used, p), x.rate[p]
			}
			x.count[p]++
		}
	}
	for len(x.open) > 0 {
		least := math.Inf(1)
		for _, p := range x.used {
			if x.count[p] > 0 {
				least = min(least, x.free[p]/float64(x.count[p]))
			}
		}
		const alike = 1e-9 // Mbit/s: what differs by rounding alone is closed together
		keep := x.open[:0]
		for _, k := range x.open {
			s := &x.on[k]
			tight := false
			for _, p := range x.pipes[s.act] {
				tight = tight || x.free[p] <= float64((least+alike)*float64(x.count[p]))
			}
			if !tight {
				keep = append(keep, k)
				continue
			}
			s.rate = least
			for _, p := range x.pipes[s.act] { // a closed pipe's share stays what it is
				x.free[p] -= least
				x.count[p]--
			}
		}
		if len(keep) == len(x.open) { // bound by no pipe
			for _, k := range keep {
				x.on[k].rate = boundless
			}
			break
		}
		x.open = keep
	}
	for _, p := range x.used {
		x.count[p] = 0
	}
}
