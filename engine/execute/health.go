package execute

import (
	"context"
	"log/slog"

	"heliostat/engine"
)

// Health is how a VM is. The zero value is worse than any.
type Health struct {
	Connected bool // its host answers for it
	On        bool
	Tools     bool  // the guest's tools run
	Heartbeat int32 // of the guest: 0 none or failing, 1 now and then, 2 regular
}

// worse says in what h is worse than before, "" when in nothing. Whatever was
// before, a VM that was moved live is connected and on.
func (h Health) worse(before Health) string {
	switch {
	case !h.Connected:
		return "it is disconnected"
	case !h.On:
		return "it is not powered on"
	case before.Tools && !h.Tools:
		return "its tools no longer run"
	case h.Heartbeat < before.Heartbeat:
		return "its heartbeat is worse than before"
	}
	return ""
}

// observe looks at a VM again some time after its live move, and journals how it
// is. A crash before that entry leaves a move of which that is not known.
func (w *worker) observe(ctx context.Context) {
	a := &w.rec.Action
	if a.Kind != engine.Move || a.Cold || w.cfg.Health == 0 {
		return
	}
	why := ""
	// Once more before the worst is believed: a heartbeat may come back late.
	for range 2 {
		sleep(ctx, w.cfg.Health)
		sight, err := w.act.Look(ctx, a)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.log.WarnContext(ctx, "cannot see how a VM is after its move", "action", a.ID, "err", err)
			return
		case sight.Busy:
			return // somebody does something with it: what is seen now is not of our making
		case !sight.Arrived:
			w.log.InfoContext(ctx, "moved on by somebody else", "action", a.ID, "name", a.Name, "detail", sight.Detail)
			return
		}
		if why = sight.Health.worse(w.before); why == "" {
			break
		}
	}
	rec := engine.HealthRecord{Action: a.ID, VM: a.VM, Name: a.Name, Host: a.To.Host, Well: why == "", Detail: why}
	if !w.write(ctx, engine.EntryHealth, rec) || rec.Well {
		return
	}
	w.log.LogAttrs(ctx, slog.LevelWarn, "unhealthy after its move", slog.String("action", a.ID), slog.String("what", a.String()), slog.String("detail", why))
	w.rec.Error = "after the move " + why
	w.send(ctx, Report{id: a.ID, rec: w.rec, unwell: true})
}
