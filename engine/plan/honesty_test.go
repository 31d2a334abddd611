package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
	"heliostat/internal/race"
)

// TestNothingIsWronglyHeld tries, on small fleets with little room, for each VM that is
// to leave and is held, every host, and there every datastore for all its files: once
// all that the plan does is done, the check, which shares nothing with the planner, must
// refuse each of them, or, of one that is held for a reserve, the cluster's own admission.
// What passes by itself (a rest, a task, a gap) is not tried.
func TestNothingIsWronglyHeld(t *testing.T) {
	t.Parallel()
	tried, codes := 0, map[engine.HoldCode]int{}
	for seed := range race.Cases(uint64(300)) {
		in := crowded(seed)
		p := Build(in)
		for i := range p.Holds {
			h := &p.Holds[i]
			v, ok := in.Snapshot.FindVM(engine.VMID(h.Subject.ID))
			if !ok || h.Subject.Kind != "vm" || h.Demand.Kind == "" || passing(h.Code) || slices.ContainsFunc(p.Actions, func(a engine.Action) bool { return a.VM == engine.VMID(h.Subject.ID) }) {
				continue
			}
			codes[h.Code]++
			for _, a := range everyMove(&in, v, h) {
				tried++
				also := *p
				a.ID, a.Rank = fmt.Sprintf("c%d-%d", p.Cycle, len(p.Actions)+1), int32(len(p.Actions))
				for k := range p.Actions {
					a.After = append(a.After, int32(k))
				}
				also.Actions = append(slices.Clone(p.Actions), a)
				if check.Plan(in, &also) == nil && (h.Code != engine.HoldReserve || admits(&in, p, &a)) {
					t.Errorf("seed %d: %s, and the check has nothing against %s", seed, h, &a)
					break
				}
			}
		}
	}
	t.Logf("%d moves tried; held: %v", tried, codes)
	if !race.Enabled && (tried < 2000 || len(codes) < 6) {
		t.Errorf("%d moves of VMs held by %v say little", tried, codes)
	}
}

// crowded is a small fleet of which a site, or a host, is to be emptied into little room.
func crowded(seed uint64) engine.Input {
	in := stormy(seed, sim.FleetConfig{
		Sites: 2 + int(seed%2), Hosts: 6 + int(seed%4), VMs: 36, HostsPerCluster: 2 + int(seed%3), OffPct: 5, ObstaclePct: 8, AcrossPct: 50,
		RulePct: 60, GapPct: 2, DRSPct: int(seed%3) * 20, LoadPct: 40,
	}, []int32{200, 1000, 10_000}[seed%3], 36_000)
	s := in.Snapshot
	for h := range s.Hosts {
		x := &s.Hosts[h]
		switch (seed + uint64(h)) % 5 {
		case 0: // hardly any memory more
			x.MemoryMiB = x.UsedMiB + int32(2+seed%7)<<10
		case 1: // or vCPUs
			x.Cores = (vcpusOn(s, int32(h)) + 3) * 10 / in.Config.VCPUPerCoreX10
		}
	}
	for d := range s.Datastores {
		if (seed+uint64(d))%4 == 1 { // or space
			s.Datastores[d].FreeMiB = min(s.Datastores[d].FreeMiB, s.Datastores[d].CapacityMiB/5)
		}
	}
	if seed%2 == 0 {
		h := &s.Hosts[seed/2%uint64(len(s.Hosts))]
		in.Decision.Evacuations[0].Place = engine.Subject{Kind: "host", ID: string(h.ID)}
	}
	return in
}

// everyMove are the moves of VM v to all hosts, with all its disks on any datastore of
// the host where they can't stay, and its cards on any networks of one segment.
func everyMove(in *engine.Input, v int32, h *engine.Hold) (out []engine.Action) {
	s := in.Snapshot
	vm := &s.VMs[v]
	if vm.Host < 0 {
		return nil
	}
	place := func(i int32) engine.Place {
		x := &s.Hosts[i]
		p := engine.Place{VCenter: s.VCenters[x.VCenter].ID, Cluster: s.Clusters[x.Cluster].ID, Host: x.ID, Name: x.Name}
		if x.Site >= 0 {
			p.Site = s.Sites[x.Site].ID
		}
		return p
	}
	for i := range s.Hosts {
		to := &s.Hosts[i]
		c := &s.Clusters[to.Cluster]
		if int32(i) == vm.Host || to.Site < 0 || s.Hosts[vm.Host].Site < 0 {
			continue
		}
		a := engine.Action{
			Kind: engine.Move, VM: vm.ID, Name: vm.Name, Moid: vm.Moid, From: place(vm.Host), To: place(int32(i)), Across: to.VCenter != vm.VCenter,
			Cold: vm.Power != engine.VMOn, Demand: h.Demand, Why: []engine.Why{{Policy: "test", Rule: "rule", Reason: "tried"}}, Estimate: engine.Estimate{Seconds: 60},
		}
		if k := slices.IndexFunc(in.Decision.Evacuations, func(e engine.Evacuation) bool { return e.Place == h.Demand }); k >= 0 {
			a.Deadline = in.Decision.Evacuations[k].Deadline
		}
		a.To.DRS = c.DRS == engine.DRSFull
		if s.Hosts[vm.Host].Cluster != to.Cluster {
			a.To.Pool = c.Pool
		}
		if a.Across {
			a.To.Folder = c.Folder
		}
		if !a.Across {
			out = append(out, a) // its disks stay
		}
		for _, d := range to.Datastores {
			x := a
			x.Storage, x.HomeTo, x.SwapMiB = true, s.Datastores[d].ID, vm.SwapMiB()
			for k := range vm.Disks {
				disk := &vm.Disks[k]
				one := engine.DiskTarget{Key: disk.Key, To: x.HomeTo, Profile: disk.Profile, MiB: disk.CopyMiB(), Thin: disk.Thin}
				if disk.Datastore >= 0 {
					one.From = s.Datastores[disk.Datastore].ID
				}
				x.Disks = append(x.Disks, one)
			}
			out = append(out, x)
		}
	}
	for k := range out {
		out[k].NICs = cards(s, vm, &out[k])
	}
	return out
}

// admits reports whether, after the plan, the cluster that the move goes to holds what it
// runs and the VM besides, with the hosts lost and the share kept that its admission asks.
func admits(in *engine.Input, p *engine.Plan, a *engine.Action) bool {
	s := in.Snapshot
	st := engine.NewState(s, nil)
	where := make([]int32, len(s.VMs))
	for v := range s.VMs {
		where[v] = s.VMs[v].Host
	}
	move := func(a *engine.Action) {
		v, ok := s.FindVM(a.VM)
		if h, known := s.FindHost(a.To.Host); ok && known {
			where[v] = h
		}
	}
	for i := range p.Actions {
		move(&p.Actions[i])
	}
	move(a)
	to, _ := s.FindHost(a.To.Host)
	cluster := s.Hosts[to].Cluster
	x := &s.Clusters[cluster].HA
	var load, all, lost [2]int64
	var sizes [2][]int64
	for v := range s.VMs {
		f := &st.Foot[v]
		if h := s.VMs[v].Host; h >= 0 && s.Hosts[h].Cluster == cluster && counts(in, h) { // what is left is the hypervisor's
			load[0], load[1] = load[0]-int64(f.CPUMHz), load[1]-int64(f.MiB)
		}
		if where[v] >= 0 && s.Hosts[where[v]].Cluster == cluster {
			load[0], load[1] = load[0]+int64(f.CPUMHz), load[1]+int64(f.MiB)
		}
	}
	for _, h := range s.HostsOf(cluster) {
		if counts(in, h) {
			load[0], load[1] = load[0]+int64(st.CPU[h]), load[1]+int64(st.Mem[h])
			sizes[0], sizes[1] = append(sizes[0], int64(s.Hosts[h].CPUMHz)), append(sizes[1], int64(s.Hosts[h].MemoryMiB))
		}
	}
	for k, most := range [2]int32{in.Config.EvacuationCPUPct, in.Config.EvacuationMemPct} {
		slices.Sort(sizes[k])
		slices.Reverse(sizes[k])
		for i, size := range sizes[k] {
			if all[k] += size; x.Enabled && x.Admission && i < int(x.HostFailures) {
				lost[k] += size
			}
		}
		if load[k]*100 > (all[k]-lost[k])*int64(most) || (x.Enabled && x.Admission && load[k] > all[k]*int64(100-[2]int32{x.CPUPct, x.MemoryPct}[k])/100) {
			return false
		}
	}
	return true
}

// counts reports whether host h takes VMs, and is not itself to be emptied.
func counts(in *engine.Input, h int32) bool {
	x, place := &in.Snapshot.Hosts[h], in.Decision.Evacuations[0].Place
	return x.Power == engine.HostOn && x.Connected && !x.Maintenance && place.ID != string(x.ID) && place.ID != string(in.Snapshot.Sites[x.Site].ID)
}

// cards are the VM's cards on networks of its destination with the same segment.
func cards(s *engine.Snapshot, vm *engine.VM, a *engine.Action) (out []engine.NICTarget) {
	to, _ := s.FindHost(a.To.Host)
	for _, n := range vm.NICs {
		if n.Network < 0 || slices.Contains(s.Hosts[to].Networks, n.Network) {
			continue
		}
		for _, net := range s.Hosts[to].Networks {
			if seg := s.Networks[net].Segment; seg != "" && seg == s.Networks[n.Network].Segment {
				out = append(out, engine.NICTarget{Key: n.Key, To: s.Networks[net].ID})
				break
			}
		}
	}
	return out
}

// TestCertificateCountsWorkingVMs counts anew, from the certificate's list of who is not
// out, which VMs work: not those whose gateway stands in the site that is given up, nor
// who needs one that does not work, whether that is to leave or runs elsewhere. Tiers are
// strict and traded.
func TestCertificateCountsWorkingVMs(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for seed := range race.Cases(uint64(120)) {
		in := stormy(seed, sim.FleetConfig{Sites: 2 + int(seed%2), Hosts: 8, VMs: 60, HostsPerCluster: 4, ObstaclePct: 8, OffPct: 5, AcrossPct: 60, LoadPct: 30}, []int32{600, 2000, 10_000}[seed%3], 900)
		in.Config.TradeTiers = seed/3%2 == 1
		depend(&in, rand.New(rand.NewPCG(seed, 17)))
		p := Build(in)
		c := Certify(in, p)[0]
		out, works := working(&in, &c)
		work, byTier := 0, map[int32]int{}
		tier := map[int32]int32{}
		for _, x := range in.Decision.Priorities {
			tier[x.VM] = x.Tier
		}
		unreachable := map[engine.VMID]engine.Stranded{}
		for _, x := range c.Unreachable {
			unreachable[x.VM] = x
			seen[x.Cause]++
		}
		for v, yes := range out {
			id := in.Snapshot.VMs[v].ID
			if x, named := unreachable[id]; named == works[v] || (named && (!yes || x.Detail == "")) {
				t.Errorf("seed %d: %s is out: %t, works: %t, and is said not to: %t %+v", seed, id, yes, works[v], named, x)
			}
			if works[v] {
				work++
				byTier[tier[v]]++
			}
		}
		if c.Leave != len(out) || c.Work != work || len(c.Unreachable) != len(out)-work {
			t.Errorf("seed %d: %d out and %d working, it says %d, %d and names %d", seed, len(out), work, c.Leave, c.Work, len(c.Unreachable))
		}
		for _, x := range c.Tiers {
			if x.Work != byTier[x.Tier] {
				t.Errorf("seed %d: %d of tier %d work, it says %d", seed, byTier[x.Tier], x.Tier, x.Work)
			}
		}
		if c.Value.Reached > c.Value.Bound || c.Traded != in.Config.TradeTiers {
			t.Errorf("seed %d: %+v", seed, c)
		}
		if c.Traded {
			seen["traded"]++
		}
		if work > 0 && work < len(out) {
			seen["some"]++
		}
	}
	t.Logf("%v", seen)
	for _, what := range []string{engine.CauseGateway, engine.CauseDependency, "traded", "some"} {
		if !race.Enabled && seen[what] < 25 {
			t.Errorf("%s: only %d of %v", what, seen[what], seen)
		}
	}
}

// depend puts the gateway of some networks at the first site, and declares who needs whom.
func depend(in *engine.Input, r *rand.Rand) {
	s := in.Snapshot
	for n := range s.Networks {
		if r.IntN(10) == 0 {
			s.Networks[n].Gateway = int32(r.IntN(len(s.Sites)))
		}
	}
	for k := range r.IntN(9) {
		var vms []int32
		for range 2 + r.IntN(3) {
			vms = append(vms, int32(r.IntN(len(s.VMs))))
		}
		slices.Sort(vms)
		g := engine.Group{Kind: engine.GroupNear, Name: fmt.Sprintf("needs-%d", k), Scope: "site", MaxRTTMicros: 1_000_000, VMs: slices.Compact(vms), By: in.Decision.Evacuations[0].By}
		in.Decision.Groups = append(in.Decision.Groups, g)
	}
}

// working tells who is out by the certificate's own list of those who are not, and of
// them who works: what anybody needs must work too, again and again until nothing changes.
func working(in *engine.Input, c *engine.Certificate) (out, works map[int32]bool) {
	s := in.Snapshot
	out, works = map[int32]bool{}, map[int32]bool{}
	stays := map[engine.VMID]bool{}
	for _, x := range c.Out {
		stays[x.VM] = true
	}
	for v := range s.VMs {
		vm := &s.VMs[v]
		if vm.Power != engine.VMOn || vm.Obstacles&engine.ObAgent != 0 {
			continue
		}
		here := s.VMSite(int32(v)) == 0
		if here && !stays[vm.ID] {
			out[int32(v)] = true
		}
		works[int32(v)] = (!here || !stays[vm.ID]) && !slices.ContainsFunc(vm.NICs, func(n engine.NIC) bool { return n.Network >= 0 && s.Networks[n.Network].Gateway == 0 })
	}
	for again := true; again; {
		again = false
		for _, g := range in.Decision.Groups {
			if g.Kind == engine.GroupApart {
				continue
			}
			fails := slices.ContainsFunc(g.VMs, func(v int32) bool { ok, runs := works[v]; return runs && !ok })
			for _, v := range g.VMs {
				if fails && works[v] {
					works[v], again = false, true
				}
			}
		}
	}
	return out, works
}
