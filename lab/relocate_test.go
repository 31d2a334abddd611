package lab

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// across is the specification of a move of machine m to the first host of vCenter i.
func (l *Lab) across(m *machine, i int) types.VirtualMachineRelocateSpec {
	v := l.vcs[i]
	var to *host
	for _, h := range l.hosts {
		if to == nil && h.vc == v {
			to = h
		}
	}
	e := l.Endpoints()[i]
	spec := types.VirtualMachineRelocateSpec{
		Host: &to.obj.Self, Pool: &l.clusters[to.cluster].pool, Datastore: &l.stores[to.stores[0]].obj.Self, Folder: &v.vmFolder.Self,
		Service: &types.ServiceLocator{
			InstanceUuid: e.InstanceUUID, Url: e.URL, SslThumbprint: v.identity.sha1,
			Credential: &types.ServiceLocatorNamePassword{Username: mover.Username, Password: mover.Password},
		},
	}
	for _, n := range m.nics {
		card := &types.VirtualVmxnet3{}
		card.Key, card.Backing = n.key, v.backing(n.segment)
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: card})
	}
	return spec
}

func relocate(t testing.TB, l *Lab, c *govmomi.Client, m *machine, spec types.VirtualMachineRelocateSpec) *object.Task {
	t.Helper()
	task, err := l.vmObject(c, m.name).Relocate(t.Context(), spec, types.VirtualMachineMovePriorityDefaultPriority)
	if err != nil {
		t.Fatalf("relocate %s: %v", m.name, err)
	}
	return task
}

func info(t testing.TB, c *govmomi.Client, ref types.ManagedObjectReference) types.TaskInfo {
	t.Helper()
	return props[mo.Task](t, c, ref, "info").Info
}

func TestRelocateAcross(t *testing.T) {
	for _, linked := range []bool{false, true} {
		cfg := small()
		cfg.Linked = linked
		cfg.Sites[1].DVS = true
		cfg.Fixtures = []FixtureConfig{{Name: "tag", VM: VMName("east-c", 0), Value: "residency:us"}}
		bubble(t, cfg, func(t *testing.T, l *Lab) {
			east, west := connect(t, l, 0, mover), connect(t, l, 1, mover)
			m := l.machines[0]
			old := m.obj.Self
			before := l.World()
			spec := l.across(m, 1)
			task := relocate(t, l, east, m, spec)
			if err := task.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			si := object.NewSearchIndex(west.Client)
			found, err := si.FindByUuid(t.Context(), nil, m.uuid, true, new(true))
			if err != nil || found == nil {
				t.Fatalf("not at the destination: %v", err)
			}
			if gone, err := object.NewSearchIndex(east.Client).FindByUuid(t.Context(), nil, m.uuid, true, new(true)); err != nil || gone != nil {
				t.Errorf("still at the source: %v, %v", gone, err)
			}
			vm := props[mo.VirtualMachine](t, west, found.Reference(), "name", "runtime", "config", "network", "datastore", "resourcePool", "parent", "summary")
			if *vm.Runtime.Host != *spec.Host || *vm.ResourcePool != *spec.Pool || *vm.Parent != *spec.Folder || vm.Datastore[0] != *spec.Datastore || vm.Config.InstanceUuid != m.uuid {
				t.Errorf("arrived at %v %v %v %v", vm.Runtime.Host, vm.ResourcePool, vm.Parent, vm.Datastore)
			}
			card, ok := object.VirtualDeviceList(vm.Config.Hardware.Device).FindByKey(4000).(*types.VirtualVmxnet3)
			if !ok || card.MacAddress != m.nics[0].mac || vm.Network[0] != l.vcs[1].network[m.nics[0].segment] {
				t.Errorf("card %+v on %v", card, vm.Network)
			}
			after := l.World()
			a, b := before.VMs[0], after.VMs[0]
			if s, d := after.Datastores[a.Datastores[0]], after.Datastores[b.Datastores[0]]; s.FreeMiB != before.Datastores[a.Datastores[0]].FreeMiB+a.DiskMiB ||
				d.FreeMiB != before.Datastores[b.Datastores[0]].FreeMiB-a.DiskMiB {
				t.Errorf("free %d at the source, %d at the destination", s.FreeMiB, d.FreeMiB)
			}
			mv := l.Moves()[0]
			if !mv.Done || !mv.Across || !mv.Storage || !mv.WAN || int64(mv.DiskMiB+0.5) != a.DiskMiB || mv.Stun != 330*time.Millisecond {
				t.Errorf("move %+v of %d MiB", mv, a.DiskMiB)
			}
			if got := tagsOf(t, west, found.Reference()); linked != slices.Contains(got, "us") {
				t.Errorf("linked %v: tags %v", linked, got)
			}
			if i := info(t, east, task.Reference()); *i.Entity != old || i.DescriptionId != "VirtualMachine.relocate" || i.Reason.(*types.TaskReasonUser).UserName != mover.Username {
				t.Errorf("task %+v", i)
			}
		})
	}
}

func tagsOf(t *testing.T, c *govmomi.Client, ref types.ManagedObjectReference) (out []string) {
	t.Helper()
	rc := rest.NewClient(c.Client)
	if err := rc.Login(t.Context(), userinfo(mover)); err != nil {
		t.Fatal(err)
	}
	attached, err := tags.NewManager(rc).GetAttachedTags(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attached {
		out = append(out, a.Name)
	}
	return out
}

// What is wrong with the call is refused at once; what is wrong with the world fails the task.
func TestRelocateRefused(t *testing.T) {
	type spec = types.VirtualMachineRelocateSpec
	for _, tc := range []struct {
		name   string
		change func(l *Lab, m *machine, s *spec)
		want   string
		task   bool
	}{
		{"thumbprint", func(_ *Lab, _ *machine, s *spec) { s.Service.SslThumbprint = "00:11" }, "SSLVerifyFault", false},
		{"sha-256 thumbprint", func(l *Lab, _ *machine, s *spec) { s.Service.SslThumbprint = l.vcs[1].identity.sha256 }, "", true},
		{"password", func(_ *Lab, _ *machine, s *spec) {
			s.Service.Credential = &types.ServiceLocatorNamePassword{Username: mover.Username, Password: "x"}
		}, "InvalidLogin", false},
		{"vcenter", func(_ *Lab, _ *machine, s *spec) { s.Service.InstanceUuid = "none" }, "InvalidArgument", false},
		{"no pool", func(_ *Lab, _ *machine, s *spec) { s.Pool = nil }, "InvalidArgument", false},
		{"host", func(_ *Lab, _ *machine, s *spec) {
			s.Host = &types.ManagedObjectReference{Type: "HostSystem", Value: "none"}
		}, "ManagedObjectNotFound", false},
		{"no network", func(_ *Lab, _ *machine, s *spec) { s.DeviceChange = nil }, "CannotAccessNetwork", true},
		{"maintenance", func(l *Lab, _ *machine, s *spec) { l.vcs[1].host(s.Host).maint = true }, "InvalidHostState", true},
		{"disconnected", func(l *Lab, _ *machine, s *spec) { l.vcs[1].host(s.Host).unplug = true }, "HostNotConnected", true},
		{"not mounted", func(l *Lab, _ *machine, s *spec) { l.vcs[1].host(s.Host).stores = []int{3} }, "DatastoreNotWritableOnHost", true},
		{"no such segment", func(l *Lab, _ *machine, s *spec) { l.vcs[1].host(s.Host).segments = nil }, "CannotAccessNetwork", true},
		{"memory", func(l *Lab, m *machine, s *spec) { m.reserve = l.vcs[1].host(s.Host).memMiB }, "InsufficientHostMemoryCapacityFault", true},
		{"standby", func(l *Lab, _ *machine, s *spec) { l.vcs[1].host(s.Host).phase = hostAsleep }, "HostNotConnected", true},
		{"space", func(l *Lab, _ *machine, s *spec) { l.vcs[1].store(s.Datastore).capacity = 1024 }, "NoDiskSpace", true},
		{"cpu", func(l *Lab, m *machine, _ *spec) { m.level = 8 }, "CpuIncompatible", true},
		{"vmotion", func(l *Lab, _ *machine, s *spec) { l.vcs[1].host(s.Host).vmotion = false }, "VMotionNotConfigured", true},
		{"passthrough", func(l *Lab, m *machine, _ *spec) { m.fixtures = []string{"passthrough"} }, "DeviceNotSupported", true},
		{"independent disk", func(l *Lab, m *machine, _ *spec) { m.fixtures = []string{"independent_disk"} }, "IndependentDiskVMotionNotSupported", true},
		{"disabled", func(l *Lab, m *machine, _ *spec) { m.obj.DisabledMethod = []string{"RelocateVM_Task"} }, "MethodDisabled", false},
		{"disk locator", func(l *Lab, m *machine, s *spec) {
			s.Disk = []types.VirtualMachineRelocateSpecDiskLocator{{DiskId: 9, Datastore: *s.Datastore}}
		}, "InvalidArgument", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, small(), func(t *testing.T, l *Lab) {
				c := connect(t, l, 0, mover)
				m := l.machines[0]
				s := l.across(m, 1)
				l.lock()
				tc.change(l, m, &s)
				l.unlock()
				free := l.World().Datastores
				checked := checkRelocate(t, c, m, s)
				task, err := l.vmObject(c, m.name).Relocate(t.Context(), s, types.VirtualMachineMovePriorityDefaultPriority)
				if (err == nil) != tc.task {
					t.Fatalf("submitted: %v", err)
				}
				if err == nil {
					err = task.Wait(t.Context())
				}
				got := ""
				if err != nil {
					got = typeName(vimFault(err))
				}
				if got != tc.want || checked != tc.want {
					t.Errorf("got %q (%v), the check said %q, want %q", got, err, checked, tc.want)
				}
				if tc.want != "" {
					for i, s := range l.World().Datastores {
						if s.FreeMiB != free[i].FreeMiB {
							t.Errorf("%s: %d MiB free, %d before", s.Name, s.FreeMiB, free[i].FreeMiB)
						}
					}
				}
			})
		})
	}
}

func TestCancel(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		free := l.World().Datastores
		task := relocate(t, l, c, m, l.across(m, 1))
		time.Sleep(2 * time.Minute)
		i := info(t, c, task.Reference())
		if i.State != types.TaskInfoStateRunning || i.Progress < 2 || i.Progress > 98 {
			t.Fatalf("state %s at %d %%", i.State, i.Progress)
		}
		if busy, err := l.vmObject(c, m.name).Relocate(t.Context(), l.across(m, 1), ""); err == nil {
			t.Errorf("second move started: %v", busy)
		} else if _, ok := vimFault(err).(types.TaskInProgress); !ok {
			t.Errorf("second move: %v", err)
		}
		if w := l.World(); w.Datastores[2].FreeMiB >= free[2].FreeMiB || len(w.Moves) != 1 {
			t.Error("no space reserved")
		}
		if err := task.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := task.Wait(t.Context())
		if typeName(vimFault(err)) != "RequestCanceled" {
			t.Errorf("ended with %v", err)
		}
		w := l.World()
		if w.VMs[0].Host != 0 || w.Datastores[2].FreeMiB != free[2].FreeMiB || l.Moves()[0].Ended.IsZero() || l.Moves()[0].Done {
			t.Errorf("after the cancel: %+v", w.VMs[0])
		}
		if err := task.Cancel(t.Context()); typeName(vimFault(err)) != "InvalidState" {
			t.Errorf("cancel of an ended task: %v", err)
		}
	})
}

// Two moves with disks fill a host; the third waits in the queue for its turn.
func TestQueue(t *testing.T) {
	cfg := small()
	cfg.Sites[0].Clusters[0].Hosts, cfg.Sites[0].Clusters[0].VMs = 1, 5
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		var tasks []*object.Task
		for i := range 4 {
			tasks = append(tasks, relocate(t, l, c, l.machines[i], l.across(l.machines[i], 1)))
		}
		time.Sleep(time.Minute)
		want := []types.TaskInfoState{"running", "running", "queued", "queued"}
		for i, task := range tasks {
			if got := info(t, c, task.Reference()); got.State != want[i] || (got.StartTime == nil) != (want[i] == "queued") {
				t.Errorf("task %d: %s since %v", i, got.State, got.StartTime)
			}
		}
		// A queued one is cancelled at once, and the others go on.
		if err := tasks[2].Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := info(t, c, tasks[2].Reference()); got.State != types.TaskInfoStateError {
			t.Errorf("cancelled in the queue: %s", got.State)
		}
		for _, i := range []int{0, 1, 3} {
			if err := tasks[i].Wait(t.Context()); err != nil {
				t.Errorf("task %d: %v", i, err)
			}
		}
		moves := l.Moves()
		if len(moves) != 3 || moves[2].Started.Before(moves[0].Ended) {
			t.Errorf("moves %+v", moves)
		}
		// Two share the link: what both sent fits what it carried.
		var sent float64
		for _, m := range moves[:2] {
			sent += m.MemMiB + m.DiskMiB
		}
		if carried := 1000 * 0.85 * 1e6 / mibBits * moves[1].Ended.Sub(moves[0].Started).Seconds(); sent > carried {
			t.Errorf("%f MiB sent over a link for %f", sent, carried)
		}
		if l.hosts[0].units != 0 || l.hosts[1].units != 0 || l.stores[0].units != 0 || l.stores[2].units != 0 {
			t.Error("slots not given back")
		}
	})
}

// history is what the task history says of an entity since then.
func history(t *testing.T, c *govmomi.Client, entity types.ManagedObjectReference, since time.Time, state ...types.TaskInfoState) []types.TaskInfo {
	t.Helper()
	res, err := methods.CreateCollectorForTasks(t.Context(), c.Client, &types.CreateCollectorForTasks{This: *c.ServiceContent.TaskManager, Filter: types.TaskFilterSpec{
		Entity: &types.TaskFilterSpecByEntity{Entity: entity, Recursion: types.TaskFilterSpecRecursionOptionSelf}, State: state,
		Time: &types.TaskFilterSpecByTime{TimeType: types.TaskFilterSpecTimeOptionQueuedTime, BeginTime: &since},
	}})
	if err != nil {
		t.Fatal(err)
	}
	next, err := methods.ReadNextTasks(t.Context(), c.Client, &types.ReadNextTasks{This: res.Returnval, MaxCount: 100})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := methods.DestroyCollector(t.Context(), c.Client, &types.DestroyCollector{This: res.Returnval}); err != nil {
		t.Fatal(err)
	}
	return next.Returnval
}

// A daemon that lost an answer finds its task in the history: running, ended,
// and at a VM that has left.
func TestTaskHistory(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		old := m.obj.Self
		since := time.Now()
		time.Sleep(time.Minute)
		task := relocate(t, l, c, m, l.across(m, 1))
		list := func(state ...types.TaskInfoState) []types.TaskInfo { return history(t, c, old, since, state...) }
		if got := list(types.TaskInfoStateRunning, types.TaskInfoStateQueued); len(got) != 1 || got[0].Key != task.Reference().Value {
			t.Fatalf("running tasks %+v", got)
		}
		if got := list(types.TaskInfoStateSuccess); len(got) != 0 {
			t.Fatalf("ended tasks %+v", got)
		}
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retire + 2*time.Minute)
		got := list()
		if len(got) != 1 || got[0].State != types.TaskInfoStateSuccess || got[0].CompleteTime == nil || !got[0].QueueTime.Equal(since.Add(time.Minute)) {
			t.Fatalf("history %+v", got)
		}
		// As an object it has been retired.
		if _, err := methods.CancelTask(t.Context(), c.Client, &types.CancelTask{This: task.Reference()}); typeName(vimFault(err)) != "ManagedObjectNotFound" {
			t.Errorf("task still there: %v", err)
		}
	})
}

func typeName(v any) string {
	if v == nil {
		return ""
	}
	name := strings.TrimPrefix(strings.TrimPrefix(sprintType(v), "*"), "types.")
	return name
}
