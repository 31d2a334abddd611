package plan

import (
	"math"
	"math/rand/v2"
	"testing"

	"heliostat/engine/sim"
	"heliostat/internal/chance"
	"heliostat/internal/race"
)

// TestFluid holds the simulation that looks at what changes alone against one that
// looks at everything, on plans whose moves share interfaces and links, with moves
// that last as expected and with others.
func TestFluid(t *testing.T) {
	t.Parallel()
	moves := 0
	for seed := range race.Cases(uint64(40)) {
		in := stormy(seed, sim.FleetConfig{Sites: 2 + int(seed%3), Hosts: 16, VMs: 120, AcrossPct: 60, HostsPerCluster: 4}, []int32{700, 3000, 40_000}[seed%3], 3600)
		r := rand.New(rand.NewPCG(seed, 5))
		for h := range in.Snapshot.Hosts { // some interfaces bind, and some do not
			in.Snapshot.Hosts[h].NICMbps = []int32{1000, 4000, 10_000, 25_000}[r.IntN(4)]
		}
		p := Build(in)
		moves += len(p.Actions)
		f := newFluid(&in, p.Actions)
		for n := range uint64(3) {
			stretch := func(i int32) float64 {
				if n == 0 {
					return 1
				}
				return 0.5 + float64(chance.From(n, uint64(i))(1000))/1000
			}
			want, got := f.dumb(stretch), f.run(stretch)
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-3+want[i]*1e-6 && !(math.IsInf(got[i], 1) && math.IsInf(want[i], 1)) {
					t.Fatalf("seed %d, stretch %d: %s ends after %.6f s, and should after %.6f s", seed, n, p.Actions[i].Name, got[i], want[i])
				}
			}
		}
	}
	if !race.Enabled && moves < 900 {
		t.Errorf("only %d moves", moves)
	}
}

// A stream is an action under way.
type stream struct {
	act  int32
	wait float64 // seconds until data flows, or until the end where none does
	left float64 // Mbit
	rate float64
}

// dumb carries the plan out as [fluid.times] does, and looks at every stream at
// every moment.
func (f *fluid) dumb(stretch func(i int32) float64) []float64 {
	r := f.table.Turns()
	ends, waits := make([]float64, len(f.acts)), make([]int32, len(f.acts))
	x := &dumbRun{fluid: f, ends: ends, stretch: stretch, count: make([]int32, len(f.rate)), free: make([]float64, len(f.rate))}
	for i := f.open; i < len(f.acts); i++ {
		r.Take(int32(i))
		x.begin(int32(i))
	}
	for i := range f.open {
		ends[i] = math.Inf(1)
		if waits[i] = int32(len(f.acts[i].After)); waits[i] == 0 {
			r.Ready(int32(i), f.acts[i].Rank)
		}
	}
	start := func(i int32) {
		r.Take(i)
		x.begin(i)
	}
	r.Start(start)
	for len(x.on) > 0 {
		for _, i := range x.step() {
			for _, j := range f.next.of(i) {
				if waits[j]--; waits[j] == 0 {
					r.Ready(j, f.acts[j].Rank)
				}
			}
			r.End(i, start)
		}
	}
	return ends
}

// A dumbRun is one such simulation.
type dumbRun struct {
	*fluid
	now     float64
	on      []stream
	done    []int32
	ends    []float64
	stretch func(i int32) float64
	count   []int32   // by pipe: streams whose rate is open
	free    []float64 // by pipe: Mbit/s not given out
	open    []int32   // streams whose rate is open
	used    []int32   // pipes that carry something
}

func (x *dumbRun) begin(i int32) {
	k := 1.0
	if x.stretch != nil {
		k = x.stretch(i)
	}
	x.on = append(x.on, stream{act: i, wait: x.fixed[i] * k, left: x.mbit[i] * x.rest(i, k)})
}

const (
	never     = 1e9  // seconds: later than any deadline
	boundless = 1e12 // Mbit/s
)

// step goes to the next moment at which something changes, and returns the actions
// that end there.
func (x *dumbRun) step() []int32 {
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
func (x *dumbRun) share() {
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

// BenchmarkFluid carries out the evacuation of a third of a fleet.
func BenchmarkFluid(b *testing.B) {
	in := stormy(1, sim.FleetConfig{Sites: 3, Hosts: 1500, VMs: 30_000, AcrossPct: 60}, 40_000, 36_000)
	p := attempt(in, nil).finish()
	f := newFluid(&in, p.Actions)
	b.ReportMetric(float64(len(p.Actions)), "actions")
	for b.Loop() {
		f.run(nil)
	}
}
