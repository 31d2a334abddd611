package search

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A shape bounds the random problems of the tests.
type shape struct {
	containers, objects, resources, groups, rules int
	tight                                         bool // little room is left
}

// random makes a problem in which all that a problem can have occurs, and an
// assignment to start from that need not obey the rules.
func random(r *rand.Rand, x shape) (*Problem, []int32) {
	p := &Problem{Unrest: r.Int64N(3) * 40}
	at := make([]int32, x.objects)
	used := make([][]int64, x.containers)
	for c := range used {
		used[c] = make([]int64, x.resources)
	}
	for range x.resources {
		p.Transient = append(p.Transient, r.IntN(3) == 0)
	}
	for range 1 + r.IntN(2*x.resources) {
		m := make(Measure, x.resources)
		for i := range m {
			m[i] = r.Int64N(5) - 1
		}
		p.Measures = append(p.Measures, m)
	}
	for range 1 + r.IntN(3) {
		row := make([]int64, x.containers)
		for c := range row {
			if row[c] = r.Int64N(50); r.IntN(8) == 0 {
				row[c] = Never
			}
		}
		p.Kinds = append(p.Kinds, row)
	}
	const places = 3
	for range places {
		row := make([]int32, places)
		for i := range row {
			row[i] = r.Int32N(9)
		}
		p.Distance = append(p.Distance, row)
	}
	for o := range x.objects {
		at[o] = r.Int32N(int32(x.containers))
		object := Object{Home: at[o], Kind: r.Int32N(int32(len(p.Kinds))), Move: r.Int64N(30), Haul: r.Int64N(3)}
		for i := range x.resources {
			need := r.Int64N(20)
			object.Need = append(object.Need, need)
			used[at[o]][i] += need
		}
		switch r.IntN(8) {
		case 0:
			object.Home = Nowhere
		case 1:
			object.Home = r.Int32N(int32(x.containers)) // the start is not home
		}
		p.Objects = append(p.Objects, object)
	}
	for c := range x.containers {
		box := Container{Fixed: r.Int64N(400), Place: r.Int32N(places)}
		for i := range x.resources {
			room := int64(10 * x.objects / x.containers)
			if !x.tight {
				room *= 3
			}
			box.Capacity = append(box.Capacity, max(room, used[c][i]-r.Int64N(20)))
		}
		for range p.Measures {
			box.Knee = append(box.Knee, r.Int64N(60)-10)
			box.Weight = append(box.Weight, r.Int64N(12)-2)
		}
		p.Containers = append(p.Containers, box)
	}
	for range 2 {
		parts := make([]int32, x.containers)
		for c := range parts {
			parts[c] = r.Int32N(3)
		}
		p.Partitions = append(p.Partitions, parts)
	}
	for range x.groups {
		var members []int32
		for o := range x.objects {
			if r.IntN(x.groups) == 0 {
				members = append(members, int32(o))
			}
		}
		p.Groups = append(p.Groups, members)
	}
	if x.groups > 0 {
		for range x.rules {
			p.Rules = append(p.Rules, Rule{
				Kind: RuleKind(r.IntN(3)), Group: r.Int32N(int32(x.groups)), Over: r.Int32N(3) - 1,
				Count: 1 + r.Int32N(2), With: r.Int32N(int32(x.groups)),
			})
			if p.Validate() != nil { // there is one like it
				p.Rules = p.Rules[:len(p.Rules)-1]
			}
		}
	}
	return p, at
}

func dicePCG(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// Increments equal the price from scratch: of every trade before it is made, and
// of every state after it.
func TestIncrementsEqualFromScratch(t *testing.T) {
	for seed := range uint64(60) {
		r := dicePCG(seed)
		p, at := random(r, shape{2 + r.IntN(7), 5 + r.IntN(25), 1 + r.IntN(4), r.IntN(6), r.IntN(9), seed%2 == 0})
		s := newState(compile(p), at)
		if got, want := (Result{s.violations, s.cost}), Evaluate(p, at); got != want {
			t.Fatalf("seed %d: the start is priced %+v, from scratch %+v", seed, got, want)
		}
		for range 200 {
			o, q, b := r.Int32N(int32(len(at))), Nowhere, r.Int32N(int32(len(p.Containers)))
			if r.IntN(2) == 0 {
				q = r.Int32N(int32(len(at)))
				b = s.at[q]
			}
			if s.at[o] == b {
				continue
			}
			before := Result{s.violations, s.cost}
			d, possible := s.trade(o, q, b, boundless)
			if got := (Result{s.violations, s.cost}); got != before {
				t.Fatalf("seed %d: to price a trade changed %+v to %+v", seed, before, got)
			}
			if !possible && r.IntN(4) > 0 {
				continue // carry out some of the others, too: states know all assignments
			}
			s.apply(o, q, b)
			got, want := Result{s.violations, s.cost}, Evaluate(p, s.at)
			if got != want {
				t.Fatalf("seed %d: after a trade of %d and %d the state says %+v, from scratch %+v", seed, o, q, got, want)
			}
			if trade := (Result{before.Violations + d.Violations, before.Cost + d.Cost}); possible && trade != want {
				t.Fatalf("seed %d: a trade of %d and %d promised %+v and gave %+v", seed, o, q, trade, want)
			}
		}
	}
}

// The moves of an island never exceed a capacity further than it was, and its
// record is the least that it has seen and can be found again.
func TestMovesKeepCapacityAndTheRecord(t *testing.T) {
	for seed := range uint64(30) {
		r := dicePCG(seed)
		p, at := random(r, shape{3 + r.IntN(5), 10 + r.IntN(20), 1 + r.IntN(3), 1 + r.IntN(4), r.IntN(6), true})
		s := &island{state: newState(compile(p), at), dice: dice(seed)}
		least := Result{s.violations, s.cost}
		errand := func(limit int64) bool { return len(s.gone) > 0 && s.errand(limit) }
		moves := []func(int64) bool{s.shift, s.swap, s.chain, errand, s.ruin}
		for i := range 1500 {
			room := slices.Clone(s.free)
			moved := moves[i%len(moves)](r.Int64N(300))
			for j, free := range s.free {
				if free < min(0, room[j]) {
					t.Fatalf("seed %d: move %d exceeded a capacity by %d", seed, i%len(moves), -free)
				}
			}
			now := Result{s.violations, s.cost}
			if moved && now.Less(least) {
				least = now
			}
			if i%97 == 0 {
				s.materialise()
				if got := Evaluate(p, s.best); got != least || s.record != least {
					t.Fatalf("seed %d: the record is %+v, its assignment %+v; seen was %+v", seed, s.record, got, least)
				}
				if got := Evaluate(p, s.at); got != now {
					t.Fatalf("seed %d: the state says %+v, from scratch %+v", seed, now, got)
				}
				for o := range s.at {
					away := s.lingers[o] && s.at[o] != s.home[o]
					if slices.Contains(s.gone, int32(o)) != away {
						t.Fatalf("seed %d: object %d is away from a home that it occupies: %v, and the state says the contrary", seed, o, away)
					}
				}
			}
		}
	}
}
