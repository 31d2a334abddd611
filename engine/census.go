package engine

import (
	"errors"
	"fmt"
)

// A Census is what one vCenter's part of the fleet came to when it was last
// believed, and how often since then it has not been.
type Census struct {
	VCenter VCenterID `json:"vcenter"`
	VMs     int32     `json:"vms"`
	Running int32     `json:"running"`
	Hosts   int32     `json:"hosts"`
	HostsOn int32     `json:"hosts_on"`
	MHz     int64     `json:"mhz"` // demand of its running VMs whose load is seen
	Doubted int32     `json:"doubted,omitzero"`
}

// Sanity is how far a vCenter's part may change from one cycle to the next and
// still be believed. A step beyond it is more often a broken feed, a lost
// permission or a failed query than the truth, and acting on it does harm.
type Sanity struct {
	ShrinkPct    int32 `json:"shrink_pct" yaml:"shrink_pct"`           // VMs or hosts that may vanish at once
	HostsPct     int32 `json:"hosts_pct" yaml:"hosts_pct"`             // hosts that may change between on and not on at once
	LoadFactorX  int32 `json:"load_factor_x10" yaml:"load_factor_x10"` // demand of a running VM, on average, may rise or fall by this factor x 10
	AcceptCycles int32 `json:"accept_cycles" yaml:"accept_cycles"`     // what stays so for as many cycles is believed after all
}

// DefaultSanity follows the incidents that other systems learned from: inventory
// down by a twentieth, three hosts in ten changing state, load at 2.5 times or
// two fifths (a step of 60 per cent down).
func DefaultSanity() Sanity {
	return Sanity{ShrinkPct: 5, HostsPct: 30, LoadFactorX: 25, AcceptCycles: 3}
}

// Validate reports every setting that makes no sense.
func (l Sanity) Validate() error {
	var errs []error
	for _, x := range []struct {
		name      string
		v         int32
		low, high int32
	}{
		{"shrink_pct", l.ShrinkPct, 1, 100},
		{"hosts_pct", l.HostsPct, 1, 100},
		{"load_factor_x10", l.LoadFactorX, 11, 1000},
		{"accept_cycles", l.AcceptCycles, 2, 1000},
	} {
		if x.v < x.low || x.v > x.high {
			errs = append(errs, fmt.Errorf("%s: %d is not between %d and %d", x.name, x.v, x.low, x.high))
		}
	}
	return errors.Join(errs...)
}

// few is how many VMs or hosts may change whatever the percentage, and enoughVMs
// how many running VMs an average needs to mean something.
const (
	few       = 2
	enoughVMs = 30
)

// Believe compares the snapshot with the census in h, net of the daemon's own
// actions: an evacuation shrinks an inventory, and a VM under way may be seen
// twice or not at all. It returns a gap for each vCenter whose part is not
// believed, and the census to remember. It is pure.
func Believe(h *History, s *Snapshot, open, ended []ActionRecord, limits Sanity) ([]Gap, []Census) {
	now := count(s)
	var gaps []Gap
	for i := range now {
		c := &now[i]
		old, known := censusOf(h.Census, c.VCenter)
		if c.Running >= enoughVMs && c.MHz == 0 {
			// However long it stays so: what runs takes something.
			gaps = append(gaps, doubted(c, "the demand of all its running VMs is zero", s.At))
			if known {
				*c = old
			}
			continue
		}
		if !known {
			continue
		}
		reason := limits.doubt(&old, c, doingOf(s, c.VCenter, open, ended))
		if reason == "" {
			continue
		}
		if old.Doubted+1 >= limits.AcceptCycles {
			continue // it stays so: it is the truth
		}
		gaps = append(gaps, doubted(c, reason, s.At))
		*c = old
		c.Doubted++
	}
	// A vCenter out of sight keeps its census: it is compared when it is back.
	for _, old := range h.Census {
		if _, seen := censusOf(now, old.VCenter); !seen {
			now = append(now, old)
		}
	}
	return gaps, now
}

// doubted is the gap of a vCenter that is not believed.
func doubted(c *Census, reason string, at Unix) Gap {
	return Gap{Source: "census", Subject: Subject{Kind: "vcenter", ID: string(c.VCenter)}, Reason: reason, At: at}
}

// count takes the census of a snapshot, in the order of its vCenters.
func count(s *Snapshot) []Census {
	out := make([]Census, len(s.VCenters))
	for i := range out {
		out[i].VCenter = s.VCenters[i].ID
	}
	for i := range s.Hosts {
		c := &out[s.Hosts[i].VCenter]
		c.Hosts++
		if s.Hosts[i].Power == HostOn && s.Hosts[i].Connected {
			c.HostsOn++
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		c := &out[v.VCenter]
		c.VMs++
		if v.Power == VMOn && v.UsedMHz != Unknown {
			c.Running++
			c.MHz += int64(v.UsedMHz)
		}
	}
	return out
}

func censusOf(list []Census, vc VCenterID) (Census, bool) {
	for _, c := range list {
		if c.VCenter == vc {
			return c, true
		}
	}
	return Census{}, false
}

// doing is how much of a change the daemon's actions may explain.
type doing struct{ left, hosts int32 }

// A move explains that its VM is gone, and no other.
func doingOf(s *Snapshot, vc VCenterID, open, ended []ActionRecord) (o doing) {
	for _, list := range [2][]ActionRecord{open, ended} {
		for i := range list {
			a := &list[i].Action
			switch {
			case a.Kind == Move && a.Across && a.From.VCenter == vc:
				if v, seen := s.FindVM(a.VM); !seen || s.VMs[v].VCenter < 0 || s.VCenters[s.VMs[v].VCenter].ID != vc {
					o.left++
				}
			case a.Kind != Move && a.From.VCenter == vc:
				o.hosts++
			}
		}
	}
	return o
}

// doubt says why the new census is not believed after the old, or "".
func (l Sanity) doubt(old, now *Census, o doing) string {
	if gone := old.VMs - now.VMs - o.left; gone > few && int64(gone)*100 > int64(old.VMs)*int64(l.ShrinkPct) {
		return fmt.Sprintf("%d of %d VMs have vanished at once", gone, old.VMs)
	}
	if gone := old.Hosts - now.Hosts; gone > few && int64(gone)*100 > int64(old.Hosts)*int64(l.ShrinkPct) {
		return fmt.Sprintf("%d of %d hosts have vanished at once", gone, old.Hosts)
	}
	changed := max(old.HostsOn-now.HostsOn, now.HostsOn-old.HostsOn) - o.hosts
	if changed > few && int64(changed)*100 > int64(old.Hosts)*int64(l.HostsPct) {
		return fmt.Sprintf("%d of %d hosts have changed their state at once", changed, old.Hosts)
	}
	if old.Running < enoughVMs || now.Running < enoughVMs || old.MHz <= 0 {
		return ""
	}
	// Averages a VM, since moves change the sums: a/b > f/10 without division.
	before, after, f := old.MHz*int64(now.Running), now.MHz*int64(old.Running), int64(l.LoadFactorX)
	if f > 0 && (after*10 > before*f || before*10 > after*f) {
		return fmt.Sprintf("the demand of its VMs went from %d to %d MHz on average at once", old.MHz/int64(old.Running), now.MHz/int64(now.Running))
	}
	return ""
}
