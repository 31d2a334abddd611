package engine

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// A Flow is what a move under way has had of interfaces and links so far.
type Flow struct {
	Action string  `json:"action"`
	Since  Unix    `json:"since"` // when its data began to flow, as far as set-ups are known
	Mbit   float64 `json:"mbit"`  // that would have been sent until History.At, had all of the line rate been payload
}

// NoteMoves notes in h, the history that [Fold] has just made of before, what moves
// have taught: how long each took for its bytes at the line rate that it really had.
// What ran beside it on the same interfaces and links, and when, is known once it has
// ended; what the plan had expected to run beside it does not matter then. open and
// ended are our actions under way and those that ended since.
func NoteMoves(before, h *History, s *Snapshot, open, ended []ActionRecord) {
	n := len(s.Hosts) + len(s.Links)
	x := sharing{s: s, free: make([]float64, n), count: make([]int32, n)}
	for _, list := range [2][]ActionRecord{ended, open} {
		for i := range list {
			if r := &list[i]; r.Action.Kind == Move && r.Started > 0 {
				x.add(before, r)
			}
		}
	}
	x.sweep()
	h.Flows = nil
	for i := range x.on {
		switch p := &x.on[i]; {
		case len(p.pipes) == 0:
		case !p.rec.State.Terminal():
			h.Flows = append(h.Flows, p.Flow)
		case p.rec.State == StateSucceeded:
			h.learn(p.rec, p.Mbit/float64(p.to-p.Since))
		}
	}
	slices.SortFunc(h.Flows, func(a, b Flow) int { return strings.Compare(a.Action, b.Action) })
}

// Flow is what a move under way has had, if that is known.
func (h *History) Flow(action string) (Flow, bool) {
	if h == nil {
		return Flow{}, false
	}
	i, ok := slices.BinarySearchFunc(h.Flows, action, func(f Flow, id string) int { return strings.Compare(f.Action, id) })
	if !ok {
		return Flow{}, false
	}
	return h.Flows[i], true
}

// A sharing is moves whose data flow at times, and share interfaces and links.
type sharing struct {
	s     *Snapshot
	on    []passage
	free  []float64 // by pipe: Mbit/s not given out
	count []int32   // by pipe: those whose share is open
}

// A passage is a move of which so much is not counted yet.
type passage struct {
	Flow
	rec      *ActionRecord
	from, to Unix
	pipes    []int32 // hosts, then links; none where some rate is not known
	rate     float64
}

func (x *sharing) add(before *History, r *ActionRecord) {
	a := &r.Action
	p := passage{rec: r, to: x.s.At, pipes: x.plumb(a)}
	if r.State.Terminal() {
		p.to = max(r.Ended, r.Started+1)
	}
	var known bool
	if p.Flow, known = before.Flow(a.ID); !known {
		setup := float64(DefaultCostModel().SetupS)
		if f := before.Fit(a.From.Site, a.To.Site, a.Estimate.Storage); f != nil {
			setup = f.SetupS
		}
		p.Flow = Flow{Action: a.ID, Since: r.Started + Unix(math.Round(setup))}
	}
	if r.State.Terminal() { // it has sent something
		p.Since = min(p.Since, p.to-1)
	}
	if p.from = p.Since; known {
		p.from = max(p.from, before.At)
	}
	x.on = append(x.on, p)
}

// plumb is what a move flows through.
func (x *sharing) plumb(a *Action) []int32 {
	from, ok1 := x.s.FindHost(a.From.Host)
	to, ok2 := x.s.FindHost(a.To.Host)
	if !ok1 || !ok2 || x.s.Hosts[from].NICMbps <= 0 || x.s.Hosts[to].NICMbps <= 0 {
		return nil
	}
	pipes := []int32{from}
	if to != from {
		pipes = append(pipes, to)
	}
	k, ok := slices.BinarySearchFunc(x.s.Links, [2]int32{min(x.s.Hosts[from].Site, x.s.Hosts[to].Site), max(x.s.Hosts[from].Site, x.s.Hosts[to].Site)}, func(l Link, t [2]int32) int {
		return cmp.Or(cmp.Compare(l.A, t[0]), cmp.Compare(l.B, t[1]))
	})
	switch {
	case ok && x.s.Links[k].Mbps > 0:
		return append(pipes, int32(len(x.s.Hosts)+k))
	case x.s.Hosts[from].Site != x.s.Hosts[to].Site:
		return nil
	}
	return pipes
}

// sweep adds up what each has had, from each moment when one begins or ends to the next.
func (x *sharing) sweep() {
	var moments []Unix
	var next, on []*passage
	for i := range x.on {
		if p := &x.on[i]; p.from < p.to {
			moments = append(moments, p.from, p.to)
			if len(p.pipes) > 0 {
				next = append(next, p)
			}
		}
	}
	slices.Sort(moments)
	moments = slices.Compact(moments)
	slices.SortFunc(next, func(a, b *passage) int { return cmp.Compare(a.from, b.from) })
	for k := 1; k < len(moments); k++ {
		at, before := moments[k-1], len(on)
		on = slices.DeleteFunc(on, func(p *passage) bool { return p.to <= at })
		same := len(on) == before
		for ; len(next) > 0 && next[0].from <= at; next = next[1:] {
			on, same = append(on, next[0]), false
		}
		if !same {
			x.share(on)
		}
		for _, p := range on {
			p.Mbit += float64(p.rate * float64(moments[k]-at))
		}
	}
}

// share gives those that flow their rates: they grow together, and where a pipe is
// full, those that flow through it stay as they are.
func (x *sharing) share(on []*passage) {
	for _, p := range on {
		p.rate = 0
		for _, q := range p.pipes {
			x.count[q] = 0
		}
	}
	for _, p := range on {
		for _, q := range p.pipes {
			x.count[q]++
			if hosts := int32(len(x.s.Hosts)); q < hosts {
				x.free[q] = float64(x.s.Hosts[q].NICMbps)
			} else {
				x.free[q] = float64(x.s.Links[q-hosts].Mbps)
			}
		}
	}
	for open := slices.Clone(on); len(open) > 0; {
		grow := math.Inf(1)
		for _, p := range open {
			for _, q := range p.pipes {
				grow = min(grow, x.free[q]/float64(x.count[q]))
			}
		}
		for _, p := range open {
			p.rate += grow
			for _, q := range p.pipes {
				x.free[q] -= grow
			}
		}
		open = slices.DeleteFunc(open, func(p *passage) bool {
			full := slices.ContainsFunc(p.pipes, func(q int32) bool { return x.free[q] < 1e-6 })
			if full {
				for _, q := range p.pipes {
					x.count[q]--
				}
			}
			return full
		})
	}
}
