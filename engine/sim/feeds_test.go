package sim_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/collectors"
	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/engine/execute"
)

// A town is two sites, each with a vCenter, that the real line looks at: sources,
// Merge, the loop, Build, Check and the executor. Its policy wants all VMs of the
// west in the east. One feed at a time lies.
type town struct {
	mu    sync.Mutex
	at    map[engine.VMID]engine.HostID // where each VM stands
	lie   func(o *engine.Observation, last *engine.Observation)
	liar  string // name of the source that lies
	last  map[string]engine.Observation
	want  bool
	calls []engine.Action
	shown cycle.Published
}

const (
	townHosts = 6
	townVMs   = 40 // a vCenter: enough for an average
)

func vmName(vc string, i int) engine.VMID { return engine.VMID(fmt.Sprintf("%s-%03d", vc, i)) }
func hostName(vc string, i int) engine.HostID {
	return engine.HostID(fmt.Sprintf("%s/h%d", vc, i))
}

// source is one feed of the town.
type source struct {
	t    *town
	name string
}

// Name implements collectors.Source.
func (s source) Name() string { return s.name }

// Observe implements collectors.Source.
func (s source) Observe(context.Context) (engine.Observation, error) {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	now := engine.At(time.Now())
	o := engine.Observation{Source: s.name, At: now}
	switch s.name {
	case "links":
		o.Links = []engine.LinkValue{{A: "east", B: "west", RTTMicros: 20_000, Mbps: 10_000, At: now, Source: s.name}}
	case "hazards":
	default:
		o.Inventory = t.inventory(s.name, now)
	}
	if t.liar == s.name && t.lie != nil {
		last := t.last[s.name]
		t.lie(&o, &last)
		if o.Source == "" {
			return o, errors.New("connection refused")
		}
	} else {
		t.last[s.name] = o
	}
	return o, nil
}

func (t *town) inventory(vc string, now engine.Unix) *engine.Inventory {
	inv := &engine.Inventory{
		VCenter:    engine.VCenter{ID: engine.VCenterID(vc), Name: vc},
		Clusters:   []engine.Cluster{{ID: engine.ClusterID(vc + "/c"), Name: vc, Pool: "pool", Folder: "folder"}},
		Datastores: []engine.Datastore{{ID: engine.DatastoreID(vc + "/d"), Name: "shared", CapacityMiB: 8 << 20, FreeMiB: 4 << 20, Accessible: true, Shared: true}},
		Networks:   []engine.Network{{ID: engine.NetworkID(vc + "/n"), Name: "app"}},
	}
	for i := range townHosts {
		inv.Hosts = append(inv.Hosts, engine.Host{
			ID: hostName(vc, i), Name: string(hostName(vc, i)), Power: engine.HostOn, Connected: true, VMotion: true, NICMbps: 25_000, Standby: true, CPUModel: "x",
			CPUMHz: 80_000, Cores: 32, Threads: 64, MemoryMiB: 262_144, UsedMHz: 400 + int32(now/60)%7, UsedMiB: 8000, LoadAt: now, Site: engine.None,
			PowerW: 200 + int32(now/60)%5, PowerAt: now, Datastores: []int32{0}, Networks: []int32{0},
		})
	}
	for _, at := range []string{"east", "west"} { // sorted, and so are the VMs
		for i := range townVMs {
			id := vmName(at, i)
			h, ok := slices.BinarySearchFunc(inv.Hosts, t.at[id], func(h engine.Host, id engine.HostID) int { return strings.Compare(string(h.ID), string(id)) })
			if !ok {
				continue
			}
			v := engine.VM{
				ID: id, Name: string(id), Moid: "vm-" + string(id), Host: int32(h), Power: engine.VMOn, VCPUs: 2, MemoryMiB: 8192, UsedMHz: 500 + int32(now/60)%11, UsedMiB: 4000,
				ActiveMiB: 500, DirtyMbps: 20, LoadAt: now, Mode: engine.Enforce, Across: true, Disks: []engine.Disk{{Key: 2000, MiB: 20_480, Used: 10_240, Thin: true}},
				NICs: []engine.NIC{{Key: 4000, MAC: "00:" + string(id)}},
			}
			inv.Hosts[h].UsedMHz, inv.Hosts[h].UsedMiB = inv.Hosts[h].UsedMHz+v.UsedMHz, inv.Hosts[h].UsedMiB+v.UsedMiB
			inv.VMs = append(inv.VMs, v)
		}
	}
	return inv
}

// Collect implements cycle.Collector.
type eyes struct{ set *collectors.Set }

func (e eyes) Collect(ctx context.Context, now time.Time, resolve cycle.Resolve) (*engine.Snapshot, error) {
	e.set.Resolve = collectors.Resolve(resolve)
	s, _, err := e.set.Collect(ctx, now)
	return s, err
}

// The town's actuator: every move succeeds after a minute.

func (t *town) Session(context.Context, *engine.Action) (string, engine.Unix, error) {
	return "s", engine.At(time.Now()), nil
}
func (t *town) EndSession(context.Context, engine.VCenterID, string) error { return nil }
func (t *town) Mark(context.Context, *engine.Action, string) error         { return nil }
func (t *town) Check(context.Context, *engine.Action) error                { return nil }
func (t *town) Tasks(context.Context, *engine.Action, engine.Unix) ([]execute.Task, error) {
	return nil, nil
}

func (t *town) Look(_ context.Context, a *engine.Action) (execute.Sight, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return execute.Sight{Exists: true, Source: t.at[a.VM] == a.From.Host, Arrived: t.at[a.VM] == a.To.Host}, nil
}

func (t *town) Submit(_ context.Context, _ string, a *engine.Action) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = append(t.calls, *a)
	t.at[a.VM] = a.To.Host
	return "west/task-1", nil
}

func (t *town) Wait(ctx context.Context, key string, _ func(int32)) (execute.Task, error) {
	select {
	case <-time.After(time.Minute):
		return execute.Task{Key: key, State: "success"}, nil
	case <-ctx.Done():
		return execute.Task{}, ctx.Err()
	}
}

// The town's policy.

func (t *town) Reload(context.Context) (bool, error) { return false, nil }
func (t *town) Revision() string                     { return "r" }
func (t *town) Standing() (engine.RevisionRecord, []byte) {
	return engine.RevisionRecord{Serving: "r"}, nil
}

func (t *town) Evaluate(_ context.Context, v engine.View) (*engine.Decision, error) {
	d := &engine.Decision{Revision: "r", Voices: []engine.Voice{{Policy: "east", Rule: engine.RuleSiteScore, Mode: engine.Enforce, WeightMicroEUR: 1_000_000}}, Reasons: []string{"it is better there"}}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range v.Snapshot.Sites {
		if t.want {
			d.SiteScores = append(d.SiteScores, engine.SiteScore{Site: int32(i), Milli: int32(1000 - 2000*i)})
		}
	}
	return d, nil
}

// Deny refuses every move to a site under a hazard.
func (t *town) Deny(_ context.Context, v engine.View, moves []engine.Action) (out []engine.Veto, _ error) {
	for i := range moves {
		for _, z := range v.Snapshot.Hazards {
			if moves[i].To.Site == z.Site {
				out = append(out, engine.Veto{VM: moves[i].VM, To: moves[i].To.Host, Code: "hazard", Reason: "a storm", Policy: "guard", Mode: engine.Enforce})
			}
		}
	}
	return out, nil
}

func (t *town) Review(context.Context, engine.View, *engine.Plan) (engine.Review, error) {
	return engine.Review{}, nil
}

// The town's journal remembers nothing.

func (t *town) Append(context.Context, ...engine.Entry) error   { return nil }
func (t *town) Put(_ context.Context, b []byte) (string, error) { return engine.DigestBytes(b), nil }

func (t *town) PutLike(_ context.Context, b []byte, base string) (digest, next string, err error) {
	return engine.DigestBytes(b), base, nil
}

func (t *town) set(liar string, want bool, lie func(o, last *engine.Observation)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.liar, t.want, t.lie, t.calls = liar, want, lie, nil
}

func (t *town) called() []engine.Action {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.calls)
}

// said is every gap and hold of the last cycle.
func (t *town) said() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	if t.shown.Snapshot != nil {
		for _, g := range t.shown.Snapshot.Gaps {
			fmt.Fprintf(&b, "gap %s: %s\n", g.Subject, g.Reason)
		}
	}
	for _, p := range t.shown.Plans {
		for _, h := range p.Holds {
			fmt.Fprintf(&b, "hold %s %s: %s\n", h.Code, h.Subject, h.Detail)
		}
	}
	return b.String()
}

func (t *town) run(ctx context.Context, tb testing.TB) {
	tb.Helper()
	for i := range townVMs {
		t.at[vmName("east", i)], t.at[vmName("west", i)] = hostName("east", i%townHosts), hostName("west", i%townHosts)
	}
	c := collectors.DefaultConfig()
	price, carbon := 0.2, 300.0
	for id, lon := range map[engine.SiteID]float64{"east": 10, "west": 0} { // 700 km
		s := collectors.SiteConfig{ID: id, Hosts: []collectors.HostMatch{{VCenter: string(id)}}}
		s.SetDefaults()
		s.Latitude, s.Longitude, s.Mode, s.PriceEURPerKWh, s.CarbonGPerKWh = 50, lon, engine.Enforce, &price, &carbon
		c.Sites = append(c.Sites, s)
	}
	c.Segments = []collectors.SegmentConfig{{Name: "app", Networks: []collectors.NetworkMatch{{Name: "app"}}}}
	c.Power = []collectors.PowerConfig{{Model: "*", IdleW: 150, MaxW: 400}}
	if err := c.Validate(); err != nil {
		tb.Fatal(err)
	}
	set := &collectors.Set{Config: c, Sources: []collectors.Source{source{t, "east"}, source{t, "west"}, source{t, "links"}, source{t, "hazards"}}}
	cfg := engine.DefaultConfig()
	cfg.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	schedule, err := cycle.ParseSchedule("@every 2m", nil)
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	l := cycle.New(cycle.Loop{
		Collector: eyes{set}, Policy: t, Executor: execute.New(t, t, cfg.Limits, log), Journal: t, Config: cfg, Sanity: engine.DefaultSanity(), Schedule: schedule,
		MinGap: 10 * time.Second, ApprovalTTL: time.Minute, Log: log,
		Publish: func(p cycle.Published) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.shown = p
		},
	})
	l.Restore(ctx, cycle.Memory{History: &engine.History{}})
	go func() { _ = l.Run(ctx) }()
}

func eachHost(f func(h *engine.Host)) func(o, _ *engine.Observation) {
	return func(o, _ *engine.Observation) {
		for i := range o.Inventory.Hosts {
			f(&o.Inventory.Hosts[i])
		}
	}
}

func eachVM(f func(v *engine.VM)) func(o, _ *engine.Observation) {
	return func(o, _ *engine.Observation) {
		for i := range o.Inventory.VMs {
			f(&o.Inventory.VMs[i])
		}
	}
}

func link(f func(l *engine.LinkValue)) func(o, _ *engine.Observation) {
	return func(o, _ *engine.Observation) { f(&o.Links[0]) }
}

// storm is a hazard at the site to which all would go.
func storm(o *engine.Observation) {
	o.Hazards = []engine.Hazard{{ID: "storm", Site: "east", Kind: "wind", Severity: "severe", PMilli: 900}}
}

// TestFeeds: whatever one feed does, nothing is done on its word; a reader is told
// why; and when it is well again, things go on.
func TestFeeds(t *testing.T) {
	t.Parallel()
	const dayS = 86_400
	for _, c := range []struct {
		name, feed string
		lie        func(o, last *engine.Observation)
		after      time.Duration // what shows only by and by, shows after that
		says       string
	}{
		{"inventory frozen", "west", func(o, last *engine.Observation) { *o = *last }, 16 * time.Minute, "its inventory is older than 15m0s"},
		{"inventory silent", "west", func(o, _ *engine.Observation) { *o = engine.Observation{} }, 0, "connection refused"},
		{"inventory empty", "west", func(o, _ *engine.Observation) { o.Inventory.VMs, o.Inventory.Hosts = nil, nil }, 0, "40 of 40 VMs have vanished at once"},
		{"inventory yesterday's", "west", func(o, _ *engine.Observation) { o.At -= dayS }, 0, "its inventory is older than 15m0s"},
		{"inventory by half", "west", func(o, _ *engine.Observation) { o.Inventory.VMs = o.Inventory.VMs[:townVMs/2] }, 0, "20 of 40 VMs have vanished at once"},
		{"inventory's clock ahead", "west", func(o, _ *engine.Observation) { o.At += 30 }, 0, "dated in the future"},
		{"every VM listed twice", "west", func(o, _ *engine.Observation) {
			var twice []engine.VM
			for _, v := range o.Inventory.VMs {
				twice = append(twice, v, v)
			}
			o.Inventory.VMs = twice
		}, 0, "seen 2 times"},

		{"host loads frozen", "west", func(o, last *engine.Observation) {
			for i := range o.Inventory.Hosts {
				h, was := &o.Inventory.Hosts[i], &last.Inventory.Hosts[i]
				h.UsedMHz, h.UsedMiB, h.LoadAt = was.UsedMHz, was.UsedMiB, was.LoadAt
			}
		}, 6 * time.Minute, "the loads of its hosts are older than 5m0s"},
		{"loads stuck", "west", func(o, last *engine.Observation) {
			for i := range o.Inventory.Hosts {
				o.Inventory.Hosts[i].UsedMHz, o.Inventory.Hosts[i].UsedMiB = last.Inventory.Hosts[i].UsedMHz, last.Inventory.Hosts[i].UsedMiB
			}
		}, 16 * time.Minute, "its readings are stuck"},
		{"host loads zero", "west", eachHost(func(h *engine.Host) { h.UsedMHz, h.UsedMiB = 0, 0 }), 0, "all loads are zero"},
		{"host loads no number", "west", eachHost(func(h *engine.Host) { h.UsedMHz, h.UsedMiB = engine.Unknown, engine.Unknown }), 0, "the load of none of its 6 hosts that run is seen"},
		{"host loads x10", "west", eachHost(func(h *engine.Host) { h.UsedMHz, h.UsedMiB = h.UsedMHz*10, h.UsedMiB*10 }), 0, "which cannot be"},
		{"host demand x10", "west", eachHost(func(h *engine.Host) { h.UsedMHz *= 10 }), 0, "the CPU that its hosts use went from"},
		{"host loads /10", "west", eachHost(func(h *engine.Host) { h.UsedMHz, h.UsedMiB = h.UsedMHz/10, h.UsedMiB/10 }), 0, "the CPU that its hosts use went from"},
		{"host loads yesterday's", "west", eachHost(func(h *engine.Host) { h.LoadAt -= dayS }), 0, "the loads of its hosts are older than 5m0s"},
		{"host loads' clock ahead", "west", eachHost(func(h *engine.Host) { h.LoadAt += 30 }), 0, "in the future"},

		{"VM loads frozen", "west", func(o, last *engine.Observation) {
			for i := range o.Inventory.VMs {
				o.Inventory.VMs[i].LoadAt = last.At
			}
		}, 6 * time.Minute, "the loads of 40 VMs are older than 5m0s"},
		{"VM loads zero", "west", eachVM(func(v *engine.VM) { v.UsedMHz, v.UsedMiB = 0, 0 }), 0, "all loads are zero"},
		{"VM loads no number", "west", eachVM(func(v *engine.VM) { v.UsedMHz, v.UsedMiB = engine.Unknown, engine.Unknown }), 0, "its load is not seen"},
		{"VM loads x10", "west", eachVM(func(v *engine.VM) { v.UsedMHz, v.UsedMiB = v.UsedMHz*10, v.UsedMiB*10 }), 0, "which cannot be"},
		{"VM demand x10", "west", eachVM(func(v *engine.VM) { v.UsedMHz *= 10 }), 0, "the demand of its VMs went from"},
		{"VM loads /10", "west", eachVM(func(v *engine.VM) { v.UsedMHz, v.UsedMiB = v.UsedMHz/10, v.UsedMiB/10 }), 0, "the demand of its VMs went from"},
		{"all loads /10", "west", func(o, last *engine.Observation) {
			eachVM(func(v *engine.VM) { v.UsedMHz, v.UsedMiB = v.UsedMHz/10, v.UsedMiB/10 })(o, last)
			eachHost(func(h *engine.Host) { h.UsedMHz, h.UsedMiB = h.UsedMHz/10, h.UsedMiB/10 })(o, last)
		}, 0, "the demand of its VMs went from"},
		{"VM loads yesterday's", "west", eachVM(func(v *engine.VM) { v.LoadAt -= dayS }), 0, "the loads of 40 VMs are older than 5m0s"},
		{"VM loads' clock ahead", "west", eachVM(func(v *engine.VM) { v.LoadAt += 30 }), 0, "in the future"},

		{"power zero", "west", eachHost(func(h *engine.Host) { h.PowerW = 0 }), 0, "draws 0 W, which cannot be"},
		{"power x10", "west", eachHost(func(h *engine.Host) { h.PowerW *= 10 }), 0, "which cannot be"},
		{"power /10", "west", eachHost(func(h *engine.Host) { h.PowerW /= 10 }), 0, "which cannot be"},

		{"link frozen", "links", func(o, last *engine.Observation) { *o = *last }, 16 * time.Minute, "its measurement is older than 15m0s"},
		{"link silent", "links", func(o, _ *engine.Observation) { *o = engine.Observation{} }, 16 * time.Minute, "connection refused"},
		{"link zero", "links", link(func(l *engine.LinkValue) { l.RTTMicros = 0 }), 0, "its round trip is 0, which cannot be"},
		{"link without bandwidth", "links", link(func(l *engine.LinkValue) { l.Mbps = 0 }), 0, "its bandwidth is 0, which cannot be"},
		{"link no number", "links", link(func(l *engine.LinkValue) { l.RTTMicros, l.Mbps = engine.Unknown, engine.Unknown }), 0, "the round trip between west and east is not known"},
		{"link x10", "links", link(func(l *engine.LinkValue) { l.RTTMicros *= 10 }), 0, "is 200 ms, at most 150 ms is supported"},
		{"link /10", "links", link(func(l *engine.LinkValue) { l.RTTMicros /= 10 }), 0, "its round trip is 2000, which cannot be"},
		{"link yesterday's", "links", link(func(l *engine.LinkValue) { l.At -= dayS }), 0, "its measurement is older than 15m0s"},
		{"link's clock ahead", "links", link(func(l *engine.LinkValue) { l.At += 30 }), 0, "in the future"},

		{"hazard there", "hazards", func(o, _ *engine.Observation) { storm(o) }, 0, "a hazard threatens site east"},
		{"hazard then silence", "hazards", silentAfterStorm(), 2 * time.Minute, "connection refused"},
		{"hazard of yesterday", "hazards", func(o, _ *engine.Observation) { storm(o); o.At -= dayS }, 0, "a hazard threatens site east"},
		{"hazard x10", "hazards", func(o, _ *engine.Observation) { storm(o); o.Hazards[0].PMilli *= 10 }, 0, "has the probability 9000/1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				x := &town{at: map[engine.VMID]engine.HostID{}, last: map[string]engine.Observation{}}
				x.run(ctx, t)
				time.Sleep(10 * time.Minute)
				if len(x.called()) != 0 {
					t.Fatal("nothing is wanted, and something is done")
				}
				x.set(c.feed, false, c.lie)
				time.Sleep(c.after + time.Second)
				x.set(c.feed, true, c.lie)
				time.Sleep(40 * time.Minute)
				synctest.Wait()
				if calls, said := x.called(), x.said(); len(calls) != 0 || !strings.Contains(said, c.says) {
					t.Errorf("%d calls, want none; a reader wants %q:\n%s", len(calls), c.says, said[:min(len(said), 1500)])
				}
				x.set("", true, nil)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if len(x.called()) == 0 {
					said := x.said()
					t.Errorf("the feed is well, and nothing is done:\n%s", said[:min(len(said), 1500)])
				}
				cancel()
			})
		})
	}
}

// silentAfterStorm tells of a storm once, and then nothing more.
func silentAfterStorm() func(o, _ *engine.Observation) {
	told := false
	return func(o, _ *engine.Observation) {
		if told {
			*o = engine.Observation{}
			return
		}
		told = true
		storm(o)
	}
}
