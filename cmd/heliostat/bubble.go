package main

import (
	"context"
	"syscall"
	"time"
)

// pace lets at most step of virtual time pass in each wall interval, so that a
// bubble can be watched. It sleeps in the kernel, which a bubble does not see as
// idle: its time stands still meanwhile. It returns when ctx is done.
func pace(ctx context.Context, step, wall time.Duration) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ts := syscall.NsecToTimespec(wall.Nanoseconds())
			_ = syscall.Nanosleep(&ts, nil) // an early end does no harm
		case <-ctx.Done():
			return
		}
	}
}
