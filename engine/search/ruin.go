package search

import "slices"

// largest is how many objects one ruin takes out at most: more are rarely put
// back better than they were.
const largest = 24

// sampled is how many containers are tried for an object where there are many.
const sampled = 32

// ruin takes objects that have to do with one another out of their containers and
// puts each back where it costs least, in an order of its own.
func (s *island) ruin(limit int64) bool {
	s.journal = s.journal[:0]
	cost, violations := s.cost, s.violations
	switch s.below(5) {
	case 0:
		s.ruinGroups()
	case 1:
		s.ruinSimilar()
	case 2:
		s.force()
	default:
		s.ruinContainers()
	}
	if s.below(2) == 0 {
		slices.SortFunc(s.journal, func(a, b step) int { return int(s.rank[a.object] - s.rank[b.object]) })
	} else {
		for i := len(s.journal) - 1; i > 0; i-- {
			j := s.below(i + 1)
			s.journal[i], s.journal[j] = s.journal[j], s.journal[i]
		}
	}
	placed := true
	for _, x := range s.journal {
		if s.at[x.object] == Nowhere {
			c := s.cheapest(x.object)
			// What is still out only adds to the cost, but for hinges of negative weight or
			// measure: without them, going on would be in vain.
			if placed = c != Nowhere && (s.cost-cost <= limit || violations > 0); !placed {
				break
			}
			s.put(x.object, c)
		}
		limit -= s.exiling(x.object, x.from, s.at[x.object])
	}
	if d := (Result{s.violations - violations, s.cost - cost}); placed && d.within(limit) {
		s.noteRecord()
		return true
	}
	for _, x := range s.journal {
		if s.at[x.object] != Nowhere {
			s.take(x.object)
		}
	}
	for _, x := range s.journal {
		s.put(x.object, x.from)
	}
	return false
}

// out takes an object out, unless it is out or the ruin is large enough.
func (s *island) out(o int32) {
	if len(s.journal) < largest && s.at[o] != Nowhere {
		s.journal = append(s.journal, step{o, s.at[o]})
		s.take(o)
	}
}

// ruinContainers empties a container, or a dozen of what is inside, and one or two
// others.
func (s *island) ruinContainers() {
	c := s.at[s.below(s.objects)]
	for range 1 + s.below(3) {
		for range min(len(s.in[c]), largest/2) {
			s.out(s.among(s.in[c]))
		}
		c = int32(s.below(s.containers))
	}
}

// ruinGroups takes out a group, and perhaps one that is tied to it.
func (s *island) ruinGroups() {
	o := s.pick()
	if len(s.group[o]) == 0 {
		s.out(o)
		return
	}
	g := s.among(s.group[o])
	for _, o := range s.members[g] {
		s.out(o)
	}
	for _, o := range s.members[s.among(s.kin[g])] {
		s.out(o)
	}
}

// ruinSimilar takes a few objects of similar size out.
func (s *island) ruinSimilar() {
	o := s.pick()
	for range 2 + s.below(5) {
		s.out(o)
		o = s.similar(o)
	}
}

// force moves an object, rather a large one, into a container that others leave until
// it has room there: large ones hardly ever fit where they should be.
func (s *island) force() {
	o, b := s.bySize[min(s.below(s.objects), s.below(s.objects))], int32(s.below(s.containers))
	if b == s.at[o] || s.forbidden(o, b) > 0 {
		return
	}
	s.out(o)
	for !s.takes(b, o, Nowhere) {
		if len(s.in[b]) == 0 || len(s.journal) == largest {
			return // it is put where it costs least
		}
		s.out(s.among(s.in[b]))
	}
	s.put(o, b)
}

// cheapest is where an object that is nowhere costs least, or Nowhere. Each
// container is overlooked now and then, so that the same ruin ends differently.
func (s *island) cheapest(o int32) int32 {
	best, least := Nowhere, Result{}
	consider := func(c int32) {
		s.spent++
		if s.next()&31 == 0 {
			return
		}
		cost, possible := s.entry(o, c)
		if s.lingers[o] && s.home[o] != c {
			cost.Cost += s.exiled
		}
		if possible && (best == Nowhere || cost.Less(least)) {
			best, least = c, cost
		}
	}
	if s.containers <= 2*sampled {
		for c := range s.containers {
			consider(int32(c))
		}
		return best
	}
	if home := s.home[o]; home != Nowhere {
		consider(home)
	}
	for _, x := range s.journal {
		consider(x.from)
	}
	for range sampled {
		consider(s.anywhere(o))
	}
	return best
}

// entry prices putting an object that is nowhere into a container.
func (s *island) entry(o, c int32) (d Result, possible bool) {
	if s.forbidden(o, c) > 0 {
		return d, false
	}
	in := s.use(o, c)
	free := s.free[int(c)*s.resources:][:len(in)]
	low := int64(0)
	for r, x := range in {
		low |= free[r] - x
	}
	if low < 0 && (s.overfull == 0 || !noWorse(free, in, s.none)) {
		return d, false
	}
	d.Cost = s.personal(o, c) - s.hinge[c]
	if len(s.in[c]) == 0 {
		d.Cost += s.fixed[c]
	}
	values := s.values(o)
	over := s.over[int(c)*s.measures:][:len(values)]
	weight := s.weight[int(s.class[c])*s.measures:][:len(values)]
	for k, x := range values {
		x += over[k]
		x &^= x >> 63
		d.Cost += x * weight[k]
	}
	for _, t := range s.of[o] {
		x := &s.tallies[t]
		part := x.part[c]
		n := s.counts[t][part]
		if n >= x.most {
			d.Violations++
		}
		if n == 0 {
			if s.occupied[t] < x.least {
				d.Violations--
			}
			d.Violations += s.lonely(x, part, 1)
		}
	}
	return d, true
}
