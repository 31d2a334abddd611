package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
)

// A merged is what merging clusters adds: one fleet, planned cluster by cluster and
// with VMs that may go to other clusters of their site.
type merged struct {
	Clusters     int     `json:"clusters"`
	ClusterOn    int     `json:"cluster_on"` // hosts that stay on: each cluster by itself
	SiteOn       int     `json:"site_on"`    // with merging
	BoundOn      int     `json:"bound_on"`   // no fewer can, by counting what each site's clusters of one kind of host carry
	ExtraPct     float64 `json:"extra_pct"`  // further hosts that sleep, percent of those that stay on without merging
	PossiblePct  float64 `json:"possible_pct"`
	ReachedPct   float64 `json:"reached_pct"`       // of the possible
	ClusterShare float64 `json:"cluster_share_pct"` // of the saving that merging makes possible
	SiteShare    float64 `json:"site_share_pct"`
	FurtherPct   float64 `json:"further_pct"` // of the further saving that merging makes possible, at least
	ClusterMoves int     `json:"cluster_moves"`
	SiteMoves    int     `json:"site_moves"`
	Crossing     int     `json:"crossing"` // of these, to another cluster
	ClusterCPUMS float64 `json:"cluster_build_cpu_ms"`
	SiteCPUMS    float64 `json:"site_build_cpu_ms"`
	Failures     int     `json:"merge_check_failures"`
}

// generation is one kind of host: what is typical of four generations.
var generation = [...]struct{ mhz, cores, mib, idle, full int32 }{
	{83_200, 32, 384 << 10, 160, 420}, {96_000, 40, 512 << 10, 190, 520}, {128_000, 64, 768 << 10, 220, 680}, {201_600, 84, 1024 << 10, 260, 850},
}

// mixed makes clusters differ as those of a site do: each has hosts of one kind and
// that kind's CPU features, and its load. All hosts of a site see its datastores.
func mixed(s *engine.Snapshot, seed uint64) *engine.Snapshot {
	rnd := rand.New(rand.NewPCG(seed, 3))
	out := &engine.Snapshot{
		At: s.At, Sites: s.Sites, VCenters: s.VCenters, Clusters: slices.Clone(s.Clusters), Hosts: slices.Clone(s.Hosts), Datastores: s.Datastores,
		Networks: s.Networks, VMs: slices.Clone(s.VMs), Links: s.Links,
	}
	stores := make([][]int32, len(s.Sites))
	for i := range s.Datastores {
		for site := range s.Sites {
			if s.Datastores[i].Sites.Has(int32(site)) {
				stores[site] = append(stores[site], int32(i))
			}
		}
	}
	for c := range out.Clusters {
		kind := rnd.IntN(len(generation))
		out.Clusters[c].EVC = fmt.Sprintf("generation-%d", kind)
		g := &generation[kind]
		hosts := s.HostsOf(int32(c))
		for _, h := range hosts {
			x := &out.Hosts[h]
			x.CPUMHz, x.Cores, x.Threads, x.MemoryMiB, x.IdleW, x.MaxW = g.mhz, g.cores, 2*g.cores, g.mib, g.idle, g.full
			x.EVCMax, x.Datastores = out.Clusters[c].EVC, stores[x.Site]
		}
		lade(out, hosts, rnd, nil)
	}
	return same(out) // which VMs are on a host was looked up before they were moved
}

// measureMerging plans one fleet in both ways.
func measureMerging(ctx context.Context, o options) (*merged, error) {
	s := mixed(sim.Fleet(o.seed, sim.FleetConfig{Sites: o.sites, Hosts: o.hosts, VMs: o.vms, HostsPerCluster: 40, AcrossPct: 50, ObstaclePct: 1}), o.seed)
	if err := s.Validate(); err != nil {
		return nil, err
	}
	in := engine.Input{Cycle: 1, Now: s.At, Seed: o.seed, Level: engine.Enforce, Snapshot: s, Decision: permitted(s), History: remembered(s), Config: unrationed()}
	in.Config.PowerHoldsS = int64(o.holds * 3600)
	x := &merged{Clusters: len(s.Clusters)}
	on := 0
	for h := range s.Hosts {
		if s.Hosts[h].Power == engine.HostOn {
			on++
		}
	}
	var cost [2]engine.PowerCost
	for k, reach := range []engine.Reach{engine.ReachCluster, engine.ReachSite} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		in.Config.Consolidate = reach
		w := startWatch()
		p := plan.Build(in)
		cpu := w.lap("").CPUMS
		if check.Plan(in, p) != nil {
			x.Failures++
		}
		standby, moves, crossing := 0, 0, 0
		for i := range p.Actions {
			switch a := &p.Actions[i]; a.Kind {
			case engine.Move:
				moves++
				if a.From.Cluster != a.To.Cluster {
					crossing++
				}
			case engine.Standby:
				standby++
			case engine.Wakeup, engine.EnterMaintenance, engine.ExitMaintenance:
			}
		}
		if cost[k] = p.Effect.Power; k == 0 {
			x.ClusterOn, x.ClusterMoves, x.ClusterCPUMS = on-standby, moves, cpu
		} else {
			x.SiteOn, x.SiteMoves, x.Crossing, x.SiteCPUMS = on-standby, moves, crossing, cpu
		}
	}
	x.BoundOn = leastOn(s, &in.Config)
	possible := max(x.ClusterOn-x.BoundOn, 1)
	x.ExtraPct, x.PossiblePct = percent(x.ClusterOn-x.SiteOn, x.ClusterOn), percent(possible, x.ClusterOn)
	x.ReachedPct = percent(x.ClusterOn-x.SiteOn, possible)
	cost[0].Bound = cost[1].Bound
	x.ClusterShare, x.SiteShare = cost[0].SharePct(), cost[1].SharePct()
	x.FurtherPct = 100 * (x.SiteShare - x.ClusterShare) / max(100-x.ClusterShare, 1e-9)
	return x, nil
}

func percent(part, of int) float64 { return 100 * float64(part) / float64(max(of, 1)) }

// leastOn is how many hosts have to stay on: at each site, clusters with hosts of
// one kind together carry what runs in them, below the limits and beside one host
// that fails in each. Written anew, from nothing that the planner uses.
func leastOn(s *engine.Snapshot, c *engine.Config) int {
	type pool struct {
		site int32
		evc  string
	}
	type sum struct {
		clusters       int
		mhz, mib       float64 // of the VMs
		perMHz, perMiB float64 // that one host may carry
	}
	sums := map[pool]*sum{}
	for k := range s.Clusters {
		var x *sum
		for i, h := range s.HostsOf(int32(k)) {
			host := &s.Hosts[h]
			if i == 0 {
				id := pool{host.Site, s.Clusters[k].EVC}
				if x = sums[id]; x == nil {
					x = &sum{perMHz: float64(host.CPUMHz) * float64(c.CPUMaxPct) / 100, perMiB: float64(host.MemoryMiB) * float64(c.MemMaxPct) / 100}
					sums[id] = x
				}
				x.clusters++
			}
			for _, v := range s.VMsOn(h) {
				x.mhz, x.mib = x.mhz+float64(s.VMs[v].UsedMHz), x.mib+float64(s.VMs[v].UsedMiB)
			}
		}
	}
	const ownMHz, ownMiB = 400, 6 << 10 // of a hypervisor, as in [mixed]
	all := 0
	for _, x := range sums {
		failing := float64(x.clusters)
		n := max((x.mhz+failing*x.perMHz)/(x.perMHz-ownMHz), (x.mib+failing*x.perMiB)/(x.perMiB-ownMiB))
		all += max(int(n+0.999999), 2*x.clusters)
	}
	return all
}

func (x *merged) text() string {
	return fmt.Sprintf("\nmerging, %d clusters of four kinds: %d hosts stay on cluster by cluster, %d with merging, %d at least: %.2f %% fewer of %.2f %% possible, that is %.0f %%\n"+
		"%.2f and %.2f %% of the possible saving, so that merging reaches %.0f %% of what it could add; %d and %d moves, %d of them to other clusters; Build %.0f and %.0f ms of CPU; %d plans refused\n",
		x.Clusters, x.ClusterOn, x.SiteOn, x.BoundOn, x.ExtraPct, x.PossiblePct, x.ReachedPct,
		x.ClusterShare, x.SiteShare, x.FurtherPct, x.ClusterMoves, x.SiteMoves, x.Crossing, x.ClusterCPUMS, x.SiteCPUMS, x.Failures)
}
