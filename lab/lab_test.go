package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// steady is a load that never changes.
type steady struct{}

func (steady) At(int, time.Time) (cpuPct, activePct float64) { return 25, 12.5 }

// small is two sites with two hosts and four VMs each.
func small() Config {
	site := func(name string) SiteConfig {
		return SiteConfig{
			Name: name, PUE: 1.2,
			Clusters: []ClusterConfig{{
				Name: name + "-c", Hosts: 2, CoresPerHost: 16, MHzPerCore: 2000, MemGiB: 128, DRS: "partial", IdleW: 100, MaxW: 300, VMs: 4,
			}},
			Datastores: []DatastoreConfig{{Name: name + "-1", GiB: 2000}, {Name: name + "-2", GiB: 2000}},
			Segments:   []string{"lan", "dmz"},
		}
	}
	return Config{
		Seed: 7, Sites: []SiteConfig{site("east"), site("west")}, Demand: steady{},
		Links: []LinkConfig{{A: "east", B: "west", RTT: 20 * time.Millisecond, Mbps: 1000}},
	}
}

func build(t testing.TB, cfg Config) *Lab {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// connect logs in to a vCenter; in a bubble the connections are pipes.
func connect(t testing.TB, l *Lab, i int, a Account) *govmomi.Client {
	t.Helper()
	c, err := login(t, l, i, a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func login(t testing.TB, l *Lab, i int, a Account) (*govmomi.Client, error) {
	t.Helper()
	e := l.Endpoints()[i]
	u, err := soap.ParseURL(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	sc := soap.NewClient(u, true)
	if l.vcs[i].pipe != nil {
		tr := sc.DefaultTransport()
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) { return l.Dial(ctx, network, addr) }
		tr.DialTLSContext = nil
	}
	vc, err := vim25.NewClient(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	t.Cleanup(vc.CloseIdleConnections)
	return c, c.Login(t.Context(), userinfo(a))
}

func userinfo(a Account) *url.Userinfo { return url.UserPassword(a.Username, a.Password) }

func sprintType(v any) string { return fmt.Sprintf("%T", v) }

var reader, mover = DefaultAccounts[0], DefaultAccounts[1]

// bubble serves a lab over pipes in virtual time.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, l *Lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := build(t, cfg)
		l.ServePipe(t.Context())
		defer l.Close()
		f(t, l)
	})
}

func (l *Lab) vmObject(c *govmomi.Client, name string) *object.VirtualMachine {
	return object.NewVirtualMachine(c.Client, l.findVM(name).obj.Self)
}

func props[T any](t testing.TB, c *govmomi.Client, ref types.ManagedObjectReference, paths ...string) T {
	t.Helper()
	var dst T
	if err := property.DefaultCollector(c.Client).RetrieveOne(t.Context(), ref, paths, &dst); err != nil {
		t.Fatalf("read %s: %v", ref, err)
	}
	return dst
}

func vimFault(err error) any {
	var f types.HasLocalizedMethodFault
	if errors.As(err, &f) {
		return f.GetLocalizedMethodFault().Fault
	}
	if soap.IsSoapFault(err) {
		return soap.ToSoapFault(err).VimFault()
	}
	return err
}

func TestLocalRelocate(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		to := l.hosts[1].obj.Self
		start := time.Now()
		task, err := l.vmObject(c, m.name).Relocate(t.Context(), types.VirtualMachineRelocateSpec{Host: &to}, types.VirtualMachineMovePriorityDefaultPriority)
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		vm := props[mo.VirtualMachine](t, c, m.obj.Self, "runtime.host", "recentTask")
		if *vm.Runtime.Host != to || len(vm.RecentTask) != 1 {
			t.Errorf("VM at %v with tasks %v", vm.Runtime.Host, vm.RecentTask)
		}
		for i, want := range []bool{false, true} {
			h := props[mo.HostSystem](t, c, l.hosts[i].obj.Self, "vm")
			if got := len(without(h.Vm, m.obj.Self)) != len(h.Vm); got != want {
				t.Errorf("host %d lists the VM: %v, want %v", i, got, want)
			}
		}
		moves := l.Moves()
		if len(moves) != 1 || !moves[0].Done || moves[0].Storage || moves[0].WAN {
			t.Fatalf("moves %+v", moves)
		}
		// M/(1-c/B) + W over the link's payload, and the fixed times.
		payload := 10_000 * 0.85 * 1e6 / mibBits
		dirty := m.dirtyMbps() * 1e6 / mibBits
		want := setup + switchOver + time.Duration((float64(m.consumed)/(payload-dirty)+float64(m.active)/8/payload)*1e9)
		if d := took - want; d < 0 || d > 20*time.Millisecond {
			t.Errorf("took %v, want %v", took, want)
		}
	})
}

// loaded asks for most of its CPU.
type loaded struct{}

func (loaded) At(int, time.Time) (cpuPct, activePct float64) { return 60, 10 }

func sleepHours(n int) { time.Sleep(time.Duration(n) * time.Hour) }

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)
		c := NewClock(start, 60)
		time.Sleep(time.Second)
		if got := c.Now(); !got.Equal(start.Add(time.Minute)) {
			t.Errorf("a second later it is %v", got)
		}
		begin := time.Now()
		if err := c.Sleep(t.Context(), time.Hour); err != nil || time.Since(begin) > time.Minute+time.Millisecond || c.Now().Before(start.Add(61*time.Minute)) {
			t.Errorf("slept an hour in %v, to %v: %v", time.Since(begin), c.Now(), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no sites":     func(c *Config) { c.Sites = nil },
		"twice":        func(c *Config) { c.Sites[1].Name = "east" },
		"name":         func(c *Config) { c.Sites[1].Name = "a b" },
		"no store":     func(c *Config) { c.Sites[0].Datastores = nil },
		"only local":   func(c *Config) { c.Sites[0].Datastores = []DatastoreConfig{{Name: "x", GiB: 1, Host: "h"}} },
		"cluster":      func(c *Config) { c.Sites[1].Clusters[0].Name = "east-c" },
		"no hosts":     func(c *Config) { c.Sites[0].Clusters[0].Hosts = 0 },
		"drs":          func(c *Config) { c.Sites[0].Clusters[0].DRS = "sometimes" },
		"evc":          func(c *Config) { c.Sites[0].Clusters[0].EVC = 7 },
		"watts":        func(c *Config) { c.Sites[0].Clusters[0].IdleW = 900 },
		"zone":         func(c *Config) { c.Sites[0].TimeZone = "Mars/Olympus" },
		"link":         func(c *Config) { c.Links[0].B = "north" },
		"bandwidth":    func(c *Config) { c.Links[0].Mbps = 0 },
		"rule":         func(c *Config) { c.Rules = []RuleConfig{{Cluster: "east-c", Kind: "near", VMs: []string{"x"}}} },
		"fixture":      func(c *Config) { c.Fixtures = []FixtureConfig{{Name: "nonsense", VM: "x"}} },
		"fixture's VM": func(c *Config) { c.Fixtures = []FixtureConfig{{Name: "usb", VM: "nobody"}} },
		"rule's VM":    func(c *Config) { c.Rules = []RuleConfig{{Cluster: "east-c", Kind: "apart", VMs: []string{"nobody"}}} },
		"account":      func(c *Config) { c.Accounts = []Account{{Username: "a", Password: "b", Role: "king"}} },
	} {
		cfg := small()
		spoil(&cfg)
		if l, err := New(cfg); err == nil {
			t.Errorf("%s: built %v", name, l.Endpoints())
		}
	}
	cfg := small()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
