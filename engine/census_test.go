package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// herd is a vCenter of twenty hosts, on of them on, and VMs that each take mhz and
// mib; the hosts say that they use what their VMs do, and draw power accordingly
// (4 W a GHz above 100).
func herd(vms, on int, mhz, mib int32) *Snapshot {
	s := &Snapshot{At: 1000, Sites: []Site{{ID: "x"}}, VCenters: []VCenter{{ID: "v", Name: "v.example"}}, Clusters: []Cluster{{ID: "v/c"}}}
	for i := range 20 {
		h := Host{ID: HostID(fmt.Sprintf("v/%02d", i)), Connected: true, Power: HostStandby, CPUMHz: 90_000, MemoryMiB: 400_000, PowerW: Unknown, IdleW: 100, MaxW: 500}
		if i < on {
			h.Power = HostOn
		}
		s.Hosts = append(s.Hosts, h)
	}
	for i := range vms {
		h := &s.Hosts[i%on]
		h.UsedMHz, h.UsedMiB = h.UsedMHz+mhz, h.UsedMiB+mib
		s.VMs = append(s.VMs, VM{ID: VMID(fmt.Sprintf("%03d", i)), Host: int32(i % on), Power: VMOn, MemoryMiB: 4096, UsedMHz: mhz, UsedMiB: mib})
	}
	for i := range on {
		s.Hosts[i].PowerW = 100 + s.Hosts[i].UsedMHz/250
	}
	return s
}

// at is the snapshot at another moment, in which each host uses one MHz more.
func (s *Snapshot) at(now Unix) *Snapshot {
	s.At = now
	for i := range s.Hosts {
		s.Hosts[i].UsedMHz += int32(now / 60)
	}
	return s
}

func believed(s *Snapshot) *History {
	_, census := Believe(&History{}, s, nil, nil, DefaultSanity())
	return &History{Census: census}
}

func TestBelieve(t *testing.T) {
	h := believed(herd(100, 20, 500, 1000))
	left := make([]ActionRecord, 40)
	slept := make([]ActionRecord, 10)
	for i := range left {
		left[i] = ActionRecord{State: StateSucceeded, Action: Action{Kind: Move, VM: VMID(fmt.Sprintf("%03d", 60+i)), Across: true, From: Place{VCenter: "v"}}}
	}
	for i := range slept {
		slept[i] = ActionRecord{State: StateSucceeded, Action: Action{Kind: Standby, From: Place{VCenter: "v"}}}
	}
	hosts := func(mhz, mib int32) *Snapshot {
		s := herd(100, 20, 500, 1000)
		for i := range s.Hosts {
			s.Hosts[i].UsedMHz, s.Hosts[i].UsedMiB = mhz, mib
		}
		return s
	}
	dark := func(mhz int32) *Snapshot { // no meters
		s := herd(100, 20, mhz, 1000)
		for i := range s.Hosts {
			s.Hosts[i].PowerW = Unknown
		}
		return s
	}
	wild := dark(5000) // meters that show ten times what they did
	for i := range wild.Hosts {
		wild.Hosts[i].PowerW = 1100
	}
	for name, c := range map[string]struct {
		s           *Snapshot
		open, ended []ActionRecord
		doubts      string // kinds
	}{
		"as before":                        {herd(100, 20, 500, 1000), nil, nil, ""},
		"a few VMs less":                   {herd(95, 20, 500, 1000), nil, nil, ""},
		"a tenth of the VMs gone":          {herd(90, 20, 500, 1000), nil, nil, "vms"},
		"gone by our own moves":            {herd(60, 20, 500, 1000), left[:10], left[10:], ""},
		"more gone than we moved":          {herd(50, 20, 500, 1000), left[:10], left[10:], "vms"},
		"our moves still listed":           {herd(80, 20, 500, 1000), left[:20], nil, "vms"},
		"half the hosts off":               {herd(100, 10, 500, 1000), nil, nil, "states"},
		"put to sleep by us":               {herd(100, 10, 500, 1000), slept, nil, ""},
		"more VMs":                         {herd(150, 20, 500, 1000), nil, nil, ""},
		"demand doubled":                   {dark(1000), nil, nil, ""},
		"demand times ten":                 {dark(5000), nil, nil, "cpu"},
		"demand down by two thirds":        {dark(150), nil, nil, "cpu"},
		"demand and meters times ten":      {wild, nil, nil, "cpu"},
		"the meters say so too":            {herd(100, 20, 2000, 1000), nil, nil, ""},
		"memory a tenth":                   {herd(100, 20, 500, 100), nil, nil, "memory"},
		"hosts' demand times ten":          {hosts(25_000, 5000), nil, nil, "host_cpu"},
		"hosts' memory a tenth":            {hosts(2500, 500), nil, nil, "host_memory"},
		"two kinds at once":                {herd(90, 20, 500, 100), nil, nil, "vms memory"},
		"demand all zero":                  {herd(100, 20, 0, 1000), nil, nil, "zero"},
		"memory all zero":                  {herd(100, 20, 500, 0), nil, nil, "zero"},
		"a vCenter of few VMs, all at ten": {herd(20, 20, 5000, 1000), left, left, ""},
	} {
		gaps, next := Believe(h, c.s, c.open, c.ended, DefaultSanity())
		var kinds []string
		for _, d := range next[0].Doubts {
			kinds = append(kinds, d.Kind.String())
			if d.Cycles != 1 || d.Since != 1000 {
				t.Errorf("%s: %+v", name, d)
			}
		}
		if len(gaps) > 0 && len(kinds) == 0 {
			kinds = []string{"zero"}
		}
		if got := strings.Join(kinds, " "); got != c.doubts || (len(gaps) == 1) != (c.doubts != "") {
			t.Errorf("%s: doubts %q, want %q: %v", name, got, c.doubts, gaps)
		}
		if c.doubts != "" && next[0].VMs < 60 {
			t.Errorf("%s: a doubted census is remembered: %+v", name, next[0])
		}
	}
	// A vCenter out of sight is compared when it is back, less what we have moved away.
	_, next := Believe(h, &Snapshot{}, nil, left, DefaultSanity())
	if len(next) != 1 || next[0].VMs != 60 || next[0].Running != 60 || next[0].MHz != 30_000 {
		t.Errorf("out of sight, out of mind: %+v", next)
	}
}

// TestBelieveInTheEnd: what stays so is believed neither after a few cycles nor never;
// a person may say so at once; and what is as it was again is believed at once.
func TestBelieveInTheEnd(t *testing.T) {
	l := DefaultSanity()
	start := func() *History { return believed(herd(100, 20, 500, 1000)) }
	tenth := func() *Snapshot { return herd(100, 20, 500, 100) }
	h, at := start(), Unix(1000)
	for ; at < 1000+Unix(l.AcceptAfterS); at += 300 {
		gaps, next := Believe(h, tenth().at(at), nil, nil, l)
		if len(gaps) != 1 {
			t.Fatalf("after %d s a tenth of the memory is believed: %v", at-1000, gaps)
		}
		h = &History{Census: next}
	}
	if gaps, next := Believe(h, tenth().at(at), nil, nil, l); len(gaps) != 0 || len(next[0].Doubts) != 0 || next[0].MiB != 10_000 {
		t.Errorf("what has stayed so for %d s is not believed: %v %+v", at-1000, gaps, next[0])
	}
	if gaps, next := Believe(h, herd(100, 20, 500, 1000).at(at), nil, nil, l); len(gaps) != 0 || len(next[0].Doubts) != 0 {
		t.Errorf("healed, and not believed: %v", gaps)
	}
	released := h.Released([]Subject{{Kind: "vcenter", ID: "v"}})
	if gaps, next := Believe(released, tenth().at(2000), nil, nil, l); len(gaps) != 0 || next[0].MiB != 10_000 {
		t.Errorf("a person says so, and it is not believed: %v", gaps)
	}
	// That nothing takes anything is believed never, released or not.
	for i := range Unix(9) {
		gaps, next := Believe(h, herd(100, 20, 0, 1000).at(at+i*7200), nil, nil, l)
		if len(gaps) != 1 || next[0].MHz != 50_000 {
			t.Errorf("hour %d of no load at all: %v, %+v", 2*i, gaps, next)
		}
		h = &History{Census: next}
	}
	if gaps, _ := Believe(&History{}, herd(100, 20, 0, 1000), nil, nil, l); len(gaps) != 1 {
		t.Errorf("no load at all at the first sight is believed: %v", gaps)
	}
}

// TestDoubtsApart: a doubt of one kind gives none of another kind a start.
func TestDoubtsApart(t *testing.T) {
	l := DefaultSanity()
	h := believed(herd(100, 20, 500, 1000))
	for i := range Unix(6) {
		s := herd(100, 20, 500, 100) // memory, then VMs
		if i >= 3 {
			s = herd(50, 20, 500, 1000)
		}
		at := 1000 + i*Unix(l.AcceptAfterS)/3
		gaps, next := Believe(h, s.at(at), nil, nil, l)
		if len(gaps) != 1 {
			t.Errorf("cycle %d is believed: of each kind there were but three, two thirds of the time apart", i+1)
		}
		if d := next[0].Doubts; len(d) != 1 || d[0].Cycles != int32(i%3)+1 {
			t.Errorf("cycle %d: %+v", i+1, d)
		}
		h = &History{Census: next}
	}
}

// TestStuck: a site whose hosts show the same again and again is not believed, and
// is as soon as one of them shows something else.
func TestStuck(t *testing.T) {
	l := DefaultSanity()
	s := herd(40, 20, 500, 1000)
	s.Sites = append(s.Sites, Site{ID: "y"})
	for i := 10; i < 20; i++ {
		s.Hosts[i].Site = 1
	}
	h := &History{}
	look := func(at Unix) int {
		s.At = at
		c := &Snapshot{At: at, Sites: s.Sites, VCenters: s.VCenters, Clusters: s.Clusters, Hosts: slices.Clone(s.Hosts), VMs: slices.Clone(s.VMs)}
		past := h.Read(c)
		gaps, census := Believe(past, c, nil, nil, l)
		c.Disbelieve(gaps)
		h = Fold(past, c, nil, Thresholds{CPUPct: 90, MemPct: 90})
		h.Census = census
		for i := range c.Hosts {
			blind := slices.ContainsFunc(gaps, func(g Gap) bool { return g.Subject.ID == string(c.Hosts[i].ID) || g.Subject.Kind == "vcenter" })
			if blind == c.Hosts[i].Seen() {
				t.Fatalf("at %d: %s has a gap: %t, and a load: %t", at, c.Hosts[i].ID, blind, c.Hosts[i].Seen())
			}
		}
		return len(gaps)
	}
	at := Unix(1000)
	for ; at < 1000+Unix(l.StuckS); at += 60 {
		s.Hosts[19].UsedMHz++ // the other site lives, by one host
		if n := look(at); n != 0 {
			t.Fatalf("stuck after %d s: %d gaps", at-1000, n)
		}
	}
	for range 20 {
		at += 60
		s.Hosts[19].UsedMHz++
		if n := look(at); n != 10 {
			t.Fatalf("%d gaps of ten hosts, %d s after the last change", n, at-1000)
		}
	}
	if low := h.Host("v/00").LowSince; low != 0 {
		t.Errorf("a host whose readings are stuck counts as low since %d", low)
	}
	// The other site dies too: then it is the vCenter that is stuck, once it is long ago.
	for i, n := range []int{10, 1} {
		if at += 1 + Unix(l.StuckS)*Unix(i); look(at) != n {
			t.Errorf("both sites stuck: want %d gaps", n)
		}
	}
	s.Hosts[3].UsedMiB++
	if n := look(at + 60); n != 10 {
		t.Errorf("one site lives again, with %d gaps", n)
	}
	s.Hosts[13].UsedMiB++
	if n := look(at + 120); n != 0 {
		t.Errorf("both live again, with %d gaps", n)
	}
}

// TestStuckWhileDoubted: a feed that comes to a stand while it is doubted for another
// reason is stuck all the same, and still is once that reason is gone.
func TestStuckWhileDoubted(t *testing.T) {
	l := DefaultSanity()
	h := &History{}
	look := func(s *Snapshot) []Gap {
		past := h.Read(s)
		gaps, census := Believe(past, s, nil, nil, l)
		s.Disbelieve(gaps)
		h = Fold(past, s, nil, Thresholds{})
		h.Census = census
		return gaps
	}
	at := Unix(1000)
	look(herd(100, 20, 500, 1000))
	for ; at < 1000+2*Unix(l.StuckS); at += 60 {
		s := herd(80, 20, 500, 1000) // a fifth of the VMs is gone, the hosts stand still
		s.At = at
		for i := range s.Hosts {
			s.Hosts[i].UsedMHz, s.Hosts[i].UsedMiB = 2600, 5200
		}
		if len(look(s)) == 0 {
			t.Fatalf("at %d a fifth of the VMs is gone, and that is believed", at)
		}
	}
	s := herd(100, 20, 500, 1000)
	s.At = at
	for i := range s.Hosts {
		s.Hosts[i].UsedMHz, s.Hosts[i].UsedMiB = 2600, 5200
	}
	if gaps := look(s); len(gaps) != 1 || !strings.Contains(gaps[0].Reason, "stuck") {
		t.Errorf("all VMs are back, and a feed that stands still is believed: %v", gaps)
	}
	if gaps := look(herd(100, 20, 500, 1000).at(at + 60)); len(gaps) != 0 {
		t.Errorf("it lives again: %v", gaps)
	}
}

// TestDisbelieve: a VM under way from a vCenter that is not believed takes at its
// destination what it may take, not what the feed says, and its past demand stays.
func TestDisbelieve(t *testing.T) {
	s := herd(100, 20, 500, 1000)
	h := Fold(&History{}, s, nil, Thresholds{})
	lied := herd(100, 20, 0, 0)
	lied.At = 1060
	lied.Disbelieve([]Gap{{Subject: Subject{Kind: "vcenter", ID: "v"}}})
	for range 3 * len(Ring{}.Past) {
		lied.At += RingSeconds
		h = Fold(h, lied, nil, Thresholds{CPUPct: 90, MemPct: 90})
	}
	v := &lied.VMs[7]
	if f := FootprintOf(v, h.VMs[7].CPU.Percentile(95)); f.MiB != 4096 || f.CPUMHz != 500 {
		t.Errorf("%+v: want the memory configured and the demand last believed", f)
	}
	if x := h.Hosts[3]; x.LowSince != 0 {
		t.Errorf("a host is low since %d by readings that are not believed", x.LowSince)
	}
}
