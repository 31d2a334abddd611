// Package backtest runs policies over journaled history: what they would have said
// and what would have been planned in each recorded cycle, and what would have come
// of it, had they been in force all along.
//
// # On the record
//
// [Record.Run] lays each recorded input before a bundle: the same snapshot, history and
// open actions, through the same evaluator, vetoes and planner. The bundle that was
// in force gives what is journaled, byte for byte; another one shows where its
// decisions and plans part from the record.
//
// # Forward
//
// [Record.Run] also lets the fleet go its own way from the first recorded cycle on.
// Loads, prices, sun, hazards, windows, and what persons did follow the record;
// where VMs stand and which hosts sleep follow the simulated actions, which take as
// long as they were estimated to take and end well. The cycles are those of the
// record, which is measured itself by the same model of power, so that only what was
// done is compared. The model knows neither failures nor the
// rails between plan and executor (ramp, breakers, budgets by host and site); what
// the rails said about evacuations is taken from the record (see [cycle.Relay]).
package backtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/engine/plan"
)

// A Policy is a bundle of policies: see [cycle.Policy].
type Policy interface {
	Evaluate(ctx context.Context, v engine.View) (*engine.Decision, error)
	Deny(ctx context.Context, v engine.View, moves []engine.Action) ([]engine.Veto, error)
	Review(ctx context.Context, v engine.View, p *engine.Plan) (engine.Review, error)
}

// A Load makes a bundle with the modes and weights of the voices, which are those
// that the journal recorded of the revision in force then. It is called when they change.
type Load func(ctx context.Context, revision string, voices []engine.Voice) (Policy, error)

// A Record is a part of a journal, by cycles.
type Record struct {
	r      cycle.Reader
	frames []frame
}

// A frame is one recorded cycle.
type frame struct {
	cycle    uint64
	revision string
	plans    []planned
	begun    []engine.ActionRecord // intents, since the frame before
	ended    []engine.ActionRecord // since the frame before
}

type planned struct {
	input engine.InputRecord
	plan  engine.PlanRecord
}

// Read reads the cycles from a moment up to another; zero is the beginning, or the end.
func Read(r cycle.Reader, from, to time.Time) (*Record, error) {
	rec := &Record{r: r}
	var f frame
	for e, err := range r.Entries(1) {
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		if e.At.Before(from) || (!to.IsZero() && !e.At.Before(to)) {
			continue
		}
		if err := f.take(&e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		if e.Kind == engine.EntryCycle {
			if f.enforced() != nil {
				rec.frames = append(rec.frames, f)
				f.begun, f.ended = nil, nil
			}
			f = frame{begun: f.begun, ended: f.ended}
		}
	}
	if len(rec.frames) == 0 {
		return nil, fmt.Errorf("the journal has no cycle with a plan%s", span(from, to))
	}
	return rec, nil
}

func span(from, to time.Time) (s string) {
	if !from.IsZero() {
		s = " from " + from.Format(time.RFC3339)
	}
	if !to.IsZero() {
		s += " up to " + to.Format(time.RFC3339)
	}
	return s
}

// take adds what an entry says to the frame.
func (f *frame) take(e *engine.Entry) error {
	switch e.Kind {
	case engine.EntryDecision:
		var d engine.DecisionRecord
		err := json.Unmarshal(e.Data, &d)
		f.cycle, f.revision, f.plans = e.Cycle, d.Revision, nil
		return err
	case engine.EntryInput:
		f.plans = append(f.plans, planned{})
		return json.Unmarshal(e.Data, &f.plans[len(f.plans)-1].input)
	case engine.EntryPlan:
		if len(f.plans) == 0 {
			return nil // the first is of a cycle that began before
		}
		return json.Unmarshal(e.Data, &f.plans[len(f.plans)-1].plan)
	case engine.EntryIntent, engine.EntryEnded:
		var a engine.ActionRecord
		err := json.Unmarshal(e.Data, &a)
		if e.Kind == engine.EntryIntent {
			f.begun = append(f.begun, a)
		} else {
			f.ended = append(f.ended, a)
		}
		return err
	default:
		return nil
	}
}

// enforced is the frame's plan of what is enforced, nil where it has none.
func (f *frame) enforced() *planned {
	for i := range f.plans {
		if p := &f.plans[i]; p.input.Level == engine.Enforce && p.plan.Digest != "" {
			return p
		}
	}
	return nil
}

// A moment is what all the plans of a frame were made from.
type moment struct {
	snapshot *engine.Snapshot
	history  *engine.History
	decision *engine.Decision // of all voices
	in       engine.Input     // of what is enforced
	view     engine.View      // as the policies were shown it
}

// moment reads the frame's.
func (r *Record) moment(f *frame) (*moment, error) {
	p := f.enforced()
	m := &moment{snapshot: &engine.Snapshot{}, history: &engine.History{}, decision: &engine.Decision{}}
	for _, x := range []struct {
		what, digest string
		to           any
	}{{"snapshot", p.input.Snapshot, m.snapshot}, {"history", p.input.History, m.history}, {"decision", p.input.Decision, m.decision}} {
		if err := r.read(x.what, x.digest, x.to); err != nil {
			return nil, err
		}
	}
	var err error
	if m.in, err = r.input(m, p.input.Rest); err != nil {
		return nil, err
	}
	m.view = ViewOf(&m.in)
	return m, nil
}

// each reads the frames in order and takes the steps with each, at the same time.
func (r *Record) each(ctx context.Context, steps ...func(context.Context, *frame, *moment) error) error {
	for i := range r.frames {
		f := &r.frames[i]
		m, err := r.moment(f)
		if err != nil {
			return fmt.Errorf("cycle %d: %w", f.cycle, err)
		}
		var wg sync.WaitGroup
		errs := make([]error, len(steps))
		for k, step := range steps {
			wg.Go(func() { errs[k] = step(ctx, f, m) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("cycle %d: %w", f.cycle, err)
		}
	}
	return nil
}

// input reads the rest of one plan's input.
func (r *Record) input(m *moment, digest string) (engine.Input, error) {
	var in engine.Input
	err := r.read("input", digest, &in)
	in.Snapshot, in.History = m.snapshot, m.history
	return in, err
}

func (r *Record) read(what, digest string, to any) error {
	b, err := r.r.Get(digest)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}

// Revisions are those of the bundles that were in force, in order.
func (r *Record) Revisions() (out []string) {
	for i := range r.frames {
		if x := r.frames[i].revision; len(out) == 0 || out[len(out)-1] != x {
			out = append(out, x)
		}
	}
	return out
}

// bench keeps a bundle for as long as the recorded revision, modes and weights stay
// the same.
type bench struct {
	load     Load
	policy   Policy
	revision string
	voices   []engine.Voice
}

func (b *bench) of(ctx context.Context, recorded *engine.Decision) (Policy, error) {
	voices := cycle.BundleVoices(recorded)
	if b.policy != nil && b.revision == recorded.Revision && slices.Equal(b.voices, voices) {
		return b.policy, nil
	}
	var err error
	b.policy, err = b.load(ctx, recorded.Revision, voices)
	b.revision, b.voices = recorded.Revision, voices
	return b.policy, err
}

// Cycles is how many there are.
func (r *Record) Cycles() int { return len(r.frames) }

// ViewOf is what the policies were shown when the plan of in was made.
func ViewOf(in *engine.Input) engine.View {
	v := engine.View{Now: in.Now, Snapshot: in.Snapshot, History: in.History, Windows: in.Windows, Low: in.Config.Low, Budget: plan.BudgetLeft(in.Config, in.History, in.Now)}
	for _, o := range in.Open {
		if o.Plan != "" { // what a person has approved and is not started yet names no plan, and policies do not see it
			v.Open = append(v.Open, o)
		}
	}
	return v
}
