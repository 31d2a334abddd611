package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
)

// now is when the hand-made fleets are looked at.
const now engine.Unix = 1_800_000_000

// A fleet is a hand-made fleet and a plan for it.
//
//	site a, vCenter va, cluster c1: hosts h1 to h4, datastores d1 (all VMs) and d2
//	site b, vCenter vb, cluster c2: hosts h5 to h7, datastore d3
//	networks n1 (va) and n2 (vb) carry the segment red; n3 (va) the segment blue
//	VMs w1, w2 on h1; w3 on h2; w4 on h3; w5 on h5; h4 is empty
//
// A host has 20 cores, 50,000 MHz and 200,000 MiB, of which its hypervisor uses
// 1,000 MHz and 4,000 MiB; a VM has 4 vCPUs and uses 4,000 MHz and 16,000 MiB.
type fleet struct {
	in engine.Input
	p  *engine.Plan
}

func newFleet() *fleet {
	s := &engine.Snapshot{
		At:       now - 30,
		Sites:    []engine.Site{{ID: "a", Mode: engine.Enforce}, {ID: "b", Mode: engine.Enforce}},
		VCenters: []engine.VCenter{{ID: "va"}, {ID: "vb"}},
		Clusters: []engine.Cluster{{ID: "va/c1", VCenter: 0, Pool: "rp1", Folder: "f1"}, {ID: "vb/c2", VCenter: 1, Pool: "rp2", Folder: "f2"}},
		Links:    []engine.Link{{A: 0, B: 1, RTTMicros: 10_000, Mbps: 10_000, At: now - 30}},
		Networks: []engine.Network{{ID: "va/n1", Segment: "red"}, {ID: "va/n3", Segment: "blue"}, {ID: "vb/n2", VCenter: 1, Segment: "red"}},
		Datastores: []engine.Datastore{
			{ID: "va/d1", CapacityMiB: 4_000_000, FreeMiB: 2_000_000, Accessible: true, Shared: true, Sites: 1, Survives: 1},
			{ID: "va/d2", CapacityMiB: 4_000_000, FreeMiB: 2_000_000, Accessible: true, Shared: true, Sites: 1, Survives: 1},
			{ID: "vb/d3", CapacityMiB: 4_000_000, FreeMiB: 2_000_000, Accessible: true, Shared: true, Sites: 2, Survives: 2, VCenter: 1},
		},
	}
	for i := range int32(7) {
		h := engine.Host{
			ID: engine.HostID(fmt.Sprintf("va/h%d", i+1)), Name: fmt.Sprintf("h%d", i+1), Power: engine.HostOn, Connected: true,
			CPUMHz: 50_000, Cores: 20, Threads: 40, MemoryMiB: 200_000, CPUModel: "xeon", EVCMax: "skylake", UsedMHz: 1000, UsedMiB: 4000,
			LoadAt: now - 30, VMotion: true, NICMbps: 25_000, Standby: true, Datastores: []int32{0, 1}, Networks: []int32{0, 1},
		}
		if i >= 4 {
			h.ID, h.VCenter, h.Cluster, h.Site = engine.HostID(fmt.Sprintf("vb/h%d", i+1)), 1, 1, 1
			h.Datastores, h.Networks = []int32{2}, []int32{2}
		}
		s.Hosts = append(s.Hosts, h)
	}
	f := &fleet{
		in: engine.Input{Cycle: 7, Now: now, Seed: 1, Level: engine.Enforce, Snapshot: s, History: &engine.History{}, Config: engine.DefaultConfig()},
		p:  &engine.Plan{Cycle: 7, Level: engine.Enforce, At: now},
	}
	f.in.Config.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	f.in.Decision = &engine.Decision{
		Voices:  []engine.Voice{{Policy: "test", Rule: "rule", Mode: engine.Enforce}, {Policy: "quiet", Rule: "freeze", Mode: engine.Enforce, Yields: true}},
		Reasons: []string{"because"},
	}
	for i, h := range []int32{0, 0, 1, 2, 4} {
		f.addVM(fmt.Sprintf("w%d", i+1), h)
	}
	return f
}

// addVM adds a VM to host h. Names must come in order.
func (f *fleet) addVM(name string, h int32) {
	s := f.in.Snapshot
	host := &s.Hosts[h]
	v := engine.VM{
		ID: engine.VMID(name), Name: name, Moid: "vm-" + name, VCenter: host.VCenter, Host: h, Folder: "f", Pool: "p", Power: engine.VMOn,
		VCPUs: 4, MemoryMiB: 16_000, UsedMHz: 4000, UsedMiB: 16_000, ActiveMiB: 1000, DirtyMbps: 100, LoadAt: now - 30,
		Home: host.Datastores[0], Mode: engine.Enforce,
		Disks: []engine.Disk{{Key: 2000, Datastore: host.Datastores[0], MiB: 100_000, Used: 40_000, Thin: true}},
		NICs:  []engine.NIC{{Key: 4000, Network: host.Networks[0], MAC: "00:50:56:00:00:" + name}},
	}
	host.UsedMHz, host.UsedMiB = host.UsedMHz+v.UsedMHz, host.UsedMiB+v.UsedMiB
	s.VMs = append(s.VMs, v)
}

func (f *fleet) vm(name string) *engine.VM {
	i, ok := f.in.Snapshot.FindVM(engine.VMID(name))
	if !ok {
		panic(name)
	}
	return &f.in.Snapshot.VMs[i]
}

func (f *fleet) vmIndex(name string) int32 {
	i, _ := f.in.Snapshot.FindVM(engine.VMID(name))
	return i
}

// host is number n, from 1.
func (f *fleet) host(n int) *engine.Host { return &f.in.Snapshot.Hosts[n-1] }

func (f *fleet) last() *engine.Action { return &f.p.Actions[len(f.p.Actions)-1] }

func (f *fleet) add(a engine.Action) *engine.Action {
	n := len(f.p.Actions)
	a.ID, a.Rank = fmt.Sprintf("c7-%d", n+1), int32(n)
	a.Why = []engine.Why{{Policy: "test", Rule: "rule", Reason: "because"}}
	a.Estimate.Seconds = 60
	f.p.Actions = append(f.p.Actions, a)
	return f.last()
}

func (f *fleet) at(h int32) engine.Place {
	s, x := f.in.Snapshot, &f.in.Snapshot.Hosts[h]
	return engine.Place{Site: s.Sites[x.Site].ID, VCenter: s.VCenters[x.VCenter].ID, Cluster: s.Clusters[x.Cluster].ID, Host: x.ID}
}

// move adds a well-formed move of a VM to host number to, with its disks and
// cards mapped to the first of its own where the vCenter changes.
func (f *fleet) move(name string, to int) *engine.Action {
	s, v, h := f.in.Snapshot, f.vm(name), f.host(to)
	a := engine.Action{Kind: engine.Move, VM: v.ID, Name: name, Moid: v.Moid, From: f.at(v.Host), To: f.at(int32(to - 1)), Cold: v.Power != engine.VMOn}
	a.Across = v.VCenter != h.VCenter
	if a.From.Cluster != a.To.Cluster {
		a.To.Pool, a.To.Folder = s.Clusters[h.Cluster].Pool, s.Clusters[h.Cluster].Folder
	}
	a.To.DRS = s.Clusters[h.Cluster].DRS == engine.DRSFull
	if a.Across {
		f.disks(&a, h.Datastores[0])
		for _, n := range v.NICs {
			a.NICs = append(a.NICs, engine.NICTarget{Key: n.Key, To: s.Networks[h.Networks[0]].ID})
		}
	}
	return f.add(a)
}

// disks sends all files of the action's VM to a datastore.
func (f *fleet) disks(a *engine.Action, to int32) {
	s, v := f.in.Snapshot, f.vm(a.Name)
	a.Storage, a.HomeTo, a.SwapMiB = true, s.Datastores[to].ID, v.SwapMiB()
	for k := range v.Disks {
		d := &v.Disks[k]
		a.Disks = append(a.Disks, engine.DiskTarget{
			Key: d.Key, From: s.Datastores[d.Datastore].ID, To: s.Datastores[to].ID, Profile: d.Profile, MiB: d.CopyMiB(), Thin: d.Thin,
		})
	}
}

func (f *fleet) act(kind engine.ActionKind, host int) *engine.Action {
	return f.add(engine.Action{Kind: kind, Name: f.host(host).Name, From: f.at(int32(host - 1))})
}

// evacuate demands that a place be emptied.
func (f *fleet) evacuate(kind, id string) engine.Subject {
	place := engine.Subject{Kind: kind, ID: id}
	f.in.Decision.Evacuations = append(f.in.Decision.Evacuations, engine.Evacuation{Place: place})
	return place
}

// unseen puts the move of a VM that the snapshot does not have to a host under way.
func (f *fleet) unseen(from, to int) *engine.Action {
	f.in.Open = []engine.ActionRecord{{State: engine.StateStarted, Action: engine.Action{ID: "c6-1", VM: "gone", From: f.at(int32(from - 1)), To: f.at(int32(to - 1))}}}
	return &f.in.Open[0].Action
}

// remember returns the memory of w1, to be filled in.
func (f *fleet) remember() *engine.VMHistory {
	f.in.History.VMs = append(f.in.History.VMs, engine.VMHistory{ID: "w1"})
	return &f.in.History.VMs[len(f.in.History.VMs)-1]
}

func (f *fleet) group(kind engine.GroupKind, scope string, names ...string) *engine.Group {
	g := engine.Group{Kind: kind, Name: "g", Scope: scope}
	for _, n := range names {
		g.VMs = append(g.VMs, f.vmIndex(n))
	}
	f.in.Decision.Groups = append(f.in.Decision.Groups, g)
	return &f.in.Decision.Groups[len(f.in.Decision.Groups)-1]
}

// The plans below are accepted as they stand; every refusal starts from one of them.

// lost puts a subject in quarantine.
func (f *fleet) lost(kind, id string) {
	f.in.History.Quarantine = []engine.Quarantine{{Subject: engine.Subject{Kind: kind, ID: id}, Name: id, Since: now - 600, Action: "c6-1", Reason: "no answer"}}
}

// broken opens the breaker of a vCenter.
func (f *fleet) broken(vc string) {
	f.in.Broken = []engine.Hold{{Subject: engine.Subject{Kind: "vcenter", ID: vc}, Name: vc, Code: engine.HoldBreaker, Detail: "2 of 2"}}
}

// keepHosts keeps the hosts of a vCenter as they are.
func (f *fleet) keepHosts(vc string) {
	f.in.KeepHosts = []engine.Hold{{Subject: engine.Subject{Kind: "vcenter", ID: vc}, Name: vc, Code: engine.HoldPrivilege, Detail: "not granted"}}
}

func inside(f *fleet) { f.move("w1", 2) }

func across(f *fleet) {
	f.vm("w1").Across = true
	f.move("w1", 6)
}

func disks(f *fleet) {
	v := f.vm("w1")
	a := f.add(engine.Action{Kind: engine.Move, VM: v.ID, Name: "w1", Moid: v.Moid, From: f.at(0), To: f.at(0)})
	f.disks(a, 1)
}

func cold(f *fleet) {
	v := f.vm("w1")
	f.host(1).UsedMHz, f.host(1).UsedMiB = f.host(1).UsedMHz-v.UsedMHz, f.host(1).UsedMiB-v.UsedMiB
	v.Power, v.UsedMHz, v.UsedMiB, v.LoadAt = engine.VMOff, engine.Unknown, engine.Unknown, 0
	f.move("w1", 2)
}

func evacuation(f *fleet) {
	place := f.evacuate("site", "a")
	for i, name := range []string{"w1", "w2", "w3", "w4"} {
		f.move(name, 5+i%3).Demand = place
	}
}

func drain(f *fleet) {
	f.in.Decision.Drains = []engine.Drain{{Host: 0, Then: engine.ThenMaintenance}}
	demand := engine.Subject{Kind: "host", ID: "va/h1"}
	f.move("w1", 2).Demand = demand
	f.move("w2", 3).Demand = demand
	a := f.act(engine.EnterMaintenance, 1)
	a.Demand, a.After = demand, []int32{0, 1}
}

func sleep(f *fleet) {
	f.in.Decision.Drains = []engine.Drain{{Host: 3, Then: engine.ThenStandby}}
	f.act(engine.Standby, 4)
}

// consolidate empties h3 and puts it to sleep.
func consolidate(f *fleet) {
	f.in.Decision.Drains = []engine.Drain{{Host: 2, Then: engine.ThenStandby}}
	f.move("w4", 2)
	f.act(engine.Standby, 3).After = []int32{0}
}

// desert empties site a and puts h4, which is empty, to sleep. Its hosts are so
// busy that without h4 the cluster could not survive a failure.
func desert(f *fleet) {
	evacuation(f)
	for n := 1; n <= 3; n++ {
		f.host(n).UsedMHz += 33_000
	}
	f.in.Decision.Drains = []engine.Drain{{Host: 3, Then: engine.ThenStandby}}
	f.act(engine.Standby, 4)
}

func wake(f *fleet) {
	h := f.host(4)
	h.Power, h.Mark, h.UsedMHz, h.UsedMiB, h.LoadAt = engine.HostStandby, "standby 12", engine.Unknown, engine.Unknown, 0
	f.in.History.Hosts = []engine.HostHistory{{ID: h.ID, Own: engine.OwnStandby, ChangeAt: now - 7200}}
	f.in.Decision.Wakes = []engine.Wake{{Host: 3}}
	f.act(engine.Wakeup, 4)
	f.move("w1", 4).After = []int32{0}
}

func exit(f *fleet) {
	h := f.host(4)
	h.Maintenance, h.Mark = true, "maintenance 12"
	f.in.History.Hosts = []engine.HostHistory{{ID: h.ID, Own: engine.OwnMaintenance, ChangeAt: now - 7200}}
	f.act(engine.ExitMaintenance, 4)
}

// swap is two VMs that only fit one after the other: h2 has no room for w1
// until w3 has left it.
func swap(f *fleet) {
	f.host(2).UsedMHz += 30_000
	f.move("w3", 4)
	f.move("w1", 2).After = []int32{0}
	f.vm("w1").UsedMHz = 8000
	f.host(1).UsedMHz += 4000
}

// ten is ten VMs that must all have left h2 before w1 fits there.
func ten(f *fleet) {
	f.host(2).UsedMHz += 31_000
	var all []int32
	for i := range 10 {
		name := fmt.Sprintf("x%d", i)
		f.addVM(name, 1)
		f.move(name, 3+i%2)
		all = append(all, int32(i))
	}
	f.move("w1", 2).After = all
}

// volume writes to two datastores with room for one VM each.
func volume(f *fleet) {
	f.in.Snapshot.Datastores[1].FreeMiB, f.in.Snapshot.Datastores[2].FreeMiB = 500_000, 500_000
	across(f)
	a := f.add(engine.Action{Kind: engine.Move, VM: "w2", Name: "w2", Moid: "vm-w2", From: f.at(0), To: f.at(0)})
	f.disks(a, 1)
}

// pair moves two VMs that must stay together.
func pair(f *fleet) {
	f.group(engine.GroupTogether, "host", "w1", "w2")
	f.move("w1", 2)
	f.move("w2", 2)
}

func fully(f *fleet) {
	f.in.Snapshot.Clusters[1].DRS = engine.DRSFull
	across(f)
}

// delegated leaves the VMs of h1 to the cluster's own scheduler.
func delegated(f *fleet) {
	f.in.Snapshot.Clusters[0].DRS = engine.DRSFull
	f.in.Decision.Drains = []engine.Drain{{Host: 0, Then: engine.ThenMaintenance}}
	f.act(engine.EnterMaintenance, 1).Demand = engine.Subject{Kind: "host", ID: "va/h1"}
}

func TestAccepts(t *testing.T) {
	for name, base := range map[string]func(*fleet){
		"nothing": func(*fleet) {}, "inside": inside, "across": across, "disks": disks, "cold": cold,
		"evacuation": evacuation, "drain": drain, "sleep": sleep, "consolidate": consolidate, "desert": desert, "wake": wake,
		"exit": exit, "swap": swap, "ten": ten, "volume": volume, "pair": pair, "into a DRS cluster": fully,
		"a DRS cluster empties a host": delegated,
		"an old wound does not grow": func(f *fleet) {
			f.host(1).UsedMHz += 60_000 // far beyond its capacity
			f.in.Snapshot.Rules = []engine.Rule{{Name: "apart", Kind: engine.RuleApart, VMs: []int32{0, 1}}}
			f.move("w1", 4)
		},
		"a cool-down does not bind an evacuation": func(f *fleet) {
			evacuation(f)
			*f.remember() = engine.VMHistory{ID: "w1", MovedAt: now - 60, LeftSite: "b", LeftHost: "vb/h5", FailedAt: now - 60, Failures: 3}
		},
		"a freeze that yields to an evacuation": func(f *fleet) {
			evacuation(f)
			f.in.Decision.Freezes = []engine.Freeze{{Place: engine.Subject{Kind: "fleet"}, By: engine.By{Voice: 1}}}
		},
		"rules that are disabled": func(f *fleet) {
			inside(f)
			f.in.Snapshot.Rules = []engine.Rule{
				{Name: "apart", Kind: engine.RuleApart, VMs: []int32{0, 2}, Disabled: true},
				{Name: "off", Kind: engine.RuleNotOn, Mandatory: true, VMs: []int32{0}, Hosts: []int32{1}, Disabled: true},
			}
		},
		"a host in quarantine is left":      func(f *fleet) { inside(f); f.lost("host", "va/h1") },
		"another vCenter's breaker is open": func(f *fleet) { inside(f); f.broken("vb") },
		"hosts alone may not be changed":    func(f *fleet) { inside(f); f.keepHosts("va") },
		"a freeze that is over": func(f *fleet) {
			inside(f)
			f.in.Decision.Freezes = []engine.Freeze{{Place: engine.Subject{Kind: "fleet"}, Until: now}}
		},
		"a veto of another destination": func(f *fleet) {
			inside(f)
			f.in.Vetoes = []engine.Veto{{VM: "w1", To: "va/h3", Mode: engine.Enforce}}
		},
		"a veto of a policy in shadow": func(f *fleet) {
			inside(f)
			f.in.Vetoes = []engine.Veto{{VM: "w1", To: "va/h2", Mode: engine.Shadow, Policy: "x"}}
		},
		"an evacuation beyond the reserve of wishes": func(f *fleet) {
			evacuation(f)
			for n := 5; n <= 7; n++ {
				f.host(n).UsedMHz += 32_000 // with two arrivals on h5 45,000 of 50,000, 90 %
			}
		},
		"a wish for a site that a gap is about": func(f *fleet) {
			inside(f)
			f.in.Snapshot.Gaps = []engine.Gap{{Subject: engine.Subject{Kind: "site", ID: "a"}}}
		},
		"beside what is under way": func(f *fleet) {
			inside(f)
			open := *f.move("w3", 4)
			f.p.Actions = f.p.Actions[:1]
			f.in.Open = []engine.ActionRecord{{Action: open, State: engine.StateStarted, Started: now - 10}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet()
			base(f)
			if err := f.in.Snapshot.Validate(); err != nil {
				t.Fatal(err)
			}
			if err := Plan(f.in, f.p); err != nil {
				t.Errorf("refused:\n%v", err)
			}
		})
	}
}

func TestReportsAtMostTwenty(t *testing.T) {
	f := newFleet()
	for i := range 30 {
		f.addVM(fmt.Sprintf("x%02d", i), 0)
		f.move(fmt.Sprintf("x%02d", i), 1) // where it is
	}
	err := Plan(f.in, f.p)
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; err == nil || n != mostFound {
		t.Errorf("%d violations reported, want %d", n, mostFound)
	}
}

func TestSameVerdictTwice(t *testing.T) {
	for range 3 {
		f := newFleet()
		swap(f)
		f.p.Actions[1].After = nil
		if a, b := Plan(f.in, f.p), Plan(f.in, f.p); a == nil || a.Error() != b.Error() {
			t.Fatalf("not the same twice:\n%v\n%v", a, b)
		}
	}
}

func TestBackOff(t *testing.T) {
	got := []int64{}
	for n := range int32(9) {
		got = append(got, backOff(900, n))
	}
	if want := []int64{0, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
