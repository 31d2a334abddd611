package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"heliostat/engine"
	"heliostat/engine/execute"
)

const (
	// naiveTries is how often the control makes a call, naiveAgain apart.
	naiveTries, naiveAgain = 10, 10 * time.Second
)

// A naive executor is the control: it journals as the real one does, and does
// with errors what one does who has not thought of lost answers. It makes the
// call again, and after a restart it makes all open calls again.
type naive struct {
	act     execute.Actuator
	journal execute.Journal

	mu   sync.Mutex
	open map[string]engine.ActionRecord
}

// serveNaive is serve with the control.
func (w *world) serveNaive(ctx context.Context, p *process) error {
	act, err := w.actuator(ctx, p)
	if err != nil {
		return err
	}
	defer func() {
		p.cancel()
		_ = act.Close() // what a dead process has to say nobody hears
	}()
	open, err := p.journal.OpenActions()
	if err != nil {
		return err
	}
	n := &naive{act: act, journal: p, open: map[string]engine.ActionRecord{}}
	for i := range open {
		n.start(ctx, open[i])
	}
	tick := time.NewTicker(cycleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if w.finished(n.list()) {
				return nil
			}
			for _, a := range w.plan(n.list()).Actions {
				n.start(ctx, engine.ActionRecord{Action: a})
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *naive) list() (out []engine.ActionRecord) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.open {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b engine.ActionRecord) int { return int(a.Action.Rank - b.Action.Rank) })
	return out
}

func (n *naive) start(ctx context.Context, rec engine.ActionRecord) {
	n.mu.Lock()
	n.open[rec.Action.ID] = rec
	n.mu.Unlock()
	go func() {
		// Once the journal fails the process is dead.
		if n.carry(ctx, &rec) == nil {
			n.mu.Lock()
			delete(n.open, rec.Action.ID)
			n.mu.Unlock()
		}
	}()
}

func (n *naive) append(ctx context.Context, kind engine.EntryKind, rec *engine.ActionRecord) error {
	e, err := engine.NewEntry(1, kind, rec)
	if err != nil {
		return err
	}
	return n.journal.Append(ctx, e)
}

// carry carries out one action.
func (n *naive) carry(ctx context.Context, rec *engine.ActionRecord) error {
	if rec.State == "" {
		rec.State, rec.Started = engine.StateIntent, engine.At(time.Now())
		if err := n.append(ctx, engine.EntryIntent, rec); err != nil {
			return err
		}
	}
	if rec.Task == "" {
		err := insist(ctx, func() (err error) { rec.Task, err = n.submit(ctx, &rec.Action); return err })
		if err != nil {
			return n.end(ctx, rec, engine.StateFailed)
		}
		rec.State = engine.StateStarted
		if err := n.append(ctx, engine.EntryTask, rec); err != nil {
			return err
		}
	}
	var task execute.Task
	err := insist(ctx, func() (err error) { task, err = n.act.Wait(ctx, rec.Task, nil); return err })
	if err != nil || task.State != "success" {
		return n.end(ctx, rec, engine.StateFailed)
	}
	return n.end(ctx, rec, engine.StateSucceeded)
}

func (n *naive) submit(ctx context.Context, a *engine.Action) (string, error) {
	return n.act.Submit(ctx, "", a)
}

func (n *naive) end(ctx context.Context, rec *engine.ActionRecord, s engine.ActionState) error {
	rec.State, rec.Ended = s, engine.At(time.Now())
	return n.append(ctx, engine.EntryEnded, rec)
}

// insist calls f until it goes well, naiveTries times at most.
func insist(ctx context.Context, f func() error) (err error) {
	for range naiveTries {
		if err = f(); err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(naiveAgain):
		case <-ctx.Done():
		}
	}
	return err
}
