package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

var start = time.Date(2026, 9, 1, 6, 0, 0, 0, time.UTC)

func openAt(tb testing.TB, dir string, opts Options) *Journal {
	tb.Helper()
	if opts.Now == nil {
		opts.Now = func() time.Time { return start }
	}
	j, err := Open(dir, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = j.Close() })
	return j
}

func closeIt(tb testing.TB, j *Journal) {
	tb.Helper()
	if err := j.Close(); err != nil {
		tb.Fatal(err)
	}
}

func entry(tb testing.TB, cycle uint64, kind engine.EntryKind, data any, blobs ...string) engine.Entry {
	tb.Helper()
	e, err := engine.NewEntry(cycle, kind, data, blobs...)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func action(tb testing.TB, cycle uint64, kind engine.EntryKind, id string, state engine.ActionState) engine.Entry {
	tb.Helper()
	return entry(tb, cycle, kind, engine.ActionRecord{Action: engine.Action{ID: id, Name: "vm <1>"}, State: state})
}

func put(tb testing.TB, j *Journal, content string) string {
	tb.Helper()
	digest, err := j.Put(tb.Context(), []byte(content))
	if err != nil {
		tb.Fatal(err)
	}
	return digest
}

func appendAll(tb testing.TB, j *Journal, entries ...engine.Entry) {
	tb.Helper()
	if err := j.Append(tb.Context(), entries...); err != nil {
		tb.Fatal(err)
	}
}

func all(tb testing.TB, j *Journal, from uint64) []engine.Entry {
	tb.Helper()
	var out []engine.Entry
	for e, err := range j.Entries(from) {
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// fill makes a small journal: two cycles, two blobs, one action open and one ended.
func fill(tb testing.TB, j *Journal) (blobs []string) {
	tb.Helper()
	a, b := put(tb, j, "a snapshot"), put(tb, j, strings.Repeat("a history ", 100))
	appendAll(tb, j,
		entry(tb, 1, engine.EntryInput, engine.InputRecord{Snapshot: a, History: b}, a, b),
		action(tb, 1, engine.EntryIntent, "c1-1", engine.StateIntent),
		action(tb, 1, engine.EntryTask, "c1-1", engine.StateStarted))
	appendAll(tb, j, action(tb, 1, engine.EntryIntent, "c1-2", engine.StateIntent))
	appendAll(tb, j,
		entry(tb, 2, engine.EntryInput, engine.InputRecord{Snapshot: a, History: b}, a, b),
		action(tb, 1, engine.EntryEnded, "c1-1", engine.StateSucceeded),
		entry(tb, 2, engine.EntryCycle, engine.CycleRecord{Open: 1}))
	return []string{a, b}
}

func TestAppendNumbersDatesAndChains(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	fill(t, j)
	got := all(t, j, 1)
	if len(got) != 7 {
		t.Fatalf("%d entries, want 7", len(got))
	}
	prev := ""
	for i, e := range got {
		if err := e.Verify(uint64(i)+1, prev); err != nil {
			t.Error(err)
		}
		if !e.At.Equal(start) || e.At.Location() != time.UTC {
			t.Errorf("entry %d is dated %v", e.Seq, e.At)
		}
		prev = e.Hash
	}
	if last := j.Last(); last.Seq != 7 || last.Hash != prev {
		t.Errorf("Last is entry %d", last.Seq)
	}
	if from5 := all(t, j, 5); len(from5) != 3 || from5[0].Seq != 5 {
		t.Errorf("Entries(5) gives %d entries", len(from5))
	}
}

func TestFind(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	if _, ok, err := j.LastOf(engine.EntryCycle); ok || err != nil {
		t.Errorf("LastOf on an empty journal: %v %v", ok, err)
	}
	fill(t, j)
	seqs := func(entries []engine.Entry, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		var s []uint64
		for _, e := range entries {
			s = append(s, e.Seq)
		}
		return fmt.Sprint(s)
	}
	if got := seqs(j.Cycle(1)); got != "[1 2 3 4 6]" {
		t.Errorf("Cycle(1) is %s", got)
	}
	if got := seqs(j.Kind(engine.EntryIntent)); got != "[2 4]" {
		t.Errorf("Kind(intent) is %s", got)
	}
	for kind, want := range map[engine.EntryKind]uint64{engine.EntryInput: 5, engine.EntryIntent: 4, engine.EntryTask: 3, engine.EntryCycle: 7} {
		if e, ok, err := j.LastOf(kind); !ok || err != nil || e.Seq != want {
			t.Errorf("LastOf(%s) is entry %d, %v, %v; want %d", kind, e.Seq, ok, err, want)
		}
	}
	// "in" is a prefix of "input" and "intent", and no kind.
	for _, kind := range []engine.EntryKind{engine.EntryAlert, "in", "zz"} {
		if _, ok, err := j.LastOf(kind); ok || err != nil {
			t.Errorf("LastOf(%s): %v %v", kind, ok, err)
		}
	}
	if _, ok, err := j.Entry(8); ok || err != nil {
		t.Errorf("Entry(8): %v %v", ok, err)
	}
}

func TestOpenActionsAreThoseWithoutAnEnd(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	fill(t, j)
	appendAll(t, j, action(t, 3, engine.EntryIntent, "c3-1", engine.StateIntent), action(t, 3, engine.EntryTask, "c3-1", engine.StateStarted))
	closeIt(t, j)
	open, err := openAt(t, dir, Options{}).OpenActions()
	if err != nil {
		t.Fatal(err)
	}
	if len(open) != 2 || open[0].Action.ID != "c1-2" || open[0].State != engine.StateIntent || open[1].Action.ID != "c3-1" || open[1].State != engine.StateStarted {
		t.Errorf("open actions: %+v", open)
	}
}

func TestReopenGoesOnWithTheChain(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		j := openAt(t, dir, Options{})
		appendAll(t, j, entry(t, uint64(i), engine.EntryCycle, engine.CycleRecord{}))
		closeIt(t, j)
	}
	r, err := openAt(t, dir, Options{}).Verify(t.Context())
	if err != nil || r.Entries != 5 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A crash is a copy of the files at any moment: what was acknowledged is there.
func TestCrashLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	for i := range 8 {
		digest := put(t, j, fmt.Sprint("blob ", i))
		appendAll(t, j, entry(t, uint64(i), engine.EntryDecision, engine.PlanRecord{Digest: digest}, digest))
		crashed := t.TempDir()
		if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(crashed, tmpDir, "1"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		k := openAt(t, crashed, Options{})
		r, err := k.Verify(t.Context())
		if err != nil || r.Entries != uint64(i)+1 || r.Blobs != i+1 {
			t.Fatalf("after entry %d: %+v, %v", i+1, r, err)
		}
		if _, err := os.Stat(filepath.Join(crashed, tmpDir, "1")); err == nil {
			t.Fatal("a half-written file was left")
		}
		appendAll(t, k, entry(t, 99, engine.EntryCycle, engine.CycleRecord{}))
		closeIt(t, k)
	}
}

func TestConcurrentAppendsFormOneChain(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				digest, err := j.Put(t.Context(), fmt.Append(nil, "shared ", i))
				if err != nil {
					t.Error(err)
				}
				e := entry(t, uint64(w), engine.EntryVetoes, []int{i}, digest)
				if err := j.Append(t.Context(), e, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if _, err := j.Verify(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	r, err := j.Verify(t.Context())
	if err != nil || r.Entries != 160 || r.Blobs != 10 {
		t.Errorf("%+v, %v", r, err)
	}
	for w := range 8 {
		entries, err := j.Cycle(uint64(w))
		if err != nil || len(entries) != 20 {
			t.Fatalf("worker %d: %d entries, %v", w, len(entries), err)
		}
		// The two entries of one Append stay next to one another.
		for i := 0; i < len(entries); i += 2 {
			if entries[i+1].Seq != entries[i].Seq+1 {
				t.Errorf("a batch was torn apart at entry %d", entries[i].Seq)
			}
		}
	}
}

func TestFailStop(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	fill(t, j)
	// The next commit needs new pages, and bbolt may not have any.
	j.db.MaxSize = 1
	big := entry(t, 3, engine.EntryVetoes, strings.Repeat("x", 1<<20))
	first := j.Append(t.Context(), big)
	if !errors.Is(first, ErrBroken) {
		t.Fatalf("got %v", first)
	}
	j.db.MaxSize = 0
	second := j.Append(t.Context(), entry(t, 3, engine.EntryCycle, 1))
	if !errors.Is(second, ErrBroken) || !strings.Contains(second.Error(), first.Error()) {
		t.Errorf("the second append says %v", second)
	}
	if _, err := j.Put(t.Context(), []byte("x")); !errors.Is(err, ErrBroken) {
		t.Errorf("a put says %v", err)
	}
	if _, err := j.SaveAlert(t.Context(), alert(1, firing)); !errors.Is(err, ErrBroken) {
		t.Errorf("an alert says %v", err)
	}
	if j.Last().Seq != 7 {
		t.Errorf("Last is entry %d", j.Last().Seq)
	}
	closeIt(t, j)
	if r, err := openAt(t, dir, Options{}).Verify(t.Context()); err != nil || r.Entries != 7 {
		t.Errorf("after a restart: %+v, %v", r, err)
	}
}

// What is the caller's fault breaks nothing.
func TestRefusedAppendWritesNothing(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	good := entry(t, 1, engine.EntryCycle, 1)
	for name, bad := range map[string]engine.Entry{
		"no kind":      {},
		"no such blob": entry(t, 1, engine.EntryInput, 1, engine.DigestBytes([]byte("never put"))),
		"a path":       entry(t, 1, engine.EntryInput, 1, "../../../../etc/passwd"),
		"no action":    entry(t, 1, engine.EntryIntent, engine.ActionRecord{}),
		"not JSON":     {Kind: engine.EntryCycle, Data: []byte("{")},
	} {
		if err := j.Append(t.Context(), good, bad); err == nil || errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Append(done, good); !errors.Is(err, context.Canceled) || errors.Is(err, ErrBroken) {
		t.Errorf("context: %v", err)
	}
	if got := all(t, j, 1); len(got) != 0 {
		t.Errorf("%d entries were written", len(got))
	}
	appendAll(t, j, good)
}

func TestFullJournalStillTakesOutcomes(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{MaxBytes: 1 << 20})
	var err error
	for n := 0; err == nil; n++ {
		err = j.Append(t.Context(), entry(t, 1, engine.EntryVetoes, strings.Repeat("x", 1<<14)))
		if n > 100 {
			t.Fatal("never full")
		}
	}
	if !errors.Is(err, ErrFull) || errors.Is(err, ErrBroken) {
		t.Fatal(err)
	}
	appendAll(t, j, action(t, 1, engine.EntryEnded, "c1-1", engine.StateSucceeded), entry(t, 1, engine.EntryOperator, "pause"))
}

// The wait for the lock passes in no time in a bubble.
func TestReadOnly(t *testing.T) { synctest.Test(t, testReadOnly) }

func testReadOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it made %v, %v", left, err)
	}
	j := openAt(t, dir, Options{})
	fill(t, j)
	_, err := Open(dir, Options{ReadOnly: true})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
		t.Errorf("while it is owned: %v", err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second owner: %v", err)
	}
	closeIt(t, j)

	r := openAt(t, dir, Options{ReadOnly: true})
	if got := all(t, r, 1); len(got) != 7 {
		t.Errorf("%d entries", len(got))
	}
	if err := r.Append(t.Context(), entry(t, 1, engine.EntryCycle, 1)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	if _, err := r.Put(t.Context(), nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("put: %v", err)
	}
	openAt(t, dir, Options{ReadOnly: true}) // readers do not exclude one another
}

// A writer waits for who only reads, but not for another writer.
func TestReadersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		closeIt(t, openAt(t, dir, Options{}))
		r, err := Open(dir, Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, func() { closeIt(t, r) })
		openAt(t, dir, Options{})
		begun := time.Now()
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) || time.Since(begun) > time.Second {
			t.Errorf("a second owner: %v after %v", err, time.Since(begun))
		}
	})
}

func TestUnknownSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte("4")) })
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, j)
	for _, opts := range []Options{{}, {ReadOnly: true}} {
		if _, err := Open(dir, opts); !errors.Is(err, ErrSchema) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestCopyIsAJournal(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	blobs := fill(t, j)
	var b bytes.Buffer
	if err := j.Copy(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, c)
	if got := all(t, c, 1); len(got) != 7 {
		t.Errorf("%d entries", len(got))
	}
	if _, err := c.Get(blobs[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy has no blobs: %v", err)
	}
}

// A slow reader neither blocks the writer nor sees what came later.
func TestEntriesWhileAppending(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	for range 2 * batch {
		appendAll(t, j, entry(t, 1, engine.EntryCycle, 1))
	}
	n := 0
	for _, err := range j.Entries(1) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%batch == 0 {
			appendAll(t, j, entry(t, 2, engine.EntryCycle, 1))
		}
	}
	if n != 2*batch {
		t.Errorf("%d entries, want %d", n, 2*batch)
	}
}

func BenchmarkAppend(b *testing.B) {
	j := openAt(b, b.TempDir(), Options{})
	e := entry(b, 1, engine.EntryVetoes, strings.Repeat("x", 1000))
	for b.Loop() {
		if err := j.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutAgain(b *testing.B) {
	j := openAt(b, b.TempDir(), Options{})
	content := bytes.Repeat([]byte("a snapshot line "), 1<<16)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := j.Put(b.Context(), content); err != nil {
			b.Fatal(err)
		}
	}
}
