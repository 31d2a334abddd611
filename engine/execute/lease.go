package execute

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"heliostat/engine"
)

// A lease is for how long a plan may be acted on. The executor's owner ends and
// renews it, workers ask.
type lease struct {
	at    atomic.Int64 // engine.Unix: when the plan was true
	ended atomic.Bool
}

func newLease(at engine.Unix) *lease {
	l := &lease{}
	l.at.Store(int64(at))
	return l
}

func (l *lease) end() { l.ended.Store(true) }

// stopped says why the plan may not be acted on, "" when it may. most is how old
// it may be, 0 for any age.
func (l *lease) stopped(most time.Duration) string {
	if l.ended.Load() {
		return "its plan was dropped"
	}
	age := time.Since(engine.Unix(l.at.Load()).Time())
	if most > 0 && age > most {
		return fmt.Sprintf("its plan is %v old, of at most %v", age.Round(time.Second), most)
	}
	return ""
}

// Renew says that what the named plan has not started was found to be right at
// that moment, and starts what had to wait for that.
func (e *Executor) Renew(ctx context.Context, name string, at engine.Unix) {
	if p := e.program(name); p != nil {
		p.lease.at.Store(int64(at))
		e.start(ctx)
	}
}
