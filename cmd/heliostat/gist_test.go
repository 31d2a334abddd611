package main

import (
	"testing"

	"heliostat/engine"
)

// Every record that persons look for is said in words, and one of another version is shown as it is.
func TestGist(t *testing.T) {
	for _, x := range []struct {
		kind engine.EntryKind
		data any
		want string
	}{
		{engine.EntryOperator, engine.OperatorRecord{Op: "release", Who: "root", Reason: "it runs\nwell", Subject: engine.Subject{Kind: "vm", ID: "v1"}}, "release vm v1, ordered by root: it runs ..."},
		{engine.EntryOperator, engine.OperatorRecord{Op: "evacuate", Who: "root", By: 1790046000, Subject: engine.Subject{Kind: "site", ID: "fra"}}, "evacuate site fra by 2026-09-22T03:00:00Z, ordered by root"},
		{engine.EntryApproval, engine.ApprovalRecord{Hash: "0123456789abcdef", Approved: true, Who: "ann"}, "plan 0123456789ab approved by ann"},
		{engine.EntryApproval, engine.ApprovalRecord{Hash: "0123456789abcdef", Who: "ann", Reason: "month end"}, "plan 0123456789ab rejected by ann: month end"},
		{engine.EntryRevision, engine.RevisionRecord{Serving: "abcdef", By: "folder", Candidate: "123456789", Waits: "much differs"}, "policies abcdef in force, by folder; 12345678 waits: much differs"},
		{engine.EntryRevision, engine.RevisionRecord{Serving: "abcdef", Refused: "x.rego:1:1: no"}, "policies abcdef in force, by start; an edit was refused: x.rego:1:1: no"},
		{engine.EntryVetoes, []engine.Veto{{Policy: "canary", Reason: "not tagged"}}, "1 move denied: canary.deny: not tagged"},
		{engine.EntryDecision, engine.DecisionRecord{Revision: "0123456789", Opinions: 9, Failures: []engine.RuleFailure{{Scope: engine.Subject{Kind: "cluster", ID: "c1"}, Error: "timed out"}}}, "policies 01234567: 9 opinions, 1 failure, such as cluster c1: timed out"},
		{engine.EntryPlan, engine.PlanRecord{Level: engine.Shadow, Shadow: "next", Hash: "0123456789", Actions: 2, Holds: 1}, "shadow next: 2 actions, 1 hold, 01234567"},
		{engine.EntryPlan, []int{1}, "[1]"},
	} {
		e, err := engine.NewEntry(1, x.kind, x.data)
		if err != nil {
			t.Fatal(err)
		}
		if got := gist(&e); got != x.want {
			t.Errorf("%s: %q, want %q", x.kind, got, x.want)
		}
	}
}
