package cycle

import (
	"iter"
	"testing"
	"time"

	"heliostat/engine"
)

// written is a journal in memory.
type written []engine.Entry

func (w written) Entries(uint64) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		for _, e := range w {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (w written) Get(string) ([]byte, error) { return nil, nil }

// TestRememberUnseen: live moves shortly before the end of the journal, of whose VMs
// no entry says how they are, are looked at again.
func TestRememberUnseen(t *testing.T) {
	t0 := time.Unix(1_800_000_000, 0)
	var w written
	add := func(at time.Time, kind engine.EntryKind, data any) {
		e, err := engine.NewEntry(1, kind, data)
		if err != nil {
			t.Fatal(err)
		}
		e.At = at
		w = append(w, e)
	}
	ended := func(id string, at time.Time, change func(*engine.ActionRecord)) {
		r := engine.ActionRecord{Action: engine.Action{ID: id, Kind: engine.Move}, State: engine.StateSucceeded, Ended: engine.At(at)}
		if change != nil {
			change(&r)
		}
		add(at, engine.EntryEnded, r)
	}
	now := t0.Add(3 * time.Hour)
	ended("c1-1", t0, nil) // long ago, by a process that did not look
	ended("c2-1", now, nil)
	add(now, engine.EntryHealth, engine.HealthRecord{Action: "c2-1", Well: true})
	ended("c2-2", now, nil)
	ended("c2-3", now, func(r *engine.ActionRecord) { r.Action.Cold = true })
	ended("c2-4", now, func(r *engine.ActionRecord) { r.State = engine.StateFailed })
	ended("c2-5", now, func(r *engine.ActionRecord) { r.Action.Kind = engine.Standby })
	m, err := Remember(w)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Unseen) != 1 || m.Unseen[0].Action.ID != "c2-2" {
		t.Errorf("to be looked at: %+v", m.Unseen)
	}
}

func TestCompareIDs(t *testing.T) {
	ids := []string{"c4-2", "c4-11", "c4a-1", "c4a-2", "c4a-11", "c10-1", "c10a-3"}
	for i := range ids {
		for k := range ids {
			if got := compareIDs(ids[i], ids[k]); (got < 0) != (i < k) || (got == 0) != (i == k) {
				t.Errorf("%s and %s: %d", ids[i], ids[k], got)
			}
		}
	}
}
