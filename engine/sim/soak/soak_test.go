package soak

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"testing"

	"heliostat/internal/race"
)

// worlds is in how many worlds something is tried.
const worlds uint64 = 20

// TestMain collects garbage less often: the heap is small and renewed in each cycle.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}

// TestSoak: three days of twenty worlds with faults break no rule, and each leaves
// nothing unfinished.
func TestSoak(t *testing.T) {
	t.Parallel()
	first, n, days := uint64(0), worlds, 3
	if race.Enabled {
		first, n, days = 1, 1, 1
	}
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			r := Run(Options{Days: days, Seed: seed, Faults: true})
			for _, v := range r.Violations {
				t.Error(v)
			}
			if r.Actions == 0 || r.AllFaults() == 0 {
				t.Errorf("%d actions and %d faults: nothing was tried", r.Actions, r.AllFaults())
			}
		})
	}
}

// TestDRS: in a week in which every cluster balances its hosts by itself, the daemon
// moves nothing that a scheduler has moved within the hour, but for an evacuation.
func TestDRS(t *testing.T) {
	race.Alone(t)
	t.Parallel()
	for _, faults := range []bool{false, true} {
		r := Run(Options{Days: 7, Seed: 1, Faults: faults, DRS: true})
		for _, v := range r.Violations {
			t.Error(v)
		}
		if r.Balanced == 0 || r.Actions == 0 {
			t.Errorf("%d moves by schedulers and %d actions: nothing was tried", r.Balanced, r.Actions)
		}
	}
	if r := Run(Options{Days: 7, Seed: 1, DRS: true, sabotage: heedless}); r.Violated == 0 {
		t.Error("a daemon that does not note who else moves VMs fights no one")
	}
}

// TestTrace: one seed, one run; another seed, another.
func TestTrace(t *testing.T) {
	race.Alone(t)
	a := Run(Options{Days: 1, Seed: 5, Faults: true})
	b := Run(Options{Days: 1, Seed: 5, Faults: true})
	c := Run(Options{Days: 1, Seed: 6, Faults: true})
	if a.Trace != b.Trace || a.Trace == c.Trace {
		t.Errorf("%s, again %s, another seed %s", a.Trace, b.Trace, c.Trace)
	}
}

// TestJudgeBites: whatever is spoilt in what is judged, the judge finds.
func TestJudgeBites(t *testing.T) {
	race.Alone(t)
	t.Parallel()
	for spoilt, rules := range map[sabotage][]string{
		gullible: {"evidence"}, naive: {"started twice"}, blind: {"started twice"}, oblivious: {"to and fro", "budget"}, careless: {"unfinished"}, cramped: {"overcommit"}, greedy: {"ownership"},
	} {
		t.Run(string(spoilt), func(t *testing.T) {
			t.Parallel()
			for seed := range worlds {
				r := Run(Options{Days: 2, Seed: seed, Faults: true, sabotage: spoilt})
				if slices.ContainsFunc(r.Violations, func(v Violation) bool { return slices.Contains(rules, v.Rule) }) {
					return
				}
			}
			t.Errorf("a daemon that %s breaks no rule of %q", spoilt, rules)
		})
	}
}

// TestAlone: without the daemon nothing is started, and what is moved is moved by the
// clusters' own schedulers; with it, what it moves does harm that is counted.
func TestAlone(t *testing.T) {
	race.Alone(t)
	t.Parallel()
	alone, ours := Run(Options{Days: 2, Seed: 3, DRS: true, Alone: true}), Run(Options{Days: 2, Seed: 3})
	if alone.Actions != 0 || alone.Demanded.Moves != 0 || alone.Harm.Moves == 0 || alone.VMDays == 0 {
		t.Errorf("alone: %d actions, %+v, %+v", alone.Actions, alone.Harm, alone.Demanded)
	}
	if ours.Harm.Moves == 0 || ours.Harm.StunMS < int64(ours.Harm.Moves) || ours.Harm.SlowS == 0 {
		t.Errorf("ours: %+v", ours.Harm)
	}
}

// TestPower: with two aims alone both the daemon and the clusters' own schedulers put
// hosts to sleep, and nobody is left with less CPU than asked for.
func TestPower(t *testing.T) {
	race.Alone(t)
	t.Parallel()
	for _, theirs := range []bool{false, true} {
		r := Run(Options{Days: 2, Seed: 2, DRS: theirs, Alone: theirs, Power: true})
		for _, v := range r.Violations {
			t.Error(v)
		}
		if r.SavedWs == 0 || r.Asleep*10 < r.Awake || r.Overloaded > 0 || r.Harm.Moves == 0 || r.Demanded.Moves > 0 || (r.Actions > 0) == theirs {
			t.Errorf("schedulers %v: %d intervals asleep, %d awake, %d overloaded, %d Ws, %d actions, harm %+v %+v", theirs, r.Asleep, r.Awake, r.Overloaded, r.SavedWs, r.Actions, r.Harm, r.Demanded)
		}
	}
}
