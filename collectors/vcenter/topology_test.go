package vcenter

import (
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

func change(op types.PropertyChangeOp, name string, val any) types.PropertyChange {
	return types.PropertyChange{Op: op, Name: name, Val: val}
}

// TestApply plays the kinds of update that real vCenters send and the simulator
// in part does not.
func TestApply(t *testing.T) {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}
	const assign = types.PropertyChangeOpAssign
	topo := &topology{records: map[types.ManagedObjectReference]record{}}
	steps := []struct {
		name        string
		update      types.ObjectUpdate
		wake, stale bool
		ok          func(*vm) bool
	}{
		{
			"enter",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindEnter, ChangeSet: []types.PropertyChange{
				change(assign, "name", "a%2fb"), change(assign, "snapshot", types.VirtualMachineSnapshotInfo{}), change(assign, extraPath("migration.disabled"), types.OptionValue{Value: "TRUE"}),
			}},
			true, false, func(v *vm) bool {
				return v.name == "a/b" && v.snapshot && v.extra != [len(extraKeys)]engine.Obstacles{}
			},
		},
		{
			"a load of no interest",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, ChangeSet: []types.PropertyChange{change(assign, "guestHeartbeatStatus", types.ManagedEntityStatusRed)}},
			false, false, func(v *vm) bool { return v.heartbeat == types.ManagedEntityStatusRed },
		},
		{
			"power",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, ChangeSet: []types.PropertyChange{change(assign, "runtime.powerState", types.VirtualMachinePowerStatePoweredOn)}},
			true, false, func(v *vm) bool { return v.power == types.VirtualMachinePowerStatePoweredOn },
		},
		{
			"the snapshot is unset by what holds it",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, ChangeSet: []types.PropertyChange{change(types.PropertyChangeOpIndirectRemove, "snapshot", nil)}},
			true, false, func(v *vm) bool { return !v.snapshot },
		},
		{
			"a setting is withdrawn",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, ChangeSet: []types.PropertyChange{change(types.PropertyChangeOpIndirectRemove, extraPath("migration.disabled"), nil)}},
			true, false, func(v *vm) bool { return v.extra == [len(extraKeys)]engine.Obstacles{} },
		},
		{
			"one device is added",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, ChangeSet: []types.PropertyChange{change(types.PropertyChangeOpAdd, "config.hardware.device[4000]", &types.VirtualVmxnet3{})}},
			false, true, func(*vm) bool { return true },
		},
		{
			"a change below a property",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, ChangeSet: []types.PropertyChange{change(assign, "config.hardware.device[4000].connectable", nil)}},
			false, true, func(*vm) bool { return true },
		},
		{
			"refused",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, MissingSet: []types.MissingProperty{
				{Path: "config.hardware.device", Fault: types.LocalizedMethodFault{Fault: &types.NoPermission{PrivilegeId: "System.Read"}}},
				{Path: "config.cpuAffinity", Fault: types.LocalizedMethodFault{Fault: &types.InvalidProperty{Name: "config.cpuAffinity"}}},
			}},
			false, false, func(v *vm) bool {
				return len(v.missing) == 1 && v.missing[0] == "config.hardware.device: no permission (System.Read)"
			},
		},
		{
			"granted",
			types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, ChangeSet: []types.PropertyChange{change(assign, "config.hardware.device", types.ArrayOfVirtualDevice{})}},
			true, false, func(v *vm) bool { return len(v.missing) == 0 },
		},
	}
	for _, s := range steps {
		s.update.Obj = ref
		version := topo.version
		wake, stale := topo.apply(&s.update)
		v, _ := topo.records[ref].(*vm)
		if wake != s.wake || stale != s.stale || v == nil || !s.ok(v) || topo.version == version {
			t.Errorf("%s: wake %t, stale %t, %+v", s.name, wake, stale, v)
		}
	}
	if wake, _ := topo.apply(&types.ObjectUpdate{Kind: types.ObjectUpdateKindLeave, Obj: ref}); !wake || len(topo.records) != 0 {
		t.Error("leave leaves it there")
	}
	if wake, _ := topo.apply(&types.ObjectUpdate{Kind: types.ObjectUpdateKindLeave, Obj: ref}); wake {
		t.Error("woken for the leave of what was not there")
	}
	if wake, stale := topo.apply(&types.ObjectUpdate{Kind: types.ObjectUpdateKindEnter, Obj: types.ManagedObjectReference{Type: "Alarm", Value: "a"}}); wake || stale {
		t.Error("woken for an object of a type that is not watched")
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "a%2fb": "a/b", "100%25": "100%", "%5c": `\`, "%252f": "%2f", "a\x1b[2J\u202eb": `a\x1b[2J\u202eb`} {
		if got := unescape(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestSameUser(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"mover@vsphere.local", `VSPHERE.LOCAL\mover`, true},
		{"mover@vsphere.local", `VSPHERE.LOCAL\Mover`, true},
		{"mover@vsphere.local", `CORP\mover`, false},
		{"mover", `VSPHERE.LOCAL\mover`, true},
		{"mover@vsphere.local", `VSPHERE.LOCAL\othere`, false},
	} {
		if got := sameUser(tc.a, tc.b); got != tc.want {
			t.Errorf("%s and %s: %t", tc.a, tc.b, got)
		}
	}
}

// TestDiskUse errs to the full size: a file that is not seen is not empty.
func TestDiskUse(t *testing.T) {
	d := &disk{key: 2000, bytes: 10 << 30, thin: true}
	r := &vm{}
	if got := r.used(d); got != 10<<10 {
		t.Errorf("without a layout: %d MiB", got)
	}
	r.layout = []types.VirtualMachineFileLayoutExDiskLayout{{Key: 2000, Chain: []types.VirtualMachineFileLayoutExDiskUnit{{FileKey: []int32{1}}, {FileKey: []int32{2}}}}}
	r.files = []types.VirtualMachineFileLayoutExFileInfo{{Key: 1, Size: 1 << 30}, {Key: 2, Size: 1}, {Key: 3, Size: 5 << 30}}
	if got := r.used(d); got != 1<<10+1 {
		t.Errorf("with a disk snapshot: %d MiB", got)
	}
}
