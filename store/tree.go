package store

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"heliostat/engine"
)

// The entries are also the leaves of a Merkle tree, whose hashes are in a bucket
// of their own, in the order of tlog.StoredHashIndex: 64 bytes an entry. A leaf is
// the canonical encoding of its entry, number 0 that of entry 1. The root, which a
// checkpoint holds, is over all of them; and that an entry is under it can be shown
// with a few dozen hashes to somebody who has nothing else of the journal.

// A Proof shows that an entry is in the journal that a checkpoint was made of.
type Proof struct {
	Entry      engine.Entry     `json:"entry"`
	Checkpoint string           `json:"checkpoint"`
	Hashes     tlog.RecordProof `json:"hashes"`
}

// Prove proves that entry seq is among those of the checkpoint.
func (j *Journal) Prove(seq uint64, c Checkpoint) (p Proof, err error) {
	switch {
	case c.Root == "":
		err = errors.New("the checkpoint is of a version that had no tree")
	case seq == 0 || seq > c.Entries:
		err = fmt.Errorf("the checkpoint is of %d entries", c.Entries)
	}
	if err != nil {
		return p, fmt.Errorf("prove entry %d: %w", seq, err)
	}
	err = j.db.View(func(tx *bbolt.Tx) error {
		var ok bool
		if p.Entry, ok, err = entryAt(tx, seq); err != nil || !ok {
			return errors.Join(fmt.Errorf("there is no entry %d", seq), err)
		}
		p.Checkpoint = c.String()
		p.Hashes, err = tlog.ProveRecord(int64(c.Entries), int64(seq)-1, treeReader(tx))
		return err
	})
	if err != nil {
		return Proof{}, fmt.Errorf("prove entry %d: %w", seq, err)
	}
	return p, nil
}

// Verify reports whether the proof holds: the key signed the checkpoint, and the
// entry is one of those that it is of. It needs no journal.
func (p Proof) Verify(key ed25519.PublicKey) (Checkpoint, error) {
	c, err := ParseCheckpoint(p.Checkpoint)
	if err != nil {
		return c, err
	}
	if err := c.Verify(key); err != nil {
		return c, err
	}
	root, err := tlog.ParseHash(c.Root)
	if err != nil {
		return c, errors.New("the checkpoint is of a version that had no tree")
	}
	raw, err := engine.Encode(p.Entry)
	if err != nil {
		return c, err
	}
	if p.Entry.Seq == 0 || p.Entry.Seq > c.Entries {
		return c, fmt.Errorf("entry %d: the checkpoint is of %d entries", p.Entry.Seq, c.Entries)
	}
	if err := tlog.CheckRecord(p.Hashes, int64(c.Entries), root, int64(p.Entry.Seq)-1, tlog.RecordHash(raw)); err != nil {
		return c, fmt.Errorf("entry %d is not in the journal of the checkpoint, or was another: %w", p.Entry.Seq, err)
	}
	return c, nil
}

// treeRoot is the root of the tree of the first entries.
func (j *Journal) treeRoot(entries uint64) (root string, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		h, err := tlog.TreeHash(int64(entries), treeReader(tx))
		if err == nil {
			root = h.String()
		}
		return err
	})
	return root, err
}

// treeReader reads stored hashes; what is missing is damage.
func treeReader(tx *bbolt.Tx) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		b := tx.Bucket(bucketTree)
		if b == nil {
			return nil, errNoTree
		}
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			if n := copy(hashes[i][:], b.Get(key(uint64(index)))); n != tlog.HashSize {
				return nil, &DamageError{What: fmt.Sprintf("hash %d of the tree is missing", index)}
			}
		}
		return hashes, nil
	})
}

var errNoTree = errors.New("the journal has no tree yet: it gets one when a daemon opens it")

// grow adds an entry, the next one, to the tree.
func grow(tx *bbolt.Tx, seq uint64, raw []byte) error {
	hashes, err := tlog.StoredHashes(int64(seq)-1, raw, treeReader(tx))
	if err != nil {
		return err
	}
	b := tx.Bucket(bucketTree)
	b.FillPercent = 0.95 // keys only grow
	first := uint64(tlog.StoredHashCount(int64(seq) - 1))
	for i := range hashes {
		if err := b.Put(key(first+uint64(i)), hashes[i][:]); err != nil {
			return err
		}
	}
	return nil
}

// grown reports whether the tree holds an entry as it is.
func grown(tx *bbolt.Tx, seq uint64, raw []byte) error {
	hashes, err := tlog.StoredHashes(int64(seq)-1, raw, treeReader(tx))
	if err != nil {
		return &DamageError{Seq: seq, What: err.Error()}
	}
	first := uint64(tlog.StoredHashCount(int64(seq) - 1))
	for i := range hashes {
		if !bytes.Equal(tx.Bucket(bucketTree).Get(key(first+uint64(i))), hashes[i][:]) {
			return &DamageError{Seq: seq, What: "the tree holds another"}
		}
	}
	return nil
}

// plantStep is how many entries a transaction plants: some megabytes of pages.
const plantStep = 10_000

// plant gives a journal of the schema before its tree.
func (j *Journal) plant() error {
	// A crash before the last transaction leaves the old schema, and a tree that
	// this begins anew.
	err := j.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(bucketTree); err != nil && tx.Bucket(bucketTree) != nil {
			return err
		}
		_, err := tx.CreateBucket(bucketTree)
		return err
	})
	for next, more := uint64(1), true; err == nil && more; {
		err = j.db.Update(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucketEntries).Cursor()
			k, raw := c.Seek(key(next))
			for last := next + plantStep; k != nil && next < last; k, raw = c.Next() {
				if seqOf(k) != next {
					return &DamageError{Seq: next, What: "missing"}
				}
				if err := grow(tx, next, raw); err != nil {
					return err
				}
				next++
			}
			if more = k != nil; more {
				return nil
			}
			return tx.Bucket(bucketMeta).Put(keySchema, []byte(schema))
		})
	}
	return err
}
