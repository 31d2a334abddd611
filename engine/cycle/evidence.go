package cycle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
)

// Tiers say for what the loop needs persons. What is small it does alone, as far
// as the modes let it.
type Tiers struct {
	// SmallMoves is how many moves a plan may have, those of sites' evacuations
	// apart, until one person must approve it. 0: as many as it has.
	SmallMoves int32 `yaml:"small_moves"`
	// Approvers is how many different persons must approve the evacuation of a site.
	// 0 only outside a configuration: none.
	Approvers int32 `yaml:"evacuation_approvers"`
	// Autonomous lets the evacuation of a site begin without a person, where Evidence
	// classes of evidence agree; with one class less, one person must approve.
	Autonomous bool `yaml:"evacuation_autonomous"`
	// Evidence is how many classes: hazard, alert and window are one each.
	Evidence int32 `yaml:"evacuation_evidence"`
	// WeakAlerts are the kinds of alerts that are no evidence: that a site cannot be
	// reached says nothing about the site.
	WeakAlerts []string `yaml:"weak_alerts"`
}

// DefaultTiers evacuate no site without two persons.
func DefaultTiers() Tiers {
	return Tiers{SmallMoves: 50, Approvers: 2, Evidence: 2, WeakAlerts: []string{"reachability", "network", "heartbeat"}}
}

func (t Tiers) validate() error {
	var errs []error
	if t.SmallMoves < 0 {
		errs = append(errs, fmt.Errorf("tiers.small_moves: %d is negative", t.SmallMoves))
	}
	if t.Approvers < 1 || t.Approvers > 2 {
		errs = append(errs, fmt.Errorf("tiers.evacuation_approvers: %d is not 1 or 2", t.Approvers))
	}
	if t.Evidence < 1 || t.Evidence > 3 {
		errs = append(errs, fmt.Errorf("tiers.evacuation_evidence: %d is not between 1 and 3", t.Evidence))
	}
	return errors.Join(errs...)
}

// evidence are the classes of evidence that a site is in danger, or is agreed to be
// emptied. A policy's word is none, nor is silence.
func (t Tiers) evidence(v *engine.View, site engine.SiteID) (classes []string) {
	s, now := v.Snapshot, v.Now
	if slices.ContainsFunc(s.Hazards, func(h engine.Hazard) bool {
		return h.Site == site && (h.End == 0 || h.End > now) && (h.ValidUntil == 0 || h.ValidUntil > now)
	}) {
		classes = append(classes, "hazard")
	}
	if slices.ContainsFunc(s.Alerts, func(a engine.Alert) bool {
		return a.Site == site && a.Status == "firing" && (a.ExpiresAt == 0 || a.ExpiresAt > now) && !slices.Contains(t.WeakAlerts, a.Kind)
	}) {
		classes = append(classes, "alert")
	}
	if slices.ContainsFunc(v.Windows, func(w engine.Window) bool {
		return w.Kind == "maintenance" && w.Place == engine.Subject{Kind: "site", ID: string(site)} && w.To > now
	}) {
		classes = append(classes, "window")
	}
	return classes
}

// approvers is how many persons an evacuation with these classes of evidence needs.
func (t Tiers) approvers(classes int) int32 {
	switch n := int32(classes); {
	case t.Autonomous && n >= t.Evidence:
		return 0
	case t.Autonomous && n >= 1 && n == t.Evidence-1:
		return 1
	}
	return t.Approvers
}

// threatened reports whether nothing speaks for a site as a refuge: it is to be
// evacuated itself, or a severe hazard there is not over.
func threatened(v *engine.View, site engine.SiteID, asked []engine.Evacuation) bool {
	return slices.ContainsFunc(asked, func(e engine.Evacuation) bool { return e.Place.ID == string(site) }) ||
		slices.ContainsFunc(v.Snapshot.Hazards, func(h engine.Hazard) bool {
			return h.Site == site && (h.End == 0 || h.End > v.Now) && (h.Severity == "severe" || h.Severity == "extreme")
		})
}

// A verdict is what becomes of the evacuations of sites that policies ask for.
type verdict struct {
	decision *engine.Decision
	holds    []engine.Hold
	need     map[string]int32 // by site: how many persons must approve
}

// judge holds the evacuations of sites against the tiers. One that needs persons
// goes on as advice; one that may not begin is not heard. Both leave their site
// alone meanwhile, but for an evacuation. turns are the sites in the order in which
// they may be emptied.
func (t Tiers) judge(v *engine.View, d *engine.Decision, turns func(asked []engine.Evacuation) string) verdict {
	out := verdict{decision: d, need: map[string]int32{}}
	var asked []engine.Evacuation // by site, its soonest
	for _, e := range d.Evacuations {
		if e.Place.Kind != "site" || d.Voices[e.By.Voice].Mode < engine.Advise {
			continue
		}
		if i := slices.IndexFunc(asked, func(x engine.Evacuation) bool { return x.Place == e.Place }); i < 0 {
			asked = append(asked, e)
		} else if sooner(e, asked[i]) < 0 {
			asked[i] = e
		}
	}
	if t.Approvers == 0 || len(asked) == 0 {
		return out
	}
	slices.SortFunc(asked, sooner)
	everywhere := !slices.ContainsFunc(v.Snapshot.Sites, func(x engine.Site) bool { return !threatened(v, x.ID, asked) })
	turn := turns(asked)
	said := speak(d)
	for i := range asked {
		site := asked[i].Place
		classes := t.evidence(v, engine.SiteID(site.ID))
		h := engine.Hold{Subject: site, Name: site.ID, Want: "evacuate site " + site.ID, Demand: site, Why: []engine.Why{d.Why(asked[i].By)}}
		mode := engine.Advise
		switch n := t.approvers(len(classes)); {
		case everywhere:
			h.Code, h.Detail, mode = engine.HoldEvidence, fmt.Sprintf("all %d sites are threatened: nowhere is safer", len(v.Snapshot.Sites)), engine.Off
		case site.ID != turn:
			h.Code, h.Detail, mode = engine.HoldTurn, "one site is evacuated at a time, and it is the turn of "+turn, engine.Off
		case n == 0:
			continue
		default:
			h.Code, out.need[site.ID] = engine.HoldApproval, n
			who := "1 person"
			if n > 1 {
				who = fmt.Sprintf("%d different persons", n)
			}
			h.Detail = fmt.Sprintf("%s must approve it: the evidence is %s, %d classes would do", who, cmp.Or(strings.Join(classes, ", "), "none but a policy's word"), t.Evidence)
			if !t.Autonomous {
				h.Detail = fmt.Sprintf("%s must approve it (tiers.evacuation_autonomous is false)", who)
			}
		}
		out.holds = append(out.holds, h)
		said.demote(site, mode, h.Detail)
	}
	out.decision = said.Decision
	return out
}

// sooner orders evacuations by deadline, none being the last, and by place.
func sooner(a, b engine.Evacuation) int {
	return cmp.Or(cmp.Compare(uint64(a.Deadline-1), uint64(b.Deadline-1)), cmp.Compare(a.Place.ID, b.Place.ID))
}

// demote lets the evacuations of a site be heard up to a mode only, and freezes the
// site, but for an evacuation that is advised: nothing arrives where all may soon
// have to leave.
func (s speech) demote(site engine.Subject, mode engine.Mode, why string) {
	s.lower(site, mode)
	by := s.by(engine.Voice{Policy: operator, Rule: engine.RuleFreeze, Mode: engine.Enforce, Yields: mode == engine.Advise}, "evacuate site "+site.ID+": "+why)
	s.Freezes = append(s.Freezes, engine.Freeze{Place: site, By: by})
}

// persons is how many must approve the plan, and why.
func (t Tiers) persons(p *engine.Plan, need map[string]int32) (n int32, why string) {
	moves := int32(0)
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Demand.Kind == "site" {
			n = max(n, need[a.Demand.ID])
		} else if a.Kind == engine.Move {
			moves++
		}
	}
	if t.SmallMoves > 0 && moves > t.SmallMoves && n == 0 {
		return 1, fmt.Sprintf("%d moves are more than %d: one person must approve them", moves, t.SmallMoves)
	}
	return n, ""
}

// turn is the site whose evacuation goes on, or may begin: one that is under way,
// else the soonest that has not had its turn.
func (l *Loop) turn(asked []engine.Evacuation) string {
	for _, list := range [2][]engine.ActionRecord{l.Executor.Open(), l.approvedRest("")} {
		for i := range list {
			if d := list[i].Action.Demand; d.Kind == "site" {
				return d.ID
			}
		}
	}
	l.served = slices.DeleteFunc(l.served, func(id string) bool {
		return !slices.ContainsFunc(asked, func(e engine.Evacuation) bool { return e.Place.ID == id })
	})
	if len(l.served) == len(asked) {
		l.served = nil
	}
	for _, e := range asked {
		if !slices.Contains(l.served, e.Place.ID) {
			return e.Place.ID
		}
	}
	return ""
}

// serve passes the turn on when nothing is done for the site whose turn it is, and none
// of the cycle's plans has anything to do for it that a person has not rejected.
func (w *work) serve() {
	l, now := w.l, time.Now()
	if l.paused != nil || !w.presses() {
		return
	}
	for _, p := range w.plans {
		if slices.Contains(p.Evacuates(), w.turn) && !l.rejected[p.Hash()].After(now) {
			return
		}
	}
	if !slices.Contains(l.served, w.turn) {
		l.served = append(l.served, w.turn)
	}
}

// judge lays the rails over what the policies said.
func (w *work) judge(d *engine.Decision) *engine.Decision {
	l := w.l
	d = wayBack(l.withOrders(d), w.view.Snapshot, w.back, l.Rails.ReturnMicro)
	x := l.Rails.Tiers.judge(&w.view, d, func(asked []engine.Evacuation) string {
		w.turn = l.turn(asked)
		return w.turn
	})
	l.judged, w.need = x.holds, x.need
	return frozenBy(x.decision, w.view.Snapshot, l.history.Stops)
}
