package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

// fleetOf is a value such as a snapshot's encoding.
func fleetOf(rnd *rand.Rand, n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"at":1800000000,"vms":[`)
	for i := range n {
		fmt.Fprintf(&b, `{"id":"vm-%06d","used":%d,"active":%d,"disks":[{"key":2000,"mib":%d}],"tags":["a","b"],"text":"a, b {c}"},`, i*7, rnd.IntN(10_000), rnd.IntN(100), rnd.IntN(1e6))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// edited is a value after some of what can happen to it.
func edited(rnd *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range rnd.IntN(20) {
		at, to := rnd.IntN(len(b)+1), rnd.IntN(len(b)+1)
		piece := b[min(at, to):min(max(at, to), min(at, to)+200)]
		switch rnd.IntN(5) {
		case 0: // digits
			for i := range piece {
				if piece[i] >= '0' && piece[i] <= '9' {
					piece[i] = '0' + byte(rnd.IntN(10))
				}
			}
		case 1: // something goes
			b = append(b[:min(at, to)], b[min(at, to)+len(piece):]...)
		case 2: // something is there twice, elsewhere
			b = bytes.Join([][]byte{b[:to], b[to:]}, bytes.Clone(piece))
		case 3:
			b = bytes.Join([][]byte{b[:at], b[at:]}, []byte([]string{",", "{", "}{", ",,", ":", `"x":1,`, "\x00", ""}[rnd.IntN(8)]))
		case 4:
			b = b[:len(b)-len(b)/8*rnd.IntN(2)]
		}
	}
	return b
}

// Whatever was done to a value, its delta gives it back; and damage to a delta
// is an error, or some other value, and never more than that.
func TestDeltaGivesTheSameBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 3000 {
		base := fleetOf(rnd, rnd.IntN(12))
		b := edited(rnd, base)
		if i%3 == 0 {
			base = edited(rnd, b)
		}
		d := diff(base, b)
		if got, err := patch(base, d); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%v\nbase %q\nhas  %q\ngot  %q", err, base, b, got)
		}
		for range 5 {
			bad := bytes.Clone(d)
			bad[rnd.IntN(len(bad))] ^= 1 << rnd.IntN(8)
			_, _ = patch(base, bad[:rnd.IntN(len(bad)+1)])
		}
	}
}

func FuzzPatch(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 1))
	base := fleetOf(rnd, 3)
	f.Add(base, diff(base, edited(rnd, base)))
	f.Add([]byte("{a:1,b"), diff([]byte("{a:1,b"), []byte("{a:2,b,c")))
	f.Add([]byte(nil), []byte("\x05"))
	f.Fuzz(func(t *testing.T, base, d []byte) {
		b, err := patch(base, d)
		if len(b) > maxBlob || (err != nil && !errors.Is(err, errDelta)) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if again, err := patch(base, diff(base, d)); err != nil || !bytes.Equal(again, d) {
			t.Fatalf("%q against %q: %v", d, base, err)
		}
	})
}

// line puts values, each like the one before, and an entry for each.
func line(tb testing.TB, j *Journal, values ...[]byte) (digests []string) {
	tb.Helper()
	base := ""
	for i, b := range values {
		digest, next, err := j.PutLike(tb.Context(), b, base)
		if err != nil {
			tb.Fatal(err)
		}
		base = next
		appendAll(tb, j, entry(tb, uint64(i+1), engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest))
		digests = append(digests, digest)
	}
	return digests
}

// waver gives n values, each the first with other numbers.
func waver(rnd *rand.Rand, n int) (values [][]byte) {
	for range n {
		b := fleetOf(rand.New(rand.NewPCG(9, 9)), 600)
		for range 300 {
			if i := rnd.IntN(len(b)); b[i] >= '0' && b[i] <= '9' {
				b[i] = '0' + byte(rnd.IntN(10))
			}
		}
		values = append(values, b)
	}
	return values
}

func fileOf(tb testing.TB, dir, digest string, name func(string) (string, error)) string {
	tb.Helper()
	file, err := name(digest)
	if err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(dir, file)
}

func TestDeltasReadAsWhatWasPut(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	values := waver(rand.New(rand.NewPCG(1, 1)), 4)
	digests := line(t, j, values...)
	sizes := make([]int64, len(digests))
	for i, digest := range digests {
		name := deltaName
		if i == 0 {
			name = blobName
		}
		info, err := os.Stat(fileOf(t, dir, digest, name))
		if err != nil {
			t.Fatal(err)
		}
		sizes[i] = info.Size()
	}
	if sizes[1]*3 > sizes[0] {
		t.Errorf("%v bytes", sizes)
	}
	// What is there is not written again, whatever it is to be laid against now.
	if _, next, err := j.PutLike(t.Context(), values[2], digests[1]); err != nil || next != digests[0] {
		t.Errorf("again: on %s, %v", next, err)
	}
	// What is itself a delta is no base, nor is what is nowhere.
	for _, base := range []string{digests[1], strings.Repeat("0", 64), "no digest"} {
		b := append(bytes.Clone(values[3]), base...)
		if digest, next, err := j.PutLike(t.Context(), b, base); err != nil || next != digest {
			t.Errorf("on %s: on %s, %v", base, next, err)
		}
	}
	// What is not like its base is kept whole, and so is what is small.
	for _, b := range [][]byte{values[1][:leastDelta-1], bytes.ReplaceAll(values[1], []byte(","), []byte(";"))} {
		if digest, next, err := j.PutLike(t.Context(), b, digests[0]); err != nil || next != digest {
			t.Errorf("unlike: on %s, %v", next, err)
		}
	}
	for _, opts := range []Options{{}, {ReadOnly: true}} {
		closeIt(t, j)
		j = openAt(t, dir, opts)
		for i, digest := range digests {
			if b, err := j.Get(digest); err != nil || !bytes.Equal(b, values[i]) {
				t.Errorf("value %d: %v", i, err)
			}
		}
		if r, err := j.Verify(t.Context()); err != nil || r.Blobs != len(digests) {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// Whatever is left of a base, the entry and the base are named; and the next value
// finds one that is whole.
func TestDamageToABaseIsNamed(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"gone":      nil,
		"cut short": func(b []byte) []byte { return b[:len(b)/2] },
		"a bit":     func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"another":   func([]byte) []byte { return []byte("(\xb5/\xfd\x04\x00\x09\x00\x00a\xdd\x50\x32\x3d") },
	} {
		dir := t.TempDir()
		j := openAt(t, dir, Options{})
		values := waver(rand.New(rand.NewPCG(1, 1)), 3)
		digests := line(t, j, values[:2]...)
		file := fileOf(t, dir, digests[0], blobName)
		if damage == nil {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		} else {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, damage(raw))
		}
		if _, err := j.Get(digests[1]); err == nil || !strings.Contains(err.Error(), "its base "+digests[0]) || errors.Is(err, ErrDamaged) == (damage == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if seq, err := verify(t, j); seq != 1 {
			t.Errorf("%s: entry %d: %v", name, seq, err)
		}
		if digest, next, err := j.PutLike(t.Context(), values[2], digests[0]); err != nil || next != digest {
			t.Errorf("%s: then on %s, %v", name, next, err)
		}
		// Put again, the base heals what is laid against it, where it was gone.
		if damage == nil {
			put(t, j, string(values[0]))
			if r, err := j.Verify(t.Context()); err != nil || r.Blobs != 2 {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
		closeIt(t, j)
	}
}

// Damage to a delta's own file is named too.
func TestDamageToADeltaIsNamed(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	digests := line(t, j, waver(rand.New(rand.NewPCG(1, 1)), 2)...)
	file := fileOf(t, dir, digests[1], deltaName)
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range 60 {
		now := bytes.Clone(was)
		at := rnd.IntN(len(now))
		if i < 10 {
			at = i * 7 // in the base's digest
		}
		if now[at] ^= 1 << rnd.IntN(8); i%6 == 0 {
			now = was[:at]
		}
		write(t, file, now)
		if seq, err := verify(t, j); seq != 2 {
			t.Errorf("byte %d: entry %d: %v", at, seq, err)
		}
	}
}

// A prune keeps what a delta that stays is laid against, and lets it go with the last.
func TestPruneKeepsBases(t *testing.T) {
	now := start
	dir := t.TempDir()
	j := openAt(t, dir, Options{Now: func() time.Time { return now }})
	defer closeIt(t, j)
	values := waver(rand.New(rand.NewPCG(1, 1)), 10)
	var digests []string
	base := ""
	for d, b := range values { // a base for days 0 to 4 and one for those from 5 on
		now = start.Add(time.Duration(d) * day)
		if d == 5 {
			base = ""
		}
		digest, next, err := j.PutLike(t.Context(), b, base)
		if err != nil {
			t.Fatal(err)
		}
		base, digests = next, append(digests, digest)
		appendAll(t, j, entry(t, uint64(d+1), engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest))
	}
	for _, x := range []struct {
		keep time.Duration
		left string
		gone int
	}{{6 * day, "03456789", 2}, {4 * day, "56789", 5}, {2 * day, "5789", 6}, {day, "589", 7}} {
		if _, err := j.Prune(t.Context(), x.keep, "me"); err != nil {
			t.Fatal(err)
		}
		var left strings.Builder
		for d, digest := range digests {
			if b, err := j.Get(digest); err == nil && bytes.Equal(b, values[d]) {
				fmt.Fprint(&left, d)
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
		if left := left.String(); left != x.left {
			t.Errorf("what is kept for %v: %s, want %s", x.keep, left, x.left)
		}
		if r, err := j.Verify(t.Context()); err != nil || r.Pruned != x.gone {
			t.Errorf("%+v, %v, want %d pruned", r, err, x.gone)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, blobDir, "*", "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%d files: %v", len(files), err)
	}
}

// While old values are pruned, deltas are put and referred to again.
func TestPruneWhileDeltasArePut(t *testing.T) {
	values := waver(rand.New(rand.NewPCG(1, 1)), 6)
	for range 3 {
		now := start
		j := openAt(t, t.TempDir(), Options{Now: func() time.Time { return now }})
		j.db.NoSync = true
		digests := line(t, j, values...)
		now = now.Add(100 * day)
		appendAll(t, j, entry(t, 7, engine.EntryCycle, 1))
		var g sync.WaitGroup
		for worker := range 3 {
			g.Go(func() {
				for i := range values {
					digest, _, err := j.PutLike(t.Context(), values[(i+worker)%len(values)], digests[worker%2])
					if err != nil {
						t.Error(err)
						return
					}
					if err := j.Append(t.Context(), entry(t, 8, engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 5 {
			if _, err := j.Prune(t.Context(), day, "me"); err != nil {
				t.Error(err)
			}
		}
		g.Wait()
		if _, err := j.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		closeIt(t, j)
	}
}

// A process that ends at any moment between a base and the deltas to it leaves a
// journal without damage, in which the next one puts them again.
func TestCrashBetweenBaseAndDelta(t *testing.T) {
	values := waver(rand.New(rand.NewPCG(1, 1)), 4)
	eachFailure(t, func(dir string, f *failing) error {
		var acknowledged []string
		j, err := Open(dir, Options{})
		if err == nil {
			base := ""
			for i, b := range values {
				var digest string
				if digest, base, err = j.PutLike(t.Context(), b, base); err != nil {
					break
				}
				if err = j.Append(t.Context(), entry(t, uint64(i+1), engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest)); err != nil {
					break
				}
				acknowledged = append(acknowledged, digest)
			}
			_ = j.Close()
		}
		if f.over() == (err == nil) {
			return fmt.Errorf("it ends with %w", err)
		}
		defer f.n.Store(f.n.Swap(1 << 30)) // nothing fails after the restart
		if j, err = Open(dir, Options{}); err != nil {
			return err
		}
		defer func() { _ = j.Close() }()
		for _, digest := range acknowledged {
			if _, err := j.Get(digest); err != nil {
				return err
			}
		}
		for _, b := range values {
			if _, _, err := j.PutLike(t.Context(), b, engine.DigestBytes(values[0])); err != nil {
				return err
			}
		}
		_, err = j.Verify(t.Context())
		return err
	})
}

// A folder of the version before, whose values are all whole, is read, and goes on.
func TestSchemaWithoutDeltas(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	fill(t, j)
	err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte(schemaWhole)) })
	if err != nil {
		t.Fatal(err)
	}
	for _, opts := range []Options{{ReadOnly: true}, {}} {
		closeIt(t, j)
		j = openAt(t, dir, opts)
		if r, err := j.Verify(t.Context()); err != nil || r.Entries != 7 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	err = j.db.View(func(tx *bbolt.Tx) error {
		if got := string(tx.Bucket(bucketMeta).Get(keySchema)); got != schema {
			t.Errorf("schema %s: the version before would take deltas for missing values", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// An export holds the values themselves, and needs no base.
func TestDeltasAreExported(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	values := waver(rand.New(rand.NewPCG(1, 1)), 4)
	digests := line(t, j, values...)
	x := openExported(t, exported(t, j, ExportOptions{}))
	for i, digest := range digests {
		if b, err := x.Get(digest); err != nil || !bytes.Equal(b, values[i]) {
			t.Errorf("value %d: %v", i, err)
		}
	}
}
