package execute

import (
	"context"
	"errors"
	"time"

	"heliostat/engine"
)

// resolve finds out what became of a call that was not answered.
func (w *worker) resolve(ctx context.Context) {
	// Ending the session makes sure that a call still on its way is not
	// executed; then what was executed has time to show in the history.
	err := w.endSession(ctx)
	until := time.Now().Add(Settle)
	if err != nil {
		until = time.Now().Add(lateWindow)
		w.log.WarnContext(ctx, "an unanswered call may still arrive", "action", w.rec.Action.ID, "wait", lateWindow, "err", err)
	}
	for first := true; ctx.Err() == nil; first = false {
		if !first || err == nil {
			sleep(ctx, Settle)
		}
		if w.settle(ctx, err, !time.Now().Before(until)) {
			return
		}
	}
	w.abandon(ctx)
}

// endSession ends the session that may still carry the call. A vCenter that does
// not answer is asked for as long as it takes; one that refuses is not.
func (w *worker) endSession(ctx context.Context) error {
	for refused := 0; ; {
		err := w.act.EndSession(ctx, w.rec.Action.From.VCenter, w.rec.Session)
		if errors.Is(err, ErrNotEnded) {
			refused++
		}
		if err == nil || ctx.Err() != nil || refused == endAttempts {
			return err
		}
		sleep(ctx, 5*time.Second)
	}
}

// settle goes on with what has become of the call and reports whether that could
// be told. over says that what is not seen by now never was; alive, why the
// session may still carry the call, nil when it cannot.
func (w *worker) settle(ctx context.Context, alive error, over bool) bool {
	a := &w.rec.Action
	task, found, err := w.find(ctx)
	if err != nil {
		w.log.WarnContext(ctx, "cannot tell yet what became of a call", "action", a.ID, "err", err)
		return false
	}
	if found {
		w.rec.Adopted = true
		w.follow(ctx, task)
		return true
	}
	sight, err := w.act.Look(ctx, a)
	switch {
	case err != nil || sight.Busy || !over:
		return false // somebody else's task may end with the object anywhere
	case sight.Arrived:
		w.end(ctx, engine.StateSucceeded, "")
	case alive != nil:
		w.end(ctx, engine.StateLost, "the call was not answered and may still arrive: "+alive.Error())
	case sight.Exists && sight.Code != engine.HoldGap:
		// The history holds none of our tasks and will not: wherever the object is,
		// this action has not moved it.
		w.end(ctx, engine.StateStale, "the call never arrived: "+sight.Detail)
	default:
		w.end(ctx, engine.StateLost, "cannot tell what became of the call: "+sight.Detail)
	}
	return true
}

// yield ends an action whose call was answered by the task that runs already,
// unless that is its own: the call had arrived twice.
func (w *worker) yield(ctx context.Context, cause error) {
	for ctx.Err() == nil {
		task, found, err := w.find(ctx)
		switch {
		case err != nil:
			w.log.WarnContext(ctx, "cannot tell yet whose task runs", "action", w.rec.Action.ID, "err", err)
			sleep(ctx, Settle)
		case found:
			w.rec.Adopted = true
			w.follow(ctx, task)
			return
		default:
			w.rec.Code = engine.HoldBusy
			w.end(ctx, engine.StateStale, cause.Error())
			return
		}
	}
	w.abandon(ctx)
}

// clockGrace is how far the clock of a vCenter may be from another's, or from ours.
const clockGrace = 60

// find looks for the action's task since its intent: the first of its kind that
// our own account has started. Where it leads, the end of the task shows.
func (w *worker) find(ctx context.Context) (key string, found bool, err error) {
	a := &w.rec.Action
	tasks, err := w.act.Tasks(ctx, a, w.rec.Started-clockGrace)
	if err != nil {
		return "", false, err
	}
	for i := range tasks {
		t := &tasks[i]
		if vc, _ := engine.SplitRef(t.Key); vc == a.From.VCenter && t.Start < w.rec.Clock {
			continue // by the clock that dated both, it is older than the intent
		}
		if t.Ours && t.Method == methodOf(a.Kind) {
			return t.Key, true, nil
		}
	}
	return "", false, nil
}
