package main

import (
	"path/filepath"
	"testing"
	"time"

	"heliostat/lab"
)

// ownLab is a lab inside the test's process, at which these accounts may log in,
// with the configuration of a daemon for it. The first account of each role is
// the daemon's.
func ownLab(t *testing.T, accounts ...lab.Account) (*rig, *lab.Lab) {
	t.Helper()
	cfg := lab.DemoConfig(1)
	cfg.Speed, cfg.Start, cfg.Demand, cfg.Accounts = 100, time.Now(), demoDemand(cfg), accounts
	l, err := lab.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Serve(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	r := &rig{dir: filepath.Join(t.TempDir(), "lab"), endpoints: l.Endpoints()}
	files, err := writeLabFiles(r.dir, cfg, r.endpoints, labOptions{every: time.Second, minGap: time.Second, listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	r.config = files.config
	return r, l
}
