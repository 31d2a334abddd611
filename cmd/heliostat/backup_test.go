package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
	"heliostat/store"
)

// journalAt makes a state folder with a journal of so many cycles, closed.
func journalAt(t *testing.T, cycles uint64, who string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	j, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range cycles {
		digest, err := j.Put(t.Context(), []byte(who+strings.Repeat("x", int(n))))
		if err != nil {
			t.Fatal(err)
		}
		in, err := engine.NewEntry(n+1, engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Append(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.SaveCheckpoint(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// refuses runs a command that is to fail and to say why.
func refuses(t *testing.T, code int, why string, args ...string) {
	t.Helper()
	if _, stderr, got := heliostat(t, args...); got != code || !strings.Contains(stderr, why) {
		t.Errorf("heliostat %v: exit %d: %s; want exit %d: %s", args, got, stderr, code, why)
	}
}

func TestVerifyAgainstACheckpoint(t *testing.T) {
	t.Parallel()
	dir, shorter, other := journalAt(t, 3, "a"), journalAt(t, 2, "a"), journalAt(t, 5, "b")
	file, key := filepath.Join(dir, "checkpoint"), filepath.Join(dir, store.PublicKeyFile)
	verify := func(state string, more ...string) []string {
		return append([]string{"journal", "verify", "--state", state}, more...)
	}
	if out := must(t, verify(dir, "--checkpoint", file)...); !strings.Contains(out, "checkpoint of entry 3, ") || !strings.Contains(out, ": holds") {
		t.Errorf("says %s", out)
	}
	must(t, verify(dir, "--checkpoint", file, "--key", key)...)
	refuses(t, exitFailure, "entry 3: missing, although the checkpoint", verify(shorter, "--checkpoint", file, "--key", key)...)
	refuses(t, exitFailure, "the journal was rewritten", verify(other, "--checkpoint", file, "--key", key)...)
	refuses(t, exitFailure, "signed by key", verify(shorter, "--checkpoint", file)...)
	refuses(t, exitUsage, "--key is for --checkpoint", verify(dir, "--key", key)...)

	line, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(t.TempDir(), "forged")
	write(t, forged, strings.Replace(string(line), " 3 ", " 2 ", 1))
	refuses(t, exitFailure, "its signature is false", verify(dir, "--checkpoint", forged)...)
	write(t, forged, "what is this\n")
	refuses(t, exitFailure, "line 1: ", verify(dir, "--checkpoint", forged)...)
	write(t, forged, "")
	refuses(t, exitFailure, "no checkpoint in it", verify(dir, "--checkpoint", forged)...)
}

// A running daemon is backed up; what is restored of it starts paused.
func TestBackupOfARunningDaemonAndRestore(t *testing.T) {
	t.Parallel()
	r := startLab(t, "--load", ownDump(t))
	r.quiet(t)
	r.run(t)
	state := filepath.Join(r.dir, "state")
	eventually(t, "a checkpoint is saved", func() bool {
		_, err := os.Stat(filepath.Join(state, store.CheckpointFile))
		return err == nil
	})
	r.daemon.log.find(t, `msg="checkpoint of the journal" .*checkpoint="(.*)"`)
	dir := t.TempDir()
	live, still := filepath.Join(dir, "live.tar.zst"), filepath.Join(dir, "still.tar.zst")
	if out := r.ask(t, "backup", "--out", live); !strings.Contains(out, ", verified; heliostat-checkpoint-v2 ") {
		t.Errorf("backup says %s", out)
	}
	refuses(t, exitFailure, "is there already", "backup", "--out", live, "--config", r.config)
	refuses(t, exitDaemon, "give its --config", "backup", "--out", still, "--state", state)
	r.daemon.interrupt(t)
	r.ask(t, "backup", "--out", still)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("beside the backups: %v, %v", left, err)
	}

	key := filepath.Join(state, store.PublicKeyFile)
	for _, file := range []string{live, still} {
		to := filepath.Join(t.TempDir(), "state")
		if out := must(t, "restore", "--from", file, "--state", to, "--key", key); !strings.Contains(out, "will start PAUSED") {
			t.Errorf("restore says %s", out)
		}
		must(t, "journal", "verify", "--state", to)
		must(t, "journal", "verify", "--state", to, "--checkpoint", filepath.Join(to, store.CheckpointFile))
		refuses(t, exitFailure, "not empty", "restore", "--from", file, "--state", to)
		if file == still {
			must(t, "journal", "verify", "--state", to, "--checkpoint", filepath.Join(state, store.CheckpointFile), "--key", key)
			r.edit(t, state, to)
		}
	}
	r.run(t)
	if p := r.status(t).Paused; p == nil || p.Who != "restore" {
		t.Errorf("the restored daemon is paused by %+v", p)
	}
	r.ask(t, "resume")
	if p := r.status(t).Paused; p != nil {
		t.Errorf("resumed, and paused by %+v", p)
	}
	r.daemon.interrupt(t)
}

func TestCompact(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	now := time.Now().Add(-60*24*time.Hour + 12*time.Hour)
	j, err := store.Open(dir, store.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(60) {
		digest, err := j.Put(t.Context(), []byte{byte(n)})
		if err != nil {
			t.Fatal(err)
		}
		in, err := engine.NewEntry(n+1, engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Append(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		now = now.Add(24 * time.Hour)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	compact := func(keep string) []string { return []string{"journal", "compact", "--state", dir, "--keep", keep} }
	for _, bad := range []string{"30", "d", "-3d", "23h", "0d", "many"} {
		refuses(t, exitUsage, "--keep: ", compact(bad)...)
	}
	refuses(t, exitUsage, "--keep is empty", compact("")...)
	refuses(t, exitFailure, "no such file", "journal", "compact", "--state", filepath.Join(dir, "none"), "--keep", "30d")
	if out := must(t, compact("90d")...); out != "nothing is that old\n" {
		t.Errorf("says %s", out)
	}
	if out := must(t, compact("30d")...); !strings.Contains(out, "removed that only entries up to 30 referred to, as entry 61 says") {
		t.Errorf("says %s", out)
	}
	if out := must(t, "journal", "verify", "--state", dir); !strings.Contains(out, "61 entries and 30 values ") || !strings.Contains(out, "30 old values are gone: pruned by entry 61") {
		t.Errorf("verify says %s", out)
	}
	// A backup of it, and what is restored of that, miss the same.
	file, to := filepath.Join(t.TempDir(), "b.tar.zst"), filepath.Join(t.TempDir(), "state")
	must(t, "backup", "--state", dir, "--out", file)
	must(t, "restore", "--from", file, "--state", to)
	if out := must(t, "journal", "verify", "--state", to); !strings.Contains(out, "62 entries and 30 values ") || !strings.Contains(out, "pruned by entry 61") {
		t.Errorf("verify of the restored says %s", out)
	}
}
