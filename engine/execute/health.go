package execute

import (
	"context"
	"log/slog"
	"time"

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

// Observed reports whether a VM is looked at again after what the record tells.
func Observed(r *engine.ActionRecord) bool {
	return r.Action.Kind == engine.Move && !r.Action.Cold && r.State == engine.StateSucceeded
}

// observe looks at a VM again some time after its live move, and journals how it
// is. A crash before that entry leaves a window for LookAgain.
func (w *worker) observe(ctx context.Context) {
	a := &w.rec.Action
	if !Observed(&w.rec) || w.cfg.Health == 0 {
		return
	}
	rec := engine.HealthRecord{Action: a.ID, VM: a.VM, Name: a.Name, Host: a.To.Host}
	rec.Detail, rec.Unknown = w.examine(ctx)
	rec.Well = rec.Detail == ""
	if ctx.Err() != nil || !w.write(ctx, engine.EntryHealth, rec) || rec.Well {
		return
	}
	about := []slog.Attr{slog.String("action", a.ID), slog.String("what", a.String()), slog.String("detail", rec.Detail)}
	if rec.Unknown {
		w.log.LogAttrs(ctx, slog.LevelWarn, "cannot tell how a VM is after its move", about...)
		return
	}
	w.log.LogAttrs(ctx, slog.LevelWarn, "unhealthy after its move", about...)
	w.rec.Error = "after the move " + rec.Detail
	w.send(ctx, Report{id: a.ID, rec: w.rec, unwell: true})
}

// looks is how often the worst is seen before it is believed: a heartbeat may come
// back late.
const looks = 2

// examine says what is wrong with the VM, "" when nothing is, or why that is not known.
func (w *worker) examine(ctx context.Context) (wrong string, unknown bool) {
	ended := w.rec.Ended.Time()
	if time.Since(ended) > looks*w.cfg.Health {
		return "nobody looked at it in time: the daemon was not there", true
	}
	for at := ended; at.Before(ended.Add(looks * w.cfg.Health)); {
		at = at.Add(w.cfg.Health)
		sleep(ctx, time.Until(at))
		sight, err := w.act.Look(ctx, &w.rec.Action)
		switch {
		case err != nil:
			return "it cannot be seen: " + err.Error(), true
		case sight.Busy:
			// What is seen while somebody does something with it is not of our making.
			return "somebody else's task runs on it", true
		case !sight.Arrived:
			return "somebody has moved it on: " + sight.Detail, true
		}
		if wrong = sight.Health.worse(w.before); wrong == "" {
			return "", false
		}
	}
	return wrong, false
}

// LookAgain goes on with the looks at VMs, after their moves, that an earlier
// process did not come to. How those were before their moves is no longer known.
func (e *Executor) LookAgain(ctx context.Context, moved []engine.ActionRecord) {
	for _, rec := range moved {
		go e.worker(rec).observe(ctx)
	}
}
