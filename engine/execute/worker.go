package execute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"heliostat/engine"
)

// lateWindow is how long a call is given to arrive whose session cannot be ended:
// longer than the latest that any was seen to, six minutes. After that nobody
// can tell, and a person has to look.
const lateWindow = 10 * time.Minute

// endAttempts is how often a server that refuses to end a session is asked again.
const endAttempts = 5

// lostAfter is how long an object may be nowhere, with no task on it, before a
// person has to look: longer than any inventory takes to settle.
const lostAfter = 10 * time.Minute

// How often, and how far apart, a mark is tried.
const (
	markAttempts = 5
	markAgain    = 3 * time.Second
)

// worker carries one action from intent to its end. It owns rec.
type worker struct {
	act     Actuator
	journal Journal
	log     *slog.Logger
	reports chan<- Report
	gate    Gate
	lease   *lease // of its plan; nil when it was adopted, since then it was called
	back    bool   // what cannot be called for a reason that may pass goes back to its plan
	cfg     Config
	rec     engine.ActionRecord
	before  Health // as it was before the call; unknown when it was adopted
}

// run is one sequence of durable steps; normal operation and recovery share its
// tail. It waits until before is closed (nil: at once), and calls submitted when
// the next in line may go. The server's own check takes seconds, so that all in
// the line have it made meanwhile.
func (w *worker) run(ctx context.Context, before <-chan struct{}, submitted func()) {
	defer submitted()
	var checked error
	if w.cfg.Check {
		checked = w.act.Check(ctx, &w.rec.Action)
	}
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return // nothing was journaled, so nothing is left
		}
	}
	a := &w.rec.Action
	if w.stopped(ctx) || !w.revalidate(ctx, checked) {
		return
	}
	// What may have taken long is over: this is the last moment to be stopped.
	if w.stopped(ctx) {
		return
	}
	// A crash before this entry leaves nothing: the action was never called.
	if !w.append(ctx, engine.EntryIntent) {
		return
	}
	// A crash from here to the next entry leaves an intent without a task:
	// recover ends the session, settles, and asks the task history.
	w.log.InfoContext(ctx, "action starts", "action", a.ID, "what", a.String(), "cycle_plan", w.rec.Plan[:min(8, len(w.rec.Plan))])
	task, err := w.act.Submit(ctx, w.rec.Session, a)
	submitted()
	switch {
	case errors.Is(err, ErrRejected), errors.Is(err, ErrNoCredentials):
		w.end(ctx, engine.StateRejected, err.Error())
	case err != nil && ctx.Err() != nil:
		w.abandon(ctx) // the next process recovers the intent
	case errors.Is(err, ErrBusy):
		w.yield(ctx, err)
	case err != nil:
		w.log.WarnContext(ctx, "answer lost", "action", a.ID, "err", err)
		w.resolve(ctx)
	default:
		w.follow(ctx, task)
	}
}

// stopped ends the action when it may not be called any more: by the gate, or
// because its plan was dropped or is too old.
func (w *worker) stopped(ctx context.Context) bool {
	why := cmp.Or(w.gate.Stopped(&w.rec.Action), w.lease.stopped(w.cfg.MaxPlanAge))
	if why == "" {
		return false
	}
	w.putOff(ctx, "not started: "+why)
	return true
}

// putOff ends an action that is not called for a reason that may pass. Where its plan
// takes it back nothing is journaled: to the journal it has not begun.
func (w *worker) putOff(ctx context.Context, reason string) {
	if !w.back || w.lease.ended.Load() {
		w.end(ctx, engine.StateStale, reason)
		return
	}
	w.log.WarnContext(ctx, "action put off", "action", w.rec.Action.ID, "what", w.rec.Action.String(), "err", reason)
	w.rec.State, w.rec.Error, w.rec.Ended = engine.StateStale, reason, engine.At(time.Now())
	w.send(ctx, Report{id: w.rec.Action.ID, rec: w.rec, back: true})
}

// revalidate makes sure that the world is still as the plan has it, and opens the
// session that is to carry the call. It ends the action when it is not. checked is
// what the server's own check said.
func (w *worker) revalidate(ctx context.Context, checked error) bool {
	a := &w.rec.Action
	doing := "check before the call"
	err := checked
	if err == nil {
		doing = "look before the call"
		sight, lookErr := w.act.Look(ctx, a)
		if lookErr == nil && !sight.Source {
			w.rec.Code = sight.Code
			if sight.Busy {
				w.putOff(ctx, "not as planned: "+sight.Detail)
			} else {
				w.end(ctx, engine.StateStale, "not as planned: "+sight.Detail)
			}
			return false
		}
		w.before, err = sight.Health, lookErr
	}
	if err == nil {
		doing = "open session"
		w.rec.Session, w.rec.Clock, err = w.act.Session(ctx, a)
	}
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil:
		w.abandon(ctx)
	case errors.Is(err, ErrNoCredentials):
		w.end(ctx, engine.StateRejected, doing+": "+err.Error())
	case errors.Is(err, ErrRejected):
		w.rec.Code = engine.HoldCompat
		w.end(ctx, engine.StateRejected, doing+": "+err.Error())
	case errors.Is(err, ErrBusy):
		w.rec.Code = engine.HoldBusy
		w.putOff(ctx, doing+": "+err.Error())
	default:
		w.putOff(ctx, doing+": "+err.Error())
	}
	return false
}

// recover continues an action that an earlier process left open.
func (w *worker) recover(ctx context.Context) {
	w.rec.Adopted = true
	if w.rec.Task != "" {
		w.log.InfoContext(ctx, "action adopted", "action", w.rec.Action.ID, "task", w.rec.Task)
		w.wait(ctx)
		return
	}
	w.resolve(ctx)
}

// methodOf is the task description by which vCenter names an action.
func methodOf(k engine.ActionKind) string {
	switch k {
	case engine.Standby:
		return "HostSystem.powerDownToStandBy"
	case engine.Wakeup:
		return "HostSystem.powerUpFromStandBy"
	case engine.EnterMaintenance:
		return "HostSystem.enterMaintenanceMode"
	case engine.ExitMaintenance:
		return "HostSystem.exitMaintenanceMode"
	case engine.Move:
	}
	return "VirtualMachine.relocate"
}

// follow journals the task and waits for its end.
func (w *worker) follow(ctx context.Context, task string) {
	w.rec.Task, w.rec.State = task, engine.StateStarted
	// A crash after this entry leaves a task to adopt by its key.
	if !w.append(ctx, engine.EntryTask) {
		return
	}
	w.report(ctx, 0, nil)
	w.wait(ctx)
}

// wait watches the task to its end and verifies what it did.
func (w *worker) wait(ctx context.Context) {
	since := time.Now()
	for {
		t, err := w.act.Wait(ctx, w.rec.Task, func(p int32) { w.report(ctx, p, nil) })
		if ctx.Err() != nil {
			w.abandon(ctx)
			return
		}
		if err == nil {
			w.verify(ctx, t)
			return
		}
		// The task cannot be watched; the truth is where the object stands.
		w.log.WarnContext(ctx, "task out of sight", "action", w.rec.Action.ID, "task", w.rec.Task, "err", err)
		sight, lookErr := w.act.Look(ctx, &w.rec.Action)
		switch {
		case lookErr != nil || sight.Busy:
			since = time.Now() // it may still run, or the vCenter is away
		case sight.Arrived || sight.Source:
			w.verify(ctx, Task{Key: w.rec.Task, Error: err.Error()})
			return
		case time.Since(since) > lostAfter:
			w.end(ctx, engine.StateLost, "the task is gone and the object is neither where it was nor where it should be: "+sight.Detail)
			return
		}
		sleep(ctx, 5*time.Second)
	}
}

// verify judges by where the object really stands, not by what the task says.
func (w *worker) verify(ctx context.Context, t Task) {
	a := &w.rec.Action
	patience := time.Minute
	if a.Kind == engine.Wakeup && t.Error == "" {
		patience = wakePatience
	}
	for deadline := time.Now().Add(patience); ; sleep(ctx, 10*time.Second) {
		sight, err := w.act.Look(ctx, a)
		switch {
		case ctx.Err() != nil:
			w.abandon(ctx)
			return
		case err != nil:
			// Who is not answered has not looked: patience starts again with the
			// first answer.
			w.log.WarnContext(ctx, "cannot see yet what a task did", "action", a.ID, "err", err)
			deadline = time.Now().Add(patience)
		case sight.Busy:
			// What runs may yet change where the object stands, and may be the very
			// task that had gone out of sight.
			deadline = time.Now().Add(patience)
		case sight.Arrived:
			if t.Start > 0 && t.End >= t.Start {
				w.rec.TookS = max(int64(t.End-t.Start), 1)
			}
			w.mark(ctx)
			if w.end(ctx, engine.StateSucceeded, "") {
				w.observe(ctx)
			}
			return
		case t.Error != "":
			w.end(ctx, engine.StateFailed, t.Error)
			return
		case time.Now().After(deadline):
			state := engine.StateFailed
			if !sight.Exists {
				state = engine.StateLost
			}
			w.end(ctx, state, "the task ended well, but: "+sight.Detail)
			return
		}
	}
}

func (w *worker) mark(ctx context.Context) {
	a := &w.rec.Action
	text := fmt.Sprintf("heliostat %s: %s", a.ID, a.String())
	if len(a.Why) > 0 {
		text += ": " + a.Why[0].Reason
	}
	// A host without its mark is a person's, and never woken by us: try again.
	for attempt := 1; ; attempt++ {
		err := w.act.Mark(ctx, a, text)
		if err == nil {
			return
		}
		if attempt == markAttempts || ctx.Err() != nil {
			w.log.WarnContext(ctx, "cannot leave a mark in vCenter", "action", a.ID, "err", err)
			return
		}
		sleep(ctx, markAgain)
	}
}

// end journals the end of the action and reports it. It is written down even
// while the daemon is being stopped. It reports whether that went well.
func (w *worker) end(ctx context.Context, s engine.ActionState, reason string) bool {
	w.rec.State, w.rec.Error, w.rec.Ended = s, reason, engine.At(time.Now())
	if !w.append(context.WithoutCancel(ctx), engine.EntryEnded) {
		return false
	}
	log := w.log.With("action", w.rec.Action.ID, "what", w.rec.Action.String(), "state", string(s), "seconds", int64(w.rec.Ended-w.rec.Started))
	if s == engine.StateSucceeded {
		log.InfoContext(ctx, "action ends")
	} else {
		log.WarnContext(ctx, "action ends", "err", reason)
	}
	w.report(ctx, 100, nil)
	return true
}

// abandon leaves the action as the journal has it: the next process takes it up.
func (w *worker) abandon(ctx context.Context) {
	w.log.InfoContext(ctx, "action left to the next start", "action", w.rec.Action.ID, "task", w.rec.Task)
}

func (w *worker) append(ctx context.Context, kind engine.EntryKind) bool {
	return w.write(ctx, kind, w.rec)
}

func (w *worker) write(ctx context.Context, kind engine.EntryKind, data any) bool {
	e, err := engine.NewEntry(cycleOf(w.rec.Action.ID), kind, data)
	if err == nil {
		err = w.journal.Append(ctx, e)
	}
	if err != nil {
		if ctx.Err() == nil {
			w.report(ctx, 0, fmt.Errorf("journal %s of %s: %w", kind, w.rec.Action.ID, err))
		}
		return false
	}
	return true
}

// report tells the loop. Nobody listens once ctx is done.
func (w *worker) report(ctx context.Context, percent int32, fatal error) {
	w.send(ctx, Report{id: w.rec.Action.ID, rec: w.rec, percent: percent, fatal: fatal})
}

func (w *worker) send(ctx context.Context, r Report) {
	select {
	case w.reports <- r:
	case <-ctx.Done():
	}
}

// cycleOf reads the cycle's number from an action ID, "c<cycle>-<n>".
func cycleOf(id string) uint64 {
	var n uint64
	for _, r := range id[min(1, len(id)):] {
		if r < '0' || r > '9' {
			break
		}
		n = n*10 + uint64(r-'0')
	}
	return n
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
