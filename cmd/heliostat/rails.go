package main

import (
	"context"
	"log/slog"

	"heliostat/configs"
	"heliostat/engine"
)

// killFile is the file by which anybody on this machine stops the daemon. Nobody
// outside reaches into a bubble.
func killFile(cfg *configs.Config, at surroundings) string {
	if at.noSockets {
		return ""
	}
	return cfg.State.KillFile
}

// guarded is the configuration that a daemon may run with: when the check of plans
// fails its self-test nothing is enforced, whatever the file says.
func guarded(ctx context.Context, cfg *configs.Config, log *slog.Logger, selfTest func() error) *configs.Config {
	err := selfTest()
	if err == nil {
		return cfg
	}
	log.ErrorContext(ctx, "the check of plans fails its self-test: nothing is enforced, plans are only advised", "err", err)
	out := *cfg
	m := &out.Plan.Modes
	for _, mode := range []*engine.Mode{&m.Move, &m.Standby, &m.Wake, &m.Maintenance} {
		*mode = min(*mode, engine.Advise)
	}
	return &out
}
