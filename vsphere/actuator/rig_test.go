package actuator

import (
	"context"
	"io"
	"log"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/lab"
	"heliostat/vsphere"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the simulator's
	os.Exit(m.Run())
}

func labConfig() lab.Config {
	site := func(name, drs string, vms int) lab.SiteConfig {
		return lab.SiteConfig{
			Name: name, Segments: []string{"app", "db"}, DVS: true,
			Clusters: []lab.ClusterConfig{{
				Name: name[:3], Hosts: 4, CoresPerHost: 32, MHzPerCore: 2400, MemGiB: 1024, DRS: drs, CPULevel: 5, IdleW: 150, MaxW: 400, VMs: vms,
			}},
			Datastores: []lab.DatastoreConfig{{Name: name[:3] + "-ds1", GiB: 20000}, {Name: name[:3] + "-ds2", GiB: 20000}},
		}
	}
	return lab.Config{
		Seed: 1, Start: time.Date(2026, 6, 21, 0, 0, 0, 0, time.UTC),
		Sites: []lab.SiteConfig{site("houston", "partial", 110), site("frankfurt", "full", 8)},
		Links: []lab.LinkConfig{{A: "houston", B: "frankfurt", RTT: 123 * time.Millisecond, Mbps: 10_000}},
	}
}

// A rig is an actuator on a lab of two vCenters, and what it needs to name things.
type rig struct {
	lab *lab.Lab
	act *Actuator
	vcs []lab.Endpoint
}

// bubble runs test in virtual time. change may alter the vCenters' configurations.
func bubble(t *testing.T, change func([]vsphere.Config), test func(t *testing.T, r *rig)) {
	t.Helper()
	bubbleOf(t, labConfig(), change, test)
}

// bubbleOf is bubble with another lab.
func bubbleOf(t *testing.T, cfg lab.Config, change func([]vsphere.Config), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, err := lab.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		l.ServePipe(ctx)
		defer time.Sleep(time.Minute) // handlers of the lab that linger
		defer l.Close()
		defer cancel()
		passwords := map[string]string{}
		var cfgs []vsphere.Config
		for _, e := range l.Endpoints() {
			c := vsphere.Config{Name: e.Name, URL: e.URL, Thumbprint: e.Thumbprint}
			for _, a := range e.Accounts {
				passwords[a.Username] = a.Password
				account := &vsphere.Account{Username: a.Username, PasswordFile: "-"}
				switch a.Role {
				case lab.RoleMover:
					c.Mover = account
				case lab.RolePower:
					c.Power = account
				default:
					c.Reader = account
				}
			}
			cfgs = append(cfgs, c)
		}
		if change != nil {
			change(cfgs)
		}
		a, err := New(ctx, cfgs, Options{Session: vsphere.Options{
			DialContext: l.Dial, Password: func(a vsphere.Account) (vsphere.Secret, error) { return vsphere.NewSecret(passwords[a.Username]), nil },
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Close() }()
		test(t, &rig{lab: l, act: a, vcs: l.Endpoints()})
	})
}

// host finds a host in the lab's ground truth.
func (r *rig) host(t *testing.T, name string) (engine.Place, lab.WorldHost) {
	t.Helper()
	w := r.lab.World()
	for _, h := range w.Hosts {
		if h.Name == name {
			return r.place(t, h), h
		}
	}
	t.Fatalf("no host %s", name)
	return engine.Place{}, lab.WorldHost{}
}

// place is a host as an action names it, with its cluster and root pool.
func (r *rig) place(t *testing.T, h lab.WorldHost) engine.Place {
	t.Helper()
	p := engine.Place{VCenter: engine.VCenterID(h.VCenter), Host: engine.HostID(h.VCenter + "/" + h.Moid)}
	c := r.conn(t, p.VCenter)
	up, err := properties(t.Context(), c, object("HostSystem", p.Host), "parent")
	if err != nil {
		t.Fatal(err)
	}
	cluster := up["parent"].(types.ManagedObjectReference)
	p.Cluster = engine.ClusterID(h.VCenter + "/" + cluster.Value)
	pool, err := properties(t.Context(), c, cluster, "resourcePool")
	if err != nil {
		t.Fatal(err)
	}
	p.Pool = pool["resourcePool"].(types.ManagedObjectReference).Value
	return p
}

func (r *rig) conn(t *testing.T, vc engine.VCenterID) *vsphere.Conn {
	t.Helper()
	_, c, err := r.act.looking(t.Context(), vc, engine.Move)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) vm(t *testing.T, name string) lab.WorldVM {
	t.Helper()
	for _, v := range r.lab.World().VMs {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no VM %s", name)
	return lab.WorldVM{}
}

func (r *rig) store(t *testing.T, name string) engine.DatastoreID {
	t.Helper()
	for _, d := range r.lab.World().Datastores {
		if d.Name == name {
			return engine.DatastoreID(d.VCenter + "/" + d.Moid)
		}
	}
	t.Fatalf("no datastore %s", name)
	return ""
}

// move is an action that moves a VM to a host; across brings the disks along.
func (r *rig) move(t *testing.T, vm, host string) *engine.Action {
	t.Helper()
	v := r.vm(t, vm)
	w := r.lab.World()
	a := &engine.Action{ID: "c1-0", Kind: engine.Move, VM: engine.VMID(v.UUID), Name: v.Name, From: r.place(t, w.Hosts[v.Host])}
	a.To, _ = r.host(t, host)
	a.Across = a.From.VCenter != a.To.VCenter
	c := r.conn(t, a.From.VCenter)
	ref, err := findVM(t.Context(), c, a.VM)
	if err != nil || ref == nil {
		t.Fatalf("find %s: %v %v", vm, ref, err)
	}
	a.Moid = ref.Value
	if a.Across {
		r.across(t, a, c, *ref)
	}
	return a
}

func (r *rig) across(t *testing.T, a *engine.Action, c *vsphere.Conn, ref types.ManagedObjectReference) {
	t.Helper()
	site := r.vcs[slices.IndexFunc(r.vcs, func(e lab.Endpoint) bool { return e.InstanceUUID == string(a.To.VCenter) })].Site
	a.Storage, a.HomeTo = true, r.store(t, site[:3]+"-ds2")
	props, err := properties(t.Context(), c, ref, "config.hardware.device")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range props["config.hardware.device"].(types.ArrayOfVirtualDevice).VirtualDevice {
		switch d := d.(type) {
		case *types.VirtualDisk:
			b := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			a.Disks = append(a.Disks, engine.DiskTarget{
				Key: d.Key, From: engine.DatastoreID(string(a.From.VCenter) + "/" + b.Datastore.Value), To: r.store(t, site[:3]+"-ds1"), Thin: *b.ThinProvisioned, Profile: "gold",
			})
		case types.BaseVirtualEthernetCard:
			a.NICs = append(a.NICs, engine.NICTarget{Key: d.GetVirtualEthernetCard().Key, To: r.network(t, a.To.VCenter, "app")})
		}
	}
}

func (r *rig) network(t *testing.T, vc engine.VCenterID, name string) engine.NetworkID {
	t.Helper()
	c := r.conn(t, vc)
	view, err := c.ContainerView(t.Context(), "Network")
	if err != nil {
		t.Fatal(err)
	}
	var id engine.NetworkID
	err = c.Retrieve(t.Context(), vsphere.Viewed(view, types.PropertySpec{Type: "Network", PathSet: []string{"name"}}), func(objects []types.ObjectContent) error {
		for _, o := range objects {
			if o.PropSet[0].Val == name {
				id = engine.NetworkID(string(vc) + "/" + o.Obj.Value)
			}
		}
		return nil
	})
	if err != nil || id == "" {
		t.Fatalf("no network %s: %v", name, err)
	}
	return id
}

// do submits and waits, and returns the task and the progress seen.
func (r *rig) do(t *testing.T, a *engine.Action) (execute.Task, []int32) {
	t.Helper()
	before, err := r.act.Look(t.Context(), a)
	if err != nil || !before.Source || before.Arrived || before.Busy {
		t.Fatalf("before %s: %+v, %v", a, before, err)
	}
	key, err := r.act.Submit(t.Context(), "", a)
	if err != nil {
		t.Fatal(err)
	}
	if during, err := r.act.Look(t.Context(), a); err != nil || !during.Busy || during.Source || during.Arrived || during.Task.Key != key {
		t.Fatalf("during %s: %+v, %v", a, during, err)
	}
	var seen []int32
	task, err := r.act.Wait(t.Context(), key, func(p int32) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	return task, seen
}

func (r *rig) arrived(t *testing.T, a *engine.Action) {
	t.Helper()
	s, err := r.act.Look(t.Context(), a)
	if err != nil || !s.Arrived || s.Source || s.Busy {
		t.Errorf("after %s: %+v, %v", a, s, err)
	}
}
