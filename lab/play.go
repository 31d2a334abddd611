package lab

import (
	"context"
	"slices"
	"time"
)

// play plays the lab in step with its clock until ctx ends.
func (l *Lab) play(ctx context.Context) {
	for {
		l.lock()
		l.advance(l.clock.Now())
		wait := l.next().Sub(l.now)
		l.unlock()
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
		case <-l.clock.After(wait):
		}
	}
}

// advance plays everything that is due up to t, each at its own moment, in an
// order that depends on nothing but the configuration and the calls made.
func (l *Lab) advance(t time.Time) {
	for {
		at := l.next()
		if at.After(t) {
			break
		}
		l.elapse(at)
		l.due()
	}
	l.elapse(t)
}

// next is when something is due.
func (l *Lab) next() time.Time {
	at := l.tick
	for _, mv := range l.moves {
		if mv.phase == queued {
			continue
		}
		if mv.until.Before(at) {
			at = mv.until
		}
		if mv.phase > refused && l.report.Before(at) && l.report.After(l.now) {
			at = l.report
		}
	}
	for _, op := range l.ops {
		if op.at.Before(at) {
			at = op.at
		}
	}
	for i := range l.agenda {
		if a := l.agenda[i].at; a.Before(at) {
			at = a
		}
	}
	return at
}

// due does what is due now.
func (l *Lab) due() {
	changed := l.keep()
	for _, mv := range slices.Clone(l.moves) {
		if mv.phase != queued && !mv.until.After(l.now) {
			l.proceed(mv)
			changed = true
		}
	}
	for _, op := range slices.Clone(l.ops) {
		if !op.at.After(l.now) {
			l.operate(op)
			changed = true
		}
	}
	if changed {
		l.startQueued()
		l.reflow()
	}
	if !l.report.After(l.now) {
		l.reportProgress()
		l.report = l.now.Truncate(reportEvery).Add(reportEvery)
	}
	if !l.tick.After(l.now) {
		l.minute(l.tick)
		l.rebalance()
		l.retireTasks()
		l.reflow() // dirty rates follow the load
		l.tick = l.tick.Add(time.Minute)
	}
}
