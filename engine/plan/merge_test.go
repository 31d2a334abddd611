package plan

import (
	"fmt"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
	"heliostat/internal/race"
)

// neighbours is a fleet whose clusters can take each other's VMs: their hosts see all
// datastores of the site, or else disks are copied.
func neighbours(seed uint64, cfg sim.FleetConfig) (*engine.Snapshot, *opinions) {
	s := sim.Fleet(seed, cfg)
	generations(s)
	if seed%2 == 0 {
		for h := range s.Hosts {
			x := &s.Hosts[h]
			x.Datastores = nil
			for d := range s.Datastores {
				if s.Datastores[d].Sites.Has(x.Site) {
					x.Datastores = append(x.Datastores, int32(d))
				}
			}
		}
	}
	return s, idle(s)
}

// TestMergeBound: no way to place the VMs of two tiny clusters in either saves more
// than the bound, and merging saves no more than the best way.
func TestMergeBound(t *testing.T) {
	race.Alone(t)
	worlds, found, crossed := 0, 0, 0
	for seed := range uint64(60) {
		foreign := 2 * (1 - int(min(seed%3, 1)))
		s, o := neighbours(seed, sim.FleetConfig{Sites: 1, Hosts: 6 + foreign, VMs: 6 + foreign/2, HostsPerCluster: 3, RulePct: 60, ObstaclePct: 10, LoadPct: 60})
		if foreign > 0 { // where load would cost least none of the others can go
			s.Clusters[2].EVC = "of another kind"
			for _, h := range s.HostsOf(2) {
				s.Hosts[h].MaxW = s.Hosts[h].IdleW + 10
			}
		}
		for v := range s.VMs { // so large that two or three fill a host
			x := &s.VMs[v]
			s.Hosts[x.Host].UsedMiB -= x.UsedMiB
			x.UsedMiB = int32(90+(seed*37+uint64(v)*53)%100) << 10
			x.MemoryMiB = x.UsedMiB
			s.Hosts[x.Host].UsedMiB += x.UsedMiB
		}
		in := input(s, o)
		in.Config = rested()
		in.Config.HoldsS, in.Config.PaybackS = 96*3600, 96*3600
		b := compile(in)
		b.hostBars()
		blocks := b.blocks(b.sleepers())
		b.wishes = 1 << 20
		b.searchClusters([]*block{&blocks[0]}, len(blocks[0].lists), 100_000)
		b.merge(&blocks[0], 100_000)
		m := blocks[0].m
		if m == nil {
			continue
		}
		m.b = b
		value := int64(0)
		for _, d := range m.domains {
			value += d.value
		}
		trips := len(m.trips)
		best := everyMerge(m)
		if best > m.bound || value > best || value < 0 {
			t.Errorf("seed %d: saves %d, the best is %d, the bound is %d", seed, value, best, m.bound)
		}
		worlds++
		if value == best {
			found++
		}
		if trips > 0 {
			crossed++
		}
	}
	t.Logf("of %d worlds the search found the best of %d, and VMs crossed in %d", worlds, found, crossed)
	if worlds < 40 || found < worlds/2 || crossed == 0 {
		t.Errorf("of %d worlds the search found the best of %d, and VMs crossed in %d", worlds, found, crossed)
	}
}

// A seat is a host of a domain.
type seat struct{ d, h int }

// everyMerge tries every host of every cluster for every VM: the most that is saved.
func everyMerge(m *merger) int64 {
	type vm struct {
		d     int
		v     int32
		seats []seat
		saves []int64
	}
	for len(m.trips) > 0 {
		m.back()
	}
	var vms []vm
	free := make([][]load, len(m.domains))
	for i, d := range m.domains {
		d.reset()
		free[i] = slices.Clone(d.free)
	}
	for i, d := range m.domains {
		for v := range d.vms {
			x := vm{d: i, v: int32(v)}
			for h := d.masks[v].next(0); h >= 0; h = d.masks[v].next(h + 1) {
				x.seats, x.saves = append(x.seats, seat{i, h}), append(x.saves, d.gain(int32(v), int(d.home[v]), h))
			}
			for e, y := range m.domains {
				for _, storage := range [2]bool{false, true} {
					w := m.ways(i, int32(v))
					set := w.near
					if storage {
						set = w.far
					}
					if e == i || set[0]>>e&1 == 0 {
						continue
					}
					to := m.hosts(i, int32(v), e, storage)
					for h := to.next(0); h >= 0; h = to.next(h + 1) {
						x.seats = append(x.seats, seat{e, h})
						x.saves = append(x.saves, d.mhz[v]*(d.slope[d.home[v]]-y.slope[h])-m.cost(d, int32(v), y.hosts[h], storage))
					}
				}
			}
			vms = append(vms, x)
		}
	}
	best, at := int64(0), make([]seat, len(vms))
	var place func(k int, sum int64)
	place = func(k int, sum int64) {
		if k == len(vms) {
			best = max(best, sum+saved(m, func(yield func(d int, v int32, at seat)) {
				for k := range vms {
					yield(vms[k].d, vms[k].v, at[k])
				}
			}))
			return
		}
		x := &vms[k]
		size := &m.domains[x.d].size4[x.v]
		home := seat{x.d, int(m.domains[x.d].home[x.v])}
		for n, to := range x.seats {
			at[k] = to
			free[home.d][home.h].take(size, 1)
			free[to.d][to.h].take(size, -1)
			place(k+1, sum+x.saves[n])
			free[to.d][to.h].take(size, 1)
			free[home.d][home.h].take(size, -1)
		}
	}
	place(0, 0)
	return best
}

// saved is what the hosts that may go off save with the VMs so placed, far less than
// nothing when a host, a rule or a reserve does not hold.
func saved(m *merger, each func(yield func(d int, v int32, at seat))) int64 {
	const never = -1 << 60
	free, used := make([][]load, len(m.domains)), make([][2]int64, len(m.domains))
	taken := make([]hostSet, len(m.domains))
	for i, d := range m.domains {
		free[i], used[i] = slices.Clone(d.free), d.used
	}
	where := map[seat][]int32{}
	each(func(i int, v int32, at seat) {
		d := m.domains[i]
		free[i][d.home[v]].take(&d.size4[v], 1)
		free[at.d][at.h].take(&d.size4[v], -1)
		for k := range used[i] {
			used[i][k] -= int64(d.size4[v][k])
			used[at.d][k] += int64(d.size4[v][k])
		}
		taken[at.d].add(at.h)
		where[at] = append(where[at], d.vms[v])
	})
	for i, d := range m.domains {
		for h := range free[i] {
			if slices.Min(free[i][h][:3]) < min(0, slices.Min(d.free[h][:3])) {
				return never
			}
		}
	}
	for i, d := range m.domains {
		for v := range d.vms {
			for _, w := range d.mates[v] {
				for at, vms := range where {
					if at.d == i && slices.Contains(vms, d.vms[v]) && slices.Contains(vms, d.vms[w]) && (at.h != int(d.home[v]) || at.h != int(d.home[w])) {
						return never
					}
				}
			}
		}
	}
	sum := int64(0)
	for i, d := range m.domains {
		best := int64(never)
		for set := range 1 << len(d.hosts) {
			on, idle := hostSet{}, int64(0)
			for h := range d.hosts {
				switch {
				case set>>h&1 == 0:
					on.add(h)
				case taken[i].has(h) || !d.may.has(h):
					idle = never
				default:
					idle += d.idle[h]
				}
			}
			most, working := d.most(on)
			if set == 0 {
				// A cluster that lacks its reserve may keep what it has.
				most, working = [2]int64{max(most[0], d.used[0]), max(most[1], d.used[1])}, true
			}
			if working && used[i][0] <= most[0] && used[i][1] <= most[1] {
				best = max(best, idle)
			}
		}
		if best < 0 {
			return never
		}
		sum += best
	}
	return sum
}

// TestMerge: with VMs that may go to other clusters more hosts sleep, no VM leaves
// what it may not leave, the power costs no less than the bound, and Check agrees.
func TestMerge(t *testing.T) {
	var asleep, crossing [3]int
	for seed := range uint64(30) {
		s, o := neighbours(seed, sim.FleetConfig{Sites: 2, Hosts: 72, VMs: 700, HostsPerCluster: 12, RulePct: 60, ObstaclePct: 2, LoadPct: 50})
		for _, reach := range []engine.Reach{engine.ReachCluster, engine.ReachVCenter, engine.ReachSite} {
			in := input(s, o)
			in.Config = rested()
			in.Config.Consolidate = reach
			p := Build(in)
			if err := check.Plan(in, p); err != nil {
				t.Errorf("seed %d, %s: %v", seed, reach, err)
			}
			if x := p.Effect.Power; x.Bound > x.Planned || x.Planned > x.Start {
				t.Errorf("seed %d, %s: %+v", seed, reach, x)
			}
			asleep[reach] += count(p, engine.Standby)
			for i := range p.Actions {
				a := &p.Actions[i]
				if a.Kind != engine.Move || a.From.Cluster == a.To.Cluster {
					continue
				}
				crossing[reach]++
				if a.From.Site != a.To.Site || !slices.ContainsFunc(a.Why, func(w engine.Why) bool { return w.Policy == "engine" && w.Rule == "consolidate" }) {
					t.Errorf("seed %d, %s: %s, %v", seed, reach, a, a.Why)
				}
			}
		}
	}
	if crossing[engine.ReachCluster] > 0 || crossing[engine.ReachVCenter] == 0 || asleep[engine.ReachVCenter] <= asleep[engine.ReachCluster] || asleep[engine.ReachSite] < asleep[engine.ReachVCenter] {
		t.Errorf("hosts asleep %v, moves to other clusters %v", asleep, crossing)
	}
	t.Log(fmt.Sprint("hosts asleep ", asleep, ", moves to other clusters ", crossing))
}
