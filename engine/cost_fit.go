package engine

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// A MoveFit is what finished moves of one kind have taught: how long they take
// against what was computed for them, and how far off the next one may be.
//
// Seconds = SetupS + Slow x the seconds that the bytes take at the line rate that
// the move was expected to get. 1/Slow is the efficiency: how much of that rate
// became payload.
type MoveFit struct {
	From    SiteID `json:"from"`
	To      SiteID `json:"to"`
	Storage string `json:"storage,omitempty"` // type of the datastore that is copied from; "" for memory alone

	SetupS float64    `json:"setup_s"`
	Slow   float64    `json:"slow"`
	Var    [3]float64 `json:"var"` // of SetupS, of both, of Slow: how little is known yet

	Moves int64   `json:"moves"` // learnt from
	At    Unix    `json:"at"`    // of the last
	Real  []int32 `json:"real"`  // of each of the last moves: real over predicted duration x 1000, newest first
}

const (
	// maxFits bounds the fits kept: those that learnt last stay.
	maxFits = 512
	// maxReal is how many errors are kept: of 39, nine in ten of those to come lie
	// between the second least and the second greatest.
	maxReal = 39
	// minReal is the least number that bounds nine in ten at all.
	minReal = 19
	// noise is how far real durations are taken to scatter, in parts of the
	// duration, and noiseS at least in seconds: the clock has whole ones.
	noise, noiseS = 0.1, 0.5
	// outlier is from which error on, in parts of the duration, a move teaches no
	// more the further it is off: one stuck move is not to spoil the fit. It is
	// small, so that what is minimised is nearly the mean absolute error.
	outlier = 0.02
	// changed is how many moves in a row, all far off to one side, are no accident: by
	// chance alone it happens once in 64 such rows.
	changed = 7
	// forget keeps the fit apt for change: it remembers about a hundred moves.
	forget = 0.99
	// The first guess may be off by so much (standard deviations).
	setupDoubt, slowDoubt = 10.0, 1.0
	// What moves teach is taken to be within these.
	minSlow, maxSlow, maxSetup = 0.05, 20.0, 600.0
)

// compare orders fits by what they are about.
func (f *MoveFit) compare(g *MoveFit) int {
	return cmp.Or(strings.Compare(string(f.From), string(g.From)), strings.Compare(string(f.To), string(g.To)), strings.Compare(f.Storage, g.Storage))
}

// fit finds the fit of a kind of moves, or where it belongs.
func (h *History) fit(key *MoveFit) (int, bool) {
	return slices.BinarySearchFunc(h.Fits, key, func(f MoveFit, k *MoveFit) int { return f.compare(k) })
}

// Fit returns what is known of moves between two sites, nil before the first.
func (h *History) Fit(from, to SiteID, storage string) *MoveFit {
	if h == nil || len(h.Fits) == 0 { // it is asked for every VM
		return nil
	}
	if i, ok := h.fit(&MoveFit{From: from, To: to, Storage: storage}); ok {
		return &h.Fits[i]
	}
	return nil
}

// Ratios are how long the last moves of every kind took for what was predicted, in permille.
func (h *History) Ratios() (out []int32) {
	if h == nil {
		return nil
	}
	for i := range h.Fits {
		out = append(out, h.Fits[i].Real...)
	}
	return out
}

// learn takes in how long a move that succeeded took at a line rate. One that was
// not timed teaches nothing, nor one whose rate is not known.
func (h *History) learn(r *ActionRecord, mbps float64) {
	a, e := &r.Action, &r.Action.Estimate
	if r.TookS <= 0 || mbps <= 0 {
		return
	}
	key := NewMoveFit(DefaultCostModel())
	key.From, key.To, key.Storage = a.From.Site, a.To.Site, e.Storage
	if _, ok := h.fit(&key); !ok && len(h.Fits) >= maxFits {
		oldest := 0
		for k := range h.Fits {
			if h.Fits[k].At < h.Fits[oldest].At {
				oldest = k
			}
		}
		h.Fits = slices.Delete(h.Fits, oldest, oldest+1)
	}
	i, ok := h.fit(&key)
	if !ok {
		h.Fits = slices.Insert(h.Fits, i, key)
	}
	h.Fits[i].Learn(e.mbit()/mbps, float64(r.TookS))
	h.Fits[i].At = r.Ended
}

// Expected is how long the action is expected to take, beside the others where that
// is known.
func (e *Estimate) Expected() int64 { return cmp.Or(e.ExpectS, e.Seconds) }

// LineSeconds is how long the bytes of a move take at the rate that it is expected
// to get, if all of that is payload.
func (e *Estimate) LineSeconds() float64 { return e.mbit() / float64(max(e.Mbps, 1)) }

// mbit is what a move has to send: 1 MiB is 8.388608 Mbit.
func (e *Estimate) mbit() float64 { return float64(e.MemoryMiB+e.DiskMiB) * 8.388608 }

// NewMoveFit is a fit that has learnt nothing: the model itself.
func NewMoveFit(m CostModel) MoveFit {
	return MoveFit{SetupS: float64(m.SetupS), Slow: 100 / float64(m.EfficiencyPct), Var: firstDoubt()}
}

func firstDoubt() [3]float64 {
	return [3]float64{setupDoubt * setupDoubt, 0, slowDoubt * slowDoubt}
}

// Learn is one step of recursive least squares on relative errors: a move whose
// bytes take line seconds at the expected rate took the actual ones. Products are
// converted by themselves so that no machine fuses them with a sum, and every one
// computes the same.
func (f *MoveFit) Learn(line, actual float64) {
	said := f.SetupS + float64(f.Slow*line)
	f.Real = slices.Insert(slices.Clone(f.Real), 0, int32(min(math.Round(1000*actual/max(said, 1)), 1_000_000)))
	f.Real = f.Real[:min(len(f.Real), maxReal)]
	f.Moves++
	if f.elsewhere() {
		f.Var = firstDoubt()
	}
	off, sd := actual-said, max(noise*said, noiseS)
	r := float64(sd*sd) / weight(off, max(outlier*said, noiseS))
	p := f.Var
	a, b := p[0]+float64(p[1]*line), p[1]+float64(p[2]*line)
	s := a + float64(b*line) + r
	f.SetupS = min(max(f.SetupS+float64(a/s*off), 0), maxSetup)
	f.Slow = min(max(f.Slow+float64(b/s*off), minSlow), maxSlow)
	p = [3]float64{p[0] - float64(a/s*a), p[1] - float64(a/s*b), p[2] - float64(b/s*b)}
	// What no move has tested for long is doubted again, up to the first doubt.
	k := min(1/forget, setupDoubt*setupDoubt/max(p[0], 1e-12), slowDoubt*slowDoubt/max(p[2], 1e-12))
	f.Var = [3]float64{max(p[0], 0) * k, p[1] * k, max(p[2], 0) * k}
}

// weight is how much a move teaches that is off by so much.
func weight(off, least float64) float64 { return 1 / max(1, math.Abs(off)/least) }

// Weight is how much a move teaches that is off by such a part of its duration.
func Weight(off float64) float64 { return weight(off, outlier) }

// elsewhere reports whether the last moves were all off to one side by more than
// they scatter: none of them is an outlier then, what they run on has changed.
func (f *MoveFit) elsewhere() bool {
	if len(f.Real) < changed {
		return false
	}
	low, high := slices.Min(f.Real[:changed]), slices.Max(f.Real[:changed])
	return float64(low) > 1000*(1+noise) || float64(high) < 1000*(1-noise)
}

// Within is between what nine of ten moves last that are expected to last so long;
// zeros while too few were seen.
func (f *MoveFit) Within(seconds int64) (low, high int64) {
	n := len(f.Real)
	if n < minReal {
		return 0, 0
	}
	x := slices.Clone(f.Real)
	slices.Sort(x)
	k := (n + 1) / 20
	return (seconds*int64(x[k-1]) + 500) / 1000, (seconds*int64(x[n-k]) + 500) / 1000
}
