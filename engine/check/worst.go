package check

import (
	"encoding/binary"
	"slices"

	"heliostat/engine"
)

// effort bounds the events of the worst moments, beside a few for each
// action, so that the largest plans are still checked in time. Build's plans
// have few different moments; what is left out, the random orders still try.
const effort = 20_000

// set starts an empty set of actions.
func (r *replay) set() { r.stamp++ }

// put adds an action to the set, and reports whether it is new there.
func (r *replay) put(i int32) bool {
	if r.mark[i] == r.stamp {
		return false
	}
	r.mark[i] = r.stamp
	return true
}

// ended lists what must have ended well before action i starts, in an order that
// the edges allow, and leaves the set of it. The list is good until the next.
func (r *replay) ended(i int32) []int32 {
	out := r.past[:0]
	add := func(i int32) {
		if r.waits[i] == 0 {
			return
		}
		for _, j := range r.acts[i].After {
			if r.put(j) {
				out = append(out, j)
			}
		}
	}
	r.set()
	add(i)
	for k := 0; k < len(out); k++ {
		add(out[k])
	}
	slices.SortFunc(out, func(x, y int32) int { return int(r.c.order[x] - r.c.order[y]) })
	r.past = out
	return out
}

// edges checks what can be told from the edges alone, and so for every order:
// all VMs have left a host before it goes to standby or maintenance, and a host
// is up before a VM starts toward it.
func (r *replay) edges() {
	of := engine.None // whose past the set is
	after := func(i, j int32) bool {
		if slices.Contains(r.acts[i].After, j) {
			return true // mostly no past has to be gone through
		}
		if of != i {
			of = i
			r.ended(i)
		}
		return r.mark[j] == r.stamp
	}
	for _, i := range r.x.acts {
		x := &r.steps[i]
		if x.kind == engine.Move {
			continue
		}
		a, h, down := r.acts[i], x.from, x.empties()
		for j := range r.c.atHost(h) {
			e := &r.steps[j]
			switch {
			case e.vm < 0 || e.from == e.to:
			case down && e.from == h:
				if !after(i, j) && r.c.s.VMs[e.vm].Power == engine.VMOn {
					r.refuse(i, engine.HoldNotEmpty, "need not wait for %s, which takes %s off the host", r.acts[j].ID, r.acts[j].Name)
				}
			case down:
				r.refuse(j, engine.HoldUnavailable, "goes to host %s, for which there is %s too", a.From.Host, a.ID)
			case e.to == h:
				if !after(j, i) {
					r.refuse(j, engine.HoldUnavailable, "need not wait for %s, which readies host %s", a.ID, a.From.Host)
				}
			}
		}
	}
}

// worst lists the worst moment for every action, each by what has ended: all that
// must have ended before it, and nothing else; all that can have started by then has
// started. It is a moment that the edges allow, so what it breaks is truly
// broken. Where departures are credited to arrivals in one order, as the rule of
// prefixes does, no moment is worse.
func (r *replay) worst() [][]int32 {
	var out [][]int32
	n := len(r.x.acts)
	moments, left := map[string]bool{}, effort*n/r.open+4*n
	for _, i := range r.x.acts {
		done := r.ended(i)
		r.key = r.key[:0]
		for _, j := range done {
			r.key = binary.LittleEndian.AppendUint32(r.key, uint32(j))
		}
		if !moments[string(r.key)] {
			moments[string(r.key)] = true
			out = append(out, slices.Clone(done))
			left -= n + len(done)
		}
		if left -= len(done); left < 0 {
			break
		}
	}
	return out
}

// moment ends the actions given, then starts all that do not wait for another.
// The last to start sees the most: demands, which may use more room, start first,
// then wishes, then hosts change their state.
func (r *replay) moment(done []int32) {
	r.set()
	for _, i := range done {
		if !r.start(i) {
			return
		}
		r.end(i, false)
		r.put(i)
	}
	over := r.stamp
	waits := func(j int32) bool { return r.mark[j] != over }
	for q := range r.queues {
		r.queues[q] = r.queues[q][:0]
	}
	for _, i := range r.x.acts {
		if !waits(i) || (r.waits[i] > 0 && slices.ContainsFunc(r.acts[i].After, waits)) {
			continue
		}
		q := 0
		switch e := &r.steps[i]; {
		case e.kind != engine.Move:
			q = 2
		case !e.demanded:
			q = 1
		}
		r.queues[q] = append(r.queues[q], i)
	}
	for _, q := range r.queues {
		for _, i := range q {
			r.start(i)
		}
	}
}
