package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"heliostat/engine"
)

const day = 24 * time.Hour

// An old is a journal of ten days, a cycle each: each has a snapshot and a plan of
// its own, and all share one history. An action of the plan of day 2, which was
// begun on day 3, is open.
type old struct {
	*Journal
	dir       string
	now       time.Time
	onNow     func()
	snapshots []string // by day
	plans     []string
	history   string
}

func newOld(tb testing.TB) *old {
	tb.Helper()
	o := &old{dir: tb.TempDir(), now: start, onNow: func() {}}
	o.Journal = openAt(tb, o.dir, Options{Now: func() time.Time { o.onNow(); return o.now }})
	o.history = put(tb, o.Journal, "a history")
	for d := range 10 {
		o.now = start.Add(time.Duration(d) * day)
		s, p := put(tb, o.Journal, fmt.Sprint("snapshot ", d)), put(tb, o.Journal, fmt.Sprint("plan ", d))
		o.snapshots, o.plans = append(o.snapshots, s), append(o.plans, p)
		cycle := uint64(d + 1)
		appendAll(tb, o.Journal,
			entry(tb, cycle, engine.EntryInput, engine.InputRecord{Snapshot: s, History: o.history}, s, o.history),
			entry(tb, cycle, engine.EntryPlan, engine.PlanRecord{Hash: fmt.Sprint("hash ", d), Digest: p}, p))
		if d == 3 {
			appendAll(tb, o.Journal, entry(tb, cycle, engine.EntryIntent, engine.ActionRecord{Action: engine.Action{ID: "c3a-1"}, State: engine.StateIntent, Plan: "hash 2"}))
		}
	}
	return o
}

// left says which days' snapshots are there.
func (o *old) left(tb testing.TB) string {
	tb.Helper()
	var s strings.Builder
	for d, digest := range o.snapshots {
		if _, err := o.Get(digest); err == nil {
			fmt.Fprint(&s, d)
		} else if !errors.Is(err, os.ErrNotExist) {
			tb.Error(err)
		}
	}
	return s.String()
}

func (o *old) prune(tb testing.TB, keep time.Duration) Pruned {
	tb.Helper()
	p, err := o.Prune(tb.Context(), keep, "me")
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func (o *old) verified(tb testing.TB, pruned int) Report {
	tb.Helper()
	r, err := o.Verify(tb.Context())
	if err != nil || r.Pruned != pruned {
		tb.Errorf("%+v, %v; want %d pruned", r, err, pruned)
	}
	return r
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	o := newOld(t)
	if p := o.prune(t, 9*day); p != (Pruned{}) || o.Last().Kind == engine.EntryOperator {
		t.Errorf("nothing is that old: %+v", p)
	}
	if _, err := o.Prune(t.Context(), MinKeep-1, "me"); err == nil {
		t.Error("less than a day")
	}
	was := o.Last().Seq
	orphan := put(t, o.Journal, "put, and not yet referred to")
	p := o.prune(t, 4*day)
	// Of days 0 to 4 the open action needs day 2, where it was planned, and day 3.
	if got := o.left(t); got != "2356789" {
		t.Errorf("snapshots of days %s are left", got)
	}
	if p.Blobs != 6 || p.Bytes == 0 || p.Entry != was+1 || p.Cut != 11 {
		t.Errorf("%+v", p)
	}
	for _, digest := range []string{o.history, orphan, o.plans[2], o.plans[3]} {
		if _, err := o.Get(digest); err != nil {
			t.Error(err)
		}
	}
	if r := o.verified(t, 6); r.PrunedBy != p.Entry || r.Entries != was+1 {
		t.Errorf("%+v", r)
	}
	if again := o.prune(t, 4*day); again.Entry != 0 || o.Last().Seq != was+1 {
		t.Errorf("again: %+v", again)
	}

	// The action ends, and everything grows old but the last of each.
	o.now = o.now.Add(100 * day)
	appendAll(t, o.Journal, action(t, 10, engine.EntryEnded, "c3a-1", engine.StateSucceeded))
	o.now = o.now.Add(100 * day)
	if p := o.prune(t, day); p.Cut != was+2 || o.left(t) != "9" {
		t.Errorf("%+v: %s", p, o.left(t))
	}
	if _, err := o.Get(o.history); err != nil {
		t.Error(err)
	}
	o.verified(t, 18)
	closeIt(t, o.Journal)
	o.Journal = openAt(t, o.dir, Options{ReadOnly: true})
	o.verified(t, 18)
}

// What may be missing is what the cut says, and no more.
// The policies that were in force when what is kept begins are kept with it.
func TestPruneKeepsThePoliciesInForce(t *testing.T) {
	now := start
	j := openAt(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	defer closeIt(t, j)
	var bundles []string
	for d := range 10 {
		now = start.Add(time.Duration(d) * day)
		s := put(t, j, fmt.Sprint("snapshot ", d))
		appendAll(t, j, entry(t, uint64(d+1), engine.EntryInput, engine.InputRecord{Snapshot: s}, s))
		if d%4 == 0 { // days 0, 4 and 8
			b := put(t, j, fmt.Sprint("policies ", d))
			bundles = append(bundles, b)
			appendAll(t, j, entry(t, uint64(d+1), engine.EntryRevision, engine.RevisionRecord{Bundle: b}, b))
		}
	}
	if _, err := j.Prune(t.Context(), 3*day, "me"); err != nil { // days 6 to 9 are kept
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, true} {
		if _, err := j.Get(bundles[i]); (err == nil) != want {
			t.Errorf("policies of day %d: %v", 4*i, err)
		}
	}
	if _, err := j.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPruningHidesNoDamage(t *testing.T) {
	for name, digest := range map[string]func(*old) string{
		"newer":             func(o *old) string { return o.snapshots[5] },
		"of an open action": func(o *old) string { return o.plans[2] },
		"shared":            func(o *old) string { return o.history },
	} {
		o := newOld(t)
		p := o.prune(t, 4*day)
		file, err := blobName(digest(o))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(o.dir, file)); err != nil {
			t.Fatal(err)
		}
		if got, err := verify(t, o.Journal); got <= p.Cut {
			t.Errorf("%s: entry %d: %v", name, got, err)
		}
	}
	o := newOld(t)
	appendAll(t, o.Journal, entry(t, 11, engine.EntryOperator, engine.OperatorRecord{Op: "prune", Cut: 1000}))
	file, err := blobName(o.snapshots[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(o.dir, file)); err != nil {
		t.Fatal(err)
	}
	if got, err := verify(t, o.Journal); got != 1 {
		t.Errorf("a cut beyond its own entry: %v", err)
	}
}

// A crash between the entry and the last removal leaves what the next one removes.
func TestPruneThatWasCutShort(t *testing.T) {
	o := newOld(t)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	o.onNow = func() { // the second time is when the entry is dated
		if calls++; calls == 2 {
			cancel()
		}
	}
	was := o.Last().Seq
	if _, err := o.Prune(ctx, 4*day, "me"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if o.left(t) != "0123456789" || o.Last().Seq != was+1 {
		t.Fatalf("it was to stop after its entry: %s", o.left(t))
	}
	o.onNow = func() {}
	o.verified(t, 0)
	if p := o.prune(t, 4*day); p.Blobs != 6 || o.left(t) != "2356789" {
		t.Errorf("%+v: %s", p, o.left(t))
	}
	o.verified(t, 6)
}

// While old values are pruned, the same values are put and referred to again.
func TestPruneWhileOthersAppend(t *testing.T) {
	for range 5 {
		o := newOld(t)
		o.db.NoSync = true
		var g sync.WaitGroup
		for worker := range 4 {
			g.Go(func() {
				for d := range 10 {
					digest, err := o.Put(t.Context(), fmt.Append(nil, "snapshot ", (d+worker)%10))
					if err != nil {
						t.Error(err)
						return
					}
					e := entry(t, 11, engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest)
					if err := o.Append(t.Context(), e); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 5 {
			o.prune(t, day)
		}
		g.Wait()
		if _, err := o.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		closeIt(t, o.Journal)
	}
}
