package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/cycle"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
	"heliostat/policy"
	"heliostat/rego"
	"heliostat/store"
)

// interval is the time between two cycles, seconds.
const interval = 300

// A daemon is the pure core, the policies and the journal, and what one cycle
// hands to the next.
type daemon struct {
	policies *policy.Service
	journal  *store.Journal
	dir      string // of the journal
	config   engine.Config
	snapshot *engine.Snapshot
	history  *engine.History
	cycle    uint64
	bases    map[string]string // by part: the value that the next is laid against
	planner  plan.Planner
	checker  check.Checker
}

// runFleet makes a fleet and runs cycles on it.
func runFleet(ctx context.Context, o options) (_ *run, err error) {
	dir, err := os.MkdirTemp("", "heliostat-fleet-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	peak := watchHeap()
	defer peak.stop()

	r := &run{}
	w := startWatch()
	s := sim.Fleet(o.seed, sim.FleetConfig{Sites: o.sites, Hosts: o.hosts, VMs: o.vms, RulePct: 60, AcrossPct: 50, ObstaclePct: 3, GapPct: 1, StandbyPct: 5})
	r.GenerateMS = w.lap("generate").WallMS
	r.Hosts, r.VMs, r.Clusters = len(s.Hosts), len(s.VMs), len(s.Clusters)
	dress(s)
	w = startWatch()
	d, err := open(ctx, dir, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.journal.Close()) }()
	r.PoliciesMS = w.lap("policies").WallMS
	rnd := rand.New(rand.NewPCG(o.seed, 1))
	for i := range o.cycles {
		if i > 0 {
			before := d.snapshot
			d.snapshot = later(before, rnd, o.changed)
			d.snapshot.Follow(before)
		}
		c, err := d.once(ctx)
		if err != nil {
			return nil, fmt.Errorf("cycle %d: %w", i+1, err)
		}
		c.Cold = i == 0
		r.Cycles = append(r.Cycles, *c)
	}
	r.HeapPeakMB, r.RSSPeakMB = peak.stop(), maxRSS()
	return r, nil
}

// open loads the shipped policies, all enforced, and makes a journal in dir.
func open(ctx context.Context, dir string, s *engine.Snapshot) (*daemon, error) {
	cfg := policy.DefaultConfig()
	cfg.Modes = map[string]engine.Mode{}
	shipped, err := policy.Load(ctx, rego.FS, cfg)
	if err != nil {
		return nil, err
	}
	for _, name := range shipped.Policies {
		cfg.Modes[name] = engine.Enforce
	}
	d := &daemon{dir: dir, config: engine.DefaultConfig(), snapshot: s, history: remembered(s), bases: map[string]string{}}
	d.config.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	if d.policies, err = policy.NewService(ctx, rego.FS, cfg, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	d.journal, err = store.Open(dir, store.Options{})
	return d, err
}

// once is one cycle, stage by stage.
func (d *daemon) once(ctx context.Context) (*oneCycle, error) {
	d.cycle++
	c := &oneCycle{}
	w := startWatch()
	d.history = engine.Fold(d.history, d.snapshot, nil, d.config.Low)
	c.add(w.lap("fold"))
	v := engine.View{Now: d.snapshot.At, Snapshot: d.snapshot, History: d.history, Low: d.config.Low}
	v.Budget = plan.BudgetLeft(d.config, d.history, v.Now)
	decision, err := d.policies.Evaluate(ctx, v)
	if err != nil {
		return nil, err
	}
	c.add(w.lap("policies"))
	if len(decision.Failures) > 0 {
		return nil, fmt.Errorf("policy failed: %+v", decision.Failures[0])
	}
	for _, x := range []struct {
		name string
		v    any
	}{{"snapshot", d.snapshot}, {"history", d.history}, {"decision", decision}} {
		if err := d.keep(ctx, c, w, x.name, x.v); err != nil {
			return nil, err
		}
	}
	in := engine.Input{
		Cycle: d.cycle, Now: v.Now, Seed: d.cycle, Budget: d.config.DefaultBudget, Level: engine.Enforce,
		Snapshot: d.snapshot, Decision: decision.Audience(engine.Enforce, ""), History: d.history, Config: d.config,
	}
	p, err := d.settle(ctx, c, w, v, &in)
	if err != nil {
		return nil, err
	}
	if err := d.checker.Plan(in, p); err != nil {
		return nil, fmt.Errorf("own plan refused: %w", err)
	}
	c.add(w.lap("check"))
	if _, err := d.policies.Review(ctx, v, p); err != nil {
		return nil, err
	}
	c.add(w.lap("review"))
	if err := errors.Join(d.keep(ctx, c, w, "input", &in), d.keep(ctx, c, w, "plan", p)); err != nil {
		return nil, err
	}
	c.Actions, c.Holds, c.Evaluated, c.Wishes = len(p.Actions), len(p.Holds), p.Evaluated, p.Effect.Wishes.SharePct()
	return c, nil
}

// settle builds the plan around the vetoes of its moves, as the loop does.
func (d *daemon) settle(ctx context.Context, c *oneCycle, w *watch, v engine.View, in *engine.Input) (*engine.Plan, error) {
	type pair struct {
		vm engine.VMID
		to engine.HostID
	}
	asked := map[pair]bool{}
	for {
		c.Rounds++
		p := d.planner.Build(*in)
		c.add(w.lap("build"))
		var moves []engine.Action
		for i := range p.Actions {
			if a := &p.Actions[i]; a.Kind == engine.Move && !asked[pair{a.VM, a.To.Host}] {
				asked[pair{a.VM, a.To.Host}] = true
				moves = append(moves, *a)
			}
		}
		vetoes, err := d.policies.Deny(ctx, v, moves)
		if err != nil {
			return nil, err
		}
		c.add(w.lap("deny"))
		if len(vetoes) == 0 || c.Rounds > cycle.MaxVetoRounds {
			return p, nil
		}
		in.Vetoes = append(in.Vetoes, vetoes...)
	}
}

// keep encodes a part and puts it in the journal.
func (d *daemon) keep(ctx context.Context, c *oneCycle, w *watch, name string, v any) error {
	b, err := engine.Encode(v)
	if err != nil {
		return err
	}
	c.add(w.lap("encode " + name))
	digest, next, err := d.journal.PutLike(ctx, b, d.bases[name])
	if err != nil {
		return err
	}
	d.bases[name] = next
	c.add(w.lap("put " + name))
	ending := "delta"
	if next == digest {
		ending = "zst"
	}
	info, err := os.Stat(fmt.Sprintf("%s/blobs/%s/%s.%s", d.dir, digest[:2], digest, ending))
	if err != nil {
		return fmt.Errorf("size of %s: %w", name, err)
	}
	c.Blobs = append(c.Blobs, blob{Part: name, RawBytes: int64(len(b)), StoredBytes: info.Size()})
	w.lap("")
	return nil
}

// dress gives the fleet what policies look at: the sun over the sites, and tags.
// One VM in ten must stay in its region, one in two hundred on its host.
func dress(s *engine.Snapshot) {
	for i := range s.Sites {
		s.Sites[i].SunMilliDeg = int32(i*137%180-90) * 1000
	}
	for i := range s.VMs {
		x := &s.VMs[i]
		x.Tags = []string{"criticality:" + [...]string{"1-critical", "2-high", "3-normal", "4-low"}[i%4], "env:prod"}
		if i%200 == 0 {
			x.Tags = append(x.Tags, "pinned:yes")
		}
		if i%10 == 0 {
			x.Tags = append(x.Tags, "residency:"+s.Sites[s.VMSite(int32(i))].Region)
		}
	}
}

// remembered is an hour of the fleet as it is, so that policies that look back
// have something to see.
func remembered(s *engine.Snapshot) *engine.History {
	h := &engine.History{}
	at := s.At
	past := &engine.Snapshot{Clusters: s.Clusters, Hosts: s.Hosts, VMs: s.VMs}
	for i := range 12 {
		past.At = at - engine.Unix(interval*(12-i))
		h = engine.Fold(h, past, nil, engine.DefaultConfig().Low)
	}
	return h
}

// later is the fleet as it is observed an interval later: loads have changed by
// up to a twentieth, and changed percent of the VMs have another tag.
func later(s *engine.Snapshot, rnd *rand.Rand, changed float64) *engine.Snapshot {
	out := &engine.Snapshot{
		At: s.At + interval, Sites: slices.Clone(s.Sites), VCenters: s.VCenters, Clusters: s.Clusters, Hosts: slices.Clone(s.Hosts), Datastores: s.Datastores,
		Networks: s.Networks, VMs: slices.Clone(s.VMs), Links: slices.Clone(s.Links), Rules: s.Rules,
	}
	for i := range out.Links {
		out.Links[i].At = out.At
	}
	for i := range out.VMs {
		x := &out.VMs[i]
		x.LoadAt = out.At
		if x.Host >= 0 && x.UsedMHz > 0 {
			used := waver(rnd, x.UsedMHz)
			if h := &out.Hosts[x.Host]; h.UsedMHz > 0 {
				h.UsedMHz += used - x.UsedMHz
			}
			x.UsedMHz = used
		}
		x.ActiveMiB = waver(rnd, x.ActiveMiB)
		if rnd.Float64()*100 < changed {
			x.Tags = append(slices.Clone(x.Tags), fmt.Sprintf("seen:%d", out.At))
			slices.Sort(x.Tags)
		}
	}
	for i := range out.Hosts {
		out.Hosts[i].LoadAt, out.Hosts[i].PowerAt = out.At, out.At
	}
	return out
}

// waver is a figure that has changed by up to a twentieth.
func waver(rnd *rand.Rand, x int32) int32 {
	if x <= 0 {
		return x
	}
	return max(1, x+rnd.Int32N(x/10+1)-x/20)
}
