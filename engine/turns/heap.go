package turns

import "cmp"

// An Item is an action with what it is ordered by: a rank, or a moment.
type Item struct {
	Key int64
	Act int32
}

// A Heap gives the smallest key first, and among equals the lowest action.
type Heap []Item

func (x Item) before(y Item) bool { return x.Key < y.Key || (x.Key == y.Key && x.Act < y.Act) }

func (x Item) compare(y Item) int {
	return cmp.Or(cmp.Compare(x.Key, y.Key), cmp.Compare(x.Act, y.Act))
}

// Push adds an action.
func (h *Heap) Push(key int64, act int32) {
	x := Item{key, act}
	*h = append(*h, x)
	q, i := *h, len(*h)-1
	for ; i > 0 && x.before(q[(i-1)/2]); i = (i - 1) / 2 {
		q[i] = q[(i-1)/2]
	}
	q[i] = x
}

// Pop takes the first item out. There must be one.
func (h *Heap) Pop() Item {
	q := *h
	first, x := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	*h = q
	if len(q) == 0 {
		return first
	}
	i := 0
	for k := 1; k < len(q); k = 2*i + 1 {
		if k+1 < len(q) && q[k+1].before(q[k]) {
			k++
		}
		if !q[k].before(x) {
			break
		}
		q[i], i = q[k], k
	}
	q[i] = x
	return first
}
