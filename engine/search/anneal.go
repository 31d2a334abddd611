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
	quickShare   = 10 // and one into a quick cooling
	samples      = 2000

	frozen    = 1. / 1e6 // of what a dear shift costs: where the quick cooling ends
	earlier   = 10       // times hotter than where that was worth it: the slow one begins
	coldest   = 1. / 1e4 // of its first temperature: its last one, at the least
	settled   = 1. / 500 // of what the quick cooling gained: what is left of it, it has settled;
	later     = 5        // times colder than that: the slow one ends
	reheat    = 30       // gentle calls begin so many times colder
	ruinShare = 4        // one evaluation of so many goes into ruins
	batch     = 1000     // evaluations at one temperature, at least
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

// anneal descends, cools quickly to learn where the heat is worth it, and cools
// slowly from there. Above the temperature at which the quick cooling came to be better
// than the descent, annealing does no more than forget; a slow one gets there a
// little earlier. A cooling too quick to be better at all says no more than where half
// of its heat was gone: there it begins.
func (s *island) anneal(evaluations int64, gentle bool) {
	start := s.spent
	end := start + evaluations
	s.exiled = 0
	for stop := start + evaluations/descentShare; s.spent < stop; {
		s.move(0)
	}
	if !gentle {
		dear := s.dearShift(s.spent + evaluations/sampleShare)
		hot, still := s.quickly(dear, s.spent+evaluations/quickShare)
		s.hot = min(dear, hot)
		s.cold = max(s.hot*coldest, min(still, s.hot)/later)
		s.cool(s.hot, end)
		return
	}
	s.cool(max(s.hot/reheat, s.cold), end)
}

// quickly cools from a temperature at which few shifts are too dear, says from which
// one on to cool slowly, and from which on nothing much happened, and goes back to the
// best.
func (s *island) quickly(dear float64, end int64) (hot, still float64) {
	start, cost := s.spent, s.cost
	peak := cost
	hot, still = dear, dear*frozen
	var temperatures []float64
	var costs []int64
	for s.spent < end {
		temperature := dear * math.Pow(frozen, float64(s.spent-start)/float64(end-start))
		s.stay(temperature, end)
		temperatures, costs = append(temperatures, temperature), append(costs, s.cost)
		peak = max(peak, s.cost)
	}
	gained, hotter := float64(cost-s.cost), float64(earlier)
	if gained <= 0 { // then it never settles
		cost, hotter = s.cost+(peak-s.cost)/2, 1
	}
	for i, temperature := range temperatures {
		if costs[i] > cost {
			hot = hotter * temperature
		}
		if float64(costs[i]-s.cost) > settled*gained {
			still = temperature
		}
	}
	s.materialise()
	s.goTo(s.best)
	return hot, still
}

func (s *island) cool(hot float64, end int64) {
	start := s.spent
	for s.spent < end {
		s.stay(hot*math.Pow(s.cold/hot, float64(s.spent-start)/float64(end-start)), end)
	}
}

// stay spends a batch at one temperature.
func (s *island) stay(temperature float64, end int64) {
	s.exiled = int64(s.exile * temperature)
	for stop := min(end, s.spent+batch); s.spent < stop; {
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
