package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"testing"
	"testing/synctest"

	"heliostat/internal/race"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the simulator's
	os.Exit(m.Run())
}

// play plays n runs of an executor, each in a bubble of its own.
func play(t *testing.T, first uint64, n int, naive bool) result {
	t.Helper()
	var sum result
	for seed := first; seed < first+uint64(n); seed++ {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			r, err := run(t.Context(), seed, naive, dir)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			sum.add(&r)
		})
	}
	return sum
}

// What is done takes effect once, whatever is lost and whenever the daemon dies.
func TestExactlyOnce(t *testing.T) {
	runs := 12
	if race.Enabled {
		runs = 2
	}
	r := play(t, 1, runs, false)
	if r.DoubleStarts != 0 || r.Lost != 0 || r.Unfinished != 0 || r.left != 0 {
		t.Errorf("%+v", r)
	}
	// A harness without faults would show nothing.
	if r.actions < runs*30 || r.Crashes < runs*4 || r.LostRequests < runs*3 || r.LostReplies < runs*3 || r.Late < runs*3 {
		t.Errorf("hardly anything went wrong: %+v", r)
	}
	for p := beforeIntent; p < points; p++ {
		if r.points[p] == 0 && !race.Enabled {
			t.Errorf("no crash %s", pointNames[p])
		}
	}
}

// The harness tells an executor that acts twice.
func TestNaiveActsTwice(t *testing.T) {
	if r := play(t, 1, race.Cases(4), true); r.DoubleStarts < 5 || r.Lost == 0 || r.Crashes == 0 {
		t.Errorf("%+v", r)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-runs", "0"}, {"-executor", "bold"}, {"-what"}} {
		if err := mainErr(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
	var out bytes.Buffer
	r := result{Executor: "heliostat", Runs: 1, Late: 2}
	want := fmt.Sprintln(`{"executor":"heliostat","runs":1,"crashes":0,"lost_requests":0,"lost_replies":0,"late":2,"double_starts":0,"lost":0,"unfinished":0}`)
	if err := r.print(&out, false); err != nil || out.String() != want {
		t.Errorf("%q, %v", out.String(), err)
	}
}
