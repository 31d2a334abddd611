package engine

import (
	"fmt"
	"math"
	"testing"
)

// pair are hosts of two sites, and a link of 1,000 Mbit/s between these.
func pair(at Unix) *Snapshot {
	return &Snapshot{
		At: at, Sites: []Site{{ID: "a"}, {ID: "b"}}, Hosts: []Host{{ID: "h0", Site: 0, NICMbps: 10_000}, {ID: "h1", Site: 1, NICMbps: 10_000}},
		Links: []Link{{A: 0, B: 1, Mbps: 1000}},
	}
}

// moved is a timed move of so many MiB that had the link for itself.
func moved(to SiteID, mib, took int64) ActionRecord {
	return ActionRecord{
		Action: Action{Kind: Move, From: Place{Site: "a", Host: "h0"}, To: Place{Site: to, Host: "h1"}, Estimate: Estimate{MemoryMiB: mib, Mbps: 1000, ExpectS: 9}},
		State:  StateSucceeded, TookS: took, Started: 1000 - Unix(took), Ended: 1000,
	}
}

// fold carries history over moves that ended by some moment while others go on.
func fold(h *History, at Unix, open []ActionRecord, ended ...ActionRecord) *History {
	s := pair(at)
	out := Fold(h, s, ended, Thresholds{})
	NoteMoves(h, out, s, open, ended)
	return out
}

// took is how long the world of these tests takes: 3 s, and 90 % of the rate.
func took(mib int64) int64 {
	e := Estimate{MemoryMiB: mib, Mbps: 900}
	return int64(math.Round(3 + e.LineSeconds()))
}

func TestFitFindsWhatIsHidden(t *testing.T) {
	h := &History{}
	for i := range 60 {
		mib := int64(500 + 977*i%6000)
		actual := took(mib)
		if i%12 == 11 {
			actual *= 5 // one that got stuck
		}
		h = fold(h, Unix(i), nil, moved("b", mib, actual))
	}
	f := h.Fit("a", "b", "")
	if f == nil {
		t.Fatal("nothing was learnt")
	}
	for _, mib := range []int64{500, 2000, 6000} {
		v := &VM{Power: VMOn, UsedMiB: int32(mib), DirtyMbps: 0}
		e := DefaultCostModel().Learnt(f, v, 1000, 0, 0)
		if off := math.Abs(float64(e.Seconds-took(mib))) / float64(took(mib)); off > 0.05 {
			t.Errorf("%d MiB: %d s expected, it takes %d", mib, e.Seconds, took(mib))
		}
		if low, high := f.Within(e.Seconds); low > took(mib) || high < took(mib) {
			t.Errorf("%d MiB: between %d and %d s, it takes %d", mib, low, high, took(mib))
		}
	}
	if h.Fit("b", "a", "") != nil || h.Fit("a", "b", "nfs") != nil {
		t.Error("what was learnt of one way is used for another")
	}
}

func TestFitFollowsChange(t *testing.T) {
	f := NewMoveFit(DefaultCostModel())
	for i := range 240 {
		line := float64(5 + i*7%40)
		slow := 1.1
		if i >= 200 {
			slow = 2.2
		}
		f.Learn(line, 2+slow*line)
	}
	if math.Abs(f.Slow-2.2) > 0.11 {
		t.Errorf("40 moves after the links have halved: %.2f, want 2.2", f.Slow)
	}
}

func TestOnlyTimedMovesTeach(t *testing.T) {
	untimed, failed, host := moved("b", 1000, 0), moved("b", 1000, 9), moved("b", 1000, 9)
	failed.State, host.Action.Kind = StateFailed, Standby
	if h := fold(&History{}, 0, nil, untimed, failed, host); len(h.Fits) != 0 {
		t.Errorf("learnt: %+v", h.Fits)
	}
}

func TestFoldLeavesFitsOfItsArgumentAlone(t *testing.T) {
	one := fold(&History{}, 0, nil, moved("b", 1000, 20))
	before, err := Encode(one)
	if err != nil {
		t.Fatal(err)
	}
	fold(one, 0, nil, moved("b", 1000, 90), moved("a", 1, 1))
	if after, err := Encode(one); err != nil || string(after) != string(before) {
		t.Errorf("it was\n%s, and is\n%s, %v", before, after, err)
	}
}

func TestFitsAreBounded(t *testing.T) {
	h := &History{}
	for i := range maxFits + 9 {
		r := moved(SiteID(fmt.Sprintf("site-%d", i*7919%1000)), 1000, 20)
		r.Ended = Unix(1000 + i)
		h = fold(h, 0, nil, r)
	}
	if len(h.Fits) != maxFits {
		t.Fatalf("%d fits, want %d", len(h.Fits), maxFits)
	}
	for i := range h.Fits {
		if f := &h.Fits[i]; f.At < 1009 {
			t.Errorf("%s has stayed though it is among the oldest", f.To)
		}
		if i > 0 && h.Fits[i-1].compare(&h.Fits[i]) >= 0 {
			t.Errorf("out of order at %d", i)
		}
	}
}

// Whatever the durations, predictions stay finite and not negative.
func TestFitSurvivesNonsense(t *testing.T) {
	f := NewMoveFit(DefaultCostModel())
	for i := range 1000 {
		f.Learn([]float64{0, 1e9, 1, 1e-9}[i%4], []float64{1, 1e9, 1e-3, 1e6}[i*7%5%4])
		for _, x := range []float64{f.SetupS, f.Slow, f.Var[0], f.Var[1], f.Var[2]} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				t.Fatalf("after %d moves: %+v", i+1, f)
			}
		}
		if f.SetupS < 0 || f.Slow <= 0 || f.Var[0] < 0 || f.Var[2] < 0 {
			t.Fatalf("after %d moves: %+v", i+1, f)
		}
	}
}

func TestNineOfTenAreWithin(t *testing.T) {
	f := NewMoveFit(DefaultCostModel())
	inside, all := 0, 0
	x := uint64(1)
	roll := func() float64 {
		x = x*6364136223846793005 + 1442695040888963407
		return float64(x>>40) / (1 << 24)
	}
	for i := range 4000 {
		line := 5 + 40*roll()
		actual := (2 + 1.1*line) * (0.8 + 0.4*roll())
		const fine = 1000 // Within counts whole seconds
		if low, high := f.Within(int64(fine * (f.SetupS + f.Slow*line))); i > 100 {
			all++
			if actual*fine >= float64(low) && actual*fine <= float64(high) {
				inside++
			}
		}
		f.Learn(line, actual)
	}
	if share := 100 * float64(inside) / float64(all); share < 88 || share > 92 {
		t.Errorf("%.1f %% of %d moves ended within the interval, want 88 to 92", share, all)
	}
}
