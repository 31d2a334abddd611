package search

// trade prices the exchange of o, from its container to b, with q, from b to o's
// container; q may be Nowhere: then it is a shift of o alone. It answers what
// cost and violations would change by, and false where capacity would be exceeded
// further, or where the cost alone is reason to refuse.
func (s *state) trade(o, q, b int32, limit int64) (d Result, possible bool) {
	a := s.at[o]
	if len(s.kinds) > 0 && (s.forbidden(o, b) > 0 || q >= 0 && s.forbidden(q, a) > 0) {
		return d, false
	}
	if !s.fits(o, q, a, b) {
		return d, false
	}
	d.Cost = s.tradeHinges(o, q, a, b) + s.personal(o, b) - s.own[o]
	if q >= 0 {
		d.Cost += s.personal(q, a) - s.own[q]
	} else {
		if len(s.in[a]) == 1 {
			d.Cost -= s.fixed[a]
		}
		if len(s.in[b]) == 0 {
			d.Cost += s.fixed[b]
		}
	}
	// Two that come home bring no more than two members' price: what is too dear with
	// that is not counted out.
	if s.unrest != 0 && (d.Cost-2*max(s.unrest, -s.unrest) <= limit || s.violations > 0) {
		d.Cost += s.tradeUnrest(o, q, a, b)
	}
	if d.Cost > limit && s.violations == 0 {
		return d, false
	}
	d.Violations = s.tradeViolations(o, q, a, b)
	return d, true
}

// fits says whether no capacity is exceeded by a trade further than it is now.
func (s *state) fits(o, q, a, b int32) bool {
	return s.takes(b, o, q) && (q < 0 || s.takes(a, q, o))
}

// takes says whether container c has room for o once q has left; q may be Nowhere.
func (s *state) takes(c, o, q int32) bool {
	in := s.use(o, c)
	free := s.free[int(c)*s.resources:][:len(in)]
	out := s.none[:len(in)]
	if q >= 0 {
		out = s.use(q, c)[:len(in)]
	}
	for r, x := range in {
		if free[r]-x+out[r] < 0 {
			return s.overfull > 0 && noWorse(free, in, out)
		}
	}
	return true
}

func noWorse(free, in, out []int64) bool {
	for r, x := range in {
		if after := free[r] - x + out[r]; after < min(0, free[r]) {
			return false
		}
	}
	return true
}

// tradeHinges is what the hinges of both containers change by.
func (s *state) tradeHinges(o, q, a, b int32) int64 {
	in, out := s.values(o), s.none[:s.measures]
	if q >= 0 {
		out = s.values(q)
	}
	n := len(in)
	out = out[:n]
	overA, overB := s.over[int(a)*n:][:n], s.over[int(b)*n:][:n]
	weightA, weightB := s.weight[int(s.class[a])*n:][:n], s.weight[int(s.class[b])*n:][:n]
	var sum int64
	for k, x := range in {
		x -= out[k]
		va, vb := overA[k]-x, overB[k]+x
		va &^= va >> 63
		vb &^= vb >> 63
		sum += va*weightA[k] + vb*weightB[k]
	}
	return sum - s.hinge[a] - s.hinge[b]
}

// tradeUnrest is what the price of the group with most members away changes by.
func (s *state) tradeUnrest(o, q, a, b int32) int64 {
	do, dq := s.turned(o, a, b), int32(0)
	if q >= 0 {
		dq = s.turned(q, b, a)
	}
	if do == 0 && dq == 0 {
		return 0
	}
	before := s.awayMost
	s.recount(o, do)
	if dq != 0 {
		s.recount(q, dq)
	}
	d := s.unrest * int64(s.awayMost-before)
	if dq != 0 {
		s.recount(q, -dq)
	}
	s.recount(o, -do)
	return d
}

// turned is 1 for an object that leaves home, and -1 for one that comes back.
func (s *state) turned(o, from, to int32) int32 {
	switch s.home[o] {
	case Nowhere:
		return 0
	case from:
		return 1
	case to:
		return -1
	}
	return 0
}

// tradeViolations is what violations change by.
func (s *state) tradeViolations(o, q, a, b int32) int64 {
	var d int64
	if len(s.kinds) > 0 {
		d -= s.forbidden(o, a)
		if q >= 0 {
			d -= s.forbidden(q, b)
		}
	}
	if s.overfull > 0 {
		in, out := s.none, s.none
		if q >= 0 {
			in, out = s.use(q, a), s.use(q, b)
		}
		d += s.excessAfter(a, in, s.use(o, a)) + s.excessAfter(b, s.use(o, b), out) - s.excess(int(a)) - s.excess(int(b))
	}
	switch {
	case q < 0 || len(s.of[q]) == 0:
		return d + s.peek(o, a, b)
	case len(s.of[o]) == 0:
		return d + s.peek(q, b, a)
	}
	d += s.relocate(o, a, b)
	d += s.peek(q, b, a)
	s.relocate(o, b, a)
	return d
}

// excessAfter is the excess of a container once in has come and out has gone.
func (s *state) excessAfter(c int32, in, out []int64) int64 {
	var sum int64
	for r, free := range s.free[int(c)*s.resources:][:s.resources] {
		sum += excess(in[r]-out[r]-free, s.room[int(c)*s.resources+r])
	}
	return sum
}

// relocate counts an object elsewhere, and says what that does to the rules.
func (s *state) relocate(o, from, to int32) int64 {
	var d int64
	for _, t := range s.of[o] {
		part := s.tallies[t].part
		if a, b := part[from], part[to]; a != b {
			d += s.leave(t, a) + s.join(t, b)
		}
	}
	return d
}

// peek is what relocate would say.
func (s *state) peek(o, from, to int32) int64 {
	if s.tangled[o] {
		d := s.relocate(o, from, to)
		s.relocate(o, to, from)
		return d
	}
	var d int64
	for _, t := range s.of[o] {
		x, count := &s.tallies[t], s.counts[t]
		a, b := x.part[from], x.part[to]
		if a == b {
			continue
		}
		left, there := count[a]-1, count[b]
		if left >= x.most {
			d--
		}
		if there >= x.most {
			d++
		}
		if left > 0 && there > 0 {
			continue
		}
		occupied := s.occupied[t]
		d -= int64(max(0, x.least-occupied))
		if left == 0 {
			occupied--
			d += s.lonely(x, a, -1)
		}
		if there == 0 {
			occupied++
			d += s.lonely(x, b, 1)
		}
		d += int64(max(0, x.least-occupied))
	}
	return d
}

// lonely is what becomes of nearness when a tally of a part changes between 0 and
// more: sign is 1 for the first member, and -1 for the last.
func (s *state) lonely(x *tally, part int32, sign int64) int64 {
	var d int64
	for _, u := range x.needs {
		if s.counts[u][part] == 0 {
			d += sign
		}
	}
	for _, u := range x.needed {
		if s.counts[u][part] > 0 {
			d -= sign
		}
	}
	return d
}

// apply carries a trade out.
func (s *state) apply(o, q, b int32) {
	a := s.at[o]
	s.take(o)
	if q >= 0 {
		s.take(q)
		s.put(q, a)
	}
	s.put(o, b)
}
