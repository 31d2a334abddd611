package shuffle

import (
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/internal/race"
)

// TestMany: equal arguments give equal tallies, and the plans have all that is judged.
func TestMany(t *testing.T) {
	a, b := Many(4000, 1, nil), Many(4000, 1, nil)
	if a.Violations != 0 || b.Violations != 0 {
		t.Fatal(a.First, b.First)
	}
	if a.Events != b.Events || a.Failures != b.Failures || a.Executions != 4000 {
		t.Errorf("%+v, again %+v", a, b)
	}
	if a.Failures == 0 || a.Edges == 0 {
		t.Errorf("%+v: nothing was tried", a)
	}
}

// TestJudgeBites: without the edges that an executor must keep to, rules are broken,
// whichever edges they are.
func TestJudgeBites(t *testing.T) {
	race.Alone(t)
	for _, c := range []struct {
		name       string
		executions int
		rules      []string
		drop       func(a, after *engine.Action) bool
	}{
		{"all edges", 4000, []string{"empty", "ready"}, func(*engine.Action, *engine.Action) bool { return true }},
		{"between moves", 60_000, []string{"overcommit"}, func(a, after *engine.Action) bool {
			return a.Kind == engine.Move && after.Kind == engine.Move
		}},
		{"from moves to the sleep of their host", 4000, []string{"empty"}, func(a, _ *engine.Action) bool { return a.Kind == engine.Standby }},
		{"from wakes", 20_000, []string{"ready"}, func(_, after *engine.Action) bool { return after.Kind == engine.Wakeup }},
	} {
		got := Many(c.executions, 1, func(p *engine.Plan) {
			for i := range p.Actions {
				a := &p.Actions[i]
				a.After = slices.DeleteFunc(slices.Clone(a.After), func(k int32) bool { return c.drop(a, &p.Actions[k]) })
			}
		})
		for _, rule := range c.rules {
			if got.Broken[rule] == 0 {
				t.Errorf("without %s: %v, and never %s", c.name, got.Broken, rule)
			}
		}
		t.Logf("without %s: %v", c.name, got.Broken)
	}
}

// TestJudgesOwnRules: what is wrong with a plan itself is found, too.
func TestJudgesOwnRules(t *testing.T) {
	race.Alone(t)
	for rule, spoil := range map[string]func(*engine.Action, *engine.Plan){
		"place": func(a *engine.Action, _ *engine.Plan) { a.NICs = nil },
		"apart": func(a *engine.Action, p *engine.Plan) { a.To = p.Actions[0].To },
		"space": func(a *engine.Action, _ *engine.Plan) {
			for i := range a.Disks {
				a.Disks[i].MiB <<= 12
			}
		},
	} {
		got := Many(8000, 1, func(p *engine.Plan) {
			for i := range p.Actions {
				if a := &p.Actions[i]; a.Kind == engine.Move && p.Actions[0].Kind == engine.Move {
					spoil(a, p)
				}
			}
		})
		if got.Broken[rule] == 0 {
			t.Errorf("%v, and never %s", got.Broken, rule)
		}
	}
}
