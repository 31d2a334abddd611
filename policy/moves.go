package policy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// codePolicyError is the code of a veto whose rule could not be evaluated.
const codePolicyError = "policy_error"

// Deny asks every deny rule about every move among the actions. A rule that
// fails denies that move. The vetoes are sorted by VM, destination, policy,
// code and reason; the error is ctx's alone.
func (b *Bundle) Deny(ctx context.Context, view engine.View, moves []engine.Action) ([]engine.Veto, error) {
	qs := b.of(scopeMove)
	if len(qs) == 0 || len(moves) == 0 {
		return nil, nil
	}
	d, data := b.encode(view)
	inputs := b.moveInputs(d, moves)
	found := make([][]engine.Veto, len(moves))
	parallel(ctx, len(moves), func(i int) {
		if moves[i].Kind != engine.Move {
			return
		}
		for _, q := range qs {
			found[i] = append(found[i], b.denyOne(ctx, q, d, data, inputs[i], &moves[i])...)
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ask policies about moves: %w", err)
	}
	out := slices.Concat(found...)
	slices.SortFunc(out, func(a, b engine.Veto) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), cmp.Compare(a.To, b.To), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(out), nil
}

// moveInputs encodes the inputs in turn: terms are made under the bundle's lock.
// An input is nil for a move of what is not in the snapshot.
func (b *Bundle) moveInputs(d *document, moves []engine.Action) []ast.Value {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]ast.Value, len(moves))
	for i := range moves {
		a := &moves[i]
		v, okV := d.snap.FindVM(a.VM)
		from, okF := d.snap.FindHost(a.From.Host)
		to, okT := d.snap.FindHost(a.To.Host)
		if !okV || !okF || !okT {
			continue
		}
		var o doc
		o.put("vm", b.enc.vm(d, v))
		o.put("from", d.hosts[from])
		o.put("to", d.hosts[to])
		o.put("why", b.enc.whys(a.Why))
		o.put("move", b.enc.action(a, "planned", 0))
		out[i] = o.term().Value
	}
	return out
}

func (e *encoder) whys(ws []engine.Why) *ast.Term {
	items := make([]*ast.Term, len(ws))
	for i, w := range ws {
		var o doc
		o.put("policy", e.in.str(w.Policy))
		o.put("rule", e.in.str(w.Rule))
		o.put("reason", e.in.str(w.Reason))
		items[i] = o.term()
	}
	return array(items)
}

func (b *Bundle) denyOne(ctx context.Context, q *query, d *document, data ast.Object, input ast.Value, a *engine.Action) []engine.Veto {
	voice := &b.Voices[q.voice]
	veto := func(code, reason string) engine.Veto {
		return engine.Veto{VM: a.VM, To: a.To.Host, Code: code, Reason: reason, Policy: voice.Policy, Mode: voice.Mode, Yields: voice.Yields}
	}
	if input == nil {
		return []engine.Veto{veto(codePolicyError, "the move's VM or hosts are not in the snapshot")}
	}
	ans, err := q.answer(ctx, data, input, d, b.deadline)
	if err != nil {
		return []engine.Veto{veto(codePolicyError, q.explain(err))}
	}
	out := make([]engine.Veto, len(ans.denies))
	for i, x := range ans.denies {
		out[i] = veto(x.code, x.reason)
	}
	return out
}

// Review asks the plan-scope rules that the plan's audience hears about the
// whole plan. A rule that fails rejects it.
func (b *Bundle) Review(ctx context.Context, view engine.View, plan *engine.Plan) (engine.Review, error) {
	var out engine.Review
	qs := slices.DeleteFunc(b.of(scopePlan), func(q *query) bool {
		v := &b.Voices[q.voice]
		// A shadow plan hears what is enforced and advised, and its own policy.
		return v.Mode < max(plan.Level, engine.Advise) && v.Policy != plan.Shadow
	})
	if len(qs) == 0 {
		return out, nil
	}
	d, data := b.encode(view)
	input := b.planInput(plan)
	for _, q := range qs {
		name := q.policy + "." + q.rule + ": "
		ans, err := q.answer(ctx, data, input, d, b.deadline)
		if err != nil {
			out.Rejects = append(out.Rejects, name+"could not be evaluated: "+q.explain(err))
			continue
		}
		for _, r := range ans.Reasons {
			if q.rule == engine.RuleReject {
				out.Rejects = append(out.Rejects, name+r)
			} else {
				out.Reasons = append(out.Reasons, name+r)
			}
		}
		out.Approvers = max(out.Approvers, ans.persons)
	}
	if err := ctx.Err(); err != nil {
		return engine.Review{}, fmt.Errorf("ask policies about a plan: %w", err)
	}
	slices.Sort(out.Rejects)
	slices.Sort(out.Reasons)
	return out, nil
}

func (b *Bundle) planInput(p *engine.Plan) ast.Value {
	b.mu.Lock()
	defer b.mu.Unlock()
	var count [engine.ExitMaintenance + 1]int64
	var across, mib int64
	actions := make([]*ast.Term, len(p.Actions))
	links := map[[2]engine.SiteID]int64{}
	for i := range p.Actions {
		a := &p.Actions[i]
		actions[i] = b.enc.action(a, "planned", 0)
		count[a.Kind]++
		size := a.Estimate.MemoryMiB + a.Estimate.DiskMiB
		mib += size
		if a.Across {
			across++
		}
		if a.Kind == engine.Move && a.From.Site != a.To.Site {
			links[[2]engine.SiteID{min(a.From.Site, a.To.Site), max(a.From.Site, a.To.Site)}] += size
		}
	}
	var s, o doc
	s.put("level", b.enc.in.str(p.Level.String()))
	s.put("shadow", b.enc.in.orNull(p.Shadow))
	s.int("actions", int64(len(p.Actions)))
	s.int("moves", count[engine.Move])
	s.int("moves_across", across)
	s.int("standby", count[engine.Standby])
	s.int("wake", count[engine.Wakeup])
	s.int("maintenance", count[engine.EnterMaintenance])
	s.int("holds", int64(len(p.Holds)))
	s.int("gb", gib(mib))
	s.int("power_w", p.Effect.PowerW)
	s.put("eur_per_h", decimal(p.Effect.MicroEURPerH, 6))
	s.put("cost_eur", decimal(p.Effect.CostMicroEUR, 6))
	s.int("makespan_s", p.Effect.MakespanS)
	o.put("plan", s.term())
	o.put("moves", array(actions))
	o.put("links", b.enc.linkLoads(links))
	return o.term().Value
}

func (e *encoder) linkLoads(links map[[2]engine.SiteID]int64) *ast.Term {
	keys := make([][2]engine.SiteID, 0, len(links))
	for k := range links {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]engine.SiteID) int {
		return cmp.Or(strings.Compare(string(a[0]), string(b[0])), strings.Compare(string(a[1]), string(b[1])))
	})
	items := make([]*ast.Term, len(keys))
	for i, k := range keys {
		var o doc
		o.put("a", e.in.str(string(k[0])))
		o.put("b", e.in.str(string(k[1])))
		o.int("gb", gib(links[k]))
		items[i] = o.term()
	}
	return array(items)
}
