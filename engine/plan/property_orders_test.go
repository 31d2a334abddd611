package plan_test

import (
	"sync"
	"testing"

	"heliostat/engine/sim/shuffle"
)

// executions are what came of ten thousand executions of random plans, any of whose
// actions may fail: `make soak` makes a million.
var executions = sync.OnceValue(func() shuffle.Tally { return shuffle.Many(10_000, 1, nil) })

func never(t *testing.T, rules ...string) {
	t.Helper()
	all := executions()
	if all.Failures == 0 || all.Edges == 0 || all.Executions < 10_000 {
		t.Fatalf("%+v: nothing was tried", all)
	}
	for _, rule := range rules {
		if n := all.Broken[rule]; n > 0 {
			t.Errorf("%s is broken %d times; the first of all: %v", rule, n, all.First)
		}
	}
}

// TestProperty01NoOvercommit: no host and no datastore is filled further than it may
// be, at any event of any execution that the edges allow, when any action may fail.
func TestProperty01NoOvercommit(t *testing.T) { never(t, "overcommit", "space") }

// TestProperty02HardConstraints: every hard constraint holds in every intermediate
// state, or is violated no more than at the start.
func TestProperty02HardConstraints(t *testing.T) {
	never(t, "two opinions", "apart", "place", "reserve", "ready", "empty")
}

// TestProperty11SlotsAndLinks: the executor's rule never exceeds a slot or a link, and
// no action waits for ever.
func TestProperty11SlotsAndLinks(t *testing.T) { never(t, "slots") }
