package lab

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// oneFull is a fully automated cluster of three hosts.
func oneFull() Config {
	cfg := small()
	cfg.Sites[0].Clusters[0].Hosts = 3
	cfg.Sites[0].Clusters[0].DRS = "full"
	return cfg
}

func hostObject(c *govmomi.Client, h *host) *object.HostSystem {
	return object.NewHostSystem(c.Client, h.obj.Self)
}

func wait(t *testing.T, task *object.Task, err error) error {
	t.Helper()
	if err != nil {
		return err
	}
	return task.Wait(t.Context())
}

func TestMaintenance(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		h := l.hosts[1]
		task, err := hostObject(c, h).EnterMaintenanceMode(t.Context(), 0, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		// Nobody evacuates a partially automated cluster: it waits.
		time.Sleep(time.Hour)
		if got := info(t, c, task.Reference()); got.State != types.TaskInfoStateRunning {
			t.Fatalf("after an hour: %s, %v", got.State, got.Error)
		}
		to := l.hosts[0].obj.Self
		for _, i := range l.machinesOn(1) {
			move := relocate(t, l, c, l.machines[i], types.VirtualMachineRelocateSpec{Host: &to})
			if err := move.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w := l.World(); !w.Hosts[1].Maintenance || !props[mo.HostSystem](t, c, h.obj.Self, "runtime").Runtime.InMaintenanceMode {
			t.Error("not in maintenance")
		}
		// Nothing arrives there.
		move := relocate(t, l, c, l.machines[0], types.VirtualMachineRelocateSpec{Host: &h.obj.Self})
		if err := move.Wait(t.Context()); typeName(vimFault(err)) != "InvalidHostState" {
			t.Errorf("move into maintenance: %v", err)
		}
		task, err = hostObject(c, h).ExitMaintenanceMode(t.Context(), 0)
		if err := wait(t, task, err); err != nil || l.World().Hosts[1].Maintenance {
			t.Errorf("exit: %v", err)
		}
		task, err = hostObject(c, h).ExitMaintenanceMode(t.Context(), 0)
		if err := wait(t, task, err); typeName(vimFault(err)) != "InvalidState" {
			t.Errorf("exit twice: %v", err)
		}
	})
}

func TestMaintenanceEnds(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		task, err := hostObject(c, l.hosts[1]).EnterMaintenanceMode(t.Context(), 300, false, nil)
		if err := wait(t, task, err); typeName(vimFault(err)) != "Timedout" {
			t.Errorf("after its timeout: %v", err)
		}
		task, err = hostObject(c, l.hosts[1]).EnterMaintenanceMode(t.Context(), 0, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := task.Wait(t.Context()); typeName(vimFault(err)) != "RequestCanceled" || l.World().Hosts[1].Maintenance {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// A fully automated cluster empties the host by itself, by moves of its own.
func TestMaintenanceEvacuates(t *testing.T) {
	bubble(t, oneFull(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		n := len(l.machinesOn(0))
		task, err := hostObject(c, l.hosts[0]).EnterMaintenanceMode(t.Context(), 0, true, nil)
		if err := wait(t, task, err); err != nil {
			t.Fatal(err)
		}
		if got := l.machinesOn(0); len(got) != 0 || n == 0 {
			t.Errorf("%d of %d VMs left", len(got), n)
		}
		for _, m := range l.Moves() {
			if m.From != 0 || !m.Done {
				t.Errorf("move %+v", m)
			}
		}
		vm := props[mo.VirtualMachine](t, c, l.machines[0].obj.Self, "recentTask")
		if _, ok := info(t, c, vm.RecentTask[0]).Reason.(*types.TaskReasonSystem); !ok {
			t.Error("the cluster's move is not the system's")
		}
	})
}

func TestStandby(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		h := l.hosts[0] // the agent runs here
		sleep := func(h *host) error {
			res, err := methods.PowerDownHostToStandBy_Task(t.Context(), c.Client, &types.PowerDownHostToStandBy_Task{This: h.obj.Self})
			if err != nil {
				return err
			}
			return object.NewTask(c.Client, res.Returnval).Wait(t.Context())
		}
		if err := sleep(h); typeName(vimFault(err)) != "InvalidState" {
			t.Fatalf("standby with VMs: %v", err)
		}
		to := l.hosts[1].obj.Self
		for _, i := range l.machinesOn(0) {
			if m := l.machines[i]; !m.agent {
				task := relocate(t, l, c, m, types.VirtualMachineRelocateSpec{Host: &to})
				if err := task.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := sleep(h); err != nil {
			t.Fatal(err)
		}
		r := props[mo.HostSystem](t, c, h.obj.Self, "runtime").Runtime
		if r.PowerState != types.HostSystemPowerStateStandBy || r.StandbyMode != "in" || r.ConnectionState != types.HostSystemConnectionStateNotResponding {
			t.Errorf("asleep: %s %s %s", r.PowerState, r.StandbyMode, r.ConnectionState)
		}
		w := l.World()
		if !w.Hosts[0].Standby || w.Hosts[0].On || w.Hosts[0].Watts != standbyWatts || l.machines[len(l.machines)-2].host != 1 {
			t.Errorf("asleep: %+v", w.Hosts[0])
		}
		start := time.Now()
		res, err := methods.PowerUpHostFromStandBy_Task(t.Context(), c.Client, &types.PowerUpHostFromStandBy_Task{This: h.obj.Self})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Minute + time.Second)
		if w := l.World().Hosts[0]; w.On || w.Standby || w.Watts < 0.6*300 || w.Watts > 300 {
			t.Errorf("booting: %+v", w)
		}
		if err := object.NewTask(c.Client, res.Returnval).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < bootTime || d > bootTime+bootSpread+time.Second {
			t.Errorf("woke in %v", d)
		}
		if w := l.World().Hosts[0]; !w.On || w.Watts != 100 {
			t.Errorf("awake: %+v", w)
		}
	})
}

func TestPower(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, reader)
		time.Sleep(30 * time.Minute)
		h := l.hosts[0]
		for _, format := range []string{"", "csv"} {
			res, err := methods.QueryPerf(t.Context(), c.Client, &types.QueryPerf{This: *c.ServiceContent.PerfManager, QuerySpec: []types.PerfQuerySpec{{
				Entity: h.obj.Self, MaxSample: 15, IntervalId: 20, Format: format, MetricId: []types.PerfMetricId{{CounterId: l.vcs[0].power}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			switch x := res.Returnval[0].(type) {
			case *types.PerfEntityMetric:
				v, ok := x.Value[0].(*types.PerfMetricIntSeries)
				if !ok || len(v.Value) != 15 || len(x.SampleInfo) != 15 || float64(v.Value[14]) != math.Round(h.watts) {
					t.Errorf("samples %+v", x)
				}
			case *types.PerfEntityMetricCSV:
				if n := strings.Count(x.Value[0].Value, ","); format != "csv" || n != 14 {
					t.Errorf("csv %+v", x)
				}
			}
		}
		var use float64
		for _, i := range l.machinesOn(0) {
			use += float64(l.machines[i].cpuMHz)
		}
		if want := 100 + 200*use/float64(h.cpuMHz); math.Abs(l.World().Hosts[0].Watts-want) > 0.01 || use == 0 {
			t.Errorf("%v W, want %v", l.World().Hosts[0].Watts, want)
		}
		vm := props[mo.VirtualMachine](t, c, l.machines[0].obj.Self, "summary.quickStats")
		if q := vm.Summary.QuickStats; q.OverallCpuDemand != int32(l.machines[0].cpuMHz) || q.HostMemoryUsage != int32(l.machines[0].consumed) || q.GuestMemoryUsage == 0 {
			t.Errorf("load %+v", q)
		}
	})
}
