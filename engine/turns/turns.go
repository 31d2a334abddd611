// Package turns is the executor's rule: of the actions that are ready, the one of
// the lowest rank that has its slots starts next. Whoever foresees what the executor
// will do (the check, and the estimate of when actions end) does it with this.
package turns

import (
	"slices"

	"heliostat/engine"
	"heliostat/internal/parallel"
)

// A need is what an action takes of one counter: the queue is where it waits when
// that is what it lacks.
type need struct{ counter, cost, queue int32 }

// A queue is those who lack the same of the same counter.
type queue struct{ cost, next int32 } // the next of the counter, -1 for none

// A counter is what several actions need.
type counter struct{ capacity, first int32 } // its first queue, -1 for none

// A Table is what each of some actions takes of the slots. It does not change: any
// number of goroutines may use it.
type Table struct {
	start    []int32 // action i takes needs[start[i]:start[i+1]]
	needs    []need
	counters []counter
	queues   []queue
}

func (t *Table) need(i int32) []need { return t.needs[t.start[i]:t.start[i+1]] }

// NewTable looks every action's counters up once, and numbers those that there are.
// visit is [engine.Slots.Visit] of action i, for several at the same time.
func NewTable(slots *engine.Slots, n int, visit func(i int, f func(counter, cost, capacity int32))) *Table {
	// Two hosts, two NICs, a datastore and a vCenter; between sites or with storage there may be more.
	const most, size = 6, 2048
	type slot struct{ counter, cost, capacity int32 }
	t := &Table{start: make([]int32, n+1), needs: make([]need, 0, most*n)}
	parts := make([][]slot, (n+size-1)/size)
	parallel.Each(len(parts), func() func(int) {
		return func(k int) {
			last := min((k+1)*size, n)
			list := make([]slot, 0, most*(last-k*size))
			for i := k * size; i < last; i++ {
				visit(i, func(k, cost, capacity int32) { list = append(list, slot{k, cost, capacity}) })
				t.start[i+1] = int32(len(list))
			}
			parts[k] = list
		}
	})
	known := numbers(slots.Counters(), most*n)
	for k, list := range parts {
		first := int32(len(t.needs))
		for i := k * size; i < min((k+1)*size, n); i++ {
			t.start[i+1] += first
		}
		for _, x := range list {
			id := known(x.counter, int32(len(t.counters)))
			if int(id) == len(t.counters) {
				t.counters = append(t.counters, counter{x.capacity, -1})
			}
			t.needs = append(t.needs, need{id, x.cost, t.queue(&t.counters[id], x.cost)})
		}
	}
	return t
}

// numbers numbers those of n that are asked about, about so many times, each with the
// next number when it is first seen: in a map where these are few.
func numbers(n, times int) func(k, next int32) int32 {
	if times < n/8 {
		known := make(map[int32]int32, times)
		return func(k, next int32) int32 {
			id, ok := known[k]
			if !ok {
				id, known[k] = next, next
			}
			return id
		}
	}
	known := make([]int32, n) // number + 1
	return func(k, next int32) int32 {
		if known[k] == 0 {
			known[k] = next + 1
		}
		return known[k] - 1
	}
}

// queue is where those wait who lack so much of a counter.
func (t *Table) queue(c *counter, cost int32) int32 {
	for q := c.first; q >= 0; q = t.queues[q].next {
		if t.queues[q].cost == cost {
			return q
		}
	}
	t.queues = append(t.queues, queue{cost, c.first})
	c.first = int32(len(t.queues) - 1)
	return c.first
}

// Counters is how many counters the actions take from.
func (t *Table) Counters() int { return len(t.counters) }

// Visit calls f for each counter, below [Table.Counters], that action i takes from.
func (t *Table) Visit(i int32, f func(counter int32)) {
	for _, n := range t.need(i) {
		f(n.counter)
	}
}

// Turns are who has slots and who waits for them, as actions come and go.
type Turns struct {
	*Table
	free   []int32 // by counter: units
	parked []Heap  // by queue
	fresh  Heap    // just ready
}

// Turns are new turns, with all slots free and nobody waiting.
func (t *Table) Turns() *Turns {
	x := &Turns{Table: t, free: make([]int32, len(t.counters)), parked: make([]Heap, len(t.queues))}
	for k := range x.free {
		x.free[k] = t.counters[k].capacity
	}
	return x
}

// Reset frees all slots that an action may hold, and forgets whoever waits for them.
func (t *Turns) Reset(i int32) {
	for _, n := range t.need(i) {
		t.free[n.counter] = t.counters[n.counter].capacity
		t.parked[n.queue] = t.parked[n.queue][:0]
	}
}

// Take occupies the slots of action i, whether there are any or not.
func (t *Turns) Take(i int32) {
	for _, n := range t.need(i) {
		t.free[n.counter] -= n.cost
	}
}

// Ready says that action i, of this rank, waits for nothing but its turn.
func (t *Turns) Ready(i, rank int32) { t.fresh.Push(int64(rank), i) }

// Start calls begin for all of those just ready that can start, in their turn. begin
// has to [Turns.Take] the slots of what it starts.
func (t *Turns) Start(begin func(i int32)) {
	slices.SortFunc(t.fresh, Item.compare) // which they are, mostly
	for _, x := range t.fresh {
		t.next(x, begin)
	}
	t.fresh = t.fresh[:0]
}

// End frees the slots of action i, and begins what can start then, the lowest rank
// first: of those just ready, and of those that waited for what was released.
func (t *Turns) End(i int32, begin func(i int32)) {
	released := t.need(i)
	for _, n := range released {
		t.free[n.counter] += n.cost
	}
	for {
		best := &t.fresh
		for _, c := range released {
			free := t.free[c.counter]
			for q := t.counters[c.counter].first; q >= 0; q = t.queues[q].next {
				p := &t.parked[q]
				if len(*p) > 0 && t.queues[q].cost <= free && (len(*best) == 0 || (*p)[0].Key < (*best)[0].Key) {
					best = p
				}
			}
		}
		if len(*best) == 0 {
			return
		}
		t.next(best.Pop(), begin)
	}
}

// next begins an action, or lets it wait for what it lacks.
func (t *Turns) next(x Item, begin func(int32)) {
	if q := t.lacks(x.Act); q >= 0 {
		t.parked[q].Push(x.Key, x.Act)
		return
	}
	begin(x.Act)
}

// lacks gives the queue of the first counter without room for the action, or -1.
func (t *Turns) lacks(i int32) int32 {
	for _, n := range t.need(i) {
		if n.cost > t.free[n.counter] {
			return n.queue
		}
	}
	return -1
}

// Waiting calls f for each action that waits for slots, of those that take what
// action i takes. Some are named more than once.
func (t *Turns) Waiting(i int32, f func(waiting int32)) {
	for _, n := range t.need(i) {
		for _, x := range t.parked[n.queue] {
			f(x.Act)
		}
	}
}
