package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

// batch is how many entries one read transaction copies. Entries are never
// rewritten, so reading in steps is as consistent as one long transaction and
// holds no page back from the writer, however slow the reader is.
const batch = 256

// Last returns the last durable entry; the zero entry of an empty journal. Its
// number and hash are the checkpoint to keep elsewhere: with them, a later
// [Journal.Verify] also notices that entries at the end were taken away.
func (j *Journal) Last() engine.Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// Entries yields the entries from number from on, up to the last one when it was
// called. It ends after the first error. The loop's body may use the journal.
func (j *Journal) Entries(from uint64) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		to := j.Last().Seq
		for from <= to {
			raws, err := j.read(from, to)
			if err == nil && len(raws) == 0 {
				err = &DamageError{Seq: from, What: "missing"}
			}
			if err != nil {
				yield(engine.Entry{}, err)
				return
			}
			for _, r := range raws {
				e, err := decode(r.seq, r.raw)
				if !yield(e, err) || err != nil {
					return
				}
				from = r.seq + 1
			}
		}
	}
}

// Entry returns the entry with the number, and whether there is one.
func (j *Journal) Entry(seq uint64) (e engine.Entry, ok bool, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		e, ok, err = entryAt(tx, seq)
		return err
	})
	return e, ok, err
}

// Cycle returns the entries of one cycle, in order.
func (j *Journal) Cycle(cycle uint64) ([]engine.Entry, error) {
	return j.indexed(bucketCycles, key(cycle))
}

// Kind returns the entries of one kind, in order.
func (j *Journal) Kind(kind engine.EntryKind) ([]engine.Entry, error) {
	return j.indexed(bucketKinds, append([]byte(kind), 0))
}

// LastOf returns the latest entry of a kind, and whether there is one.
func (j *Journal) LastOf(kind engine.EntryKind) (e engine.Entry, ok bool, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketKinds).Cursor()
		k, _ := c.Seek(append([]byte(kind), 1)) // the first key after all those of the kind
		if k == nil {
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
		if !bytes.HasPrefix(k, append([]byte(kind), 0)) {
			return nil
		}
		e, ok, err = entryAt(tx, seqOf(k))
		return err
	})
	return e, ok, err
}

// OpenActions returns the latest record of each action that has an intent or a
// task and no end, in the order of those records: what a crash leaves behind,
// and what must be looked into before the first plan.
func (j *Journal) OpenActions() ([]engine.ActionRecord, error) {
	var entries []engine.Entry
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketOpen).ForEach(func(id, seq []byte) error {
			e, ok, err := entryAt(tx, seqOf(seq))
			if err == nil && !ok {
				err = &DamageError{Seq: seqOf(seq), What: fmt.Sprintf("missing, although action %s is open", id)}
			}
			entries = append(entries, e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read open actions: %w", err)
	}
	slices.SortFunc(entries, func(a, b engine.Entry) int { return bytes.Compare(key(a.Seq), key(b.Seq)) })
	open := make([]engine.ActionRecord, len(entries))
	for i := range entries {
		if err := json.Unmarshal(entries[i].Data, &open[i]); err != nil {
			return nil, fmt.Errorf("read open actions: entry %d: %w", entries[i].Seq, err)
		}
	}
	return open, nil
}

// Copy writes a consistent copy of journal.db, as of one moment. Blobs are not
// part of it.
func (j *Journal) Copy(w io.Writer) error {
	err := j.db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy journal: %w", err)
	}
	return nil
}

func (j *Journal) indexed(index, prefix []byte) (entries []engine.Entry, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(index).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			e, ok, err := entryAt(tx, seqOf(k))
			if err != nil {
				return err
			}
			if !ok {
				return &DamageError{Seq: seqOf(k), What: "missing, although indexed"}
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

type stored struct {
	seq uint64
	raw []byte
}

// read copies at most batch entries from number from to number to.
func (j *Journal) read(from, to uint64) (out []stored, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketEntries).Cursor()
		for k, raw := c.Seek(key(from)); k != nil && seqOf(k) <= to && len(out) < batch; k, raw = c.Next() {
			out = append(out, stored{seqOf(k), bytes.Clone(raw)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return out, nil
}

func entryAt(tx *bbolt.Tx, seq uint64) (e engine.Entry, ok bool, err error) {
	raw := tx.Bucket(bucketEntries).Get(key(seq))
	if raw == nil {
		return e, false, nil
	}
	e, err = decode(seq, raw)
	return e, err == nil, err
}

// decode reads an entry. JSON has many spellings of one value, with keys given
// twice or in another case among them; only the one that was written will do.
func decode(seq uint64, raw []byte) (e engine.Entry, err error) {
	if err := json.Unmarshal(raw, &e); err != nil {
		return engine.Entry{}, &DamageError{Seq: seq, What: err.Error()}
	}
	if again, err := engine.Encode(e); err != nil || !bytes.Equal(again, raw) {
		return engine.Entry{}, &DamageError{Seq: seq, What: "not in canonical encoding"}
	}
	return e, nil
}
