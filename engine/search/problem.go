package search

import (
	"errors"
	"fmt"
)

// Nowhere is the home of an object that has none yet: it moves for nothing, and
// counts in one container alone.
const Nowhere int32 = -1

// Each is the partition in which every container is a part by itself.
const Each int32 = -1

// Never is the cost in a kind's row of a container where the kind may not be.
const Never int64 = 1 << 62

// A Problem is what is to be placed where, and what that costs. Costs and needs
// are in integer units of the caller's choice; the whole cost of any assignment
// must stay below 2^61 in magnitude.
type Problem struct {
	Transient  []bool // by resource: counted at home, too, for an object that is elsewhere
	Measures   []Measure
	Containers []Container
	Objects    []Object

	// Kinds are rows of costs by container, for objects of a kind; [Never] forbids.
	// No rows: every object may be anywhere for nothing.
	Kinds [][]int64
	// Distance is between the places of containers, from the first index to the
	// second. No rows: all is near.
	Distance [][]int32

	Partitions [][]int32 // each: the part of every container, counted from 0
	Groups     [][]int32 // each: its members, objects
	Rules      []Rule

	// Unrest is the price of each member that is away from home of that group in
	// which most are.
	Unrest int64
}

// A Measure is a linear form: its value for an object is the sum of its
// coefficients, by resource, times the object's needs.
type Measure []int64

// A Container is where objects are placed.
type Container struct {
	Capacity []int64 // by resource
	Fixed    int64   // cost while it holds an object
	// A hinge for each measure: Weight x max(0, sum of the measure inside - Knee).
	Knee, Weight []int64
	Place        int32 // index into Problem.Distance
}

// An Object is what is placed.
type Object struct {
	Need []int64 // by resource, not negative
	Home int32   // the container where it stands now, or Nowhere
	Kind int32   // index into Problem.Kinds
	Move int64   // cost of being away from home
	Haul int64   // cost of each unit of distance from home
}

// A RuleKind says what a [Rule] asks.
type RuleKind uint8

// The rules that groups may obey.
const (
	AtMost RuleKind = iota // in one part: no more than Count members
	Spread                 // over the parts: at least Count of them hold a member
	Near                   // in each part that holds a member: also one of the group With
)

// A Rule binds a group. Each member too many, each part too few, and each part
// without the group that must be near, is one violation. A group has at most one
// AtMost and one Spread over a partition, and one Near for each other group.
type Rule struct {
	Kind  RuleKind
	Group int32
	Over  int32 // index into Problem.Partitions, or Each
	Count int32 // of AtMost and Spread
	With  int32 // of Near: the other group
}

// Validate reports everything that makes a problem unusable.
func (p *Problem) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	in := func(i int32, n int) bool { return 0 <= i && int(i) < n }
	resources := len(p.Transient)
	for k, m := range p.Measures {
		if len(m) != resources {
			bad("measure %d: %d coefficients for %d resources", k, len(m), resources)
		}
	}
	for c := range p.Containers {
		x := &p.Containers[c]
		if len(x.Capacity) != resources || len(x.Knee) != len(p.Measures) || len(x.Weight) != len(p.Measures) {
			bad("container %d: %d capacities, %d knees and %d weights for %d resources and %d measures",
				c, len(x.Capacity), len(x.Knee), len(x.Weight), resources, len(p.Measures))
		}
		if len(p.Distance) > 0 && !in(x.Place, len(p.Distance)) {
			bad("container %d: no place %d", c, x.Place)
		}
	}
	for o := range p.Objects {
		x := &p.Objects[o]
		if len(x.Need) != resources {
			bad("object %d: %d needs for %d resources", o, len(x.Need), resources)
		}
		for r, need := range x.Need {
			if need < 0 {
				bad("object %d: need %d of resource %d is negative", o, need, r)
			}
		}
		if x.Home != Nowhere && !in(x.Home, len(p.Containers)) {
			bad("object %d: no home %d", o, x.Home)
		}
		if len(p.Kinds) > 0 && !in(x.Kind, len(p.Kinds)) {
			bad("object %d: no kind %d", o, x.Kind)
		}
	}
	for k, row := range p.Kinds {
		if len(row) != len(p.Containers) {
			bad("kind %d: %d costs for %d containers", k, len(row), len(p.Containers))
		}
	}
	for i, row := range p.Distance {
		if len(row) != len(p.Distance) {
			bad("distances from place %d: %d for %d places", i, len(row), len(p.Distance))
		}
	}
	for i, parts := range p.Partitions {
		if len(parts) != len(p.Containers) {
			bad("partition %d: %d parts for %d containers", i, len(parts), len(p.Containers))
		}
		for c, part := range parts {
			if part < 0 {
				bad("partition %d: container %d is in part %d", i, c, part)
			}
		}
	}
	for g, members := range p.Groups {
		known := make(map[int32]bool, len(members))
		for _, o := range members {
			if !in(o, len(p.Objects)) || known[o] {
				bad("group %d: object %d is not there, or twice a member", g, o)
			}
			known[o] = true
		}
	}
	rules := make(map[Rule]bool, len(p.Rules))
	for i, r := range p.Rules {
		one := Rule{Kind: r.Kind, Group: r.Group, Over: r.Over}
		if r.Kind == Near {
			one.With = r.With
		}
		if rules[one] {
			bad("rule %d: %+v, and there is another one like it", i, r)
		}
		rules[one] = true
		if r.Kind > Near || !in(r.Group, len(p.Groups)) || r.Over != Each && !in(r.Over, len(p.Partitions)) ||
			r.Kind == Near && !in(r.With, len(p.Groups)) {
			bad("rule %d: %+v names what is not there", i, r)
		}
	}
	return errors.Join(errs...)
}

// checkAssignment reports the first object that an assignment does not place.
func (p *Problem) checkAssignment(at []int32) error {
	if len(at) != len(p.Objects) {
		return fmt.Errorf("an assignment of %d objects for a problem of %d", len(at), len(p.Objects))
	}
	for o, c := range at {
		if c < 0 || int(c) >= len(p.Containers) {
			return fmt.Errorf("object %d is placed in container %d of %d", o, c, len(p.Containers))
		}
	}
	return nil
}
