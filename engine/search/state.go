package search

import "slices"

// A state is an assignment with everything that makes the price of a change cheap.
// An object may be out of all containers for the length of one move.
type state struct {
	*world
	at    []int32 // by object: its container, or Nowhere
	own   []int64 // by object: what it costs for being there
	free  []int64 // container x resource: room that is left, of transient use, too
	over  []int64 // container x measure: its value less the knee
	hinge []int64 // by container: the cost of its hinges
	in    [][]int32
	slot  []int32 // by object: its index in its container's list
	gone  []int32 // objects that are away from a home which they keep occupied
	found []int32 // by object: its index in gone

	counts   [][]int32 // by tally, by part
	occupied []int32   // by tally: parts that hold a member

	away     []int32 // by group: members that are away from home
	awayHist []int32 // by that number: how many groups
	awayMost int32

	cost, violations int64
	overfull         int64 // of violations: capacity exceeded

	// The assignment of least cost so far is this one with the trail undone, or
	// best itself once that is materialised.
	record       Result
	best         []int32
	trail        []step
	materialised bool

	journal []step // what a ruin took out
}

// A step is where an object was before.
type step struct{ object, from int32 }

func newState(w *world, at []int32) *state {
	s := &state{
		world: w,
		at:    make([]int32, w.objects), own: make([]int64, w.objects), slot: make([]int32, w.objects), found: make([]int32, w.objects),
		free: append([]int64(nil), w.room...), over: make([]int64, len(w.knee)),
		hinge: make([]int64, w.containers), in: make([][]int32, w.containers),
		occupied: make([]int32, len(w.tallies)),
		away:     make([]int32, len(w.members)),
		best:     make([]int32, w.objects),
	}
	for _, t := range w.tallies {
		s.counts = append(s.counts, make([]int32, t.parts))
		s.violations += int64(t.least)
	}
	most := 0
	for _, members := range w.members {
		most = max(most, len(members))
	}
	s.awayHist = make([]int32, most+1)
	s.awayHist[0] = int32(len(w.members))
	for i, knee := range w.knee {
		s.over[i] = -knee
	}
	for c := range s.hinge {
		s.hinge[c] = s.hinges(c)
		s.cost += s.hinge[c]
	}
	for o := range s.at {
		s.at[o] = Nowhere
		if home := w.home[o]; home != Nowhere { // held until the object is back
			s.hold(int(home), w.need[o*w.resources:], w.firm[o*w.resources:])
		}
	}
	for c := range w.containers {
		s.overfull += s.excess(c)
	}
	s.violations += s.overfull
	for o, c := range at {
		s.put(int32(o), c)
	}
	s.settle()
	return s
}

// hold takes what an object needs of a container's transient resources.
func (s *state) hold(c int, need, firm []int64) {
	free := s.free[c*s.resources : (c+1)*s.resources]
	for r := range free {
		free[r] -= need[r] - firm[r]
	}
}

// settle makes the present assignment the record.
func (s *state) settle() {
	s.record = Result{s.violations, s.cost}
	copy(s.best, s.at)
	s.trail, s.materialised = s.trail[:0], true
}

// noteRecord is called after each accepted move.
func (s *state) noteRecord() {
	if s.violations < s.record.Violations || s.violations == s.record.Violations && s.cost < s.record.Cost {
		s.record = Result{s.violations, s.cost}
		s.trail, s.materialised = s.trail[:0], false
	}
}

// materialise writes the record into best.
func (s *state) materialise() {
	if s.materialised {
		return
	}
	copy(s.best, s.at)
	for _, x := range slices.Backward(s.trail) {
		s.best[x.object] = x.from
	}
	s.trail, s.materialised = s.trail[:0], true
}

func (s *state) hinges(c int) int64 {
	over := s.over[c*s.measures : (c+1)*s.measures]
	weight := s.weight[int(s.class[c])*s.measures:][:len(over)]
	var sum int64
	for k, x := range over {
		x &^= x >> 63
		sum += x * weight[k]
	}
	return sum
}

// excess is how far a container is beyond its capacities.
func (s *state) excess(c int) int64 {
	var sum int64
	for r, free := range s.free[c*s.resources : (c+1)*s.resources] {
		if free < 0 {
			sum += excess(-free, s.room[c*s.resources+r])
		}
	}
	return sum
}

// use is the row that an object takes in a container: at home its transient part
// is there anyway.
func (s *state) use(o, c int32) []int64 {
	rows := s.need
	if s.home[o] == c {
		rows = s.firm
	}
	i := int(o) * s.resources
	return rows[i : i+s.resources : i+s.resources]
}

func (s *state) values(o int32) []int64 {
	i := int(o) * s.measures
	return s.form[i : i+s.measures : i+s.measures]
}

// put places an object that is nowhere.
func (s *state) put(o, c int32) {
	s.shiftRows(int(c), s.use(o, c), s.values(o), 1)
	if len(s.in[c]) == 0 {
		s.cost += s.fixed[c]
	}
	s.own[o] = s.personal(o, c)
	s.cost += s.own[o]
	s.violations += s.forbidden(o, c)
	s.slot[o] = int32(len(s.in[c]))
	s.in[c] = append(s.in[c], o)
	s.at[o] = c
	for _, t := range s.of[o] {
		s.violations += s.join(t, s.tallies[t].part[c])
	}
	s.turn(o, c, 1)
}

// take removes an object from its container.
func (s *state) take(o int32) {
	c := s.at[o]
	s.shiftRows(int(c), s.use(o, c), s.values(o), -1)
	s.cost -= s.own[o]
	s.violations -= s.forbidden(o, c)
	list, i := s.in[c], s.slot[o]
	last := list[len(list)-1]
	list[i], s.slot[last] = last, i
	s.in[c] = list[:len(list)-1]
	if len(s.in[c]) == 0 {
		s.cost -= s.fixed[c]
	}
	s.at[o] = Nowhere
	for _, t := range s.of[o] {
		s.violations += s.leave(t, s.tallies[t].part[c])
	}
	s.turn(o, c, -1)
	if !s.materialised {
		s.trail = append(s.trail, step{o, c})
		if len(s.trail) > s.objects {
			// What was taken out since has no container now, but the record had one:
			// the trail says which.
			s.materialise()
		}
	}
}

// shiftRows adds an object's rows to a container, or takes them away.
func (s *state) shiftRows(c int, use, values []int64, sign int64) {
	was := int64(0)
	if s.overfull > 0 {
		was = s.excess(c)
	}
	free := s.free[c*s.resources:][:len(use)]
	for r, x := range use {
		free[r] -= sign * x
	}
	over := s.over[c*s.measures:][:len(values)]
	for k, x := range values {
		over[k] += sign * x
	}
	s.cost -= s.hinge[c]
	s.hinge[c] = s.hinges(c)
	s.cost += s.hinge[c]
	low := int64(0)
	for _, x := range free {
		low |= x
	}
	if s.overfull > 0 || low < 0 {
		d := s.excess(c) - was
		s.overfull += d
		s.violations += d
	}
}

// personal is what an object costs for being in a container.
func (s *state) personal(o, c int32) int64 {
	var cost int64
	if home := s.home[o]; home != c && home != Nowhere {
		cost = s.move[o]
		if len(s.distance) > 0 {
			cost += s.haul[o] * int64(s.distance[s.place[home]][s.place[c]])
		}
	}
	if len(s.kinds) > 0 {
		if x := s.kinds[s.kind[o]][c]; x != Never {
			cost += x
		}
	}
	return cost
}

// forbidden is 1 where an object may never be.
func (s *state) forbidden(o, c int32) int64 {
	if len(s.kinds) > 0 && s.kinds[s.kind[o]][c] == Never {
		return 1
	}
	return 0
}

// join counts one more member in a part, and says how many more violations there are.
func (s *state) join(t, part int32) int64 {
	x, count := &s.tallies[t], s.counts[t]
	n := count[part]
	count[part] = n + 1
	var d int64
	if n >= x.most {
		d++
	}
	if n > 0 {
		return d
	}
	if s.occupied[t] < x.least {
		d--
	}
	s.occupied[t]++
	return d + s.lonely(x, part, 1)
}

// leave counts one member less.
func (s *state) leave(t, part int32) int64 {
	x, count := &s.tallies[t], s.counts[t]
	n := count[part] - 1
	count[part] = n
	var d int64
	if n >= x.most {
		d--
	}
	if n > 0 {
		return d
	}
	s.occupied[t]--
	if s.occupied[t] < x.least {
		d++
	}
	return d + s.lonely(x, part, -1)
}

// turn counts an object that is put away from home, or taken from there (sign -1).
func (s *state) turn(o, c, sign int32) {
	if s.home[o] == Nowhere || s.home[o] == c {
		return
	}
	if s.lingers[o] && sign > 0 {
		s.found[o] = int32(len(s.gone))
		s.gone = append(s.gone, o)
	} else if s.lingers[o] {
		last, i := s.gone[len(s.gone)-1], s.found[o]
		s.gone[i], s.found[last] = last, i
		s.gone = s.gone[:len(s.gone)-1]
	}
	if s.unrest == 0 {
		return
	}
	before := s.awayMost
	s.recount(o, sign)
	s.cost += s.unrest * int64(s.awayMost-before)
}

// recount changes how many members are away in each of an object's groups.
func (s *state) recount(o, d int32) {
	for _, g := range s.group[o] {
		n := s.away[g]
		s.away[g] = n + d
		s.awayHist[n]--
		s.awayHist[n+d]++
		s.awayMost = max(s.awayMost, n+d)
	}
	for s.awayMost > 0 && s.awayHist[s.awayMost] == 0 {
		s.awayMost--
	}
}
