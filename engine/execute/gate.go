package execute

import (
	"context"

	"heliostat/engine"
)

// A Gate may hold back what an executor would start.
type Gate interface {
	// Admit reports whether the action may be started now, and counts it if so.
	// What is not admitted stays queued. The executor's owner calls it.
	Admit(a *engine.Action) bool
	// Stopped says why the action may not be called although it was admitted, "" when
	// it may. Workers ask immediately before the intent is journaled, from
	// goroutines of their own.
	Stopped(a *engine.Action) string
	// Ended tells how an action has ended. The executor's owner calls it.
	Ended(r *engine.ActionRecord)
}

// open is the gate of an executor that has none.
type open struct{}

func (open) Admit(*engine.Action) bool     { return true }
func (open) Stopped(*engine.Action) string { return "" }
func (open) Ended(*engine.ActionRecord)    {}

// Guard puts a gate before everything that is started from now on.
func (e *Executor) Guard(g Gate) { e.gate = g }

// Resume starts what the gate has held back and admits by now.
func (e *Executor) Resume(ctx context.Context) { e.start(ctx) }
