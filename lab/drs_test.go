package lab

import (
	"slices"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// told are the types of the events about an object, oldest first.
func told(t *testing.T, c *govmomi.Client, ref types.ManagedObjectReference) (out []string) {
	t.Helper()
	events, err := event.NewManager(c.Client).QueryEvents(t.Context(), types.EventFilterSpec{
		Entity: &types.EventFilterSpecByEntity{Entity: ref, Recursion: types.EventFilterSpecRecursionOptionSelf},
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(events, func(a, b types.BaseEvent) int { return int(a.GetEvent().Key - b.GetEvent().Key) })
	for _, e := range events {
		out = append(out, typeName(e))
	}
	return out
}

// A cluster that a client makes fully automated evens itself out when asked to,
// and its moves look like DRS's: to watchers, in tasks, in events.
func TestDRSMoves(t *testing.T) {
	cfg := small()
	cfg.Sites[0].Clusters[0].Hosts, cfg.Sites[0].Clusters[0].Rebalance = 2, true
	cfg.Demand = loaded{}
	cfg.Sites[0].Clusters[0].VMs = 8
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		for _, m := range l.machines[:8] {
			if m.host != 0 {
				task := relocate(t, l, c, m, types.VirtualMachineRelocateSpec{Host: &l.hosts[0].obj.Self})
				if err := task.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		moved := len(l.Moves())
		time.Sleep(time.Hour)
		if n := len(l.Moves()); n != moved {
			t.Fatalf("a partially automated cluster made %d moves", n-moved)
		}
		k := object.NewClusterComputeResource(c.Client, l.clusters[0].obj.Self)
		task, err := k.Reconfigure(t.Context(), &types.ClusterConfigSpecEx{DrsConfig: &types.ClusterDrsConfigInfo{Enabled: new(true), DefaultVmBehavior: types.DrsBehaviorFullyAutomated}}, true)
		if err := wait(t, task, err); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute) // ended tasks are objects for ten minutes
		moves := l.Moves()[moved:]
		if len(moves) == 0 || l.World().Clusters[0].DRS != "full" {
			t.Fatalf("a fully automated cluster made no move: %s", l.World().Clusters[0].DRS)
		}
		i := slices.IndexFunc(l.machines, func(m *machine) bool { return m.uuid == moves[0].VM })
		vm := l.machines[i].obj.Self
		tasks := props[mo.VirtualMachine](t, c, vm, "recentTask").RecentTask
		ti := info(t, c, tasks[len(tasks)-1])
		if _, ok := ti.Reason.(*types.TaskReasonSystem); !ok || ti.DescriptionId != "Drm.ExecuteVMotionLRO" || ti.Name != "" {
			t.Errorf("task %+v", ti)
		}
		got := told(t, c, vm)
		if n := len(got); n < 2 || got[n-1] != "DrsVmMigratedEvent" || got[n-2] != "VmBeingHotMigratedEvent" {
			t.Errorf("events %v", got)
		}
	})
}

// A host on its way to maintenance and back tells of it; the cluster's scheduler
// keeps its rules, does not try what cannot be, and goes on when that changes.
func TestDRSEvacuation(t *testing.T) {
	cfg := oneFull()
	vm := func(n int) string { return VMName("east-c", n) }
	cfg.Rules = []RuleConfig{
		{Cluster: "east-c", Name: "apart", Kind: "apart", VMs: []string{vm(0), vm(1)}}, // 0 is on the first host, 1 on the second
		{Cluster: "east-c", Name: "not on", Kind: "not_on", Mandatory: true, VMs: []string{vm(3)}, Hosts: []string{"east-c-esx02"}},
	}
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		h := l.hosts[0]
		l.machines[3].fixtures = []string{"passthrough"}
		task, err := hostObject(c, h).EnterMaintenanceMode(t.Context(), 0, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if m := l.machines; m[0].host != 2 || m[3].host != 0 || info(t, c, task.Reference()).State != types.TaskInfoStateRunning {
			t.Fatalf("VMs at %d and %d", m[0].host, m[3].host)
		}
		l.machines[3].fixtures = nil
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l.machines[3].host != 2 {
			t.Error("a rule was broken")
		}
		task, err = hostObject(c, h).ExitMaintenanceMode(t.Context(), 0)
		if err := wait(t, task, err); err != nil {
			t.Fatal(err)
		}
		for _, sleep := range []bool{true, false} {
			if sleep {
				_, err = methods.PowerDownHostToStandBy_Task(t.Context(), c.Client, &types.PowerDownHostToStandBy_Task{This: h.obj.Self})
			} else {
				_, err = methods.PowerUpHostFromStandBy_Task(t.Context(), c.Client, &types.PowerUpHostFromStandBy_Task{This: h.obj.Self})
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		var got []string
		for _, e := range told(t, c, h.obj.Self) {
			if e != "VmBeingHotMigratedEvent" && e != "DrsVmMigratedEvent" {
				got = append(got, e)
			}
		}
		want := []string{
			"EnteringMaintenanceModeEvent", "EnteredMaintenanceModeEvent", "ExitMaintenanceModeEvent",
			"EnteringStandbyModeEvent", "EnteredStandbyModeEvent", "ExitingStandbyModeEvent", "ExitedStandbyModeEvent",
		}
		if !slices.Equal(got, want) {
			t.Errorf("events %v", got)
		}
	})
}

// A cluster's EVC mode is what guests see that boot there, and it is lowered
// only when nothing runs that has seen more.
func TestEVC(t *testing.T) {
	cfg := small()
	cfg.Sites[1].Clusters[0].CPULevel = 4
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		if got := checkRelocate(t, c, m, l.across(m, 1)); got != "CpuIncompatible" {
			t.Errorf("to an older CPU: %q", got)
		}
		k := l.clusters[0].obj.Self
		res, err := methods.EvcManager(t.Context(), c.Client, &types.EvcManager{This: k})
		if err != nil {
			t.Fatal(err)
		}
		evc := *res.Returnval
		configure := func(key string) string {
			res, err := methods.ConfigureEvcMode_Task(t.Context(), c.Client, &types.ConfigureEvcMode_Task{This: evc, EvcModeKey: key})
			if err == nil {
				err = object.NewTask(c.Client, res.Returnval).Wait(t.Context())
			}
			return typeName(vimFault(err))
		}
		for key, want := range map[string]string{"intel-broadwell": "EVCConfigFault", "intel-icelake": "EVCModeUnsupportedByHosts", "amd-zen9": "InvalidArgument"} {
			if got := configure(key); got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
		for _, vm := range l.machines {
			if vm.vc == l.vcs[0] {
				l.setPower(vm, false)
			}
		}
		if got := configure("intel-broadwell"); got != "" {
			t.Fatalf("with all off: %q", got)
		}
		task, err := l.vmObject(c, m.name).PowerOn(t.Context())
		if err := wait(t, task, err); err != nil {
			t.Fatal(err)
		}
		state := props[mo.ClusterEVCManager](t, c, evc, "evcState").EvcState
		summary := props[mo.ClusterComputeResource](t, c, k, "summary").Summary.(*types.ClusterComputeResourceSummary)
		host := props[mo.HostSystem](t, c, l.hosts[0].obj.Self, "summary").Summary
		vm := props[mo.VirtualMachine](t, c, m.obj.Self, "runtime").Runtime
		for _, got := range []string{state.CurrentEVCModeKey, summary.CurrentEVCModeKey, host.CurrentEVCModeKey, vm.MinRequiredEVCModeKey} {
			if got != "intel-broadwell" {
				t.Errorf("held to %q", got)
			}
		}
		if len(state.SupportedEVCMode) != 5 || host.MaxEVCModeKey != "intel-skylake" {
			t.Errorf("supported %d modes, the hosts %s", len(state.SupportedEVCMode), host.MaxEVCModeKey)
		}
		if got := checkRelocate(t, c, m, l.across(m, 1)); got != "" {
			t.Errorf("booted with less: %q", got)
		}
		off, err := methods.DisableEvcMode_Task(t.Context(), c.Client, &types.DisableEvcMode_Task{This: evc})
		if err != nil {
			t.Fatal(err)
		}
		if err := object.NewTask(c.Client, off.Returnval).Wait(t.Context()); err != nil || l.bootLevel(l.hosts[0]) != 5 {
			t.Errorf("ended: %v", err)
		}
	})
}
