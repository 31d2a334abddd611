package whatif

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"heliostat/engine"
)

// plenty is a budget that is never used up.
const plenty = int32(1 << 30)

// A change makes one thing different in an Input, which it does not write to.
type change func(engine.Input) engine.Input

// lift finds the change that takes a constraint away, and says what it would be in the
// world. Where it names a number, less would not do. It is nil for facts, which no
// setting changes, and for what was lifted already.
func (q *question) lift(in engine.Input, code engine.HoldCode) (change, string) {
	switch code {
	case engine.HoldCapacity, engine.HoldReserve:
		if c, text := q.least(in, 1600, "the hosts there were %d %% larger", larger, engine.HoldCapacity, engine.HoldReserve); c != nil {
			return c, text
		}
		// However large it is, a host alone cannot fail.
		return q.least(in, 1, "the cluster there had to keep no reserve, or had another host", unreserved, engine.HoldCapacity, engine.HoldReserve)
	case engine.HoldSpace:
		return q.least(in, 1<<20, "the datastores there had %d GiB more free each", freer, engine.HoldSpace)
	case engine.HoldBandwidth:
		return q.least(in, 100_000, "the link there carried %d Mbit/s", wider, engine.HoldBandwidth)
	case engine.HoldConverge:
		dirty := int64(in.Config.Cost.Dirty(&in.Snapshot.VMs[q.v]))
		c, _ := q.least(in, dirty, "", func(q *question, in engine.Input, less int64) engine.Input { return q.calmer(in, dirty-less) }, engine.HoldConverge)
		if c == nil {
			return nil, ""
		}
		return c, fmt.Sprintf("it dirtied no more than %d Mbit/s of memory", c(in).Snapshot.VMs[q.v].DirtyMbps)
	case engine.HoldRTT:
		return q.nearer(in)
	case engine.HoldFrozen:
		return unfrozen, "nothing were frozen" + said(in.Decision, in.Decision.Freezes, func(x engine.Freeze) engine.By { return x.By })
	case engine.HoldVeto:
		return q.permitted(in)
	case engine.HoldMode:
		return q.enforced(in)
	case engine.HoldUnavailable:
		return q.available(in)
	case engine.HoldQuarantine:
		return q.released(in)
	default:
		return q.liftRule(in, code)
	}
}

// least is a change by the smallest number, of 1 to most, with which none of the codes
// holds the VM any more.
func (q *question) least(in engine.Input, most int64, text string, by func(q *question, in engine.Input, n int64) engine.Input, codes ...engine.HoldCode) (change, string) {
	n := smallest(most, 0, func(n int64) bool {
		eased := by(q, in, n)
		p := q.build(eased, ceiling)
		if q.moves(p) {
			return true
		}
		h, _ := q.hold(eased, p)
		return !slices.Contains(codes, h.Code)
	})
	if n > most {
		return nil, ""
	}
	if strings.Contains(text, "%") {
		text = fmt.Sprintf(text, n)
	}
	return func(in engine.Input) engine.Input { return by(q, in, n) }, text
}

// smallest is the least number of 1 to most that will do, give or take so many
// thousandths of it, and more than most where none does.
func smallest(most, thousandths int64, do func(int64) bool) int64 {
	low, high := int64(0), int64(1)
	for ; !do(min(high, most)); high *= 8 {
		if low = high; high >= most {
			return most + 1
		}
	}
	high = min(high, most)
	for high-low > max(1, high*thousandths/1000) {
		if mid := low + (high-low)/2; do(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// larger is the Input with the hosts of the place so many percent larger.
func larger(q *question, in engine.Input, pct int64) engine.Input {
	grown := func(x int32) int32 { return int32((int64(x)*(100+pct) + 99) / 100) }
	in.Snapshot = q.hosts(in.Snapshot, func(h *engine.Host) {
		h.CPUMHz, h.MemoryMiB, h.Cores, h.Threads = grown(h.CPUMHz), grown(h.MemoryMiB), grown(h.Cores), grown(h.Threads)
	})
	return in
}

// unreserved is the Input in which the place keeps nothing for hosts that fail.
func unreserved(q *question, in engine.Input, _ int64) engine.Input {
	in.Config.ReserveHosts = 0
	s := copyOf(in.Snapshot)
	s.Clusters = slices.Clone(s.Clusters)
	for h := range s.Hosts {
		if q.inside(int32(h)) {
			c := &s.Clusters[s.Hosts[h].Cluster]
			c.HA.Admission, c.FailOn = false, nil
		}
	}
	in.Snapshot = s
	return in
}

// freer is the Input with so many GiB more free on the datastores of the place's hosts,
// under each name that these have.
func freer(q *question, in engine.Input, gib int64) engine.Input {
	s := copyOf(in.Snapshot)
	s.Datastores = slices.Clone(s.Datastores)
	there, urls := map[int32]bool{}, map[string]bool{}
	for h := range s.Hosts {
		if q.inside(int32(h)) {
			for _, d := range s.Hosts[h].Datastores {
				there[d], urls[s.Datastores[d].URL] = true, true
			}
		}
	}
	for i := range s.Datastores {
		if d := &s.Datastores[i]; there[int32(i)] || d.URL != "" && urls[d.URL] {
			d.FreeMiB += gib << 10
			d.CapacityMiB = max(d.CapacityMiB, d.FreeMiB)
		}
	}
	in.Snapshot = s
	return in
}

// wider is the Input with a link that carries at least so much.
func wider(q *question, in engine.Input, mbps int64) engine.Input {
	return q.link(in, func(l *engine.Link) { l.Mbps = max(l.Mbps, int32(mbps)) })
}

// nearer lifts what is wrong with the round trip, or with what is known of it.
func (q *question) nearer(in engine.Input) (change, string) {
	most := in.Config.Limits.MaxRTTMicros
	from := in.Snapshot.VMSite(q.v)
	if from < 0 || q.site < 0 || from == q.site {
		return nil, ""
	}
	text := fmt.Sprintf("the round trip were measured, and at most %d ms", most/1000)
	if l, ok := in.Snapshot.Link(from, q.site); ok && l.RTTMicros > most {
		text = fmt.Sprintf("the round trip were at most %d ms", most/1000)
	}
	return func(in engine.Input) engine.Input {
		return q.link(in, func(l *engine.Link) {
			if l.RTTMicros == engine.Unknown || l.RTTMicros > most {
				l.RTTMicros = most
			}
			l.At = in.Now
		})
	}, text
}

// link changes the link between the VM's site and the place's, which may not be known yet.
func (q *question) link(in engine.Input, f func(*engine.Link)) engine.Input {
	a, b := in.Snapshot.VMSite(q.v), q.site
	if a < 0 || b < 0 || a == b {
		return in
	}
	s := copyOf(in.Snapshot)
	s.Links = slices.Clone(s.Links)
	want := engine.Link{A: min(a, b), B: max(a, b), RTTMicros: engine.Unknown, Mbps: engine.Unknown, At: in.Now}
	i, found := slices.BinarySearchFunc(s.Links, want, func(x, y engine.Link) int { return cmp.Or(cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B)) })
	if !found {
		s.Links = slices.Insert(s.Links, i, want)
	}
	f(&s.Links[i])
	in.Snapshot = s
	return in
}

// calmer is the Input with a VM that dirties memory no faster.
func (q *question) calmer(in engine.Input, mbps int64) engine.Input {
	in.Snapshot = q.changed(in.Snapshot, func(vm *engine.VM) { vm.DirtyMbps = int32(mbps) })
	return in
}

func unfrozen(in engine.Input) engine.Input {
	d, s := *in.Decision, copyOf(in.Snapshot)
	d.Freezes = nil
	s.Sites = slices.Clone(s.Sites)
	for i := range s.Sites {
		s.Sites[i].Frozen = false
	}
	in.Decision, in.Snapshot = &d, s
	return in
}

// permitted lifts the vetoes about the VM, those to come included.
func (q *question) permitted(in engine.Input) (change, string) {
	var who []string
	for _, x := range q.vetoes(in.Vetoes) {
		if !slices.Contains(who, x.Policy) {
			who = append(who, x.Policy)
		}
	}
	id := in.Snapshot.VMs[q.v].ID
	q.permit = true
	return func(in engine.Input) engine.Input {
		in.Vetoes = slices.DeleteFunc(slices.Clone(in.Vetoes), func(x engine.Veto) bool { return x.VM == id })
		return in
	}, fmt.Sprintf("%s did not deny it", strings.Join(who, ", "))
}

// vetoes are those about the VM: that the Input has, and that were found by asking.
func (q *question) vetoes(in []engine.Veto) []engine.Veto {
	out := slices.DeleteFunc(slices.Clone(in), func(x engine.Veto) bool { return x.VM != q.in.Snapshot.VMs[q.v].ID })
	for _, host := range slices.Sorted(maps.Keys(q.said)) {
		out = append(out, q.said[host]...)
	}
	return out
}

// enforced raises the modes that are too weak for the plan's level.
func (q *question) enforced(in engine.Input) (change, string) {
	level := max(in.Level, engine.Advise)
	var texts []string
	var sites []int32
	tag, moves := false, in.Config.Modes.Move < level
	if x := in.Snapshot.VMs[q.v].Mode; x < level && x != engine.Off {
		tag = true
		texts = append(texts, fmt.Sprintf("its tag said %s", level))
	}
	for _, i := range []int32{in.Snapshot.VMSite(q.v), q.site} {
		if i >= 0 && in.Snapshot.Sites[i].Mode < level && !slices.Contains(sites, i) {
			sites = append(sites, i)
			texts = append(texts, fmt.Sprintf("site %s were in mode %s", in.Snapshot.Sites[i].ID, level))
		}
	}
	if moves {
		texts = append(texts, fmt.Sprintf("the configuration had moves in mode %s", level))
	}
	if len(texts) == 0 {
		return nil, ""
	}
	return func(in engine.Input) engine.Input {
		s := copyOf(in.Snapshot)
		if tag {
			s = q.changed(s, func(vm *engine.VM) { vm.Mode = level })
		}
		s.Sites = slices.Clone(s.Sites)
		for _, i := range sites {
			s.Sites[i].Mode = level
		}
		if in.Snapshot = s; moves {
			in.Config.Modes.Move = level
		}
		return in
	}, strings.Join(texts, ", and ")
}

// available lifts what keeps hosts of the place, and the VM's own, from moves.
func (q *question) available(in engine.Input) (change, string) {
	of, own := in.Snapshot, in.Snapshot.VMs[q.v].Host
	concerned := func(h int32) bool { return q.inside(h) || h == own }
	var texts []string
	mine := false
	look := func(text string, bad func(h *engine.Host) bool) {
		found := false
		for h := range of.Hosts {
			if concerned(int32(h)) && bad(&of.Hosts[h]) {
				found, mine = true, mine || int32(h) == own
			}
		}
		if found {
			texts = append(texts, text)
		}
	}
	look("were on", func(h *engine.Host) bool { return h.Power != engine.HostOn })
	look("answered", func(h *engine.Host) bool { return !h.Connected })
	look("were out of maintenance", func(h *engine.Host) bool { return h.Maintenance || h.Entering })
	look("had a vMotion interface up", func(h *engine.Host) bool { return !h.VMotion })
	if len(texts) == 0 {
		return nil, ""
	}
	who := "the hosts there "
	if mine {
		who = "its host and those there "
	}
	return func(in engine.Input) engine.Input {
		in.Snapshot = changedHosts(in.Snapshot, concerned, func(h *engine.Host) {
			h.Power, h.Connected, h.Maintenance, h.Entering, h.VMotion = engine.HostOn, true, false, false, true
		})
		return in
	}, who + strings.Join(texts, " and ")
}

// released ends the quarantine of the VM, or that of hosts of the place.
func (q *question) released(in engine.Input) (change, string) {
	subjects, texts := []engine.Subject{}, []string{}
	for i := range in.History.Quarantine {
		x := &in.History.Quarantine[i]
		h, ok := in.Snapshot.FindHost(engine.HostID(x.Subject.ID))
		if x.Subject == (engine.Subject{Kind: "vm", ID: string(in.Snapshot.VMs[q.v].ID)}) || x.Subject.Kind == "host" && ok && q.inside(h) {
			subjects, texts = append(subjects, x.Subject), append(texts, fmt.Sprintf("'heliostat release %s %s'", x.Subject.Kind, x.Name))
		}
	}
	if len(subjects) == 0 {
		return nil, ""
	}
	return func(in engine.Input) engine.Input {
		in.History = in.History.Released(subjects)
		return in
	}, "a person had looked: " + strings.Join(texts, ", ")
}
