package search

import (
	"math"
	"math/bits"
)

// draws is how many places or partners are drawn for an object at most, until one has
// room. A look for room takes a fraction of an evaluation's time.
const draws = 16

// boundless is a limit that no cost reaches.
const boundless = 1 << 61

// An island is a state with its own dice.
type island struct {
	*state
	dice
	spent  int64 // candidate evaluations
	ruined int64 // of them in ruins
	exiled int64 // what it costs now to be away from a home that is kept occupied

	// The temperatures of the last call that was not gentle, and where gentle ones begin.
	hot, mild, cold, frozen, warm float64
	chilly                        bool // its gentle calls begin and end colder than those of others
}

// within says whether a change may be made: fewer violations are worth any cost, and
// more of them none. Cheap violations that get dearer as it cools were tried: they
// help small problems a little, and now and then a few of them can't be undone.
func (r Result) within(limit int64) bool {
	return r.Violations < 0 || r.Violations == 0 && r.Cost <= limit
}

// exiling is what a shift costs for leaving a home that is kept occupied, or gains
// for coming back.
func (s *island) exiling(o, from, to int32) int64 {
	if !s.lingers[o] {
		return 0
	}
	return s.exiled * int64(s.turned(o, from, to))
}

// pick draws an object. The large ones, which fit in few places, get as many tries as
// others that fit, since places without room do not count.
func (s *island) pick() int32 { return int32(s.below(s.objects)) }

// similar draws an object of about o's size: within a window of ranks whose width
// is drawn, too.
func (s *island) similar(o int32) int32 {
	width := 8 << s.below(8)
	if width >= s.objects {
		return int32(s.below(s.objects))
	}
	i := int(s.rank[o]) + s.below(2*width+1) - width
	if i < 0 {
		i = -i
	}
	if i >= s.objects {
		i = 2*s.objects - 2 - i
	}
	return s.bySize[max(0, i)]
}

// attempt carries a trade out if it costs no more than limit.
func (s *island) attempt(o, q, b int32, limit int64) bool {
	s.spent++
	if s.at[o] == b {
		return false
	}
	if s.exiled > 0 {
		limit -= s.exiling(o, s.at[o], b)
		if q >= 0 {
			limit -= s.exiling(q, b, s.at[o])
		}
	}
	d, possible := s.trade(o, q, b, limit)
	if !possible || !d.within(limit) {
		return false
	}
	s.apply(o, q, b)
	s.noteRecord()
	return true
}

// homing says whether to look near an object's home, which is done every other time:
// once it is cold, what distance costs is most of what is left.
func (s *island) homing(o int32) bool {
	return s.home[o] != Nowhere && len(s.near) > 0 && s.next()&1 == 0
}

// nearHome draws one of the containers nearest to an object's home: of all, of half of
// them, of a quarter, and so on down to home itself.
func (s *island) nearHome(o int32) int32 {
	return s.near[s.place[s.home[o]]][s.below(s.containers>>s.below(bits.Len(uint(s.containers))))]
}

// anywhere draws a container for an object.
func (s *island) anywhere(o int32) int32 {
	if s.homing(o) {
		return s.nearHome(o)
	}
	return int32(s.below(s.containers))
}

// alike draws a few objects in a container, and answers the one whose size is most
// like o's, or Nowhere if there is none.
func (s *island) alike(c, o int32) int32 {
	best, least := Nowhere, int32(math.MaxInt32)
	if len(s.in[c]) == 0 {
		return best
	}
	for range 4 {
		q := s.among(s.in[c])
		if d := s.rank[q] - s.rank[o]; max(d, -d) < least {
			best, least = q, max(d, -d)
		}
	}
	return best
}

// somewhere draws another container where an object may be and that has room for it,
// or Nowhere if there seems to be none.
func (s *island) somewhere(o int32) int32 {
	for n := range draws {
		c := s.anywhere(o)
		if c != s.at[o] && s.forbidden(o, c) == 0 && s.takes(c, o, Nowhere) {
			s.spent += int64(n / 4)
			return c
		}
	}
	s.spent += draws / 4
	return Nowhere
}

// shift moves an object. Where there seems to be no room for it, an errand may make
// some.
func (s *island) shift(limit int64) bool {
	o := s.pick()
	b := s.somewhere(o)
	if b == Nowhere {
		return len(s.gone) > 0 && s.errand(limit)
	}
	return s.attempt(o, Nowhere, b, limit)
}

func (s *island) swap(limit int64) bool {
	o := s.pick()
	a := s.at[o]
	homing := s.homing(o)
	for n := range draws {
		var q int32
		if !homing {
			q = s.similar(o)
		} else if q = s.alike(s.nearHome(o), o); q == Nowhere {
			continue
		}
		if b := s.at[q]; a != b && s.fits(o, q, a, b) {
			s.spent += int64(n / 2)
			return s.attempt(o, q, b, limit)
		}
	}
	s.spent += draws / 2
	return false
}

// among draws one of a list.
func (s *island) among(list []int32) int32 { return list[s.below(len(list))] }

// errand moves an object that is away from a home which it keeps occupied; there has
// to be one. It goes home, or on to elsewhere; it changes places with another one that
// is away; or it comes home, and one from there leaves, or one comes to where it was.
// Once such objects have taken what room there is, few other moves are possible.
func (s *island) errand(limit int64) bool {
	o := s.among(s.gone)
	home := s.home[o]
	switch s.below(8) {
	case 0:
		return s.attempt(o, Nowhere, home, limit)
	case 1, 2:
		if b := s.somewhere(o); b != Nowhere {
			return s.attempt(o, Nowhere, b, limit)
		}
	case 3:
		q := s.among(s.gone)
		return s.attempt(o, q, s.at[q], limit)
	case 4:
		if len(s.in[home]) > 0 {
			return s.attempt(o, s.among(s.in[home]), home, limit)
		}
	case 5, 6:
		return s.relay(s.pick(), s.at[o], o, home, limit)
	default:
		if len(s.in[home]) > 0 {
			q := s.among(s.in[home])
			return s.relay(o, home, q, s.somewhere(q), limit)
		}
	}
	return false
}

// chain moves an object into a container from which another one goes on to a third.
func (s *island) chain(limit int64) bool {
	o, b := s.pick(), int32(s.below(s.containers))
	if len(s.in[b]) == 0 {
		return false
	}
	q := s.among(s.in[b])
	return s.relay(o, b, q, s.somewhere(q), limit)
}

// relay moves o into the container b, from which q goes on to c.
func (s *island) relay(o, b, q, c int32, limit int64) bool {
	a := s.at[o]
	s.spent += 2
	if c == Nowhere || a == b || c == b || c == a {
		return false
	}
	limit -= s.exiling(o, a, b) + s.exiling(q, b, c)
	// q leaves first, so that o finds room.
	first, possible := s.trade(q, Nowhere, c, boundless)
	if !possible {
		return false
	}
	s.apply(q, Nowhere, c)
	d, possible := s.trade(o, Nowhere, b, limit-first.Cost)
	d.Violations += first.Violations
	if !possible || !d.within(limit-first.Cost) {
		s.apply(q, Nowhere, b)
		return false
	}
	s.apply(o, Nowhere, b)
	s.noteRecord()
	return true
}
