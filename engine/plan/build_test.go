package plan

import (
	"testing"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// enforcing is a configuration under which everything may be acted on.
func enforcing() engine.Config {
	c := engine.DefaultConfig()
	c.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	return c
}

// opinions builds a decision for tests, one voice a rule.
type opinions struct{ engine.Decision }

func (o *opinions) by(policy, rule, reason string, weight int64, yields bool) engine.By {
	o.Voices = append(o.Voices, engine.Voice{Policy: policy, Rule: rule, Mode: engine.Enforce, Yields: yields, WeightMicroEUR: weight})
	o.Reasons = append(o.Reasons, reason)
	return engine.By{Voice: int32(len(o.Voices) - 1), Reason: int32(len(o.Reasons) - 1)}
}

func (o *opinions) evacuate(kind, id string, deadline engine.Unix) {
	o.Evacuations = append(o.Evacuations, engine.Evacuation{Place: engine.Subject{Kind: kind, ID: id}, Deadline: deadline, By: o.by("hurricane", engine.RuleEvacuate, "a storm comes", 0, false)})
}

func input(s *engine.Snapshot, o *opinions) engine.Input {
	return engine.Input{
		Cycle: 7, Now: s.At, Seed: 1, Level: engine.Enforce, Snapshot: s, Decision: &o.Decision, History: engine.Fold(&engine.History{}, s, nil, engine.Thresholds{}), Config: enforcing(),
	}
}

func count(p *engine.Plan, k engine.ActionKind) int {
	n := 0
	for i := range p.Actions {
		if p.Actions[i].Kind == k {
			n++
		}
	}
	return n
}

func holds(p *engine.Plan) map[engine.HoldCode]int {
	m := map[engine.HoldCode]int{}
	for i := range p.Holds {
		m[p.Holds[i].Code]++
	}
	return m
}

func BenchmarkBuild(b *testing.B) {
	s := sim.Fleet(1, sim.FleetConfig{Sites: 15, Hosts: 15_000, VMs: 150_000, RulePct: 30, ObstaclePct: 2, OffPct: 5, AcrossPct: 50})
	wish := &opinions{}
	by := wish.by("follow_the_sun", engine.RuleSiteScore, "the sun is up", 10_000, false)
	for i := range s.Sites {
		wish.SiteScores = append(wish.SiteScores, engine.SiteScore{Site: int32(i), Milli: int32(i)*140 - 1000, By: by})
	}
	drain := wish.by("dpm", engine.RuleDrain, "low for 40 min", 0, false)
	for h := range s.Hosts {
		if h%7 == 0 {
			wish.Drains = append(wish.Drains, engine.Drain{Host: int32(h), By: drain})
		}
	}
	storm := &opinions{}
	storm.evacuate("site", string(s.Sites[3].ID), s.At+12*3600)
	quiet := &opinions{}
	for _, c := range []struct {
		name string
		o    *opinions
	}{{"quiet", quiet}, {"wishes", wish}, {"evacuation", storm}} {
		b.Run(c.name, func(b *testing.B) {
			in := input(s, c.o)
			b.ReportAllocs()
			var p *engine.Plan
			for b.Loop() {
				p = Build(in)
			}
			b.ReportMetric(float64(len(p.Actions)), "actions")
			b.ReportMetric(float64(len(p.Holds)), "holds")
			b.ReportMetric(float64(p.Evaluated), "evaluated")
			b.ReportMetric(float64(p.Effect.MakespanS), "makespan_s")
			b.ReportMetric(float64(p.Effect.LowerBoundS), "bound_s")
		})
	}
}
