package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"heliostat/engine"
)

const rootModule = `# METADATA
# scope: subpackages
# schemas:
# - input: schema.input
# - data.fleet: schema.fleet
# custom:
#   contract: 1
package placement
`

// bundleOf is a bundle with the root annotations and the files given by name.
func bundleOf(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{"placement/placement.rego": {Data: []byte(rootModule)}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

// ruleOf is a policy p with one rule as entry point.
func ruleOf(reads, rule string) string {
	return "package placement.p\n\n# METADATA\n# entrypoint: true\n# custom:\n#   reads: " + reads + "\n" + rule + "\n"
}

func mustLoad(t testing.TB, files map[string]string, cfg Config) *Bundle {
	t.Helper()
	b, err := Load(t.Context(), bundleOf(files), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustEvaluate(t testing.TB, b *Bundle, v engine.View) *engine.Decision {
	t.Helper()
	d, err := b.Evaluate(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func digest(t testing.TB, v any) string {
	t.Helper()
	raw, err := engine.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return engine.DigestBytes(raw)
}

var noon = engine.At(time.Date(2026, 6, 21, 12, 0, 0, 0, time.UTC))

// fleetOf generates a fleet: three sites, hosts in clusters of about 31, ten
// VMs a host. Equal arguments give equal fleets.
func fleetOf(hosts, perCluster int, seed uint64) engine.View {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := &engine.Snapshot{At: noon}
	for i, id := range []string{"fra", "hou", "tyo"} {
		s.Sites = append(s.Sites, engine.Site{
			ID: engine.SiteID(id), Region: []string{"eu", "us", "jp"}[i], Lat: 50.1, Lon: float64(8 * i), TimeZone: []string{"Europe/Berlin", "America/Chicago", "Asia/Tokyo"}[i],
			Mode: engine.Enforce, PUEMilli: 1300, PriceMicroEURPerKWh: 85_123, CarbonGPerKWh: 300, SunMilliDeg: int32(20_000 * i),
		})
		s.VCenters = append(s.VCenters, engine.VCenter{ID: engine.VCenterID("vc-" + id), Name: id})
		s.Datastores = append(s.Datastores, engine.Datastore{ID: engine.DatastoreID("vc-" + id + "/ds"), Name: "ds", VCenter: int32(i), Type: "vmfs", CapacityMiB: 1 << 40, FreeMiB: 1 << 39, Accessible: true, Sites: 1 << i, Survives: 1 << i, Shared: true})
		s.Networks = append(s.Networks, engine.Network{ID: engine.NetworkID("vc-" + id + "/net"), Name: "prod", VCenter: int32(i), Segment: "prod", Gateway: engine.None})
	}
	s.Links = []engine.Link{{A: 0, B: 1, RTTMicros: 123_000, Mbps: 10_000, At: noon, Source: "t"}, {A: 0, B: 2, RTTMicros: 229_000, Mbps: 1000, At: noon, Source: "t"}, {A: 1, B: 2, RTTMicros: engine.Unknown, Mbps: engine.Unknown, At: noon, Source: "t"}}
	hist := &engine.History{At: noon}
	clusters := (hosts + perCluster - 1) / perCluster
	for c := range clusters {
		site := int32(c * 3 / clusters)
		s.Clusters = append(s.Clusters, engine.Cluster{ID: engine.ClusterID(fmt.Sprintf("%s/c%04d", s.VCenters[site].ID, c)), Name: fmt.Sprintf("c%d", c), VCenter: site, DRS: engine.DRSOff})
	}
	for h := range hosts {
		c := int32(h / perCluster)
		vc := s.Clusters[c].VCenter
		s.Hosts = append(s.Hosts, engine.Host{
			ID: engine.HostID(fmt.Sprintf("%s/h%05d", s.VCenters[vc].ID, h)), Name: fmt.Sprintf("h%d", h), VCenter: vc, Cluster: c, Site: vc, Power: engine.HostOn, Connected: true,
			CPUMHz: 80_000, Cores: 32, Threads: 64, MemoryMiB: 524_288, UsedMHz: rnd.Int32N(60_000), UsedMiB: 100_000 + rnd.Int32N(300_000), LoadAt: noon,
			PowerW: 300, IdleW: 120, MaxW: 500, VMotion: true, NICMbps: 10_000, Standby: true, Datastores: []int32{vc}, Networks: []int32{vc},
		})
		hh := engine.HostHistory{ID: s.Hosts[h].ID}
		for i := range 12 {
			hh.CPU.Add(noon-engine.Unix(300*(11-i)), s.Hosts[h].UsedMHz*10/800)
			hh.Mem.Add(noon-engine.Unix(300*(11-i)), s.Hosts[h].UsedMiB/525)
		}
		hist.Hosts = append(hist.Hosts, hh)
		for v := range 10 {
			vm := engine.VM{
				ID: engine.VMID(fmt.Sprintf("vm-%06d-%s", h*10+v, strings.Repeat("0", 20))), Name: fmt.Sprintf("vm%d", h*10+v), Moid: "vm-1", VCenter: vc, Host: int32(h), Folder: "group-v3", Pool: "resgroup-8",
				Power: engine.VMOn, VCPUs: 4, MemoryMiB: 16_384, UsedMHz: rnd.Int32N(4000), UsedMiB: rnd.Int32N(16_384), ActiveMiB: 500, DirtyMbps: engine.Unknown, LoadAt: noon,
				Home: vc, Disks: []engine.Disk{{Key: 2000, Datastore: vc, MiB: 40_960, Used: 20_480, Thin: true}}, NICs: []engine.NIC{{Key: 4000, Network: vc}},
				Tags: []string{"criticality:" + []string{"1-critical", "2-high", "3-normal", "4-low"}[rnd.IntN(4)], "env:prod"}, HWVersion: 19, Mode: engine.Enforce,
			}
			if rnd.IntN(10) == 0 {
				vm.Tags = append(vm.Tags, "residency:eu")
			}
			if rnd.IntN(50) == 0 {
				vm.Obstacles = engine.ObPassthrough
			}
			s.VMs = append(s.VMs, vm)
			hist.VMs = append(hist.VMs, engine.VMHistory{ID: vm.ID})
		}
	}
	return engine.View{Now: noon, Snapshot: s, History: hist, Low: engine.Thresholds{CPUPct: 45, MemPct: 80}}
}

// smallFleet is a fleet of 9 hosts and 90 VMs with something of everything.
func smallFleet() engine.View {
	v := fleetOf(9, 3, 7)
	s := v.Snapshot
	s.Hosts[1].Power, s.Hosts[1].Connected, s.Hosts[1].UsedMHz, s.Hosts[1].UsedMiB, s.Hosts[1].PowerW = engine.HostStandby, false, engine.Unknown, engine.Unknown, engine.Unknown
	v.History.Hosts[1].Own = engine.OwnStandby
	s.Hosts[4].Site = engine.None
	s.VMs[5].Host = engine.None
	s.VMs[6].Attributes = []string{"owner=ops", "pinned=true"}
	s.Hazards = []engine.Hazard{
		{ID: "AL09", Site: "hou", Kind: "hurricane", Severity: "extreme", PMilli: 800, Earliest: noon + 90_000, Likely: noon + 95_000, End: noon + 200_000, Source: "nhc", Issued: noon, ValidUntil: noon + 21_600},
		{ID: "AL09", Site: "fra", Kind: "hurricane", Severity: "minor", PMilli: engine.Unknown, Source: "nhc"},
	}
	s.Alerts = []engine.Alert{{Fingerprint: "a1", Status: "firing", Name: "CoolingFailure", Kind: "cooling", Site: "tyo", Severity: "critical", StartsAt: noon, ReceivedAt: noon, ExpiresAt: noon + 3600, Source: "am"}}
	s.Gaps = []engine.Gap{{Source: "vc", Subject: engine.Subject{Kind: "feed", ID: "x"}, Reason: "silent", At: noon}}
	v.Windows = []engine.Window{
		{ID: "w1", Kind: "maintenance", Place: engine.Subject{Kind: "host", ID: "h7"}, From: noon, To: noon + 3600},
		{ID: "w2", Kind: "holiday", Place: engine.Subject{Kind: "site", ID: "fra"}, From: noon - 10, To: noon + 10},
		{ID: "w3", Kind: "quiet", Place: engine.Subject{Kind: "host", ID: "nobody"}, From: noon - 10, To: noon + 10},
	}
	a := moveOf(s, 0, 8)
	a.Demand = engine.Subject{Kind: "site", ID: "hou"}
	v.Open = []engine.ActionRecord{{Action: a, State: engine.StateStarted, Started: noon}}
	return v
}

// moveOf is a move of VM v to host h.
func moveOf(s *engine.Snapshot, v, h int32) engine.Action {
	place := func(i int32) engine.Place {
		x := &s.Hosts[i]
		p := engine.Place{VCenter: s.VCenters[x.VCenter].ID, Cluster: s.Clusters[x.Cluster].ID, Host: x.ID}
		if x.Site >= 0 {
			p.Site = s.Sites[x.Site].ID
		}
		return p
	}
	from := s.VMs[v].Host
	return engine.Action{
		ID: "c1-1", Kind: engine.Move, VM: s.VMs[v].ID, Name: s.VMs[v].Name, From: place(from), To: place(h), Across: s.Hosts[from].VCenter != s.Hosts[h].VCenter,
		Why: []engine.Why{{Policy: "p", Rule: "prefer", Reason: "r"}}, Estimate: engine.Estimate{Seconds: 60, MemoryMiB: 1000, DiskMiB: 20_480},
	}
}
