package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"

	"heliostat/engine"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
)

// A planner is what engine/plan alone takes and gives on a fleet, without policies
// and journal: every host may sleep, nothing is rationed, and each plan is made by
// plan.Build and held against plan.Check.
type planner struct {
	Plans         int     `json:"plans"`
	PlanMSP50     float64 `json:"plan_ms_p50"` // wall: Build and Check
	PlanMSP99     float64 `json:"plan_ms_p99"`
	PlanCPUMS     float64 `json:"plan_cpu_ms"`    // the median, of all threads
	BuildCPUMS    float64 `json:"build_cpu_ms"`   // of it
	FirstSafeMS   float64 `json:"first_safe_ms"`  // wall: a plan that looks for nothing beyond what is demanded or broken, checked
	FirstSafeCPU  float64 `json:"first_safe_cpu"` // milliseconds
	DeltaCPUMS    float64 `json:"delta_cpu_ms"`   // after 1 % of the VMs have changed
	HostFailureMS float64 `json:"host_failure_ms"`
	HostCPUMS     float64 `json:"host_failure_cpu_ms"`
	GapPercent    float64 `json:"gap_percent"`     // by which the plan's cost of power may exceed the least
	ShareOfSaving float64 `json:"share_of_saving"` // percent of what could be saved at most
	HeapMB        float64 `json:"heap_mb"`         // live after a plan, beyond the fleet itself
	HeapPeakMB    float64 `json:"plan_heap_peak"`  // while planning, garbage included
	Moves         int     `json:"moves"`           // of the full plan
	Standby       int     `json:"standby"`         // hosts put to sleep by it
	CheckFailures int     `json:"check_failures"`  // plans that Check refused
	Evaluated     int64   `json:"evaluated"`       // candidates looked at
}

// generations makes every third host one of an older generation: fewer and slower
// cores, less memory, and more power for it.
func generations(s *engine.Snapshot) {
	for h := range s.Hosts {
		if x := &s.Hosts[h]; h%3 == 0 {
			x.CPUMHz, x.Cores, x.Threads, x.MemoryMiB, x.IdleW, x.MaxW = 24*2400, 24, 48, 384<<10, 165, 480
		}
	}
}

// permitted is a decision by which every host may sleep that is on.
func permitted(s *engine.Snapshot) *engine.Decision {
	d := &engine.Decision{
		Voices: []engine.Voice{{Policy: "dpm", Rule: engine.RuleDrain, Mode: engine.Enforce}}, Reasons: []string{"its load is low"},
	}
	for h := range s.Hosts {
		if s.Hosts[h].Power == engine.HostOn {
			d.Drains = append(d.Drains, engine.Drain{Host: int32(h)})
		}
	}
	return d
}

// measurePlanner plans for as long as asked, and three times at least.
func measurePlanner(ctx context.Context, o options) (*planner, error) {
	s := sim.Fleet(o.seed, sim.FleetConfig{Sites: o.sites, Hosts: o.hosts, VMs: o.vms, RulePct: 60, AcrossPct: 50, ObstaclePct: 1})
	generations(s)
	in := plan.Input{Cycle: 1, Now: s.At, Seed: o.seed, Level: engine.Enforce, Snapshot: s, Decision: permitted(s), History: remembered(s), Config: unrationed()}
	x := &planner{}
	before := liveHeap()
	peak := watchHeap()
	rnd := rand.New(rand.NewPCG(o.seed, 2))
	var wall, cpu, build []float64
	for end := time.Now().Add(o.time); len(wall) < 3 || time.Now().Before(end); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(wall) > 0 {
			in.Snapshot = later(in.Snapshot, rnd, 0)
			in.Now = in.Snapshot.At
		}
		w := startWatch()
		p := plan.Build(in)
		b := w.lap("build")
		x.check(in, p)
		c := w.lap("check")
		wall, cpu, build = append(wall, b.WallMS+c.WallMS), append(cpu, b.CPUMS+c.CPUMS), append(build, b.CPUMS)
		x.result(p)
		if len(wall) == 1 {
			x.HeapMB = liveHeap() - before
			runtime.KeepAlive(p)
		}
	}
	x.HeapPeakMB = peak.stop()
	x.Plans, x.PlanMSP50, x.PlanMSP99 = len(wall), quantile(wall, 50), quantile(wall, 99)
	x.PlanCPUMS, x.BuildCPUMS = quantile(cpu, 50), quantile(build, 50)
	x.small(&in, rnd)
	return x, nil
}

// small measures plans after little has happened, and the first that is safe, with
// the rations of the daemon.
func (x *planner) small(in *plan.Input, rnd *rand.Rand) {
	timed := func() stage {
		w := startWatch()
		x.check(*in, plan.Build(*in))
		return w.lap("")
	}
	in.Config = plan.DefaultConfig()
	in.Config.Modes = unrationed().Modes
	in.Decision = &engine.Decision{}
	first := timed()
	x.FirstSafeMS, x.FirstSafeCPU = first.WallMS, first.CPUMS
	in.Decision = permitted(in.Snapshot)
	in.Snapshot = later(in.Snapshot, rnd, 1)
	in.Now = in.Snapshot.At
	x.DeltaCPUMS = timed().CPUMS
	in.Snapshot = failed(in.Snapshot)
	in.Decision = &engine.Decision{}
	fail := timed()
	x.HostFailureMS, x.HostCPUMS = fail.WallMS, fail.CPUMS
}

// failed is the fleet after its busiest host has failed, and HA has restarted its
// VMs on the next host of the cluster, which they overload.
func failed(s *engine.Snapshot) *engine.Snapshot {
	out := later(s, rand.New(rand.NewPCG(0, 0)), 0)
	out.At = s.At
	lost := 0
	for h := range out.Hosts {
		if out.Hosts[h].UsedMiB > out.Hosts[lost].UsedMiB {
			lost = h
		}
	}
	next := lost + 1
	if next == len(out.Hosts) || out.Hosts[next].Cluster != out.Hosts[lost].Cluster {
		next = max(lost-1, 0)
	}
	down, up := &out.Hosts[lost], &out.Hosts[next]
	down.Power, down.Connected = engine.HostUnknown, false
	up.UsedMHz, up.UsedMiB = up.UsedMHz+down.UsedMHz, up.UsedMiB+down.UsedMiB
	for v := range out.VMs {
		if out.VMs[v].Host == int32(lost) {
			out.VMs[v].Host = int32(next)
		}
	}
	return out
}

// unrationed is the shipped configuration, all enforced, without budgets and rests.
func unrationed() plan.Config {
	c := plan.DefaultConfig()
	c.Modes = plan.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	const all = 1 << 30
	c.MovesPerCycle, c.MovesPerHour, c.MovesPerDay, c.PowerPerHour, c.PowerPerDay = all, all, all, all, all
	c.CooldownS, c.ReturnS, c.PowerCooldownS = 0, 0, 0
	return c
}

func (x *planner) check(in plan.Input, p *engine.Plan) {
	if plan.Check(in, p) != nil {
		x.CheckFailures++
	}
}

// result keeps what the worst of the full plans came to.
func (x *planner) result(p *engine.Plan) {
	x.Moves, x.Standby, x.Evaluated = 0, 0, p.Evaluated
	for i := range p.Actions {
		switch p.Actions[i].Kind {
		case engine.Move:
			x.Moves++
		case engine.Standby:
			x.Standby++
		case engine.Wakeup, engine.EnterMaintenance, engine.ExitMaintenance:
		}
	}
	gap, share := p.Effect.Power.GapPct(), p.Effect.Power.SharePct()
	if x.GapPercent = max(x.GapPercent, gap); x.ShareOfSaving == 0 || share < x.ShareOfSaving {
		x.ShareOfSaving = share
	}
}

// quantile is the nearest rank.
func quantile(x []float64, pct int) float64 {
	sorted := slices.Sorted(slices.Values(x))
	return sorted[(len(sorted)*pct+99)/100-1]
}

// liveHeap is what objects take after a collection, MiB.
func liveHeap() float64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64()) / (1 << 20)
}

func (x *planner) text() string {
	return fmt.Sprintf("\nplanner alone, two generations of hosts, nothing rationed: %d plans, Build and Check %.0f ms (p50) and %.0f ms (p99) of wall time, %.0f ms of CPU (Build %.0f)\n"+
		"%d moves, %d hosts to sleep; %.2f %% of the possible saving, cost at most %.3f %% above the least; %d plans refused; heap %.0f MiB, peak %.0f\n"+
		"first safe plan %.0f ms (%.0f CPU); 1 %% changed %.0f ms CPU; a host fails %.0f ms (%.0f CPU)\n",
		x.Plans, x.PlanMSP50, x.PlanMSP99, x.PlanCPUMS, x.BuildCPUMS, x.Moves, x.Standby, x.ShareOfSaving, x.GapPercent, x.CheckFailures, x.HeapMB, x.HeapPeakMB,
		x.FirstSafeMS, x.FirstSafeCPU, x.DeltaCPUMS, x.HostFailureMS, x.HostCPUMS)
}
