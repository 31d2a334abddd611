package search

import (
	"fmt"
	"slices"
	"sync"
)

// Options say how to search.
type Options struct {
	Seed    uint64
	Islands int // that anneal on their own between meetings; 2 by default
	Workers int // goroutines; they change how long it takes alone; 1 by default
}

// A Search improves one assignment. It is not for concurrent use.
type Search struct {
	islands []*island
	workers int
	best    []int32
	result  Result
	spent   int64
}

// New prepares a search that starts from an assignment, which need not obey the
// rules. The problem must not change from then on.
func New(p *Problem, at []int32, o Options) (*Search, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	if err := p.checkAssignment(at); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	s := &Search{workers: max(1, o.Workers), best: slices.Clone(at)}
	if o.Islands < 1 {
		o.Islands = 2
	}
	w := compile(p)
	seeds := dice(o.Seed)
	for i := range o.Islands {
		s.islands = append(s.islands, &island{state: newState(w, at), dice: dice(seeds.next()), chilly: i%2 == 1})
	}
	s.result = s.islands[0].record
	return s, nil
}

// Best is the best assignment so far, and its price.
func (s *Search) Best() ([]int32, Result) { return slices.Clone(s.best), s.result }

// Spent is how many candidates were evaluated so far.
func (s *Search) Spent() int64 { return s.spent }

// Anneal cools once from hot to cold, spends about so many evaluations in all
// islands together, and leaves them at the best assignment that one of them found.
// A call of more evaluations than all before it starts hot enough to forget the
// start; a shorter one reheats the best, gently, and every other island more so. Nothing
// but the counts of the calls so far enters, and a further call never makes Best worse.
func (s *Search) Anneal(evaluations int64) {
	if s.islands[0].containers < 2 || s.islands[0].objects == 0 {
		return // there is nothing to choose
	}
	share := evaluations / int64(len(s.islands))
	gentle := evaluations <= s.spent
	var wg sync.WaitGroup
	next := make(chan *island, len(s.islands))
	for _, x := range s.islands {
		next <- x
	}
	close(next)
	for range min(s.workers, len(s.islands)) {
		wg.Go(func() {
			for x := range next {
				x.anneal(share, gentle)
			}
		})
	}
	wg.Wait()
	s.spent = 0
	for _, x := range s.islands {
		s.spent += x.spent
		if x.record.Less(s.result) {
			x.materialise()
			s.result = x.record
			copy(s.best, x.best)
		}
	}
	for _, x := range s.islands {
		x.goTo(s.best)
	}
}
