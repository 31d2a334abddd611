// Package sim is a seeded fleet in memory on virtual time, for fast property
// tests of the planner and for benchmarks. [Fleet] makes a snapshot; a [World]
// carries plans out on it as the executor would, and reports what they break.
package sim

import (
	"fmt"

	"heliostat/engine"
)

// Start is when simulated fleets begin: a fixed moment, so that fleets are equal.
const Start engine.Unix = 1_800_000_000

// A FleetConfig says how large and how difficult a fleet is. Zero values get the
// defaults named; percentages are chances.
type FleetConfig struct {
	Sites           int // 3
	Hosts           int // 24, spread evenly over the sites
	VMs             int // 10 a host
	HostsPerCluster int // 32 at most

	OffPct      int // VMs that are powered off
	TemplatePct int // VMs that are templates
	ObstaclePct int // VMs with an obstacle drawn from the table
	AcrossPct   int // VMs opted in to moves across vCenters
	RulePct     int // clusters with DRS rules: a pair apart, a pair together, one VM tied to half of the hosts
	GapPct      int // hosts and VMs whose load is not seen
	StandbyPct  int // empty hosts in standby, put there by this daemon
	DRSPct      int // clusters whose own scheduler is fully automated
	LoadPct     int // 40: how full hosts are, of memory, at most
}

func (c FleetConfig) withDefaults() FleetConfig {
	def := func(x *int, v int) {
		if *x <= 0 {
			*x = v
		}
	}
	def(&c.Sites, 3)
	def(&c.Hosts, 24)
	def(&c.VMs, 10*c.Hosts)
	def(&c.HostsPerCluster, 32)
	def(&c.LoadPct, 40)
	return c
}

// cities are places on earth with a price in micro-euros a kWh and grams of CO2
// a kWh, in the order of the magnitude of European and American day-ahead markets.
var cities = []struct {
	id       engine.SiteID
	region   string
	lat, lon float64
	price    int32
	carbon   int32
}{
	{"ams", "eu", 52.4, 4.9, 92_000, 270},
	{"fra", "eu", 50.1, 8.7, 96_000, 360},
	{"hou", "us", 29.8, -95.4, 38_000, 390},
	{"iad", "us", 38.9, -77.4, 54_000, 350},
	{"lhr", "uk", 51.5, -0.5, 101_000, 190},
	{"mad", "eu", 40.4, -3.7, 61_000, 140},
	{"nrt", "jp", 35.7, 140.4, 118_000, 460},
	{"osl", "eu", 59.9, 10.8, 41_000, 30},
	{"par", "eu", 48.9, 2.4, 70_000, 50},
	{"sin", "sg", 1.3, 103.8, 130_000, 470},
	{"sto", "eu", 59.3, 18.1, 36_000, 25},
	{"syd", "au", -33.9, 151.2, 88_000, 560},
	{"tor", "ca", 43.7, -79.4, 44_000, 60},
	{"vie", "eu", 48.2, 16.4, 83_000, 160},
	{"zrh", "eu", 47.4, 8.5, 86_000, 45},
}

// A maker builds one fleet.
type maker struct {
	c FleetConfig
	x uint64 // state of the dice
	s *engine.Snapshot
}

// roll is a number from 0 to n-1 (splitmix64).
func (m *maker) roll(n int) int {
	m.x += 0x9e3779b97f4a7c15
	z := (m.x ^ m.x>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

// chance is true in pct of a hundred cases.
func (m *maker) chance(pct int) bool { return pct > 0 && m.roll(100) < pct }

// Fleet makes a fleet that is valid by [engine.Snapshot.Validate]. Equal seeds
// and configurations give equal fleets.
func Fleet(seed uint64, cfg FleetConfig) *engine.Snapshot {
	m := &maker{c: cfg.withDefaults(), x: seed, s: &engine.Snapshot{At: Start}}
	m.sites()
	m.hosts()
	m.vms()
	m.load()
	m.rules()
	if err := m.s.Validate(); err != nil {
		panic("sim: " + err.Error())
	}
	return m.s
}

// site i is a city, again with a number once they are used up.
func (m *maker) sites() {
	for i := range m.c.Sites {
		c := cities[i%len(cities)]
		id := c.id
		if m.c.Sites > len(cities) {
			id = engine.SiteID(fmt.Sprintf("%02d-%s", i, c.id))
		}
		m.s.Sites = append(m.s.Sites, engine.Site{
			ID: id, Region: c.region, Lat: c.lat, Lon: c.lon, Mode: engine.Enforce, PUEMilli: 1300,
			PriceMicroEURPerKWh: c.price, CarbonGPerKWh: c.carbon, SunMilliDeg: engine.Unknown,
		})
		m.s.VCenters = append(m.s.VCenters, engine.VCenter{ID: engine.VCenterID(fmt.Sprintf("vc-%02d", i)), Name: string(id), Version: "8.0.1"})
	}
	for a := range m.c.Sites {
		for b := a + 1; b < m.c.Sites; b++ {
			m.s.Links = append(m.s.Links, engine.Link{
				A: int32(a), B: int32(b), RTTMicros: 4_000 + int32(m.roll(90_000)), Mbps: 10_000, At: Start, Source: "sim",
			})
		}
	}
}

const (
	networksPerVCenter = 8
	datastoresPer      = 4 // of a cluster
)

// hosts makes the clusters of each site, their datastores and hosts.
func (m *maker) hosts() {
	s := m.s
	for site := range m.c.Sites {
		vc := s.VCenters[site].ID
		for n := range networksPerVCenter {
			s.Networks = append(s.Networks, engine.Network{
				ID: engine.NetworkID(fmt.Sprintf("%s/net-%02d", vc, n)), Name: fmt.Sprintf("vlan-%d", 100+n), VCenter: int32(site),
				Segment: fmt.Sprintf("seg-%d", n), Gateway: engine.None, Distributed: true,
			})
		}
		left := m.c.Hosts / m.c.Sites
		if site < m.c.Hosts%m.c.Sites {
			left++
		}
		for c := 0; left > 0; c++ {
			n := min(left, m.c.HostsPerCluster)
			m.cluster(site, c, n)
			left -= n
		}
	}
}

func (m *maker) cluster(site, number, hosts int) {
	s := m.s
	vc := s.VCenters[site].ID
	k := int32(len(s.Clusters))
	x := engine.Cluster{
		ID: engine.ClusterID(fmt.Sprintf("%s/domain-%04d", vc, number)), Name: fmt.Sprintf("%s-%d", s.Sites[site].ID, number), VCenter: int32(site),
		HA: engine.HA{Enabled: true, Admission: true, HostFailures: 1}, EVC: "intel-icelake", Pool: fmt.Sprintf("resgroup-%d", k), Folder: fmt.Sprintf("group-v%d", site), DRS: engine.DRSPartial,
	}
	if m.chance(m.c.DRSPct) {
		x.DRS = engine.DRSFull
	}
	s.Clusters = append(s.Clusters, x)
	var stores []int32
	for d := range datastoresPer {
		stores = append(stores, int32(len(s.Datastores)))
		sites := engine.SiteMask(0).With(int32(site))
		s.Datastores = append(s.Datastores, engine.Datastore{
			ID: engine.DatastoreID(fmt.Sprintf("%s/ds-%04d-%d", vc, number, d)), Name: fmt.Sprintf("%s-ds%d", x.Name, d), VCenter: int32(site), Type: "vmfs",
			CapacityMiB: int64(hosts) << 22, FreeMiB: int64(hosts) << 22, Accessible: true, Shared: true, Sites: sites, Survives: sites,
		})
	}
	var nets []int32
	for n := range networksPerVCenter {
		nets = append(nets, int32(site*networksPerVCenter+n))
	}
	for h := range hosts {
		host := engine.Host{
			ID: engine.HostID(fmt.Sprintf("%s/host-%04d-%02d", vc, number, h)), Name: fmt.Sprintf("esx-%s-%d-%d", s.Sites[site].ID, number, h),
			VCenter: int32(site), Cluster: k, Site: int32(site), Power: engine.HostOn, Connected: true,
			CPUMHz: 32 * 2600, Cores: 32, Threads: 64, MemoryMiB: 512 << 10, CPUModel: "Xeon Gold 6338", EVCMax: "intel-icelake",
			LoadAt: Start, PowerW: engine.Unknown, IdleW: 140, MaxW: 520, PowerAt: Start, VMotion: true, NICMbps: 25_000, Standby: true,
			Datastores: stores, Networks: nets,
		}
		if m.chance(m.c.StandbyPct) && h > 1 {
			host.Power, host.Mark = engine.HostStandby, "standby 1"
		}
		s.Hosts = append(s.Hosts, host)
	}
}

// vms fills the hosts that are on, at random, up to LoadPct of their memory.
func (m *maker) vms() {
	s := m.s
	var on []int32
	mem, cpu := make([]int64, len(s.Hosts)), make([]int64, len(s.Hosts))
	for h := range s.Hosts {
		if s.Hosts[h].Power == engine.HostOn {
			on = append(on, int32(h))
		}
	}
	for i := range m.c.VMs {
		v := m.vm(i)
		for range 8 {
			h := on[m.roll(len(on))]
			x := &s.Hosts[h]
			if v.Power == engine.VMOn && (mem[h]+int64(v.UsedMiB) > int64(x.MemoryMiB)*int64(m.c.LoadPct)/100 || cpu[h]+int64(v.UsedMHz) > int64(x.CPUMHz)*int64(m.c.LoadPct)/100) {
				continue
			}
			m.settle(&v, h)
			if v.Power == engine.VMOn {
				mem[h] += int64(v.UsedMiB)
				cpu[h] += int64(v.UsedMHz)
			}
			s.VMs = append(s.VMs, v)
			break
		}
	}
}

// vm draws one VM: sizes as in public traces, most of them small and idle.
func (m *maker) vm(i int) engine.VM {
	sizes := [...]int32{1, 2, 2, 2, 4, 4, 8}
	vcpus := sizes[m.roll(len(sizes))]
	memory := vcpus << (10 + m.roll(3))
	v := engine.VM{
		ID: engine.VMID(fmt.Sprintf("50%06d-0000-4000-8000-000000000000", i)), Name: fmt.Sprintf("app-%06d", i), Moid: fmt.Sprintf("vm-%d", i),
		Power: engine.VMOn, VCPUs: vcpus, MemoryMiB: memory, DirtyMbps: engine.Unknown, LoadAt: Start, Mode: engine.Enforce, HWVersion: 19,
	}
	v.UsedMHz = vcpus * int32(20+m.roll(60))
	if m.chance(15) {
		v.UsedMHz = vcpus * int32(200+m.roll(1200))
	}
	v.UsedMiB = memory*int32(40+m.roll(50))/100 + 60
	v.ActiveMiB = memory * int32(2+m.roll(18)) / 100
	v.Across = m.chance(m.c.AcrossPct)
	switch {
	case m.chance(m.c.TemplatePct):
		v.Template, v.Power = true, engine.VMOff
	case m.chance(m.c.OffPct):
		v.Power = engine.VMOff
	}
	if m.chance(m.c.ObstaclePct) {
		v.Obstacles = engine.ObstacleTable[m.roll(len(engine.ObstacleTable))].Bit
	}
	if v.Power != engine.VMOn {
		v.UsedMHz, v.UsedMiB, v.ActiveMiB = 0, 0, 0
	}
	return v
}

// settle registers the VM on the host, with its disks and cards.
func (m *maker) settle(v *engine.VM, h int32) {
	s := m.s
	x := &s.Hosts[h]
	v.Host, v.VCenter, v.Pool, v.Folder = h, x.VCenter, s.Clusters[x.Cluster].Pool, s.Clusters[x.Cluster].Folder
	v.Home = x.Datastores[m.roll(len(x.Datastores))]
	disk := engine.Disk{Key: 2000, Datastore: v.Home, MiB: int64(20+m.roll(180)) << 10, Thin: true}
	disk.Used = disk.MiB * int64(10+m.roll(60)) / 100
	v.Disks = []engine.Disk{disk}
	s.Datastores[v.Home].FreeMiB -= disk.Used + v.SwapMiB()
	i := len(s.VMs)
	v.NICs = []engine.NIC{{Key: 4000, Network: x.Networks[m.roll(len(x.Networks))], MAC: fmt.Sprintf("00:50:56:%02x:%02x:%02x", i>>16&0xff, i>>8&0xff, i&0xff)}}
}

// load sets the hosts' use to what their VMs use, and a little of their own.
func (m *maker) load() {
	s := m.s
	for h := range s.Hosts {
		x := &s.Hosts[h]
		if x.Power == engine.HostOn {
			x.UsedMHz, x.UsedMiB = 400, 6<<10
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		if v.Power == engine.VMOn {
			s.Hosts[v.Host].UsedMHz += v.UsedMHz
			s.Hosts[v.Host].UsedMiB += v.UsedMiB
		}
	}
	for i := range s.VMs {
		if m.chance(m.c.GapPct) {
			s.VMs[i].UsedMHz = engine.Unknown
		}
	}
	for h := range s.Hosts {
		if m.chance(m.c.GapPct) {
			s.Hosts[h].UsedMHz = engine.Unknown
		}
	}
}

// rules gives some clusters DRS rules that hold: a pair apart, a pair together
// and a VM tied to half of the hosts, its own among them.
func (m *maker) rules() {
	s := m.s
	byCluster := make([][]int32, len(s.Clusters))
	for i := range s.VMs {
		if s.VMs[i].Power == engine.VMOn {
			c := s.Hosts[s.VMs[i].Host].Cluster
			byCluster[c] = append(byCluster[c], int32(i))
		}
	}
	for c, vms := range byCluster {
		if len(vms) < 8 || !m.chance(m.c.RulePct) {
			continue
		}
		cluster := int32(c)
		add := func(name string, kind engine.RuleKind, vms, hosts []int32) {
			s.Rules = append(s.Rules, engine.Rule{Cluster: cluster, Name: name, Kind: kind, Mandatory: true, VMs: vms, Hosts: hosts})
		}
		if a, b, ok := pair(s, vms, false); ok {
			add("apart", engine.RuleApart, []int32{a, b}, nil)
		}
		if v := vms[len(vms)/2]; true {
			var hosts []int32
			for i, h := range s.HostsOf(cluster) {
				if i%2 == 0 || h == s.VMs[v].Host {
					hosts = append(hosts, h)
				}
			}
			add("on", engine.RuleOn, []int32{v}, hosts)
		}
		if a, b, ok := pair(s, vms, true); ok {
			add("together", engine.RuleTogether, []int32{a, b}, nil)
		}
	}
}

// pair finds two VMs on one host, or on two.
func pair(s *engine.Snapshot, vms []int32, same bool) (a, b int32, ok bool) {
	for i, a := range vms {
		for _, b := range vms[i+1:] {
			if (s.VMs[a].Host == s.VMs[b].Host) == same {
				return a, b, true
			}
		}
	}
	return 0, 0, false
}
