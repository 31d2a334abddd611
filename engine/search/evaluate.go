package search

// A Result prices an assignment.
type Result struct {
	// Violations is 0 for an assignment that may stand. It counts what rules are
	// broken, objects where they may never be, and capacity exceeded, in 1/1024 of
	// the capacity, rounded up.
	Violations int64
	Cost       int64
}

// Less says whether r is the better one.
func (r Result) Less(other Result) bool {
	if r.Violations != other.Violations {
		return r.Violations < other.Violations
	}
	return r.Cost < other.Cost
}

// Evaluate prices an assignment from scratch, plainly. It panics on an assignment
// that leaves an object out.
func Evaluate(p *Problem, at []int32) Result {
	if err := p.checkAssignment(at); err != nil {
		panic("search: " + err.Error())
	}
	var sum Result
	inside := make([][]int64, len(p.Containers)) // needs of what is inside
	held := make([][]int64, len(p.Containers))   // and of what has left, of transient resources
	count := make([]int, len(p.Containers))
	for c := range inside {
		inside[c], held[c] = make([]int64, len(p.Transient)), make([]int64, len(p.Transient))
	}
	for o := range p.Objects {
		x, c := &p.Objects[o], at[o]
		count[c]++
		for r, need := range x.Need {
			inside[c][r] += need
			held[c][r] += need
			if x.Home != Nowhere && x.Home != c && p.Transient[r] {
				held[x.Home][r] += need
			}
		}
		if x.Home != Nowhere && x.Home != c {
			sum.Cost += x.Move
			if len(p.Distance) > 0 {
				sum.Cost += x.Haul * int64(p.Distance[p.Containers[x.Home].Place][p.Containers[c].Place])
			}
		}
		if len(p.Kinds) > 0 {
			if cost := p.Kinds[x.Kind][c]; cost == Never {
				sum.Violations++
			} else {
				sum.Cost += cost
			}
		}
	}
	for c := range p.Containers {
		x := &p.Containers[c]
		if count[c] > 0 {
			sum.Cost += x.Fixed
		}
		for k, m := range p.Measures {
			var value int64
			for r, coefficient := range m {
				value += coefficient * inside[c][r]
			}
			sum.Cost += x.Weight[k] * max(0, value-x.Knee[k])
		}
		for r, capacity := range x.Capacity {
			sum.Violations += excess(held[c][r]-capacity, capacity)
		}
	}
	for _, rule := range p.Rules {
		sum.Violations += broken(p, rule, at)
	}
	most := 0
	for _, members := range p.Groups {
		away := 0
		for _, o := range members {
			if home := p.Objects[o].Home; home != Nowhere && home != at[o] {
				away++
			}
		}
		most = max(most, away)
	}
	sum.Cost += p.Unrest * int64(most)
	return sum
}

// excess is what goes beyond a capacity, in 1/1024 of it, rounded up.
func excess(beyond, capacity int64) int64 {
	if beyond <= 0 {
		return 0
	}
	unit := max(1, capacity/1024)
	return (beyond + unit - 1) / unit
}

// broken counts the violations of one rule.
func broken(p *Problem, rule Rule, at []int32) int64 {
	part := func(o int32) int32 {
		if rule.Over == Each {
			return at[o]
		}
		return p.Partitions[rule.Over][at[o]]
	}
	members := map[int32]int64{}
	for _, o := range p.Groups[rule.Group] {
		members[part(o)]++
	}
	var n int64
	switch rule.Kind {
	case AtMost:
		for _, count := range members {
			n += max(0, count-int64(rule.Count))
		}
	case Spread:
		n = max(0, int64(rule.Count)-int64(len(members)))
	case Near:
		for _, o := range p.Groups[rule.With] {
			delete(members, part(o))
		}
		n = int64(len(members))
	}
	return n
}
