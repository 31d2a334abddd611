package lab

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// Indices into testWorld.
const (
	houston, frankfurt, tokyo = 0, 1, 2
	hou0, hou1, fra0, fra1    = 0, 1, 2, 3
	tok0                      = 4
)

// testWorld has three sites with a vCenter, a cluster, a datastore and two hosts
// each, and in Houston four VMs: web and db on hou0, app and log on hou1.
func testWorld() World {
	w := World{Now: noon, Links: []WorldLink{
		{A: houston, B: frankfurt, RTT: 123 * time.Millisecond, Mbps: 1000},
		{A: houston, B: tokyo, RTT: 143 * time.Millisecond, Mbps: 1000},
		{A: frankfurt, B: tokyo, RTT: 229 * time.Millisecond, Mbps: 1000},
	}}
	for i, name := range []string{"houston", "frankfurt", "tokyo"} {
		vc := "vc-" + name
		w.Sites = append(w.Sites, WorldSite{Name: name, Region: []string{"us", "eu", "ap"}[i], PUE: 1.5, EURPerKWh: 0.2, GramPerKWh: 400})
		w.Clusters = append(w.Clusters, WorldCluster{Name: name, Site: i})
		w.Datastores = append(w.Datastores, WorldDatastore{Name: "ds-" + name, VCenter: vc, MiB: 1 << 20, FreeMiB: 1 << 19, Shared: true, Holds: []string{name}})
		for k := range 2 {
			w.Hosts = append(w.Hosts, WorldHost{
				Name: fmt.Sprintf("%s%d", name[:3], k), VCenter: vc, Site: i, Cluster: i, On: true, MHz: 40_000, MiB: 100_000, Threads: 32,
				VMotion: true, Watts: 100, IdleW: 100, MaxW: 300, Datastores: []int{i}, Segments: []string{"blue", "green"}, CPULevel: 5,
			})
		}
	}
	for i, name := range []string{"web", "db", "app", "log"} {
		w.VMs = append(w.VMs, WorldVM{
			UUID: "u-" + name, Name: name, VCenter: "vc-houston", Host: i / 2, On: true, VCPUs: 4, MHz: 4000, MiB: 8000, Configured: 16_000,
			DiskMiB: 40_000, Datastores: []int{houston}, Segments: []string{"blue"}, CPULevel: 5,
		})
	}
	return w
}

// move appends a move of VM i that has just started.
func (w *World) move(i, to int) *WorldMove {
	v := &w.VMs[i]
	across := w.Hosts[v.Host].VCenter != w.Hosts[to].VCenter
	m := WorldMove{VM: v.UUID, From: v.Host, To: to, Started: w.Now, Storage: across, Across: across, WAN: across, Target: -1}
	if across {
		m.Target = w.Hosts[to].Site
	}
	w.Moves = append(w.Moves, m)
	return &w.Moves[len(w.Moves)-1]
}

// arrive puts VM i on a host with its disks there.
func (w *World) arrive(i, to int) {
	v := &w.VMs[i]
	v.Host, v.VCenter, v.Datastores = to, w.Hosts[to].VCenter, []int{w.Hosts[to].Site}
}

// watchWorlds lets an observer see worlds made by the steps, a minute apart, the first untouched.
func watchWorlds(steps ...func(*World)) *Observer {
	o := NewObserver()
	for i := range steps {
		w := testWorld()
		for _, f := range steps[:i+1] {
			f(&w)
		}
		w.Now = noon.Add(time.Duration(i) * time.Minute)
		o.Observe(w)
	}
	return o
}

func asIs(*World) {}

func TestViolations(t *testing.T) {
	rule := func(kind string, must bool, hosts ...int) func(*World) {
		return func(w *World) {
			w.Rules = []WorldRule{{Cluster: houston, Name: "r", Kind: kind, Mandatory: must, VMs: []int{0, 2}, Hosts: hosts}}
		}
	}
	for _, c := range []struct {
		kind   Kind
		name   string
		before func(*World)
		bad    func(*World)
		good   func(*World)
	}{
		{
			OvercommitMemory, "while a VM is at both ends",
			func(w *World) { w.VMs[2].MiB, w.VMs[0].MiB = 60_000, 32_001 },
			func(w *World) { w.move(0, hou1) },
			func(w *World) { w.VMs[0].MiB = 32_000; w.move(0, hou1) },
		},
		{
			OvercommitMemory, "by reservation, after arrival", asIs,
			func(w *World) { w.VMs[0].ReserveMiB = 90_000; w.arrive(0, hou1) },
			func(w *World) { w.VMs[0].ReserveMiB = 90_000 },
		},
		{
			OvercommitMemory, "by growth, where something was moved to", asIs,
			func(w *World) { w.VMs[2].MiB = 95_000; w.arrive(0, hou1) },
			func(w *World) { w.VMs[2].MiB = 120_000 },
		},
		{
			OvercommitCPU, "while a VM is at both ends",
			func(w *World) { w.VMs[2].MHz = 36_000 },
			func(w *World) { w.VMs[0].MHz = 4001; w.VMs[3].MHz = 0; w.move(0, hou1) },
			func(w *World) { w.VMs[3].MHz = 0; w.move(0, hou1) },
		},
		{
			OvercommitCPU, "a VM that is off takes nothing", asIs,
			func(w *World) { w.VMs[0].MHz = 39_000; w.arrive(0, hou1) },
			func(w *World) { w.VMs[0].MHz, w.VMs[0].On = 39_000, false; w.arrive(0, hou1) },
		},
		{
			NotReady, "host off", func(w *World) { w.VMs = w.VMs[:3] },
			func(w *World) { w.Hosts[hou1].On = false },
			func(w *World) { w.Hosts[fra0].On = false },
		},
		{
			NotReady, "host in maintenance", func(w *World) { w.VMs = w.VMs[:3] },
			func(w *World) { w.Hosts[hou1].Maintenance = true },
			func(w *World) { w.Hosts[hou1].Maintenance = true; w.VMs[2].On = false },
		},
		{
			StandbyWithVMs, "running VMs", asIs,
			func(w *World) { w.Hosts[hou1].On, w.Hosts[hou1].Standby = false, true },
			func(w *World) {
				w.Hosts[hou1].On, w.Hosts[hou1].Standby = false, true
				w.VMs[2].On, w.VMs[3].Fixtures = false, []string{"agent"}
			},
		},
		{
			StandbyVSAN, "a host with data", func(w *World) { w.Hosts[fra0].VSANData = true },
			func(w *World) { w.Hosts[fra0].Standby = true },
			func(w *World) { w.Hosts[fra1].Standby = true },
		},
		{
			StandbyFailover, "the reserve is gone", func(w *World) { w.Clusters[frankfurt].Failover = 1; w.arrive(0, fra1) },
			func(w *World) { w.Hosts[fra0].Standby = true },
			func(w *World) { w.Hosts[fra0].Maintenance = true }, // no standby
		},
		{
			StandbyFailover, "counted in hosts",
			func(w *World) {
				w.Clusters[frankfurt].Failover = 1
				w.Hosts[tok0].Cluster = frankfurt
				w.arrive(0, fra1)
			},
			func(w *World) { w.VMs[0].MiB = 100_001; w.Hosts[fra1].MiB = 200_000; w.Hosts[fra0].Standby = true },
			func(w *World) { w.VMs[0].MiB = 100_000; w.Hosts[fra0].Standby = true },
		},
		{
			RuleBroken, "apart", rule("apart", false),
			func(w *World) { w.arrive(0, hou1) },
			func(w *World) { w.arrive(1, hou1) },
		},
		{
			RuleBroken, "apart, at one end of a move", rule("apart", false),
			func(w *World) { w.move(0, hou1) },
			func(w *World) { w.move(0, fra0) },
		},
		{
			RuleBroken, "apart, as it was at the start", func(w *World) { rule("apart", false)(w); w.Rules[0].VMs = []int{0, 1, 2} },
			func(w *World) { w.arrive(2, hou0) },
			func(w *World) { w.VMs[2].Name = "renamed" },
		},
		{
			RuleBroken, "together", func(w *World) { rule("together", false)(w); w.Rules[0].VMs = []int{0, 1} },
			func(w *World) { w.arrive(0, hou1) },
			func(w *World) { w.arrive(0, hou1); w.arrive(1, hou1) },
		},
		{
			RuleBroken, "together, until a move is over", func(w *World) { rule("together", false)(w); w.Rules[0].VMs = []int{0, 1} },
			func(w *World) { w.arrive(0, hou1) },
			func(w *World) { w.move(1, hou1); w.arrive(0, hou1) },
		},
		{
			RuleBroken, "on", func(w *World) { rule("on", true, hou0)(w); w.Rules[0].VMs = []int{0} },
			func(w *World) { w.arrive(0, hou1) },
			func(w *World) { w.Rules[0].Mandatory = false; w.arrive(0, hou1) },
		},
		{
			RuleBroken, "not_on", func(w *World) { rule("not_on", true, hou1)(w); w.Rules[0].VMs = []int{0} },
			func(w *World) { w.move(0, hou1) },
			func(w *World) { w.arrive(1, hou1) },
		},
		{
			RuleLeft, "a mandatory rule's cluster", rule("not_on", true, hou1),
			func(w *World) { w.move(0, fra0) },
			func(w *World) { w.move(1, fra0) },
		},
		{
			SegmentMissing, "at the new host", func(w *World) { w.Hosts[fra0].Segments = []string{"green"} },
			func(w *World) { w.arrive(0, fra0) },
			func(w *World) { w.arrive(0, fra1) },
		},
		{
			DatastoreMissing, "disks left behind", asIs,
			func(w *World) { w.arrive(0, fra0); w.VMs[0].Datastores = []int{houston} },
			func(w *World) { w.arrive(0, fra0) },
		},
		{
			DatastoreOverfull, "promised twice", asIs,
			func(w *World) { w.Datastores[frankfurt].FreeMiB = -1 },
			func(w *World) { w.Datastores[frankfurt].FreeMiB = 0 },
		},
		{
			HostSlots, "three moves with disks at one host", func(w *World) { w.Links[0].Mbps = 10_000 },
			func(w *World) { w.move(0, fra0); w.move(1, fra0); w.move(2, fra0) },
			func(w *World) { w.move(0, fra0); w.move(2, fra0); w.move(1, fra1) },
		},
		{
			HostSlots, "nine live moves", func(w *World) {
				for i := range 5 {
					v := w.VMs[0]
					v.UUID, v.MiB = fmt.Sprint("u", i), 10
					w.VMs = append(w.VMs, v)
				}
				w.Hosts[hou1].MiB = 1 << 20
			},
			func(w *World) { nineMoves(w, 9) },
			func(w *World) { nineMoves(w, 8) },
		},
		{
			DatastoreSlots, "nine copies at one datastore", func(w *World) {
				for i := range 9 {
					v := w.VMs[0]
					v.UUID, v.Name, v.On = fmt.Sprint("u", i), fmt.Sprint("v", i), false
					w.VMs = append(w.VMs, v)
				}
				w.Links[0].Mbps = 10_000
			},
			func(w *World) { coldMoves(w, 9) },
			func(w *World) { coldMoves(w, 8) },
		},
		{
			LinkSlots, "250 Mbit/s each", func(w *World) { w.Links[0].Mbps = 600 },
			func(w *World) { w.move(0, fra0); w.move(1, fra1); w.move(2, fra0) },
			func(w *World) { w.move(0, fra0); w.move(1, fra1); w.move(2, tok0) },
		},
		{
			LinkRTT, "beyond 150 ms", func(w *World) { w.arrive(0, fra0) },
			func(w *World) { w.move(0, tok0) },
			func(w *World) { w.VMs[0].On = false; w.move(0, tok0) },
		},
		{
			CPUTooOld, "live, to an older CPU", func(w *World) { w.Hosts[fra0].CPULevel = 4 },
			func(w *World) { w.move(0, fra0) },
			func(w *World) { w.VMs[0].CPULevel = 4; w.move(0, fra0) },
		},
		{
			NoVMotion, "no interface", func(w *World) { w.Hosts[hou1].VMotion = false },
			func(w *World) { w.move(0, hou1) },
			func(w *World) { w.move(0, fra0) },
		},
		{
			FixtureIgnored, "of all moves", func(w *World) { w.VMs[0].Fixtures = []string{"no_heartbeat", "vgpu"} },
			func(w *World) { w.move(0, hou1) },
			func(w *World) { w.move(1, hou1) },
		},
		{
			FixtureIgnored, "of moves with disks", func(w *World) { w.VMs[0].Fixtures = []string{"linked_clone"} },
			func(w *World) { w.move(0, fra0) },
			func(w *World) { w.move(0, hou1) },
		},
		{
			FixtureIgnored, "of moves across vCenters", func(w *World) { w.VMs[0].Fixtures = []string{"disk_snapshot"} },
			func(w *World) { w.move(0, fra0) },
			func(w *World) { m := w.move(0, hou1); m.Storage, m.Target = true, houston },
		},
		{
			FixtureIgnored, "nobody knows it", func(w *World) { w.VMs[0].Fixtures = []string{"newfangled"} },
			func(w *World) { w.move(0, hou1) },
			asIs,
		},
		{
			NeverIgnored, "tagged", func(w *World) { w.VMs[0].Tags, w.VMs[1].Tags = []string{"heliostat:never"}, []string{"heliostat:auto"} },
			func(w *World) { w.move(0, hou1) },
			func(w *World) { w.move(1, hou1) },
		},
		{
			Duplicate, "in two vCenters", asIs,
			func(w *World) { twice(w) },
			func(w *World) { w.move(0, fra0); twice(w) },
		},
		{
			Duplicate, "one of them off", asIs,
			func(w *World) { twice(w) },
			func(w *World) { twice(w); w.VMs[0].On = false },
		},
		{
			Lost, "nowhere", func(w *World) { w.VMs[3].Fixtures = []string{"agent"} },
			func(w *World) { w.VMs = w.VMs[1:] },
			func(w *World) { w.VMs = []WorldVM{w.VMs[2], w.VMs[1], w.VMs[0]} },
		},
		{
			Residency, "in another region", func(w *World) { w.VMs[0].Tags = []string{"residency:us"} },
			func(w *World) { w.move(0, fra0) },
			func(w *World) { w.move(0, hou1); w.move(1, fra0) },
		},
	} {
		t.Run(fmt.Sprint(c.kind, " ", c.name), func(t *testing.T) {
			bad := watchWorlds(c.before, c.bad, asIs, asIs).Violations() // it lasts and is one, or one at each end
			subjects := map[string]bool{}
			for _, v := range bad {
				subjects[v.Subject] = true
				if v.Kind != c.kind || !v.At.Equal(noon.Add(time.Minute)) || v.Subject == "" || v.Text == "" {
					t.Errorf("bad: %v", v)
				}
			}
			ends := 1
			if strings.HasPrefix(c.name, "nine") {
				ends = 2
			}
			if len(bad) != ends || len(subjects) != ends {
				t.Errorf("bad: %d, not %d: %v", len(bad), ends, bad)
			}
			if good := watchWorlds(c.before, c.good, asIs).Violations(); len(good) != 0 {
				t.Errorf("good: %v", good)
			}
			if first := watchWorlds(func(w *World) { c.before(w); c.bad(w) }, asIs).Violations(); len(first) != 0 {
				t.Errorf("held against someone although it was so in the first World: %v", first)
			}
		})
	}
}

// nineMoves moves n VMs from hou0 to hou1 live.
func nineMoves(w *World, n int) {
	for i := range w.VMs {
		if w.VMs[i].Host == hou0 && n > 0 {
			w.move(i, hou1)
			n--
		}
	}
	for i := range w.VMs {
		if n > 0 && w.VMs[i].Host == hou1 { // from hou1 they count there as well
			w.move(i, hou0)
			n--
		}
	}
}

// coldMoves moves n VMs that are off to Frankfurt.
func coldMoves(w *World, n int) {
	for i := range n {
		w.VMs[4+i].Host = i % 2
		w.move(4+i, fra0+i%2)
	}
}

// twice lists VM 0 at fra0 too.
func twice(w *World) {
	v := w.VMs[0]
	v.Host, v.VCenter, v.Datastores = fra0, "vc-frankfurt", []int{frankfurt}
	w.VMs = append(w.VMs, v)
}

func TestViolationEndsAndBeginsAgain(t *testing.T) {
	full := func(w *World) { w.Datastores[0].FreeMiB = -5 }
	room := func(w *World) { w.Datastores[0].FreeMiB = 5 }
	v := watchWorlds(asIs, full, asIs, room, full).Violations()
	if len(v) != 2 || !v[0].Until.Equal(noon.Add(3*time.Minute)) || !v[1].Until.IsZero() {
		t.Fatalf("%v", v)
	}
	if v = watchWorlds(full, room, full).Violations(); len(v) != 1 {
		t.Errorf("what the first World had, ended and began again: %v", v)
	}
	if text := v[0].String(); !strings.Contains(text, "2026-09-01T12:02:00Z datastore_overfull: ds-houston") {
		t.Error(text)
	}
}

func TestTogetherIsForgivenAroundMoves(t *testing.T) {
	o := NewObserver()
	at := func(minute int, change func(*World)) {
		w := testWorld()
		w.Rules = []WorldRule{{Cluster: houston, Name: "pair", Kind: "together", VMs: []int{0, 1}}}
		w.Now = noon.Add(time.Duration(minute) * time.Minute)
		change(&w)
		o.Observe(w)
	}
	at(0, asIs)
	at(1, func(w *World) { w.move(0, hou1) })
	at(2, func(w *World) {
		m := w.move(0, hou1)
		m.Started, m.Ended, m.Done = noon.Add(time.Minute), w.Now, true
		w.arrive(0, hou1)
	})
	at(16, func(w *World) { w.arrive(0, hou1) })
	if v := o.Violations(); len(v) != 0 {
		t.Fatalf("within the grace: %v", v)
	}
	at(18, func(w *World) { w.arrive(0, hou1) })
	if v := o.Violations(); len(v) != 1 || v[0].Kind != RuleBroken {
		t.Errorf("after it: %v", v)
	}
}

func TestBackAndForth(t *testing.T) {
	for _, c := range []struct {
		minutes int
		via     int // where the second move goes
		done    bool
		want    int
	}{{60, hou0, true, 1}, {61, hou0, true, 0}, {30, fra0, true, 0}, {30, hou0, false, 0}} {
		o := NewObserver()
		o.Observe(testWorld())
		end := func(minute, from, to int, done bool) {
			w := testWorld()
			w.Now = noon.Add(time.Duration(minute) * time.Minute)
			w.VMs[0].Host = from
			m := w.move(0, to)
			m.Started, m.Ended, m.Done = w.Now.Add(-time.Minute), w.Now, done
			if done {
				w.arrive(0, to)
			}
			for range 2 { // a move may be listed twice
				o.Observe(w)
			}
		}
		end(5, hou0, hou1, true)
		end(5+c.minutes, hou1, c.via, c.done)
		if v := o.Violations(); len(v) != c.want || (c.want > 0 && v[0].Kind != BackAndForth) {
			t.Errorf("%+v: %v", c, v)
		}
	}
}

func TestReport(t *testing.T) {
	o := NewObserver()
	step := func(minute int, change func(*World)) {
		w := testWorld()
		w.Now = noon.Add(time.Duration(minute) * time.Minute)
		change(&w)
		o.Observe(w)
	}
	part := func(mem, disk float64, end int, done bool) func(*World) {
		return func(w *World) {
			m := w.move(0, fra0)
			m.Started, m.MemMiB, m.DiskMiB = noon.Add(time.Minute), mem, disk
			if end > 0 {
				m.Ended, m.Done, m.Stun = noon.Add(time.Duration(end)*time.Minute), done, 700*time.Millisecond
			}
			if done {
				w.arrive(0, fra0)
			}
		}
	}
	step(0, asIs)
	step(1, part(0, 0, 0, false))
	step(2, part(1000, 2000, 0, false))
	step(3, part(9000, 40_000, 3, true))
	step(4, func(w *World) {
		part(9000, 40_000, 3, true)(w)
		w.Hosts[tok0].Standby, w.Datastores[1].FreeMiB = true, -1
	})
	step(5, func(w *World) { w.arrive(0, fra0); w.move(1, hou1).Ended = w.Now })
	r := o.Report()
	if r.MovesDone != 1 || r.MovesFailed != 1 || r.MovesAcross != 1 || r.Standbys != 1 || r.Wakes != 1 || r.StunSeconds != 0.7 {
		t.Errorf("%+v", r)
	}
	if want := 49_000 * 1048576 / 1e9; r.GBCopied < want-1e-9 || r.GBCopied > want+1e-9 {
		t.Errorf("%v GB copied, not %v", r.GBCopied, want)
	}
	if r.Violations != 1 || len(r.ByKind) != 1 || r.ByKind[0].Kind != DatastoreOverfull || len(r.ByKind[0].Examples) != 1 || len(r.Unjudged) != 0 {
		t.Errorf("%+v", r)
	}
	if !r.From.Equal(noon) || !r.To.Equal(noon.Add(5*time.Minute)) {
		t.Errorf("from %s to %s", r.From, r.To)
	}
}

// TestObserverIsDeterministic lets two observers see the same disorder.
func TestObserverIsDeterministic(t *testing.T) {
	see := func() ([]Violation, Report) {
		o := watchWorlds(asIs, func(w *World) {
			w.VMs[0].Fixtures = []string{"odd", "strange"}
			w.move(0, hou1)
			w.move(1, fra0)
			w.Datastores[0].FreeMiB, w.Datastores[1].FreeMiB = -1, -1
			w.Hosts[hou1].Maintenance = true
			w.Hosts[fra0].Segments = nil
		}, func(w *World) { w.VMs = nil; w.Moves = nil })
		return o.Violations(), o.Report()
	}
	v, r := see()
	if len(v) < 8 {
		t.Fatalf("too little disorder: %v", v)
	}
	for range 20 {
		if v2, r2 := see(); !slices.Equal(v, v2) || !reflect.DeepEqual(r, r2) {
			t.Fatalf("%v\n%v", v, v2)
		}
	}
}

func TestAgentsAreNobodysDoing(t *testing.T) {
	first := func(w *World) {
		agent := w.VMs[0]
		agent.UUID, agent.Name, agent.Host, agent.Fixtures = "u-agent", "vCLS", fra0, []string{"agent"}
		w.VMs = append(w.VMs, agent)
	}
	down := func(w *World) { w.Hosts[fra0].On, w.Hosts[fra0].Standby, w.Hosts[fra0].MiB = false, true, 10 }
	gone := func(w *World) { w.VMs = w.VMs[:4] }
	if v := watchWorlds(first, down, gone).Violations(); len(v) != 0 {
		t.Errorf("%v", v)
	}
}
