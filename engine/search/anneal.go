package search

import (
	"math"
	"slices"
)

// The shape of an annealing. The shares were chosen on instances of the ROADEF
// challenge of 2012 and on random ones, and hold for all.
const (
	descentShare = 25       // one evaluation of so many goes into a descent before
	hotQuantile  = 0.95     // of what shifts cost: the first temperature
	coldest      = 1. / 3e3 // of the first temperature: the last one
	reheat       = 10       // shorter calls start so many times colder
	temperate    = 3        // temperatures that a violation costs at first
	hardFrom     = 0.97     // of the evaluations: from here on nothing may break

	batch       = 1000 // evaluations at one temperature, at least
	samples     = 2000 // of shifts, to learn what they cost
	sampleShare = 20   // one evaluation of so many goes into that at most
)

// forbidding is a price that no cost outweighs; with it a violation more is never
// accepted, and one less always is.
const forbidding = 1 << 45

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

// anneal descends, learns what moves cost, and cools from there.
func (s *island) anneal(evaluations int64, gentle bool) {
	end := s.spent + evaluations
	s.price = forbidding
	for down := s.spent + evaluations/descentShare; s.spent < down; {
		s.move(0)
	}
	hot := s.hottest(s.spent + evaluations/sampleShare)
	if gentle {
		hot /= reheat
	}
	start := s.spent
	for s.spent < end {
		done := float64(s.spent-start) / float64(end-start)
		temperature := hot * math.Pow(coldest, done)
		s.price = priceAt(temperature, done)
		for stop := min(end, s.spent+batch); s.spent < stop; {
			s.move(s.limit(temperature))
		}
	}
}

// priceAt is what a violation costs: little in the first half, then ever more.
func priceAt(temperature, done float64) int64 {
	if done > hardFrom {
		return forbidding
	}
	price := temperate * temperature
	if done > 0.5 {
		price *= 1 + math.Exp(40*(done-0.5))
	}
	return int64(min(price, forbidding-1)) + 1
}

// move tries one move. A ruin costs hundreds of evaluations: one in a hundred is
// more than half of the work.
func (s *island) move(limit int64) {
	switch x := s.below(100); {
	case x < 45:
		s.shift(limit)
	case x < 95:
		s.swap(limit)
	case x < 99:
		s.chain(limit)
	default:
		s.ruin(limit)
	}
}

// hottest is the temperature at which few shifts are too dear, as far as can be
// learned until so many evaluations are spent.
func (s *island) hottest(end int64) float64 {
	var costs []int64
	for s.spent < end {
		o, b := s.pick(), int32(s.below(s.containers))
		s.spent++
		if s.at[o] == b {
			continue
		}
		if d, possible := s.trade(o, Nowhere, b, boundless, 0); possible && d.Violations <= 0 && d.Cost > 0 {
			costs = append(costs, d.Cost)
			if len(costs) == samples {
				break
			}
		}
	}
	if len(costs) == 0 {
		return 1
	}
	slices.Sort(costs)
	return float64(costs[int(float64(len(costs))*hotQuantile)])
}
