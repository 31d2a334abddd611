package store

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

func verify(tb testing.TB, j *Journal) (uint64, error) {
	tb.Helper()
	_, err := j.Verify(tb.Context())
	if d, ok := errors.AsType[*DamageError](err); ok {
		if !errors.Is(err, ErrDamaged) {
			tb.Errorf("%v is no ErrDamaged", err)
		}
		return d.Seq, err
	}
	if err != nil {
		tb.Fatalf("no DamageError: %v", err)
	}
	return 0, nil
}

// rewrite puts raw in the place of entry seq, behind the journal's back.
func rewrite(tb testing.TB, j *Journal, seq uint64, raw []byte) {
	tb.Helper()
	if err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketEntries).Put(key(seq), raw) }); err != nil {
		tb.Fatal(err)
	}
}

func raw(tb testing.TB, j *Journal, seq uint64) []byte {
	tb.Helper()
	out, err := j.read(seq, seq)
	if err != nil || len(out) != 1 {
		tb.Fatal(err)
	}
	return out[0].raw
}

// Each field of an entry is changed in turn; the list is checked against the
// type, so that a new field cannot be forgotten.
func TestTamperingAtEveryFieldIsNamed(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	fill(t, j)
	changes := map[string]func(*engine.Entry){
		"Seq":   func(e *engine.Entry) { e.Seq++ },
		"At":    func(e *engine.Entry) { e.At = e.At.Add(time.Nanosecond) },
		"Cycle": func(e *engine.Entry) { e.Cycle++ },
		"Kind":  func(e *engine.Entry) { e.Kind = engine.EntryAlert },
		"Blobs": func(e *engine.Entry) { e.Blobs = append(e.Blobs, strings.Repeat("0", 64)) },
		"Data":  func(e *engine.Entry) { e.Data = append(e.Data[:len(e.Data)-1], `,"x":1}`...) },
		"Prev":  func(e *engine.Entry) { e.Prev = strings.Repeat("0", 64) },
		"Hash":  func(e *engine.Entry) { e.Hash = strings.Repeat("0", 64) },
	}
	if n := reflect.TypeFor[engine.Entry]().NumField(); n != len(changes) {
		t.Fatalf("an entry has %d fields, %d are tried", n, len(changes))
	}
	for seq := uint64(1); seq <= 7; seq++ {
		was := raw(t, j, seq)
		for field, change := range changes {
			var e engine.Entry
			if err := json.Unmarshal(was, &e); err != nil {
				t.Fatal(err)
			}
			change(&e)
			changed, err := engine.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, j, seq, changed)
			if got, err := verify(t, j); got != seq {
				t.Errorf("%s of entry %d: %v", field, seq, err)
			}
			// Sealed anew, the entry is sound, and the next one (or the head) tells.
			if err := e.Seal(seq, e.Prev); err != nil {
				t.Fatal(err)
			}
			changed, err = engine.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, j, seq, changed)
			if got, err := verify(t, j); string(changed) != string(was) && got != seq && got != seq+1 {
				t.Errorf("%s of entry %d, sealed anew: %v", field, seq, err)
			}
		}
		rewrite(t, j, seq, was)
	}
	if _, err := verify(t, j); err != nil {
		t.Errorf("restored: %v", err)
	}
}

// Every bit of every stored entry counts, also those that JSON does not look at.
func TestEveryBitFlipOfAnEntryIsNamed(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	const seq = 2
	for range seq + 1 {
		appendAll(t, j, action(t, 1, engine.EntryEnded, "c1-1", engine.StateFailed))
	}
	was := raw(t, j, seq)
	j.db.NoSync = true
	for bit := range len(was) * 8 {
		changed := []byte(string(was))
		changed[bit/8] ^= 1 << (bit % 8)
		rewrite(t, j, seq, changed)
		if got, err := verify(t, j); got != seq {
			t.Fatalf("bit %d (%q for %q): %v", bit, changed[bit/8], was[bit/8], err)
		}
	}
	for _, spelling := range []string{" " + string(was), strings.Replace(string(was), `"seq":2`, `"seq":3,"SEQ":2`, 1), strings.Replace(string(was), "{", `{"x":1,`, 1)} {
		rewrite(t, j, seq, []byte(spelling))
		if got, err := verify(t, j); got != seq {
			t.Errorf("%s: %v", spelling, err)
		}
	}
}

func TestMissingEntriesAndIndicesAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(tx *bbolt.Tx) error
		want   uint64
	}{
		"first":          {func(tx *bbolt.Tx) error { return tx.Bucket(bucketEntries).Delete(key(1)) }, 1},
		"middle":         {func(tx *bbolt.Tx) error { return tx.Bucket(bucketEntries).Delete(key(3)) }, 3},
		"last":           {func(tx *bbolt.Tx) error { return tx.Bucket(bucketEntries).Delete(key(8)) }, 7},
		"one too many":   {func(tx *bbolt.Tx) error { return tx.Bucket(bucketEntries).Put(key(9), []byte("{}")) }, 9},
		"head":           {func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyHead, key(8)) }, 8},
		"no head":        {func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyHead) }, 8},
		"cycle index":    {func(tx *bbolt.Tx) error { return tx.Bucket(bucketCycles).Delete(cycleKey(1, 4)) }, 4},
		"kind index":     {func(tx *bbolt.Tx) error { return tx.Bucket(bucketKinds).Delete(kindKey(engine.EntryTask, 3)) }, 3},
		"false index":    {func(tx *bbolt.Tx) error { return tx.Bucket(bucketKinds).Put(kindKey(engine.EntryAlert, 3), nil) }, 8},
		"open forgotten": {func(tx *bbolt.Tx) error { return tx.Bucket(bucketOpen).Delete([]byte("c1-2")) }, 8},
		"value in index": {func(tx *bbolt.Tx) error { return tx.Bucket(bucketCycles).Put(cycleKey(1, 4), []byte("x")) }, 4},
		"alert changed": {func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketAlerts).Put([]byte("f"), []byte(`{"status":"resolved"}`))
		}, 8},
		"alert lost": {func(tx *bbolt.Tx) error { return tx.Bucket(bucketAlerts).Delete([]byte("f")) }, 8},
		"alert made up": {func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketAlerts).Put([]byte("g"), []byte(`{"status":"firing"}`))
		}, 8},
		"hash missing":    {func(tx *bbolt.Tx) error { return tx.Bucket(bucketTree).Delete(key(0)) }, 1},
		"hash changed":    {func(tx *bbolt.Tx) error { return tx.Bucket(bucketTree).Put(key(3), make([]byte, 32)) }, 3},
		"hash too many":   {func(tx *bbolt.Tx) error { return tx.Bucket(bucketTree).Put(key(99), make([]byte, 32)) }, 8},
		"ended left open": {func(tx *bbolt.Tx) error { return tx.Bucket(bucketOpen).Put([]byte("c1-1"), key(2)) }, 8},
	} {
		t.Run(name, func(t *testing.T) {
			j := openAt(t, t.TempDir(), Options{})
			fill(t, j)
			for _, at := range []time.Duration{0, time.Minute} {
				if _, err := j.SaveAlert(t.Context(), later(alert(0, firing), at)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := verify(t, j); err != nil {
				t.Fatal(err)
			}
			if err := j.db.Update(c.damage); err != nil {
				t.Fatal(err)
			}
			if got, err := verify(t, j); got != c.want {
				t.Errorf("named entry %d: %v", got, err)
			}
		})
	}
}

// A daemon does not go on from a last entry that it cannot trust; a reader may look.
func TestDamagedTailIsNotContinued(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	fill(t, j)
	changed := raw(t, j, 7)
	changed[len(changed)/2] ^= 1
	rewrite(t, j, 7, changed)
	closeIt(t, j)
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 7") {
		t.Errorf("open: %v", err)
	}
	if got, err := verify(t, openAt(t, dir, Options{ReadOnly: true})); got != 7 {
		t.Errorf("verify: %v", err)
	}
}

func TestDamagedBlobsAreNamed(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	blobs := fill(t, j)
	name, err := blobName(blobs[1])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	harmless := 0
	for bit := range len(was) * 8 {
		changed := []byte(string(was))
		changed[bit/8] ^= 1 << (bit % 8)
		write(changed)
		got, err := verify(t, j)
		switch {
		case err == nil:
			harmless++ // the content is still what was put
		case got != 1 || !strings.Contains(err.Error(), blobs[1]):
			t.Errorf("bit %d: %v", bit, err)
		}
	}
	// The frame header has one bit without a meaning.
	if harmless > 1 {
		t.Errorf("%d flips of %d went unnoticed", harmless, len(was)*8)
	}
	for n := range was {
		write(was[:n])
		if got, err := verify(t, j); got != 1 {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := verify(t, j); got != 1 || !strings.Contains(err.Error(), "missing") {
		t.Errorf("removed: %v", err)
	}
	if put(t, j, strings.Repeat("a history ", 100)) != blobs[1] {
		t.Error("another digest")
	}
	if _, err := verify(t, j); err != nil {
		t.Errorf("put again: %v", err)
	}
}

// A frame that claims a terabyte is refused by its header.
func TestBombIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	digest := put(t, j, "x")
	name, err := blobName(digest)
	if err != nil {
		t.Fatal(err)
	}
	// Magic, single segment with an 8-byte content size of 1<<40, one block of repeated bytes.
	bomb := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 0x03, 0, 0x10, 0}
	if err := os.WriteFile(filepath.Join(dir, name), bomb, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Get(digest); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "size") {
		t.Errorf("got %v", err)
	}
}

func TestBlobs(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	for _, content := range []string{"", "x", strings.Repeat("snapshot ", 1<<18)} {
		digest := put(t, j, content)
		got, err := j.Get(digest)
		if err != nil || string(got) != content || digest != engine.DigestBytes([]byte(content)) {
			t.Errorf("%d bytes: %d, %v", len(content), len(got), err)
		}
		name, err := blobName(digest)
		if err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		first, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, j, content)
		after, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("%d bytes were written again: %v", len(content), err)
		}
		other := openAt(t, t.TempDir(), Options{})
		put(t, other, content)
		second, err := os.ReadFile(filepath.Join(other.root.Name(), name))
		if err != nil || string(first) != string(second) {
			t.Errorf("%d bytes: two journals store different bytes, %v", len(content), err)
		}
	}
	for _, digest := range []string{"", "..", strings.Repeat("A", 64), strings.Repeat("a", 63) + "/", strings.Repeat("0", 64)} {
		if _, err := j.Get(digest); err == nil {
			t.Errorf("Get(%q) succeeds", digest)
		}
	}
}

// FuzzDecode: what is not an entry is refused, and nothing without a hash is sound.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"seq":1}`))
	f.Add([]byte(`{"seq":1,"at":"2026-09-01T06:00:00Z","cycle":1,"kind":"cycle","data":1,"prev":"","hash":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decode(1, b); err == nil && e.Hash == "" && e.Verify(1, "") == nil {
			t.Error("an entry without a hash is sound")
		}
	})
}
