package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/plan"
	"heliostat/internal/race"
)

// wholly judges a plan as Check does, but replays it on the whole fleet at
// once: every cluster is looked at, and every action may have to do with any other.
func wholly(in engine.Input, p *engine.Plan) error {
	c := newChecker(in, p, newMemory(in.Snapshot))
	c.static()
	if c.broken {
		return c.report()
	}
	w := c.world()
	one := &island{}
	for k := range c.s.Clusters {
		if k := int32(k); !slices.Contains(w.clusters, k) {
			w.settleCluster(k)
			w.clusters = append(w.clusters, k)
		}
	}
	clear(w.readyAt[0])
	clear(w.readyAt[1])
	for h := range c.s.Hosts {
		if one.hosts = append(one.hosts, int32(h)); w.base.Ready(int32(h)) {
			w.count(w.readyAt, int32(h), 1)
		}
	}
	for i := range w.acts {
		if i < w.open {
			one.acts = append(one.acts, int32(i))
		} else {
			one.open = append(one.open, int32(i))
		}
	}
	one.clusters = w.clusters
	for v := range c.s.VMs {
		one.vms = append(one.vms, int32(v))
	}
	for d := range c.s.Datastores {
		one.stores = append(one.stores, int32(d))
	}
	for g := range w.groups {
		one.groups = append(one.groups, int32(g))
	}
	r := w.run(1)
	rounds := c.rounds()
	r.anyhow(one, rounds)
	r.executor(one, rounds)
	c.join(r.findings)
	return c.report()
}

// spoil does something to a plan that may make it one that does harm.
func spoil(in engine.Input, p *engine.Plan, r *rand.Rand) *engine.Plan {
	out := *p
	out.Actions = slices.Clone(p.Actions)
	i := r.IntN(len(out.Actions))
	a := &out.Actions[i]
	s := in.Snapshot
	switch r.IntN(6) {
	case 0: // it waits for nothing
		a.After = nil
	case 1: // it waits for something else
		a.After = []int32{int32(r.IntN(len(out.Actions)))}
	case 2, 3: // it goes elsewhere in its cluster
		if from, ok := s.FindHost(a.From.Host); ok && a.Kind == engine.Move {
			hosts := s.HostsOf(s.Hosts[from].Cluster)
			to := &s.Hosts[hosts[r.IntN(len(hosts))]]
			a.To.Host, a.To.Name, a.To.Site = to.ID, to.Name, ""
			if to.Site >= 0 {
				a.To.Site = s.Sites[to.Site].ID
			}
		}
	case 4: // it comes first
		for k := range out.Actions {
			out.Actions[k].Rank = int32((k + i) % len(out.Actions))
		}
	case 5: // it takes less than it does
		a.Estimate.Seconds = 1
		for k := range a.Disks {
			a.Disks[k].MiB /= 2
		}
	}
	return &out
}

// TestIslandsAgreeWithTheWhole: a plan that is replayed island by island, on what it
// touches alone, is refused if and only if it is when it is replayed on the whole
// fleet at once, and a checker that keeps its memory says the same as a fresh one.
func TestIslandsAgreeWithTheWhole(t *testing.T) {
	sizes := []size{{1, 1, 4, 5}, {2, 1, 3, 4}, {2, 2, 5, 8}, {3, 2, 6, 6}, {4, 3, 4, 3}}
	verdicts, islands := map[bool]int{}, 0
	for seed := range race.Cases(uint64(24)) {
		for k, in := range []engine.Input{simulated(seed), drawn(seed, sizes[seed%uint64(len(sizes))])} {
			t.Run(fmt.Sprintf("seed=%d.%d", seed, k), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 3))
				p := plan.Build(in)
				var kept Checker
				for range 12 {
					if len(p.Actions) == 0 {
						return
					}
					err, whole := Plan(in, p), wholly(in, p)
					if (err == nil) != (whole == nil) {
						t.Fatalf("%v\non the whole:\n%v", err, whole)
					}
					if again := kept.Plan(in, p); fmt.Sprint(again) != fmt.Sprint(err) {
						t.Fatalf("a checker that was used before says\n%v\nnot\n%v", again, err)
					}
					verdicts[err == nil]++
					if c := newChecker(in, p, newMemory(in.Snapshot)); err == nil {
						c.static()
						fine, _ := c.world().islands()
						islands = max(islands, len(fine))
					}
					if err != nil || r.IntN(3) == 0 {
						in = underWay(in, p, r)
						p = plan.Build(in)
						continue
					}
					p = spoil(in, p, r)
				}
			})
		}
	}
	if !race.Enabled && (verdicts[true] < 40 || verdicts[false] < 40 || islands < 2) {
		t.Errorf("accepted and refused: %v, at most %d islands: the test shows little", verdicts, islands)
	}
	t.Log(verdicts, islands)
}
