package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Census is what one vCenter's part of the fleet came to when it was last
// believed, and what has been doubted since.
type Census struct {
	VCenter VCenterID `json:"vcenter"`
	At      Unix      `json:"at,omitzero"` // when it was taken
	VMs     int32     `json:"vms"`
	Running int32     `json:"running"` // with a load that is seen
	Hosts   int32     `json:"hosts"`
	HostsOn int32     `json:"hosts_on"`
	MHz     int64     `json:"mhz"`               // demand of its running VMs
	MiB     int64     `json:"mib,omitzero"`      // memory that they consume
	HostMHz int64     `json:"host_mhz,omitzero"` // what the hosts whose load is seen say that they use
	HostMiB int64     `json:"host_mib,omitzero"`
	OnMHz   int64     `json:"on_mhz,omitzero"` // what the VMs on those hosts say
	OnMiB   int64     `json:"on_mib,omitzero"`
	Metered int32     `json:"metered,omitzero"` // hosts with a meter that can be true
	Watts   int64     `json:"watts,omitzero"`   // what they draw above idle
	Doubts  []Doubt   `json:"doubts,omitempty"`
}

// A Doubt is one kind of change that is not believed yet.
type Doubt struct {
	Kind   DoubtKind `json:"kind"`
	Since  Unix      `json:"since"`
	Cycles int32     `json:"cycles"` // in a row
}

// DoubtKind sorts what may be doubted. Doubts of different kinds are counted apart.
type DoubtKind uint8

// The kinds.
const (
	DoubtVMs        DoubtKind = iota // VMs have vanished
	DoubtHosts                       // hosts have vanished
	DoubtStates                      // hosts have changed their state
	DoubtCPU                         // the CPU demand of the VMs made a step
	DoubtMemory                      // the memory of the VMs made a step
	DoubtHostCPU                     // what hosts and VMs say of CPU moved apart
	DoubtHostMemory                  // what hosts and VMs say of memory moved apart
)

var doubtNames = [...]string{"vms", "hosts", "states", "cpu", "memory", "host_cpu", "host_memory"}

// String names the kind.
func (k DoubtKind) String() string { return doubtNames[k] }

// MarshalText implements encoding.TextMarshaler.
func (k DoubtKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *DoubtKind) UnmarshalText(b []byte) error {
	return parseName(k, b, doubtNames[:], "kind of doubt")
}

// Sanity is how far a vCenter's part may change from one cycle to the next and
// still be believed. A step beyond it is more often a broken feed, a lost
// permission or a failed query than the truth, and acting on it does harm.
type Sanity struct {
	ShrinkPct    int32 `json:"shrink_pct" yaml:"shrink_pct"`           // VMs or hosts that may vanish at once
	HostsPct     int32 `json:"hosts_pct" yaml:"hosts_pct"`             // hosts that may change between on and not on at once
	LoadFactorX  int32 `json:"load_factor_x10" yaml:"load_factor_x10"` // demand of a running VM, on average, may rise or fall by this factor x 10
	AcceptCycles int32 `json:"accept_cycles" yaml:"accept_cycles"`     // what stays so for as many cycles,
	AcceptAfterS int64 `json:"accept_after_s" yaml:"accept_after_s"`   // and for so long, is believed after all
	StuckS       int64 `json:"stuck_s" yaml:"stuck_s"`                 // for how long no load at a site may change; 0: for ever
}

// DefaultSanity follows the incidents that other systems learned from: inventory
// down by a twentieth, three hosts in ten changing state, load at 2.5 times or
// two fifths (a step of 60 per cent down). Four hours are enough to find a person
// who knows, and half a shift; a quarter of an hour is as old as a load may be for
// the planner.
func DefaultSanity() Sanity {
	return Sanity{ShrinkPct: 5, HostsPct: 30, LoadFactorX: 25, AcceptCycles: 3, AcceptAfterS: 14_400, StuckS: 900}
}

// Validate reports every setting that makes no sense.
func (l Sanity) Validate() error {
	var errs []error
	for _, x := range []struct {
		name         string
		v, low, high int64
	}{
		{"shrink_pct", int64(l.ShrinkPct), 1, 100},
		{"hosts_pct", int64(l.HostsPct), 1, 100},
		{"load_factor_x10", int64(l.LoadFactorX), 11, 1000},
		{"accept_cycles", int64(l.AcceptCycles), 2, 1000},
		{"accept_after_s", l.AcceptAfterS, 0, 604_800},
		{"stuck_s", l.StuckS, 0, 86_400},
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
// twice or not at all. It returns the gaps of what is not believed, for
// [Snapshot.Disbelieve], and the census to remember. h is what [History.Read] made
// of the same snapshot. It is pure.
//
// What is doubted stays so until it is again as it was, until a person says that
// it is true ([History.Released] drops the census), until power, which is measured
// apart, agrees with a step of the CPU demand, or until it has stayed so for
// AcceptAfterS: long enough for somebody to look, and not for ever.
func Believe(h *History, s *Snapshot, open, ended []ActionRecord, limits Sanity) ([]Gap, []Census) {
	now := count(s)
	var gaps []Gap
	for i := range now {
		c := &now[i]
		old, known := censusOf(h.Census, c.VCenter)
		if reason := c.nothing(); reason != "" {
			// However long it stays so: what runs takes something.
			gaps = append(gaps, doubted(c.VCenter, reason, s.At))
			if known {
				*c = old.after(s, ended)
			}
			continue
		}
		if !known {
			continue
		}
		reason, doubts := limits.weigh(&old, c, limits.doubt(&old, c, doingOf(s, c.VCenter, open, ended)))
		if reason == "" {
			continue
		}
		gaps = append(gaps, doubted(c.VCenter, reason+limits.untilText(s.VCenters[i].Name, doubts), s.At))
		*c = old.after(s, ended)
		c.Doubts = doubts
	}
	// A vCenter out of sight keeps its census: it is compared when it is back.
	for _, old := range h.Census {
		if _, seen := censusOf(now, old.VCenter); !seen {
			now = append(now, old.after(s, ended))
		}
	}
	return append(gaps, stuck(h, s, limits.StuckS)...), now
}

// doubted is the gap of a vCenter that is not believed.
func doubted(vc VCenterID, reason string, at Unix) Gap {
	return Gap{Source: "census", Subject: Subject{Kind: "vcenter", ID: string(vc)}, Reason: reason, At: at}
}

// weigh tells which of the doubts binds, "" when each has stayed for long enough,
// and what to remember of them.
func (l Sanity) weigh(old, now *Census, found []finding) (binding string, doubts []Doubt) {
	for _, f := range found {
		d := Doubt{Kind: f.kind, Since: now.At}
		if i := slices.IndexFunc(old.Doubts, func(d Doubt) bool { return d.Kind == f.kind }); i >= 0 {
			d = old.Doubts[i]
		}
		d.Cycles++
		doubts = append(doubts, d)
		if (d.Cycles < l.AcceptCycles || int64(now.At-d.Since) < l.AcceptAfterS) && binding == "" {
			binding = f.reason
		}
	}
	return binding, doubts
}

// untilText says how the doubts end.
func (l Sanity) untilText(name string, doubts []Doubt) string {
	last := slices.MaxFunc(doubts, func(a, b Doubt) int { return cmp.Compare(a.Since, b.Since) }).Since
	return fmt.Sprintf("; not believed unless it stays so for %s (until %s), or a person says 'heliostat release vcenter %s'",
		time.Duration(l.AcceptAfterS)*time.Second, last+Unix(l.AcceptAfterS), name)
}

// nothing says that what runs takes nothing, which cannot be, or "".
func (c *Census) nothing() string {
	switch {
	case c.Running < enoughVMs:
		return ""
	case c.MHz == 0:
		return "the demand of all its running VMs is zero"
	case c.MiB == 0:
		return "the memory of all its running VMs is zero"
	}
	return ""
}

// after is the census that stays in force while the daemon's own actions go on:
// what they have changed will be seen once the vCenter is believed again.
func (c *Census) after(s *Snapshot, ended []ActionRecord) Census {
	out := *c
	for i := range ended {
		a := &ended[i].Action
		if ended[i].State != StateSucceeded {
			continue
		}
		switch {
		case a.Kind == Move && a.Across && a.From.VCenter == out.VCenter:
			out.move(s, a.VM, -1)
		case a.Kind == Move && a.Across && a.To.VCenter == out.VCenter:
			out.move(s, a.VM, 1)
		case a.From.VCenter != out.VCenter:
		case a.Kind == Standby:
			out.HostsOn--
		case a.Kind == Wakeup:
			out.HostsOn++
		}
	}
	return out
}

// move counts one VM more or less, of an average load: its own may not be seen.
func (c *Census) move(s *Snapshot, vm VMID, sign int32) {
	c.VMs += sign
	if v, seen := s.FindVM(vm); c.Running <= 1 || (seen && s.VMs[v].Power != VMOn) {
		return
	}
	for _, sum := range []*int64{&c.MHz, &c.MiB, &c.HostMHz, &c.HostMiB, &c.OnMHz, &c.OnMiB} {
		*sum += int64(sign) * (*sum / int64(c.Running))
	}
	c.Running += sign
}

// count takes the census of a snapshot, in the order of its vCenters.
func count(s *Snapshot) []Census {
	out := make([]Census, len(s.VCenters))
	for i := range out {
		out[i].VCenter, out[i].At = s.VCenters[i].ID, s.At
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		c := &out[h.VCenter]
		c.Hosts++
		if h.Power != HostOn || !h.Connected {
			continue
		}
		c.HostsOn++
		if h.Seen() {
			c.HostMHz += int64(h.UsedMHz)
			c.HostMiB += int64(h.UsedMiB)
		}
		// A meter beyond what the host can draw is no witness.
		if h.PowerW != Unknown && h.MaxW > 0 && h.PowerW >= h.IdleW && h.PowerW <= h.MaxW {
			c.Metered++
			c.Watts += int64(h.PowerW - h.IdleW)
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		c := &out[v.VCenter]
		c.VMs++
		if v.Power == VMOn && v.Seen() {
			c.Running++
			c.MHz += int64(v.UsedMHz)
			c.MiB += int64(v.UsedMiB)
			if v.Host >= 0 && s.Hosts[v.Host].reads() {
				c.OnMHz += int64(v.UsedMHz)
				c.OnMiB += int64(v.UsedMiB)
			}
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

// A finding is one reason to doubt.
type finding struct {
	kind   DoubtKind
	reason string
}

// doubt says why the new census is not believed after the old.
func (l Sanity) doubt(old, now *Census, o doing) (found []finding) {
	add := func(kind DoubtKind, format string, args ...any) {
		found = append(found, finding{kind, fmt.Sprintf(format, args...)})
	}
	if gone := old.VMs - now.VMs - o.left; gone > few && int64(gone)*100 > int64(old.VMs)*int64(l.ShrinkPct) {
		add(DoubtVMs, "%d of %d VMs have vanished at once", gone, old.VMs)
	}
	if gone := old.Hosts - now.Hosts; gone > few && int64(gone)*100 > int64(old.Hosts)*int64(l.ShrinkPct) {
		add(DoubtHosts, "%d of %d hosts have vanished at once", gone, old.Hosts)
	}
	changed := max(old.HostsOn-now.HostsOn, now.HostsOn-old.HostsOn) - o.hosts
	if changed > few && int64(changed)*100 > int64(old.Hosts)*int64(l.HostsPct) {
		add(DoubtStates, "%d of %d hosts have changed their state at once", changed, old.Hosts)
	}
	if len(old.Doubts) == 0 && (old.Running < enoughVMs || now.Running < enoughVMs) {
		return found // what is doubted stays so though the VMs become few
	}
	// Averages a VM, and ratios of hosts to VMs, since moves change the sums. They
	// are in thousandths, so that those of small figures mean something.
	meters := old.Metered > 0 && now.Metered > 0
	watts := [2]int64{permille(old.Watts, int64(old.Metered)), permille(now.Watts, int64(now.Metered))}
	for _, x := range []struct {
		kind DoubtKind
		text string
		sum  func(*Census) (sum, of int64)
	}{
		{DoubtCPU, "the demand of its VMs went from %s to %s MHz on average at once", func(c *Census) (int64, int64) { return c.MHz, int64(c.Running) }},
		{DoubtMemory, "the memory of its VMs went from %s to %s MiB on average at once", func(c *Census) (int64, int64) { return c.MiB, int64(c.Running) }},
		{DoubtHostCPU, "the CPU that its hosts use went from %s to %s times what its VMs do at once", func(c *Census) (int64, int64) { return c.HostMHz, c.OnMHz }},
		{DoubtHostMemory, "the memory that its hosts use went from %s to %s times what its VMs do at once", func(c *Census) (int64, int64) { return c.HostMiB, c.OnMiB }},
	} {
		step := [2]int64{permille(x.sum(old)), permille(x.sum(now))}
		if _, of := x.sum(now); step[0] > 0 && of > 0 && l.far(step) && (x.kind != DoubtCPU || !meters || !witnessed(step, watts)) {
			add(x.kind, x.text, thousandths(step[0]), thousandths(step[1]))
		}
	}
	return found
}

func permille(sum, of int64) int64 {
	if of <= 0 {
		return 0
	}
	return sum * 1000 / of
}

// thousandths prints them as a number with one decimal, whole where it is large.
func thousandths(n int64) string {
	if n >= 10_000 {
		return fmt.Sprint(n / 1000)
	}
	return fmt.Sprintf("%d.%d", n/1000, n%1000/100)
}

// far reports a step beyond the factor, up or down.
func (l Sanity) far(step [2]int64) bool {
	f := int64(l.LoadFactorX)
	return f > 0 && (step[1]*10 > step[0]*f || step[0]*10 > step[1]*f)
}

// witnessed reports whether the power drawn above idle went the same way, at least
// half as far. It is measured by other means than the load.
func witnessed(load, watts [2]int64) bool {
	rise, draw := load[1]-load[0], watts[1]-watts[0]
	if watts[0] <= 0 || (rise > 0) != (draw > 0) {
		return false
	}
	return max(draw, -draw)*2*load[0] >= max(rise, -rise)*watts[0]
}

// Doubts reports whether something that the vCenter shows awaits to be believed.
func (h *History) Doubts(vc VCenterID) bool {
	c, known := censusOf(h.Census, vc)
	return known && len(c.Doubts) > 0
}
