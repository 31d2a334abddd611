package plan

import "math"

// A market is the relaxed problem behind an evacuation: items that are worth
// something if all their members find a place, and rows that bound what places
// and ways can take. Whole members, whole rows, one moment: nothing of order,
// single hosts or groups is left.
//
// Prices on the rows bound the value from above, whatever they are:
//
//	UB = sum of price x capacity + sum over items of max(0, worth - cheapest places)
type market struct {
	capacity []float64 // by row; less than 0 where at least so much must be used
	items    []item
	work     int // bounds the ascent; 0: a second for the largest sites
}

// An item is VMs that are worth something only together.
type item struct {
	worth   float64
	members []member
	floors  []use // rows of which it gives so much: how many must be had is minus their capacity
}

// A member is one VM. Without options it can go nowhere.
type member struct {
	vm      int32
	options []option
}

// An option is one place and the way there, with what it takes.
type option struct {
	dest int32
	uses []use
}

type use struct {
	row    int32
	amount float64
}

// rounds bounds the ascent: prices hardly move after some hundred steps, and what
// it takes stays below the market's work.
func (m *market) rounds() int {
	work, most := 0, m.work
	if most == 0 {
		most = 60_000_000
	}
	for i := range m.items {
		for k := range m.items[i].members {
			work += 4 * len(m.items[i].members[k].options)
		}
	}
	return min(max(most/max(work, 1), 80), 600)
}

// bound raises prices from zero by subgradient steps toward the target, a value
// that is reached for certain, and returns the least bound met and its prices.
// Products are rounded before they are added, so that every processor gives the
// same bits.
func (m *market) bound(target float64) (float64, []float64) {
	n := len(m.capacity)
	price, best, dir, used := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	least, theta, stale := math.Inf(1), 1.0, 0
	for range m.rounds() {
		value := m.dual(price, used)
		if value < least {
			if value < least-1e-7*math.Abs(least) || math.IsInf(least, 1) {
				stale = 0
			}
			least = value
			copy(best, price)
		}
		if least <= target {
			break
		}
		const patience, slower = 12, 0.6
		if stale++; stale > patience {
			theta, stale = theta*slower, 0
			copy(price, best)
			clear(dir)
			continue
		}
		if !m.step(price, dir, used, theta*max(value-target, 1e-6*value)) {
			break
		}
	}
	return least, best
}

// step moves the prices along the deflected subgradient, scaled by capacity: along
// the plain one where the other leads to prices below zero alone.
func (m *market) step(price, dir, used []float64, gap float64) bool {
	for _, deflect := range [2]float64{0.3, 1} {
		norm := 0.0
		for r := range price {
			scale := max(math.Abs(m.capacity[r]), 1e-9)
			g := (used[r] - m.capacity[r]) / scale
			dir[r] = float64(deflect*g) + float64((1-deflect)*dir[r])
			if price[r] > 0 || dir[r] > 0 {
				norm += float64(dir[r] * dir[r])
			}
		}
		if norm == 0 {
			continue
		}
		for r := range price {
			scale := max(math.Abs(m.capacity[r]), 1e-9)
			price[r] = max(0, price[r]+float64(gap/norm*dir[r])/scale)
		}
		return true
	}
	return false
}

// dual is the bound at the prices, and what the items would then use of each row.
func (m *market) dual(price, used []float64) float64 {
	value := 0.0
	for r, p := range price {
		value += float64(p * m.capacity[r])
	}
	clear(used)
	for i := range m.items {
		x := &m.items[i]
		gain := x.worth
		for _, u := range x.floors {
			gain += float64(price[u.row] * u.amount)
		}
		cost, ok := x.cost(price, gain)
		if !ok {
			continue
		}
		value += gain - cost
		for k := range x.members {
			o, _ := x.members[k].cheapest(price)
			for _, u := range x.members[k].options[o].uses {
				used[u.row] += u.amount
			}
		}
		for _, u := range x.floors {
			used[u.row] -= u.amount
		}
	}
	return value
}

// cost is what the item takes at the prices, where that is less than it gains.
func (x *item) cost(price []float64, gain float64) (float64, bool) {
	cost := 0.0
	for k := range x.members {
		o, c := x.members[k].cheapest(price)
		if o < 0 {
			return 0, false
		}
		if cost += c; cost >= gain {
			return cost, false
		}
	}
	return cost, true
}

// cheapest is the member's option that costs least, -1 where it has none.
func (x *member) cheapest(price []float64) (int, float64) {
	at, least := -1, math.Inf(1)
	for o := range x.options {
		c := 0.0
		for _, u := range x.options[o].uses {
			c += float64(price[u.row] * u.amount)
		}
		if c < least {
			at, least = o, c
		}
	}
	return at, least
}

// whole rounds a bound on a sum of whole numbers down, with room for rounding
// errors.
func whole(bound float64) int64 {
	return int64(math.Floor(bound*(1+1e-9) + 1e-6))
}
