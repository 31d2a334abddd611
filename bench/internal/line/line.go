// Package line runs the daemon's line on recorded load: fold the history, ask the
// shipped policy dpm with its shipped parameters, build the plan, check it.
package line

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/plan"
	"heliostat/policy"
	"heliostat/rego"
)

// A Line is what one cycle hands to the next.
type Line struct {
	Config  engine.Config
	History *engine.History

	policies *policy.Service
	cycle    uint64
}

// Open loads the policies. Nothing but dpm is asked, and all is enforced.
func Open(ctx context.Context, c engine.Config) (*Line, error) {
	cfg := policy.DefaultConfig()
	cfg.Deadline = time.Minute // a machine that does other things as well
	cfg.Modes = map[string]engine.Mode{}
	shipped, err := policy.Load(ctx, rego.FS, cfg)
	if err != nil {
		return nil, err
	}
	for _, name := range shipped.Policies {
		cfg.Modes[name] = engine.Off
	}
	cfg.Modes["dpm"] = engine.Enforce
	l := &Line{Config: c, History: &engine.History{}}
	l.Config.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	l.policies, err = policy.NewService(ctx, rego.FS, cfg, slog.New(slog.DiscardHandler))
	return l, err
}

// Once is one cycle: what has ended since the last is folded in.
func (l *Line) Once(ctx context.Context, s *engine.Snapshot, ended []engine.ActionRecord) (*engine.Plan, error) {
	l.cycle++
	past := l.History
	l.History = engine.Fold(past, s, ended, l.Config.Low)
	engine.NoteForeign(past, l.History, s, nil, ended)
	v := engine.View{Now: s.At, Snapshot: s, History: l.History, Low: l.Config.Low, Budget: plan.BudgetLeft(l.Config, l.History, s.At)}
	d, err := l.policies.Evaluate(ctx, v)
	if err != nil {
		return nil, err
	}
	if len(d.Failures) > 0 {
		return nil, fmt.Errorf("policy failed: %+v", d.Failures[0])
	}
	in := engine.Input{
		Cycle: l.cycle, Now: v.Now, Seed: l.cycle, Budget: l.Config.DefaultBudget, Level: engine.Enforce,
		Snapshot: s, Decision: d.Audience(engine.Enforce, ""), History: l.History, Config: l.Config,
	}
	p := plan.Build(in)
	if err := check.Plan(in, p); err != nil {
		return nil, fmt.Errorf("cycle %d: own plan refused: %w", l.cycle, err)
	}
	return p, nil
}
