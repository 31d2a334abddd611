package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"go.etcd.io/bbolt"
)

// bare makes the journal one of the schema before.
func bare(t *testing.T, j *Journal) {
	t.Helper()
	err := j.db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(bucketMeta).Put(keySchema, []byte(schemaBefore)), tx.DeleteBucket(bucketTree))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryEntryIsProvedUnderEveryCheckpoint(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	j.db.NoSync = true
	var checkpoints []Checkpoint
	for range 3 {
		fill(t, j)
		c, _ := checkpoint(t, j)
		checkpoints = append(checkpoints, c)
	}
	key, err := j.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checkpoints {
		if err := j.VerifyCheckpoint(c, key); err != nil {
			t.Error(err)
		}
		for seq := uint64(1); seq <= c.Entries; seq++ {
			p, err := j.Prove(seq, c)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "\t")
			var read Proof
			if err := errors.Join(enc.Encode(p), json.Unmarshal(b.Bytes(), &read)); err != nil {
				t.Fatal(err)
			}
			if got, err := read.Verify(key); err != nil || got.String() != c.String() {
				t.Errorf("entry %d of %d: %v", seq, c.Entries, err)
			}
		}
		for _, seq := range []uint64{0, c.Entries + 1} {
			if _, err := j.Prove(seq, c); err == nil {
				t.Errorf("entry %d of %d is proved", seq, c.Entries)
			}
		}
	}
}

func TestFalseProofs(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	fill(t, j)
	c, key := checkpoint(t, j)
	_, otherKey := checkpoint(t, openAt(t, t.TempDir(), Options{}))
	for name, change := range map[string]func(p *Proof){
		"data":       func(p *Proof) { p.Entry.Data = json.RawMessage(`{}`) },
		"time":       func(p *Proof) { p.Entry.At = p.Entry.At.Add(1) },
		"number":     func(p *Proof) { p.Entry.Seq++ },
		"number 0":   func(p *Proof) { p.Entry.Seq = 0 },
		"beyond":     func(p *Proof) { p.Entry.Seq = c.Entries + 1 },
		"hash":       func(p *Proof) { p.Hashes[1][0] ^= 1 },
		"fewer":      func(p *Proof) { p.Hashes = p.Hashes[1:] },
		"checkpoint": func(p *Proof) { c := c; c.Entries--; p.Checkpoint = c.String() },
		"version":    func(p *Proof) { c := c; c.Root = ""; p.Checkpoint = c.String() },
		"none":       func(p *Proof) { *p = Proof{} },
	} {
		p, err := j.Prove(3, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Verify(otherKey); err == nil {
			t.Error("another key's")
		}
		change(&p)
		if _, err := p.Verify(key); err == nil {
			t.Errorf("%s is changed, and the proof holds", name)
		}
	}
}

// A journal of the schema before is read as it is, and gets its tree when it is
// opened to be written.
func TestJournalOfTheSchemaBefore(t *testing.T) {
	dir := t.TempDir()
	j := openAt(t, dir, Options{})
	fill(t, j)
	want, key := checkpoint(t, j)
	bare(t, j)
	old, err := j.Checkpoint()
	if err != nil || old.Root != "" {
		t.Fatalf("%s: %v", old, err)
	}
	closeIt(t, j)
	r := openAt(t, dir, Options{ReadOnly: true})
	if _, err := verify(t, r); err != nil {
		t.Error(err)
	}
	if err := r.VerifyCheckpoint(old, key); err != nil {
		t.Error(err)
	}
	// That the tree is gone does not hide that there was one.
	if err := r.VerifyCheckpoint(want, key); !errors.Is(err, ErrDamaged) {
		t.Errorf("without the tree: %v", err)
	}
	if _, err := r.Prove(1, want); !errors.Is(err, errNoTree) {
		t.Error(err)
	}
	closeIt(t, r)
	// What a crash in the middle of it has left is begun anew.
	j = openAt(t, dir, Options{})
	bare(t, j)
	err = j.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bucketTree)
		return errors.Join(err, b.Put(keySchema, []byte("half")))
	})
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, j)
	j = openAt(t, dir, Options{})
	for _, c := range []Checkpoint{old, want} {
		if err := j.VerifyCheckpoint(c, key); err != nil {
			t.Error(err)
		}
	}
	fill(t, j)
	if _, err := verify(t, j); err != nil {
		t.Error(err)
	}
}
