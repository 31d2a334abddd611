package lab

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func inject(t *testing.T, l *Lab, list ...Incident) []int {
	t.Helper()
	ids, err := l.Inject(list...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// What befalls a call: whether and how often it is carried out, and what the
// caller learns within its minute.
func TestIncidentsOfCalls(t *testing.T) {
	for _, tc := range []struct {
		in          Incident
		soon, later int    // moves after a minute, and after an hour
		says        string // what the caller is told, "" for that all is well
	}{
		{Incident{Kind: "refused"}, 0, 0, "503"},
		{Incident{Kind: "lost"}, 0, 0, "EOF"},
		{Incident{Kind: "lost_reply"}, 1, 1, "EOF"},
		{Incident{Kind: "late", By: 10 * time.Second}, 1, 1, ""},
		{Incident{Kind: "late", By: 10 * time.Minute}, 0, 1, "deadline"},
		{Incident{Kind: "late_reply", By: 10 * time.Second}, 1, 1, ""},
		{Incident{Kind: "late_reply", By: 10 * time.Minute}, 1, 1, "deadline"},
		{Incident{Kind: "doubled"}, 1, 1, "TaskInProgress"},
		{Incident{Kind: "truncated"}, 1, 1, "EOF"},
		{Incident{Kind: "html"}, 1, 1, "expected element type <Envelope> but have <html>"},
	} {
		t.Run(tc.in.Kind, func(t *testing.T) {
			bubble(t, small(), func(t *testing.T, l *Lab) {
				c := connect(t, l, 0, mover)
				tc.in.Target = "Relocate*"
				inject(t, l, tc.in)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				_, err := l.vmObject(c, l.machines[0].name).Relocate(ctx, types.VirtualMachineRelocateSpec{Host: &l.hosts[1].obj.Self}, "")
				told := ""
				if err != nil {
					told = err.Error() + typeName(vimFault(err))
				}
				if (tc.says == "") != (err == nil) || !strings.Contains(told, tc.says) {
					t.Errorf("the caller learned %q, want %q", told, tc.says)
				}
				if took := time.Since(start); took < min(tc.in.By, time.Minute) {
					t.Errorf("answered after %v", took)
				}
				if got := len(l.Moves()); got != tc.soon {
					t.Errorf("%d moves soon, want %d", got, tc.soon)
				}
				time.Sleep(time.Hour)
				if got := len(l.Moves()); got != tc.later {
					t.Errorf("%d moves later, want %d", got, tc.later)
				}
				if n := len(l.Incidents()); n != 0 { // it was meant for one call
					t.Errorf("%d incidents go on", n)
				}
			})
		})
	}
}

// With a probability each call is drawn for, as long as the incident lasts; the
// same seed draws the same.
func TestIncidentsDrawn(t *testing.T) {
	var runs [2][]int
	for i := range runs {
		bubble(t, small(), func(t *testing.T, l *Lab) {
			c := connect(t, l, 0, reader)
			inject(t, l, Incident{Kind: "refused", Target: "CurrentTime", P: 0.3, At: time.Minute, For: time.Hour, VCenter: "east"})
			for n := range 150 {
				if _, err := methods.GetCurrentTime(t.Context(), c.Client); err != nil {
					runs[i] = append(runs[i], n)
				}
				switch n {
				case 0:
					time.Sleep(time.Minute)
				case 100:
					time.Sleep(time.Hour)
				}
			}
			if _, err := methods.GetCurrentTime(t.Context(), connect(t, l, 1, reader).Client); err != nil {
				t.Errorf("the other vCenter: %v", err)
			}
		})
	}
	n := len(runs[0])
	if n < 15 || n > 45 || runs[0][0] == 0 || runs[0][n-1] > 100 || !slices.Equal(runs[0], runs[1]) {
		t.Errorf("refused %v, and again %v", runs[0], runs[1])
	}
}

// A move that hangs until its fault ends goes on when a person ends that.
func TestHangIsEnded(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		id := inject(t, l, Incident{Kind: "task_hangs", Percent: 50, P: 1})[0]
		task := relocate(t, l, c, m, l.across(m, 1))
		time.Sleep(time.Hour)
		if state := info(t, c, task.Reference()).State; state != types.TaskInfoStateRunning || !l.End(id) {
			t.Fatalf("the task of a move that hangs: %s", state)
		}
		time.Sleep(5 * time.Minute)
		if state := info(t, c, task.Reference()).State; state != types.TaskInfoStateSuccess {
			t.Errorf("five minutes after the fault has ended: %s", state)
		}
	})
}

// What befalls a move's task: the VM ends where it ends whatever the task says.
func TestIncidentsOfTasks(t *testing.T) {
	for _, tc := range []struct {
		in    Incident
		says  string // how the task ended after an hour
		moved bool
	}{
		{Incident{Kind: "task_fails", Percent: 50}, "GenericVmConfigFault", false},
		{Incident{Kind: "task_hangs", Percent: 50}, "running", false},
		{Incident{Kind: "task_hangs", Percent: 50, For: 20 * time.Minute}, "success", true},
		{Incident{Kind: "task_vanishes", Percent: 50}, "ManagedObjectNotFound", true},
	} {
		t.Run(tc.in.Kind, func(t *testing.T) {
			bubble(t, small(), func(t *testing.T, l *Lab) {
				c := connect(t, l, 0, mover)
				m := l.machines[0]
				old := m.obj.Self
				tc.in.Target = m.name
				inject(t, l, tc.in)
				since := time.Now()
				task := relocate(t, l, c, m, l.across(m, 1))
				deadline := time.Now().Add(9 * time.Minute) // a vanished task cannot be waited for
				var ti mo.Task
				var err error
				for time.Now().Before(deadline) && err == nil && ti.Info.CompleteTime == nil {
					time.Sleep(5 * time.Second)
					err = property.DefaultCollector(c.Client).RetrieveOne(t.Context(), task.Reference(), []string{"info"}, &ti)
				}
				if tc.in.For > 0 && ti.Info.State == types.TaskInfoStateRunning {
					time.Sleep(20 * time.Minute)
					err = property.DefaultCollector(c.Client).RetrieveOne(t.Context(), task.Reference(), []string{"info"}, &ti)
				}
				got := string(ti.Info.State)
				switch {
				case err != nil:
					got = typeName(vimFault(err))
				case ti.Info.Error != nil:
					got = typeName(ti.Info.Error.Fault)
				}
				if got != tc.says {
					t.Errorf("the task: %s (%v), want %s", got, err, tc.says)
				}
				if tc.in.Kind != "task_vanishes" && tc.says != "success" && (ti.Info.Progress < 45 || ti.Info.Progress > 52) {
					t.Errorf("at %d %%", ti.Info.Progress)
				}
				time.Sleep(time.Hour)
				if moved := l.World().VMs[0].VCenter == l.vcs[1].uuid; moved != tc.moved {
					t.Errorf("moved: %v", moved)
				}
				if n := len(history(t, c, old, since)); (n == 0) != (tc.in.Kind == "task_vanishes") {
					t.Errorf("%d tasks in the history", n)
				}
				if tc.says != "running" {
					return
				}
				if err := task.Cancel(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := task.Wait(t.Context()); typeName(vimFault(err)) != "RequestCanceled" || l.hosts[0].units != 0 {
					t.Errorf("cancelled while it hung: %v", err)
				}
			})
		})
	}
}

// A host's task fails at its end, and the host is as it was.
func TestIncidentsOfHostTasks(t *testing.T) {
	cfg := small()
	cfg.Fixtures = []FixtureConfig{{Name: "host_standby", Host: "east-c-esx02"}}
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		inject(t, l, Incident{Kind: "task_fails", Target: "east-c-esx02.lab"})
		for _, want := range []string{"GenericVmConfigFault", ""} {
			res, err := methods.PowerUpHostFromStandBy_Task(t.Context(), c.Client, &types.PowerUpHostFromStandBy_Task{This: l.hosts[1].obj.Self})
			if err != nil {
				t.Fatal(err)
			}
			err = object.NewTask(c.Client, res.Returnval).Wait(t.Context())
			r := props[mo.HostSystem](t, c, l.hosts[1].obj.Self, "runtime").Runtime
			asleep := r.StandbyMode == "in" && r.PowerState == types.HostSystemPowerStateStandBy
			if typeName(vimFault(err)) != want || asleep != (want != "") {
				t.Errorf("%v, then asleep: %v (%s)", err, asleep, r.StandbyMode)
			}
		}
	})
}

func TestSessionKilled(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c, other := connect(t, l, 0, mover), connect(t, l, 0, reader)
		rc := rest.NewClient(c.Client)
		if err := rc.Login(t.Context(), userinfo(mover)); err != nil {
			t.Fatal(err)
		}
		inject(t, l, Incident{Kind: "session_killed", Target: mover.Username, At: time.Minute})
		time.Sleep(2 * time.Minute)
		vm := l.machines[0].obj.Self
		if _, err := l.vmObject(c, l.machines[0].name).PowerOff(t.Context()); typeName(vimFault(err)) != "NotAuthenticated" {
			t.Errorf("the killed session: %v", err)
		}
		if _, err := tags.NewManager(rc).GetAttachedTags(t.Context(), vm); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("the killed REST session: %v", err)
		}
		props[mo.VirtualMachine](t, other, vm, "name")
		props[mo.VirtualMachine](t, connect(t, l, 0, mover), vm, "name")
	})
}

func TestPermissionLost(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		inject(t, l, Incident{Kind: "permission_lost", Target: mover.Username, For: time.Hour})
		spec := types.VirtualMachineRelocateSpec{Host: &l.hosts[1].obj.Self}
		_, err := l.vmObject(c, l.machines[0].name).Relocate(t.Context(), spec, "")
		if typeName(vimFault(err)) != "NoPermission" {
			t.Errorf("meanwhile: %v", err)
		}
		props[mo.VirtualMachine](t, c, l.machines[0].obj.Self, "name")
		time.Sleep(time.Hour + time.Second)
		if _, err := l.vmObject(c, l.machines[0].name).Relocate(t.Context(), spec, ""); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// A vCenter that restarts is away, then knows nobody and no task; a move that ran
// has ended in the history, and arrives nevertheless.
func TestVCenterRestarts(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		since := time.Now()
		m := l.machines[0]
		old := m.obj.Self
		task := relocate(t, l, c, m, l.across(m, 1))
		w := watch(t, c, "VirtualMachine", "name")
		w.next(t, -1)
		waiting := make(chan error, 1)
		go func() {
			_, err := methods.WaitForUpdatesEx(t.Context(), c.Client, &types.WaitForUpdatesEx{This: w.pc.Reference(), Version: w.version})
			waiting <- err
		}()
		time.Sleep(time.Minute)
		inject(t, l, Incident{Kind: "vcenter_restarts", VCenter: "east", For: 5 * time.Minute})
		if err := <-waiting; err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("who waited: %v", err)
		}
		if _, err := methods.GetCurrentTime(t.Context(), c.Client); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("meanwhile: %v", err)
		}
		time.Sleep(5*time.Minute + time.Second)
		if _, err := methods.WaitForUpdatesEx(t.Context(), c.Client, &types.WaitForUpdatesEx{This: w.pc.Reference(), Version: w.version}); typeName(vimFault(err)) != "NotAuthenticated" {
			t.Errorf("the old session: %v", err)
		}
		c = connect(t, l, 0, mover)
		if _, err := methods.WaitForUpdatesEx(t.Context(), c.Client, &types.WaitForUpdatesEx{This: w.pc.Reference(), Version: w.version}); typeName(vimFault(err)) != "ManagedObjectNotFound" {
			t.Errorf("the old collector: %v", err)
		}
		if _, err := methods.CancelTask(t.Context(), c.Client, &types.CancelTask{This: task.Reference()}); typeName(vimFault(err)) != "ManagedObjectNotFound" {
			t.Errorf("the old task: %v", err)
		}
		if tm := props[mo.TaskManager](t, c, *c.ServiceContent.TaskManager, "recentTask"); len(tm.RecentTask) != 0 {
			t.Errorf("recent tasks %v", tm.RecentTask)
		}
		if n := len(history(t, c, old, since, types.TaskInfoStateError)); n != 1 {
			t.Errorf("%d failed tasks in the history", n)
		}
		time.Sleep(time.Hour)
		if l.World().VMs[0].VCenter != l.vcs[1].uuid || len(history(t, c, old, since, types.TaskInfoStateSuccess)) != 0 {
			t.Error("the move did not go on, or its task came back")
		}
	})
}

func TestClockSkew(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		inject(t, l, Incident{Kind: "clock_skew", By: -90 * time.Second, VCenter: "east", For: time.Hour})
		for _, want := range []time.Duration{-90 * time.Second, 0} {
			now, err := methods.GetCurrentTime(t.Context(), c.Client)
			if err != nil || time.Until(*now) != want {
				t.Errorf("shows %v: %v", now, err)
			}
			task := relocate(t, l, c, l.machines[0], types.VirtualMachineRelocateSpec{Host: &l.hosts[1-l.World().VMs[0].Host].obj.Self})
			if d := time.Until(info(t, c, task.Reference()).QueueTime); d != want {
				t.Errorf("tasks by %v", d)
			}
			time.Sleep(time.Hour + time.Second)
		}
	})
}

// What is not listed has left for whoever watches or asks, and comes back.
func TestInventoryShrinks(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		w := watch(t, c, "ManagedEntity", "name")
		all := len(w.next(t, -1))
		h := l.hosts[0]
		gone := len(l.machinesOn(0)) + 1
		inject(t, l, Incident{Kind: "inventory_shrinks", Target: h.name, For: time.Hour})
		left := w.next(t, 600)
		if len(left) != gone || left[0].Kind != types.ObjectUpdateKindLeave {
			t.Errorf("%d of %d left", len(left), gone)
		}
		v, err := view.NewManager(c.Client).CreateContainerView(t.Context(), c.ServiceContent.RootFolder, []string{"ManagedEntity"}, true)
		if err != nil {
			t.Fatal(err)
		}
		var listed []mo.ManagedEntity
		if err := v.Retrieve(t.Context(), []string{"ManagedEntity"}, []string{"name"}, &listed); err != nil || len(listed) != all-gone {
			t.Errorf("%d of %d listed: %v", len(listed), all, err)
		}
		m := l.machines[l.machinesOn(0)[0]]
		si := object.NewSearchIndex(c.Client)
		found, err := si.FindByUuid(t.Context(), nil, m.uuid, true, new(true))
		if err != nil || found != nil {
			t.Errorf("found %v: %v", found, err)
		}
		if every, err := si.FindAllByUuid(t.Context(), nil, m.uuid, true, new(true)); err != nil || len(every) != 0 {
			t.Errorf("found %v: %v", every, err)
		}
		if _, err := l.vmObject(c, m.name).PowerOff(t.Context()); typeName(vimFault(err)) != "ManagedObjectNotFound" {
			t.Errorf("a call to it: %v", err)
		}
		back := w.next(t, 2*3600)
		if len(back) != gone || back[0].Kind != types.ObjectUpdateKindEnter {
			t.Errorf("%d of %d came back", len(back), gone)
		}
		inject(t, l, Incident{Kind: "inventory_shrinks", Percent: 50, For: time.Hour})
		if n := len(w.next(t, 600)); n == 0 || n == 5 {
			t.Errorf("half of the VMs: %d", n)
		}
	})
}

// A person moves a VM, once as written, then at random.
func TestForeignMove(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		inject(t, l, Incident{Kind: "foreign_move", Target: m.name, To: l.hosts[1].name, At: time.Minute})
		time.Sleep(2 * time.Minute)
		vm := props[mo.VirtualMachine](t, c, m.obj.Self, "runtime.host", "recentTask")
		if r, ok := info(t, c, vm.RecentTask[0]).Reason.(*types.TaskReasonUser); !ok || r.UserName != person || *vm.Runtime.Host != l.hosts[1].obj.Self {
			t.Errorf("moved to %v by %v", vm.Runtime.Host, r)
		}
		if got := told(t, c, m.obj.Self); !slices.Contains(got, "VmMigratedEvent") {
			t.Errorf("events %v", got)
		}
		id := inject(t, l, Incident{Kind: "foreign_move", Every: time.Hour})
		time.Sleep(24 * time.Hour)
		n := len(l.Moves())
		if n < 10 || n > 50 {
			t.Errorf("%d moves in a day", n)
		}
		if !l.End(id[0]) || l.End(id[0]) {
			t.Error("not ended, or twice")
		}
		time.Sleep(24 * time.Hour)
		if more := len(l.Moves()) - n; more > 1 {
			t.Errorf("%d more after its end", more)
		}
	})
}

// A cluster's scheduler that is quiet becomes restless for a while.
func TestDRSIncident(t *testing.T) {
	cfg := oneFull()
	cfg.Demand = loaded{}
	cfg.Sites[0].Clusters[0].VMs = 12
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		l.lock()
		for _, m := range l.machines[:12] {
			l.setHost(m, l.hosts[0])
		}
		l.unlock()
		time.Sleep(time.Hour)
		before := len(l.Moves())
		inject(t, l, Incident{Kind: "drs", Target: "east-c", For: 12 * time.Minute})
		time.Sleep(time.Hour)
		if n := len(l.Moves()); before != 0 || n == 0 || n > 3 {
			t.Errorf("%d moves before, %d after", before, n)
		}
	})
}

// All that is wrong with a list is said at once, with its place and what to do.
func TestReadIncidents(t *testing.T) {
	l := build(t, small())
	good := `
- {kind: lost, target: "*_Task", p: 0.01}
- at: 10m
  vcenter: west
  kind: vcenter_restarts
  for: 3m
- {kind: foreign_move, every: 6h}
- {kind: task_hangs, target: east-c-web000, percent: 40, for: 20m}
- {kind: clock_skew, by: -90s, for: 1h}
`
	list, err := l.ReadIncidents("faults.yaml", []byte(good))
	if err != nil || len(list) != 5 || list[1].At != 10*time.Minute || list[4].By != -90*time.Second {
		t.Fatalf("%+v, %v", list, err)
	}
	if list, err := l.ReadIncidents("faults.json", []byte(`[{"kind": "late", "by": "5s", "for": "1m"}]`)); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	for text, want := range map[string]string{
		`[{kind: explode}]`: `f:1:9: [0].kind: "explode" is none of refused, lost,`,
		`[{}]`:              `f:1:2: [0].kind: "" is none of`,
		"- {kind: lost}\n- {kind: lost, vcenter: north}":         `f:2:25: [1].vcenter: the lab has no vCenter "north"; it has east, west`,
		`[{kind: lost, when: 5m}]`:                               `f:1:15: [0].when: unknown key; known are at, by,`,
		`[{kind: lost, for: 5}]`:                                 `[0].for: `,
		`[{kind: lost, for: -5m}]`:                               `[0].for: -5m0s is in the past`,
		`[{kind: lost, p: .nan}]`:                                `[0].p: `,
		`[{kind: lost, p: 1.5}]`:                                 `[0].p: must be between 0 and 1`,
		`[{kind: lost, every: 1h}]`:                              `[0].every: lost takes p`,
		`[{kind: lost, target: "["}]`:                            `is no pattern for methods`,
		`[{kind: late}]`:                                         `[0].by: is how late`,
		`[{kind: late, by: -1s}]`:                                `[0].by: is how late`,
		`[{kind: task_fails, target: nobody}]`:                   `[0].target: the lab has no VM and no host "nobody"`,
		`[{kind: task_fails, percent: 100}]`:                     `[0].percent: is 0 to 99`,
		`[{kind: session_killed, for: 1h}]`:                      `[0].for: session_killed happens in a moment`,
		`[{kind: session_killed, target: root}]`:                 `the lab has no account "root"`,
		`[{kind: vcenter_restarts}]`:                             `[0].for: vcenter_restarts needs to say how long it lasts`,
		`[{kind: vcenter_restarts, for: 1m, target: x}]`:         `takes no target`,
		`[{kind: permission_lost, every: 1h}]`:                   `needs to say how long`,
		`[{kind: inventory_shrinks, for: 1m}]`:                   `needs a VM, host or cluster, or else a percent`,
		`[{kind: inventory_shrinks, for: 1m, target: atlantis}]`: `no VM, host or cluster "atlantis"`,
		`[{kind: foreign_move, to: nowhere}]`:                    `there is no host "nowhere"`,
		`[{kind: foreign_move, target: nobody}]`:                 `no VM "nobody"`,
		`[{kind: drs, target: nowhere, for: 1h}]`:                `no cluster "nowhere"`,
		`{kind: lost}`:                                           `f:1:1: `,
		``:                                                       `empty`,
	} {
		if _, err := l.ReadIncidents("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := l.Inject(Incident{Kind: "lost"}, Incident{Kind: "late"}); err == nil || len(l.Incidents()) != 0 {
		t.Errorf("one of two injected: %v", err)
	}
}
