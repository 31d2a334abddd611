package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
)

// Faults of a lab that runs as a process of its own are seen by every client: one
// from the file, and one that is injected while it runs.
func TestLabFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "faults.yaml")
	if err := os.WriteFile(file, []byte("- {kind: refused, vcenter: tokyo, target: CurrentTime, p: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, "lab", "--listen", "127.0.0.1:0", "--faults", file, "--control", "127.0.0.1:0")
	client := func(vcenter string) *govmomi.Client {
		u, err := url.Parse(p.out.find(t, vcenter+` +(https\S+)`))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("reader@lab", "reader")
		c, err := govmomi.NewClient(t.Context(), u, true)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	tokyo, houston, second := client("tokyo"), client("houston"), client("houston")
	if _, err := methods.GetCurrentTime(t.Context(), tokyo); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("tokyo: %v", err)
	}
	control := p.out.find(t, `faults +(http\S+)`)
	res, err := http.Post(control, "application/yaml", strings.NewReader("[{kind: session_killed, vcenter: houston}]"))
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("injected: %s, %v", res.Status, err)
	}
	for _, c := range []*govmomi.Client{houston, second} {
		if _, err := methods.GetCurrentTime(t.Context(), c); !soap.IsSoapFault(err) || !strings.Contains(err.Error(), "NotAuthenticated") {
			t.Errorf("killed: %v", err)
		}
	}
	p.interrupt(t)
}
