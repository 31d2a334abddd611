package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"heliostat/engine"
)

// Evaluate asks every fleet-scope rule once and every cluster-scope rule once
// for each cluster. A rule that fails is in the Decision, not in the error,
// which is ctx's alone. Equal bundles and views give equal Decisions, byte for
// byte. VMs without a known host are shown to no rule: nothing can move them.
func (b *Bundle) Evaluate(ctx context.Context, view engine.View) (*engine.Decision, error) {
	d, data := b.encode(view)
	fleet := b.askFleet(ctx, b.of(scopeFleet), d, data)

	perCluster, now, before := make([][]*answer, len(d.clusters)), make([][]said, len(d.clusters)), b.saidBefore()
	x := b.newCycle(ctx, d, data)
	parallel(ctx, len(d.clusters), func(i int) {
		perCluster[i], now[i] = b.askCluster(ctx, x, int32(i), before[view.Snapshot.Clusters[i].ID])
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("evaluate policies: %w", err)
	}
	b.keepSaid(view.Snapshot, now)
	answers := fleet
	for _, as := range perCluster {
		answers = append(answers, as...)
	}
	out := merge(answers)
	out.Revision, out.Voices = b.Revision, slices.Clone(b.Voices)
	return out, nil
}

// askFleet asks the fleet-scope queries one after another. There is an answer for each.
func (b *Bundle) askFleet(ctx context.Context, qs []*query, d *document, data ast.Object) []*answer {
	out := make([]*answer, len(qs))
	for i, q := range qs {
		var err error
		if out[i], err = q.answer(ctx, data, nil, d, b.deadline); err == nil {
			continue
		}
		out[i] = q.failed(err, d.snap, engine.None)
	}
	return out
}

// failed is the answer of a rule that gave none: what it was asked about is
// frozen if the rule is a veto.
func (q *query) failed(err error, s *engine.Snapshot, c int32) *answer {
	place := engine.Subject{Kind: "fleet"}
	if c >= 0 {
		place = engine.Subject{Kind: "cluster", ID: string(s.Clusters[c].ID)}
	}
	a := &answer{voice: q.voice}
	a.Failures = []engine.RuleFailure{{Voice: q.voice, Scope: place, Error: q.explain(err), Veto: q.spec.veto}}
	if q.spec.veto {
		// The text must not change while the failure lasts, whatever its error says.
		a.Reasons = []string{fmt.Sprintf("rule %s of policy %s could not be evaluated: it fails closed", q.rule, q.policy)}
		a.Freezes = []engine.Freeze{{Place: place, By: engine.By{Voice: q.voice}}}
	}
	return a
}

// explain says where the rule failed, or where the rule is when the error does
// not know.
func (q *query) explain(err error) string {
	loc, msg := q.loc, err.Error()
	if e, ok := errors.AsType[*topdown.Error](err); ok {
		msg = e.Message
		if e.Location != nil && e.Location.File != "" {
			loc = e.Location
		}
	}
	return faultAt(loc, "%s: %s", q.rule, msg).Error()
}

// parallel calls f for 0..n-1 on as many goroutines as there are processors,
// and stops beginning new ones when ctx ends.
func parallel(ctx context.Context, n int, f func(int)) {
	spread(n, func(i int) {
		if ctx.Err() == nil {
			f(i)
		}
	})
}

func spread(n int, f func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// inParts calls f for parts of 0..n-1 that together are all of it, on as many
// goroutines as there are processors.
func inParts(n int, f func(from, to int)) {
	parts := min(n, runtime.GOMAXPROCS(0))
	spread(parts, func(i int) { f(i*n/parts, (i+1)*n/parts) })
}

// merge unites answers into one Decision: reasons interned and sorted, each
// slice sorted, groups united.
func merge(answers []*answer) *engine.Decision {
	out := &engine.Decision{}
	out.Reasons = internAll(answers)
	for _, a := range answers {
		d := &a.Decision
		out.SiteScores = append(out.SiteScores, d.SiteScores...)
		out.Prefers = append(out.Prefers, d.Prefers...)
		out.Evacuations = append(out.Evacuations, d.Evacuations...)
		out.Drains = append(out.Drains, d.Drains...)
		out.Wakes = append(out.Wakes, d.Wakes...)
		out.Priorities = append(out.Priorities, d.Priorities...)
		out.Groups = append(out.Groups, d.Groups...)
		out.AllowSites = append(out.AllowSites, d.AllowSites...)
		out.AllowHosts = append(out.AllowHosts, d.AllowHosts...)
		out.Pins = append(out.Pins, d.Pins...)
		out.KeepOns = append(out.KeepOns, d.KeepOns...)
		out.Freezes = append(out.Freezes, d.Freezes...)
		out.Sheds = append(out.Sheds, d.Sheds...)
		out.Failures = append(out.Failures, d.Failures...)
	}
	sortDecision(out)
	out.Groups = unite(out.Groups)
	return out
}

// internAll numbers all reasons in sorted order and renumbers every answer.
func internAll(answers []*answer) []string {
	seen := map[string]int32{}
	for _, a := range answers {
		for _, r := range a.Reasons {
			seen[r] = 0
		}
	}
	sorted := make([]string, 0, len(seen))
	for r := range seen {
		sorted = append(sorted, r)
	}
	slices.Sort(sorted)
	for i, r := range sorted {
		seen[r] = int32(i)
	}
	for _, a := range answers {
		eachBy(&a.Decision, func(by *engine.By) { by.Reason = seen[a.Reasons[by.Reason]] })
	}
	return sorted
}

// eachBy visits who said what, in every slice.
func eachBy(d *engine.Decision, f func(*engine.By)) {
	visit(d.SiteScores, func(x *engine.SiteScore) { f(&x.By) })
	visit(d.Prefers, func(x *engine.Prefer) { f(&x.By) })
	visit(d.Evacuations, func(x *engine.Evacuation) { f(&x.By) })
	visit(d.Drains, func(x *engine.Drain) { f(&x.By) })
	visit(d.Wakes, func(x *engine.Wake) { f(&x.By) })
	visit(d.Priorities, func(x *engine.Priority) { f(&x.By) })
	visit(d.Groups, func(x *engine.Group) { f(&x.By) })
	visit(d.AllowSites, func(x *engine.AllowSites) { f(&x.By) })
	visit(d.AllowHosts, func(x *engine.AllowHosts) { f(&x.By) })
	visit(d.Pins, func(x *engine.Pin) { f(&x.By) })
	visit(d.KeepOns, func(x *engine.KeepOn) { f(&x.By) })
	visit(d.Freezes, func(x *engine.Freeze) { f(&x.By) })
	visit(d.Sheds, func(x *engine.Shed) { f(&x.By) })
}

func visit[T any](xs []T, f func(*T)) {
	for i := range xs {
		f(&xs[i])
	}
}

func byOrder(a, b engine.By) int {
	return cmp.Or(cmp.Compare(a.Voice, b.Voice), cmp.Compare(a.Reason, b.Reason))
}

func placeOrder(a, b engine.Subject) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}

// sortDecision puts every slice in the order that Decision promises: by what is
// spoken of, then voice, then reason, then the rest.
func sortDecision(d *engine.Decision) {
	slices.SortFunc(d.SiteScores, func(a, b engine.SiteScore) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), byOrder(a.By, b.By), cmp.Compare(a.Milli, b.Milli))
	})
	slices.SortFunc(d.Prefers, func(a, b engine.Prefer) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), byOrder(a.By, b.By), placeOrder(a.To, b.To), cmp.Compare(a.MicroEUR, b.MicroEUR))
	})
	slices.SortFunc(d.Evacuations, func(a, b engine.Evacuation) int {
		return cmp.Or(placeOrder(a.Place, b.Place), byOrder(a.By, b.By), cmp.Compare(a.Deadline, b.Deadline))
	})
	slices.SortFunc(d.Drains, func(a, b engine.Drain) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), byOrder(a.By, b.By), cmp.Compare(a.Then, b.Then), cmp.Compare(a.Deadline, b.Deadline))
	})
	slices.SortFunc(d.Wakes, func(a, b engine.Wake) int { return cmp.Or(cmp.Compare(a.Host, b.Host), byOrder(a.By, b.By)) })
	slices.SortFunc(d.Priorities, func(a, b engine.Priority) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), byOrder(a.By, b.By), cmp.Compare(a.Tier, b.Tier))
	})
	slices.SortFunc(d.Groups, func(a, b engine.Group) int {
		return cmp.Or(groupOrder(&a, &b), cmp.Compare(a.VMs[0], b.VMs[0]), byOrder(a.By, b.By),
			cmp.Compare(a.MaxRTTMicros, b.MaxRTTMicros), cmp.Compare(a.MaxSplitS, b.MaxSplitS))
	})
	slices.SortFunc(d.AllowSites, func(a, b engine.AllowSites) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), byOrder(a.By, b.By), cmp.Compare(a.Sites, b.Sites))
	})
	slices.SortFunc(d.AllowHosts, func(a, b engine.AllowHosts) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), byOrder(a.By, b.By), slices.Compare(a.Hosts, b.Hosts))
	})
	slices.SortFunc(d.Pins, func(a, b engine.Pin) int { return cmp.Or(cmp.Compare(a.VM, b.VM), byOrder(a.By, b.By)) })
	slices.SortFunc(d.KeepOns, func(a, b engine.KeepOn) int { return cmp.Or(cmp.Compare(a.Host, b.Host), byOrder(a.By, b.By)) })
	slices.SortFunc(d.Freezes, func(a, b engine.Freeze) int {
		return cmp.Or(placeOrder(a.Place, b.Place), byOrder(a.By, b.By), cmp.Compare(a.Until, b.Until))
	})
	slices.SortFunc(d.Sheds, func(a, b engine.Shed) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), byOrder(a.By, b.By), compareBool(a.Suspend, b.Suspend))
	})
	slices.SortFunc(d.Failures, func(a, b engine.RuleFailure) int {
		return cmp.Or(cmp.Compare(a.Voice, b.Voice), placeOrder(a.Scope, b.Scope), cmp.Compare(a.Error, b.Error))
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// groupOrder is equal for items of one group: same voice, name, kind and scope.
func groupOrder(a, b *engine.Group) int {
	return cmp.Or(cmp.Compare(a.By.Voice, b.By.Voice), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Scope, b.Scope))
}

// unite joins the sorted one-member groups of one name over all clusters. Where
// members state different limits, the strictest binds them all.
func unite(groups []engine.Group) []engine.Group {
	var out []engine.Group
	for i := range groups {
		g := &groups[i]
		if len(out) == 0 || groupOrder(&out[len(out)-1], g) != 0 {
			out = append(out, *g)
			continue
		}
		u := &out[len(out)-1]
		u.MaxRTTMicros, u.MaxSplitS = min(u.MaxRTTMicros, g.MaxRTTMicros), min(u.MaxSplitS, g.MaxSplitS)
		if v := g.VMs[0]; u.VMs[len(u.VMs)-1] != v {
			u.VMs = append(u.VMs, v)
		}
	}
	return out
}
