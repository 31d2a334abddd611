package cycle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"heliostat/engine"
)

// approved is a plan that persons have approved, while it is carried out.
type approved struct {
	program string // the executor's name for it
	hash    string
	left    int // actions that were not begun when it was looked at last
	doubts  doubts
}

// A doubt is that an action of a plan which persons approve does not hold now.
type doubt struct {
	since time.Time
	why   string // as it was then
}

// doubts are by action, by ID.
type doubts map[string]doubt

// about reports whether an action is in doubt.
func (x doubts) about(a *engine.Action) bool {
	_, is := x[a.ID]
	return is
}

// next are the doubts once the plan was looked at again: wrong says of each of its
// actions what is wrong with it. A doubt lasts from when it was first there.
func (x doubts) next(p *engine.Plan, wrong []error, now time.Time) doubts {
	out := doubts{}
	for i, err := range wrong {
		id := p.Actions[i].ID
		if was, is := x[id]; err != nil && is {
			out[id] = was
		} else if err != nil {
			out[id] = doubt{now, err.Error()}
		}
	}
	return out
}

// of are those about actions of the plan.
func (x doubts) of(p *engine.Plan) doubts {
	out := doubts{}
	for i := range p.Actions {
		if d, is := x[p.Actions[i].ID]; is {
			out[p.Actions[i].ID] = d
		}
	}
	return out
}

// older are those that have lasted so long.
func (x doubts) older(now time.Time, than time.Duration) doubts {
	out := maps.Clone(x)
	maps.DeleteFunc(out, func(_ string, d doubt) bool { return now.Sub(d.since) < than })
	return out
}

// first is the doubt that has lasted longest.
func (x doubts) first() doubt {
	return slices.MinFunc(slices.Collect(maps.Values(x)), func(a, b doubt) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.why, b.why)) })
}

// text says to those who may approve p what does not hold of it.
func (x doubts) text(p *engine.Plan) string {
	switch n := len(x); n {
	case 0:
		return ""
	case len(p.Actions):
		return "nothing of it holds: " + x.first().why
	default:
		return fmt.Sprintf("%d of its %d actions do not hold, and are not begun until they do: %s", n, len(p.Actions), x.first().why)
	}
}

// holds is what of the plan is not begun because it does not hold. The text stays as
// it is while no more and no less does.
func (x *approved) holds(patience time.Duration) []engine.Hold {
	if len(x.doubts) == 0 {
		return nil
	}
	first := x.doubts.first()
	return []engine.Hold{{
		Subject: engine.Subject{Kind: "fleet"}, Name: fmt.Sprintf("approved plan %.12s", x.hash), Code: engine.HoldSuspended, Want: fmt.Sprintf("begin %d of the %d actions left", len(x.doubts), x.left),
		Detail: fmt.Sprintf("they do not hold since %s, and are left out if they do not by %s: %s", engine.At(first.since), engine.At(first.since.Add(patience)), first.why),
	}}
}

// lapsed reports whether the action can never again be right, whatever heals: nobody
// wants it any more, or its VM is seen to be gone or elsewhere.
func (w *work) lapsed(a *engine.Action) bool {
	return !w.demanded(a.Demand) || (a.Kind == engine.Move && w.departed(a))
}

// demanded reports whether somebody still asks that a place be emptied, in whatever
// mode, or may do so and could not be heard.
func (w *work) demanded(place engine.Subject) bool {
	d, s := w.decision, w.view.Snapshot
	return place.Kind == "" ||
		slices.ContainsFunc(d.Evacuations, func(e engine.Evacuation) bool { return e.Place == place }) ||
		(place.Kind == "host" && slices.ContainsFunc(d.Drains, func(x engine.Drain) bool { return string(s.Hosts[x.Host].ID) == place.ID })) ||
		slices.ContainsFunc(d.Failures, func(f engine.RuleFailure) bool {
			rule := d.Voices[f.Voice].Rule
			return rule == engine.RuleEvacuate || rule == engine.RuleDrain
		}) ||
		slices.ContainsFunc(s.Gaps, func(g engine.Gap) bool { return g.Subject == place || g.Subject.Kind == "feed" })
}

// departed reports whether a VM is seen not to be where its move begins.
func (w *work) departed(a *engine.Action) bool {
	s := w.view.Snapshot
	if w.blind(engine.Subject{Kind: "vm", ID: string(a.VM)}, engine.Subject{Kind: "host", ID: string(a.From.Host)},
		engine.Subject{Kind: "cluster", ID: string(a.From.Cluster)}, engine.Subject{Kind: "vcenter", ID: string(a.From.VCenter)}) {
		return false
	}
	from, seen := s.FindHost(a.From.Host)
	v, is := s.FindVM(a.VM)
	return seen && (!is || s.VMs[v].Host != from)
}

// blind reports whether something is not known about one of the places.
func (w *work) blind(places ...engine.Subject) bool {
	return slices.ContainsFunc(w.view.Snapshot.Gaps, func(g engine.Gap) bool { return slices.Contains(places, g.Subject) })
}
