package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// One bit of a page in use is flipped on disk. Either that is noticed, or it
// hit what means nothing, and all that is stored reads as before.
func TestBitFlipsInPages(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	for range 10 {
		fill(t, j)
	}
	want, pages, size := contents(t, j), pagesInUse(t, j), j.db.Info().PageSize
	closeIt(t, j)
	path := filepath.Join(dir, JournalFile)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	noticed := 0
	for range 60 {
		at := pages[rnd.IntN(len(pages))]*size + rnd.IntN(size)
		bit := byte(1) << rnd.IntN(8)
		file[at] ^= bit
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		file[at] ^= bit
		r, err := Open(dir, Options{ReadOnly: true})
		if err != nil {
			noticed++
			continue
		}
		if _, err := r.Verify(t.Context()); err != nil {
			noticed++
		} else if contents(t, r) != want {
			t.Errorf("bit %#x of byte %d of page %d went unnoticed", bit, at%size, at/size)
		}
		closeIt(t, r)
	}
	if noticed == 0 {
		t.Error("no flip was noticed: the test tests nothing")
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

// contents is all that the journal's file says.
func contents(t *testing.T, j *Journal) string {
	t.Helper()
	var s strings.Builder
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			fmt.Fprintf(&s, "%q\n", name)
			return b.ForEach(func(k, v []byte) error {
				fmt.Fprintf(&s, "%q %q\n", k, v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}
