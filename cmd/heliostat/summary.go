package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"heliostat/engine"
	"heliostat/lab"
)

// summary is what a demo run comes to. Violations, movable, working_after and
// wrongly_held are judged by the lab's observer, with code of its own.
type summary struct {
	Hours            float64        `json:"hours"`
	Seed             uint64         `json:"seed"`
	Sites            int            `json:"sites"`
	Hosts            int            `json:"hosts"`
	VMs              int            `json:"vms"`
	Cycles           int            `json:"cycles"`
	Moves            int            `json:"moves"`
	MovesCrossVC     int            `json:"moves_cross_vcenter"`
	MovesFailed      int            `json:"moves_failed"`
	MovesBySun       int            `json:"moves_by_sun"` // asked for by follow_the_sun
	GBCopied         float64        `json:"gb_copied"`
	StunSeconds      float64        `json:"stun_seconds"`
	Standby          int            `json:"standby"`
	Wake             int            `json:"wake"`
	Maintenance      int            `json:"maintenance"` // hosts emptied for maintenance
	KWh              float64        `json:"kwh"`         // copies included
	KWhWithout       float64        `json:"kwh_without"` // same load, nothing moved, all hosts on
	EURSaved         float64        `json:"eur_saved"`
	CO2SavedKg       float64        `json:"co2_saved_kg"`
	Violations       int            `json:"violations"`
	ViolationsByKind []string       `json:"violations_by_kind,omitempty"`
	Threatened       string         `json:"threatened,omitempty"` // the site in the hurricane's path
	Movable          int            `json:"movable"`
	Evacuated        int            `json:"evacuated_by_deadline"`
	WorkingAfter     int            `json:"working_after"`
	LeftBehind       int            `json:"left_behind"`
	WronglyHeld      int            `json:"wrongly_held"`
	NotWorth         int            `json:"refused_not_worth"` // VMs whose move was refused because it would cost more than it saves
	Holds            map[string]int `json:"holds"`             // distinct objects held, by reason
	PolicyFailures   int            `json:"policy_failures"`   // rules that could not be evaluated, cycles added up
	RefusedPlans     int            `json:"refused_plans"`     // own plans that the check refused
	JournalEntries   uint64         `json:"journal_entries"`
	JournalHead      string         `json:"journal_head"`
	State            string         `json:"state"`
	WallSeconds      float64        `json:"wall_seconds"`
}

// fromJournal fills in what the journal knows. It also returns the VMs that were
// held in the evacuation of the site, for the observer to judge.
func (s *summary) fromJournal(j journal, site engine.SiteID) (held []string, err error) {
	objects := map[engine.HoldCode]map[string]bool{}
	heldNow := map[string]bool{}
	for e, err := range j.Entries(1) {
		if err != nil {
			return nil, err
		}
		switch e.Kind {
		case engine.EntryCycle:
			s.Cycles++
		case engine.EntryDecision:
			var r engine.DecisionRecord
			if err := json.Unmarshal(e.Data, &r); err != nil {
				return nil, err
			}
			s.PolicyFailures += len(r.Failures)
		case engine.EntryEnded:
			var r engine.ActionRecord
			if err := json.Unmarshal(e.Data, &r); err != nil {
				return nil, err
			}
			s.ended(&r)
		case engine.EntryPlan:
			var r engine.PlanRecord
			if err := json.Unmarshal(e.Data, &r); err != nil {
				return nil, err
			}
			if r.Refused != "" {
				s.RefusedPlans++
			}
			p, err := readPlan(j, r.Digest)
			if err != nil {
				return nil, err
			}
			heldNow = s.held(p, site, objects, heldNow)
		default:
		}
	}
	s.Holds = map[string]int{}
	for code, ids := range objects {
		s.Holds[string(code)] = len(ids)
	}
	s.NotWorth = len(objects[engine.HoldWorth])
	return slices.Sorted(maps.Keys(heldNow)), nil
}

// ended counts an action that is over.
func (s *summary) ended(r *engine.ActionRecord) {
	ok := r.State == engine.StateSucceeded
	switch r.Action.Kind {
	case engine.Move:
		if !ok {
			if r.State == engine.StateFailed || r.State == engine.StateLost {
				s.MovesFailed++
			}
			return
		}
		for _, w := range r.Action.Why {
			if w.Policy == "follow_the_sun" {
				s.MovesBySun++
				break
			}
		}
	case engine.EnterMaintenance:
		if ok {
			s.Maintenance++
		}
	case engine.Standby, engine.Wakeup, engine.ExitMaintenance:
	}
}

// held notes who is held and why; it returns the VMs that this plan holds back
// from the evacuation of the site, or what it was given when the plan has none.
func (s *summary) held(p *engine.Plan, site engine.SiteID, objects map[engine.HoldCode]map[string]bool, last map[string]bool) map[string]bool {
	now := map[string]bool{}
	evacuates := false
	for i := range p.Actions {
		evacuates = evacuates || p.Actions[i].Demand == engine.Subject{Kind: "site", ID: string(site)}
	}
	for _, h := range p.Holds {
		if objects[h.Code] == nil {
			objects[h.Code] = map[string]bool{}
		}
		objects[h.Code][h.Subject.String()] = true
		if h.Demand == (engine.Subject{Kind: "site", ID: string(site)}) {
			evacuates = true
			// Waiting for a slot, a task or a budget is not a refusal.
			if h.Subject.Kind == "vm" && h.Code != engine.HoldBusy && h.Code != engine.HoldDeadline {
				now[h.Subject.ID] = true
			}
		}
	}
	if !evacuates {
		return last
	}
	return now
}

// fromLab fills in what the lab knows.
func (s *summary) fromLab(r lab.Report, m lab.Reading, e *lab.EvacuationReport) {
	s.Moves, s.MovesCrossVC = r.MovesDone, r.MovesAcross
	s.GBCopied, s.StunSeconds = r.GBCopied, r.StunSeconds
	s.Standby, s.Wake = r.Standbys, r.Wakes
	s.KWh, s.KWhWithout = m.KWh, m.KWhWithout
	s.EURSaved, s.CO2SavedKg = m.EURWithout-m.EUR, (m.GramCO2Without-m.GramCO2)/1000
	s.Violations = r.Violations
	for _, k := range r.ByKind {
		s.ViolationsByKind = append(s.ViolationsByKind, fmt.Sprintf("%d %s, such as %s", k.Count, k.Kind, k.Examples[0]))
	}
	if e != nil {
		s.Movable, s.Evacuated, s.WorkingAfter, s.LeftBehind = e.Movable, e.EvacuatedByDeadline, e.WorkingAfter, e.LeftBehind
	}
}

// print writes the summary for people.
func (s *summary) print(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("")
	line("%s, %s, %s, %s, %s, in %.0f s", engine.Count(int(s.Hours+0.5), "simulated hour"), engine.Count(s.Sites, "site"), engine.Count(s.Hosts, "host"), engine.Count(s.VMs, "VM"), engine.Count(s.Cycles, "cycle"), s.WallSeconds)
	line("")
	line("  follow the sun   %d of %d moves; %d across vCenters; %.0f GB copied; %.1f s of stun over all VMs; %d failed", s.MovesBySun, s.Moves, s.MovesCrossVC, s.GBCopied, s.StunSeconds, s.MovesFailed)
	line("  power            %s put in standby, %d woken", engine.Count(s.Standby, "host"), s.Wake)
	line("  energy           %.0f kWh instead of %.0f (%.1f %% less, copies included); %.2f EUR and %.1f kg CO2 saved", s.KWh, s.KWhWithout, 100*(1-s.KWh/max(s.KWhWithout, 1e-9)), s.EURSaved, s.CO2SavedKg)
	line("  maintenance      %s emptied and handed over", engine.Count(s.Maintenance, "host"))
	if s.Threatened != "" {
		line("  hurricane        %s: %d of %d movable VMs out by the deadline, %d working afterwards, %d left behind, %d wrongly held", s.Threatened, s.Evacuated, s.Movable, s.WorkingAfter, s.LeftBehind, s.WronglyHeld)
	}
	line("  not worth it     %d VMs stayed because moving them would have cost more than it saves", s.NotWorth)
	var holds []string
	for _, k := range slices.SortedFunc(maps.Keys(s.Holds), func(a, b string) int { return s.Holds[b] - s.Holds[a] }) {
		holds = append(holds, fmt.Sprintf("%s %d", k, s.Holds[k]))
	}
	line("  held, by reason  %s", strings.Join(holds, ", "))
	line("  violations       %d, counted by an observer that shares no code with the planner", s.Violations)
	for _, v := range s.ViolationsByKind {
		line("                   %s", v)
	}
	line("  journal          %s in %s; head %.16s", engine.Count(s.JournalEntries, "entry"), s.State, s.JournalHead)
	line("")
	line("Look further:")
	line("  heliostat journal ls --state %s --kind ended", s.State)
	line("  heliostat explain site %s --state %s", cmp.Or(s.Threatened, "houston"), s.State)
	line("  heliostat replay --state %s --all", s.State)
	_, err := io.WriteString(w, b.String())
	return err
}
