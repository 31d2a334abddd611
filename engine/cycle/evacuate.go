package cycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/plan"
)

// The orders of a person about evacuations, as they are journaled.
const (
	opEvacuate = "evacuate"
	opCancel   = "cancel_evacuation"
	opDrill    = "drill"
)

// takeOrder carries orders to evacuate over one more: the last of a site counts.
func takeOrder(orders []engine.OperatorRecord, r engine.OperatorRecord) []engine.OperatorRecord {
	orders = slices.DeleteFunc(slices.Clone(orders), func(o engine.OperatorRecord) bool { return o.Subject == r.Subject })
	if r.Op == opEvacuate {
		orders = append(orders, r)
	}
	return orders
}

// Evacuate asks for a site to be emptied by a moment, until it is cancelled, as a
// policy could. The tiers say what persons it takes beside the one who asks.
func (l *Loop) Evacuate(ctx context.Context, site string, by time.Time, who, reason string) error {
	err := l.ask(ctx, func(ctx context.Context) error {
		if err := l.mayEvacuate(site, by); err != nil {
			return err
		}
		// A crash before the entry leaves the site as it was.
		r := engine.OperatorRecord{Op: opEvacuate, Who: who, Reason: reason, Subject: engine.Subject{Kind: "site", ID: site}, By: engine.At(by)}
		if err := l.record(ctx, engine.EntryOperator, r); err != nil {
			return err
		}
		l.ordered = takeOrder(l.ordered, r)
		l.withdraw(site) // who approved it may be who orders it now, and the deadline is another
		l.Log.WarnContext(ctx, "evacuation ordered", "site", site, "by", by, "who", who)
		return nil
	})
	if err == nil {
		l.Poke("an evacuation was ordered")
	}
	return err
}

// mayEvacuate refuses what cannot be meant.
func (l *Loop) mayEvacuate(site string, by time.Time) error {
	if l.shown.Snapshot == nil {
		return errors.New("the fleet has not been seen yet: no cycle has ended")
	}
	if _, ok := l.shown.Snapshot.FindSite(engine.SiteID(site)); !ok {
		return fmt.Errorf("there is no site %q", site)
	}
	if now := time.Now(); !by.After(now) {
		return fmt.Errorf("the deadline %s is past", by.UTC().Format(time.RFC3339))
	}
	return nil
}

// CancelEvacuation takes back a person's order. What is in flight goes on to its end.
func (l *Loop) CancelEvacuation(ctx context.Context, site, who, reason string) error {
	err := l.ask(ctx, func(ctx context.Context) error {
		r := engine.OperatorRecord{Op: opCancel, Who: who, Reason: reason, Subject: engine.Subject{Kind: "site", ID: site}}
		if !slices.ContainsFunc(l.ordered, func(o engine.OperatorRecord) bool { return o.Subject == r.Subject }) {
			return fmt.Errorf("nobody has ordered the evacuation of site %q", site)
		}
		if err := l.record(ctx, engine.EntryOperator, r); err != nil {
			return err
		}
		l.ordered = takeOrder(l.ordered, r)
		l.forget(site)
		l.Log.WarnContext(ctx, "evacuation cancelled", "site", site, "who", who)
		return nil
	})
	if err == nil {
		l.Poke("an evacuation was cancelled")
	}
	return err
}

// withdraw drops what waits for approval where it empties the site.
func (l *Loop) withdraw(site string) {
	if l.pending != nil && slices.Contains(l.pending.Plan.Evacuates(), site) {
		l.pending = nil
	}
}

// forget drops what waits for approval, and what is not begun of approved plans and of
// the enforced one, where it empties the site. Should a policy want that too, the next
// cycle plans it again.
func (l *Loop) forget(site string) {
	l.withdraw(site)
	drop := func(name string) bool {
		rest := l.Executor.Rest(name)
		if rest == nil || !slices.Contains(rest.Evacuates(), site) {
			return false
		}
		l.Executor.Drop(name)
		return true
	}
	drop(program)
	l.approved = slices.DeleteFunc(l.approved, func(x *approved) bool { return drop(x.program) })
}

// withOrders adds what persons have ordered to what the policies said.
func (l *Loop) withOrders(d *engine.Decision) *engine.Decision {
	for _, o := range l.ordered {
		d = evacuating(d, o)
	}
	return d
}

// evacuating is the decision with one more evacuation.
func evacuating(d *engine.Decision, o engine.OperatorRecord) *engine.Decision {
	said := speak(d)
	reason := "ordered by " + o.Who
	if o.Reason != "" {
		reason += ": " + o.Reason
	}
	by := said.by(engine.Voice{Policy: operator, Rule: engine.RuleEvacuate, Mode: engine.Enforce}, reason)
	said.Evacuations = append(said.Evacuations, engine.Evacuation{Place: o.Subject, Deadline: o.By, By: by})
	return said.Decision
}

// ordersOf tells whether the person has ordered what the plan carries out.
func (l *Loop) ordersOf(p *engine.Plan, who string) bool {
	sites := p.Evacuates()
	return slices.ContainsFunc(l.ordered, func(o engine.OperatorRecord) bool { return o.Who == who && slices.Contains(sites, o.Subject.ID) })
}

// Drill plans the evacuation of a site on the last snapshot, changes nothing, and
// says what it would come to. It is journaled as a drill, unless it is only looked
// at.
func (l *Loop) Drill(ctx context.Context, site string, by time.Time, who string, look bool) (engine.Certificate, error) {
	var c engine.Certificate
	err := l.ask(ctx, func(ctx context.Context) error {
		err := l.mayEvacuate(site, by)
		if err != nil {
			return err
		}
		now := time.Now()
		w := &work{l: l, view: l.view(now, l.shown.Snapshot), decision: l.shown.Decision, rest: l.approvedRest(""), start: now}
		in := Drilled(w.input(engine.Advise, ""), site, engine.At(by), who)
		in.Paused = "" // it is a question
		p, _, err := Settle(ctx, l.Policy, w.view, &in)
		if err != nil {
			return err
		}
		if err := check.Plan(in, p); err != nil {
			return fmt.Errorf("the check refuses the plan: %w", err)
		}
		if c, err = Certified(in, p, site); err != nil || look {
			return err
		}
		b, err := engine.Encode(c)
		if err != nil {
			return err
		}
		digest, err := l.Journal.Put(ctx, b)
		if err != nil {
			return journalError{err}
		}
		e, err := engine.NewEntry(l.cycle, engine.EntryOperator, engine.OperatorRecord{
			Op: opDrill, Who: who, Subject: engine.Subject{Kind: "site", ID: site}, By: engine.At(by), Certificate: digest,
		}, digest)
		if err != nil {
			return err
		}
		return l.append(context.WithoutCancel(ctx), e)
	})
	return c, err
}

// Drilled is the input with one more evacuation, for asking what it would come to. What
// the rails have against it at this moment is not asked.
func Drilled(in engine.Input, site string, by engine.Unix, who string) engine.Input {
	d := in.Decision
	if d == nil {
		d = &engine.Decision{}
	}
	place := engine.Subject{Kind: "site", ID: site}
	said := speak(d)
	said.Evacuations = slices.DeleteFunc(said.Evacuations, func(e engine.Evacuation) bool { return e.Place == place })
	said.Freezes = slices.DeleteFunc(said.Freezes, func(f engine.Freeze) bool { return f.Place == place && said.Voices[f.By.Voice].Policy == operator })
	in.Decision = evacuating(said.Decision, engine.OperatorRecord{Op: opDrill, Who: who, Reason: "a drill", Subject: place, By: by})
	return in
}

// Certified is the certificate of a site's evacuation.
func Certified(in engine.Input, p *engine.Plan, site string) (engine.Certificate, error) {
	for _, c := range plan.Certify(in, p) {
		if c.Demand == (engine.Subject{Kind: "site", ID: site}) {
			return c, nil
		}
	}
	return engine.Certificate{}, fmt.Errorf("the plan has nothing to say about site %q", site)
}
