package vcenter

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator" // serves tags

	"heliostat/engine"
	"heliostat/vsphere"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the simulator's
	os.Exit(m.Run())
}

// A rig is a source on a simulated vCenter over TLS on loopback.
type rig struct {
	model  *simulator.Model
	source *Source
	woken  chan string
	every  time.Duration // between observations
}

func newRig(t testing.TB, tweak func(*simulator.Model)) *rig {
	t.Helper()
	m := simulator.VPX()
	if tweak != nil {
		tweak(m)
	}
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	for i, o := range m.Map().All("VirtualMachine") {
		setUUID(o.(*simulator.VirtualMachine), i)
	}
	m.Service.TLS = new(tls.Config)
	m.Service.RegisterEndpoints = true
	srv := m.Service.NewServer()
	t.Cleanup(srv.Close)
	cfg := vsphere.Config{
		Name: "vc1", URL: srv.URL.Scheme + "://" + srv.URL.Host, Reader: &vsphere.Account{Username: "user", PasswordFile: "-"},
		Thumbprint: vsphere.Thumbprint(srv.Certificate()),
	}
	s, err := vsphere.Dial(t.Context(), cfg, cfg.Reader, vsphere.Options{
		Password: func(vsphere.Account) (vsphere.Secret, error) { return vsphere.NewSecret("pass"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := &rig{model: m, woken: make(chan string, 1000), every: 20 * time.Millisecond}
	r.source = New(Config{Movers: []string{"mover@vsphere.local"}, Wake: func(why string) {
		select {
		case r.woken <- why:
		default:
		}
	}}, s)
	r.run(t)
	return r
}

// run runs the topology loop and waits for the first complete state.
func (r *rig) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	r.until(t, func(engine.Observation) bool { return true })
}

// until observes until ok, and returns that observation.
func (r *rig) until(t testing.TB, ok func(engine.Observation) bool) engine.Observation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 1000*r.every)
	defer cancel()
	for {
		o, err := r.source.Observe(ctx)
		switch {
		case err == nil && ok(o):
			return o
		case err != nil && !errors.Is(err, ErrNotReady):
			t.Fatal(err)
		}
		select {
		case <-r.woken:
		case <-time.After(r.every):
		case <-ctx.Done():
			t.Fatalf("never observed; last error %v, %d gaps", err, len(o.Gaps))
		}
	}
}

func setUUID(v *simulator.VirtualMachine, n int) {
	v.Config.InstanceUuid = "50000000-0000-0000-0000-" + string([]byte{
		'0', '0', '0', '0', '0', '0', '0', byte('0' + n/10000%10), byte('0' + n/1000%10), byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10),
	})
}

func validate(t testing.TB, inv *engine.Inventory) {
	t.Helper()
	s := engine.Snapshot{
		VCenters: []engine.VCenter{inv.VCenter}, Clusters: inv.Clusters, Hosts: inv.Hosts, Datastores: inv.Datastores, Networks: inv.Networks,
		VMs: inv.VMs, Rules: inv.Rules,
	}
	if err := s.Validate(); err != nil {
		t.Errorf("the inventory is not sound: %v", err)
	}
	if !slices.IsSortedFunc(inv.Networks, func(a, b engine.Network) int { return cmpID(a.ID, b.ID) }) ||
		!slices.IsSortedFunc(inv.Datastores, func(a, b engine.Datastore) int { return cmpID(a.ID, b.ID) }) ||
		!slices.IsSortedFunc(inv.Clusters, func(a, b engine.Cluster) int { return cmpID(a.ID, b.ID) }) {
		t.Error("networks, datastores or clusters are not sorted by ID")
	}
}

func cmpID[T ~string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestObserve(t *testing.T) {
	r := newRig(t, nil)
	o := r.until(t, func(engine.Observation) bool { return true })
	inv := o.Inventory
	validate(t, inv)
	if len(inv.Hosts) != 4 || len(inv.VMs) != 4 || len(inv.Clusters) != 2 || len(inv.Datastores) != 1 {
		t.Fatalf("got %d hosts, %d VMs, %d clusters, %d datastores", len(inv.Hosts), len(inv.VMs), len(inv.Clusters), len(inv.Datastores))
	}
	v := &inv.VMs[0]
	if v.Path == "" || v.Host < 0 || v.Home != 0 || len(v.Disks) != 1 || v.Disks[0].Datastore != 0 || len(v.NICs) != 1 || v.NICs[0].Network < 0 || v.Mode != engine.Enforce {
		t.Errorf("VM: %+v", v)
	}
	c := &inv.Clusters[slices.IndexFunc(inv.Clusters, func(c engine.Cluster) bool { return !c.Lone })]
	if c.DRS != engine.DRSFull || c.Pool == "" || c.Folder == "" || c.Path != "/DC0/host/DC0_C0" {
		t.Errorf("cluster: %+v", c)
	}
	h := &inv.Hosts[0]
	if h.CPUMHz <= 0 || h.MemoryMiB <= 0 || h.PowerW != engine.Unknown || !h.Ready() {
		t.Errorf("host: %+v", h)
	}
	for _, g := range o.Gaps {
		t.Log(g)
	}
}
