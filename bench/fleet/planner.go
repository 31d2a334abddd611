package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
)

// A planner is what engine/plan alone takes and gives on a fleet, without policies
// and journal: every host may sleep, nothing is rationed, and each plan is made by a
// plan.Planner and held against a check.Checker, which are kept as the daemon keeps them.
type planner struct {
	full                  // each cluster by itself
	Site          full    `json:"site"`           // VMs may go to other clusters of their site, too
	HoldsH        float64 `json:"holds_h"`        // for which a standby is taken to hold
	FirstSafeMS   float64 `json:"first_safe_ms"`  // wall: a plan that looks for nothing beyond what is demanded or broken, checked
	FirstSafeCPU  float64 `json:"first_safe_cpu"` // milliseconds
	DeltaCPUMS    float64 `json:"delta_cpu_ms"`   // after 1 % of the VMs have changed
	HostFailureMS float64 `json:"host_failure_ms"`
	HostCPUMS     float64 `json:"host_failure_cpu_ms"`
	HeapMB        float64 `json:"heap_mb"`        // live after a plan, beyond the fleet itself
	HeapPeakMB    float64 `json:"plan_heap_peak"` // while planning, garbage included
}

// A full is the plans for a whole fleet, each made after every load has changed.
type full struct {
	Plans         int     `json:"plans"`
	PlanMSP50     float64 `json:"plan_ms_p50"` // wall: Build and Check
	PlanMSP99     float64 `json:"plan_ms_p99"`
	PlanCPUMS     float64 `json:"plan_cpu_ms"`     // the median, of all threads
	BuildCPUMS    float64 `json:"build_cpu_ms"`    // of it
	CheckCPUMS    float64 `json:"check_cpu_ms"`    // likewise
	GapPercent    float64 `json:"gap_percent"`     // by which the plan's cost of power may exceed the least
	ShareOfSaving float64 `json:"share_of_saving"` // percent of what could be saved at most
	Moves         int     `json:"moves"`           // of the last
	Standby       int     `json:"standby"`         // hosts put to sleep by it
	CheckFailures int     `json:"check_failures"`  // plans that Check refused, of any kind
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

// A desk is the daemon's planner and checker, which keep what they made of the fleet,
// and what they are asked next.
type desk struct {
	engine.Input
	planner plan.Planner
	checker check.Checker
}

// turn takes a snapshot that was assembled after the last.
func (d *desk) turn(s *engine.Snapshot) {
	s.Follow(d.Snapshot)
	d.Snapshot, d.Now = s, s.At
}

// measurePlanner plans in both ways for as long as asked, and three times each at least.
func measurePlanner(ctx context.Context, o options) (*planner, error) {
	s := sim.Fleet(o.seed, sim.FleetConfig{Sites: o.sites, Hosts: o.hosts, VMs: o.vms, RulePct: 60, AcrossPct: 50, ObstaclePct: 1})
	generations(s)
	s = laden(s, o.seed)
	if err := s.Validate(); err != nil {
		return nil, err
	}
	d := &desk{Input: engine.Input{Cycle: 1, Now: s.At, Seed: o.seed, Level: engine.Enforce, Snapshot: s, Decision: permitted(s), History: remembered(s), Config: unrationed()}}
	d.Config.PowerHoldsS = int64(o.holds * 3600)
	if o.evaluations > 0 {
		d.Config.DefaultBudget = o.evaluations
	}
	x := &planner{HoldsH: o.holds}
	before := liveHeap()
	peak := watchHeap()
	rnd := rand.New(rand.NewPCG(o.seed, 2))
	d.Config.Consolidate = engine.ReachSite
	if err := x.Site.measure(ctx, d, rnd, o.time); err != nil {
		return nil, err
	}
	x.HeapMB = liveHeap() - before
	d.Config.Consolidate = engine.ReachCluster
	if err := x.measure(ctx, d, rnd, o.time); err != nil {
		return nil, err
	}
	x.HeapPeakMB = peak.stop()
	x.small(d, rnd)
	return x, nil
}

// measure plans the fleet again and again while its loads waver.
func (x *full) measure(ctx context.Context, d *desk, rnd *rand.Rand, long time.Duration) error {
	d.planner, d.checker = plan.Planner{}, check.Checker{}
	var wall, cpu, build, checked []float64
	for end := time.Now().Add(long); len(wall) < 3 || time.Now().Before(end); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(wall) > 0 {
			d.turn(later(d.Snapshot, rnd, 0))
		}
		w := startWatch()
		p := d.planner.Build(d.Input)
		b := w.lap("build")
		x.check(d, p)
		c := w.lap("check")
		wall, cpu = append(wall, b.WallMS+c.WallMS), append(cpu, b.CPUMS+c.CPUMS)
		build, checked = append(build, b.CPUMS), append(checked, c.CPUMS)
		x.result(p)
	}
	x.Plans, x.PlanMSP50, x.PlanMSP99 = len(wall), quantile(wall, 50), quantile(wall, 99)
	x.PlanCPUMS, x.BuildCPUMS, x.CheckCPUMS = quantile(cpu, 50), quantile(build, 50), quantile(checked, 50)
	return nil
}

// small measures the first plan that is safe, by a planner that knows nothing yet,
// and plans after little has happened, with the rations of the daemon.
func (x *planner) small(d *desk, rnd *rand.Rand) {
	d.Config, d.Decision = engine.DefaultConfig(), &engine.Decision{}
	d.Config.Modes = unrationed().Modes
	d.planner, d.checker = plan.Planner{}, check.Checker{}
	first := x.timed(d)
	x.FirstSafeMS, x.FirstSafeCPU = first.WallMS, first.CPUMS

	const times = 9 // of which the median counts
	d.Decision = permitted(d.Snapshot)
	x.timed(d)
	var wall, cpu []float64
	for range times {
		d.turn(drifted(d.Snapshot, rnd, 1))
		cpu = append(cpu, x.timed(d).CPUMS)
	}
	x.DeltaCPUMS = quantile(cpu, 50)

	d.Decision = &engine.Decision{}
	x.timed(d)
	sound := d.Snapshot
	cpu = nil
	for k := range times {
		d.turn(failed(sound, k))
		fail := x.timed(d)
		wall, cpu = append(wall, fail.WallMS), append(cpu, fail.CPUMS)
		again := same(sound)
		d.turn(again)
		x.timed(d)
	}
	x.HostFailureMS, x.HostCPUMS = quantile(wall, 50), quantile(cpu, 50)
}

// timed plans and checks.
func (x *planner) timed(d *desk) stage {
	w := startWatch()
	x.check(d, d.planner.Build(d.Input))
	return w.lap("")
}

// same is the fleet in another snapshot, with VMs and hosts of its own.
func same(s *engine.Snapshot) *engine.Snapshot {
	return &engine.Snapshot{
		At: s.At, Sites: s.Sites, VCenters: s.VCenters, Clusters: s.Clusters, Hosts: slices.Clone(s.Hosts), Datastores: s.Datastores,
		Networks: s.Networks, VMs: slices.Clone(s.VMs), Links: s.Links, Rules: s.Rules,
	}
}

// drifted is the fleet a minute later, when one in so many hundred VMs, anywhere, has
// another load.
func drifted(s *engine.Snapshot, rnd *rand.Rand, percent int) *engine.Snapshot {
	out := same(s)
	out.At += 60
	for range len(out.VMs) * percent / 100 {
		v := &out.VMs[rnd.IntN(len(out.VMs))]
		used := waver(rnd, v.UsedMHz)
		if v.Host >= 0 && out.Hosts[v.Host].UsedMHz > 0 && used > 0 {
			out.Hosts[v.Host].UsedMHz += used - v.UsedMHz
		}
		v.UsedMHz, v.ActiveMiB = used, waver(rnd, v.ActiveMiB)
	}
	return out
}

// failed is the fleet after its n-th host that could run VMs has failed, and HA has
// restarted its VMs on the next host of the cluster, which they overload.
func failed(s *engine.Snapshot, n int) *engine.Snapshot {
	out := same(s)
	lost := (2*n + 1) * len(out.Hosts) / 20
	next := lost + 1
	if next == len(out.Hosts) || out.Hosts[next].Cluster != out.Hosts[lost].Cluster {
		next = max(lost-1, 0)
	}
	down, up := &out.Hosts[lost], &out.Hosts[next]
	down.Power, down.Connected = engine.HostUnknown, false
	up.UsedMHz, up.UsedMiB = up.UsedMHz+down.UsedMHz, up.MemoryMiB+1
	for v := range out.VMs {
		if out.VMs[v].Host == int32(lost) {
			out.VMs[v].Host = int32(next)
		}
	}
	return out
}

// unrationed is the shipped configuration, all enforced, without budgets and rests.
func unrationed() engine.Config {
	c := engine.DefaultConfig()
	c.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	const all = 1 << 30
	c.MovesPerCycle, c.MovesPerHour, c.MovesPerDay, c.PowerPerHour, c.PowerPerDay = all, all, all, all, all
	c.CooldownS, c.ReturnS, c.PowerCooldownS = 0, 0, 0
	return c
}

func (x *full) check(d *desk, p *engine.Plan) {
	if d.checker.Plan(d.Input, p) != nil {
		x.CheckFailures++
	}
}

// result keeps what the worst of the full plans came to.
func (x *full) result(p *engine.Plan) {
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
	var out strings.Builder
	fmt.Fprintf(&out, "\nplanner alone, two generations of hosts, nothing rationed, a standby holds for %g h:\n", x.HoldsH)
	for _, f := range []struct {
		what string
		*full
	}{{"each cluster by itself", &x.full}, {"and VMs to other clusters of the site", &x.Site}} {
		fmt.Fprintf(&out, "%s: %d plans, Build and Check %.0f ms (p50) and %.0f ms (p99) of wall time, %.0f ms of CPU (Build %.0f, Check %.0f)\n"+
			"  %d moves, %d hosts to sleep; %.2f %% of the possible saving, cost at most %.3f %% above the least; %d plans refused\n",
			f.what, f.Plans, f.PlanMSP50, f.PlanMSP99, f.PlanCPUMS, f.BuildCPUMS, f.CheckCPUMS, f.Moves, f.Standby, f.ShareOfSaving, f.GapPercent, f.CheckFailures)
	}
	fmt.Fprintf(&out, "first safe plan %.0f ms (%.0f CPU); 1 %% changed %.1f ms CPU; a host fails %.1f ms (%.1f CPU); heap %.0f MiB, peak %.0f\n",
		x.FirstSafeMS, x.FirstSafeCPU, x.DeltaCPUMS, x.HostFailureMS, x.HostCPUMS, x.HeapMB, x.HeapPeakMB)
	return out.String()
}
