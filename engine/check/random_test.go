package check

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
	"heliostat/internal/race"
)

// A maker draws fleets: mostly sound, with a little of everything that may
// go wrong with one.
type maker struct {
	*rand.Rand
	in engine.Input
	s  *engine.Snapshot
}

func (m *maker) chance(percent int) bool { return m.IntN(100) < percent }

// between draws from lo to hi, both included.
func (m *maker) between(lo, hi int) int32 { return int32(lo + m.IntN(hi-lo+1)) }

// size is how large a drawn fleet is.
type size struct{ sites, clusters, hosts, vms int } // clusters a site, hosts a cluster, VMs a host

// newMaker starts an Input around a fleet.
func newMaker(seed uint64, s *engine.Snapshot) *maker {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 1)), s: s}
	m.in = engine.Input{
		Cycle: seed, Now: now, Seed: seed, Level: engine.Enforce, Snapshot: s, Config: engine.DefaultConfig(),
		History: &engine.History{}, Decision: &engine.Decision{},
	}
	c := &m.in.Config
	c.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	c.MovesPerCycle = m.between(0, 40)
	c.ReserveHosts = m.between(0, 1)
	if m.chance(30) {
		c.PowerPerHour = m.between(0, 3)
	}
	return m
}

// drawn draws an Input with a fleet that has a little of every trouble.
func drawn(seed uint64, size size) engine.Input {
	m := newMaker(seed, &engine.Snapshot{At: now - 60})
	m.places(size)
	m.hosts(size)
	m.vms(size)
	m.rules()
	m.decide()
	m.remember()
	return m.in
}

// simulated draws opinions and memories about a fleet of the simulator's.
func simulated(seed uint64) engine.Input {
	m := newMaker(seed, sim.Fleet(seed, sim.FleetConfig{
		Sites: 1 + int(seed%4), Hosts: 4 + int(seed%41), HostsPerCluster: 2 + int(seed%7), OffPct: 3, TemplatePct: 1, ObstaclePct: 3, AcrossPct: 50,
		RulePct: 60, GapPct: 1, StandbyPct: 10, DRSPct: 25, LoadPct: 20 + int(seed%70),
	}))
	for i := range m.s.Hosts {
		h := engine.HostHistory{ID: m.s.Hosts[i].ID}
		if m.s.Hosts[i].Power == engine.HostStandby {
			h.Own = engine.OwnStandby
		}
		m.in.History.Hosts = append(m.in.History.Hosts, h)
	}
	m.groups()
	m.decide()
	m.remember()
	return m.in
}

func (m *maker) places(size size) {
	for i := range size.sites {
		site := engine.Site{
			ID: engine.SiteID(fmt.Sprintf("s%d", i)), Mode: engine.Enforce, PUEMilli: 1300, SunMilliDeg: engine.Unknown,
			PriceMicroEURPerKWh: m.between(50, 400) * 1000, CarbonGPerKWh: m.between(20, 700),
		}
		if m.chance(5) {
			site.Mode = engine.Advise
		}
		m.s.Sites = append(m.s.Sites, site)
		m.s.VCenters = append(m.s.VCenters, engine.VCenter{ID: engine.VCenterID(fmt.Sprintf("v%02d", i)), Name: fmt.Sprintf("vc%d", i)})
	}
	for a := range size.sites {
		for b := a + 1; b < size.sites; b++ {
			if m.chance(5) {
				continue
			}
			l := engine.Link{A: int32(a), B: int32(b), RTTMicros: m.between(1000, 180_000), Mbps: m.between(200, 20_000), At: now - 60}
			if m.chance(5) {
				l.RTTMicros = engine.Unknown
			}
			m.s.Links = append(m.s.Links, l)
		}
	}
}

// hosts draws clusters with their hosts, datastores and networks. The first site
// of three shares its vCenter with the second.
func (m *maker) hosts(size size) {
	evc := []string{"intel-broadwell", "intel-broadwell", "intel-skylake", ""}
	center := func(site int) int32 {
		if site == 1 && size.sites > 2 {
			return 0
		}
		return int32(site)
	}
	clusterAt := make([]int, 0, size.sites*size.clusters)
	for i := range size.sites * size.clusters {
		clusterAt = append(clusterAt, i/size.clusters)
	}
	// References are "vCenter/moid", and slices are sorted by them.
	slices.SortStableFunc(clusterAt, func(a, b int) int { return cmp.Compare(center(a), center(b)) })
	for c, site := range clusterAt {
		vc := center(site)
		ref := func(kind string, n int) string { return fmt.Sprintf("v%02d/%s%05d", vc, kind, n) }
		cl := engine.Cluster{
			ID: engine.ClusterID(ref("c", c)), Name: fmt.Sprintf("cluster%d", c), VCenter: vc, Pool: fmt.Sprintf("rp%d", c), Folder: fmt.Sprintf("f%d", c),
			EVC: evc[m.IntN(len(evc))], DRS: engine.DRSOff, DPM: m.chance(5),
		}
		if m.chance(25) {
			cl.DRS = engine.DRSFull
		}
		if m.chance(30) {
			cl.HA = engine.HA{Enabled: true, Admission: true, HostFailures: m.between(0, 2), CPUPct: m.between(0, 30), MemoryPct: m.between(0, 30)}
		}
		m.s.Clusters = append(m.s.Clusters, cl)
		m.datastores(c, site, vc, ref)
		for range size.hosts {
			m.host(int32(c), int32(site), vc, ref)
		}
	}
}

func (m *maker) datastores(c, site int, vc int32, ref func(string, int) string) {
	for k := range 2 {
		size := int64(m.between(2, 20)) * 1_000_000
		m.s.Datastores = append(m.s.Datastores, engine.Datastore{
			ID: engine.DatastoreID(ref("d", 2*c+k)), Name: fmt.Sprintf("ds%d", 2*c+k), VCenter: vc, Type: "vmfs", CapacityMiB: size,
			FreeMiB: size * int64(m.between(5, 80)) / 100, Accessible: !m.chance(2), Maintenance: m.chance(2), Shared: true,
			Sites: engine.SiteMask(0).With(int32(site)), Survives: engine.SiteMask(0).With(int32(site)),
		})
		if m.chance(20) { // seen by several vCenters
			m.s.Datastores[len(m.s.Datastores)-1].URL = fmt.Sprintf("volume%d", k)
		}
		segment := []string{"red", "blue"}[k]
		if m.chance(10) {
			segment = ""
		}
		m.s.Networks = append(m.s.Networks, engine.Network{ID: engine.NetworkID(ref("n", 2*c+k)), Name: fmt.Sprintf("net%d", 2*c+k), VCenter: vc, Segment: segment, Gateway: engine.None})
	}
}

func (m *maker) host(c, site, vc int32, ref func(string, int) string) {
	n := len(m.s.Hosts)
	h := engine.Host{
		ID: engine.HostID(ref("h", n)), Name: fmt.Sprintf("host%d", n), VCenter: vc, Cluster: c, Site: site, Power: engine.HostOn, Connected: !m.chance(2),
		CPUMHz: 60_000, Cores: 24, Threads: 48, MemoryMiB: 262_144, CPUModel: "Xeon", EVCMax: "intel-skylake", UsedMHz: 1500, UsedMiB: 6000,
		LoadAt: now - 30, PowerW: 250, IdleW: 120, MaxW: 400, VMotion: !m.chance(2), NICMbps: []int32{1000, 10_000, 25_000}[m.IntN(3)],
		Standby: !m.chance(20), USB: m.chance(2), VSANData: m.chance(2), Datastores: []int32{2 * c, 2*c + 1}, Networks: []int32{2 * c, 2*c + 1},
	}
	hist := engine.HostHistory{ID: h.ID}
	switch {
	case m.chance(8):
		h.Power, h.Mark, hist.Own, hist.ChangeAt = engine.HostStandby, "standby 5", engine.OwnStandby, now-engine.Unix(m.between(60, 90_000))
		if m.chance(20) {
			h.Mark = ""
		}
	case m.chance(4):
		h.Maintenance, h.Mark, hist.Own = true, "maintenance 5", engine.OwnMaintenance
		if m.chance(50) {
			h.Mark, hist.Own = "", engine.OwnNothing
		}
	case m.chance(3):
		h.LoadAt = now - 5000
	case m.chance(2):
		h.UsedMHz = engine.Unknown
	}
	m.s.Hosts = append(m.s.Hosts, h)
	m.in.History.Hosts = append(m.in.History.Hosts, hist)
}

func (m *maker) vms(size size) {
	for h := range m.s.Hosts {
		host := &m.s.Hosts[h]
		n := m.IntN(2*size.vms + 1)
		if host.Power != engine.HostOn || host.Maintenance || m.chance(15) {
			n = 0
		}
		for range n {
			m.vm(int32(h))
		}
	}
}

func (m *maker) vm(h int32) {
	host := &m.s.Hosts[h]
	n := len(m.s.VMs)
	v := engine.VM{
		ID: engine.VMID(fmt.Sprintf("vm%06d", n)), Name: fmt.Sprintf("app%d", n), Moid: fmt.Sprintf("vm-%d", n), VCenter: host.VCenter, Host: h,
		Folder: "group-v3", Pool: m.s.Clusters[host.Cluster].Pool, Power: engine.VMOn, VCPUs: m.between(1, 8), MemoryMiB: m.between(2, 48) * 1024,
		UsedMHz: m.between(50, 6000), DirtyMbps: m.between(1, 300), LoadAt: now - 30, Home: host.Datastores[m.IntN(2)], Mode: engine.Enforce, Across: m.chance(60),
	}
	v.UsedMiB, v.ActiveMiB = v.MemoryMiB*m.between(30, 100)/100, v.MemoryMiB*m.between(1, 30)/100
	for k := range m.between(1, 2) {
		mib := int64(m.between(10, 200)) * 1024
		v.Disks = append(v.Disks, engine.Disk{Key: 2000 + k, Datastore: host.Datastores[m.IntN(2)], MiB: mib, Used: mib / 2, Thin: m.chance(60)})
	}
	v.NICs = []engine.NIC{{Key: 4000, Network: host.Networks[m.IntN(2)], MAC: fmt.Sprintf("00:50:56:%06x", n)}}
	m.oddity(&v)
	if v.Power == engine.VMOn && host.Seen() {
		host.UsedMHz, host.UsedMiB = host.UsedMHz+max(v.UsedMHz, 0), host.UsedMiB+max(v.UsedMiB, 0)
	}
	m.s.VMs = append(m.s.VMs, v)
}

// oddity gives one VM in four something special.
func (m *maker) oddity(v *engine.VM) {
	switch m.IntN(64) {
	case 0:
		v.Power, v.UsedMHz, v.UsedMiB = engine.VMOff, engine.Unknown, engine.Unknown
	case 1:
		v.Power, v.Template, v.UsedMHz, v.UsedMiB = engine.VMOff, true, engine.Unknown, engine.Unknown
	case 2:
		v.Obstacles = 1 << m.IntN(len(engine.ObstacleTable))
	case 3:
		v.Obstacles = engine.ObAgent
	case 4:
		v.Mode = engine.Mode(m.IntN(4))
	case 5:
		v.LoadAt = now - 4000
	case 6:
		v.UsedMHz, v.UsedMiB = engine.Unknown, engine.Unknown
	case 7:
		v.Disks[0].Profile = "gold"
	case 8:
		v.NICs[0].Network = engine.None
	case 9:
		v.NICs[0].MAC = "00:50:56:ffffff" // shared by all VMs that are so
	case 10:
		v.Task = "Create virtual machine snapshot"
	case 11:
		v.DirtyMbps = m.between(1000, 9000)
	case 12:
		v.VCPUs = 64
	case 13:
		v.ReserveMiB = v.MemoryMiB
	case 14:
		v.DirtyMbps = engine.Unknown
	case 15:
		v.Power, v.UsedMHz, v.UsedMiB = engine.VMSuspended, engine.Unknown, engine.Unknown
	}
}

// some draws up to most VMs of the list.
func (m *maker) some(vms []int32, most int) []int32 {
	out := slices.Clone(vms)
	m.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	out = out[:min(len(out), int(m.between(2, most)))]
	slices.Sort(out)
	return out
}

func (m *maker) rules() {
	for c := range m.s.Clusters {
		var vms []int32
		for _, h := range m.s.HostsOf(int32(c)) {
			vms = append(vms, m.s.VMsOn(h)...)
		}
		for k := range m.IntN(3) {
			if len(vms) < 2 {
				break
			}
			r := engine.Rule{Cluster: int32(c), Name: fmt.Sprintf("r%d", k), Kind: engine.RuleKind(m.IntN(4)), Mandatory: m.chance(60), Disabled: m.chance(10), VMs: m.some(vms, 3)}
			if r.Kind == engine.RuleOn || r.Kind == engine.RuleNotOn {
				r.Hosts = m.some(m.s.HostsOf(int32(c)), 3)
			}
			m.s.Rules = append(m.s.Rules, r)
		}
	}
	m.groups()
}

// groups draws policies and their groups.
func (m *maker) groups() {
	d := m.in.Decision
	all := make([]int32, len(m.s.VMs))
	for i := range all {
		all[i] = int32(i)
	}
	d.Voices = []engine.Voice{
		{Policy: "sun", Rule: engine.RuleSiteScore, Mode: engine.Enforce, WeightMicroEUR: 10_000},
		{Policy: "quiet", Rule: engine.RuleFreeze, Mode: engine.Enforce, Yields: true},
		{Policy: "law", Rule: engine.RuleAllowSites, Mode: engine.Enforce},
	}
	d.Reasons = []string{"because"}
	for k := range m.IntN(4) {
		if len(all) < 2 {
			break
		}
		g := engine.Group{Kind: engine.GroupKind(m.IntN(3)), Name: fmt.Sprintf("g%d", k), Scope: []string{"host", "cluster", "site"}[m.IntN(3)], VMs: m.some(all, 4)}
		if g.Kind == engine.GroupNear {
			g.Scope, g.MaxRTTMicros = "site", m.between(500, 100_000)
			if m.chance(50) {
				g.MaxSplitS = m.between(10, 4000)
			}
		}
		d.Groups = append(d.Groups, g)
	}
}

func (m *maker) decide() {
	d := m.in.Decision
	law, quiet := engine.By{Voice: 2}, engine.By{Voice: 1}
	for i := range m.s.Sites {
		if m.chance(70) {
			d.SiteScores = append(d.SiteScores, engine.SiteScore{Site: int32(i), Milli: m.between(-1000, 1000)})
		}
	}
	for h := range m.s.Hosts {
		id := string(m.s.Hosts[h].ID)
		switch {
		case m.chance(3):
			d.Drains = append(d.Drains, engine.Drain{Host: int32(h), Then: engine.ThenMaintenance})
		case m.chance(1):
			d.Drains = append(d.Drains, engine.Drain{Host: int32(h), Then: engine.ThenNothing})
		case m.chance(30):
			d.Drains = append(d.Drains, engine.Drain{Host: int32(h), Then: engine.ThenStandby})
		}
		if m.chance(30) {
			d.Wakes = append(d.Wakes, engine.Wake{Host: int32(h)})
		}
		if m.chance(4) {
			d.KeepOns = append(d.KeepOns, engine.KeepOn{Host: int32(h)})
		}
		if m.chance(1) {
			d.Freezes = append(d.Freezes, engine.Freeze{Place: engine.Subject{Kind: "host", ID: id}, By: []engine.By{law, quiet}[m.IntN(2)]})
		}
		if m.chance(1) {
			m.s.Gaps = append(m.s.Gaps, engine.Gap{Subject: engine.Subject{Kind: "host", ID: id}, Reason: "stale"})
		}
	}
	for v := range m.s.VMs {
		if m.chance(2) {
			d.Pins = append(d.Pins, engine.Pin{VM: int32(v), By: []engine.By{law, quiet}[m.IntN(2)]})
		}
		if m.chance(4) {
			d.AllowSites = append(d.AllowSites, engine.AllowSites{VM: int32(v), Sites: engine.SiteMask(m.Uint64()), By: []engine.By{law, quiet}[m.IntN(2)]})
		}
		if m.chance(2) && len(m.s.Hosts) > 4 {
			x := engine.AllowHosts{VM: int32(v), By: law}
			for h := range m.s.Hosts {
				if m.chance(50) {
					x.Hosts = append(x.Hosts, int32(h))
				}
			}
			d.AllowHosts = append(d.AllowHosts, x)
		}
		if m.chance(5) {
			d.Priorities = append(d.Priorities, engine.Priority{VM: int32(v), Tier: m.between(1, 3)})
		}
	}
	m.emergency()
}

// emergency draws an evacuation in every third fleet.
func (m *maker) emergency() {
	d := m.in.Decision
	if m.chance(66) {
		return
	}
	place := engine.Subject{Kind: "site", ID: string(m.s.Sites[m.IntN(len(m.s.Sites))].ID)}
	switch m.IntN(6) {
	case 0:
		place = engine.Subject{Kind: "cluster", ID: string(m.s.Clusters[m.IntN(len(m.s.Clusters))].ID)}
	case 1:
		place = engine.Subject{Kind: "host", ID: string(m.s.Hosts[m.IntN(len(m.s.Hosts))].ID)}
	case 2:
		place = engine.Subject{Kind: "datastore", ID: string(m.s.Datastores[m.IntN(len(m.s.Datastores))].ID)}
	}
	d.Evacuations = []engine.Evacuation{{Place: place, Deadline: now + engine.Unix(m.between(600, 90_000))}}
	if m.chance(30) {
		d.Freezes = append(d.Freezes, engine.Freeze{Place: engine.Subject{Kind: "fleet"}, By: engine.By{Voice: 1}})
	}
}

func (m *maker) remember() {
	for i := range m.s.VMs {
		h := engine.VMHistory{ID: m.s.VMs[i].ID}
		switch {
		case m.chance(5):
			h.MovedAt, h.LeftSite = now-engine.Unix(m.between(60, 20_000)), m.s.Sites[m.IntN(len(m.s.Sites))].ID
			h.LeftHost = m.s.Hosts[m.IntN(len(m.s.Hosts))].ID
		case m.chance(3):
			h.FailedAt, h.Failures = now-engine.Unix(m.between(60, 20_000)), m.between(1, 4)
		}
		if used := m.s.VMs[i].UsedMHz; used != engine.Unknown {
			for k := range engine.Unix(12) {
				h.CPU.Add(now-3600+300*k, used*m.between(50, 160)/100)
			}
		}
		m.in.History.VMs = append(m.in.History.VMs, h)
	}
	for range m.IntN(10) {
		m.in.History.Spent = append(m.in.History.Spent, engine.Spend{At: now - engine.Unix(m.between(1, 90_000)), Kind: engine.ActionKind(m.IntN(3)), Demand: m.chance(30)})
	}
}

// underWay takes some actions of a plan as under way: what Build is shown next.
func underWay(in engine.Input, p *engine.Plan, r *rand.Rand) engine.Input {
	in.Cycle++
	for i := range p.Actions {
		if len(p.Actions[i].After) == 0 && r.IntN(3) == 0 {
			o := engine.ActionRecord{Action: p.Actions[i], State: engine.StateStarted, Started: in.Now - engine.Unix(r.IntN(60))}
			if o.Action.Kind == engine.Move && r.IntN(8) == 0 {
				o.Action.VM = "gone" // between two inventories
			}
			in.Open = append(in.Open, o)
		}
	}
	return in
}

var seeds = flag.Uint64("seeds", 250, "how many fleets of each kind Check tries Build on")

// What Build makes, Check accepts: on random fleets, and again with some of the
// plan under way.
func TestAcceptsBuild(t *testing.T) {
	kinds := map[engine.ActionKind]int{}
	sizes := []size{{1, 1, 4, 5}, {2, 1, 3, 4}, {2, 2, 5, 8}, {3, 2, 6, 6}, {4, 3, 4, 3}}
	for name, draw := range map[string]func(uint64) engine.Input{
		"drawn": func(seed uint64) engine.Input { return drawn(seed, sizes[seed%uint64(len(sizes))]) }, "simulated": simulated,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range race.Cases(*seeds) {
				in := draw(seed)
				if err := errors.Join(in.Snapshot.Validate(), in.Config.Validate()); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for round := range 2 {
					p := plan.Build(in)
					for i := range p.Actions {
						kinds[p.Actions[i].Kind]++
					}
					if err := Plan(in, p); err != nil {
						t.Errorf("seed %d, round %d, %d actions:\n%v", seed, round, len(p.Actions), err)
					}
					in = underWay(in, p, rand.New(rand.NewPCG(seed, 2)))
				}
			}
		})
	}
	t.Logf("planned: %v", kinds)
	for k := engine.Move; k <= engine.ExitMaintenance; k++ {
		if kinds[k] == 0 && !race.Enabled {
			t.Errorf("no %s was ever planned: the fleets prove too little", k)
		}
	}
}

// Every edge that Build makes is needed: without it, Check refuses.
func TestNeedsEveryEdge(t *testing.T) {
	race.Alone(t)
	tried := 0
	for seed := range uint64(60) {
		in := simulated(seed)
		p := plan.Build(in)
		if Plan(in, p) != nil {
			continue // that is for another test to report
		}
		for i := range p.Actions {
			a := &p.Actions[i]
			if a.Kind == engine.EnterMaintenance {
				continue // where a cluster's own scheduler empties the host, it may wait for more than it must
			}
			for k, after := range a.After {
				a.After = slices.Delete(slices.Clone(a.After), k, k+1)
				if Plan(in, p) == nil {
					t.Errorf("seed %d: %s need not wait for %s", seed, a, &p.Actions[after])
				}
				a.After = slices.Insert(slices.Clone(a.After), k, after)
				tried++
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d edges were tried", tried)
	}
}
