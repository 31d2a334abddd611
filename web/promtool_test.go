package web

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
)

// Prometheus's own tool accepts the exposition, names and text alike.
func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: it comes with Prometheus (Debian package prometheus)")
	}
	m := NewMetrics("1")
	m.CycleEnded(busy())
	m.ActionStarted(engine.Move)
	m.ActionEnded(&engine.ActionRecord{State: engine.StateFailed})
	m.PolicyFailed("dpm", "drain")
	m.AlertReceived(true)
	m.AlertRefused("token")
	_, text := get(t, NewHandler(&Board{}, m, nil), "/metrics")
	if !strings.Contains(text, "# TYPE heliostat_hosts gauge") {
		t.Fatalf("no exposition: %.500s", text)
	}
	cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// alertTests are moments that the rules of docs/operators.md must tell of: the daemon is
// gone with all its metrics, its first action is lost, an evacuation waits for persons.
const alertTests = `
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: heliostat_last_cycle_timestamp_seconds, values: "0 60 120 stale"}
      - {series: 'heliostat_quarantined{kind="vm"}', values: "0 0 0 1x20"}
      - {series: heliostat_pending_actions, values: "0 0 0 80x20"}
      - {series: 'heliostat_rails{code="approval"}', values: "_ _ _ 1x20"}
    alert_rule_test:
      - {eval_time: 2m, alertname: HeliostatSilent}
      - {eval_time: 5m, alertname: HeliostatSilent, exp_alerts: [{}]}
      - {eval_time: 2m, alertname: HeliostatLost}
      - {eval_time: 4m, alertname: HeliostatLost, exp_alerts: [{}]}
      - {eval_time: 2m, alertname: HeliostatWaits}
      - {eval_time: 4m, alertname: HeliostatWaits, exp_alerts: [{}]}
`

// What the guide says to alert on names metrics that there are, and fires.
func TestAlertRulesOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/operators.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, found := strings.Cut(string(guide), "```yaml\ngroups:\n")
	rules, _, _ = strings.Cut(rules, "```")
	if !found {
		t.Fatal("docs/operators.md has no rules for alerts")
	}
	m := NewMetrics("1")
	m.CycleEnded(busy())
	m.ActionStarted(engine.Move)
	m.ActionEnded(&engine.ActionRecord{State: engine.StateFailed})
	m.PolicyFailed("dpm", "drain")
	m.AlertRefused("403")
	_, text := get(t, NewHandler(&Board{}, m, nil), "/metrics")
	for _, name := range regexp.MustCompile(`heliostat_\w+`).FindAllString(rules, -1) {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("the rules name %s, which is no metric", name)
		}
	}
	// The table has each metric, and no other.
	_, table, _ := strings.Cut(string(guide), "| metric | labels | what |")
	table, _, _ = strings.Cut(table, "\n\n")
	var named, shown []string
	for line := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, n := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cell, -1) {
			named = append(named, n[1])
		}
	}
	for _, n := range regexp.MustCompile(`# TYPE heliostat_(\w+) `).FindAllStringSubmatch(text, -1) {
		shown = append(shown, n[1])
	}
	slices.Sort(named)
	slices.Sort(shown)
	if !slices.Equal(named, shown) {
		t.Errorf("the guide lists\n%v\nthere are\n%v", named, shown)
	}

	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: whether the rules fire has not been tried")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.yaml": "groups:\n" + rules, "tests.yaml": alertTests} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), tool, "test", "rules", filepath.Join(dir, "tests.yaml")).CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}
