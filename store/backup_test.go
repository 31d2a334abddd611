package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/engine"
)

// backup is an archive of a small journal, and the folder it was made of.
func backup(tb testing.TB) (archive []byte, dir string, c Checkpoint) {
	tb.Helper()
	dir = tb.TempDir()
	j := openAt(tb, dir, Options{})
	fill(tb, j)
	c, key := checkpoint(tb, j)
	appendAll(tb, j, entry(tb, 3, engine.EntryCycle, engine.CycleRecord{}))
	var b bytes.Buffer
	var file bytes.Buffer
	if err := j.Copy(&file); err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), JournalFile)
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	r, err := Backup(tb.Context(), &b, path, j.Get, c, key)
	if err != nil || r.Entries != 8 || r.Blobs != 2 {
		tb.Fatalf("%+v, %v", r, err)
	}
	closeIt(tb, j)
	return b.Bytes(), dir, c
}

func TestRestoreGoesOnPaused(t *testing.T) {
	archive, dir, made := backup(t)
	to := filepath.Join(t.TempDir(), "new", "state")
	r, c, err := Restore(t.Context(), bytes.NewReader(archive), to, nil, Options{})
	if err != nil || r.Entries != 8 || r.Blobs != 2 || r.Open != 1 || c.String() != made.String() {
		t.Fatalf("%+v, %v, %v", r, c, err)
	}
	was, j := openAt(t, dir, Options{ReadOnly: true}), openAt(t, to, Options{})
	for e, err := range was.Entries(1) {
		got, ok, err2 := j.Entry(e.Seq)
		if err != nil || err2 != nil || !ok || got.Hash != e.Hash {
			t.Errorf("entry %d: %v, %v", e.Seq, err, err2)
		}
	}
	var rec engine.OperatorRecord
	if last := j.Last(); last.Seq != 9 || last.Kind != engine.EntryOperator || last.Cycle != 3 || json.Unmarshal(last.Data, &rec) != nil || rec.Op != "pause" || rec.Who != "restore" {
		t.Errorf("the last entry: %+v", last)
	}
	if _, err := j.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	oldKey, err := was.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.VerifyCheckpoint(made, oldKey); err != nil {
		t.Errorf("the old checkpoint: %v", err)
	}
	if key, err := j.PublicKey(); err != nil || key.Equal(oldKey) {
		t.Errorf("the old key signs on: %v", err)
	}
	closeIt(t, j)
	if _, _, err := Restore(t.Context(), bytes.NewReader(archive), to, nil, Options{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("over another: %v", err)
	}
	if _, err := os.Stat(filepath.Join(to, JournalFile)); err != nil {
		t.Errorf("a refusal has cost the journal: %v", err)
	}
}

// A folder never holds a journal that was not restored whole.
func TestDamagedArchivesAreRefused(t *testing.T) {
	archive, dir, saved := backup(t)
	other := openAt(t, t.TempDir(), Options{})
	_, otherKey := checkpoint(t, other)
	idle := 0 // changes that touched nothing that was stored
	try := func(name string, b []byte) {
		to := t.TempDir()
		_, c, err := Restore(t.Context(), bytes.NewReader(b), to, nil, Options{})
		if err == nil && name == "changed" && c.String() == saved.String() {
			// A bit of a frame's or a file's header that nothing depends on: all
			// that was stored has been verified.
			idle++
			return
		}
		if err == nil {
			t.Errorf("%s: restored", name)
		}
		if left, err := os.ReadDir(to); err != nil || len(left) > 0 {
			t.Errorf("%s: it leaves %v, %v", name, left, err)
		}
	}
	step := max(1, len(archive)/40)
	for n := 0; n < len(archive); n += step {
		try("cut", archive[:n])
		changed := bytes.Clone(archive)
		changed[n] ^= 0x10
		try("changed", changed)
	}
	if idle > 3 {
		t.Errorf("%d of 40 changes are not noticed", idle)
	}
	try("something else", []byte(strings.Repeat("not an archive ", 100)))
	if _, _, err := Restore(t.Context(), bytes.NewReader(archive), t.TempDir(), otherKey, Options{}); err == nil || !strings.Contains(err.Error(), "signed by key") {
		t.Errorf("by another key: %v", err)
	}

	// Damage is not backed up either.
	j := openAt(t, dir, Options{ReadOnly: true})
	c, err := j.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	key, err := j.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, JournalFile)
	lost := func(digest string) ([]byte, error) { return nil, os.ErrNotExist }
	if _, err := Backup(t.Context(), &bytes.Buffer{}, path, lost, c, key); !errors.Is(err, ErrDamaged) {
		t.Errorf("without its blobs: %v", err)
	}
	if _, err := Backup(t.Context(), &bytes.Buffer{}, path, j.Get, c, otherKey); err == nil {
		t.Error("with a false checkpoint")
	}
}
