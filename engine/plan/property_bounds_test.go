package plan

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize/convex/lp"

	"heliostat/engine"
	"heliostat/engine/sim"
	"heliostat/internal/race"
)

// TestProperty05Bounds: what is reached is no more than the best there is, and that is
// no more than the bound: against everything on tiny worlds, and against linear
// programs, solved by simplex, on small ones.
func TestProperty05Bounds(t *testing.T) {
	race.Alone(t)
	t.Run("every placement", everyPlacement)
	t.Run("every rescue", everyWayOut)
	t.Run("saving by simplex", savingBySimplex)
	t.Run("rescues by simplex", rescuesBySimplex)
	t.Run("markets by simplex", marketsBySimplex)
	t.Run("choices by simplex", choicesBySimplex)
	t.Run("every grant", everyGrant)
}

// A program is a linear one: the most that value x comes to, where every row holds
// and nothing is negative.
type program struct {
	value []float64
	rows  [][]float64
	equal []bool // a row is so much, not at most so much
	most  []float64
}

func (p *program) column(value float64) int {
	p.value = append(p.value, value)
	return len(p.value) - 1
}

// row adds one, scaled: simplex works best with numbers near 1.
func (p *program) row(equal bool, most float64, uses map[int]float64) {
	row, scale := make([]float64, len(p.value)), 0.0
	for _, x := range uses {
		scale = max(scale, math.Abs(x))
	}
	for k, x := range uses {
		row[k] = x / scale
	}
	if scale > 0 {
		p.rows, p.equal, p.most = append(p.rows, row), append(p.equal, equal), append(p.most, most/scale)
	}
}

func (p *program) solve(t *testing.T) float64 {
	t.Helper()
	n, m := len(p.value), len(p.rows)
	cost, a := make([]float64, 0, n+m), make([][]float64, m)
	unit := 1.0
	for _, v := range p.value {
		unit = max(unit, math.Abs(v))
	}
	for _, v := range p.value {
		cost = append(cost, -v/unit)
	}
	for i := range p.rows {
		a[i] = append(a[i], p.rows[i]...)
		a[i] = append(a[i], make([]float64, n-len(p.rows[i]))...)
	}
	for i, equal := range p.equal {
		if equal {
			continue
		}
		cost = append(cost, 0) // what is left of it
		for k := range a {
			slack := 0.0
			if k == i {
				slack = 1
			}
			a[k] = append(a[k], slack)
		}
	}
	flat := make([]float64, 0, m*len(cost))
	for i := range a {
		flat = append(flat, a[i]...)
	}
	least, _, err := lp.Simplex(cost, mat.NewDense(m, len(cost), flat), p.most, 1e-9, nil)
	if err != nil {
		t.Fatal(err)
	}
	return -least * unit
}

// savingBySimplex: a search never saves more than if VMs could be divided, and hosts
// go off in part.
func savingBySimplex(t *testing.T) {
	met := 0
	searched(t, 30, sim.FleetConfig{Sites: 1, Hosts: 6, VMs: 18, HostsPerCluster: 6, RulePct: 60, ObstaclePct: 5, LoadPct: 60}, 100_000, func(t *testing.T, d *domain) {
		value := d.value // before the domain is set back
		best := divided(d).solve(t)
		if float64(value) > best*(1+1e-6)+1 {
			t.Errorf("saves %d, divided %.0f", value, best)
		}
		if float64(value) > best*0.5 {
			met++
		}
	})
	if met < 20 {
		t.Errorf("%d searches come near to what could be saved: the programs say nothing", met)
	}
}

// divided is the domain's problem without its groups, with VMs that may be divided.
func divided(d *domain) *program {
	p := &program{}
	off := make([]int, len(d.hosts))
	for h := range d.hosts {
		off[h] = -1
		if d.may.has(h) {
			off[h] = p.column(float64(d.idle[h]))
		}
	}
	where := make([]map[int]int, len(d.vms))
	for v := range d.vms {
		where[v] = map[int]int{}
		for h := d.masks[v].next(0); h >= 0; h = d.masks[v].next(h + 1) {
			value := float64(d.mhz[v] * (d.slope[d.home[v]] - d.slope[h]))
			if h != int(d.home[v]) {
				value -= float64(d.cost[v])
			}
			where[v][h] = p.column(value)
		}
	}
	d.reset()
	for v := range d.vms {
		all := map[int]float64{}
		for _, k := range where[v] {
			all[k] = 1
		}
		p.row(true, 1, all)
	}
	for h := range d.hosts {
		if off[h] >= 0 {
			p.row(false, 1, map[int]float64{off[h]: 1})
		}
		for lane := range 3 {
			room, row := float64(max(d.free[h][lane], 0)), map[int]float64{}
			for v := range d.vms {
				if int(d.home[v]) == h {
					room += float64(d.size4[v][lane])
				}
				if k, ok := where[v][h]; ok {
					row[k] = float64(d.size4[v][lane])
				}
			}
			if off[h] >= 0 {
				row[off[h]] = room
			}
			p.row(false, room, row)
		}
	}
	for k := range d.size {
		row, all := map[int]float64{}, 0.0
		for _, size := range slices.Sorted(slices.Values(d.size[k]))[:d.need] {
			all -= float64(size) // at least these must be able to fail
		}
		for h, size := range d.size[k] {
			all += float64(size)
			if off[h] >= 0 {
				row[off[h]] = float64(size)
			}
		}
		if left := all - float64(d.used[k])*100/float64(min(d.pct[k], d.share[k])); left > 0 {
			p.row(false, left, row)
		}
	}
	return p
}

// rescuesBySimplex: the bounds of a certificate are no less than the linear programs
// that they relax, and little more.
func rescuesBySimplex(t *testing.T) {
	tight := 0
	for seed := range uint64(40) {
		in := stormy(seed, sim.FleetConfig{Sites: 2 + int(seed%2), Hosts: 6, VMs: 36, HostsPerCluster: 3, ObstaclePct: 10, AcrossPct: 60, LoadPct: 30}, []int32{300, 1000}[seed%2], 900)
		b := survey(in)
		r := b.rescue(0)
		r.survey()
		m := market{capacity: r.market.capacity}
		for i := range r.vms {
			m.items = append(m.items, item{worth: float64(r.worth(int32(i))), members: []member{{vm: int32(i), options: r.options[i]}}})
		}
		if judgeMarket(t, seed, &m, 0.05) {
			tight++
		}
	}
	if tight < 20 {
		t.Errorf("only %d evacuations in which not all can leave", tight)
	}
}

// marketsBySimplex: the same of markets at random, with items of several members.
func marketsBySimplex(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 5))
		m := market{}
		for range 2 + r.IntN(5) {
			m.capacity = append(m.capacity, float64(20+r.IntN(80)))
		}
		for range 8 + r.IntN(12) {
			x := item{worth: float64(1 + r.IntN(30))}
			for range 1 + r.IntN(2) {
				var one member
				for range 1 + r.IntN(3) {
					o := option{dest: engine.None}
					for _, row := range r.Perm(len(m.capacity))[:1+r.IntN(2)] {
						o.uses = append(o.uses, use{int32(row), float64(1 + r.IntN(20))})
					}
					one.options = append(one.options, o)
				}
				x.members = append(x.members, one)
			}
			m.items = append(m.items, x)
		}
		judgeMarket(t, seed, &m, 0.05)
	}
}

// judgeMarket compares a bound with the linear program. It reports whether that binds.
func judgeMarket(t *testing.T, seed uint64, m *market, most float64) bool {
	t.Helper()
	p, all := &program{}, 0.0
	sold := make([]int, len(m.items))
	rows := make([]map[int]float64, len(m.capacity))
	for r := range rows {
		rows[r] = map[int]float64{}
	}
	for i := range m.items {
		all += m.items[i].worth
		sold[i] = p.column(m.items[i].worth)
	}
	var members []map[int]float64
	for i := range m.items {
		for k := range m.items[i].members {
			one := map[int]float64{sold[i]: -1}
			for _, o := range m.items[i].members[k].options {
				col := p.column(0)
				one[col] = 1
				for _, u := range o.uses {
					rows[u.row][col] += u.amount
				}
			}
			members = append(members, one)
		}
	}
	for i := range sold {
		p.row(false, 1, map[int]float64{sold[i]: 1})
	}
	for _, one := range members {
		p.row(true, 0, one)
	}
	for r := range rows {
		p.row(false, max(m.capacity[r], 0), rows[r])
	}
	best := p.solve(t)
	bound, _ := m.bound(0)
	if bound < best*(1-1e-6) || bound > all*(1+1e-9) {
		t.Errorf("seed %d: bounded by %.3f, the program comes to %.3f, all are worth %.0f", seed, bound, best, all)
	}
	if bound > best*(1+most)+1e-6 {
		t.Errorf("seed %d: bounded by %.3f, %.1f %% above the program's %.3f", seed, bound, 100*(bound/best-1), best)
	}
	return best < all-1e-6 && !math.IsNaN(best)
}

// choicesBySimplex: the prices by which clusters choose together how many hosts go off
// bound it by no less than the linear program that may mix choices, and little more.
func choicesBySimplex(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 6))
		var clusters [][]choice
		var used [2]int64
		p := &program{}
		var ones []map[int]float64
		carry := [2]map[int]float64{{}, {}}
		for range 2 + r.IntN(6) {
			most := [2]int64{int64(2_000 + r.IntN(3_000)), int64(2_000 + r.IntN(3_000))}
			list, one := []choice{{most: most}}, map[int]float64{}
			for n := range int64(1 + r.IntN(4)) {
				list = append(list, choice{gain: (n + 1) * int64(50_000+r.IntN(50_000)), most: [2]int64{most[0] - (n+1)*int64(200+r.IntN(200)), most[1] - (n+1)*int64(200+r.IntN(200))}})
			}
			for _, c := range list {
				col := p.column(float64(c.gain))
				one[col] = 1
				for k := range carry {
					carry[k][col] = -float64(c.most[k])
				}
			}
			for k := range used {
				used[k] += most[k] * int64(75+r.IntN(20)) / 100
			}
			clusters, ones = append(clusters, list), append(ones, one)
		}
		for _, one := range ones {
			p.row(true, 1, one)
		}
		for k := range carry {
			p.row(false, -float64(used[k]), carry[k])
		}
		least, _ := priced(clusters, used)
		best, bound := p.solve(t), float64(least)
		if bound < best*(1-1e-6) || bound > best*1.06+2 {
			t.Errorf("seed %d: bounded by %.0f, the program comes to %.0f", seed, bound, best)
		}
	}
}
