package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"heliostat/engine"
)

// gist says in a few words what an entry records.
func gist(e *engine.Entry) string {
	text := ""
	switch e.Kind {
	case engine.EntryInput:
		text = gistOf(e, func(r *engine.InputRecord) string {
			return fmt.Sprintf("%s: snapshot %.8s", levelText(r.Level, r.Shadow), r.Snapshot)
		})
	case engine.EntryDecision:
		text = gistOf(e, func(r *engine.DecisionRecord) string {
			s := fmt.Sprintf("policies %.8s: %s", r.Revision, engine.Count(r.Opinions, "opinion"))
			if len(r.Failures) > 0 {
				s += fmt.Sprintf(", %s, such as %s: %s", engine.Count(len(r.Failures), "failure"), r.Failures[0].Scope, r.Failures[0].Error)
			}
			return s
		})
	case engine.EntryVetoes:
		text = gistOf(e, func(r *[]engine.Veto) string {
			var denied []string
			for _, v := range *r {
				denied = append(denied, fmt.Sprintf("%s.%s: %s", v.Policy, engine.RuleDeny, v.Reason))
			}
			return fmt.Sprintf("%s denied: %s", engine.Count(len(denied), "move"), strings.Join(denied, "; "))
		})
	case engine.EntryPlan:
		text = gistOf(e, func(r *engine.PlanRecord) string {
			s := fmt.Sprintf("%s: %s, %s, %.8s", levelText(r.Level, r.Shadow), engine.Count(r.Actions, "action"), engine.Count(r.Holds, "hold"), r.Hash)
			if r.Refused != "" {
				s += ", refused: " + r.Refused
			}
			if len(r.Review.Rejects) > 0 {
				s += ", rejected: " + r.Review.Rejects[0]
			}
			return s
		})
	case engine.EntryIntent, engine.EntryTask, engine.EntryEnded:
		text = gistOf(e, func(r *engine.ActionRecord) string {
			s := fmt.Sprintf("%s %s: %s", r.Action.ID, r.Action.String(), r.State)
			if r.Error != "" {
				s += ": " + r.Error
			}
			return s + tookText(r)
		})
	case engine.EntryHealth:
		text = gistOf(e, func(r *engine.HealthRecord) string {
			if r.Unknown {
				return fmt.Sprintf("%s of %s: unknown: %s", r.Action, r.Name, r.Detail)
			}
			return fmt.Sprintf("%s of %s: %s", r.Action, r.Name, cmp.Or(r.Detail, "well"))
		})
	case engine.EntryAlert:
		text = gistOf(e, func(r *engine.Alert) string {
			return fmt.Sprintf("%s at %s: %s %s", r.Name, r.Site, r.Status, r.Severity)
		})
	case engine.EntryApproval:
		text = gistOf(e, func(r *engine.ApprovalRecord) string {
			s := fmt.Sprintf("plan %.12s rejected by %s", r.Hash, r.Who)
			if r.Approved {
				s = fmt.Sprintf("plan %.12s approved by %s", r.Hash, r.Who)
			}
			return s + why(r.Reason)
		})
	case engine.EntryRevision:
		text = gistOf(e, func(r *engine.RevisionRecord) string {
			s := fmt.Sprintf("policies %.12s in force, by %s", r.Serving, cmp.Or(r.By, "start"))
			if r.Refused != "" {
				s += "; an edit was refused" + why(r.Refused)
			}
			if r.Waits != "" {
				s += fmt.Sprintf("; %.8s waits%s", r.Candidate, why(r.Waits))
			}
			return s
		})
	case engine.EntryOperator:
		text = gistOf(e, func(r *engine.OperatorRecord) string {
			s := r.Op
			if r.Subject.Kind != "" {
				s += " " + r.Subject.String()
			}
			if r.By != 0 {
				s += " by " + r.By.String()
			}
			return s + ", ordered by " + r.Who + why(r.Reason)
		})
	case engine.EntryCycle:
		text = gistOf(e, func(r *engine.CycleRecord) string {
			return fmt.Sprintf("%s, %d of %s on, %d W, %d open, %s, %d ms", engine.Count(r.VMs, "VM"), r.HostsOn, engine.Count(r.Hosts, "host"), r.PowerW, r.Open, engine.Count(r.Gaps, "gap"), r.MS)
		})
	}
	return cmp.Or(text, string(e.Data[:min(len(e.Data), 120)])) // another version's record is shown as it is
}

// gistOf says what an entry's record says; "" when it is none of this version's.
func gistOf[T any](e *engine.Entry, say func(*T) string) string {
	var r T
	if json.Unmarshal(e.Data, &r) != nil {
		return ""
	}
	return say(&r)
}

// levelText is the level of a plan, and of one in shadow whose it is.
func levelText(level engine.Mode, shadow string) string {
	return strings.TrimSpace(level.String() + " " + shadow)
}

// why is a reason, after a colon, as far as it fits on the line.
func why(reason string) string {
	first, _, more := strings.Cut(reason, "\n")
	if more {
		first += " ..."
	}
	return because(first)
}
