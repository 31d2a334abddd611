package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKillFile stops a running daemon by a file, over a restart.
func TestKillFile(t *testing.T) {
	t.Parallel()
	r := startLab(t, "--speed", "1000")
	r.withGather(t, "tyo-b-db002")
	r.run(t)
	file := filepath.Join(r.dir, "run", "stop")
	write(t, file, "")
	eventually(t, "the daemon is paused", func() bool { p := r.status(t).Paused; return p != nil && p.Who == "kill file" })
	if _, stderr, code := heliostat(t, "resume", "--config", r.config); code != exitFailure || !strings.Contains(stderr, "remove it first") {
		t.Errorf("resume: exit %d: %s", code, stderr)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.daemon.interrupt(t)
	r.run(t)
	if out := r.ask(t, "status"); !strings.Contains(out, "PAUSED by kill file: "+file+" is there") {
		t.Errorf("status after a restart:\n%s", out)
	}
	r.ask(t, "resume")
	eventually(t, "it goes on", func() bool { return r.status(t).Paused == nil })
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"release", "vm", "db1"}, exitUsage, "--reason is missing"},
		{[]string{"release", "vm", "db1", "--reason", "seen"}, exitFailure, "refused by the daemon"},
	} {
		if _, stderr, code := heliostat(t, append(c.args, "--config", r.config)...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit %d: %s", c.args, code, stderr)
		}
	}
	r.daemon.interrupt(t)
}
