package plan

import (
	"math/rand/v2"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// everyGrant: on tiny fleets a plan grants no more of the wishes than the best choice
// among all that fit the market's rows, and that is no more than the bound.
func everyGrant(t *testing.T) {
	granted, best, short := 0.0, 0.0, 0
	for seed := range uint64(150) {
		in := wishful(seed)
		p := Build(in)
		b := compile(in)
		view := b.siteView()
		m, bids := b.compete(b.wishList(&view))
		most := m.most(0, 0, slices.Clone(m.capacity))
		got, bound := p.Effect.Wishes.Granted, p.Effect.Wishes.Bound
		if float64(got) > most+1 || most > float64(bound)+1 {
			t.Errorf("seed %d: granted %d, the best is %.0f, the bound is %d", seed, got, most, bound)
		}
		if slices.ContainsFunc(bids, func(x bid) bool { return !x.chosen }) {
			short++
		}
		granted, best = granted+float64(got), best+most
	}
	t.Logf("granted %.2f %% of the best; in %d of 150 fleets not all wishes fit", 100*granted/best, short)
	if short < 40 || granted < 0.97*best {
		t.Errorf("granted %.2f %% of the best; in %d of 150 fleets not all wishes fit", 100*granted/best, short)
	}
}

// wishful is a full fleet of three sites, which policies like more or less.
func wishful(seed uint64) engine.Input {
	r := rand.New(rand.NewPCG(seed, 17))
	s := sim.Fleet(seed, sim.FleetConfig{Sites: 3, Hosts: 6, VMs: 9 + r.IntN(4), HostsPerCluster: 2, AcrossPct: 90, LoadPct: 70})
	in := engine.Input{Cycle: 1, Now: s.At, Seed: seed, Level: engine.Enforce, Snapshot: s, History: engine.Fold(&engine.History{}, s, nil, engine.Thresholds{}), Config: rested()}
	in.Config.MovesPerCycle = int32(2 + r.IntN(10))
	o := &opinions{}
	by := o.by("likes", engine.RuleSiteScore, "because", 100_000, false)
	for i := range 3 {
		o.SiteScores = append(o.SiteScores, engine.SiteScore{Site: int32(i), Milli: int32(r.IntN(1000)), By: by})
	}
	in.Decision = &o.Decision
	for i := range in.Snapshot.Links {
		in.Snapshot.Links[i].Mbps = []int32{300, 1000, 10_000}[r.IntN(3)]
	}
	return in
}

// most is what the items from i on come to, by trying everything.
func (m *wishMarket) most(i int, value float64, left []float64) float64 {
	if i == len(m.items) {
		return value
	}
	best := m.most(i+1, value, left)
	for _, x := range m.items[i].members {
		for _, o := range x.options {
			if slices.ContainsFunc(o.uses, func(u use) bool { return u.amount > left[u.row] }) {
				continue
			}
			for _, u := range o.uses {
				left[u.row] -= u.amount
			}
			best = max(best, m.most(i+1, value+m.items[i].worth, left))
			for _, u := range o.uses {
				left[u.row] += u.amount
			}
		}
	}
	return best
}
