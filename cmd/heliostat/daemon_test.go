package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
	"heliostat/web"
)

// gather is a policy that wants the VMs named to be in Houston.
func gather(vms ...string) string {
	return `# METADATA
# title: Gather
# description: The VMs named belong in Houston.
# scope: package
package placement.gather

wanted := {"` + strings.Join(vms, `", "`) + `"}

# METADATA
# title: Where they belong
# entrypoint: true
# custom:
#   reads: cluster
prefer contains {"vm": vm.id, "kind": "site", "id": "houston", "eur_per_h": 5, "reason": "they belong together"} if {
	some vm in input.vms
	vm.name in wanted
	vm.site != "houston"
}
`
}

// withGather makes gather, of these VMs, the only policy in force.
func (r *rig) withGather(t *testing.T, vms ...string) (file string) {
	t.Helper()
	r.quiet(t)
	r.edit(t, "  weights:", "    gather: enforce\n  weights:")
	file = filepath.Join(r.dir, "policies", "gather.rego")
	write(t, file, gather(vms...))
	return file
}

// get fetches a page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestDaemonAgainstLab runs lab and daemon as two processes over TLS, and looks
// at what came of it with a client of its own.
func TestDaemonAgainstLab(t *testing.T) {
	t.Parallel()
	r := startLab(t, "--speed", "100")
	names := []string{"tyo-a-web008", "tyo-b-db002", "fra-a-web040", "fra-a-cache004"}
	r.withGather(t, names...)
	r.run(t)

	eventually(t, "the moves end", func() bool {
		left := slices.Clone(names)
		for _, rec := range r.ended(t) {
			left = slices.DeleteFunc(left, func(name string) bool { return name == rec.Action.Name })
		}
		return len(left) == 0
	})
	if out := r.ask(t, "pause", "--reason", "counting"); !strings.Contains(out, "paused") {
		t.Errorf("pause says %q", out)
	}
	if out := r.ask(t, "status"); !strings.Contains(out, "PAUSED by ") || !strings.Contains(out, ": counting") {
		t.Errorf("status of a paused daemon:\n%s", out)
	}
	eventually(t, "nothing is in flight", func() bool { return len(r.status(t).Open) == 0 })

	var said web.Status
	if err := json.Unmarshal([]byte(r.ask(t, "status", "--json")), &said); err != nil || said.Paused == nil || said.Paused.Reason != "counting" {
		t.Errorf("status to a machine: %+v, %v", said.Paused, err)
	}

	standing := r.standing(t)
	for _, rec := range r.ended(t) {
		a := &rec.Action
		if rec.State != engine.StateSucceeded || a.Across != slices.Contains(names, a.Name) {
			t.Errorf("%s ended as %s: %s", a.String(), rec.State, rec.Error)
		}
		if at := standing[a.VM]; len(at) != 1 || at[0] != a.To.Host {
			t.Errorf("%s: the journal says %s, the vCenters %v", a.Name, a.To.Host, at)
		}
		if tasks := r.relocations(t, a.Name); len(tasks) != 1 {
			t.Errorf("%s was relocated by %d tasks", a.Name, len(tasks))
		}
	}

	if out := r.ask(t, "resume"); !strings.Contains(out, "resumed") {
		t.Errorf("resume says %q", out)
	}
	var ops []string
	for _, e := range r.journal(t, engine.EntryOperator) {
		var rec engine.OperatorRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			t.Fatal(err)
		}
		ops = append(ops, rec.Op+" "+rec.Reason)
	}
	if got := strings.Join(ops, ", "); got != "pause counting, resume " {
		t.Errorf("orders in the journal: %s", got)
	}
	if out := r.ask(t, "explain", "vm", names[0]); !strings.Contains(out, "houston") || !strings.Contains(out, "of late:") || !strings.Contains(out, "succeeded") {
		t.Errorf("explain says:\n%s", out)
	}
	if out := r.ask(t, "journal", "verify"); !strings.Contains(out, "are as they were written") {
		t.Errorf("verify says %q", out)
	}
	if out := r.ask(t, "replay", "--all"); !strings.Contains(out, " 0 different") {
		t.Errorf("replay says %q", out)
	}
	r.pages(t)
	r.daemon.interrupt(t)
	r.lab.interrupt(t)
	if _, stderr, code := heliostat(t, "status", "--config", r.config); code != exitDaemon {
		t.Errorf("status without a daemon: exit %d: %s", code, stderr)
	}
	if out := r.ask(t, "journal", "verify"); !strings.Contains(out, "; 0 actions open;") {
		t.Errorf("verify of the files says %q", out)
	}
}

// pages looks at what the web server answers.
func (r *rig) pages(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := get(t, r.web+path); code != http.StatusOK || body != "ok\n" {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	code, metrics := get(t, r.web+"/metrics")
	if code != http.StatusOK || !strings.Contains(metrics, "heliostat_") {
		t.Fatalf("/metrics: %d", code)
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: whether it accepts the metrics has not been tried")
		return
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(metrics)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestServiceManager listens where systemd would.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	r := startLab(t, "--load", ownDump(t))
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r.run(t, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=60000000")
	seen := map[string]bool{}
	read := func() {
		b := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("heard %v, then: %v", seen, err)
		}
		seen[string(b[:n])] = true
	}
	for !seen["READY=1"] || !seen["WATCHDOG=1"] {
		read()
	}
	r.daemon.interrupt(t)
	for !seen["STOPPING=1"] {
		read()
	}
}
