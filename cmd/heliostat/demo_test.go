package main

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"heliostat/internal/race"
)

// play runs the demo and returns its summary and the journal's folder.
func play(t *testing.T, hours int, seed string) (*summary, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	out := must(t, "demo", "--headless", "--json", "--hours", strconv.Itoa(hours), "--seed", seed, "--state", dir)
	var s summary
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &s, filepath.Join(dir, "state")
}

// TestDemoFigures is the whole job: a day with three sites, a maintenance window
// and a hurricane.
func TestDemoFigures(t *testing.T) {
	if testing.Short() || race.Enabled {
		t.Skip("computes a day: about 20 s, and minutes under the race detector")
	}
	t.Parallel()
	s, state := play(t, 24, "1")
	for _, c := range []struct {
		what string
		ok   bool
	}{
		{"cycles about every five minutes", s.Cycles >= 288},
		{"moves across vCenters", s.MovesCrossVC > 0},
		{"moves that follow the sun", s.MovesBySun > 0},
		{"hosts put in standby and woken", s.Standby > 0 && s.Wake > 0},
		{"one host emptied for maintenance", s.Maintenance == 1},
		{"more than 50 VMs could leave", s.Movable > 50},
		{"all that could leave were out by the deadline", s.Evacuated == s.Movable},
		{"all of them work", s.WorkingAfter == s.Movable},
		{"nobody left behind", s.LeftBehind == 0},
		{"nobody held wrongly", s.WronglyHeld == 0},
		{"no violations", s.Violations == 0},
		{"energy saved", s.KWh > 0 && s.KWh < s.KWhWithout},
		{"moves refused because they are not worth it", s.NotWorth > 0},
		{"moves refused because of the round trip", s.Holds["rtt"] > 0},
		{"no plan of its own refused", s.RefusedPlans == 0},
		{"no policy failed", s.PolicyFailures == 0},
	} {
		if !c.ok {
			t.Errorf("not so: %s", c.what)
		}
	}
	if t.Failed() {
		t.Logf("%+v", *s)
	}
	if out := must(t, "replay", "--state", state, "--all"); !strings.Contains(out, " 0 different") {
		t.Errorf("replay says %q", out)
	}
	if out := must(t, "journal", "verify", "--state", state); !strings.Contains(out, "; 0 actions open; head "+s.JournalHead) {
		t.Errorf("verify says %q, the summary %s", out, s.JournalHead)
	}
}

// TestDemoTwice plays two hours twice: the same seed gives the same figures. Only
// the journal's head differs, since sessions have random keys.
func TestDemoTwice(t *testing.T) {
	if testing.Short() || race.Enabled {
		t.Skip("computes four hours")
	}
	t.Parallel()
	var figures [2]summary
	for i := range figures {
		s, _ := play(t, 2, "7")
		s.State, s.WallSeconds, s.JournalHead = "", 0, ""
		figures[i] = *s
	}
	if !reflect.DeepEqual(figures[0], figures[1]) {
		t.Errorf("two runs with one seed:\n%+v\n%+v", figures[0], figures[1])
	}
}
