package search

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// A world is a problem in flat arrays that all islands read and none writes.
type world struct {
	containers, objects int
	resources, measures int // lengths of rows

	need []int64 // object x resource
	firm []int64 // the same without transient resources: what leaving home frees
	form []int64 // object x measure: its value
	none []int64 // zeros in place of a row: no object

	room   []int64 // container x resource: capacity
	knee   []int64 // container x measure
	weight []int64 // class x measure
	class  []int32 // by container: containers of the same weights share a row
	fixed  []int64 // by container

	home, kind, place []int32
	move, haul        []int64
	kinds             [][]int64
	distance          [][]int32
	near              [][]int32 // by place: containers, the nearest first

	tallies []tally
	of      [][]int32 // by object: the tallies that count it
	tangled []bool    // by object: two of its tallies depend on one another
	group   [][]int32 // by object: the groups it is in
	members [][]int32 // by group
	kin     [][]int32 // by group: itself and the groups that rules tie to it
	unrest  int64

	lingers []bool // by object: away from home, it still counts there
	// What being away costs such an object while it is hot, in temperatures. Heat drives
	// objects out of their homes, since there are so many other places: one away for each
	// that is at home takes a price of temperature x the logarithm of the containers.
	// Without it most would be out, fill the capacity that they keep at home, and leave
	// no way back.
	exile float64

	bySize []int32 // objects, the largest first
	rank   []int32 // by object: its index in bySize
}

// A tally counts the members of a group by the part that they are in.
type tally struct {
	part   []int32 // by container
	parts  int
	most   int32   // AtMost
	least  int32   // Spread
	needs  []int32 // tallies that must not be 0 where this one is not
	needed []int32 // tallies that need this one
}

func compile(p *Problem) *world {
	w := &world{
		containers: len(p.Containers), objects: len(p.Objects),
		resources: len(p.Transient), measures: len(p.Measures),
		exile: math.Log(float64(len(p.Containers))),
		kinds: p.Kinds, distance: p.Distance, unrest: p.Unrest,
		members: p.Groups,
	}
	w.none = make([]int64, max(w.resources, w.measures))
	w.compileContainers(p)
	w.compileObjects(p)
	w.compileRules(p)
	w.sortBySize()
	w.sortByDistance()
	return w
}

func (w *world) compileContainers(p *Problem) {
	classes := map[string]int32{}
	for c := range p.Containers {
		x := &p.Containers[c]
		w.room = append(w.room, x.Capacity...)
		w.knee = append(w.knee, x.Knee...)
		w.fixed = append(w.fixed, x.Fixed)
		w.place = append(w.place, x.Place)
		var key []byte
		for _, weight := range x.Weight {
			key = binary.LittleEndian.AppendUint64(key, uint64(weight))
		}
		class, known := classes[string(key)]
		if !known {
			class = int32(len(classes))
			classes[string(key)] = class
			w.weight = append(w.weight, x.Weight...)
		}
		w.class = append(w.class, class)
	}
}

func (w *world) compileObjects(p *Problem) {
	for o := range p.Objects {
		x := &p.Objects[o]
		w.need = append(w.need, x.Need...)
		for r, need := range x.Need {
			if p.Transient[r] {
				need = 0
			}
			w.firm = append(w.firm, need)
		}
		for _, m := range p.Measures {
			var value int64
			for r, coefficient := range m {
				value += coefficient * x.Need[r]
			}
			w.form = append(w.form, value)
		}
		w.home = append(w.home, x.Home)
		lingers := false
		for r, need := range x.Need {
			lingers = lingers || p.Transient[r] && need > 0
		}
		w.lingers = append(w.lingers, lingers && x.Home != Nowhere)
		w.kind = append(w.kind, x.Kind)
		w.move = append(w.move, x.Move)
		w.haul = append(w.haul, x.Haul)
	}
}

// compileRules merges the rules into tallies, one for each group and partition.
func (w *world) compileRules(p *Problem) {
	w.of, w.group = make([][]int32, w.objects), make([][]int32, w.objects)
	w.tangled = make([]bool, w.objects)
	for g, members := range p.Groups {
		for _, o := range members {
			w.group[o] = append(w.group[o], int32(g))
		}
		w.kin = append(w.kin, []int32{int32(g)})
	}
	each := make([]int32, w.containers)
	for c := range each {
		each[c] = int32(c)
	}
	type key struct{ group, over int32 }
	index := map[key]int32{}
	find := func(group, over int32) int32 {
		i, known := index[key{group, over}]
		if known {
			return i
		}
		i = int32(len(w.tallies))
		index[key{group, over}] = i
		t := tally{part: each, parts: w.containers, most: math.MaxInt32}
		if over != Each {
			t.part = p.Partitions[over]
			t.parts = int(slices.Max(append([]int32{-1}, t.part...))) + 1
		}
		w.tallies = append(w.tallies, t)
		for _, o := range p.Groups[group] {
			w.of[o] = append(w.of[o], i)
		}
		return i
	}
	for _, r := range p.Rules {
		switch r.Kind {
		case AtMost:
			if int(r.Count) < len(p.Groups[r.Group]) { // else it cannot be broken
				t := &w.tallies[find(r.Group, r.Over)]
				t.most = min(t.most, r.Count)
			}
		case Spread:
			t := &w.tallies[find(r.Group, r.Over)]
			t.least = max(t.least, r.Count)
		case Near:
			a, b := find(r.Group, r.Over), find(r.With, r.Over)
			if a == b { // a group is near itself
				continue
			}
			w.tallies[a].needs = append(w.tallies[a].needs, b)
			w.tallies[b].needed = append(w.tallies[b].needed, a)
			w.kin[r.Group] = append(w.kin[r.Group], r.With)
			w.kin[r.With] = append(w.kin[r.With], r.Group)
		}
	}
	for o, of := range w.of {
		for _, t := range of {
			for _, u := range w.tallies[t].needs {
				w.tangled[o] = w.tangled[o] || slices.Contains(of, u)
			}
		}
	}
}

// sortBySize orders objects by the sum of the shares of all capacity that they need.
func (w *world) sortBySize() {
	all := make([]float64, w.resources)
	for i, room := range w.room {
		all[i%w.resources] += float64(room)
	}
	size := make([]float64, w.objects)
	for i, need := range w.need {
		if sum := all[i%w.resources]; sum > 0 {
			size[i/w.resources] += float64(need) / sum
		}
	}
	w.rank = make([]int32, w.objects)
	for o := range w.objects {
		w.bySize = append(w.bySize, int32(o))
	}
	slices.SortStableFunc(w.bySize, func(a, b int32) int { return cmp.Compare(size[b], size[a]) })
	for i, o := range w.bySize {
		w.rank[o] = int32(i)
	}
}

// sortByDistance orders containers for each place. Equally near ones come in a
// different order for each, so that none is preferred everywhere. Where all that is not
// home is equally far from everywhere, nothing is near.
func (w *world) sortByDistance() {
	differs := false
	for from, row := range w.distance {
		near := make([]int32, w.containers)
		for i := range near {
			near[i] = int32((from + i) % w.containers)
		}
		far := func(c int32) int32 { return row[w.place[c]] }
		slices.SortStableFunc(near, func(a, b int32) int { return cmp.Compare(far(a), far(b)) })
		differs = differs || w.containers > 1 && far(near[1]) < far(near[w.containers-1])
		w.near = append(w.near, near)
	}
	if !differs {
		w.near = nil
	}
}
