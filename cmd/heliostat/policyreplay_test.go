package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"heliostat/engine/backtest"
	"heliostat/internal/race"
	"heliostat/policy"
)

// TestPolicyReplay plays some hours and tries policies on them.
func TestPolicyReplay(t *testing.T) {
	if testing.Short() || race.Enabled {
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
	if a, b := same.Actual.Totals, same.Base.Totals; b.Moves < a.Moves*8/10 || b.Moves > a.Moves*12/10 || b.KWh < a.KWh*.95 || b.KWh > a.KWh*1.05 {
		t.Errorf("the simulation strays from the record: %+v, recorded %+v", b, a)
	}

	page := filepath.Join(t.TempDir(), "report.html")
	write(t, page, "an earlier one")
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
	tryDiff(t, state)
	tryFixture(t, state)
	tryForce(t, state)
}

// tryForce asks the policies that were in force once more.
func tryForce(t *testing.T, state string) {
	t.Helper()
	var r replayed
	if out := must(t, "replay", "--state", state, "--all", "--json"); json.Unmarshal([]byte(out), &r) != nil || r.Plans != r.Identical || r.Policies.Decisions == 0 || r.Policies.Decisions != r.Policies.Identical {
		t.Errorf("replay says %s", out)
	}
	var e explanation
	out := must(t, "explain", "site", "tokyo", "--state", state, "--json")
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(e.Said, func(x said) bool { return x.Policy == "follow_the_sun" })
	if !e.Policies.Kept || i < 0 || !strings.HasPrefix(e.Said[i].At, "placement/follow_the_sun.rego:") || !slices.ContainsFunc(e.Said[i].Read, func(v policy.Value) bool { return v.Name == "site.sun_deg" }) {
		t.Errorf("explain says %s", out)
	}
}

// tryDiff compares bundles rule by rule.
func tryDiff(t *testing.T, state string) {
	t.Helper()
	if out := must(t, "policy", "diff", "recorded", "shipped", "--state", state, "--exit-code"); !strings.Contains(out, ": 0 of ") {
		t.Errorf("what ships differs from what was in force: %s", out)
	}
	out, _, code := heliostat(t, "policy", "diff", "shipped", "shipped", "--state", state, "--params", "dpm.target_pct=20", "--exit-code")
	if code != exitFailure || !strings.Contains(out, "dpm.drain") || strings.Contains(out, "sovereignty") {
		t.Errorf("diff of another dpm exits with %d: %s", code, out)
	}
}

// tryFixture makes tests of recorded inputs and asks about them.
func tryFixture(t *testing.T, state string) {
	t.Helper()
	dir := t.TempDir()
	must(t, "policy", "new", "mine", "--rule", "pin", "--dir", dir)
	test := must(t, "policy", "fixture", "--state", state, "--cluster", "fra-a", "--rego", "--rule", "mine.pin", "--bundle", dir)
	if err := os.WriteFile(filepath.Join(dir, "placement", "mine_recorded_test.rego"), []byte(test), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(t, "policy", "test", dir, "--format", "json"); !strings.Contains(out, "as_recorded_in_cycle_") {
		t.Errorf("the recorded test is not run: %s", out)
	}
	var f struct {
		Input struct{ Hosts, VMs []any }
		Data  struct{ Fleet struct{ Sites []any } }
	}
	if err := json.Unmarshal([]byte(must(t, "policy", "fixture", "--state", state, "--cluster", "fra-a")), &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Input.Hosts) == 0 || len(f.Input.VMs) == 0 || len(f.Data.Fleet.Sites) != 3 {
		t.Errorf("the fixture is %d hosts, %d VMs, %d sites", len(f.Input.Hosts), len(f.Input.VMs), len(f.Data.Fleet.Sites))
	}
	if out := must(t, "policy", "repl", "--state", state, "--cluster", "fra-a", "-e", "count(input.hosts)", "-e", "x := 1 + 1", "-e", "input.nope"); out != fmt.Sprintf("%d\nx = 2\nundefined\n", len(f.Input.Hosts)) {
		t.Errorf("repl says %q", out)
	}
	if _, stderr, code := heliostat(t, "policy", "repl", "--state", state, "-e", "http.send({})"); code != exitFailure || !strings.Contains(stderr, "http.send is not available to policies") {
		t.Errorf("repl calls the network: exit %d: %s", code, stderr)
	}
	var vm, host string
	for line := range strings.Lines(must(t, "policy", "repl", "--state", state, "--cluster", "fra-a", "-e", "input.vms[0].name", "-e", "input.hosts[0].name")) {
		vm, host = host, strings.Trim(strings.TrimSpace(line), `"`)
	}
	if out := must(t, "policy", "repl", "--state", state, "--move", vm, "--to", host, "-e", "[input.vm.name, input.to.name]"); !strings.Contains(out, vm) || !strings.Contains(out, host) {
		t.Errorf("the move of %s to %s reads %s", vm, host, out)
	}
}
