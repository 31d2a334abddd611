package cycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"heliostat/engine"
)

// selfTestEvery is how often the guards are tested while the loop runs, beside
// each start: memory goes bad without a restart.
const selfTestEvery = 24 * time.Hour

const selfTestWho = "self-test"

// selfTest lays harm before the guards, once a day. One that lets it pass guards
// nothing: it stops everything, until a person resumes and they refuse again.
func (l *Loop) selfTest(ctx context.Context, now time.Time) error {
	if l.SelfTest == nil || (!l.tested.IsZero() && now.Sub(l.tested) < selfTestEvery) {
		return nil
	}
	l.tested = now
	err := l.testGuards()
	if err == nil {
		return nil
	}
	l.Log.ErrorContext(ctx, "the guards fail their self-test: nothing is started", "err", err)
	if l.paused != nil {
		return nil
	}
	return l.pause(ctx, engine.OperatorRecord{Op: "pause", Who: selfTestWho, Reason: err.Error()})
}

func (l *Loop) testGuards() error {
	if l.SelfTest == nil {
		return nil
	}
	return errors.Join(l.SelfTest(), testRails(func(r Rails) *gate { return &gate{rails: r, began: time.Now()} }))
}

// testRails lays actions before gates, and evacuations before the tiers, that they
// must hold back, and one that they must not.
func testRails(newGate func(Rails) *gate) error {
	var errs []error
	try := func(what string, want bool, rails Rails, set func(g *gate)) {
		g := newGate(rails)
		set(g)
		a := engine.Action{ID: "c1-1", Kind: engine.Move, VM: "vm", From: engine.Place{Site: "a", VCenter: "v", Cluster: "v/c", Host: "v/h"}, To: engine.Place{Site: "a", VCenter: "v", Cluster: "v/c", Host: "v/i"}}
		switch got := g.Admit(&a); {
		case got && !want:
			errs = append(errs, fmt.Errorf("the rails let an action start %s", what))
		case !got && want:
			errs = append(errs, fmt.Errorf("the rails hold an action back %s", what))
		}
	}
	soon := engine.At(time.Now()) + hour
	try("that nothing speaks against", true, DefaultRails(), func(*gate) {})
	try("while paused", false, DefaultRails(), func(g *gate) { g.stop("self-test") })
	try("where vCenter says stop", false, DefaultRails(), func(g *gate) {
		g.stopAt([]engine.Stop{{Subject: engine.Subject{Kind: "cluster", ID: "v/c"}, Reason: "self-test"}})
	})
	try("at an open breaker", false, DefaultRails(), func(g *gate) {
		g.state.Breakers = []engine.Breaker{{VCenter: "v", Until: soon, Why: "self-test"}}
	})
	try("beside a canary", false, DefaultRails(), func(g *gate) { g.flying = []string{"c0-1"} })
	try("on a budget of 0", false, Rails{Budgets: &Budgets{DemandX: 1}}, func(*gate) {})

	s := &engine.Snapshot{Sites: []engine.Site{{ID: "a"}, {ID: "b"}, {ID: "c"}}}
	v := &engine.View{Snapshot: s, Now: soon}
	d := &engine.Decision{Voices: []engine.Voice{{Policy: "self_test", Rule: engine.RuleEvacuate, Mode: engine.Enforce}}, Reasons: []string{"to be held"}}
	evacuate := func(sites ...string) {
		d.Evacuations = nil
		for _, id := range sites {
			d.Evacuations = append(d.Evacuations, engine.Evacuation{Place: engine.Subject{Kind: "site", ID: id}})
		}
		heard := DefaultTiers().judge(v, d, func([]engine.Evacuation) string { return "a" }).decision.Audience(engine.Enforce, "").Evacuations
		if len(heard) > 0 {
			errs = append(errs, fmt.Errorf("the rails let %d of %d sites be evacuated on a policy's word", len(heard), len(sites)))
		}
	}
	evacuate("a")
	evacuate("a", "b")
	evacuate("a", "b", "c")
	return errors.Join(errs...)
}
