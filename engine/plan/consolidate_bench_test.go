package plan

import (
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
)

// generations makes every third host of a cluster one of an older generation:
// fewer and slower cores, less memory, and more power for it.
func generations(s *engine.Snapshot) {
	for h := range s.Hosts {
		if x := &s.Hosts[h]; h%3 == 0 {
			x.CPUMHz, x.Cores, x.Threads, x.MemoryMiB, x.IdleW, x.MaxW = 24*2400, 24, 48, 384<<10, 165, 480
		}
	}
}

// idle permits the standby of every host.
func idle(s *engine.Snapshot) *opinions {
	o := &opinions{}
	by := o.by("dpm", engine.RuleDrain, "low for 40 min", 0, false)
	for h := range s.Hosts {
		if s.Hosts[h].Power == engine.HostOn {
			o.Drains = append(o.Drains, engine.Drain{Host: int32(h), By: by})
		}
	}
	return o
}

// BenchmarkConsolidation plans and checks without budgets: every host of a large
// fleet may sleep.
func BenchmarkConsolidation(b *testing.B) {
	s := sim.Fleet(1, sim.FleetConfig{Sites: 15, Hosts: 15_000, VMs: 150_000, RulePct: 60, ObstaclePct: 1, OffPct: 0, AcrossPct: 50})
	generations(s)
	in := input(s, idle(s))
	in.Config = rested()
	var p *engine.Plan
	b.Run("build", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p = Build(in)
		}
		b.ReportMetric(float64(count(p, engine.Standby)), "standby")
		b.ReportMetric(float64(count(p, engine.Move)), "moves")
		b.ReportMetric(float64(p.Evaluated), "evaluated")
		b.ReportMetric(p.Effect.Power.SharePct(), "share_pct")
		b.ReportMetric(p.Effect.Power.GapPct(), "gap_pct")
	})
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			if err := check.Plan(in, p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
