package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A shower is moves whose data shared one link of 1,000 Mbit/s, carried out by code of
// its own in steps of a second: of what a move gets, four fifths are payload.
func shower(seed uint64, n int) []ActionRecord {
	r := rand.New(rand.NewPCG(seed, 0))
	type stream struct{ begins, left float64 }
	streams, out := make([]stream, n), make([]ActionRecord, n)
	for i := range n {
		mib := int64(2000 + r.IntN(20_000))
		out[i] = moved("b", mib, 0)
		out[i].Action.ID, out[i].Started = fmt.Sprintf("c1-%d", 100+i), Unix(10_000+r.IntN(2000))
		out[i].Action.Estimate.Mbps = int32(1 + r.IntN(1000)) // what the plan thought is of no use
		streams[i] = stream{float64(out[i].Started) + 12, out[i].Action.Estimate.mbit()}
	}
	const step = 0.125
	for at, going := 10_000.0, n; going > 0; at += step {
		on := 0
		for i := range streams {
			if streams[i].begins <= at && streams[i].left > 0 {
				on++
			}
		}
		for i := range streams {
			if s := &streams[i]; s.begins <= at && s.left > 0 {
				if s.left -= 0.8 * 1000 * step / float64(on); s.left <= 0 {
					out[i].Ended, out[i].TookS = Unix(at), int64(Unix(at)-out[i].Started)
					going--
				}
			}
		}
	}
	return out
}

// TestMovesTeachByWhatTheyShared: what efficiency links have is found from moves that
// began and ended beside others at all times, though the plan had expected other
// rates, and however often history was folded meanwhile.
func TestMovesTeachByWhatTheyShared(t *testing.T) {
	for _, every := range []Unix{30, 300, 100_000} {
		all := shower(1, 40)
		h := &History{}
		for at := Unix(10_000); len(all) > 0; at += every {
			var open, ended []ActionRecord
			for _, r := range all {
				switch {
				case r.Ended <= at:
					ended = append(ended, r)
				case r.Started <= at:
					r.State, r.Ended, r.TookS = StateStarted, 0, 0
					open = append(open, r)
				}
			}
			all = slices.DeleteFunc(all, func(r ActionRecord) bool { return r.Ended <= at })
			slices.SortFunc(ended, func(a, b ActionRecord) int { return int(a.Ended - b.Ended) })
			h = fold(h, at, open, ended...)
			if len(h.Flows) != len(open) {
				t.Fatalf("folded every %d s: %d flows of %d moves under way", every, len(h.Flows), len(open))
			}
		}
		f := h.Fit("a", "b", "")
		if f == nil || f.Moves != 40 {
			t.Fatalf("folded every %d s: %+v", every, f)
		}
		if math.Abs(f.Slow-1.25) > 0.02 {
			t.Errorf("folded every %d s: a slowness of %.3f, it is 1.25", every, f.Slow)
		}
		for _, real := range f.Real[:20] {
			if real < 950 || real > 1050 {
				t.Errorf("folded every %d s: a move lasted %d permille of what it should", every, real)
			}
		}
	}
}

// TestFlowsOfMovesUnderWay: what a move under way has had is the same whether it was
// looked at once or often, and of what is unknown nothing is said.
func TestFlowsOfMovesUnderWay(t *testing.T) {
	open := shower(2, 8)
	for i := range open {
		open[i].State, open[i].Started, open[i].Ended = StateStarted, Unix(1000+37*i), 0
	}
	h := &History{}
	for at := Unix(1400); at <= 3000; at += 100 {
		h = fold(h, at, open)
	}
	once := fold(&History{}, 3000, open)
	sum := 0.0
	for i := range h.Flows {
		sum += h.Flows[i].Mbit
		if math.Abs(h.Flows[i].Mbit-once.Flows[i].Mbit) > 1e-3 {
			t.Errorf("%+v, at once %+v", h.Flows[i], once.Flows[i])
		}
	}
	if want := 1000.0 * (3000 - 1012); math.Abs(sum-want) > 1 {
		t.Errorf("%.0f Mbit of %.0f that the link carries", sum, want)
	}
	if f, ok := h.Flow(open[3].Action.ID); !ok || f != h.Flows[3] {
		t.Errorf("%+v, %t", f, ok)
	}
	if _, ok := (*History)(nil).Flow("c1-1"); ok {
		t.Error("something is known of nothing")
	}
	lost := open[:1]
	lost[0].Action.To.Host = "elsewhere"
	if h := fold(&History{}, 3000, lost); len(h.Flows) != 0 {
		t.Errorf("to a host that is not seen: %+v", h.Flows)
	}
}

// TestSweepLooksAtThoseThatFlow: going from moment to moment with those that flow gives
// each the very bits that it gets when all moves are looked at in each moment.
func TestSweepLooksAtThoseThatFlow(t *testing.T) {
	s := &Snapshot{Hosts: make([]Host, 12), Links: []Link{{Mbps: 1000}, {Mbps: 7000}}}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		for h := range s.Hosts {
			s.Hosts[h].NICMbps = int32(1000 * (1 + r.IntN(25)))
		}
		x := sharing{s: s, free: make([]float64, 14), count: make([]int32, 14)}
		for range 1 + r.IntN(60) {
			p := passage{from: Unix(r.IntN(300))}
			p.to = p.from + Unix(r.IntN(100)) - 10
			if r.IntN(9) > 0 {
				p.pipes = []int32{int32(r.IntN(6)), int32(6 + r.IntN(6)), int32(12 + r.IntN(2))}[:2+r.IntN(2)]
			}
			x.on = append(x.on, p)
		}
		want := slices.Clone(x.on)
		var moments []Unix
		for _, p := range want {
			if p.from < p.to {
				moments = append(moments, p.from, p.to)
			}
		}
		slices.Sort(moments)
		for k := 1; k < len(moments); k++ {
			var on []*passage
			for i := range want {
				if p := &want[i]; len(p.pipes) > 0 && p.from <= moments[k-1] && moments[k-1] < p.to {
					on = append(on, p)
				}
			}
			x.share(on)
			for _, p := range on {
				p.Mbit += p.rate * float64(moments[k]-moments[k-1])
			}
		}
		x.sweep()
		for i := range want {
			if x.on[i].Mbit != want[i].Mbit {
				t.Fatalf("seed %d: move %d has had %v Mbit, looked at in each moment %v", seed, i, x.on[i].Mbit, want[i].Mbit)
			}
		}
	}
}
