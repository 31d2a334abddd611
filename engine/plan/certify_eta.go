package plan

import (
	"math"
	"slices"

	"heliostat/engine"
)

// publishedError is the mean error of predicted durations, in permille, where too
// few moves of ours have ended to know better: 20 %. Source: Kherbache et al.,
// "Scheduling Live Migration of Virtual Machines", IEEE TCC 2017, on 1,000 moves.
const publishedError = 200

// fewErrors is how many finished moves it takes to be believed instead.
const fewErrors = 10

// eta simulates the plan again and again with moves that last as much longer or
// shorter than expected as finished ones did: first a share of those that are
// remembered is drawn, since they are but a sample, and then one of it for each
// move.
func (x *certifier) eta() {
	last := 0.0
	for _, n := range x.act {
		if n >= 0 {
			last = max(last, x.ends[n])
		}
	}
	if last == 0 || math.IsInf(last, 1) {
		return
	}
	at := func(secs float64) engine.Unix { return x.in.Now + engine.Unix(math.Round(secs)) }
	x.c.ETA.At = at(last)
	ratios := x.ratios()
	x.c.ETA.Learned = x.learned()
	// About as many events for a large plan as for a small one.
	trials := min(max(8_000/len(x.f.acts), 20), 200)
	ends := make([]float64, 0, trials)
	draw := make([]float64, len(ratios))
	width := x.width(ratios)
	for n := range trials {
		random := checkRandom(x.in.Seed, uint64(n))
		for i := range draw {
			draw[i] = ratios[random(int64(len(ratios)))]
			if x.c.ETA.Learned < fewErrors { // all are too short or too long together
				draw[i] = draw[0]
			}
		}
		latest := 0.0
		times := x.f.run(func(int32) float64 {
			// Smoothed, since so few values have gaps and ends that the truth has not.
			return max(draw[random(int64(len(draw)))]+float64(width*(float64(random(2001)-1000)/1000)), draw[0]/10)
		})
		for _, a := range x.act {
			if a >= 0 {
				latest = max(latest, times[a])
			}
		}
		ends = append(ends, latest)
	}
	slices.Sort(ends)
	if x.c.ETA.Learned >= fewErrors {
		x.c.ETA.At = at(quantile(ends, 0.5))
	}
	x.c.ETA.From, x.c.ETA.To = at(quantile(ends, 0.05)), at(quantile(ends, 0.95))
}

// width is by how much a remembered value is smoothed: the rule of thumb for the
// width of a kernel (Silverman), none where nothing was learned.
func (x *certifier) width(ratios []float64) float64 {
	n := float64(len(ratios))
	if x.c.ETA.Learned < fewErrors {
		return 0
	}
	var sum, squares float64
	for _, r := range ratios {
		sum += r
		squares += float64(r * r)
	}
	return math.Sqrt(max(squares/n-float64(sum/n*(sum/n)), 0)) * math.Pow(n, -0.2)
}

func (x *certifier) learned() int {
	return len(x.in.History.Ratios())
}

// ratios are by how much moves have lasted longer than expected, or shorter.
func (x *certifier) ratios() []float64 {
	if x.learned() < fewErrors {
		var out []float64 // evenly spread, with that mean deviation from 1
		for i := -20; i <= 20; i++ {
			out = append(out, 1+float64(i)*publishedError/10_000)
		}
		return out
	}
	var out []float64
	for _, e := range x.in.History.Ratios() {
		out = append(out, float64(e)/1000)
	}
	return out
}

// quantile interpolates in sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + float64((at-float64(i))*(sorted[i+1]-sorted[i]))
}
