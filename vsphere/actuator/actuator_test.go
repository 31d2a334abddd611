package actuator

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	lab  *lab.Lab
	act  *Actuator
	vcs  []lab.Endpoint
	seen atomic.Pointer[func(lab.Call) lab.Fault]
}

// bubble runs test in virtual time. change may alter the vCenters' configurations.
func bubble(t *testing.T, change func([]vsphere.Config), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, err := lab.New(labConfig())
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
				if a.Role == lab.RoleMover {
					c.Mover = &vsphere.Account{Username: a.Username, PasswordFile: "-"}
				} else {
					c.Reader = &vsphere.Account{Username: a.Username, PasswordFile: "-"}
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

// spot finds things in the lab's ground truth.
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
	_, c, err := r.act.looking(t.Context(), vc)
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
	key, err := r.act.Submit(t.Context(), a)
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

func (r *rig) arrived(t *testing.T, a *engine.Action) execute.Sight {
	t.Helper()
	s, err := r.act.Look(t.Context(), a)
	if err != nil || !s.Arrived || s.Source || s.Busy {
		t.Errorf("after %s: %+v, %v", a, s, err)
	}
	return s
}

func TestMoveWithin(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		task, _ := r.do(t, a)
		if task.State != "success" || task.Error != "" || task.Method != "VirtualMachine.relocate" || task.User != "mover@lab" || task.End <= task.Start {
			t.Errorf("task: %+v", task)
		}
		r.arrived(t, a)
		if w := r.lab.World(); w.Hosts[r.vm(t, a.Name).Host].Name != "hou-esx03.lab" {
			t.Error("the lab has the VM elsewhere")
		}
		list, err := r.act.Tasks(t.Context(), a, task.Start)
		if err != nil || len(list) != 1 || list[0] != task {
			t.Errorf("history: %+v, %v", list, err)
		}
		if later, err := r.act.Tasks(t.Context(), a, task.Start+3600); err != nil || len(later) != 0 {
			t.Errorf("history of later: %+v, %v", later, err)
		}
	})
}

func TestMoveStorage(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		v := r.vm(t, lab.VMName("hou", 0))
		a := r.move(t, v.Name, r.lab.World().Hosts[v.Host].Name)
		ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: a.Moid}
		r.across(t, a, r.conn(t, a.From.VCenter), ref)
		a.NICs = nil
		other := "hou-ds1"
		if a.Disks[0].From == r.store(t, other) {
			other = "hou-ds2"
		}
		a.HomeTo = r.store(t, other)
		for i := range a.Disks {
			a.Disks[i].To = a.HomeTo
		}
		if task, _ := r.do(t, a); task.State != "success" {
			t.Fatalf("task: %+v", task)
		}
		r.arrived(t, a)
	})
}

func TestMoveAcross(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 1), "fra-esx02.lab")
		task, seen := r.do(t, a)
		if task.State != "success" {
			t.Fatalf("task: %+v", task)
		}
		if len(seen) < 3 || !slices.IsSorted(seen) {
			t.Errorf("progress: %v", seen)
		}
		r.arrived(t, a)
		v := r.vm(t, a.Name)
		w := r.lab.World()
		if w.Hosts[v.Host].Name != "fra-esx02.lab" || v.VCenter != string(a.To.VCenter) || v.UUID != string(a.VM) {
			t.Errorf("the lab has it on %s", w.Hosts[v.Host].Name)
		}
		for _, d := range v.Datastores {
			if !strings.HasPrefix(w.Datastores[d].Name, "fra-") {
				t.Errorf("left on datastore %s", w.Datastores[d].Name)
			}
		}
		for _, s := range v.Segments {
			if s != "app" {
				t.Errorf("connected to %s", s)
			}
		}
		list, err := r.act.Tasks(t.Context(), a, task.Start)
		if err != nil || !slices.ContainsFunc(list, func(x execute.Task) bool { return x.Key == task.Key && x.State == "success" }) {
			t.Errorf("history, though the VM has left: %+v, %v", list, err)
		}
		if err := r.act.Mark(t.Context(), a, "follows the sun"); err != nil {
			t.Errorf("mark: %v", err)
		}
	})
}

// TestAsksTheScheduler moves into a fully automated cluster: its own scheduler
// names host and datastore.
func TestAsksTheScheduler(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 2), "fra-esx01.lab")
		a.To.DRS = true
		if task, _ := r.do(t, a); task.State != "success" {
			t.Fatalf("task: %+v", task)
		}
		r.arrived(t, a)
	})
}

// TestSpec pins what is said to the server about a move across vCenters.
func TestSpec(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 1), "fra-esx02.lab")
		a.To.Folder = "group-v3"
		a.Disks[0].Thin = true
		spec, err := r.act.relocateSpec(t.Context(), r.conn(t, a.From.VCenter), a)
		if err != nil {
			t.Fatal(err)
		}
		_, host := engine.SplitRef(a.To.Host)
		switch {
		case spec.Host.Value != host || spec.Pool.Value != a.To.Pool || spec.Folder.Value != "group-v3":
			t.Errorf("place: %v %v %v", spec.Host, spec.Pool, spec.Folder)
		case *spec.Datastore != object("Datastore", a.HomeTo):
			t.Errorf("home: %v", spec.Datastore)
		case len(spec.Disk) != len(a.Disks) || spec.Disk[0].DiskId != a.Disks[0].Key || spec.Disk[0].Datastore != object("Datastore", a.Disks[0].To):
			t.Errorf("disks: %+v", spec.Disk)
		case spec.Disk[0].Profile[0].(*types.VirtualMachineDefinedProfileSpec).ProfileId != "gold":
			t.Errorf("profile: %+v", spec.Disk[0].Profile)
		case !*spec.Disk[0].DiskBackingInfo.(*types.VirtualDiskFlatVer2BackingInfo).ThinProvisioned:
			t.Error("thin is not kept")
		case spec.Service.InstanceUuid != string(a.To.VCenter) || spec.Service.Url != "https://frankfurt.lab" || spec.Service.SslThumbprint == "":
			t.Errorf("service: %+v", spec.Service)
		case len(spec.DeviceChange) != len(a.NICs):
			t.Errorf("cards: %+v", spec.DeviceChange)
		}
		n := spec.DeviceChange[0].GetVirtualDeviceConfigSpec()
		port := n.Device.GetVirtualDevice().Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo).Port
		if n.Operation != types.VirtualDeviceConfigSpecOperationEdit || port.PortgroupKey == "" || port.SwitchUuid == "" {
			t.Errorf("card: %+v to %+v", n, port)
		}
	})
}

func TestHostActions(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p, _ := r.host(t, "fra-esx04.lab") // its fully automated cluster empties it
		for _, step := range []struct {
			kind engine.ActionKind
			mark string
			ok   func(lab.WorldHost) bool
		}{
			{engine.EnterMaintenance, "maintenance c1-0", func(h lab.WorldHost) bool { return h.Maintenance }},
			{engine.ExitMaintenance, "", func(h lab.WorldHost) bool { return !h.Maintenance && h.On }},
			{engine.Standby, "standby c1-0", func(h lab.WorldHost) bool { return h.Standby }},
			{engine.Wakeup, "", func(h lab.WorldHost) bool { return h.On && !h.Standby }},
		} {
			a := &engine.Action{ID: "c1-0", Kind: step.kind, Name: "fra-esx04.lab", From: p}
			task, _ := r.do(t, a)
			if task.State != "success" {
				t.Fatalf("%s: %+v", a, task)
			}
			r.arrived(t, a)
			if _, h := r.host(t, "fra-esx04.lab"); !step.ok(h) {
				t.Errorf("%s: the lab has %+v", a, h)
			}
			if err := r.act.Mark(t.Context(), a, "a test"); err != nil {
				t.Errorf("%s: mark: %v", a, err)
			}
			if got := r.attribute(t, p); got != step.mark {
				t.Errorf("%s: the mark is %q, want %q", a, got, step.mark)
			}
		}
	})
}

// attribute reads the host's mark.
func (r *rig) attribute(t *testing.T, p engine.Place) string {
	t.Helper()
	c := r.conn(t, p.VCenter)
	key, _, err := fieldKey(t.Context(), c, *c.ServiceContent.CustomFieldsManager, "HostSystem", markField)
	if err != nil {
		t.Fatal(err)
	}
	props, err := properties(t.Context(), c, object("HostSystem", p.Host), "customValue")
	if err != nil {
		t.Fatal(err)
	}
	list, _ := props["customValue"].(types.ArrayOfCustomFieldValue)
	for _, v := range list.CustomFieldValue {
		if s, ok := v.(*types.CustomFieldStringValue); ok && s.Key == key {
			return s.Value
		}
	}
	return ""
}

// TestHundredTasks watches a hundred tasks of one vCenter with one collector,
// through the loss of the session.
func TestHundredTasks(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		var made, waits atomic.Int64
		r.lab.SetFaults(func(c lab.Call) lab.Fault {
			switch c.Method {
			case "CreatePropertyCollector":
				made.Add(1)
			case "WaitForUpdatesEx":
				waits.Add(1)
			}
			return lab.Fault{}
		})
		vc := engine.VCenterID(r.vcs[0].InstanceUUID)
		keys := r.tasks(t, 100)
		var wg sync.WaitGroup
		var ended atomic.Int64
		for _, key := range keys {
			wg.Go(func() {
				for {
					task, err := r.act.Wait(t.Context(), key, nil)
					if err == nil {
						if task.State == "success" {
							ended.Add(1)
						}
						return
					}
					if t.Context().Err() != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
		}
		time.Sleep(20 * time.Second)
		if n := made.Load(); n != 1 {
			t.Errorf("%d collectors for %d tasks", n, len(keys))
		}
		key, err := r.act.Session(t.Context(), vc)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.act.EndSession(t.Context(), vc, key); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if n := ended.Load(); n != int64(len(keys)) {
			t.Errorf("%d of %d tasks ended well", n, len(keys))
		}
		if n := made.Load(); n > 2 {
			t.Errorf("%d collectors after the session was lost", n)
		}
		t.Logf("%d tasks: %d collectors, %d polls", len(keys), made.Load(), waits.Load())
	})
}

// tasks starts n moves at once, far more than there are slots: most of them queue.
func (r *rig) tasks(t *testing.T, n int) []string {
	t.Helper()
	w := r.lab.World()
	var keys []string
	for i := range n {
		v := r.vm(t, lab.VMName("hou", i))
		to := "hou-esx04.lab"
		if w.Hosts[v.Host].Name == to {
			to = "hou-esx03.lab"
		}
		key, err := r.act.Submit(t.Context(), r.move(t, v.Name, to))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

func TestRefusals(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		for name, change := range map[string]func(*engine.Action){
			"no such VM":      func(a *engine.Action) { a.Moid = "vm-none" },
			"no such host":    func(a *engine.Action) { a.To.Host = engine.HostID(string(a.To.VCenter) + "/host-none") },
			"no such vCenter": func(a *engine.Action) { a.From.VCenter = "none" },
			"no such card":    func(a *engine.Action) { a.NICs = []engine.NICTarget{{Key: 1}} },
		} {
			b := *a
			change(&b)
			if _, err := r.act.Submit(t.Context(), &b); !errors.Is(err, execute.ErrRejected) {
				t.Errorf("%s: %v is not a refusal", name, err)
			}
		}
		if list, err := r.act.Tasks(t.Context(), a, 1); err != nil || len(list) != 0 {
			t.Errorf("tasks after refusals: %+v, %v", list, err)
		}
	})
}

// TestLostAnswer is the case that must never be taken for a refusal.
func TestLostAnswer(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		var calls atomic.Int64
		r.lab.SetFaults(func(c lab.Call) lab.Fault {
			if c.Method == "RelocateVM_Task" {
				calls.Add(1)
				return lab.Fault{LoseReply: true}
			}
			return lab.Fault{}
		})
		key, err := r.act.Session(t.Context(), a.From.VCenter)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.act.Submit(t.Context(), a)
		if err == nil || errors.Is(err, execute.ErrRejected) || errors.Is(err, execute.ErrNoCredentials) {
			t.Fatalf("got %v, want an error that leaves it open", err)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("submitted %d times", n)
		}
		r.lab.SetFaults(nil)
		if err := errors.Join(r.act.EndSession(t.Context(), a.From.VCenter, key), r.act.EndSession(t.Context(), a.From.VCenter, key)); err != nil {
			t.Errorf("end the session twice: %v", err)
		}
		if again, err := r.act.Session(t.Context(), a.From.VCenter); err != nil || again == key {
			t.Errorf("session afterwards: %q, %v", again, err)
		}
		list, err := r.act.Tasks(t.Context(), a, engine.At(r.lab.Now())-60)
		if err != nil || len(list) != 1 {
			t.Fatalf("history: %+v, %v", list, err)
		}
		if task, err := r.act.Wait(t.Context(), list[0].Key, nil); err != nil || task.State != "success" {
			t.Errorf("the adopted task: %+v, %v", task, err)
		}
		r.arrived(t, a)
	})
}

func TestNoCredentials(t *testing.T) {
	bubble(t, func(cfgs []vsphere.Config) { cfgs[0].Mover = nil }, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		if s, err := r.act.Look(t.Context(), a); err != nil || !s.Source {
			t.Errorf("look: %+v, %v", s, err)
		}
		_, err := r.act.Session(t.Context(), a.From.VCenter)
		_, err2 := r.act.Submit(t.Context(), a)
		if err3 := r.act.Mark(t.Context(), a, "x"); !errors.Is(err, execute.ErrNoCredentials) || !errors.Is(err2, execute.ErrNoCredentials) || !errors.Is(err3, execute.ErrNoCredentials) {
			t.Errorf("session: %v; submit: %v; mark: %v", err, err2, err3)
		}
	})
}

// TestFailedTask shows a task that the server accepts and that then fails.
func TestFailedTask(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p, _ := r.host(t, "hou-esx01.lab") // not fully automated: nobody empties it
		a := &engine.Action{ID: "c1-0", Kind: engine.Standby, Name: "hou-esx01.lab", From: p}
		key, err := r.act.Submit(t.Context(), a)
		if errors.Is(err, execute.ErrRejected) {
			return // refused at once: as good
		}
		if err != nil {
			t.Fatal(err)
		}
		task, err := r.act.Wait(t.Context(), key, nil)
		if err != nil || task.State != "error" || task.Error == "" {
			t.Errorf("task: %+v, %v", task, err)
		}
	})
}
