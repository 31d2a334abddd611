package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

// MinKeep is the least that may be kept: a day, within which replaying what the
// daemon did is daily work.
const MinKeep = 24 * time.Hour

// Pruned is what Prune did.
type Pruned struct {
	Cut   uint64 `json:"cut"`        // the last entry that is older than what is kept; 0 when none is
	Entry uint64 `json:"entry"`      // the operator entry that records the cut; 0 when nothing was removed
	Blobs int    `json:"blobs"`      // removed
	Bytes int64  `json:"blob_bytes"` // freed, as they were compressed
}

// Prune removes the blobs that only entries older than keep refer to, and those
// that no entry does. It spares the bases of values that stay, and what an open action, the last plan, the last
// decision, the last history and the policies in force since need, however old they
// are. Entries stay, so the
// chain is whole; [Journal.Verify] passes over what is pruned. who is for the
// entry that says so. The daemon may go on meanwhile, but only one Prune at a time.
func (j *Journal) Prune(ctx context.Context, keep time.Duration, who string) (p Pruned, err error) {
	if keep < MinKeep {
		return p, fmt.Errorf("prune: to keep %v is less than %v", keep, MinKeep)
	}
	if err := j.beginPrune(ctx); err != nil {
		return p, fmt.Errorf("prune: %w", err)
	}
	defer j.endPrune()
	if p.Cut, err = j.cut(j.now().Add(-keep)); err != nil || p.Cut == 0 {
		return p, err
	}
	victims, kept, err := j.victims(ctx, p.Cut)
	if err != nil || len(victims) == 0 {
		return p, err
	}
	// The entry comes first, and refers to what is spared, so that all that older
	// entries alone refer to may be missing from now on. A crash after it leaves
	// blobs that the next Prune removes. Were they removed first, a crash would
	// leave a journal that looks damaged.
	e, err := engine.NewEntry(j.Last().Cycle, engine.EntryOperator, engine.OperatorRecord{
		Op: "prune", Who: who, Cut: p.Cut, Reason: fmt.Sprintf("%d values that only entries up to %d refer to", len(victims), p.Cut),
	}, kept...)
	if err != nil {
		return p, err
	}
	if err := j.Append(ctx, e); err != nil {
		return p, err
	}
	if _, p.Entry, err = j.pruned(); err != nil {
		return p, err
	}
	for _, digest := range victims {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		n, err := j.remove(digest)
		if err != nil {
			return p, fmt.Errorf("prune: %w", err)
		}
		if n > 0 {
			p.Blobs, p.Bytes = p.Blobs+1, p.Bytes+n
		}
	}
	// Directories are not synced: a blob that a power cut brings back does no
	// harm, and goes with the next Prune.
	return p, nil
}

// beginPrune begins to write down what is put or referred to from now on. What
// was put before and has no entry yet is spared too.
func (j *Journal) beginPrune(ctx context.Context) error {
	j.laying.Lock()
	defer j.laying.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.writable(ctx); err != nil {
		return err
	}
	if j.spared != nil {
		return errors.New("it is being pruned")
	}
	j.spared = maps.Clone(j.pending)
	return nil
}

func (j *Journal) endPrune() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spared = nil
}

// remove removes a blob that nobody has asked for since the prune began, and
// returns its size. Put and Append say that they need it under the same lock:
// before, it is spared; after, Put finds it gone and writes it again.
func (j *Journal) remove(digest string) (size int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.spared[digest] {
		return 0, nil
	}
	for _, file := range []func(string) (string, error){blobName, deltaName} {
		name, err := file(digest)
		if err != nil {
			return size, err
		}
		info, err := j.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = j.root.Remove(name)
		}
		if err != nil {
			return size, err
		}
		size += info.Size()
	}
	return size, nil
}

// cut is the number of the last of the entries from the first on that are all
// older than a moment; what an earlier prune has cut counts as older.
func (j *Journal) cut(before time.Time) (uint64, error) {
	cut, _, err := j.pruned()
	if err != nil {
		return 0, err
	}
	for e, err := range j.Entries(cut + 1) {
		if err != nil {
			return 0, err
		}
		if !e.At.Before(before) {
			break
		}
		cut = e.Seq
	}
	return cut, nil
}

// pruned returns the furthest cut, and the entry that records it; 0 for none.
func (j *Journal) pruned() (cut, by uint64, err error) {
	entries, err := j.Kind(engine.EntryOperator)
	if err != nil {
		return 0, 0, err
	}
	for i := range entries {
		var rec engine.OperatorRecord
		if err := json.Unmarshal(entries[i].Data, &rec); err != nil {
			return 0, 0, &DamageError{Seq: entries[i].Seq, What: err.Error()}
		}
		if rec.Op == "prune" && rec.Cut >= cut && rec.Cut < entries[i].Seq {
			cut, by = rec.Cut, entries[i].Seq
		}
	}
	return cut, by, nil
}

// victims are the blobs that nothing after the cut refers to, in order: those to
// remove, and those that are needed all the same.
func (j *Journal) victims(ctx context.Context, cut uint64) (victims, kept []string, err error) {
	there, deltas, err := j.digests(ctx)
	if err != nil {
		return nil, nil, err
	}
	for e, err := range j.Entries(cut + 1) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, nil, err
		}
		for _, digest := range e.Blobs {
			delete(there, digest)
		}
	}
	cycles, err := j.needed()
	if err != nil {
		return nil, nil, err
	}
	for cycle := range cycles {
		entries, err := j.Cycle(cycle)
		if err != nil {
			return nil, nil, err
		}
		for i := range entries {
			if entries[i].Kind == engine.EntryOperator {
				continue // an earlier prune: what it spared has had its day
			}
			for _, digest := range entries[i].Blobs {
				if there[digest] {
					delete(there, digest)
					kept = append(kept, digest)
				}
			}
		}
	}
	// Decisions after the cut may be of the policies that came into service before it.
	policies, err := j.policiesAt(cut)
	if err != nil {
		return nil, nil, err
	}
	for _, digest := range policies {
		if there[digest] {
			delete(there, digest)
			kept = append(kept, digest)
		}
	}
	// What is spared now is no reason for an entry; remove looks again.
	j.mu.Lock()
	maps.DeleteFunc(there, func(digest string, _ bool) bool { return j.spared[digest] })
	j.mu.Unlock()
	// Nor is what a delta that stays is laid against: no entry refers to it for that.
	for _, digest := range deltas {
		if there[digest] {
			continue
		}
		base, err := j.baseOf(digest)
		if err != nil {
			return nil, nil, err
		}
		delete(there, base)
	}
	slices.Sort(kept)
	return slices.Sorted(maps.Keys(there)), kept, nil
}

// policiesAt are the blobs of the policies that were in force at an entry.
func (j *Journal) policiesAt(cut uint64) ([]string, error) {
	entries, err := j.Kind(engine.EntryRevision)
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(entries) {
		if e.Seq <= cut {
			return e.Blobs, nil
		}
	}
	return nil, nil
}

// digests lists the blobs that are there, and which are there as deltas.
func (j *Journal) digests(ctx context.Context) (there map[string]bool, deltas []string, err error) {
	there = map[string]bool{}
	err = fs.WalkDir(j.root.FS(), blobDir, func(name string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || d.IsDir() {
			return err
		}
		// What does not look like a blob is not ours to remove.
		digest, _, _ := strings.Cut(path.Base(name), ".")
		if want, err := blobName(digest); err == nil && want == name {
			there[digest] = true
		}
		if want, err := deltaName(digest); err == nil && want == name {
			there[digest] = true
			deltas = append(deltas, digest)
		}
		return nil
	})
	return there, deltas, err
}

// needed are the cycles whose blobs are needed whatever their age.
func (j *Journal) needed() (map[uint64]bool, error) {
	cycles := map[uint64]bool{}
	for _, kind := range []engine.EntryKind{engine.EntryInput, engine.EntryDecision, engine.EntryPlan} {
		e, ok, err := j.LastOf(kind)
		if err != nil {
			return nil, err
		}
		if ok {
			cycles[e.Cycle] = true
		}
	}
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketOpen).ForEach(func(_, seq []byte) error {
			e, ok, err := entryAt(tx, seqOf(seq))
			if err != nil || !ok {
				return err
			}
			cycles[e.Cycle] = true
			var rec engine.ActionRecord
			if err := json.Unmarshal(e.Data, &rec); err != nil {
				return err
			}
			cycle, ok, err := planned(tx, rec.Plan, e.Seq)
			if ok {
				cycles[cycle] = true
			}
			return err
		})
	})
	return cycles, err
}

// planned returns the cycle of the latest plan of a hash before an entry: an
// approved one may be older than the cycle that carries it out.
func planned(tx *bbolt.Tx, hash string, before uint64) (cycle uint64, ok bool, err error) {
	prefix := append([]byte(engine.EntryPlan), 0)
	c := tx.Bucket(bucketKinds).Cursor()
	k, _ := c.Seek(kindKey(engine.EntryPlan, before))
	if k == nil {
		k, _ = c.Last()
	} else {
		k, _ = c.Prev()
	}
	for ; strings.HasPrefix(string(k), string(prefix)); k, _ = c.Prev() {
		e, there, err := entryAt(tx, seqOf(k))
		if err != nil || !there {
			return 0, false, err
		}
		var rec engine.PlanRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			return 0, false, err
		}
		if rec.Hash == hash {
			return e.Cycle, true, nil
		}
	}
	return 0, false, nil
}
