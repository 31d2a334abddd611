package lab

import (
	"slices"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// checkRelocate is the first thing that a check of a move says, of the call or of the world; "" for nothing.
func checkRelocate(t *testing.T, c *govmomi.Client, m *machine, spec types.VirtualMachineRelocateSpec, kinds ...types.CheckTestType) string {
	t.Helper()
	res, err := object.NewVmProvisioningChecker(c.Client).CheckRelocate(t.Context(), m.obj.Self, spec, kinds...)
	if err != nil {
		return typeName(vimFault(err))
	}
	if len(res) != 1 || *res[0].Vm != m.obj.Self {
		t.Fatalf("results %+v", res)
	}
	if len(res[0].Error) == 0 {
		return ""
	}
	if res[0].Error[0].LocalizedMessage == "" {
		t.Errorf("no message in %+v", res[0].Error[0])
	}
	return typeName(res[0].Error[0].Fault)
}

// A check of a VM that moves names the task; once it is over, nothing is in the way.
func TestCheckRelocateBusy(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		m := l.machines[0]
		spec := types.VirtualMachineRelocateSpec{Host: &l.hosts[1].obj.Self}
		if got := checkRelocate(t, c, m, spec); got != "" {
			t.Fatalf("before: %s", got)
		}
		task := relocate(t, l, c, m, spec)
		start := time.Now()
		res, err := object.NewVmProvisioningChecker(c.Client).CheckRelocate(t.Context(), m.obj.Self, spec)
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := res[0].Error[0].Fault.(*types.TaskInProgress); !ok || f.Task != task.Reference() {
			t.Errorf("busy: %+v", res[0].Error)
		}
		if took := time.Since(start); took < refusal {
			t.Errorf("a check takes %v", took)
		}
		if got := checkRelocate(t, c, m, spec, types.CheckTestTypeNetworkTests); got != "" {
			t.Errorf("networks: %s", got)
		}
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := checkRelocate(t, c, m, spec); got != "" {
			t.Errorf("after: %s", got)
		}
		if _, err := object.NewVmProvisioningChecker(connect(t, l, 0, reader).Client).CheckRelocate(t.Context(), m.obj.Self, spec); typeName(vimFault(err)) != "NoPermission" {
			t.Errorf("a reader checks: %v", err)
		}
	})
}

// All that is in the way is said at once, by kinds of tests; and where the
// cluster chooses the host each host is tested.
func TestCheckRelocateAll(t *testing.T) {
	cfg := small()
	k := cfg.Sites[0].Clusters[0]
	k.Name, k.DRS, k.Hosts = "east-full", "full", 3
	cfg.Sites[0].Clusters = append(cfg.Sites[0].Clusters, k)
	bubble(t, cfg, func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		checker := object.NewVmProvisioningChecker(c.Client)
		m, h := l.machines[0], l.hosts[1]
		m.fixtures, m.level, m.reserve = []string{"passthrough", "cpu_affinity"}, 8, h.memMiB
		h.maint, h.vmotion, h.stores, h.segments = true, false, nil, nil
		res, err := checker.CheckRelocate(t.Context(), m.obj.Self, types.VirtualMachineRelocateSpec{Host: &h.obj.Self})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range res[0].Error {
			got = append(got, typeName(e.Fault))
		}
		want := []string{
			"InvalidHostState", "VMotionNotConfigured", "CpuIncompatible", "DeviceNotSupported", "AffinityConfigured",
			"DatastoreNotWritableOnHost", "CannotAccessNetwork", "InsufficientHostMemoryCapacityFault",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
		if got := checkRelocate(t, c, m, types.VirtualMachineRelocateSpec{Host: &h.obj.Self}, types.CheckTestTypeDatastoreTests); got != "DatastoreNotWritableOnHost" {
			t.Errorf("datastore tests: %s", got)
		}
		l.hosts[2].maint = true // of the cluster that chooses
		res, err = checker.CheckRelocate(t.Context(), m.obj.Self, types.VirtualMachineRelocateSpec{Pool: &l.clusters[1].pool})
		if err != nil || len(res) != 2 || *res[0].Host != l.hosts[3].obj.Self {
			t.Errorf("a cluster that chooses: %+v, %v", res, err)
		}
	})
}

// Compatible is asked as if VMs ran and hosts were there.
func TestQueryVMotionCompatibility(t *testing.T) {
	bubble(t, small(), func(t *testing.T, l *Lab) {
		c := connect(t, l, 0, mover)
		l.machines[0].fixtures = []string{"passthrough"}
		l.machines[1].on = false
		l.hosts[1].maint = true
		req := types.QueryVMotionCompatibilityEx_Task{This: *c.ServiceContent.VmProvisioningChecker}
		for i := range 2 {
			req.Vm, req.Host = append(req.Vm, l.machines[i].obj.Self), append(req.Host, l.hosts[i].obj.Self)
		}
		ask := func() (out []int) {
			res, err := methods.QueryVMotionCompatibilityEx_Task(t.Context(), c.Client, &req)
			if err != nil {
				t.Fatal(err)
			}
			ti, err := object.NewTask(c.Client, res.Returnval).WaitForResult(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range ti.Result.(types.ArrayOfCheckResult).CheckResult {
				out = append(out, len(r.Error))
			}
			return out
		}
		if got := ask(); !slices.Equal(got, []int{0, 1, 0, 0}) {
			t.Errorf("errors %v", got)
		}
		l.machines[1].level = 8
		if got := ask(); !slices.Equal(got, []int{0, 1, 1, 0}) {
			t.Errorf("with an old host: errors %v", got)
		}
	})
}
