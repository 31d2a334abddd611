package engine

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// fleet is two sites, a host each, one VM on the first.
func fleet() *Snapshot {
	return &Snapshot{
		At:       1000,
		Sites:    []Site{{ID: "a"}, {ID: "b"}},
		VCenters: []VCenter{{ID: "va"}, {ID: "vb"}},
		Clusters: []Cluster{{ID: "va/c", VCenter: 0}, {ID: "vb/c", VCenter: 1}},
		Hosts: []Host{
			{ID: "va/h", Cluster: 0, Site: 0, Power: HostOn, Connected: true, CPUMHz: 10_000, MemoryMiB: 65_536, UsedMHz: 1500, UsedMiB: 6000, NICMbps: 10_000, Datastores: []int32{0}},
			{ID: "vb/h", VCenter: 1, Cluster: 1, Site: 1, Power: HostOn, Connected: true, CPUMHz: 10_000, MemoryMiB: 65_536, UsedMHz: 200, UsedMiB: 2000, NICMbps: 1000, Datastores: []int32{1}},
		},
		Datastores: []Datastore{{ID: "va/d", FreeMiB: 500_000}, {ID: "vb/d", VCenter: 1, FreeMiB: 500_000}},
		VMs:        []VM{{ID: "vm1", Name: "web", Host: 0, Power: VMOn, VCPUs: 2, MemoryMiB: 8192, UsedMHz: 1000, UsedMiB: 4000, ActiveMiB: 1000, DirtyMbps: Unknown, Disks: []Disk{{Key: 2000, MiB: 40_000}}}},
		Links:      []Link{{A: 0, B: 1, RTTMicros: 20_000, Mbps: 1000}},
	}
}

func crossing() Action {
	return Action{
		ID: "c1-1", Kind: Move, VM: "vm1", Name: "web", Storage: true, Across: true,
		From: Place{Site: "a", VCenter: "va", Cluster: "va/c", Host: "va/h"}, To: Place{Site: "b", VCenter: "vb", Cluster: "vb/c", Host: "vb/h"},
		HomeTo: "vb/d", SwapMiB: 8192, Disks: []DiskTarget{{Key: 2000, From: "va/d", To: "vb/d", MiB: 40_000}},
	}
}

func TestMoveIsCountedAtBothEndsUntilItEnds(t *testing.T) {
	s := fleet()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	st := NewState(s, nil)
	if st.CPU[0] != 1500 || st.Mem[0] != 6000 || st.CPU[1] != 200 {
		t.Fatalf("occupied at the start: cpu %v mem %v", st.CPU, st.Mem)
	}
	a := crossing()
	if err := st.Start(&a); err != nil {
		t.Fatal(err)
	}
	if st.CPU[0] != 1500 || st.CPU[1] != 1200 || st.Mem[1] != 6000 || st.In[1] != 1 || st.Free[1] != 500_000-40_000-8192 || st.Free[0] != 500_000 {
		t.Fatalf("in flight: cpu %v mem %v in %v free %v", st.CPU, st.Mem, st.In, st.Free)
	}
	if err := st.Start(&a); !errors.Is(err, ErrStale) {
		t.Fatalf("a second start of one move: %v", err)
	}
	if err := st.Finish(&a); err != nil {
		t.Fatal(err)
	}
	if st.CPU[0] != 500 || st.CPU[1] != 1200 || st.In[1] != 0 || st.Host[0] != 1 || st.On[0] != 0 || st.On[1] != 1 || st.Free[0] != 540_000+8192 {
		t.Fatalf("after: cpu %v in %v host %v on %v free %v", st.CPU, st.In, st.Host, st.On, st.Free)
	}
}

func TestAbortTakesBackAStart(t *testing.T) {
	st := NewState(fleet(), nil)
	want := NewState(fleet(), nil)
	a := crossing()
	if err := st.Start(&a); err != nil {
		t.Fatal(err)
	}
	if err := st.Abort(&a); err != nil {
		t.Fatal(err)
	}
	if st.CPU[1] != want.CPU[1] || st.Mem[1] != want.Mem[1] || st.Free[1] != want.Free[1] || st.Moved[0] != 0 || st.Host[0] != 0 {
		t.Fatalf("abort left %+v", st)
	}
}

func TestStartRefusesWhatIsStale(t *testing.T) {
	for name, change := range map[string]func(*Action){
		"vm elsewhere": func(a *Action) { a.From.Host = "vb/h" },
		"no such vm":   func(a *Action) { a.VM = "vm9" },
		"no such host": func(a *Action) { a.To.Host = "vb/h9" },
		"wake of on":   func(a *Action) { a.Kind = Wakeup },
		"exit of none": func(a *Action) { a.Kind = ExitMaintenance },
	} {
		a := crossing()
		change(&a)
		if err := NewState(fleet(), nil).Start(&a); !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostActions(t *testing.T) {
	st := NewState(fleet(), nil)
	step := func(k ActionKind, f func(*Action) error) {
		t.Helper()
		a := Action{ID: "c1-1", Kind: k, From: Place{Host: "vb/h", Cluster: "vb/c"}}
		if err := f(&a); err != nil {
			t.Fatal(err)
		}
	}
	step(Standby, st.Start)
	if st.Ready(1) {
		t.Fatal("a host going to standby takes VMs")
	}
	step(Standby, st.Finish)
	step(Wakeup, st.Start)
	if st.Ready(1) {
		t.Fatal("a host still booting takes VMs")
	}
	step(Wakeup, st.Finish)
	if !st.Ready(1) {
		t.Fatal("a woken host takes no VMs")
	}
	step(EnterMaintenance, st.Start)
	if st.Ready(1) {
		t.Fatal("a host entering maintenance takes VMs")
	}
}

// The reference arithmetic: two moves with storage a host at once, eight without;
// a 1 Gbit/s link carries four.
func TestSlots(t *testing.T) {
	fill := func(a Action, s *Snapshot) (n int) {
		slots := NewSlots(DefaultLimits(), s)
		for slots.Fits(&a) && n < 1000 {
			slots.Take(&a)
			n++
		}
		slots.Release(&a)
		if !slots.Fits(&a) {
			t.Error("released slots are not free")
		}
		return n
	}
	s := fleet()
	if n := fill(crossing(), s); n != 2 {
		t.Errorf("moves with storage at once: %d, want 2", n)
	}
	local := Action{Kind: Move, VM: "vm1", From: Place{Host: "va/h"}, To: Place{Host: "va/h2"}}
	pair := func(mbps int32) *Snapshot {
		s := fleet()
		s.Hosts = append(s.Hosts[:1:1], Host{ID: "va/h2", NICMbps: mbps}, s.Hosts[1])
		return s
	}
	if n := fill(local, pair(10_000)); n != 8 {
		t.Errorf("vMotions at once: %d, want 8", n)
	}
	if n := fill(local, pair(1000)); n != 4 {
		t.Errorf("vMotions at once over 1 Gbit/s: %d, want 4", n)
	}
	if n := LinkMoves(DefaultLimits(), &Link{Mbps: 1000}); n != 4 {
		t.Errorf("moves over 1 Gbit/s: %d, want 4", n)
	}
	if n := LinkMoves(DefaultLimits(), &Link{Mbps: Unknown}); n != 0 {
		t.Errorf("moves over an unknown link: %d, want none", n)
	}
}

// The figures that sceptics quote: 1 Gbit/s moves a GB of memory in about 8 s, a
// 256 GB host in over half an hour.
func TestEstimateReproducesTheReferenceArithmetic(t *testing.T) {
	m := CostModel{EfficiencyPct: 100}
	one := m.Estimate(&VM{Power: VMOn, UsedMiB: 954, DirtyMbps: 0}, 1000, 0, 0) // 954 MiB is a decimal GB
	if one.Seconds != 8 {
		t.Errorf("1 GB over 1 Gbit/s: %d s, want 8", one.Seconds)
	}
	host := m.Estimate(&VM{Power: VMOn, UsedMiB: 256 * 954, DirtyMbps: 0}, 1000, 0, 0)
	if d := time.Duration(host.Seconds) * time.Second; d < 30*time.Minute || d > 40*time.Minute {
		t.Errorf("256 GB over 1 Gbit/s: %v, want over 30 min", d)
	}
	busy := VM{Power: VMOn, UsedMiB: 954, DirtyMbps: 500}
	if got := m.Estimate(&busy, 1000, 0, 0).Seconds; got != 16 {
		t.Errorf("dirtied at half the rate: %d s, want twice as long", got)
	}
	if m.Converges(&VM{Power: VMOn, DirtyMbps: 900}, 1000) || !m.Converges(&VM{Power: VMOn, DirtyMbps: 899}, 1000) {
		t.Error("the limit of convergence is nine tenths of the rate")
	}
}

func TestRing(t *testing.T) {
	var r Ring
	if r.Mean(1) != Unknown || r.Percentile(95) != Unknown {
		t.Error("an empty ring knows something")
	}
	for i := range 12 {
		r.Add(Unix(300*(100+i)), int32(i))
		r.Add(Unix(300*(100+i)+60), int32(i))
	}
	if got := r.Mean(1); got != 11 {
		t.Errorf("mean of the newest: %d", got)
	}
	if got := r.Mean(8); got != (4+5+6+7+8+9+10+11)/8 {
		t.Errorf("mean of 40 minutes: %d", got)
	}
	if got := r.Percentile(95); got != 11 {
		t.Errorf("p95: %d", got)
	}
	if got := r.Percentile(50); got != 5 {
		t.Errorf("p50: %d", got)
	}
	r.Add(300*10_000, 7)
	if got := r.Mean(8); got != Unknown {
		t.Errorf("mean of 40 minutes after a long silence: %d, want unknown", got)
	}
	if got := r.Percentile(95); got != 7 {
		t.Errorf("p95 after a long silence: %d", got)
	}
	r.Add(300*9_990, 8)
	if got := r.Percentile(95); got != 7 {
		t.Errorf("p95 while a clock that was set back catches up: %d", got)
	}
	r.Add(300*200, 9)
	r.Add(300*201, 10)
	if got, mean := r.Percentile(95), r.Mean(2); got != 10 || mean != 9 {
		t.Errorf("p95 after the clock was far ahead: %d, mean %d", got, mean)
	}
}

func TestFold(t *testing.T) {
	low := Thresholds{CPUPct: 45, MemPct: 80}
	s := fleet()
	h := Fold(&History{}, s, nil, low)
	if len(h.Hosts) != 2 || len(h.VMs) != 1 || h.Hosts[0].LowSince != 1000 {
		t.Fatalf("first fold: %+v", h)
	}
	s2 := fleet()
	s2.At = 1000 + 600
	a := crossing()
	ended := []ActionRecord{
		{Action: a, State: StateSucceeded, Started: 1100, Ended: 1500},
		{Action: Action{Kind: Standby, From: Place{Host: "vb/h", Site: "b"}}, State: StateSucceeded, Started: 1100, Ended: 1400},
	}
	h2 := Fold(h, s2, ended, low)
	if got := h2.Host("va/h").LowFor(s2.At); got != 600 {
		t.Errorf("low for %d s", got)
	}
	if v := h2.VM("vm1"); v.MovedAt != 1500 || v.LeftSite != "a" || v.Moves != 1 {
		t.Errorf("vm remembers %+v", v)
	}
	if h2.Host("vb/h").Own != OwnStandby || len(h2.Spent) != 2 {
		t.Errorf("host remembers %+v, spent %v", h2.Host("vb/h"), h2.Spent)
	}
	if h.Host("vb/h").Own != OwnNothing || len(h.Spent) != 0 {
		t.Error("Fold changed the history it was given")
	}
	// What we own is not forgotten while its vCenter is out of sight.
	gone := &Snapshot{At: s2.At + 2*86_400}
	h3 := Fold(h2, gone, nil, low)
	if h3.Host("vb/h").Own != OwnStandby || len(h3.VMs) != 0 || len(h3.Spent) != 0 {
		t.Errorf("after two days out of sight: %+v", h3)
	}
	busy := fleet()
	busy.At, busy.Hosts[0].UsedMHz = s2.At+60, 9000
	if got := Fold(h2, busy, nil, low).Host("va/h").LowSince; got != 0 {
		t.Errorf("a busy host is low since %d", got)
	}
}

func TestEntriesAreChained(t *testing.T) {
	first, err := NewEntry(1, EntryCycle, CycleRecord{VMs: 3})
	if err != nil {
		t.Fatal(err)
	}
	first.At = time.Unix(5, 0).UTC()
	if err := first.Seal(1, ""); err != nil {
		t.Fatal(err)
	}
	if err := first.Verify(1, ""); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Entry){
		"time":  func(e *Entry) { e.At = e.At.Add(1) },
		"cycle": func(e *Entry) { e.Cycle++ },
		"kind":  func(e *Entry) { e.Kind = EntryPlan },
		"blobs": func(e *Entry) { e.Blobs = []string{"x"} },
		"data":  func(e *Entry) { e.Data = []byte(`{}`) },
		"hash":  func(e *Entry) { e.Hash = strings.Repeat("0", 64) },
	} {
		e := first
		change(&e)
		if e.Verify(1, "") == nil {
			t.Errorf("a changed %s is not noticed", name)
		}
	}
	if first.Verify(2, "") == nil || first.Verify(1, "x") == nil {
		t.Error("a wrong place in the chain is not noticed")
	}
}

func TestAudience(t *testing.T) {
	d := &Decision{
		Voices: []Voice{{Policy: "p", Mode: Enforce}, {Policy: "q", Mode: Advise}, {Policy: "r", Mode: Shadow}},
		Pins:   []Pin{{VM: 0, By: By{Voice: 0}}, {VM: 1, By: By{Voice: 1}}, {VM: 2, By: By{Voice: 2}}},
	}
	for _, c := range []struct {
		level Mode
		extra string
		want  int
	}{{Enforce, "", 1}, {Advise, "", 2}, {Shadow, "", 3}, {Enforce, "r", 2}} {
		if got := len(d.Audience(c.level, c.extra).Pins); got != c.want {
			t.Errorf("level %s with %q hears %d, want %d", c.level, c.extra, got, c.want)
		}
	}
}

func TestObstaclesByScope(t *testing.T) {
	if _, stops := ObNoHeartbeat.Stops(true, true); stops {
		t.Error("a warning stops a move")
	}
	if _, stops := ObRDM.Stops(false, false); stops {
		t.Error("a raw device mapping stops a move that leaves the disks")
	}
	if row, stops := (ObRDM | ObNoHeartbeat).Stops(true, false); !stops || row.Name != "rdm" {
		t.Errorf("a raw device mapping does not stop a storage move: %+v", row)
	}
	var all Obstacles
	for i, r := range ObstacleTable {
		if r.Bit != 1<<i {
			t.Errorf("row %d is out of bit order", i)
		}
		all |= r.Bit
	}
	if len(all.Names()) != len(ObstacleTable) {
		t.Error("an obstacle has no row")
	}
}

// TestFoldDisowns: a host that somebody else has woken, or taken out of maintenance,
// is no longer ours, however it is later; a list that lags changes nothing.
func TestFoldDisowns(t *testing.T) {
	const changed = Unix(10_000)
	awake := Host{ID: "h", Power: HostOn, Connected: true}
	closed := awake
	closed.Maintenance = true
	for name, c := range map[string]struct {
		own  Owned
		host Host
		at   Unix
		want Owned
	}{
		"asleep as we left it":       {OwnStandby, Host{ID: "h", Power: HostStandby}, changed + 5000, OwnStandby},
		"woken by a person":          {OwnStandby, awake, changed + 700, OwnNothing},
		"woken and in maintenance":   {OwnStandby, closed, changed + 700, OwnNothing},
		"the list lags":              {OwnStandby, awake, changed + 60, OwnStandby},
		"does not answer":            {OwnStandby, Host{ID: "h", Power: HostOn}, changed + 700, OwnStandby},
		"in maintenance as we left":  {OwnMaintenance, closed, changed + 5000, OwnMaintenance},
		"taken out of maintenance":   {OwnMaintenance, awake, changed + 700, OwnNothing},
		"maintenance, the list lags": {OwnMaintenance, awake, changed + 60, OwnMaintenance},
	} {
		h := &History{Hosts: []HostHistory{{ID: "h", Own: c.own, ChangeAt: changed}}}
		h = Fold(h, &Snapshot{At: c.at, Clusters: make([]Cluster, 1), Hosts: []Host{c.host}}, nil, Thresholds{})
		c.host = Host{ID: "h", Power: HostStandby}
		h = Fold(h, &Snapshot{At: c.at + 300, Clusters: make([]Cluster, 1), Hosts: []Host{c.host}}, nil, Thresholds{})
		if got := h.Host("h").Own; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestBlocks(t *testing.T) {
	move := func(vm VMID, from, to HostID) Action {
		return Action{Kind: Move, VM: vm, From: Place{Host: from}, To: Place{Host: to}}
	}
	host := func(k ActionKind, h HostID) Action { return Action{Kind: k, From: Place{Host: h}} }
	for name, c := range map[string]struct {
		a, b Action
		want bool
	}{
		"two moves of one VM":                 {move("v", "1", "2"), move("v", "2", "3"), true},
		"moves of two VMs between the same":   {move("v", "1", "2"), move("w", "1", "2"), false},
		"standby while a VM leaves":           {move("v", "1", "2"), host(Standby, "1"), true},
		"standby while a VM arrives":          {move("v", "1", "2"), host(Standby, "2"), true},
		"standby of another host":             {move("v", "1", "2"), host(Standby, "3"), false},
		"a move to a host going to standby":   {host(Standby, "2"), move("v", "1", "2"), true},
		"a move from a host going to standby": {host(Standby, "1"), move("v", "1", "2"), true},
		"a move from a host entering":         {host(EnterMaintenance, "1"), move("v", "1", "2"), false},
		"a move to a host entering":           {host(EnterMaintenance, "2"), move("v", "1", "2"), true},
		"two actions on one host":             {host(Wakeup, "1"), host(Standby, "1"), true},
		"actions on two hosts":                {host(Wakeup, "1"), host(Wakeup, "2"), false},
	} {
		if got := c.a.Blocks(&c.b); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
