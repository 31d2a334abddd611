package search

import (
	"math/rand/v2"
	"slices"
	"testing"

	"heliostat/internal/race"
)

func newSearch(t *testing.T, p *Problem, at []int32, o Options) *Search {
	t.Helper()
	s, err := New(p, at, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bruteForce prices every assignment.
func bruteForce(p *Problem) Result {
	at := make([]int32, len(p.Objects))
	least := Evaluate(p, at)
	for {
		o := 0
		for ; o < len(at); o++ {
			if at[o]++; int(at[o]) < len(p.Containers) {
				break
			}
			at[o] = 0
		}
		if o == len(at) {
			return least
		}
		if r := Evaluate(p, at); r.Less(least) {
			least = r
		}
	}
}

// On tiny worlds that start without a violation the search finds what trying
// everything finds; where the start has violations it ends with no more of them,
// since capacity that is exceeded may keep it from the best.
func TestFindsTheBestOfTinyWorlds(t *testing.T) {
	clean := 0
	for seed := range uint64(40) {
		r := dicePCG(seed)
		p, at := random(r, shape{2 + r.IntN(2), 4 + r.IntN(3), 1 + r.IntN(2), r.IntN(3), r.IntN(4), false})
		s := newSearch(t, p, at, Options{Seed: seed})
		for range 3 {
			s.Anneal(20_000)
		}
		_, got := s.Best()
		want := bruteForce(p)
		if got.Less(want) {
			t.Fatalf("seed %d: found %+v, better than everything there is: %+v", seed, got, want)
		}
		if Evaluate(p, at).Violations == 0 {
			clean++
			if got != want {
				t.Errorf("seed %d: found %+v, and there is %+v", seed, got, want)
			}
		}
		if start := Evaluate(p, at); got.Violations > start.Violations {
			t.Errorf("seed %d: %d violations of %d at the start", seed, got.Violations, start.Violations)
		}
	}
	if clean < 5 {
		t.Fatalf("only %d worlds start without a violation: too few to mean anything", clean)
	}
}

// What Best says is what its assignment costs, it never gets worse by a further
// call, and no number of workers changes a byte.
func TestSameBytesAndNeverWorse(t *testing.T) {
	for seed := range uint64(6) {
		p, at := random(dicePCG(seed), shape{12, 60, 3, 8, 10, true})
		one := newSearch(t, p, at, Options{Seed: seed, Islands: 4, Workers: 1})
		many := newSearch(t, p, at, Options{Seed: seed, Islands: 4, Workers: 3})
		last := Evaluate(p, at)
		for call := range 4 {
			one.Anneal(20_000)
			many.Anneal(20_000)
			a, result := one.Best()
			b, _ := many.Best()
			if !slices.Equal(a, b) || one.Spent() != many.Spent() {
				t.Fatalf("seed %d: call %d differs between 1 and 3 workers", seed, call)
			}
			if got := Evaluate(p, a); got != result {
				t.Fatalf("seed %d: call %d says %+v, from scratch %+v", seed, call, result, got)
			}
			if last.Less(result) {
				t.Fatalf("seed %d: call %d made %+v of %+v", seed, call, result, last)
			}
			last = result
		}
		if spent := one.Spent(); spent < 80_000 || spent > 100_000 {
			t.Errorf("seed %d: spent %d evaluations of 80,000", seed, spent)
		}
	}
}

// Another numbering of objects and containers is the same problem: on small worlds,
// where the best is found, it costs the same.
func TestRelabellingChangesNothing(t *testing.T) {
	for seed := range race.Cases(uint64(10)) {
		r := dicePCG(seed)
		p, at := random(r, shape{4, 10, 2, 3, 3, false})
		s := newSearch(t, p, at, Options{Seed: seed})
		q, bt := relabel(r, p, at)
		u := newSearch(t, q, bt, Options{Seed: seed})
		for range 4 {
			s.Anneal(50_000)
			u.Anneal(50_000)
		}
		_, a := s.Best()
		if _, b := u.Best(); a != b {
			t.Errorf("seed %d: %+v, and relabelled %+v", seed, a, b)
		}
	}
}

func relabel(r *rand.Rand, p *Problem, at []int32) (*Problem, []int32) {
	q := *p
	object, container := r.Perm(len(p.Objects)), r.Perm(len(p.Containers)) // new index of each
	q.Objects, q.Containers = make([]Object, len(p.Objects)), make([]Container, len(p.Containers))
	q.Kinds, q.Partitions, q.Groups = nil, nil, nil
	bt := make([]int32, len(at))
	for o, x := range p.Objects {
		if x.Home != Nowhere {
			x.Home = int32(container[x.Home])
		}
		q.Objects[object[o]] = x
		bt[object[o]] = int32(container[at[o]])
	}
	for c, x := range p.Containers {
		q.Containers[container[c]] = x
	}
	for _, row := range p.Kinds {
		to := make([]int64, len(row))
		for c, x := range row {
			to[container[c]] = x
		}
		q.Kinds = append(q.Kinds, to)
	}
	for _, row := range p.Partitions {
		to := make([]int32, len(row))
		for c, x := range row {
			to[container[c]] = x
		}
		q.Partitions = append(q.Partitions, to)
	}
	for _, members := range p.Groups {
		var to []int32
		for _, o := range members {
			to = append(to, int32(object[o]))
		}
		q.Groups = append(q.Groups, to)
	}
	return &q, bt
}

// A start that breaks rules is repaired where that is possible.
func TestRepairs(t *testing.T) {
	p := &Problem{
		Transient:  []bool{false},
		Containers: []Container{{Capacity: []int64{10}}, {Capacity: []int64{10}}, {Capacity: []int64{10}}},
		Objects:    []Object{{Need: []int64{6}}, {Need: []int64{6}}, {Need: []int64{3}}, {Need: []int64{3}}},
		Groups:     [][]int32{{2, 3}, {0}},
		Rules: []Rule{
			{Kind: AtMost, Group: 0, Over: Each, Count: 1},
			{Kind: Near, Group: 0, Over: 0, With: 1},
		},
		Partitions: [][]int32{{0, 0, 1}},
		Kinds:      [][]int64{{0, 0, 0}},
	}
	at := []int32{2, 2, 0, 0}
	if got := Evaluate(p, at); got.Violations < 3 {
		t.Fatalf("the start has %d violations", got.Violations)
	}
	s := newSearch(t, p, at, Options{})
	s.Anneal(20_000)
	if best, got := s.Best(); got.Violations != 0 {
		t.Errorf("%v has %d violations still", best, got.Violations)
	}
}

// Capacity that those who have left keep at home is used sparingly while it is
// hot: containers that are four fifths full of it still come near what any
// assignment costs at least. Of three measures all want another balance.
func TestHomesThatAreKept(t *testing.T) {
	r := dicePCG(1)
	const containers, each, resources, fill, price = 24, 12, 4, 0.8, 10
	p := &Problem{Transient: []bool{true, false, false, false}}
	for k := 1; k < resources; k++ {
		m := make(Measure, resources)
		m[k] = 1
		p.Measures = append(p.Measures, m)
	}
	var at []int32
	used, total := make([][resources]int64, containers), [resources]int64{}
	for o := range containers * each {
		home := int32(o % containers)
		x := Object{Home: home, Need: []int64{100 + r.Int64N(900), r.Int64N(1000), r.Int64N(1000), r.Int64N(1000)}}
		x.Need[1+home%3] *= 3 // each container has too much of one
		for k, need := range x.Need {
			used[home][k] += need
			total[k] += need
		}
		p.Objects, at = append(p.Objects, x), append(at, home)
	}
	var least int64
	knee := make([]int64, resources-1)
	for k := range knee {
		knee[k] = total[k+1] * 19 / 20 / containers
		least += price * (total[k+1] - knee[k]*containers)
	}
	for c := range containers {
		room := int64(float64(used[c][0]) / fill)
		p.Containers = append(p.Containers, Container{Capacity: []int64{room, total[1], total[2], total[3]}, Knee: knee, Weight: []int64{price, price, price}})
	}
	s := newSearch(t, p, at, Options{Seed: 1})
	start := s.result
	s.Anneal(2_000_000)
	_, best := s.Best()
	t.Logf("%d at first, %d now, %d at least", start.Cost, best.Cost, least)
	if best.Violations != 0 || best.Cost-least > (start.Cost-least)/25 {
		t.Errorf("%+v of %+v, at least %d", best, start, least)
	}
}

// What distance costs brings objects back near their homes: each place has to be
// levelled by itself, and only few end elsewhere.
func TestStaysNearHome(t *testing.T) {
	r := dicePCG(1)
	const places, each, objects, size = 20, 5, 1000, 50
	p := &Problem{Transient: []bool{false}, Measures: []Measure{{1}}}
	for i := range int32(places) {
		var row []int32
		for j := range int32(places) {
			row = append(row, min(2, max(i-j, j-i)))
		}
		p.Distance = append(p.Distance, row)
	}
	for i := range places * each {
		p.Containers = append(p.Containers, Container{
			Capacity: []int64{4 * size * objects / (places * each)}, Place: int32(i / each),
			Knee: []int64{size * objects / (places * each)}, Weight: []int64{10},
		})
	}
	var at []int32
	for i := range objects {
		home := int32(i%places*each + r.IntN(2)) // two containers of five
		p.Objects = append(p.Objects, Object{Need: []int64{size/2 + r.Int64N(size)}, Home: home, Move: 1, Haul: 100})
		at = append(at, home)
	}
	s := newSearch(t, p, at, Options{Seed: 1})
	start := s.result
	s.Anneal(1_000_000)
	best, result := s.Best()
	far := 0
	for o, c := range best {
		if p.Containers[c].Place != p.Containers[at[o]].Place {
			far++
		}
	}
	t.Logf("%+v of %+v, %d of %d in another place", result, start, far, objects)
	if far > objects/20 {
		t.Errorf("%d of %d are in another place", far, objects)
	}
	for i, row := range p.Distance {
		for j := range row {
			row[j] = int32(min(1, max(i-j, j-i)))
		}
	}
	if compile(p).near == nil {
		t.Error("nothing is near, though containers share places")
	}
	p.Containers = p.Containers[:places]
	for i := range p.Containers {
		p.Containers[i].Place = int32(i)
	}
	if p.Objects = nil; compile(p).near != nil {
		t.Error("something is near, though all places are equally far")
	}
}

// What makes no sense is refused, all of it at once.
func TestValidate(t *testing.T) {
	p := &Problem{
		Transient:  []bool{false},
		Containers: []Container{{Capacity: []int64{1}}},
		Objects:    []Object{{Need: []int64{-1}, Home: 3}},
		Groups:     [][]int32{{0, 0}},
		Rules:      []Rule{{Kind: Near, With: 9}},
		Partitions: [][]int32{{-1}},
	}
	err := p.Validate()
	joined, several := err.(interface{ Unwrap() []error })
	if !several || len(joined.Unwrap()) != 5 {
		t.Errorf("five faults are reported as: %v", err)
	}
	if _, err := New(&Problem{Objects: []Object{{}}}, nil, Options{}); err == nil {
		t.Error("an assignment that leaves an object out was accepted")
	}
}
