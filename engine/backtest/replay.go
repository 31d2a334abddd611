package backtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"heliostat/engine"
	"heliostat/engine/cycle"
)

// A Replayed is what a bundle says to the recorded inputs.
type Replayed struct {
	Cycles      int `json:"cycles"`
	Plans       int `json:"plans"`
	Differences int `json:"differences"` // cycles of which the decision or a plan is not the recorded one, to the byte
	Decisions   int `json:"decisions_differ"`
	PlansDiffer int `json:"plans_differ"`
	// First is the first cycle that differs, 0 for none.
	First uint64 `json:"first,omitempty"`
	Rules []Rule `json:"rules"` // where the decisions part: recorded against bundle
}

// A replay lays the recorded inputs before a bundle.
type replay struct {
	r     *Record
	b     bench
	out   Replayed
	rules tally
}

func (x *replay) step(ctx context.Context, f *frame, m *moment) error {
	p, err := x.b.of(ctx, m.decision)
	if err != nil {
		return err
	}
	said, err := p.Evaluate(ctx, m.view)
	if err != nil {
		return err
	}
	x.rules.compare(f.cycle, m.snapshot, m.decision, said, [2][]engine.Veto{})
	said = cycle.Relay(m.decision, said, m.snapshot)
	parted, err := differs(m.decision, said)
	if err != nil {
		return err
	}
	made, n, err := x.r.replan(ctx, f, m, p, said)
	if err != nil {
		return err
	}
	out := &x.out
	out.Cycles, out.Plans, out.PlansDiffer = out.Cycles+1, out.Plans+made, out.PlansDiffer+n
	if parted {
		out.Decisions++
	}
	if parted || n > 0 {
		out.Differences++
		if out.First == 0 {
			out.First = f.cycle
		}
	}
	return nil
}

// ErrNotKept is what a [Load] fails with of a revision that it does not have.
var ErrNotKept = errors.New("is not kept")

// An Asked is what came of asking the policies that were in force once more.
type Asked struct {
	Decisions int      `json:"decisions"`
	Identical int      `json:"identical"`
	Different []uint64 `json:"different"` // cycles
	// NotKept counts the decisions that could not be asked for, by revision.
	NotKept map[string]int `json:"not_kept,omitempty"`
}

// Ask lays the recorded snapshots before the policies again, of one cycle when only is
// not 0, and compares their decisions with the recorded ones, to the byte.
func (r *Record) Ask(ctx context.Context, load Load, only uint64) (*Asked, error) {
	out, b := &Asked{Different: []uint64{}, NotKept: map[string]int{}}, bench{load: load}
	for i := range r.frames {
		f := &r.frames[i]
		if only != 0 && f.cycle != only {
			continue
		}
		parted, err := r.ask(ctx, &b, f)
		switch {
		case errors.Is(err, ErrNotKept):
			out.NotKept[f.revision]++
			continue
		case err != nil:
			return nil, fmt.Errorf("cycle %d: %w", f.cycle, err)
		case parted:
			out.Different = append(out.Different, f.cycle)
		default:
			out.Identical++
		}
		out.Decisions++
	}
	return out, nil
}

func (r *Record) ask(ctx context.Context, b *bench, f *frame) (parted bool, err error) {
	m, err := r.moment(f)
	if err != nil {
		return false, err
	}
	p, err := b.of(ctx, m.decision)
	if err != nil {
		return false, err
	}
	said, err := p.Evaluate(ctx, m.view)
	if err != nil {
		return false, err
	}
	return differs(m.decision, cycle.Relay(m.decision, said, m.snapshot))
}

// replan makes each plan of the frame again, by what p says, and counts them, and those that
// are not the recorded ones. Plans of bundles in shadow were made by others.
func (r *Record) replan(ctx context.Context, f *frame, m *moment, p Policy, said *engine.Decision) (made, differ int, err error) {
	for _, x := range f.plans {
		if cycle.ByBundle(x.input.Shadow) {
			continue
		}
		made++
		in, err := r.input(m, x.input.Rest)
		if err != nil {
			return made, differ, err
		}
		in.Decision, in.Vetoes = said.Audience(x.input.Level, x.input.Shadow), nil
		again, _, err := cycle.Settle(ctx, p, m.view, &in)
		if err != nil {
			return made, differ, err
		}
		got, err := engine.Encode(again)
		if err != nil {
			return made, differ, err
		}
		want, err := r.r.Get(x.plan.Digest)
		if err != nil {
			return made, differ, fmt.Errorf("read plan: %w", err)
		}
		if !bytes.Equal(got, want) {
			differ++
		}
	}
	return made, differ, nil
}

// differs reports whether two values have different canonical encodings.
func differs(a, b any) (bool, error) {
	x, err := engine.Encode(a)
	if err != nil {
		return false, err
	}
	y, err := engine.Encode(b)
	return !bytes.Equal(x, y), err
}

// Diff lays the recorded inputs before two bundles and compares what they say, rule
// by rule; both are asked about the moves that were planned.
func (r *Record) Diff(ctx context.Context, loadA, loadB Load) ([]Rule, error) {
	a, b, rules := bench{load: loadA}, bench{load: loadB}, &tally{}
	err := r.each(ctx, func(ctx context.Context, f *frame, m *moment) error {
		moves, err := r.moves(f)
		if err != nil {
			return err
		}
		var said [2]*engine.Decision
		var vetoes [2][]engine.Veto
		for k, x := range []*bench{&a, &b} {
			p, err := x.of(ctx, m.decision)
			if err != nil {
				return err
			}
			if said[k], err = p.Evaluate(ctx, m.view); err != nil {
				return err
			}
			if vetoes[k], err = p.Deny(ctx, m.view, moves); err != nil {
				return err
			}
		}
		rules.compare(f.cycle, m.snapshot, said[0], said[1], vetoes)
		return nil
	})
	return rules.sorted(), err
}

// moves are those of the frame's enforced plan.
func (r *Record) moves(f *frame) (out []engine.Action, err error) {
	var p engine.Plan
	if err := r.read("plan", f.enforced().plan.Digest, &p); err != nil {
		return nil, err
	}
	for _, a := range p.Actions {
		if a.Kind == engine.Move {
			out = append(out, a)
		}
	}
	return out, nil
}
