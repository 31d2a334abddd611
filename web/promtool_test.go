package web

import (
	"os/exec"
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
