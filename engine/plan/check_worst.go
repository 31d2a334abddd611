package plan

import (
	"encoding/binary"
	"slices"

	"heliostat/engine"
)

// checkEffort bounds the events of the worst moments, beside a few for each
// action, so that the largest plans are still checked in time. Build's plans
// have few different moments; what is left out, the random orders still try.
const checkEffort = 20_000

// before lists what must have ended well before action i starts, in an order
// that the edges allow.
func (c *checker) before(i int32) []int32 {
	var out []int32
	seen := map[int32]bool{i: true}
	for next := []int32{i}; len(next) > 0; next = next[1:] {
		for _, j := range c.p.Actions[next[0]].After {
			if !seen[j] {
				seen[j] = true
				out, next = append(out, j), append(next, j)
			}
		}
	}
	slices.SortFunc(out, func(x, y int32) int { return int(c.order[x] - c.order[y]) })
	return out
}

// edges checks what can be told from the edges alone, and so for every order:
// all VMs have left a host before it goes to standby or maintenance, and a host
// is up before a VM starts toward it.
func (w *checkWorld) edges() {
	leaves, arrives := map[int32][]int32{}, map[int32][]int32{}
	for i, e := range w.ends[:w.open] {
		if e.vm >= 0 && e.from != e.to {
			leaves[e.from] = append(leaves[e.from], int32(i))
			arrives[e.to] = append(arrives[e.to], int32(i))
		}
	}
	for k := range w.ends[:w.open] {
		i, a, h := int32(k), w.acts[k], w.ends[k].from
		switch a.Kind {
		case engine.Standby, engine.EnterMaintenance:
			before := w.c.before(i)
			for _, j := range leaves[h] {
				if w.c.s.VMs[w.ends[j].vm].Power == engine.VMOn && !slices.Contains(before, j) {
					w.c.refuse(i, engine.HoldNotEmpty, "need not wait for %s, which takes %s off the host", w.acts[j].ID, w.acts[j].Name)
				}
			}
			for _, j := range arrives[h] {
				w.c.refuse(j, engine.HoldUnavailable, "goes to host %s, for which there is %s too", w.acts[i].From.Host, a.ID)
			}
		case engine.Wakeup, engine.ExitMaintenance:
			for _, j := range arrives[h] {
				if !slices.Contains(w.c.before(j), i) {
					w.c.refuse(j, engine.HoldUnavailable, "need not wait for %s, which readies host %s", a.ID, a.From.Host)
				}
			}
		case engine.Move:
		}
	}
}

// worst replays the worst moment for every action: all that must have ended
// before it has ended, and nothing else; all that can have started by then has
// started. It is a moment that the edges allow, so what it breaks is truly
// broken. Where departures are credited to arrivals in one order, as the rule of
// prefixes does, no moment is worse. Each moment is given by what has ended.
func (w *checkWorld) worst() [][]int32 {
	var out [][]int32
	moments, left := map[string]bool{}, checkEffort+4*w.open
	for i := range w.open {
		done := w.c.before(int32(i))
		key := make([]byte, 0, 4*len(done))
		for _, j := range done {
			key = binary.LittleEndian.AppendUint32(key, uint32(j))
		}
		if !moments[string(key)] {
			moments[string(key)] = true
			out = append(out, done)
			left -= w.open + len(done)
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
func (r *checkRun) moment(done []int32) {
	ended := make([]bool, r.open)
	for _, i := range done {
		if !r.start(i) {
			return
		}
		r.end(i, false)
		ended[i] = true
	}
	var queues [3][]int32
	for k, a := range r.acts[:r.open] {
		if ended[k] || slices.ContainsFunc(a.After, func(j int32) bool { return !ended[j] }) {
			continue
		}
		q := 0
		switch {
		case a.Kind != engine.Move:
			q = 2
		case a.Demand.Kind == "":
			q = 1
		}
		queues[q] = append(queues[q], int32(k))
	}
	for _, q := range queues {
		for _, i := range q {
			r.start(i)
		}
	}
}
