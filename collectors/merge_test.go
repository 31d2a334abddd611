package collectors_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"heliostat/collectors"
	"heliostat/engine"
)

const now = engine.Unix(1_700_000_000)

func config() collectors.Config {
	c := collectors.DefaultConfig()
	price, carbon, rtt, mbps := 0.2, 300.0, 123.0, int32(1000)
	site := func(id, vc string) collectors.SiteConfig {
		s := collectors.SiteConfig{ID: engine.SiteID(id), Hosts: []collectors.HostMatch{{VCenter: vc}}}
		s.SetDefaults()
		s.PriceEURPerKWh, s.CarbonGPerKWh = &price, &carbon
		return s
	}
	c.Sites = []collectors.SiteConfig{site("west", "vc-w"), site("east", "vc-e")} // not in order
	c.Links = []collectors.LinkConfig{{Between: [2]engine.SiteID{"west", "east"}, RTTms: &rtt, Mbps: &mbps}}
	c.Segments = []collectors.SegmentConfig{{Name: "app", GatewaySite: "west", Networks: []collectors.NetworkMatch{{Name: "app-*"}}}}
	return c
}

// inventory makes a vCenter of one cluster with hosts and VMs, all well.
func inventory(id, name string, hosts, vms int) *engine.Inventory {
	inv := &engine.Inventory{
		VCenter:    engine.VCenter{ID: engine.VCenterID(id), Name: name},
		Clusters:   []engine.Cluster{{ID: engine.ClusterID(id + "/c1"), Name: "cl-" + name, Path: "/dc/host/prod/cl-" + name}},
		Datastores: []engine.Datastore{{ID: engine.DatastoreID(id + "/d1"), Name: "local"}, {ID: engine.DatastoreID(id + "/d2"), Name: "shared"}},
		Networks:   []engine.Network{{ID: engine.NetworkID(id + "/n1"), Name: "app-" + name}, {ID: engine.NetworkID(id + "/n2"), Name: "other"}},
	}
	for h := range hosts {
		inv.Hosts = append(inv.Hosts, engine.Host{
			ID: engine.HostID(fmt.Sprintf("%s/h%05d", id, h)), Name: fmt.Sprintf("esx%05d.%s", h, name), Power: engine.HostOn, Connected: true,
			CPUMHz: 40_000, MemoryMiB: 262_144, UsedMHz: 4_000, UsedMiB: 65_536, LoadAt: now - 20, PowerW: 200, PowerAt: now - 20,
			Site: engine.None, Datastores: []int32{0, 1}, Networks: []int32{0, 1}, CPUModel: "Xeon Gold 6330",
		})
	}
	for v := range vms {
		inv.VMs = append(inv.VMs, engine.VM{
			ID: engine.VMID(fmt.Sprintf("%08x-%s", v*7919%1_000_003, name)), Name: fmt.Sprint("vm", v), Moid: fmt.Sprint("vm-", v), Host: int32(v % hosts),
			Power: engine.VMOn, VCPUs: 2, MemoryMiB: 4096, UsedMHz: 300, UsedMiB: 2048, ActiveMiB: 500, DirtyMbps: engine.Unknown, LoadAt: now - 20,
			Home: 1, Disks: []engine.Disk{{Key: 2000, Datastore: 1, MiB: 20_480}}, NICs: []engine.NIC{{Key: 4000}},
		})
	}
	slices.SortFunc(inv.VMs, func(a, b engine.VM) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return inv
}

func seen(inv *engine.Inventory) engine.Observation {
	return engine.Observation{Source: "vcenter " + inv.VCenter.Name, At: now - 10, Inventory: inv}
}

func mustMerge(t *testing.T, c collectors.Config, obs []engine.Observation, resolve collectors.Resolve) (*engine.Snapshot, []engine.Sighting) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, twice := collectors.Merge(&c, now, obs, resolve)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s, twice
}

// gaps renders the gaps as lines.
func gaps(s *engine.Snapshot) string {
	var b strings.Builder
	for _, g := range s.Gaps {
		fmt.Fprintf(&b, "%s: %s: %s\n", g.Source, g.Subject, g.Reason)
	}
	return b.String()
}

func TestMergeReferences(t *testing.T) {
	w, e := inventory("aaaa", "vc-w", 3, 40), inventory("bbbb", "vc-e", 2, 30)
	for _, inv := range []*engine.Inventory{w, e} {
		inv.Rules = []engine.Rule{{Name: "keep", Kind: engine.RuleOn, Disabled: inv == e, VMs: []int32{3, 9}, Hosts: []int32{1}}}
		inv.Clusters[0].FailOn = []int32{1}
	}
	s, twice := mustMerge(t, config(), []engine.Observation{seen(e), seen(w)}, nil)
	if len(twice) != 0 || len(s.Gaps) != 0 {
		t.Errorf("sightings %v, gaps:\n%s", twice, gaps(s))
	}
	if s.At != now-10 || len(s.VMs) != 70 || len(s.Hosts) != 5 {
		t.Fatalf("at %v, %d VMs, %d hosts", s.At, len(s.VMs), len(s.Hosts))
	}
	// Everything must stand where its own vCenter says, found by name again.
	for i, inv := range []*engine.Inventory{w, e} {
		for j := range inv.VMs {
			from := &inv.VMs[j]
			v, ok := s.FindVM(from.ID)
			if !ok {
				t.Fatalf("%s is lost", from.ID)
			}
			got := &s.VMs[v]
			if s.Hosts[got.Host].ID != inv.Hosts[from.Host].ID || s.Datastores[got.Home].ID != inv.Datastores[from.Home].ID ||
				s.Datastores[got.Disks[0].Datastore].ID != inv.Datastores[1].ID || s.Networks[got.NICs[0].Network].ID != inv.Networks[0].ID {
				t.Errorf("%s refers to other things than before: %+v", from.ID, got)
			}
		}
		r := s.Rules[i]
		if r.Disabled != inv.Rules[0].Disabled || s.VMs[r.VMs[0]].ID != inv.VMs[3].ID || s.VMs[r.VMs[1]].ID != inv.VMs[9].ID || s.Hosts[r.Hosts[0]].ID != inv.Hosts[1].ID {
			t.Errorf("rule of %s: %+v", inv.VCenter.Name, r)
		}
		if f := s.Clusters[i].FailOn[0]; s.Hosts[f].ID != inv.Hosts[1].ID {
			t.Errorf("failover host of %s: %d", inv.VCenter.Name, f)
		}
	}
	if s.Sites[0].ID != "east" || s.Hosts[0].Site != 1 || s.Hosts[4].Site != 0 {
		t.Errorf("sites: %+v, hosts at %d and %d", s.Sites, s.Hosts[0].Site, s.Hosts[4].Site)
	}
	if d := s.Datastores[0]; d.Sites != engine.SiteMask(0).With(1) || d.Survives != d.Sites || !d.Shared {
		t.Errorf("datastore: %+v", d)
	}
	if n := s.Networks; n[0].Segment != "app" || n[2].Segment != "app" || n[1].Segment != "" || n[0].Gateway != 1 || n[1].Gateway != engine.None {
		t.Errorf("networks: %+v", n)
	}
	if w.VMs[5].VCenter != 0 || e.VMs[5].Disks[0].Datastore != 1 || e.Hosts[1].Site != engine.None {
		t.Error("an inventory was changed")
	}
}

// The order of the sources must not matter, byte for byte.
func TestMergeDeterministic(t *testing.T) {
	w, e := inventory("aaaa", "vc-w", 3, 40), inventory("bbbb", "vc-e", 2, 30)
	e.VMs[4].ID, e.Hosts[1].UsedMHz = w.VMs[10].ID, -5
	slices.SortFunc(e.VMs, func(a, b engine.VM) int { return strings.Compare(string(a.ID), string(b.ID)) })
	value := func(src, key string, v float64, at engine.Unix) engine.Observation {
		return engine.Observation{Source: src, At: at, Sites: []engine.SiteValue{{Site: "west", Value: engine.Value{Key: key, Number: v, At: at}}}}
	}
	obs := []engine.Observation{
		seen(w), seen(e), value("a", engine.KeyPrice, 0.1, now-5), value("b", engine.KeyPrice, 0.3, now-5), value("c", engine.KeyPrice, math.NaN(), now),
		{Source: "h1", At: now, Hazards: []engine.Hazard{{ID: "x", Site: "west", PMilli: 10}, {ID: "a", Site: "west", PMilli: 10}}},
		{Source: "h2", At: now, Hazards: []engine.Hazard{{ID: "x", Site: "west", PMilli: 10}}, Alerts: []engine.Alert{{Fingerprint: "2"}, {Fingerprint: "1"}}},
		{Source: "l", At: now, Links: []engine.LinkValue{{A: "west", B: "east", RTTMicros: 7000, Mbps: engine.Unknown, At: now}}},
	}
	var want []byte
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		r.Shuffle(len(obs), func(i, j int) { obs[i], obs[j] = obs[j], obs[i] })
		s, _ := mustMerge(t, config(), obs, nil)
		got, err := engine.Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if string(got) != string(want) {
			t.Fatalf("seed %d gives another snapshot", seed)
		}
	}
}

func TestMergeDuplicates(t *testing.T) {
	w, e := inventory("aaaa", "vc-w", 1, 3), inventory("bbbb", "vc-e", 1, 1)
	vm := w.VMs[1].ID
	w.VMs[1].Power = engine.VMOff
	e.VMs[0].ID, e.VMs[0].Moid = vm, "vm-77"
	w.Rules = []engine.Rule{{Name: "apart", Kind: engine.RuleApart, VMs: []int32{0, 1, 2}}}
	obs := []engine.Observation{seen(w), seen(e)}

	s, twice := mustMerge(t, config(), obs, nil)
	v, _ := s.FindVM(vm)
	if len(twice) != 2 || twice[0].VCenter != "aaaa" || twice[1].Moid != "vm-77" || twice[1].Host != "bbbb/h00000" {
		t.Errorf("sightings: %+v", twice)
	}
	if s.VMs[v].Moid != "vm-77" { // the one that is on
		t.Errorf("kept %+v", s.VMs[v])
	}
	if !strings.Contains(gaps(s), "vm "+string(vm)+": seen 2 times") {
		t.Errorf("gaps: %s", gaps(s))
	}
	if len(s.Rules[0].VMs) != 2 {
		t.Errorf("the rule still has the sighting left out: %v", s.Rules[0].VMs)
	}

	s, twice = mustMerge(t, config(), obs, func(id engine.VMID, seen []engine.Sighting) int {
		if id != vm || len(seen) != 2 {
			t.Errorf("asked about %s: %v", id, seen)
		}
		return 0
	})
	if v, _ := s.FindVM(vm); s.VMs[v].Moid != w.VMs[1].Moid || len(s.Gaps) != 0 || len(twice) != 2 || len(s.VMs) != 3 {
		t.Errorf("kept %+v, gaps %s", s.VMs[v], gaps(s))
	}
}

func TestMergeSites(t *testing.T) {
	c := config()
	c.Sites[0].Hosts = []collectors.HostMatch{{Folder: "dc/host/prod", Name: "esx0000[01]*"}}
	c.Sites[1].Hosts = []collectors.HostMatch{{Cluster: "cl-vc-w", Name: "*1.vc-w"}}
	c.Datastores = []collectors.DatastoreConfig{{Match: "sha*", Survives: []engine.SiteID{"east"}}}
	c.Power = []collectors.PowerConfig{{Model: "Xeon*", IdleW: 90, MaxW: 400}}
	other := inventory("bbbb", "vc-e", 2, 0)
	other.Clusters[0].Path = "/dc2/x"
	s, _ := mustMerge(t, c, []engine.Observation{seen(inventory("aaaa", "vc-w", 3, 0)), seen(other)}, nil)
	want := `vcenter vc-e: cluster bbbb/c1: no site is configured for any of its hosts
vcenter vc-w: host aaaa/h00001: both site west and site east match it
vcenter vc-w: host aaaa/h00002: no site is configured for it
`
	if gaps(s) != want {
		t.Errorf("gaps:\n%s", gaps(s))
	}
	for i, site := range []int32{1, engine.None, engine.None, engine.None, engine.None} {
		if s.Hosts[i].Site != site {
			t.Errorf("host %s at %d, want %d", s.Hosts[i].ID, s.Hosts[i].Site, site)
		}
	}
	if d := s.Datastores[1]; d.Survives != 1 || d.Sites != 2 {
		t.Errorf("datastore: %+v", d)
	}
	if h := s.Hosts[0]; h.IdleW != 90 || h.MaxW != 400 {
		t.Errorf("host: %+v", h)
	}
}

func TestMergeDisbelief(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		name string
		do   func(w *engine.Inventory, o *engine.Observation)
		gap  string
		ok   func(s *engine.Snapshot) bool
	}{
		{
			"host load out of range", func(w *engine.Inventory, _ *engine.Observation) { w.Hosts[1].UsedMHz = 90_000 },
			"host aaaa/h00001: uses 90000 of 40000 MHz and 65536 of 262144 MiB, which cannot be", func(s *engine.Snapshot) bool { return !s.Hosts[1].Seen() && s.Hosts[0].Seen() },
		},
		{
			"host load old", func(w *engine.Inventory, _ *engine.Observation) { w.Hosts[1].LoadAt = now - 400 },
			"host aaaa/h00001: its load is older than 5m0s", func(s *engine.Snapshot) bool { return !s.Hosts[1].Seen() },
		},
		{
			"all host loads old", func(w *engine.Inventory, _ *engine.Observation) {
				w.Hosts[0].LoadAt, w.Hosts[1].LoadAt = now-400, now-400
			},
			"vcenter aaaa: the loads of its hosts are older than 5m0s", func(s *engine.Snapshot) bool { return !s.Hosts[0].Seen() && !s.Hosts[1].Seen() },
		},
		{
			"vm load old", func(w *engine.Inventory, _ *engine.Observation) { w.VMs[0].LoadAt = now - 400 },
			"vcenter aaaa: the loads of 1 VMs are older than 5m0s", func(s *engine.Snapshot) bool { return !s.VMs[0].Seen() && s.VMs[0].ActiveMiB == engine.Unknown },
		},
		{
			"vm load out of range", func(w *engine.Inventory, _ *engine.Observation) { w.VMs[0].UsedMiB = 1 << 20 },
			"uses 300 MHz with 2 vCPUs and 1048576 of 4096 MiB, which cannot be", func(s *engine.Snapshot) bool { return !s.VMs[0].Seen() && s.VMs[1].Seen() },
		},
		{
			"all zero", func(w *engine.Inventory, _ *engine.Observation) { w.Hosts[0].UsedMHz, w.Hosts[1].UsedMHz = 0, 0 },
			"merge: site west: all loads are zero", func(s *engine.Snapshot) bool { return !s.Hosts[0].Seen() && !s.VMs[3].Seen() },
		},
		{
			"one zero is fine", func(w *engine.Inventory, _ *engine.Observation) { w.Hosts[0].UsedMHz = 0 },
			"", func(s *engine.Snapshot) bool { return s.Hosts[0].UsedMHz == 0 },
		},
		{
			"no watts", func(w *engine.Inventory, _ *engine.Observation) { w.Hosts[0].PowerW = 0 },
			"host aaaa/h00000: draws 0 W", func(s *engine.Snapshot) bool { return s.Hosts[0].PowerW == engine.Unknown },
		},
		{
			"broken inventory", func(w *engine.Inventory, _ *engine.Observation) { w.VMs[0].Host = 99 },
			"vcenter aaaa: its inventory makes no sense: vm 00000000-vc-w is out of order, or refers to nothing",
			func(s *engine.Snapshot) bool { return len(s.VMs) == 0 && len(s.VCenters) == 0 },
		},
		{
			"old inventory", func(_ *engine.Inventory, o *engine.Observation) { o.At = now - 3600 },
			"vcenter aaaa: its inventory is older than 15m0s, and is left out", func(s *engine.Snapshot) bool { return len(s.VCenters) == 0 && s.At == now },
		},
		{
			"value overrides", func(_ *engine.Inventory, o *engine.Observation) { o.Sites = value("west", engine.KeyPrice, 0.5, now) },
			"", func(s *engine.Snapshot) bool {
				return s.Sites[1].PriceMicroEURPerKWh == 500_000 && s.Sites[0].PriceMicroEURPerKWh == 200_000 && s.Sites[1].Values[0].Source == "vcenter vc-w"
			},
		},
		{
			"infinite value", func(_ *engine.Inventory, o *engine.Observation) { o.Sites = value("west", "any", inf, now) },
			"site west: any is +Inf, which cannot be", func(s *engine.Snapshot) bool { return len(s.Sites[1].Values) == 0 },
		},
		{
			"implausible value", func(_ *engine.Inventory, o *engine.Observation) { o.Sites = value("west", engine.KeyCarbon, 9000, now) },
			"site west: carbon_g_per_kwh is 9000, which cannot be", func(s *engine.Snapshot) bool { return s.Sites[1].CarbonGPerKWh == 300 },
		},
		{
			"old value", func(_ *engine.Inventory, o *engine.Observation) {
				o.Sites = value("west", engine.KeyPrice, 0.5, now-7201)
			},
			"site west: price_eur_per_kwh is older than 2h0m0s", func(s *engine.Snapshot) bool { return s.Sites[1].PriceMicroEURPerKWh == 200_000 },
		},
		{
			"value of no site", func(_ *engine.Inventory, o *engine.Observation) { o.Sites = value("mars", engine.KeySun, 1, now) },
			`sun_deg of a site "mars" that is not configured`, func(s *engine.Snapshot) bool { return s.Sites[0].SunMilliDeg == engine.Unknown },
		},
		{
			"link measured", func(_ *engine.Inventory, o *engine.Observation) {
				o.Links = []engine.LinkValue{{A: "west", B: "east", RTTMicros: 99_000, Mbps: engine.Unknown, At: now - 3}}
			}, "", func(s *engine.Snapshot) bool {
				return s.Links[0].RTTMicros == 99_000 && s.Links[0].Mbps == 1000 && s.Links[0].At == now-3
			},
		},
		{
			"link implausible", func(_ *engine.Inventory, o *engine.Observation) {
				o.Links = []engine.LinkValue{{A: "east", B: "west", RTTMicros: -1, Mbps: engine.Unknown, At: now}}
			}, "link east west: its round trip is -1, which cannot be", func(s *engine.Snapshot) bool { return s.Links[0].RTTMicros == engine.Unknown },
		},
		{
			"VMs that take nothing", func(inv *engine.Inventory, _ *engine.Observation) {
				for i := range inv.VMs {
					inv.VMs[i].UsedMHz = 0
				}
			}, "merge: site west: all loads are zero, which cannot be", func(s *engine.Snapshot) bool { return !s.VMs[0].Seen() && !s.Hosts[0].Seen() },
		},
		{
			"a load of the future", func(inv *engine.Inventory, _ *engine.Observation) {
				inv.VMs[0].LoadAt = now + 60
			}, "the loads of 1 VMs are dated 1m0s in the future", func(s *engine.Snapshot) bool { return !s.VMs[0].Seen() && s.VMs[1].Seen() },
		},
		{
			"hazard without site", func(_ *engine.Inventory, o *engine.Observation) { o.Hazards = []engine.Hazard{{ID: "h", Site: "mars"}} },
			`hazard h at a site "mars" that is not configured`, func(s *engine.Snapshot) bool { return len(s.Hazards) == 0 },
		},
		{
			"hazards do not age", func(_ *engine.Inventory, o *engine.Observation) {
				o.At, o.Inventory = now-86_400, nil
				o.Hazards = []engine.Hazard{{ID: "h", Site: "west", PMilli: 1001, End: now + 1}, {ID: "over", Site: "west", End: now}}
			}, "hazard h has the probability 1001/1000", func(s *engine.Snapshot) bool {
				return len(s.Hazards) == 1 && s.Hazards[0].ID == "h" && s.Hazards[0].PMilli == engine.Unknown
			},
		},
		{
			"alert of no site", func(_ *engine.Inventory, o *engine.Observation) {
				o.Alerts = []engine.Alert{{Fingerprint: "f", Name: "Hot", Site: "mars"}}
			}, `alert Hot at a site "mars" that is not configured`, func(s *engine.Snapshot) bool { return len(s.Alerts) == 1 && s.Alerts[0].Site == "" },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := inventory("aaaa", "vc-w", 2, 8)
			o := seen(w)
			c.do(w, &o)
			s, _ := mustMerge(t, config(), []engine.Observation{o}, nil)
			if got := gaps(s); !strings.Contains(got, c.gap) || (c.gap == "") != (got == "") || len(s.Gaps) > 1 {
				t.Errorf("gaps:\n%swant: %s", got, c.gap)
			}
			if !c.ok(s) {
				t.Errorf("snapshot: %+v", s)
			}
		})
	}
}

func value(site engine.SiteID, key string, v float64, at engine.Unix) []engine.SiteValue {
	return []engine.SiteValue{{Site: site, Value: engine.Value{Key: key, Number: v, At: at}}}
}

type source struct {
	name string
	o    engine.Observation
	err  error
	hang bool
}

func (s *source) Name() string { return s.name }

func (s *source) Observe(ctx context.Context) (engine.Observation, error) {
	if s.hang {
		<-ctx.Done()
		return engine.Observation{}, fmt.Errorf("read: %w", ctx.Err())
	}
	return s.o, s.err
}

func TestCollect(t *testing.T) {
	w := &source{name: "vcenter w", o: engine.Observation{At: now, Inventory: inventory("aaaa", "vc-w", 2, 8)}}
	h := &source{name: "hazards", o: engine.Observation{At: now, Hazards: []engine.Hazard{{ID: "h", Site: "west", PMilli: 900, End: now + 9e5}}}}
	set := &collectors.Set{Sources: []collectors.Source{w, h}, Config: config()}
	set.Config.Timeout = time.Millisecond
	collect := func(after time.Duration) *engine.Snapshot {
		t.Helper()
		s, _, err := set.Collect(t.Context(), now.Time().Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := collect(0); len(s.Gaps) != 0 || len(s.VMs) != 8 || len(s.Hazards) != 1 {
		t.Fatalf("first: %d VMs, %s", len(s.VMs), gaps(s))
	}
	// Both fail: the last answers serve on, with gaps, and the hazard longest.
	w.err, h.hang = errors.New("connection refused"), true
	s := collect(time.Minute)
	want := "hazards: feed hazards: no answer within 1ms\nvcenter w: vcenter aaaa: connection refused\n"
	if gaps(s) != want || len(s.VMs) != 8 || !s.Hosts[0].Seen() || s.At != now {
		t.Errorf("after a minute: %d VMs, at %v, %s", len(s.VMs), s.At, gaps(s))
	}
	if s := collect(6 * time.Minute); s.Hosts[0].Seen() || s.VMs[0].Seen() || len(s.VMs) != 8 {
		t.Errorf("after six minutes the loads are still known: %s", gaps(s))
	}
	if s := collect(time.Hour); len(s.VMs) != 0 || len(s.Hazards) != 1 || s.Hazards[0].Source != "hazards" {
		t.Errorf("after an hour: %d VMs, %d hazards", len(s.VMs), len(s.Hazards))
	}
	// A clock that runs ahead is not believed.
	w.err, w.o.At = nil, now+7200
	if s := collect(time.Hour); !strings.Contains(gaps(s), "dated in the future") {
		t.Errorf("ahead: %s", gaps(s))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := set.Collect(ctx, now.Time()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkMerge(b *testing.B) {
	c := config()
	obs := []engine.Observation{seen(inventory("aaaa", "vc-w", 7_500, 75_000)), seen(inventory("bbbb", "vc-e", 7_500, 75_000))}
	b.ReportAllocs()
	for b.Loop() {
		s, _ := collectors.Merge(&c, now, obs, nil)
		if len(s.VMs) != 150_000 {
			b.Fatal(len(s.VMs))
		}
	}
}
