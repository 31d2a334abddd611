package engine

import "slices"

// Until is the history of somebody whose clock says now. Moments in it that lie ahead
// were noted while the clock was, which has been set back since: what happened then
// happened just now, so that nothing rests until the clock comes there again. It leaves
// h alone, and returns it where nothing lies ahead.
func (h *History) Until(now Unix) *History {
	ahead := false
	h.moments(func(t *Unix) { ahead = ahead || *t > now })
	if !ahead {
		return h
	}
	out := *h
	out.Hosts, out.VMs, out.Spent, out.Fits = slices.Clone(h.Hosts), slices.Clone(h.VMs), slices.Clone(h.Spent), slices.Clone(h.Fits)
	out.Quarantine, out.Stops, out.Census = slices.Clone(h.Quarantine), slices.Clone(h.Stops), slices.Clone(h.Census)
	for i := range out.Census {
		out.Census[i].Doubts = slices.Clone(out.Census[i].Doubts)
	}
	out.moments(func(t *Unix) { *t = min(*t, now) })
	return &out
}

// moments visits when something happened, but for what the rails remember, and for flows,
// which begin once what sets them up is over.
func (h *History) moments(visit func(*Unix)) {
	visit(&h.At)
	for i := range h.Hosts {
		x := &h.Hosts[i]
		visit(&x.ChangeAt)
		visit(&x.FailedAt)
		visit(&x.LowSince)
		visit(&x.SameSince)
	}
	for i := range h.VMs {
		x := &h.VMs[i]
		visit(&x.MovedAt)
		visit(&x.FailedAt)
		visit(&x.ForeignAt)
	}
	for i := range h.Spent {
		visit(&h.Spent[i].At)
	}
	for i := range h.Fits {
		visit(&h.Fits[i].At)
	}
	for i := range h.Quarantine {
		visit(&h.Quarantine[i].Since)
	}
	for i := range h.Stops {
		visit(&h.Stops[i].Since)
	}
	for i := range h.Census {
		x := &h.Census[i]
		visit(&x.At)
		for k := range x.Doubts {
			visit(&x.Doubts[k].Since)
		}
	}
}

// Until is what the rails remember, likewise. No breaker is open for longer than its
// rest from now on, 0 being any.
func (r RailState) Until(now, rest Unix) RailState {
	r.Breakers, r.Starts, r.Away = slices.Clone(r.Breakers), slices.Clone(r.Starts), slices.Clone(r.Away)
	for i := range r.Breakers {
		if b := &r.Breakers[i]; rest > 0 {
			b.Until = min(b.Until, now+rest)
		}
	}
	for i := range r.Starts {
		r.Starts[i].At = min(r.Starts[i].At, now)
	}
	for i := range r.Away {
		r.Away[i].At = min(r.Away[i].At, now)
	}
	return r
}
