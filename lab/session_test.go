package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Over real sockets, with the certificate verified, as any client would.
func TestServeTLS(t *testing.T) {
	l := build(t, small())
	if err := l.Serve(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	seen := map[string]bool{}
	for i, e := range l.Endpoints() {
		u, err := soap.ParseURL(e.URL)
		if err != nil {
			t.Fatal(err)
		}
		sc := soap.NewClient(u, false)
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(e.CertPEM) {
			t.Fatal("no certificate")
		}
		sc.DefaultTransport().TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		vc, err := vim25.NewClient(t.Context(), sc)
		if err != nil {
			t.Fatal(err)
		}
		if err := session.NewManager(vc).Login(t.Context(), userinfo(Account{Username: e.Username, Password: e.Password})); err != nil {
			t.Fatal(err)
		}
		if got := vc.ServiceContent.About.InstanceUuid; got != e.InstanceUUID || seen[got] || seen[e.Thumbprint] {
			t.Errorf("vCenter %s has identity %s of %s", e.Name, got, e.InstanceUUID)
		}
		seen[e.InstanceUUID], seen[e.Thumbprint] = true, true
		if i == 0 {
			// The other's certificate is not this one's.
			pinned := soap.NewClient(u, false)
			pinned.SetThumbprint(u.Host, l.vcs[1].identity.sha256)
			if _, err := vim25.NewClient(t.Context(), pinned); err == nil {
				t.Error("wrong thumbprint accepted")
			}
			pinned.SetThumbprint(u.Host, e.Thumbprint)
			if _, err := vim25.NewClient(t.Context(), pinned); err != nil {
				t.Errorf("right thumbprint: %v", err)
			}
		}
	}
}

func TestAccounts(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		if _, err := login(t, l, 0, Account{Username: reader.Username, Password: "wrong"}); typeName(vimFault(err)) != "InvalidLogin" {
			t.Errorf("wrong password: %v", err)
		}
		c := connect(t, l, 0, reader)
		to := l.hosts[1].obj.Self
		_, err := l.vmObject(c, l.machines[0].name).Relocate(t.Context(), types.VirtualMachineRelocateSpec{Host: &to}, "")
		if typeName(vimFault(err)) != "NoPermission" {
			t.Errorf("a reader moves: %v", err)
		}
		m := connect(t, l, 0, mover)
		if _, err := methods.Destroy_Task(t.Context(), m.Client, &types.Destroy_Task{This: l.machines[0].obj.Self}); typeName(vimFault(err)) != "NotSupported" {
			t.Errorf("what the lab does not simulate: %v", err)
		}
	})
}

// Ending a session ends its calls, also the one that waits.
func TestTerminateSession(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		old, other := connect(t, l, 0, mover), connect(t, l, 0, mover)
		s, err := old.SessionManager.UserSession(t.Context())
		if err != nil || s == nil {
			t.Fatal(err)
		}
		w := watch(t, old, "VirtualMachine", "name")
		w.next(t, -1)
		waiting := make(chan error, 1)
		go func() {
			_, err := methods.WaitForUpdatesEx(t.Context(), old.Client, &types.WaitForUpdatesEx{This: w.pc.Reference(), Version: w.version})
			waiting <- err
		}()
		time.Sleep(time.Minute)
		if err := other.SessionManager.TerminateSession(t.Context(), []string{s.Key}); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; typeName(vimFault(err)) != "NotAuthenticated" {
			t.Errorf("the waiting call: %v", err)
		}
		to := l.hosts[1].obj.Self
		_, err = l.vmObject(old, l.machines[0].name).Relocate(t.Context(), types.VirtualMachineRelocateSpec{Host: &to}, "")
		if typeName(vimFault(err)) != "NotAuthenticated" || len(l.World().Moves) != 0 {
			t.Errorf("a move in an ended session: %v", err)
		}
		if err := other.SessionManager.TerminateSession(t.Context(), []string{s.Key}); typeName(vimFault(err)) != "NotFound" {
			t.Errorf("ended twice: %v", err)
		}
		if n := len(l.vcs[0].hub.collectors); n != 0 {
			t.Errorf("%d collectors left", n)
		}
	})
}

// A watcher follows one filter's updates.
type watcher struct {
	c       *govmomi.Client
	pc      *property.Collector
	version string
}

func watch(t *testing.T, c *govmomi.Client, kind string, paths ...string) *watcher {
	t.Helper()
	pc, err := property.DefaultCollector(c.Client).Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{c: c, pc: pc}
	w.filter(t, kind, paths...)
	return w
}

func (w *watcher) filter(t *testing.T, kind string, paths ...string) {
	t.Helper()
	v, err := view.NewManager(w.c.Client).CreateContainerView(t.Context(), w.c.ServiceContent.RootFolder, []string{kind}, true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = methods.CreateFilter(t.Context(), w.c.Client, &types.CreateFilter{This: w.pc.Reference(), Spec: types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: v.Reference(), Skip: new(true), SelectSet: []types.BaseSelectionSpec{v.TraversalSpec()}}},
		PropSet:   []types.PropertySpec{{Type: kind, PathSet: paths}},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// next waits for updates, at most seconds (negative: at once), and gathers all pages.
func (w *watcher) next(t *testing.T, seconds int32) (out []types.ObjectUpdate) {
	t.Helper()
	for {
		res, err := methods.WaitForUpdatesEx(t.Context(), w.c.Client, &types.WaitForUpdatesEx{
			This: w.pc.Reference(), Version: w.version, Options: &types.WaitOptions{MaxWaitSeconds: new(max(seconds, 0)), MaxObjectUpdates: 2},
		})
		if err != nil {
			t.Fatal(err)
		}
		set := res.Returnval
		if set == nil {
			return out
		}
		w.version = set.Version
		for _, f := range set.FilterSet {
			out = append(out, f.ObjectSet...)
		}
		if set.Truncated == nil || !*set.Truncated {
			return out
		}
	}
}

func TestWatch(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		vms := watch(t, c, "VirtualMachine", "name", "runtime.host", `config.extraConfig["ctkEnabled"]`)
		west := watch(t, connect(t, l, 1, reader), "VirtualMachine", "name")
		hosts := watch(t, connect(t, l, 0, reader), "HostSystem", "vm", "runtime.inMaintenanceMode")
		first := vms.next(t, -1)
		if len(first) != 5 || first[0].Kind != types.ObjectUpdateKindEnter || len(first[0].ChangeSet) != 3 {
			t.Fatalf("first %+v", first)
		}
		if o, ok := first[0].ChangeSet[2].Val.(types.OptionValue); !ok || o.Value != "FALSE" {
			t.Errorf("a keyed path gives %+v", first[0].ChangeSet[2])
		}
		if n := len(west.next(t, -1)) + len(hosts.next(t, -1)); n != 5+2 {
			t.Errorf("%d objects", n)
		}
		start := time.Now()
		if got := vms.next(t, 300); got != nil || time.Since(start) < 300*time.Second {
			t.Errorf("nothing changed in %v: %+v", time.Since(start), got)
		}
		m := l.machines[0]
		old := m.obj.Self
		to := l.hosts[1].obj.Self
		relocate(t, l, c, m, types.VirtualMachineRelocateSpec{Host: &to})
		got := vms.next(t, 3600)
		if len(got) != 1 || got[0].Kind != types.ObjectUpdateKindModify || got[0].Obj != old || len(got[0].ChangeSet) != 1 || got[0].ChangeSet[0].Val != to {
			t.Errorf("moved: %+v", got)
		}
		if got := hosts.next(t, 3600); len(got) != 2 {
			t.Errorf("hosts: %+v", got)
		}
		relocate(t, l, c, m, l.across(m, 1))
		if got := vms.next(t, 36000); len(got) != 1 || got[0].Kind != types.ObjectUpdateKindLeave || got[0].Obj != old {
			t.Errorf("left: %+v", got)
		}
		if got := west.next(t, 36000); len(got) != 1 || got[0].Kind != types.ObjectUpdateKindEnter || got[0].ChangeSet[0].Val != m.name {
			t.Errorf("arrived: %+v", got)
		}
		// A second filter of the same collector, later; and quick statistics are not told.
		vms.filter(t, "Datastore", "summary.freeSpace")
		if got := vms.next(t, -1); len(got) != 2 {
			t.Errorf("second filter: %+v", got)
		}
		vms.filter(t, "VirtualMachine", "summary.quickStats.overallCpuUsage")
		vms.next(t, -1)
		if got := vms.next(t, 600); got != nil {
			t.Errorf("told of quick statistics: %+v", got)
		}
	})
}

// The answer to the last version but one is sent again: the client may not have got it.
func TestWatchResends(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		w := watch(t, connect(t, l, 0, reader), "HostSystem", "name")
		first := w.next(t, -1)
		w.filter(t, "Datastore", "name")
		before := w.version
		second := w.next(t, -1)
		w.version = before
		if again := w.next(t, -1); len(again) != len(second) || len(first) == 0 {
			t.Errorf("%d, then %d", len(second), len(again))
		}
		w.version = "99"
		_, err := methods.WaitForUpdatesEx(t.Context(), w.c.Client, &types.WaitForUpdatesEx{This: w.pc.Reference(), Version: "99"})
		if typeName(vimFault(err)) != "InvalidCollectorVersion" {
			t.Errorf("unknown version: %v", err)
		}
	})
}

func TestPages(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, reader)
		v, err := view.NewManager(c.Client).CreateContainerView(t.Context(), c.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
		if err != nil {
			t.Fatal(err)
		}
		req := types.RetrievePropertiesEx{This: c.ServiceContent.PropertyCollector, Options: types.RetrieveOptions{MaxObjects: 2}, SpecSet: []types.PropertyFilterSpec{{
			ObjectSet: []types.ObjectSpec{{Obj: v.Reference(), Skip: new(true), SelectSet: []types.BaseSelectionSpec{v.TraversalSpec()}}},
			PropSet:   []types.PropertySpec{{Type: "ManagedEntity", PathSet: []string{"name", "nonsense"}}},
		}}}
		res, err := methods.RetrievePropertiesEx(t.Context(), c.Client, &req)
		if err != nil {
			t.Fatal(err)
		}
		objects, token, pages := res.Returnval.Objects, res.Returnval.Token, 1
		for token != "" {
			next, err := methods.ContinueRetrievePropertiesEx(t.Context(), c.Client, &types.ContinueRetrievePropertiesEx{This: req.This, Token: token})
			if err != nil {
				t.Fatal(err)
			}
			objects, token, pages = append(objects, next.Returnval.Objects...), next.Returnval.Token, pages+1
		}
		if len(objects) != 5 || pages != 3 || len(objects[0].MissingSet) != 1 {
			t.Errorf("%d objects on %d pages, missing %v", len(objects), pages, objects[0].MissingSet)
		}
	})
}

// What is done is written where operators look.
func TestStory(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		vms := watch(t, c, "VirtualMachine", "customValue")
		vms.next(t, -1)
		fields, err := object.GetCustomFieldsManager(c.Client)
		if err != nil {
			t.Fatal(err)
		}
		def, err := fields.Add(t.Context(), "mark", "VirtualMachine", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"one", "two"} {
			if err := fields.Set(t.Context(), m.obj.Self, def.Key, text); err != nil {
				t.Fatal(err)
			}
		}
		vm := props[mo.VirtualMachine](t, c, m.obj.Self, "customValue", "availableField")
		if len(vm.CustomValue) != 1 || vm.CustomValue[0].(*types.CustomFieldStringValue).Value != "two" || len(vm.AvailableField) != 1 {
			t.Errorf("attribute %+v of %+v", vm.CustomValue, vm.AvailableField)
		}
		if got := vms.next(t, -1); len(got) != 1 {
			t.Errorf("watchers were told %+v", got)
		}
		if err := fields.Set(t.Context(), types.ManagedObjectReference{Type: "VirtualMachine", Value: "none"}, def.Key, "x"); typeName(vimFault(err)) != "ManagedObjectNotFound" {
			t.Errorf("attribute of nothing: %v", err)
		}
		events := event.NewManager(c.Client)
		if err := events.LogUserEvent(t.Context(), m.obj.Self, "moved, see 17"); err != nil {
			t.Fatal(err)
		}
		to := l.hosts[1].obj.Self
		task := relocate(t, l, c, m, types.VirtualMachineRelocateSpec{Host: &to})
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := events.QueryEvents(t.Context(), types.EventFilterSpec{Entity: &types.EventFilterSpecByEntity{Entity: m.obj.Self, Recursion: types.EventFilterSpecRecursionOptionSelf}})
		if err != nil {
			t.Fatal(err)
		}
		var said, moved bool
		for _, e := range got {
			switch x := e.(type) {
			case *types.GeneralUserEvent:
				said = x.FullFormattedMessage == "moved, see 17" && x.UserName == mover.Username
			case *types.VmMigratedEvent:
				moved = x.SourceHost.Host == l.hosts[0].obj.Self && x.Host.Host == to
			}
		}
		if !said || !moved {
			t.Errorf("said %v, moved %v in %d events", said, moved, len(got))
		}
	})
}

func TestPlaceVM(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		vm := l.machines[0].obj.Self
		k := object.NewClusterComputeResource(c.Client, l.clusters[0].obj.Self)
		l.hosts[0].maint = true
		res, err := k.PlaceVm(t.Context(), types.PlacementSpec{Vm: &vm, PlacementType: string(types.PlacementSpecPlacementTypeRelocate)})
		if err != nil {
			t.Fatal(err)
		}
		a, ok := res.Recommendations[0].Action[0].(*types.PlacementAction)
		if !ok || *a.TargetHost != l.hosts[1].obj.Self || *a.RelocateSpec.Host != *a.TargetHost || *a.RelocateSpec.Pool != l.clusters[0].pool {
			t.Errorf("placed %+v", a)
		}
		l.hosts[1].maint = true
		if _, err := k.PlaceVm(t.Context(), types.PlacementSpec{Vm: &vm}); typeName(vimFault(err)) != "InvalidState" {
			t.Errorf("placed nowhere: %v", err)
		}
	})
}

// The simulator's own tasks are over when their call returns.
func TestForeignTask(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		vm := l.vmObject(c, l.machines[0].name)
		task, err := vm.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "hbr_filter.gid", Value: "x"}}})
		if err := wait(t, task, err); err != nil {
			t.Fatal(err)
		}
		k := object.NewClusterComputeResource(c.Client, l.clusters[0].obj.Self)
		task, err = k.Reconfigure(t.Context(), &types.ClusterConfigSpecEx{RulesSpec: []types.ClusterRuleSpec{{
			ArrayUpdateSpec: types.ArrayUpdateSpec{Operation: types.ArrayUpdateOperationAdd},
			Info:            &types.ClusterAntiAffinityRuleSpec{ClusterRuleInfo: types.ClusterRuleInfo{Name: "apart", Enabled: new(true)}, Vm: []types.ManagedObjectReference{l.machines[0].obj.Self, l.machines[1].obj.Self}},
		}}}, true)
		if err := wait(t, task, err); err != nil {
			t.Fatal(err)
		}
		if r := l.World().Rules; len(r) != 1 || r[0].Kind != "apart" || len(r[0].VMs) != 2 {
			t.Errorf("rules %+v", r)
		}
	})
}

// Faults of the wire: did it happen, and did the caller learn of it.
func TestWireFaults(t *testing.T) {
	for _, tc := range []struct {
		name     string
		fault    Fault
		happened bool
	}{
		{"refused", Fault{Refuse: 503}, false},
		{"lost", Fault{Lose: true}, false},
		{"reply lost", Fault{LoseReply: true}, true},
		{"html", Fault{HTML: true}, true},
		{"truncated", Fault{Truncate: true}, true},
		{"late request", Fault{Delay: time.Hour}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, small(), func(t *testing.T, l *Lab) {
				c := connect(t, l, 0, mover)
				l.SetFaults(func(call Call) Fault {
					if call.Method == "RelocateVM_Task" {
						return tc.fault
					}
					return Fault{}
				})
				to := l.hosts[1].obj.Self
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := l.vmObject(c, l.machines[0].name).Relocate(ctx, types.VirtualMachineRelocateSpec{Host: &to}, ""); err == nil {
					t.Error("the caller learned that it happened")
				}
				if got := len(l.Moves()) > 0; got != tc.happened {
					t.Errorf("happened: %v", got)
				}
				if tc.fault.Delay > 0 {
					time.Sleep(2 * time.Hour)
					if len(l.Moves()) != 1 {
						t.Error("the late request never arrived")
					}
				}
			})
		})
	}
}
