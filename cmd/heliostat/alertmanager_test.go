package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"heliostat/engine"
)

// An alertmanager is the real one, in a process of its own.
type alertmanager struct {
	url  string
	stop func()
}

// startAlertmanager starts it with a receiver that presents the token to the daemon.
func startAlertmanager(t *testing.T, webhook, token string) *alertmanager {
	t.Helper()
	bin := ""
	for _, name := range []string{"prometheus-alertmanager", "alertmanager"} {
		if path, err := exec.LookPath(name); err == nil {
			bin = path
			break
		}
	}
	if bin == "" {
		t.Skip("prometheus-alertmanager is not installed")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	write(t, config, fmt.Sprintf(`route:
  receiver: heliostat
  group_by: [alertname, site]
  group_wait: 100ms
  group_interval: 1s
  repeat_interval: 1s
receivers:
  - name: heliostat
    webhook_configs:
      - url: %s
        send_resolved: true
        http_config: {authorization: {credentials: %s}}
`, webhook, token))
	addr := freeAddr(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--cluster.listen-address=")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &alertmanager{url: "http://" + addr, stop: sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // with the error that it was killed
	})}
	t.Cleanup(func() {
		a.stop()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("alertmanager:\n%s", tail(string(b)))
		}
		_ = log.Close()
	})
	eventually(t, "Alertmanager is ready", func() bool {
		code, err := send(t, http.MethodGet, a.url+"/-/ready", "", "") // it refuses connections at first
		return err == nil && code == http.StatusOK
	})
	return a
}

// freeAddr is an address that nobody listens on now.
func freeAddr(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String()
}

// send sends a body and returns the status.
func send(t *testing.T, method, url, token, body string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// fire hands an alert to Alertmanager, as Prometheus does.
func (a *alertmanager) fire(t *testing.T, site string, since time.Time) {
	t.Helper()
	body := fmt.Sprintf(`[{"labels": {"alertname": "CoolingFailure", "severity": "critical", "site": %q},
  "annotations": {"summary": "chiller 2 is down", "deadline": "2h"}, "startsAt": %q}]`, site, since.UTC().Format(time.RFC3339))
	if code, err := send(t, http.MethodPost, a.url+"/api/v2/alerts", "", body); err != nil || code != http.StatusOK {
		t.Fatalf("Alertmanager answers %d: %v", code, err)
	}
}

// delivered is how many deliveries its webhook has made.
func (a *alertmanager) delivered(t *testing.T) int {
	t.Helper()
	_, body := get(t, a.url+"/metrics")
	m := regexp.MustCompile(`(?m)^alertmanager_notifications_total\{.*integration="webhook".*\} (\d+)$`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("Alertmanager counts no deliveries:\n%s", tail(body))
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAlertmanager lets a real Alertmanager deliver a cooling failure: its site
// is emptied, once.
func TestAlertmanager(t *testing.T) {
	if testing.Short() {
		t.Skip("empties a site")
	}
	t.Parallel()
	r := startLab(t, "--speed", "2000")
	r.quiet(t, "emergency")
	r.run(t)
	webhook := r.web + "/alerts"
	a := startAlertmanager(t, webhook, "lab-token")
	delivery := `{"version": "4", "alerts": []}`
	for token, want := range map[string]int{"": http.StatusUnauthorized, "another-token": http.StatusForbidden, "lab-token": http.StatusOK} {
		if code, err := send(t, http.MethodPost, webhook, token, delivery); err != nil || code != want {
			t.Errorf("token %q: %d, want %d; %v", token, code, want, err)
		}
	}
	// One without the right token gets nothing in.
	stranger := startAlertmanager(t, webhook, "another-token")
	stranger.fire(t, "frankfurt", time.Now())
	r.daemon.log.find(t, `msg="alert delivery refused" status=403`)
	stranger.stop()
	if n := len(r.journal(t, engine.EntryAlert)); n > 0 {
		t.Fatalf("%d alerts taken in from a stranger", n)
	}

	a.fire(t, "tokyo", time.Now())
	eventually(t, "the alert is journaled", func() bool { return len(r.journal(t, engine.EntryAlert)) == 1 })
	eventually(t, "moves end and no more are planned", func() bool {
		s := r.status(t)
		return len(s.Open) == 0 && s.Record.Actions == 0 && len(r.ended(t)) > 50
	})
	r.emptied(t, "tokyo")

	cycle, moves, delivered := r.status(t).Cycle, len(r.ended(t)), a.delivered(t)
	a.fire(t, "tokyo", time.Now())
	eventually(t, "the alert is delivered again", func() bool { return a.delivered(t) >= delivered+2 })
	eventually(t, "two more cycles", func() bool { return r.status(t).Cycle >= cycle+2 })
	if n := len(r.journal(t, engine.EntryAlert)); n != 1 {
		t.Errorf("%d alerts in the journal", n)
	}
	if n := len(r.ended(t)); n != moves {
		t.Errorf("%d moves, then %d", moves, n)
	}
	for _, e := range r.journal(t, engine.EntryPlan) {
		var rec engine.PlanRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			t.Fatal(err)
		}
		if e.Cycle > cycle && rec.Actions > 0 {
			t.Errorf("cycle %d plans %d actions more", e.Cycle, rec.Actions)
		}
	}
	r.daemon.interrupt(t)
}

// emptied expects that each VM which still runs at the site is one that the last
// plan says cannot leave, and why.
func (r *rig) emptied(t *testing.T, site string) {
	t.Helper()
	held := map[string]engine.HoldCode{}
	for _, h := range r.status(t).Holds {
		if h.Subject.Kind == "vm" && h.Demand == (engine.Subject{Kind: "site", ID: site}) {
			held[h.Subject.ID] = h.Code
		}
	}
	uuid := ""
	for i := range r.endpoints {
		if r.endpoints[i].Site == site {
			uuid = r.endpoints[i].InstanceUUID
		}
	}
	left := 0
	for vm, hosts := range r.standing(t) {
		if vc, _, _ := strings.Cut(string(hosts[0]), "/"); vc == uuid {
			left++
			if held[string(vm)] == "" {
				t.Errorf("VM %s is still in %s and not held", vm, site)
			}
		}
	}
	if gone := len(r.ended(t)); gone < 50 || left == 0 {
		t.Errorf("%d left %s, %d stay", gone, site, left)
	}
}
