package turns

// An Item is an action with what it is ordered by: a rank, or a moment.
type Item struct {
	Key int64
	Act int32
}

// A Heap gives the smallest key first, and among equals the lowest action.
type Heap []Item

func (h *Heap) less(i, j int) bool {
	x, y := (*h)[i], (*h)[j]
	return x.Key < y.Key || (x.Key == y.Key && x.Act < y.Act)
}

// Push adds an action.
func (h *Heap) Push(key int64, act int32) {
	*h = append(*h, Item{key, act})
	for i := len(*h) - 1; i > 0 && h.less(i, (i-1)/2); i = (i - 1) / 2 {
		(*h)[i], (*h)[(i-1)/2] = (*h)[(i-1)/2], (*h)[i]
	}
}

// Pop takes the first item out. There must be one.
func (h *Heap) Pop() Item {
	x, last := (*h)[0], len(*h)-1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	for i := 0; 2*i+1 < last; {
		k := 2*i + 1
		if k+1 < last && h.less(k+1, k) {
			k++
		}
		if !h.less(k, i) {
			break
		}
		(*h)[i], (*h)[k] = (*h)[k], (*h)[i]
		i = k
	}
	return x
}
