package cycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"heliostat/engine"
	"heliostat/engine/plan"
)

// MaxVetoRounds is how often a plan is built again around the vetoes of its
// moves before the moves still refused become holds.
const MaxVetoRounds = 3

// program is the executor's name for the enforced plan.
const program = "enforce"

// work is one cycle's planning: the same snapshot and decision, a plan a level.
type work struct {
	l        *Loop
	view     engine.View
	decision *engine.Decision
	need     map[string]int32 // by site: how many persons must approve its evacuation
	back     []homeward       // VMs that may go home after an evacuation
	turn     string           // the site that may be evacuated
	start    time.Time

	snapshot, history, said string // digests
	plans                   []*engine.Plan
	offered                 *engine.Plan          // what is carried out without a person, from this cycle on
	rest                    []engine.ActionRecord // of approved plans, as they were when view.Open was what is open
	certificates            []engine.Certificate  // of the last plan that has any, shadows apart
	record                  engine.CycleRecord
}

// run makes and journals the plans, and hands over what is to be done.
func (w *work) run(ctx context.Context) error {
	l := w.l
	if err := w.store(ctx); err != nil {
		return err
	}
	w.rest = l.approvedRest("")
	enforced, persons, err := w.level(ctx, engine.Enforce, "")
	if err != nil {
		return err
	}
	if err := w.checkApproved(ctx); err != nil {
		return err
	}
	w.rest = l.approvedRest("")
	switch {
	case l.paused != nil:
		l.Executor.DropAll()
		l.approved = nil
	case enforced != nil && persons == 0:
		l.Executor.Offer(ctx, program, enforced)
		w.offered = enforced
	default:
		l.Executor.Forget(program) // what an older plan has not started is no longer wanted so
	}
	for _, x := range l.approved {
		l.Executor.Renew(ctx, x.program, w.view.Now)
	}
	if err := w.checkPending(ctx); err != nil {
		return err
	}
	if enforced != nil && persons > 0 {
		w.offer(enforced, persons, false)
	}
	if err := w.advise(ctx); err != nil {
		return err
	}
	for _, name := range w.shadows() {
		if _, _, err := w.level(ctx, engine.Shadow, name); err != nil {
			return err
		}
	}
	if err := w.bundles(ctx); err != nil {
		return err
	}
	w.progress()
	return w.close(ctx)
}

// progress certifies what waits or is under way, in a cycle that made no plan of it.
func (w *work) progress() {
	if w.certificates != nil {
		return
	}
	p := &engine.Plan{}
	if w.l.pending != nil {
		p = w.l.pending.Plan
	}
	w.certificates = plan.Certify(w.input(engine.Advise, ""), p)
}

// store keeps the large parts of the Input, and journals what the policies said.
// A crash before its entry leaves files that no entry refers to.
func (w *work) store(ctx context.Context) error {
	for _, x := range []struct {
		line string
		to   *string
		v    any
	}{{"snapshot", &w.snapshot, w.view.Snapshot}, {"history", &w.history, w.l.history}, {"decision", &w.said, w.decision}} {
		var err error
		if *x.to, err = w.l.keep(ctx, x.line, x.v); err != nil {
			return err
		}
	}
	e, err := engine.NewEntry(w.l.cycle, engine.EntryDecision, engine.DecisionRecord{
		Revision: w.decision.Revision, Digest: w.said, Opinions: w.decision.Opinions(), Failures: w.decision.Failures,
	}, w.said)
	if err != nil {
		return err
	}
	return w.l.append(ctx, e)
}

// level builds, checks and journals the plan of one level, and says how many persons
// must approve it. It returns nil when the plan may not be acted on.
func (w *work) level(ctx context.Context, level engine.Mode, shadow string) (p *engine.Plan, persons int32, err error) {
	l, began := w.l, time.Now()
	in := w.input(level, shadow)
	p, rounds, err := settle(ctx, l.planner.Build, l.Policy, w.view, &in)
	if err != nil {
		return nil, 0, err
	}
	refused := ""
	if err := l.checker.Plan(in, p); err != nil {
		refused = err.Error()
		w.l.Log.ErrorContext(ctx, "own plan refused by the check", "cycle", w.l.cycle, "level", level.String(), "err", refused)
	}
	review, why, err := w.review(ctx, p)
	if err != nil {
		return nil, 0, err
	}
	bite := engine.Hold{Subject: engine.Subject{Kind: "fleet"}, Name: "fleet", Code: engine.HoldApproval, Want: "carry out the plan", Detail: why}
	if len(review.Rejects) > 0 && len(p.Actions) > 0 {
		bite.Code, bite.Detail = engine.HoldVeto, review.Rejects[0]
	}
	if bite.Detail != "" && level == engine.Enforce {
		l.judged = append(l.judged, bite)
	}
	if err := w.journal(ctx, &in, p, w.said, engine.PlanRecord{Level: level, Shadow: shadow, Refused: refused, Review: review}); err != nil {
		return nil, 0, err
	}
	w.plans = append(w.plans, p)
	if level == engine.Enforce {
		w.record.Actions, w.record.Holds, w.record.Evaluated = len(p.Actions), len(p.Holds), p.Evaluated
		w.record.Rounds, w.record.PlanMS = rounds, time.Since(began).Milliseconds()
	}
	if refused != "" || len(review.Rejects) > 0 {
		return nil, 0, nil
	}
	return p, review.Approvers, nil
}

// review is what the policies say of a plan as a whole, with the persons that the
// tiers ask for, and why these do.
func (w *work) review(ctx context.Context, p *engine.Plan) (r engine.Review, why string, err error) {
	if r, err = w.l.Policy.Review(ctx, w.view, p); err != nil {
		return r, "", fmt.Errorf("review plan: %w", err)
	}
	persons, why := w.l.Rails.Tiers.persons(p, w.need)
	r.Approvers = max(r.Approvers, persons)
	return r, why, nil
}

func (w *work) input(level engine.Mode, shadow string) engine.Input {
	l := w.l
	in := engine.Input{
		Cycle: l.cycle, Now: w.view.Now, Seed: l.cycle, Budget: l.Config.DefaultBudget, Level: level, Shadow: shadow,
		Snapshot: w.view.Snapshot, Decision: w.decision.Audience(level, shadow), History: l.history,
		Open: w.view.Open, Windows: w.view.Windows, Config: l.Config,
	}
	in.Open = append(slices.Clip(in.Open), w.rest...)
	if w.offered != nil && level == engine.Advise {
		in.Open = append(in.Open, intents(w.offered)...) // advice is what a person would add
	}
	if most := l.Rails.Tiers.SmallMoves; level == engine.Enforce && most > 0 {
		// A plan that nobody asked for must not wait for a person: the rest comes in the next cycle.
		in.Config.MovesPerCycle = min(in.Config.MovesPerCycle, most)
	}
	for _, h := range l.railed() {
		if h.Code == engine.HoldBreaker {
			in.Broken = append(in.Broken, h)
		}
	}
	for _, b := range l.gate.allBans() {
		switch b.Scope {
		case BanAll:
			in.Broken = append(in.Broken, b.Hold)
		case BanHosts:
			in.KeepHosts = append(in.KeepHosts, b.Hold)
		case BanNone:
		}
	}
	if l.paused != nil {
		in.Paused = l.paused.Reason
		if in.Paused == "" {
			in.Paused = "paused by " + l.paused.Who
		}
	}
	return in
}

// approvedRest is what a person has approved and has not started yet, but for the plan
// of one name. It is as good as under way.
func (l *Loop) approvedRest(but string) (out []engine.ActionRecord) {
	for _, x := range l.approved {
		if rest := l.Executor.Rest(x.program); rest != nil && x.program != but {
			out = append(out, intents(rest)...)
		}
	}
	return out
}

// intents are a plan's actions as ones that will begin.
func intents(p *engine.Plan) []engine.ActionRecord {
	out := make([]engine.ActionRecord, len(p.Actions))
	for i := range p.Actions {
		out[i] = engine.ActionRecord{Action: p.Actions[i], State: engine.StateIntent}
	}
	return out
}

// certify keeps what the plan's evacuations come to, and returns its digest: "" for
// none.
func (w *work) certify(ctx context.Context, in *engine.Input, p *engine.Plan, shadow bool) (string, error) {
	cs := plan.Certify(*in, p)
	if len(cs) == 0 {
		return "", nil
	}
	if !shadow {
		w.certificates = cs
	}
	b, err := engine.Encode(cs)
	if err != nil {
		return "", err
	}
	digest, err := w.l.Journal.Put(ctx, b)
	if err != nil {
		return "", journalError{err}
	}
	return digest, nil
}

// journal writes down what the plan was made from, said being the digest of the
// decision, and the plan, of which out says already what it is.
func (w *work) journal(ctx context.Context, in *engine.Input, p *engine.Plan, said string, out engine.PlanRecord) error {
	l := w.l
	name := out.Level.String() + " " + out.Shadow
	restDigest, err := l.keep(ctx, "input "+name, in)
	if err != nil {
		return err
	}
	digest, err := l.keep(ctx, "plan "+name, p)
	if err != nil {
		return err
	}
	rec := engine.InputRecord{Level: out.Level, Shadow: out.Shadow, Snapshot: w.snapshot, History: w.history, Decision: said, Rest: restDigest, Ended: l.folded}
	certificates, err := w.certify(ctx, in, p, out.Level < engine.Advise)
	if err != nil {
		return err
	}
	blobs := []string{digest}
	if certificates != "" {
		blobs = append(blobs, certificates)
	}
	out.Hash, out.Digest, out.Actions, out.Holds = p.Hash(), digest, len(p.Actions), len(p.Holds)
	out.Certificates = certificates
	entries := make([]engine.Entry, 0, 3)
	for _, x := range []struct {
		kind  engine.EntryKind
		data  any
		blobs []string
		skip  bool
	}{
		{engine.EntryInput, rec, []string{w.snapshot, w.history, said, restDigest}, false},
		{engine.EntryVetoes, in.Vetoes, nil, len(in.Vetoes) == 0},
		{engine.EntryPlan, out, blobs, false},
	} {
		if x.skip {
			continue
		}
		e, err := engine.NewEntry(l.cycle, x.kind, x.data, x.blobs...)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	// A crash before this leaves a cycle that never was; after it, a plan of
	// which nothing was started.
	return l.append(ctx, entries...)
}

// anyAdvice reports whether a plan at level Advise can differ from the enforced one.
func (w *work) anyAdvice() bool {
	m := w.l.Config.Modes
	if slices.Contains([]engine.Mode{m.Move, m.Standby, m.Wake, m.Maintenance}, engine.Advise) {
		return true
	}
	for _, v := range w.decision.Voices {
		if v.Mode == engine.Advise {
			return true
		}
	}
	for i := range w.view.Snapshot.Sites {
		if w.view.Snapshot.Sites[i].Mode == engine.Advise {
			return true
		}
	}
	for i := range w.view.Snapshot.VMs {
		if w.view.Snapshot.VMs[i].Mode == engine.Advise {
			return true
		}
	}
	return false
}

// shadows lists the policies in shadow, in order, each once.
func (w *work) shadows() []string {
	var names []string
	for _, v := range w.decision.Voices {
		if v.Mode == engine.Shadow && (len(names) == 0 || names[len(names)-1] != v.Policy) {
			names = append(names, v.Policy)
		}
	}
	return names
}

// close writes the record that ends the cycle.
func (w *work) close(ctx context.Context) error {
	l, s := w.l, w.view.Snapshot
	r := &w.record
	r.Open, r.Gaps, r.VMs, r.Hosts = len(l.Executor.Open()), len(s.Gaps), len(s.VMs), len(s.Hosts)
	for i := range s.Hosts {
		if s.Hosts[i].Power == engine.HostOn {
			r.HostsOn++
		}
		if s.Hosts[i].PowerW != engine.Unknown {
			r.PowerW += int64(s.Hosts[i].PowerW)
		}
	}
	r.MS = time.Since(w.start).Milliseconds()
	closing := *r
	closing.Rails = l.railed() // status has them of this moment
	e, err := engine.NewEntry(l.cycle, engine.EntryCycle, closing)
	if err != nil {
		return err
	}
	return l.append(ctx, e)
}
