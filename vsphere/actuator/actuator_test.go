package actuator

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/lab"
	"heliostat/vsphere"
)

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
			if got := attribute(t.Context(), t, r.conn(t, p.VCenter), object("HostSystem", p.Host), markField); got != step.mark {
				t.Errorf("%s: the mark is %q, want %q", a, got, step.mark)
			}
		}
	})
}

// Hosts have an account of their own where there is one: the vCenter refuses them
// to the mover, and everything else to that account.
func TestAccountForHosts(t *testing.T) {
	cfg := labConfig()
	cfg.Accounts = append(slices.Clone(lab.DefaultAccounts), lab.Account{Username: "power@lab", Password: "power", Role: lab.RolePower})
	bubbleOf(t, cfg, nil, func(t *testing.T, r *rig) {
		p, _ := r.host(t, "fra-esx04.lab")
		began := engine.At(r.lab.Now())
		for i, kind := range []engine.ActionKind{engine.EnterMaintenance, engine.ExitMaintenance, engine.Standby, engine.Wakeup} {
			a := &engine.Action{ID: "c1-0", Kind: kind, Name: "fra-esx04.lab", From: p}
			if task, _ := r.do(t, a); task.State != "success" || task.User != "power@lab" {
				t.Fatalf("%s: %+v", a, task)
			}
			if err := r.act.Mark(t.Context(), a, "a test"); err != nil {
				t.Errorf("%s: mark: %v", a, err)
			}
			if list, err := r.act.Tasks(t.Context(), a, began); err != nil || len(list) != i+1 || !list[i].Ours {
				t.Errorf("%s: history %+v, %v", a, list, err)
			}
		}
		move := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		if task, _ := r.do(t, move); task.State != "success" || task.User != "mover@lab" {
			t.Errorf("move: %+v", task)
		}
		sleeps := &engine.Action{ID: "c1-1", Kind: engine.Standby, Name: "fra-esx04.lab", From: p}
		_, power, err := r.act.acting(t.Context(), move.From.VCenter, engine.Standby)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hostCall(t.Context(), r.conn(t, p.VCenter), sleeps); !denied(err) {
			t.Errorf("the mover puts a host in standby: %v", err)
		}
		if _, err := methods.RelocateVM_Task(t.Context(), power, &types.RelocateVM_Task{This: ref(move)}); !denied(err) {
			t.Errorf("the account for hosts moves a VM: %v", err)
		}
		// Each action is carried by the session that is journaled with it, and that is ended.
		keys := map[string]bool{}
		for _, a := range []*engine.Action{sleeps, {Kind: engine.Move, From: p}} {
			key, _, err := r.act.Session(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			keys[key] = true
			if err := r.act.EndSession(t.Context(), p.VCenter, key); err != nil {
				t.Error(err)
			}
			if again, _, err := r.act.Session(t.Context(), a); err != nil || again == key {
				t.Errorf("after its end: session %q, %v", again, err)
			}
		}
		if len(keys) != 2 {
			t.Errorf("sessions %v", keys)
		}
	})
}

func denied(err error) bool {
	_, ok := vsphere.Fault(err).(*types.NoPermission)
	return ok
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
		key, _, err := r.act.Session(t.Context(), &engine.Action{From: engine.Place{VCenter: vc}})
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
		key, err := r.act.Submit(t.Context(), "", r.move(t, v.Name, to))
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
			if _, err := r.act.Submit(t.Context(), "", &b); !errors.Is(err, execute.ErrRejected) {
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
		key, _, err := r.act.Session(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.act.Submit(t.Context(), "", a)
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
		if again, _, err := r.act.Session(t.Context(), a); err != nil || again == key {
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
		_, _, err := r.act.Session(t.Context(), a)
		_, err2 := r.act.Submit(t.Context(), "", a)
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
		key, err := r.act.Submit(t.Context(), "", a)
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

// TestCallKeepsToItsSession: a call that was to go out with a session that has
// ended since does not go out with the next.
func TestCallKeepsToItsSession(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 1), "hou-esx03.lab")
		old, _, err := r.act.Session(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.act.EndSession(t.Context(), a.From.VCenter, old); err != nil {
			t.Fatal(err)
		}
		if _, err := r.act.Submit(t.Context(), old, a); !errors.Is(err, execute.ErrRejected) {
			t.Errorf("a call with a session that has ended: %v", err)
		}
		now, _, err := r.act.Session(t.Context(), a)
		if err != nil || now == old {
			t.Fatalf("session %s after %s: %v", now, old, err)
		}
		if _, err := r.act.Submit(t.Context(), now, a); err != nil {
			t.Error(err)
		}
	})
}
