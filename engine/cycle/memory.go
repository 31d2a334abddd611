package cycle

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/engine/plan"
)

// A Reader reads a journal.
type Reader interface {
	Entries(from uint64) iter.Seq2[engine.Entry, error]
	Get(digest string) ([]byte, error)
}

// A Memory is what a journal says about where an earlier process stood.
type Memory struct {
	Cycle   uint64
	History *engine.History
	Open    []engine.ActionRecord // intents and tasks without an end
	Paused  *engine.OperatorRecord
	ended   []engine.ActionRecord // ended and in no journaled history
	Unseen  []engine.ActionRecord // moves shortly before, of whose VMs no entry says how they are
	// released are out of quarantine, and in no journaled history.
	released []engine.Subject
	ordered  []engine.OperatorRecord // evacuations
	rejected map[string]time.Time    // when plans were, by hash
}

// lookedWithin is how long after a move at most somebody looks at its VM: two of the
// longest windows that the executor may be given. What was to be looked at when a
// process died was moved no longer before its last entry.
const lookedWithin = 2 * time.Hour

// Remember reads a journal from its beginning. An empty journal gives an empty memory.
func Remember(r Reader) (Memory, error) {
	m := Memory{History: &engine.History{}, rejected: map[string]time.Time{}}
	var history string
	open := map[string]engine.ActionRecord{}
	ended := map[string]engine.ActionRecord{}
	unseen := map[string]engine.ActionRecord{}
	var last time.Time
	for e, err := range r.Entries(1) {
		if err != nil {
			return m, fmt.Errorf("read journal: %w", err)
		}
		m.Cycle, last = max(m.Cycle, e.Cycle), e.At
		switch e.Kind {
		case engine.EntryInput:
			var rec engine.InputRecord
			if err := json.Unmarshal(e.Data, &rec); err != nil {
				return m, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			history = rec.History
			m.released = nil
			for _, id := range rec.Ended {
				delete(ended, id)
			}
		case engine.EntryIntent, engine.EntryTask, engine.EntryEnded:
			var rec engine.ActionRecord
			if err := json.Unmarshal(e.Data, &rec); err != nil {
				return m, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			if e.Kind == engine.EntryEnded {
				delete(open, rec.Action.ID)
				ended[rec.Action.ID] = rec
				if execute.Observed(&rec) {
					unseen[rec.Action.ID] = rec
				}
			} else {
				open[rec.Action.ID] = rec
			}
		case engine.EntryHealth:
			var rec engine.HealthRecord
			if err := json.Unmarshal(e.Data, &rec); err != nil {
				return m, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			delete(unseen, rec.Action)
		case engine.EntryApproval:
			var rec engine.ApprovalRecord
			if err := json.Unmarshal(e.Data, &rec); err != nil {
				return m, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			if !rec.Approved {
				m.rejected[rec.Hash] = e.At
			}
		case engine.EntryOperator:
			var rec engine.OperatorRecord
			if err := json.Unmarshal(e.Data, &rec); err != nil {
				return m, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			switch rec.Op {
			case "pause":
				m.Paused = &rec
			case "resume":
				m.Paused = nil
			case "release":
				m.released = append(m.released, rec.Subject)
			case opEvacuate, opCancel:
				m.ordered = takeOrder(m.ordered, rec)
			}
		default:
		}
	}
	maps.DeleteFunc(unseen, func(_ string, r engine.ActionRecord) bool { return r.Ended < engine.At(last.Add(-lookedWithin)) })
	m.Open, m.ended, m.Unseen = inOrder(open), inOrder(ended), inOrder(unseen)
	if history != "" {
		b, err := r.Get(history)
		if err != nil {
			return m, fmt.Errorf("read history: %w", err)
		}
		if err := json.Unmarshal(b, m.History); err != nil {
			return m, fmt.Errorf("read history: %w", err)
		}
	}
	return m, nil
}

// baseAge is for how long values are kept as what differs from one base: damage to
// it costs no more than that.
const baseAge = time.Hour

// A base is the value that the next one in its line is laid against.
type base struct {
	digest string
	since  time.Time
}

// keep puts a value that every cycle has one of, and returns its digest.
func (l *Loop) keep(ctx context.Context, line string, v any) (digest string, err error) {
	b, err := engine.Encode(v)
	if err != nil {
		return "", err
	}
	was := l.bases[line]
	if time.Since(was.since) >= baseAge {
		was.digest = ""
	}
	digest, next, err := l.Journal.PutLike(ctx, b, was.digest)
	if err != nil {
		return "", journalError{err}
	}
	if next != was.digest {
		l.bases[line] = base{next, time.Now()}
	}
	return digest, nil
}

func inOrder(recs map[string]engine.ActionRecord) []engine.ActionRecord {
	out := make([]engine.ActionRecord, 0, len(recs))
	for _, r := range recs {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b engine.ActionRecord) int { return compareIDs(a.Action.ID, b.Action.ID) })
	return out
}

// compareIDs orders action IDs by cycle, level and number, so that c4a-2 comes before
// c4a-11, and that before c10-1.
func compareIDs(a, b string) int {
	cycleA, levelA, nA := idOf(a)
	cycleB, levelB, nB := idOf(b)
	return cmp.Or(cmp.Compare(cycleA, cycleB), cmp.Compare(levelA, levelB), cmp.Compare(nA, nB))
}

// idOf takes an action's ID apart; what is not a number counts as 0.
func idOf(id string) (cycle uint64, level string, n uint64) {
	head, tail, _ := strings.Cut(strings.TrimPrefix(id, "c"), "-")
	level = strings.TrimLeft(head, "0123456789")
	cycle, _ = strconv.ParseUint(strings.TrimSuffix(head, level), 10, 64)
	n, _ = strconv.ParseUint(tail, 10, 64)
	return cycle, level, n
}

// Restore makes the loop ready to run, where an earlier process left off: open
// actions are adopted, history and a pause go on, and what was rejected is not offered
// again. What waits for approval is planned and approved anew. Call it once, before Run.
func (l *Loop) Restore(ctx context.Context, m Memory) {
	l.history, l.cycle, l.paused, l.released, l.ordered = m.History, m.Cycle, m.Paused, m.released, m.ordered
	now := time.Now()
	for hash, at := range m.rejected {
		if at.After(now) {
			at = now // the clock has been set back
		}
		l.rejected[hash] = at.Add(l.ApprovalTTL)
	}
	l.gate.restore(&m)
	if l.paused != nil {
		l.gate.stop("paused by " + l.paused.Who + ": " + l.paused.Reason)
	}
	l.shown.Revision = l.Policy.Revision()
	l.standing.Serving = l.shown.Revision
	l.Executor.Recover(ctx, m.Open, m.ended)
	l.Executor.LookAgain(ctx, m.Unseen)
}

// Rebuild builds a journaled plan again from its journaled input. in is what
// [plan.Build] was given, want the canonical bytes of what it returned then.
func Rebuild(r Reader, input engine.InputRecord, planned engine.PlanRecord) (in engine.Input, got, want []byte, err error) {
	in, err = ReadInput(r, input)
	if err != nil {
		return in, nil, nil, err
	}
	if want, err = r.Get(planned.Digest); err != nil {
		return in, nil, nil, fmt.Errorf("read plan: %w", err)
	}
	got, err = engine.Encode(plan.Build(in))
	return in, got, want, err
}

// ReadInput reads back what a plan was made from.
func ReadInput(r Reader, rec engine.InputRecord) (engine.Input, error) {
	var in engine.Input
	var d engine.Decision
	s, h := &engine.Snapshot{}, &engine.History{}
	for _, x := range []struct {
		what, digest string
		to           any
	}{{"input", rec.Rest, &in}, {"snapshot", rec.Snapshot, s}, {"history", rec.History, h}, {"decision", rec.Decision, &d}} {
		b, err := r.Get(x.digest)
		if err != nil {
			return in, fmt.Errorf("read %s: %w", x.what, err)
		}
		if err := json.Unmarshal(b, x.to); err != nil {
			return in, fmt.Errorf("read %s: %w", x.what, err)
		}
	}
	in.Snapshot, in.History, in.Decision = s, h, d.Audience(in.Level, in.Shadow)
	return in, nil
}
