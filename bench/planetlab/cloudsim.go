package main

import (
	"cmp"
	"math"
	"slices"
)

// firstFit is how CloudSim places VMs where nothing migrates.
func (w *world) firstFit(v int32) int32 {
	for h := range int32(len(w.hosts)) {
		if w.holds(h, v) {
			return h
		}
	}
	return -1
}

// A baseline is a policy of CloudSim's: MMT moves the VMs with the least memory off
// hosts that are overloaded, to where power rises least, and then empties one host
// after the other, the least loaded first. over says when a host is overloaded.
type baseline struct {
	w    *world
	over func(b *baseline, h int32) bool

	vms  [][]int32 // by host, as planned
	used []float64 // by host: MIPS that its VMs get, as planned
	free []float64
}

// threshold is a static one: THR.
func threshold(limit float64) func(b *baseline, h int32) bool {
	return func(b *baseline, h int32) bool {
		sum := 0.0
		for _, v := range b.vms[h] {
			sum += b.w.vms[v].asks
		}
		return sum/b.w.hosts[h].kind.capacity() > limit
	}
}

// regression predicts a host's load from the last ten of its VMs', by a straight
// line, times a safety: LR. Before there are ten it is a threshold of 70 %. It
// repeats CloudSim's figures within 1 % without the weights that LR is named for.
func regression(safety float64) func(b *baseline, h int32) bool {
	early := threshold(0.7)
	const length = 10
	return func(b *baseline, h int32) bool {
		var y [length]float64
		for _, v := range b.vms[h] {
			past := b.w.vms[v].past
			if len(past) < length {
				return early(b, h)
			}
			for i := range length {
				y[i] += past[len(past)-length+i] * b.w.vms[v].mips / b.w.hosts[h].kind.capacity()
			}
		}
		if len(b.vms[h]) == 0 {
			return early(b, h)
		}
		var sx, sy, sxx, sxy float64
		for i := range length {
			xi, yi := float64(i+1), y[i]
			sx, sy, sxx, sxy = sx+xi, sy+yi, sxx+xi*xi, sxy+xi*yi
		}
		slope := (length*sxy - sx*sy) / (length*sxx - sx*sx)
		base := (sy - slope*sx) / length
		return (base+slope*(length+1))*safety >= 1
	}
}

func newBaseline(w *world, over func(b *baseline, h int32) bool) *baseline {
	n := len(w.hosts)
	return &baseline{w: w, over: over, vms: make([][]int32, n), used: make([]float64, n), free: make([]float64, n)}
}

// share is the world's, for what is planned: nothing migrates in a plan.
func (b *baseline) share(h int32) {
	x := &b.w.hosts[h]
	total := 0.0
	for _, v := range b.vms[h] {
		total += min(b.w.vms[v].asks, x.kind.mips)
	}
	b.used[h] = min(total, x.kind.capacity())
	b.free[h] = x.kind.capacity() - b.used[h]
}

func (b *baseline) put(h, v int32) {
	b.vms[h] = append(b.vms[h], v)
	b.share(h)
}

func (b *baseline) drop(h, v int32) {
	i := slices.Index(b.vms[h], v)
	b.vms[h] = slices.Delete(b.vms[h], i, i+1)
	b.share(h)
}

// find is the host on which the VM costs the least power: against what the host
// takes now, and not with what is planned for it already.
func (b *baseline) find(v int32, barred []bool) int32 {
	best, least := int32(-1), math.Inf(1)
	asks := b.w.vms[v].asks
	for h := range int32(len(b.w.hosts)) {
		x := &b.w.hosts[h]
		if barred[h] || x.kind.mips < asks || b.free[h] < asks {
			continue
		}
		if b.used[h] != 0 {
			b.vms[h] = append(b.vms[h], v)
			over := b.over(b, h)
			b.vms[h] = b.vms[h][:len(b.vms[h])-1]
			if over {
				continue
			}
		}
		load := (b.used[h] + asks) / x.kind.capacity()
		if d := x.kind.power(load) - x.kind.power(x.used/x.kind.capacity()); load <= 1 && d < least {
			best, least = h, d
		}
	}
	return best
}

// first is where CloudSim creates the VM: as find, with all that it may ask for.
func (b *baseline) first(limit float64) func(v int32) int32 {
	return func(v int32) int32 {
		w, best, least := b.w, int32(-1), math.Inf(1)
		for h := range int32(len(w.hosts)) {
			x, y := &w.hosts[h], &w.vms[v]
			capacity := x.kind.capacity()
			used := capacity - x.free
			// Of those that were created before, none asks for anything yet.
			if !w.holds(h, v) || (used != 0 && y.mips/capacity > limit) {
				continue
			}
			if d := x.kind.power((used+y.mips)/capacity) - x.kind.power(0); d < least {
				best, least = h, d
			}
		}
		return best
	}
}

// decide plans the moves of one step.
func (b *baseline) decide() ([]move, error) {
	w := b.w
	n := len(w.hosts)
	barred, source := make([]bool, n), make([]bool, n) // as destinations; to be emptied
	for h := range w.hosts {
		b.vms[h] = append(b.vms[h][:0], w.hosts[h].vms...)
		b.share(int32(h))
	}
	var leave []int32
	for h := range int32(n) {
		if !b.over(b, h) {
			continue
		}
		barred[h], source[h] = true, true
	}
	for h := range int32(n) {
		for barred[h] && len(b.vms[h]) > 0 {
			v := slices.MinFunc(b.vms[h], func(x, y int32) int { return cmp.Compare(w.vms[x].mb, w.vms[y].mb) })
			leave = append(leave, v)
			b.drop(h, v)
			if !b.over(b, h) {
				break
			}
		}
	}
	var moves []move
	b.place(leave, barred, &moves, false)
	for h := range n {
		if w.hosts[h].used == 0 {
			barred[h], source[h] = true, true
		}
	}
	// A host that takes VMs off overloaded ones may be emptied in turn.
	for {
		least := int32(-1)
		for h := range int32(n) {
			if x := &w.hosts[h]; !source[h] && len(b.vms[h]) > 0 && (least < 0 || x.used/x.kind.capacity() < w.hosts[least].used/w.hosts[least].kind.capacity()) {
				least = h
			}
		}
		if least < 0 {
			return moves, nil
		}
		source[least], barred[least] = true, true
		mark := len(moves)
		b.place(slices.Clone(b.vms[least]), barred, &moves, true)
		for _, m := range moves[mark:] {
			source[m.to] = true
		}
	}
}

// place finds a host for each VM, the most demanding first: with all, for all or none.
func (b *baseline) place(vms []int32, barred []bool, moves *[]move, all bool) {
	slices.SortStableFunc(vms, func(x, y int32) int { return cmp.Compare(b.w.vms[y].asks, b.w.vms[x].asks) })
	mark := len(*moves)
	for _, v := range vms {
		h := b.find(v, barred)
		if h >= 0 {
			b.put(h, v)
			*moves = append(*moves, move{v, h})
			continue
		}
		if all {
			for _, m := range (*moves)[mark:] {
				b.drop(m.to, m.vm)
			}
			*moves = (*moves)[:mark]
			return
		}
	}
}
