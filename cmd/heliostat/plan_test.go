package main

import (
	"strings"
	"testing"

	"heliostat/engine"
)

// TestPlanHeader counts rules that are disabled, and says that they are.
func TestPlanHeader(t *testing.T) {
	s := &engine.Snapshot{Rules: make([]engine.Rule, 3)}
	for want, disabled := range map[string]int{" 3 rules, ": 0, " 3 rules (2 disabled), ": 2} {
		for i := range s.Rules {
			s.Rules[i].Disabled = i < disabled
		}
		var b strings.Builder
		if err := printPlan(&b, engine.Input{Snapshot: s}, &engine.Plan{}); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("got %q, %v, want %q", b.String(), err, want)
		}
	}
}
