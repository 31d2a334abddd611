package cycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// part tells what of a plan of an earlier cycle may not be carried out on what is seen and
// said now, besides what is open.
func (w *work) part(p *engine.Plan, open []engine.ActionRecord, vetoes []engine.Veto) []error {
	in := w.input(p.Level, "")
	in.Open, in.Vetoes = open, vetoes
	return w.l.checker.Part(in, p)
}

// checkPending looks at the plan that waits again. It is dropped when it has expired,
// when the policies that wanted it serve no more, and when what is wrong with it can not
// pass or does not: persons are reading it.
func (w *work) checkPending(ctx context.Context) error {
	l, x := w.l, w.l.pending
	if x == nil {
		return nil
	}
	now := time.Now()
	if now.After(x.Expires) || x.revision != w.decision.Revision || (x.Plan.Level == engine.Advise && !w.anyAdvice()) {
		l.pending = nil
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
	wrong := w.part(x.Plan, w.input(engine.Advise, "").Open, vetoes)
	for i := range wrong {
		if len(r.Rejects) > 0 {
			wrong[i] = errors.New(r.Rejects[0])
		}
	}
	x.doubts = x.doubts.next(x.Plan, wrong, now)
	x.Doubt = x.doubts.text(x.Plan)
	late, lapsed := len(x.doubts.older(now, renewAfter)), 0
	for i := range x.Plan.Actions {
		if w.lapsed(&x.Plan.Actions[i]) {
			lapsed++
		}
	}
	all, drop := len(wrong), late > 0 || lapsed > 0
	if len(x.Plan.Evacuates()) > 0 { // it is approved by two persons, and what holds of it can be begun
		drop = late == all || lapsed == all || (lapsed > all/20 && now.Sub(x.Since) >= renewAfter)
	}
	if drop {
		l.Log.InfoContext(ctx, "the plan that waits no longer holds", "plan", x.Hash[:8], "reason", x.Doubt)
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
	return !slices.ContainsFunc(slices.Concat(w.rest, w.view.Open), func(r engine.ActionRecord) bool { return r.Action.Demand == site })
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

// checkApproved looks at what is left of approved plans again: what does not hold now is
// not begun until it does, and left out when it has not for as long as persons are waited
// for, or can not hold any more.
func (w *work) checkApproved(ctx context.Context) error {
	l, now := w.l, time.Now()
	var kept []*approved
	for _, x := range l.approved {
		rest := l.Executor.Rest(x.program)
		if rest == nil {
			continue
		}
		vetoes, err := w.vetoes(ctx, rest)
		if err != nil {
			return err
		}
		l.Executor.Strike(x.program, w.lapsed)
		was := len(rest.Actions)
		rest = l.Executor.Rest(x.program)
		if n := was - len(rest.Actions); n > 0 {
			l.Log.WarnContext(ctx, "left out of an approved plan: nobody demands it any more, or the VM is gone or elsewhere", "plan", x.hash[:8], "actions", n)
		}
		x.doubts = x.doubts.next(rest, w.part(rest, append(slices.Clone(w.view.Open), l.approvedRest(x.program)...), vetoes), now)
		if late := x.doubts.older(now, l.ApprovalTTL); len(late) > 0 {
			l.Log.WarnContext(ctx, "left out of an approved plan: it has not held for long", "plan", x.hash[:8], "actions", len(late), "reason", late.first().why)
			l.Executor.Strike(x.program, late.about)
			rest = l.Executor.Rest(x.program)
			x.doubts = x.doubts.of(rest)
		}
		if len(rest.Actions) == 0 && !l.Executor.InHand(x.program) {
			l.Executor.Forget(x.program) // those who have its last actions in hand have called
			continue
		}
		x.left = len(rest.Actions)
		l.Executor.Hold(x.program, x.doubts.about)
		kept = append(kept, x)
	}
	l.approved = kept
	return nil
}
