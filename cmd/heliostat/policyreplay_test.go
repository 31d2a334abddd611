package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/engine/backtest"
)

// TestPolicyReplay plays some hours and tries policies on them.
func TestPolicyReplay(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("computes three hours")
	}
	t.Parallel()
	s, state := play(t, 3, "3")
	replay := func(args ...string) (r backtest.Report, text string) {
		t.Helper()
		text = must(t, append([]string{"policy", "replay", "--state", state, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return r, text
	}
	same, _ := replay("--bundle", "shipped")
	if p := same.Replayed; same.Differences != 0 || p.Decisions != 0 || p.PlansDiffer != 0 || p.Cycles != s.Cycles {
		t.Errorf("the policies that were in force differ from the record of %d cycles: %+v", s.Cycles, p)
	}
	base, err := json.Marshal(same.Base.Totals)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := json.Marshal(same.New.Totals)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(base, fresh) || len(same.VMs)+len(same.Hosts) > 0 {
		t.Errorf("one bundle, two courses:\n%s\n%s", base, fresh)
	}
	if got := same.Actual.Totals; got.Moves != s.Moves || got.Across != s.MovesCrossVC || got.Standby != s.Standby {
		t.Errorf("the record is measured as %+v, the lab counted %d moves, %d across, %d standby", got, s.Moves, s.MovesCrossVC, s.Standby)
	}
	if a, b := same.Actual.Totals, same.Base.Totals; b.Moves < a.Moves*8/10 || b.Moves > a.Moves*12/10 || b.KWh < a.KWh*.9 || b.KWh > a.KWh*1.1 {
		t.Errorf("the simulation strays from the record: %+v, recorded %+v", b, a)
	}

	page := filepath.Join(t.TempDir(), "report.html")
	careful := []string{"--bundle", "shipped", "--params", "dpm.target_pct=20"} // no host is idle enough for standby
	other, text := replay(append(careful, "--html", page)...)
	if other.Differences == 0 || other.New.Totals.Moves == other.Base.Totals.Moves || other.New.Totals.KWh == other.Base.Totals.KWh {
		t.Errorf("another dpm changes nothing: %d differences, %+v", other.Differences, other.New.Totals)
	}
	if _, again := replay(careful...); again != text {
		t.Error("two replays of one journal print different bytes")
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<polyline", "kWh", "dpm.drain", "prefers-color-scheme"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if out := must(t, "policy", "replay", "--state", state, "--bundle", "shipped", "--to", same.From.Time().Add(1e9*1800).Format("2006-01-02T15:04:05Z")); !strings.Contains(out, "to the byte") {
		t.Errorf("half an hour: %s", out)
	}
}
