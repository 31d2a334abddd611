package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

// Append writes the entries, in order, all or none: it numbers, dates and seals
// them. They are durable when it returns nil. After an error that wraps
// [ErrBroken] they may be there or not, and every later Append fails with that
// same error. Any other error means that nothing was written: ctx was done, an
// entry makes no sense, or the journal is full ([ErrFull]).
//
// ctx is looked at only before the write begins. What must be written down even
// while stopping uses context.WithoutCancel.
func (j *Journal) Append(ctx context.Context, entries ...engine.Entry) error {
	return j.append(ctx, entries, nil)
}

// append is Append, with also in the same transaction.
func (j *Journal) append(ctx context.Context, entries []engine.Entry, also func(*bbolt.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.writable(ctx); err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	records, last, err := j.seal(entries)
	if err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	if len(records) == 0 && also == nil {
		return nil
	}
	err = j.db.Update(func(tx *bbolt.Tx) error {
		for _, r := range records {
			if err := r.put(tx); err != nil {
				return err
			}
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyHead, head(&last))
	})
	// A crash before the commit's last write leaves none of the entries, one
	// after it all of them: bbolt's meta page names the one tree or the other. A
	// commit that returns an error may have been either.
	if err != nil {
		return j.fail("append to journal", err)
	}
	j.last = last
	for i := range records {
		for _, digest := range records[i].Blobs {
			delete(j.pending, digest)
			if j.spared != nil {
				j.spared[digest] = true
				if base, there, err := j.rests(digest); there && err == nil {
					j.spared[base] = true
				}
			}
		}
	}
	return nil
}

// fail makes err the answer to every later write. The caller holds mu.
func (j *Journal) fail(doing string, err error) error {
	j.broken = fmt.Errorf("%s: %w: %w", doing, ErrBroken, err)
	return j.broken
}

func (j *Journal) writable(ctx context.Context) error {
	return cmp.Or(j.stopped(), ctx.Err())
}

// stopped says why nothing can be written, whoever asks. The caller holds mu.
func (j *Journal) stopped() error {
	if j.readOnly {
		return ErrReadOnly
	}
	return j.broken
}

// A record is an entry ready to be written.
type record struct {
	engine.Entry
	raw    []byte
	action string // ID of the action that an intent, task or ended entry is about
}

// seal prepares the entries to follow the last one. It writes nothing.
func (j *Journal) seal(entries []engine.Entry) (records []record, last engine.Entry, err error) {
	last = j.last
	for _, e := range entries {
		if err := j.admit(&e); err != nil {
			return nil, last, fmt.Errorf("%s entry: %w", e.Kind, err)
		}
		r := record{Entry: e}
		if r.action, err = actionOf(&e); err != nil {
			return nil, last, err
		}
		// Round drops the monotonic clock, which no other process could read.
		r.At = j.now().UTC().Round(0)
		if err := r.Seal(last.Seq+1, last.Hash); err != nil {
			return nil, last, err
		}
		if r.raw, err = engine.Encode(r.Entry); err != nil {
			return nil, last, err
		}
		records, last = append(records, r), r.Entry
	}
	return records, last, nil
}

// admit refuses what must not be written.
func (j *Journal) admit(e *engine.Entry) error {
	if e.Kind == "" {
		return errors.New("without a kind")
	}
	for _, digest := range e.Blobs {
		if _, there, err := j.rests(digest); err != nil || !there {
			return errors.Join(fmt.Errorf("blob %s was not put before the entry that refers to it", digest), err)
		}
	}
	if outcome(e.Kind) {
		return nil
	}
	return j.room()
}

// outcome reports whether an entry of the kind says how something ended, or that
// it must stop: there is room for these when there is none for anything else.
func outcome(k engine.EntryKind) bool {
	return k == engine.EntryTask || k == engine.EntryEnded || k == engine.EntryOperator
}

// room reports whether there is room for more than outcomes.
func (j *Journal) room() error {
	var size int64
	err := j.db.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
	if err != nil {
		return err
	}
	if limit := j.max - j.max/reserveShare; size > limit {
		return fmt.Errorf("%w: %d bytes, %d allowed", ErrFull, size, limit)
	}
	return nil
}

// actionOf returns the ID of the action that an entry is about, "" for none.
func actionOf(e *engine.Entry) (string, error) {
	switch e.Kind {
	case engine.EntryIntent, engine.EntryTask, engine.EntryEnded:
	default:
		return "", nil
	}
	var r engine.ActionRecord
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return "", fmt.Errorf("%s entry %d: %w", e.Kind, e.Seq, err)
	}
	if r.Action.ID == "" {
		return "", fmt.Errorf("%s entry %d: the action has no ID", e.Kind, e.Seq)
	}
	return r.Action.ID, nil
}

// put writes the entry, its indices, and its place in the tree.
func (r *record) put(tx *bbolt.Tx) error {
	if err := r.index(tx); err != nil {
		return err
	}
	return grow(tx, r.Seq, r.raw)
}

func (r *record) index(tx *bbolt.Tx) error {
	entries := tx.Bucket(bucketEntries)
	// Keys only grow, so pages may be filled before they are split.
	entries.FillPercent = 0.95
	if err := entries.Put(key(r.Seq), r.raw); err != nil {
		return err
	}
	if err := tx.Bucket(bucketCycles).Put(cycleKey(r.Cycle, r.Seq), nil); err != nil {
		return err
	}
	if err := tx.Bucket(bucketKinds).Put(kindKey(r.Kind, r.Seq), nil); err != nil {
		return err
	}
	if r.action == "" {
		return nil
	}
	if r.Kind == engine.EntryEnded {
		return tx.Bucket(bucketOpen).Delete([]byte(r.action))
	}
	return tx.Bucket(bucketOpen).Put([]byte(r.action), key(r.Seq))
}
