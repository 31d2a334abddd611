package plan

import (
	"math"
	"slices"

	"heliostat/engine"
	"heliostat/internal/chance"
)

// publishedError is the mean error of predicted durations, in permille, where too
// few moves of ours have ended to know better: 20 %. Source: Kherbache et al.,
// "Scheduling Live Migration of Virtual Machines", IEEE TCC 2017, on 1,000 moves.
const publishedError = 200

// fewErrors is how many finished moves it takes to be believed instead.
const fewErrors = 10

// Ends are when the last move of the plan's first evacuation with a deadline ends, in
// seconds from now and sorted, in simulations with moves that last as much longer or
// shorter than expected as finished ones did. Without such moves there are none.
func Ends(in engine.Input, p *engine.Plan) []float64 {
	if in.Decision == nil || !slices.ContainsFunc(in.Decision.Evacuations, evacDue) {
		return nil
	}
	x := newCertifier(&in, p)
	for _, k := range x.b.rescues() {
		x.r = x.b.rescue(k)
		x.out, x.act = x.r.out(x.f, x.ends)
		return x.lasts()
	}
	return nil
}

// eta says when the last move should have ended, and between what moments it will in
// 9 of 10 cases.
func (x *certifier) eta() {
	last := 0.0
	for _, n := range x.act {
		if n >= 0 {
			last = max(last, x.ends[n])
		}
	}
	ends := x.lasts()
	if len(ends) == 0 {
		return
	}
	at := func(secs float64) engine.Unix { return x.in.Now + engine.Unix(math.Round(secs)) }
	x.c.ETA.At = at(last)
	if x.c.ETA.Learned = x.learned(); x.c.ETA.Learned >= fewErrors {
		x.c.ETA.At = at(quantile(ends, 0.5))
	}
	x.c.ETA.From, x.c.ETA.To = at(quantile(ends, 0.05)), at(quantile(ends, 0.95))
}

// lasts are the ends of the last move in as many simulations.
func (x *certifier) lasts() []float64 {
	for _, n := range x.act {
		if n >= 0 && math.IsInf(x.ends[n], 1) {
			return nil
		}
	}
	if !slices.ContainsFunc(x.act, func(n int32) bool { return n >= 0 }) {
		return nil
	}
	kinds, kind := x.kinds()
	// About as many events for a large plan as for a small one.
	trials := min(max(40_000/len(x.f.acts), 20), 200)
	ends := make([]float64, 0, trials)
	for n := range trials {
		random := chance.From(x.in.Seed, uint64(n))
		for i := range kinds {
			kinds[i].redraw(random)
		}
		latest := 0.0
		times := x.f.run(func(i int32) float64 {
			k, line := &kinds[kind[i]], x.f.acts[i].Estimate.LineSeconds()
			ratio := k.ratio(line, random)
			for n := 0; n < 8 && ratio <= x.f.begun[i]; n++ { // it is not over yet
				ratio = k.ratio(line, random)
			}
			return ratio
		})
		for _, a := range x.act {
			if a >= 0 {
				latest = max(latest, times[a])
			}
		}
		ends = append(ends, latest)
	}
	slices.Sort(ends)
	return ends
}

// A kindError is by how much moves of one kind last longer than expected, or
// shorter, in a simulation. All of them share how far off the fit may be: its
// parameters are drawn with the doubt that is left, as its errors have shown it. Each
// has an error of its own, of those that are remembered.
type kindError struct {
	fit    *engine.MoveFit // nil: none has ended
	seen   []float64       // errors of single moves
	drawn  []float64       // as many of them, drawn: they are but a sample, and so is their mean
	common []float64       // errors that all share, where how far off the expectation is was never seen
	width  float64         // by how much a remembered value is smoothed, since so few have gaps and ends that the truth has not
	doubt  [3]float64      // of set-up, of both, of slowness: how far each may be off for two draws (Cholesky)
	off    float64         // drawn, as are
	setup  float64
	slow   float64
}

// kinds are the errors by kind of move, and by action which of them is its own. Of
// a kind of which too few moves have ended the errors of all kinds are taken, and
// where these are too few as well, the published one.
func (x *certifier) kinds() (kinds []kindError, kind []int32) {
	type key struct {
		from, to engine.SiteID
		storage  string
	}
	index := map[key]int32{}
	for _, a := range x.f.acts {
		k := key{a.From.Site, a.To.Site, a.Estimate.Storage}
		i, ok := index[k]
		if !ok {
			i = int32(len(kinds))
			index[k] = i
			kinds = append(kinds, x.kindError(x.in.History.Fit(k.from, k.to, k.storage)))
		}
		kind = append(kind, i)
	}
	return kinds, kind
}

func (x *certifier) kindError(fit *engine.MoveFit) kindError {
	e := kindError{fit: fit, seen: []float64{1}, off: 1}
	list := x.in.History.Ratios()
	if fit != nil && len(fit.Real) >= fewErrors {
		// The newest half, at least: what came before taught the fit.
		list = fit.Real[:max(fewErrors, len(fit.Real)/2)]
	}
	if len(list) < fewErrors {
		e.fit = nil
	} else {
		e.learn(list)
	}
	if e.fit == nil {
		for i := -20; i <= 20; i++ { // evenly spread, with that mean deviation from 1
			e.common = append(e.common, 1+float64(i)*publishedError/10_000)
		}
	}
	return e
}

// learn takes in the errors of finished moves.
func (e *kindError) learn(list []int32) {
	e.seen = e.seen[:0]
	var sum, squares, taught float64
	for _, r := range list {
		v := float64(r) / 1000
		e.seen = append(e.seen, v)
		sum += v
		squares += float64(v * v)
		taught += engine.Weight(v - 1)
	}
	n := float64(len(list))
	mean := sum / n
	variance := max(squares/n-float64(mean*mean), 0)
	e.width = math.Sqrt(variance) * math.Pow(n, -0.2) // the rule of thumb for a kernel (Silverman)
	if e.fit == nil {
		return
	}
	// The fit takes errors to be of a certain size, and lets the large teach less.
	k := math.Pi / 2 * variance / (fitNoise * fitNoise) * taught / n
	v := e.fit.Var
	e.doubt[0] = math.Sqrt(max(v[0]*k, 0))
	if e.doubt[0] > 0 {
		e.doubt[1] = v[1] * k / e.doubt[0]
	}
	e.doubt[2] = math.Sqrt(max(v[2]*k-float64(e.doubt[1]*e.doubt[1]), 0))
}

// fitNoise is how far real durations scatter for what a fit takes them to, in parts.
const fitNoise = 0.1

func (e *kindError) redraw(random func(int64) int64) {
	e.drawn = e.drawn[:0]
	for range e.seen {
		e.drawn = append(e.drawn, e.seen[random(int64(len(e.seen)))])
	}
	if e.fit == nil {
		e.off = e.common[random(int64(len(e.common)))]
		return
	}
	// Student's distribution: how large errors are was learnt from as few.
	squares, free := 0.0, max(len(e.seen)-2, 1)
	for range free {
		x := normal(random)
		squares += float64(x * x)
	}
	t := math.Sqrt(float64(free) / squares)
	a, b := normal(random)*t, normal(random)*t
	e.setup = max(e.fit.SetupS+float64(e.doubt[0]*a), 0)
	e.slow = max(e.fit.Slow+float64(e.doubt[1]*a)+float64(e.doubt[2]*b), e.fit.Slow/4)
}

// normal draws from the standard normal distribution, nearly: twelve of a die that
// has no sides.
func normal(random func(int64) int64) float64 {
	sum := int64(0)
	for range 12 {
		sum += random(1 << 20)
	}
	return float64(sum)/(1<<20) - 6
}

// ratio is for a move whose bytes take so many seconds at the line rate.
func (e *kindError) ratio(line float64, random func(int64) int64) float64 {
	r := e.drawn[random(int64(len(e.drawn)))]
	r = e.off * max(r+float64(e.width*(float64(random(2001)-1000)/1000)), r/10)
	if e.fit != nil {
		r *= (e.setup + float64(e.slow*line)) / max(e.fit.SetupS+float64(e.fit.Slow*line), 1)
	}
	return r
}

// learned is from how many finished moves of all kinds.
func (x *certifier) learned() int { return len(x.in.History.Ratios()) }

// quantile interpolates in sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + float64((at-float64(i))*(sorted[i+1]-sorted[i]))
}
