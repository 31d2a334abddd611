package lab

import (
	"context"
	"time"
)

// A Clock is the lab's time: wall time from a start of its own, times a speed.
// In a synctest bubble, at speed 1, it is the bubble's time.
type Clock struct {
	wall  time.Time
	start time.Time
	speed float64
}

// NewClock returns a clock that shows start now (zero: the present) and runs
// speed lab seconds a wall second (zero: one).
func NewClock(start time.Time, speed float64) *Clock {
	now := time.Now()
	if start.IsZero() {
		start = now
	}
	if speed == 0 {
		speed = 1
	}
	return &Clock{wall: now, start: start.Round(0).UTC(), speed: speed}
}

// Now is the lab's time, UTC.
func (c *Clock) Now() time.Time {
	d := time.Since(c.wall)
	if c.speed != 1 {
		d = time.Duration(float64(d) * c.speed)
	}
	return c.start.Add(d)
}

// After fires once d of lab time has passed.
func (c *Clock) After(d time.Duration) <-chan time.Time { return time.After(c.toWall(d)) }

// Sleep waits for d of lab time, or until ctx ends.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.After(d):
		return nil
	}
}

// toWall rounds up, so that a sleeper never wakes before its time.
func (c *Clock) toWall(d time.Duration) time.Duration {
	if c.speed == 1 || d <= 0 {
		return max(d, 0)
	}
	return time.Duration(float64(d)/c.speed) + 1
}
