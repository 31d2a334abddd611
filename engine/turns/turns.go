// Package turns is the executor's rule: of the actions that are ready, the one of
// the lowest rank that has its slots starts next. Whoever foresees what the executor
// will do (the check, and the estimate of when actions end) does it with this.
package turns

import (
	"slices"

	"heliostat/engine"
)

// A need is what an action takes of one counter: the queue is where it waits when
// that is what it lacks.
type need struct{ counter, cost, queue int32 }

// A queue is those who lack the same of the same counter.
type queue struct{ counter, cost int32 }

// A Table is what each of some actions takes of the slots. It does not change: any
// number of goroutines may use it.
type Table struct {
	start    []int32 // action i takes needs[start[i]:start[i+1]]
	needs    []need
	capacity []int32 // by counter
	queues   []queue
	of       [][]int32 // by counter: its queues
}

func (t *Table) need(i int32) []need { return t.needs[t.start[i]:t.start[i+1]] }


// NewTable looks every action's counters up once, and numbers those that there are.
// visit is [engine.Slots.Visit] of action i.
func NewTable(slots *engine.Slots, n int, visit func(i int, f func(counter, cost, capacity int32))) *Table {
	known := make([]int32, slots.Counters()) // number + 1
	const most = 8 // two hosts, two NICs, a datastore, a vCenter and a link; with storage there may be more
	t := &Table{start: make([]int32, n+1), needs: make([]need, 0, most*n)}
	for i := range n {
		visit(i, func(counter, cost, capacity int32) {
			if known[counter] == 0 {
				t.capacity, t.of = append(t.capacity, capacity), append(t.of, nil)
				known[counter] = int32(len(t.capacity))
			}
			id := known[counter] - 1
			k := slices.IndexFunc(t.of[id], func(q int32) bool { return t.queues[q].cost == cost })
			if k < 0 {
				k = len(t.of[id])
				t.of[id] = append(t.of[id], int32(len(t.queues)))
				t.queues = append(t.queues, queue{id, cost})
			}
			t.needs = append(t.needs, need{id, cost, t.of[id][k]})
		})
		t.start[i+1] = int32(len(t.needs))
	}
	return t
}

// Counters is how many counters the actions take from.
func (t *Table) Counters() int { return len(t.capacity) }

// Visit calls f for each counter, below [Table.Counters], that action i takes from.
func (t *Table) Visit(i int32, f func(counter int32)) {
	for _, n := range t.need(i) {
		f(n.counter)
	}
}

// Turns are who has slots and who waits for them, as actions come and go.
type Turns struct {
	*Table
	used   []int32 // by counter
	parked []Heap  // by queue
	fresh  Heap    // just ready
}

// Turns are new turns, with all slots free and nobody waiting.
func (t *Table) Turns() *Turns {
	return &Turns{Table: t, used: make([]int32, len(t.capacity)), parked: make([]Heap, len(t.queues))}
}

// Reset frees all slots that an action may hold, and forgets whoever waits for them.
func (t *Turns) Reset(i int32) {
	for _, n := range t.need(i) {
		t.used[n.counter] = 0
		t.parked[n.queue] = t.parked[n.queue][:0]
	}
}

// Take occupies the slots of action i, whether there are any or not.
func (t *Turns) Take(i int32) { t.add(i, 1) }

func (t *Turns) add(i, sign int32) {
	for _, n := range t.need(i) {
		t.used[n.counter] += sign * n.cost
	}
}

// Ready says that action i, of this rank, waits for nothing but its turn.
func (t *Turns) Ready(i, rank int32) { t.fresh.Push(int64(rank), i) }

// Start calls begin for all that can start, in their turn: of those just ready. begin
// has to [Turns.Take] the slots of what it starts.
func (t *Turns) Start(begin func(i int32)) { t.fill(nil, begin) }

// End frees the slots of action i, and starts what can be started then.
func (t *Turns) End(i int32, begin func(i int32)) {
	t.add(i, -1)
	t.fill(t.need(i), begin)
}

// fill begins what can be started, the lowest rank first: of those just ready,
// and of those that waited for a counter that was just released.
func (t *Turns) fill(released []need, begin func(int32)) {
	for {
		best := &t.fresh
		for _, c := range released {
			for _, q := range t.of[c.counter] {
				p := &t.parked[q]
				fits := t.used[c.counter]+t.queues[q].cost <= t.capacity[c.counter]
				if len(*p) > 0 && fits && (len(*best) == 0 || (*p)[0].Key < (*best)[0].Key) {
					best = p
				}
			}
		}
		if len(*best) == 0 {
			return
		}
		x := best.Pop()
		if q := t.lacks(x.Act); q >= 0 {
			t.parked[q].Push(x.Key, x.Act)
			continue
		}
		begin(x.Act)
	}
}

// lacks gives the queue of the first counter without room for the action, or -1.
func (t *Turns) lacks(i int32) int32 {
	for _, n := range t.need(i) {
		if t.used[n.counter]+n.cost > t.capacity[n.counter] {
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
