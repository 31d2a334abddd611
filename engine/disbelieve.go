package engine

import (
	"fmt"
	"slices"
)

// Disbelieve adds the gaps to a snapshot that nobody else has seen yet, and makes
// the loads in the parts that they are about unknown: what is not believed must not
// be remembered either, nor count where a VM under way is about to arrive, where
// it takes all the memory it may.
func (s *Snapshot) Disbelieve(gaps []Gap) {
	s.Gaps = append(s.Gaps, gaps...)
	if len(gaps) == 0 {
		return
	}
	vcs, hosts := make([]bool, len(s.VCenters)), make([]bool, len(s.Hosts))
	for _, g := range gaps {
		switch g.Subject.Kind {
		case "vcenter":
			if c, ok := s.FindVCenter(VCenterID(g.Subject.ID)); ok {
				vcs[c] = true
			}
		case "host":
			if h, ok := s.FindHost(HostID(g.Subject.ID)); ok {
				hosts[h] = true
			}
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		if v.Power == VMOn && (vcs[v.VCenter] || (v.Host >= 0 && hosts[v.Host])) {
			v.UsedMHz, v.UsedMiB, v.ActiveMiB, v.DirtyMbps = Unknown, Unknown, Unknown, Unknown
		}
	}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Power == HostOn && (vcs[h.VCenter] || hosts[i]) {
			h.UsedMHz, h.UsedMiB = Unknown, Unknown
		}
	}
}

// stuck finds the sites of a vCenter at which no host's load has changed for so
// long, though it was read again and again: hosts that run never use the same to
// the last MHz and MiB, all of them at once, but a feed that has stopped shows that.
func stuck(h *History, s *Snapshot, limit int64) []Gap {
	if limit <= 0 {
		return nil
	}
	n := len(s.Sites) + 1 // the last for hosts at no site
	cell := func(x *Host) int {
		if x.Site < 0 {
			return int(x.VCenter)*n + n - 1
		}
		return int(x.VCenter)*n + int(x.Site)
	}
	changed := make([]Unix, len(s.VCenters)*n) // when a host of the cell last changed; 0 when none is seen
	for i := range s.Hosts {
		if x := &s.Hosts[i]; x.reads() {
			changed[cell(x)] = max(changed[cell(x)], h.Host(x.ID).SameSince)
		}
	}
	dead := func(at Unix) bool { return at != 0 && int64(s.At-at) >= limit }
	var gaps []Gap
	for c := range s.VCenters {
		cells := changed[c*n : (c+1)*n]
		last := slices.Max(cells)
		if dead(last) {
			gaps = append(gaps, doubted(s.VCenters[c].ID, fmt.Sprintf("no load of any of its hosts has changed since %s: its readings are stuck", last), s.At))
			clear(cells) // that says it of its sites
		}
	}
	for i := range s.Hosts {
		x := &s.Hosts[i]
		if at := changed[cell(x)]; dead(at) && x.reads() {
			gaps = append(gaps, Gap{
				Source: "census", Subject: Subject{Kind: "host", ID: string(x.ID)}, At: s.At,
				Reason: fmt.Sprintf("no load of any host at its site has changed since %s: the readings are stuck", at),
			})
		}
	}
	return gaps
}

// reads reports whether the host's load is a reading of a host that runs.
func (h *Host) reads() bool { return h.Power == HostOn && h.Connected && h.Seen() }
