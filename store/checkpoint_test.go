package store

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

func checkpoint(tb testing.TB, j *Journal) (Checkpoint, ed25519.PublicKey) {
	tb.Helper()
	c, err := j.SaveCheckpoint()
	if err != nil {
		tb.Fatal(err)
	}
	key, err := j.PublicKey()
	if err != nil {
		tb.Fatal(err)
	}
	return c, key
}

func TestCheckpointIsALine(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	empty, key := checkpoint(t, j)
	if err := j.VerifyCheckpoint(empty, key); err != nil {
		t.Errorf("of an empty journal: %v", err)
	}
	fill(t, j)
	c, _ := checkpoint(t, j)
	if last := j.Last(); c.Entries != last.Seq || c.Head != last.Hash || !c.At.Equal(start) {
		t.Errorf("%+v", c)
	}
	for _, c := range []Checkpoint{empty, c} {
		got, err := ParseCheckpoint(c.String())
		if err != nil || got.String() != c.String() || got.Verify(key) != nil {
			t.Errorf("%s reads as %s: %v", c, got, err)
		}
	}
	file, err := os.ReadFile(filepath.Join(dir, CheckpointFile))
	if err != nil || string(file) != c.String()+"\n" {
		t.Errorf("the file holds %q: %v", file, err)
	}
	for name, mode := range map[string]os.FileMode{keyFile: 0o600, PublicKeyFile: 0o600, CheckpointFile: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	appendAll(t, j, entry(t, 3, engine.EntryCycle, engine.CycleRecord{}))
	closeIt(t, j)

	// The key outlives the process, and a journal that has grown still continues
	// an old checkpoint. The public half comes back when a crash has left only the other.
	if err := os.Remove(filepath.Join(dir, PublicKeyFile)); err != nil {
		t.Fatal(err)
	}
	closeIt(t, openAt(t, dir, Options{}))
	j = openAt(t, dir, Options{ReadOnly: true})
	again, err := j.PublicKey()
	if err != nil || !again.Equal(key) {
		t.Errorf("another key: %v", err)
	}
	if err := j.VerifyCheckpoint(c, key); err != nil {
		t.Error(err)
	}
	if later, err := j.Checkpoint(); err != nil || later.Entries != 8 || j.VerifyCheckpoint(later, key) != nil {
		t.Errorf("read-only: %+v, %v", later, err)
	}
}

// Every change of a character of the line is noticed.
func TestForgedCheckpoints(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	fill(t, j)
	c, key := checkpoint(t, j)
	line := c.String()
	for i := range len(line) {
		for _, b := range []byte{line[i] ^ 1, line[i] ^ 0x20, ' '} {
			if b == line[i] {
				continue
			}
			forged := line[:i] + string([]byte{b}) + line[i+1:]
			if got, err := ParseCheckpoint(forged); err == nil && j.VerifyCheckpoint(got, key) == nil {
				t.Errorf("taken for true: %s", forged)
			}
		}
	}
	for _, forged := range []string{"", line + "\n", " " + line, line + " x", strings.TrimSuffix(line, "=")} {
		if _, err := ParseCheckpoint(forged); err == nil {
			t.Errorf("read: %q", forged)
		}
	}
	other := openAt(t, t.TempDir(), Options{})
	_, otherKey := checkpoint(t, other)
	if err := j.VerifyCheckpoint(c, otherKey); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("another folder's key: %v", err)
	}
	c.Origin = Origin(otherKey)
	if err := j.VerifyCheckpoint(c, otherKey); err == nil {
		t.Error("a false signature is taken for true")
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add("heliostat-checkpoint-v1 0123456789abcdef 0 - 2026-09-01T06:00:00Z AAAA")
	f.Add("heliostat-checkpoint-v2 0123456789abcdef 0 - 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= 2026-09-01T06:00:00Z AAAA")
	f.Fuzz(func(t *testing.T, line string) {
		if c, err := ParseCheckpoint(line); err == nil && c.String() != line {
			t.Errorf("%q reads as %q", line, c)
		}
	})
}

// A forger rewrites a journal as one who owns the machine can: every entry is
// sealed anew, every index and the head fit.
type forger struct {
	rnd     *rand.Rand
	entries []engine.Entry
}

// The kinds of forgery. Each changes what the journal said before entry n.
var forgeries = map[string]func(f *forger, n int){
	"edited data": func(f *forger, n int) {
		e := &f.entries[f.rnd.IntN(n)]
		e.Data = []byte(strings.Replace(string(e.Data), "}", `,"x":`+fmt.Sprint(f.rnd.IntN(1000))+"}", 1))
	},
	"edited time":  func(f *forger, n int) { e := &f.entries[f.rnd.IntN(n)]; e.At = e.At.Add(time.Second) },
	"edited cycle": func(f *forger, n int) { f.entries[f.rnd.IntN(n)].Cycle += 1 + f.rnd.Uint64N(9) },
	"edited kind":  func(f *forger, n int) { f.entries[f.rnd.IntN(n)].Kind = engine.EntryRevision },
	"edited blobs": func(f *forger, n int) {
		e := &f.entries[f.rnd.IntN(n)]
		e.Blobs = append(e.Blobs, f.entries[0].Blobs[0])
	},
	"dropped": func(f *forger, n int) { i := f.rnd.IntN(n); f.entries = slices.Delete(f.entries, i, i+1) },
	"inserted": func(f *forger, n int) {
		i := f.rnd.IntN(n)
		f.entries = slices.Insert(f.entries, i, engine.Entry{At: start, Cycle: 1, Kind: engine.EntryOperator, Data: []byte(`{"op":"resume","who":"nobody"}`)})
	},
	"swapped": func(f *forger, n int) {
		i := f.rnd.IntN(n - 1)
		f.entries[i], f.entries[i+1] = f.entries[i+1], f.entries[i]
	},
	"truncated": func(f *forger, n int) { f.entries = f.entries[:f.rnd.IntN(n)] },
	"truncated and grown again": func(f *forger, n int) {
		was := len(f.entries)
		f.entries = f.entries[:f.rnd.IntN(n)]
		for len(f.entries) < was+2 {
			f.entries = append(f.entries, engine.Entry{At: start, Cycle: 9, Kind: engine.EntryCycle, Data: fmt.Append(nil, len(f.entries))})
		}
	},
}

// seal makes the journal hold the entries, with chain, indices and head to match.
func (f *forger) seal(tb testing.TB, j *Journal) {
	tb.Helper()
	err := j.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketEntries, bucketCycles, bucketKinds, bucketTree, bucketOpen} {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		last := engine.Entry{}
		for _, e := range f.entries {
			if err := e.Seal(last.Seq+1, last.Hash); err != nil {
				return err
			}
			raw, err := engine.Encode(e)
			if err != nil {
				return err
			}
			r := record{Entry: e, raw: raw}
			if r.action, err = actionOf(&e); err != nil {
				return err
			}
			if err := r.put(tx); err != nil {
				return err
			}
			last = e
		}
		return tx.Bucket(bucketMeta).Put(keyHead, head(&last))
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// 200 forgeries, of which the chain alone shows hardly one and the checkpoint all.
func TestForgeriesAreDetected(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	j.db.NoSync = true
	var blobs []string
	for range 5 {
		blobs = fill(t, j)
	}
	c, key := checkpoint(t, j)
	n := int(c.Entries)
	appendAll(t, j, entry(t, 3, engine.EntryCycle, engine.CycleRecord{})) // after the checkpoint
	honest := all(t, j, 1)
	detected := func() (chain, signed error) {
		_, chain = j.Verify(t.Context())
		return chain, j.VerifyCheckpoint(c, key)
	}
	rnd := rand.New(rand.NewPCG(3, 1))
	names := slices.Sorted(maps.Keys(forgeries))
	sound := 0 // as far as the chain can tell
	for i := range 180 {
		name := names[i%len(names)]
		f := &forger{rnd, slices.Clone(honest)}
		for k := range f.entries {
			f.entries[k].Data, f.entries[k].Blobs = slices.Clone(f.entries[k].Data), slices.Clone(f.entries[k].Blobs)
		}
		forgeries[name](f, n)
		f.seal(t, j)
		chain, signed := detected()
		if chain == nil {
			sound++
		}
		if !errors.Is(signed, ErrDamaged) {
			t.Errorf("forgery %d (%s): %v", i, name, signed)
		}
	}
	if sound < 150 {
		t.Errorf("the chain shows all but %d: the forger is no good", sound)
	}
	(&forger{rnd, honest}).seal(t, j)
	for i := range 20 {
		name, err := blobName(blobs[i%2])
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		forged := j.enc.EncodeAll(fmt.Appendf(nil, "another snapshot %d", rnd.IntN(1000)), nil)
		if err := os.WriteFile(path, forged, 0o600); err != nil {
			t.Fatal(err)
		}
		if chain, _ := detected(); !errors.Is(chain, ErrDamaged) {
			t.Errorf("edited blob %d: %v", i, chain)
		}
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if chain, signed := detected(); chain != nil || signed != nil {
		t.Errorf("the honest journal: %v, %v", chain, signed)
	}
}
