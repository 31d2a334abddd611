package plan

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestMarketBound holds the bound of small markets, each item of one VM or two,
// against all whole choices and against the linear program, whose value is the least
// that prices can prove: it is never less than either, and hardly more than the second.
func TestMarketBound(t *testing.T) {
	t.Parallel()
	loose := 0.0
	const markets = 200
	for seed := range uint64(markets) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := market{}
		for range 2 + r.IntN(4) {
			m.capacity = append(m.capacity, float64(5+r.IntN(30)))
		}
		for range 2 + r.IntN(4) {
			x := item{worth: float64(1 + r.IntN(9))}
			for range 1 + r.IntN(5)/4 {
				y := member{}
				for range 1 + r.IntN(3) {
					o := option{}
					for row := range m.capacity {
						if r.IntN(2) == 0 {
							o.uses = append(o.uses, use{int32(row), float64(1 + r.IntN(15))})
						}
					}
					y.options = append(y.options, o)
				}
				x.members = append(x.members, y)
			}
			m.items = append(m.items, x)
		}
		whole, lp := m.wholeBest(0, make([]float64, len(m.capacity))), m.simplex()
		bound, price := m.bound(whole)
		if again := m.dual(price, make([]float64, len(price))); again != bound {
			t.Errorf("seed %d: the prices prove %g, and %g is claimed", seed, again, bound)
		}
		if whole > lp+1e-6 || bound < lp-1e-6 {
			t.Errorf("seed %d: %g is reached, the linear program has %g, and the bound is %g", seed, whole, lp, bound)
		}
		loose += bound/math.Max(lp, 1) - 1
	}
	if t.Logf("on average %.3f %% above the linear program", 100*loose/markets); loose > 0.02*markets {
		t.Errorf("the bound is %.2f %% above the linear program on average", 100*loose/markets)
	}
}

// wholeBest is the most that items from k on are worth together, all choices tried.
func (m *market) wholeBest(k int, used []float64) float64 {
	if k == len(m.items) {
		return 0
	}
	best := m.wholeBest(k+1, used)
	var choose func(n int)
	choose = func(n int) {
		if n == len(m.items[k].members) {
			best = max(best, m.items[k].worth+m.wholeBest(k+1, used))
			return
		}
		for _, o := range m.items[k].members[n].options {
			fits := true
			for _, u := range o.uses {
				used[u.row] += u.amount
				fits = fits && used[u.row] <= m.capacity[u.row]
			}
			if fits {
				choose(n + 1)
			}
			for _, u := range o.uses {
				used[u.row] -= u.amount
			}
		}
	}
	choose(0)
	return best
}

// simplex is the value of the market's linear program: shares of items, each member
// divided among its options. No row's right side is negative, so all zero is where
// it starts; Bland's rule keeps it from going round.
func (m *market) simplex() float64 {
	var rows [][]float64 // coefficients, then the right side
	columns := len(m.items)
	for i := range m.items {
		for k := range m.items[i].members {
			columns += len(m.items[i].members[k].options)
		}
	}
	row := func(right float64) []float64 {
		x := make([]float64, columns+1)
		x[columns] = right
		rows = append(rows, x)
		return x
	}
	for _, c := range m.capacity {
		row(c)
	}
	goal := make([]float64, columns+1)
	at := len(m.items)
	for i := range m.items {
		goal[i] = -m.items[i].worth
		row(1)[i] = 1
		for k := range m.items[i].members {
			x := row(0)
			x[i] = 1
			for _, o := range m.items[i].members[k].options {
				x[at] = -1
				for _, u := range o.uses {
					rows[u.row][at] += u.amount
				}
				at++
			}
		}
	}
	basic := make([]int, len(rows)) // column of each row: slacks have numbers from columns on
	for k := range basic {
		basic[k] = columns + k
	}
	names := make([]int, columns)
	for k := range names {
		names[k] = k
	}
	const eps = 1e-9
	for {
		in := -1
		for c := range columns {
			if goal[c] < -eps && (in < 0 || names[c] < names[in]) {
				in = c
			}
		}
		if in < 0 {
			return goal[columns]
		}
		out, least := -1, 0.0
		for k, x := range rows {
			if x[in] <= eps {
				continue
			}
			if q := x[columns] / x[in]; out < 0 || q < least-eps || (q < least+eps && basic[k] < basic[out]) {
				out, least = k, q
			}
		}
		pivot(append(rows, goal), out, in)
		basic[out], names[in] = names[in], basic[out]
	}
}

// pivot swaps the variable of a row with that of a column.
func pivot(rows [][]float64, out, in int) {
	by := rows[out][in]
	for c := range rows[out] {
		rows[out][c] /= by
	}
	rows[out][in] = 1 / by
	for k, x := range rows {
		f := x[in]
		if k == out || f == 0 {
			continue
		}
		for c := range x {
			x[c] -= f * rows[out][c]
		}
		x[in] = -f / by
	}
}
