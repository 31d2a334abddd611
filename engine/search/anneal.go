package search

import (
	"math"
	"slices"
)

// The shape of an annealing. The shares were chosen on instances of the ROADEF
// challenge of 2012 and on random ones, and hold for all.
const (
	descentShare = 25 // one evaluation of so many goes into a descent,
	sampleShare  = 20 // one at most into samples of what shifts cost,
	quickShare   = 20 // and one into a quick cooling
	samples      = 2000
	steps        = 200 // temperatures of the quick cooling

	hotGone  = .05      // of the heat: where the slow cooling begins;
	mildGone = .75      // it is there after
	mildTime = .5       // of its time,
	coldGone = .95      // there after
	coldTime = .8       // of it,
	frozen   = 1. / 1e6 // and at this share of what a dear shift costs at its end
	warmGone = .9       // where gentle calls begin, or rather
	cooler   = 3        // so many times colder
	coldest  = .1       // nothing dearer is taken: costs are whole numbers

	ruinShare = 4    // one evaluation of so many goes into ruins
	batch     = 1000 // evaluations at one temperature, at most
)

// goTo moves to an assignment and makes it the record.
func (s *island) goTo(at []int32) {
	for o, c := range at {
		if s.at[o] != c {
			s.take(int32(o))
			s.put(int32(o), c)
		}
	}
	s.settle()
}

// anneal descends, cools quickly to learn by which temperatures the heat goes, and
// cools slowly from there. Each range of temperatures gets a part of the time. How the
// quick cooling compares with the descent was the measure of where to begin before, and
// differed a hundredfold between islands of one problem; a trial of two beginnings
// prefers the colder one, since the hotter one gains only with time.
func (s *island) anneal(evaluations int64, gentle bool) {
	start := s.spent
	end := start + evaluations
	s.exiled = 0
	for stop := start + evaluations/descentShare; s.spent < stop; {
		s.move(0)
	}
	if gentle {
		hot, cold := s.warm, s.frozen
		if s.chilly {
			hot, cold = min(hot, math.Sqrt(hot*coldest)), coldest
		}
		s.cool(hot, cold, end)
		return
	}
	s.calibrate(s.dearShift(s.spent+evaluations/sampleShare), s.spent+evaluations/quickShare)
	left := float64(end - s.spent)
	mild, cold := s.spent+int64(left*mildTime), s.spent+int64(left*coldTime)
	s.cool(s.hot, s.mild, mild)
	s.cool(s.mild, s.cold, cold)
	s.cool(s.cold, s.frozen, end)
}

// calibrate cools quickly from a temperature at which few shifts are too dear, says at
// which temperatures how much of the heat is gone, and goes back to the best.
func (s *island) calibrate(dear float64, end int64) {
	start, peak := s.spent, s.cost
	var temperatures []float64
	var costs []int64
	for i := int64(1); i <= steps; i++ {
		temperature := dear * math.Pow(frozen, float64(i-1)/steps)
		s.stay(temperature, start+(end-start)*i/steps)
		temperatures, costs = append(temperatures, temperature), append(costs, s.cost)
		peak = max(peak, s.cost)
	}
	heat := float64(peak - s.cost)
	gone := func(share float64) float64 {
		at := dear
		for i, cost := range costs {
			if float64(cost-s.cost) > (1-share)*heat {
				at = temperatures[i]
			}
		}
		return at
	}
	s.hot, s.mild, s.cold = gone(hotGone), gone(mildGone), gone(coldGone)
	s.warm, s.frozen = gone(warmGone)/cooler, dear*frozen
	s.materialise()
	s.goTo(s.best)
}

// cool spends evaluations until end between two temperatures.
func (s *island) cool(hot, cold float64, end int64) {
	start := s.spent
	for s.spent < end {
		done := float64(s.spent-start) / float64(end-start)
		s.stay(hot*math.Pow(cold/hot, done), min(end, s.spent+batch))
	}
}

// stay spends evaluations until end at one temperature.
func (s *island) stay(temperature float64, end int64) {
	s.exiled = int64(s.exile * temperature)
	for s.spent < end {
		s.move(s.limit(temperature))
	}
}

// move tries one move. What is not for ruins, which cost hundreds of evaluations each,
// goes into shifts and swaps, and a little into chains.
func (s *island) move(limit int64) {
	if s.ruined*ruinShare < s.spent {
		before := s.spent
		s.ruin(limit)
		s.ruined += s.spent - before
		return
	}
	switch x := s.below(100); {
	case x < 48:
		s.shift(limit)
	case x < 96:
		s.swap(limit)
	default:
		s.chain(limit)
	}
}

// dearShift is what few shifts cost more than, as far as can be learned until so many
// evaluations are spent.
func (s *island) dearShift(end int64) float64 {
	var costs []int64
	for s.spent < end && len(costs) < samples {
		o, b := s.pick(), int32(s.below(s.containers))
		s.spent++
		if s.at[o] == b {
			continue
		}
		if d, possible := s.trade(o, Nowhere, b, boundless); possible && d.Violations <= 0 && d.Cost > 0 {
			costs = append(costs, d.Cost)
		}
	}
	if len(costs) == 0 {
		return 1
	}
	slices.Sort(costs)
	return float64(costs[len(costs)*19/20])
}
