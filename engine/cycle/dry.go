package cycle

import (
	"context"
	"fmt"
	"time"

	"heliostat/engine"
	"heliostat/engine/check"
)

// Dry runs the line once up to the check and changes nothing: it journals
// nothing and starts nothing. choose picks from the snapshot the hosts that a
// person asks to empty; it may be nil. The loop must not run.
func (l *Loop) Dry(ctx context.Context, level engine.Mode, choose func(*engine.Snapshot) ([]engine.HostID, error)) (engine.Input, *engine.Plan, error) {
	now := time.Now()
	l.cycle++
	s, err := l.Collector.Collect(ctx, now, l.resolve)
	if err != nil {
		return engine.Input{}, nil, fmt.Errorf("collect: %w", err)
	}
	past, ended := l.history, l.Executor.Ended()
	l.history = engine.Fold(past, s, ended, l.Config.Low)
	engine.NoteMoves(past, l.history, s, l.Executor.Open(), ended)
	w := &work{l: l, view: l.view(now, s), start: now}
	if w.decision, err = l.Policy.Evaluate(ctx, w.view); err != nil {
		return engine.Input{}, nil, fmt.Errorf("evaluate policies: %w", err)
	}
	in := w.input(level, "")
	if choose != nil {
		if in.Drain, err = choose(s); err != nil {
			return in, nil, err
		}
	}
	p, _, err := Settle(ctx, l.Policy, w.view, &in)
	if err != nil {
		return in, nil, err
	}
	return in, p, check.Plan(in, p)
}
