package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"heliostat/engine"
	"heliostat/engine/backtest"
	"heliostat/engine/cycle"
	"heliostat/engine/whatif"
	"heliostat/policy"
)

// A force is the policies that a question about history is put to: those that were in
// force then, as the journal keeps them. Where it does not, those that ship stand in.
type force struct {
	Revision string `json:"revision"`          // that was in force
	Kept     bool   `json:"kept"`              // the journal has it, and it answers
	Instead  string `json:"instead,omitempty"` // the revision that answers in its place
	Why      string `json:"why,omitempty"`     // it does not answer

	bundle *policy.Bundle
	view   engine.View
}

// inForce loads the policies that made the decision, with the modes and weights of then.
func inForce(ctx context.Context, j journal, d *engine.Decision, in *engine.Input) (*force, error) {
	f, err := loadForce(ctx, j, d.Revision, cycle.BundleVoices(d))
	if err == nil {
		f.view = backtest.ViewOf(in)
	}
	return f, err
}

func loadForce(ctx context.Context, j journal, revision string, voices []engine.Voice) (*force, error) {
	f := &force{Revision: revision}
	load := func(name string) (err error) {
		f.bundle, err = loadBundle(ctx, j, name, revision, voices)
		return err
	}
	err := load(revision)
	if err == nil {
		f.Kept = true
		return f, nil
	}
	f.Why = err.Error()
	if err := load(shippedBundle); err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if f.bundle.Revision == revision { // older journals keep none, and need none of what ships
		f.Kept, f.Why = true, ""
	} else {
		f.Instead = f.bundle.Revision
	}
	return f, nil
}

// keptBundle loads the revisions that the journal keeps, or that ship.
func keptBundle(j journal) backtest.Load {
	return func(ctx context.Context, revision string, voices []engine.Voice) (backtest.Policy, error) {
		f, err := loadForce(ctx, j, revision, voices)
		if err != nil {
			return nil, err
		}
		if !f.Kept {
			return nil, fmt.Errorf("revision %.12s %w", revision, backtest.ErrNotKept)
		}
		return f.bundle, nil
	}
}

func loadBundle(ctx context.Context, j journal, name, revision string, voices []engine.Voice) (*policy.Bundle, error) {
	load, err := (&hearing{}).bundle(j, name)
	if err != nil {
		return nil, err
	}
	p, err := load(ctx, revision, voices)
	if err != nil {
		return nil, err
	}
	b, ok := p.(*policy.Bundle)
	if !ok {
		return nil, fmt.Errorf("policies %s are %T", name, p)
	}
	return b, nil
}

// note says what stands in, "" where nothing has to.
func (f *force) note() string {
	if f.Kept {
		return ""
	}
	return fmt.Sprintf("Revision %.12s, which was in force, is not kept here (%s). What is said was said by it; what rules read is shown as the policies that ship, revision %.12s, read it.", f.Revision, f.Why, f.Instead)
}

// deny asks about moves that the planner did not propose then.
func (f *force) deny(ctx context.Context, level engine.Mode) whatif.Deny {
	return func(moves []engine.Action) []engine.Veto {
		vetoes, err := f.bundle.Deny(ctx, f.view, moves)
		if err != nil {
			return nil // ctx has ended, and the answer goes nowhere
		}
		return slices.DeleteFunc(vetoes, func(v engine.Veto) bool { return v.Mode < level })
	}
}

// read adds to what was said where it is written, and which values were read for it.
// A VM's moves were wanted by those in wanted.
func (f *force) read(ctx context.Context, in *engine.Input, o object, wanted []engine.Why, all []said) error {
	s := in.Snapshot
	asked := map[string][]policy.Reading{}
	var last engine.HostID // that a rule refused; a move that is refused everywhere was to some host
	for i := range all {
		x := &all[i]
		about := policy.About{Cluster: engine.None}
		key := x.Policy + "." + x.Rule
		switch {
		case x.Rule == engine.RuleDeny:
			last = cmp.Or(x.to, last)
			to, ok := s.FindHost(last)
			if !ok || o.vm < 0 {
				continue
			}
			a := moveOf(s, o.vm, to)
			a.Why = wanted
			about.Move, key = &a, key+" "+string(last)
		case o.host >= 0:
			about.Cluster = s.Hosts[o.host].Cluster
		}
		rs, ok := asked[key]
		if !ok {
			var err error
			if rs, err = f.bundle.Readings(ctx, f.view, x.Policy, x.Rule, about); err != nil {
				return err
			}
			asked[key] = rs
		}
		at := slices.IndexFunc(rs, func(r policy.Reading) bool {
			return strings.HasSuffix(x.Reason, r.Reason) && (x.about == "" || slices.Contains(r.Names, x.about))
		})
		if at >= 0 {
			x.At, x.Read = rs[at].At, rs[at].Values
		}
	}
	return nil
}
