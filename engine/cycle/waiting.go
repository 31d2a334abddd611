package cycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
	"heliostat/engine/plan"
)

// vetoes asks the policies about the moves of a plan of an earlier cycle.
func (w *work) vetoes(ctx context.Context, p *engine.Plan) ([]engine.Veto, error) {
	var moves []engine.Action
	for i := range p.Actions {
		if p.Actions[i].Kind == engine.Move {
			moves = append(moves, p.Actions[i])
		}
	}
	if len(moves) == 0 {
		return nil, nil
	}
	vetoes, err := w.l.Policy.Deny(ctx, w.view, moves)
	if err != nil {
		return nil, fmt.Errorf("ask deny: %w", err)
	}
	return vetoes, nil
}

// binds reports whether a veto is about the move: some yield to an evacuation.
func (w *work) binds(v *engine.Veto, a *engine.Action) bool {
	return v.VM == a.VM && (v.To == "" || v.To == a.To.Host) &&
		(!v.Yields || !slices.ContainsFunc(w.decision.Evacuations, func(e engine.Evacuation) bool { return e.Place == a.Demand }))
}

// again checks a plan of an earlier cycle on what is seen and said now, besides what is
// open.
func (w *work) again(p *engine.Plan, open []engine.ActionRecord, vetoes []engine.Veto) error {
	in := w.input(p.Level, "")
	in.Open, in.Vetoes = open, vetoes
	return w.l.checker.Plan(in, p)
}

// checkPending drops the plan that waits when it has expired or become wrong, or when
// the policies that wanted it serve no more.
func (w *work) checkPending(ctx context.Context) error {
	l, x := w.l, w.l.pending
	if x == nil {
		return nil
	}
	vetoes, err := w.vetoes(ctx, x.Plan)
	if err != nil {
		return err
	}
	r, _, err := w.review(ctx, x.Plan)
	if err != nil {
		return err
	}
	x.Approvers = max(x.Approvers, r.Approvers)
	if time.Now().After(x.Expires) || x.revision != w.decision.Revision || (x.Plan.Level == engine.Advise && !w.anyAdvice()) ||
		len(r.Rejects) > 0 || w.again(x.Plan, w.input(engine.Advise, "").Open, vetoes) != nil {
		l.pending = nil
	}
	return nil
}

// advise makes the plan that adds what is only advised, when there is anything
// to add and nothing waits already. Only the evacuation of a site waits for nothing.
func (w *work) advise(ctx context.Context) error {
	l := w.l
	if l.paused != nil || !w.anyAdvice() {
		return nil
	}
	outdone := l.pending != nil && w.outdone(w.input(engine.Advise, ""), l.pending)
	if (l.pending != nil || len(l.approved) > 0) && !outdone && !w.presses() {
		return nil
	}
	p, persons, err := w.level(ctx, engine.Advise, "")
	if err != nil || p == nil {
		return err
	}
	w.offer(p, persons, outdone)
	return nil
}

// renewAfter is how long a plan that empties a site waits before a better one may take
// its place: two persons have to read it and to count its actions.
const renewAfter = 3 * time.Minute

// outdone tells whether the plan that waits has come to leave much more, a twentieth,
// of what could be saved than when it was made: time runs short while it waits, and a
// vCenter that was silent answers again.
func (w *work) outdone(in engine.Input, p *Pending) bool {
	if len(p.Plan.Evacuates()) == 0 {
		return false
	}
	w.certificates = plan.Certify(in, p.Plan)
	short, all := shortOf(w.certificates)
	if now := time.Now(); now.Sub(p.looked) >= renewAfter && short-p.short > all/20 {
		p.looked = now
		return true
	}
	return false
}

// shortOf is what plans leave of what could be saved, and of all that there is.
func shortOf(certificates []engine.Certificate) (short, all int64) {
	for i := range certificates {
		v := &certificates[i].Value
		short, all = short+v.Bound-v.Reached, all+v.All
	}
	return short, all
}

// presses reports whether a site is to be evacuated for which nothing is under way yet,
// nor approved or waiting.
func (w *work) presses() bool {
	l := w.l
	if w.turn == "" || (l.pending != nil && slices.Contains(l.pending.Plan.Evacuates(), w.turn)) || (w.offered != nil && slices.Contains(w.offered.Evacuates(), w.turn)) {
		return false
	}
	site := engine.Subject{Kind: "site", ID: w.turn}
	return !slices.ContainsFunc(append(l.approvedRest(""), w.view.Open...), func(r engine.ActionRecord) bool { return r.Action.Demand == site })
}

// offer makes p the plan that waits for persons, unless one waits already that presses
// as much and is not outdone, or one of them has refused it.
func (w *work) offer(p *engine.Plan, persons int32, outdone bool) {
	l := w.l
	hash := p.Hash()
	instead := outdone || (w.presses() && slices.Contains(p.Evacuates(), w.turn))
	if len(p.Actions) == 0 || l.rejected[hash].After(time.Now()) || (l.pending != nil && (!instead || l.pending.Hash == hash)) {
		return
	}
	now := time.Now()
	short, _ := shortOf(w.certificates)
	l.pending = &Pending{Plan: p, Hash: hash, Since: now, Expires: now.Add(l.ApprovalTTL), Approvers: max(1, persons), short: short, looked: now, revision: w.decision.Revision}
}

// checkApproved drops the approved plans that have ended or become wrong, and of the
// others the moves that a policy refuses by now.
func (w *work) checkApproved(ctx context.Context) error {
	l := w.l
	var kept []string
	for _, name := range l.approved {
		rest := l.Executor.Rest(name)
		if rest == nil {
			continue
		}
		vetoes, err := w.vetoes(ctx, rest)
		if err != nil {
			return err
		}
		l.Executor.Strike(name, func(a *engine.Action) bool {
			return slices.ContainsFunc(vetoes, func(v engine.Veto) bool { return v.Mode >= rest.Level && w.binds(&v, a) })
		})
		if rest = l.Executor.Rest(name); len(rest.Actions) == 0 {
			l.Executor.Forget(name) // those who have its last actions in hand may not have called yet
			continue
		}
		if err := w.again(rest, append(slices.Clone(w.view.Open), l.approvedRest(name)...), vetoes); err != nil {
			l.Log.WarnContext(ctx, "approved plan no longer holds, its rest is dropped", "plan", strings.TrimPrefix(name, "approved:"), "err", err)
			l.Executor.Drop(name)
			continue
		}
		l.Executor.Renew(ctx, name, w.view.Now)
		kept = append(kept, name)
	}
	l.approved = kept
	return nil
}
