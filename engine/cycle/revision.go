package cycle

import (
	"context"

	"heliostat/engine"
)

// stand journals which policies serve, and what became of the newest edit, when
// either has changed. What serves is kept, so that history can be asked again.
func (l *Loop) stand(ctx context.Context) error {
	r, bundle := l.Policy.Standing()
	var kept []string
	if len(bundle) > 0 {
		// A crash after it leaves a file that no entry refers to.
		digest, err := l.Journal.Put(ctx, bundle)
		if err != nil {
			return journalError{err}
		}
		r.Bundle, kept = digest, []string{digest}
	}
	if r == l.standing {
		return nil
	}
	l.standing = r
	l.shown.Revision, l.shown.Standing = r.Serving, r
	e, err := engine.NewEntry(l.cycle, engine.EntryRevision, r, kept...)
	if err != nil {
		return err
	}
	return l.append(ctx, e)
}

// Revise has do change which policies serve, between two cycles, and journals what
// has come of it. A crash before the entry leaves the policies as they were.
func (l *Loop) Revise(ctx context.Context, do func(context.Context) error) error {
	before := l.Policy.Revision()
	err := l.ask(ctx, func(ctx context.Context) error {
		if err := do(ctx); err != nil {
			return err
		}
		return l.reload(ctx)
	})
	if err == nil && l.Policy.Revision() != before {
		l.Poke("the policies changed")
	}
	return err
}
