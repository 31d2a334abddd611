package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime/debug"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"heliostat/engine"
)

// A DamageError says what in the journal is not as it was written, by the number
// of the first entry concerned; 0 when it is the file itself. It wraps [ErrDamaged].
type DamageError struct {
	Seq  uint64 `json:"seq"`
	What string `json:"what"`
}

// Error implements error.
func (e *DamageError) Error() string {
	if e.Seq == 0 {
		return "damaged: " + e.What
	}
	return fmt.Sprintf("entry %d: %s", e.Seq, e.What)
}

// Unwrap makes every DamageError an ErrDamaged.
func (e *DamageError) Unwrap() error { return ErrDamaged }

// A Report is what Verify looked at.
type Report struct {
	Entries uint64 `json:"entries"`
	Blobs   int    `json:"blobs"`      // distinct
	Bytes   int64  `json:"blob_bytes"` // of the blobs, uncompressed
	Open    int    `json:"open"`       // actions without an end
	Head    string `json:"head"`       // hash of the last entry
	// Pruned are the distinct blobs that are gone because entry PrunedBy says so.
	Pruned   int    `json:"pruned,omitempty"`
	PrunedBy uint64 `json:"pruned_by,omitempty"`
}

// Verify reads the whole journal up to its last entry: numbers, chain and hashes,
// the exact bytes of each entry, the indices, and every blob referred to,
// but for those that a prune has removed. The error is a [DamageError] for the first entry that is damaged or refers to a
// damaged blob; the report then says how far it came.
//
// A chain alone cannot tell that its end was cut off together with the head;
// compare Report.Head with a checkpoint kept elsewhere for that. Damage to bbolt's
// own pages may also crash or hang the reader: run it in a process of its own.
func (j *Journal) Verify(ctx context.Context) (r Report, err error) { return j.VerifyWith(ctx, j.Get) }

// VerifyWith is Verify for a copy of journal.db whose blobs are elsewhere: get
// returns the blob with the digest, checked against it; nil leaves the blobs out.
func (j *Journal) VerifyWith(ctx context.Context, get func(digest string) ([]byte, error)) (r Report, err error) {
	v := verifier{j: j, get: get, seen: map[string]bool{}, gone: map[string]bool{}, open: map[string]uint64{}, alerts: map[string]engine.Alert{}}
	// Damaged pages make bbolt panic, or read where nothing is mapped.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			r, err = v.report, &DamageError{Seq: v.report.Entries + 1, What: fmt.Sprint("its page cannot be read: ", p)}
		}
	}()
	err = v.run(ctx)
	return v.report, err
}

type verifier struct {
	j      *Journal
	get    func(digest string) ([]byte, error)
	report Report
	prev   string
	seen   map[string]bool         // blobs that were looked at
	gone   map[string]bool         // blobs that were looked for and may be missing
	cut    uint64                  // the last entry whose blobs may be missing
	bare   bool                    // a journal of the schema before, without a tree
	open   map[string]uint64       // what the bucket of open actions should hold
	alerts map[string]engine.Alert // what was journaled last of each fingerprint
}

func (v *verifier) run(ctx context.Context) error {
	var want []byte // head of the chain when Verify began
	var last uint64 // number of the last entry then
	err := v.j.db.View(func(tx *bbolt.Tx) error {
		want = bytes.Clone(tx.Bucket(bucketMeta).Get(keyHead))
		v.bare = string(tx.Bucket(bucketMeta).Get(keySchema)) == schemaBefore
		k, _ := tx.Bucket(bucketEntries).Cursor().Last()
		last = seqOf(k)
		return nil
	})
	if err != nil {
		return err
	}
	// Where operator entries cannot be read there is no cut, and damage to name.
	cut, by, err := v.j.pruned()
	if err == nil {
		v.cut = cut
	}
	before := uint64(0) // entries that an excerpt does not have
	if x := v.j.excerpt; x != nil {
		before, v.prev, v.cut = x.From-1, x.Prev, max(v.cut, x.Cut)
		v.report.Entries = before
	}
	for v.report.Entries < last {
		if err := ctx.Err(); err != nil {
			return err
		}
		raws, err := v.j.read(v.report.Entries+1, last)
		if err != nil {
			return err
		}
		if len(raws) == 0 {
			return &DamageError{Seq: v.report.Entries + 1, What: "missing"}
		}
		for _, r := range raws {
			if err := v.entry(ctx, r); err != nil {
				return err
			}
		}
	}
	if string(head(&engine.Entry{Seq: v.report.Entries, Hash: v.prev})) != string(want) {
		return &DamageError{Seq: last, What: fmt.Sprintf("the journal ends here, its head says entry %d", seqOf(want[:min(8, len(want))]))}
	}
	v.report.Head, v.report.Open = v.prev, len(v.open)
	if len(v.gone) > 0 {
		v.report.Pruned, v.report.PrunedBy = len(v.gone), by
	}
	v.report.Entries -= before
	return v.indices(last, before)
}

func (v *verifier) entry(ctx context.Context, r stored) error {
	seq := v.report.Entries + 1
	if r.seq != seq {
		return &DamageError{Seq: seq, What: "missing"}
	}
	e, err := decode(seq, r.raw)
	if err != nil {
		return err
	}
	if err := e.Verify(seq, v.prev); err != nil {
		return &DamageError{Seq: seq, What: err.Error()}
	}
	// JSON has many spellings of one value; only the one that was written will do.
	if raw, err := engine.Encode(e); err != nil || !bytes.Equal(raw, r.raw) {
		return &DamageError{Seq: seq, What: "not in canonical encoding"}
	}
	if err := v.fold(&e); err != nil {
		return &DamageError{Seq: seq, What: err.Error()}
	}
	for _, digest := range e.Blobs {
		if err := v.blob(ctx, seq, digest); err != nil {
			return err
		}
	}
	if err := v.indexed(&e, r.raw); err != nil {
		return err
	}
	v.report.Entries, v.prev = seq, e.Hash
	return nil
}

// fold keeps what the buckets beside the entries should hold.
func (v *verifier) fold(e *engine.Entry) error {
	if e.Kind == engine.EntryAlert {
		var a engine.Alert
		err := json.Unmarshal(e.Data, &a)
		v.alerts[a.Fingerprint] = a
		return err
	}
	action, err := actionOf(e)
	switch {
	case err != nil || action == "":
	case e.Kind == engine.EntryEnded:
		delete(v.open, action)
	default:
		v.open[action] = e.Seq
	}
	return err
}

func (v *verifier) blob(ctx context.Context, seq uint64, digest string) error {
	// A later entry than the cut that refers to what is gone looks for it again.
	if v.get == nil || v.seen[digest] || (seq <= v.cut && v.gone[digest]) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := v.get(digest)
	switch {
	case errors.Is(err, fs.ErrNotExist) && seq <= v.cut:
		v.gone[digest] = true
		return nil
	case errors.Is(err, fs.ErrNotExist):
		what := fmt.Sprintf("blob %s is missing", digest)
		if base, ok := errors.AsType[missingBase](err); ok {
			what = fmt.Sprintf("blob %s: %v", digest, base)
		}
		return &DamageError{Seq: seq, What: what}
	case err != nil:
		return &DamageError{Seq: seq, What: err.Error()}
	}
	v.seen[digest] = true
	v.report.Blobs++
	v.report.Bytes += int64(len(b))
	return nil
}

func (v *verifier) indexed(e *engine.Entry, raw []byte) error {
	return v.j.db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketCycles).Get(cycleKey(e.Cycle, e.Seq)) == nil || tx.Bucket(bucketKinds).Get(kindKey(e.Kind, e.Seq)) == nil {
			return &DamageError{Seq: e.Seq, What: "not in the indices"}
		}
		if v.bare {
			return nil
		}
		return grown(tx, e.Seq, raw)
	})
}

// indices looks for what the indices hold too much, and at what is kept beside
// the entries. Entries that were appended meanwhile are passed over.
func (v *verifier) indices(last, before uint64) error {
	return v.j.db.View(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketCycles, bucketKinds} {
			var n uint64
			err := tx.Bucket(name).ForEach(func(k, value []byte) error {
				if seqOf(k) <= last {
					n++
				}
				if len(value) > 0 {
					return &DamageError{Seq: seqOf(k), What: fmt.Sprintf("the index of %s holds a value for it", name)}
				}
				return nil
			})
			if err != nil {
				return err
			}
			if n != last-before {
				return &DamageError{Seq: last, What: fmt.Sprintf("the index of %s has %d keys for %d entries", name, n, last-before)}
			}
		}
		if k, _ := tx.Bucket(bucketEntries).Cursor().Last(); seqOf(k) != last {
			return nil // what is open may have changed since
		}
		if !v.bare {
			k, _ := tx.Bucket(bucketTree).Cursor().Last()
			if n := tlog.StoredHashCount(int64(last)); last > 0 && seqOf(k) != uint64(n)-1 || last == 0 && k != nil {
				return &DamageError{Seq: last, What: fmt.Sprintf("the tree has more than %d hashes", n)}
			}
		}
		if v.j.excerpt != nil {
			return v.sameOpen(tx, last) // alerts in force are no part of an export
		}
		return errors.Join(v.sameOpen(tx, last), v.sameAlerts(tx, last))
	})
}

func (v *verifier) sameOpen(tx *bbolt.Tx, last uint64) error {
	open := map[string]uint64{}
	err := tx.Bucket(bucketOpen).ForEach(func(id, seq []byte) error {
		open[string(id)] = seqOf(seq)
		return nil
	})
	if err == nil && !maps.Equal(open, v.open) {
		return &DamageError{Seq: last, What: fmt.Sprintf("the open actions are %d by the index, %d by the entries", len(open), len(v.open))}
	}
	return err
}

// sameAlerts compares the alerts with those journaled: repetitions have moved
// their times on, and resolved ones may be forgotten.
func (v *verifier) sameAlerts(tx *bbolt.Tx, last uint64) error {
	err := tx.Bucket(bucketAlerts).ForEach(func(fingerprint, raw []byte) error {
		var a engine.Alert
		want, ok := v.alerts[string(fingerprint)]
		err := json.Unmarshal(raw, &a)
		if err == nil && a.ReceivedAt >= want.ReceivedAt && a.ExpiresAt >= want.ExpiresAt {
			want.ReceivedAt, want.ExpiresAt = a.ReceivedAt, a.ExpiresAt
		}
		if err != nil || !ok || a != want {
			return &DamageError{Seq: last, What: fmt.Sprintf("alert %q is not as it was journaled", fingerprint)}
		}
		delete(v.alerts, string(fingerprint))
		return nil
	})
	if err != nil {
		return err
	}
	for fingerprint, a := range v.alerts {
		if a.Status == firing {
			return &DamageError{Seq: last, What: fmt.Sprintf("alert %q was journaled and is missing", fingerprint)}
		}
	}
	return nil
}
