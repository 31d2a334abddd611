package main

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"heliostat/engine"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
)

// A truth is what the planner does not know: how much of each line rate becomes
// payload, how long it takes until data flows, and by how much each VM's payload is
// off. It carries plans out with code of its own, by the executor's rule.
type truth struct {
	r      *rand.Rand
	limits engine.Limits
	site   map[engine.SiteID]float64 // seconds until data flows to it
	link   []float64                 // by link: payload for the line rate
	nic    float64                   // likewise, of all interfaces
	spread float64                   // standard deviation of the logarithm of a payload for what was expected
	on     []*transfer               // under way
}

// hide draws a truth. The planner starts from 80 % and 12 s.
func hide(r *rand.Rand, s *engine.Snapshot, l engine.Limits) *truth {
	t := &truth{r: r, limits: l, site: map[engine.SiteID]float64{}, nic: 0.7 + 0.27*r.Float64(), spread: 0.03 + 0.17*r.Float64()}
	for i := range s.Sites {
		t.site[s.Sites[i].ID] = 5 + 35*r.Float64()
	}
	for range s.Links {
		t.link = append(t.link, 0.5+0.45*r.Float64())
	}
	return t
}

// A transfer is a move under way.
type transfer struct {
	rec   engine.ActionRecord
	act   int32 // of the plan that is carried out; -1: of one before
	begun float64
	wait  float64 // seconds until data flows
	left  float64 // Mbit
	pipes []int   // hosts, then links
	rate  float64
}

// carry carries the plan out on s beside what is under way, until so many moves have
// ended. It returns the fleet as it is then, and the moves that have ended.
func (t *truth) carry(s *engine.Snapshot, p *engine.Plan, until int) (*engine.Snapshot, []engine.ActionRecord) {
	slots := engine.NewSlots(t.limits, s)
	for _, x := range t.on {
		slots.Take(&x.rec.Action)
		x.act = -1
	}
	started, over := make([]bool, len(p.Actions)), make([]bool, len(p.Actions))
	var ended []engine.ActionRecord
	now := float64(s.At)
	for len(ended) < until {
		for i := range p.Actions {
			a := &p.Actions[i]
			waits := slices.ContainsFunc(a.After, func(j int32) bool { return !over[j] })
			if started[i] || waits || !slots.Fits(a) {
				continue
			}
			slots.Take(a)
			started[i] = true
			t.on = append(t.on, t.transfer(s, int32(i), a, now))
		}
		if len(t.on) == 0 {
			break
		}
		t.share(s, t.on)
		dt := math.Inf(1)
		for _, x := range t.on {
			if x.wait > 0 {
				dt = min(dt, x.wait)
			} else {
				dt = min(dt, x.left/x.rate)
			}
		}
		now += dt
		t.on = slices.DeleteFunc(t.on, func(x *transfer) bool {
			if x.wait > 0 {
				x.wait = max(x.wait-dt, 0)
			} else {
				x.left -= x.rate * dt
			}
			if x.wait > 1e-9 || x.left > 1e-6 {
				return false
			}
			if x.act >= 0 {
				over[x.act] = true
			}
			slots.Release(&x.rec.Action)
			x.rec.State, x.rec.Ended, x.rec.TookS = engine.StateSucceeded, engine.Unix(now), max(int64(math.Round(now-x.begun)), 1)
			ended = append(ended, x.rec)
			return true
		})
	}
	return after(s, engine.Unix(now), ended), ended
}

// open are the moves under way, by ID.
func (t *truth) open() []engine.ActionRecord {
	var out []engine.ActionRecord
	for _, x := range t.on {
		out = append(out, x.rec)
	}
	slices.SortFunc(out, func(a, b engine.ActionRecord) int { return cmp.Compare(a.Action.ID, b.Action.ID) })
	return out
}

func (t *truth) transfer(s *engine.Snapshot, i int32, a *engine.Action, now float64) *transfer {
	const mbitPerMiB = 8.388608
	noise := func(sd float64) float64 { return math.Exp(sd * t.r.NormFloat64()) }
	x := &transfer{rec: engine.ActionRecord{Action: *a, State: engine.StateStarted, Started: engine.Unix(now)}, act: i, begun: now, wait: t.site[a.To.Site] * noise(0.2), left: float64(a.Estimate.MemoryMiB+a.Estimate.DiskMiB) * mbitPerMiB * noise(t.spread)}
	from, _ := s.FindHost(a.From.Host)
	to, _ := s.FindHost(a.To.Host)
	x.pipes = []int{int(from), int(to)}
	for k := range s.Links {
		if l := &s.Links[k]; l.A == min(s.Hosts[from].Site, s.Hosts[to].Site) && l.B == max(s.Hosts[from].Site, s.Hosts[to].Site) {
			x.pipes = append(x.pipes, len(s.Hosts)+k)
		}
	}
	return x
}

// share lets all rates grow together; where a pipe is full, those that flow through
// it stay as they are.
func (t *truth) share(s *engine.Snapshot, on []*transfer) {
	free, n := map[int]float64{}, map[int]int{}
	var open []*transfer
	for _, x := range on {
		if x.rate = 0; x.wait > 0 {
			continue
		}
		open = append(open, x)
		for _, p := range x.pipes {
			if n[p]++; p < len(s.Hosts) {
				free[p] = float64(s.Hosts[p].NICMbps) * t.nic
			} else {
				free[p] = float64(s.Links[p-len(s.Hosts)].Mbps) * t.link[p-len(s.Hosts)]
			}
		}
	}
	for len(open) > 0 {
		grow := math.Inf(1)
		for _, x := range open {
			for _, p := range x.pipes {
				grow = min(grow, free[p]/float64(n[p]))
			}
		}
		for _, x := range open {
			x.rate += grow
			for _, p := range x.pipes {
				free[p] -= grow
			}
		}
		open = slices.DeleteFunc(open, func(x *transfer) bool {
			full := slices.ContainsFunc(x.pipes, func(p int) bool { return free[p] < 1e-6 })
			if full {
				for _, p := range x.pipes {
					n[p]--
				}
			}
			return full
		})
	}
}

// after is the fleet at a moment, once the moves given are over.
func after(old *engine.Snapshot, now engine.Unix, ended []engine.ActionRecord) *engine.Snapshot {
	s := &engine.Snapshot{
		At: now, Sites: old.Sites, VCenters: old.VCenters, Clusters: old.Clusters, Hosts: slices.Clone(old.Hosts), Datastores: old.Datastores,
		Networks: old.Networks, VMs: slices.Clone(old.VMs), Links: slices.Clone(old.Links),
	}
	for i := range ended {
		a := &ended[i].Action
		v, _ := s.FindVM(a.VM)
		vm := &s.VMs[v]
		s.Hosts[vm.Host].UsedMHz, s.Hosts[vm.Host].UsedMiB = s.Hosts[vm.Host].UsedMHz-vm.UsedMHz, s.Hosts[vm.Host].UsedMiB-vm.UsedMiB
		sim.Arrive(s, a)
		s.Hosts[vm.Host].UsedMHz, s.Hosts[vm.Host].UsedMiB = s.Hosts[vm.Host].UsedMHz+vm.UsedMHz, s.Hosts[vm.Host].UsedMiB+vm.UsedMiB
	}
	for h := range s.Hosts {
		s.Hosts[h].LoadAt = now
	}
	for v := range s.VMs {
		s.VMs[v].LoadAt = now
	}
	for i := range s.Links {
		s.Links[i].At = now
	}
	return s
}

// foresee evacuates a site, and once so many of a hundred VMs have left says when the
// last will have: every tenth of those the daemon learns, and plans anew what is left.
// It returns when that should be by the plan's simulations, in seconds and sorted, and
// when it is; false where nothing is left to move.
func foresee(seed uint64, left int) (ends []float64, at float64, ok bool) {
	in := generate(seed, fleetSize{3, 48, 480, 4000}, false)
	in.Decision.Evacuations[0].Deadline = in.Now + 30*86_400
	t := hide(rand.New(rand.NewPCG(seed, 11)), in.Snapshot, in.Config.Limits)
	p := plan.Build(in)
	const parts = 10
	some := max(len(p.Actions)*left/100/parts, 1)
	for range parts {
		if left == 0 {
			break
		}
		var ended []engine.ActionRecord
		in.Snapshot, ended = t.carry(in.Snapshot, p, some)
		in.Now, in.Cycle, in.Open = in.Snapshot.At, in.Cycle+1, t.open()
		past := in.History
		in.History = engine.Fold(past, in.Snapshot, ended, in.Config.Low)
		engine.NoteMoves(past, in.History, in.Snapshot, in.Open, ended)
		p = plan.Build(in)
	}
	ends = plan.Ends(in, p)
	_, ended := t.carry(in.Snapshot, p, math.MaxInt)
	for i := range ended {
		if !ended[i].Action.Cold {
			at = max(at, float64(ended[i].Ended-in.Now))
		}
	}
	return ends, at, len(ends) > 0
}
