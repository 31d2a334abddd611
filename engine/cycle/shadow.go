package cycle

import (
	"context"
	"fmt"
	"strings"
	"time"

	"heliostat/engine"
	"heliostat/engine/check"
)

// A Shadow is a whole bundle that is asked in every cycle, and never acted on. What
// it would have had the daemon do is journaled beside what is enforced.
type Shadow struct {
	Name   string
	Policy Candidate
}

// A Candidate is a bundle that does not serve. Reload looks whether it has changed; an
// error says that there is none, and Evaluate is not called then.
type Candidate interface {
	Denier
	Reload(ctx context.Context) error
	Evaluate(ctx context.Context, v engine.View) (*engine.Decision, error)
}

// shadowTime bounds what one bundle in shadow may take of a cycle: it comes when all
// else is under way, and the loop hears what has ended only after it.
const shadowTime = 5 * time.Second

// bundleMark begins the shadow of a plan that a whole bundle in shadow made. No
// policy's name has a colon.
const bundleMark = "bundle:"

// ShadowOf names the plans of a bundle in shadow, as the journal does.
func ShadowOf(bundle string) string { return bundleMark + bundle }

// ByBundle reports whether the plan was made by a bundle in shadow.
func ByBundle(shadow string) bool { return strings.HasPrefix(shadow, bundleMark) }

// bundles asks the bundles in shadow. One that fails is logged when it begins to, and
// asked again in the next cycle.
func (w *work) bundles(ctx context.Context) error {
	l := w.l
	for i := range l.Shadows {
		x := &l.Shadows[i]
		err := w.bundle(ctx, x)
		if _, fatal := err.(journalError); fatal || ctx.Err() != nil { //nolint:errorlint // made here, never wrapped
			return err
		}
		said := ""
		if err != nil {
			said = err.Error()
		}
		if said != "" && said != l.unheard[x.Name] {
			l.Log.WarnContext(ctx, "bundle in shadow not heard", "cycle", l.cycle, "bundle", x.Name, "err", said)
		}
		l.unheard[x.Name] = said
	}
	return nil
}

// bundle makes the plan that would be carried out if the bundle were in force, from the
// same snapshot and with the same rails, and journals it.
func (w *work) bundle(ctx context.Context, x *Shadow) error {
	asked, cancel := context.WithTimeoutCause(ctx, shadowTime, fmt.Errorf("did not answer within %v", shadowTime))
	defer cancel()
	if err := x.Policy.Reload(asked); err != nil {
		return err
	}
	d, err := x.Policy.Evaluate(asked, w.view)
	if err != nil {
		return fmt.Errorf("evaluate policies: %w", err)
	}
	d = Relay(w.decision, d, w.view.Snapshot)
	in := w.input(engine.Enforce, "")
	in.Decision = d.Audience(engine.Enforce, "")
	p, _, err := Settle(asked, x.Policy, w.view, &in)
	if err != nil {
		return err
	}
	refused := ""
	if err := check.Plan(in, p); err != nil {
		refused = err.Error()
	}
	digest, err := w.l.keep(ctx, "decision "+ShadowOf(x.Name), d)
	if err != nil {
		return err
	}
	return w.journal(ctx, &in, p, digest, engine.PlanRecord{Level: engine.Shadow, Shadow: ShadowOf(x.Name), Refused: refused})
}
