package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"heliostat/internal/race"
)

// damages is how often the test of damage damages; a release is worth 500.
var damages = flag.Int("damages", 30, "bit flips and cuts of a journal's files to try")

// TestMain lets this binary be the processes that a damaged journal may crash.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && strings.HasPrefix(os.Args[0], "store-") {
		work := Inspect
		if os.Args[0] == "store-contents" {
			work = printContents
		}
		if err := work(context.Background(), os.Args[2], os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// A bit of a live file is flipped on disk, or its end is cut off. Either that is
// named, or it hit what means nothing, and all that is stored reads as before.
func TestDamageIsNamed(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t)
	j := openAt(t, dir, Options{})
	for range 10 {
		fill(t, j)
	}
	pages, size := pagesInUse(t, j), j.db.Info().PageSize
	closeIt(t, j)
	path := filepath.Join(dir, JournalFile)
	want := contents(t, path)
	blobs, err := filepath.Glob(filepath.Join(dir, blobDir, "*", "*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal("no blob", err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	named, live := 0, 0
	n := *damages
	if race.Enabled {
		n /= 5
	}
	for i := range n {
		file, at := path, pages[rnd.IntN(len(pages))]*size+rnd.IntN(size)
		if i%8 == 0 {
			file, at = blobs[rnd.IntN(len(blobs))], -1
		}
		was, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at < 0 {
			at = rnd.IntN(len(was))
		}
		now := bytes.Clone(was)
		what := fmt.Sprintf("bit %d of byte %d of %s", i%8, at, filepath.Base(file))
		if now[at] ^= 1 << rnd.IntN(8); i%10 == 0 {
			now, what = was[:at], fmt.Sprintf("%s cut to %d bytes", filepath.Base(file), at)
		}
		write(t, file, now)
		switch err := examine(t, dir); {
		case errors.Is(err, ErrDamaged), errors.Is(err, ErrSchema):
			named, live = named+1, live+1
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case contents(t, path) != want:
			live++
			t.Logf("%s went unnoticed", what)
		}
		write(t, file, was)
	}
	t.Logf("%d of %d changes did damage, %d were named", live, n, named)
	if named*100 < live*99 || live < n/3 {
		t.Errorf("%d named of %d", named, live)
	}
}

func write(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// examine is what 'journal verify' does.
func examine(t *testing.T, dir string) error {
	t.Helper()
	if _, err := InspectBy(t.Context(), time.Minute, filepath.Join(dir, JournalFile), "store-inspect", "-"); err != nil {
		return err
	}
	j, err := Open(dir, Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer closeIt(t, j)
	_, err = j.Verify(t.Context())
	return err
}

// A check that damage keeps running, or crashes, is damage.
func TestInspectionThatDoesNotEnd(t *testing.T) {
	dir := t.TempDir()
	closeIt(t, openAt(t, dir, Options{}))
	path := filepath.Join(dir, JournalFile)
	if _, err := InspectBy(t.Context(), time.Millisecond, path, "store-inspect", "-"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("too slow: %v", err)
	}
	if _, err := InspectBy(t.Context(), time.Minute, filepath.Join(dir, "none"), "store-contents", "-"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "panic") {
		t.Errorf("crashed: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := InspectBy(stopped, time.Minute, path, "store-inspect", "-"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("stopped: %v", err)
	}
	j := openAt(t, dir, Options{})
	if _, err := InspectBy(t.Context(), time.Minute, path, "store-inspect", "-"); !errors.Is(err, ErrInUse) || errors.Is(err, ErrDamaged) {
		t.Errorf("in use: %v", err)
	}
	closeIt(t, j)
	if r, err := InspectBy(t.Context(), time.Minute, path, "store-inspect", "-"); err != nil || r.Entries != 0 {
		t.Errorf("whole: %v", err)
	}
}

func pagesInUse(t *testing.T, j *Journal) (ids []int) {
	t.Helper()
	err := j.db.View(func(tx *bbolt.Tx) error {
		for id := 0; ; id++ {
			p, err := tx.Page(id)
			if err != nil || p == nil {
				return err
			}
			if p.Type != "free" {
				ids = append(ids, id)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// contents is all that a journal.db and the blobs beside it say, read in a
// process of its own; how that ended, when it does not come to say it.
func contents(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-", path)
	cmd.Args[0] = "store-contents"
	out, err := cmd.Output()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func printContents(_ context.Context, path string, out io.Writer) error {
	j, err := OpenFile(path)
	if err != nil {
		return err
	}
	err = j.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			_, _ = fmt.Fprintf(out, "%q\n", name)
			return b.ForEach(func(k, v []byte) error {
				_, _ = fmt.Fprintf(out, "%q %q\n", k, v)
				return nil
			})
		})
	})
	if err != nil {
		return err
	}
	return fs.WalkDir(j.root.FS(), blobDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := j.Get(strings.TrimSuffix(d.Name(), ".zst"))
		_, _ = fmt.Fprintf(out, "%s %q %v\n", name, b, err)
		return nil
	})
}
