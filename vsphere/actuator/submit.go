package actuator

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/vsphere"
)

const (
	// standbyTimeoutS is how long vCenter may take to put a host in standby, and
	// wakeTimeoutS to power it on: a server's self-test takes up to ten minutes.
	standbyTimeoutS = 600
	wakeTimeoutS    = 1800
)

var errSession = errors.New("the session that was to carry the call has ended")

// Submit implements [execute.Actuator]. Everything up to the one call that
// changes something only reads: its errors mean that nothing was started.
func (a *Actuator) Submit(ctx context.Context, session string, act *engine.Action) (string, error) {
	_, c, err := a.acting(ctx, act.From.VCenter, act.Kind)
	if err == nil && session != "" && session != c.Key {
		err = errSession
	}
	if err != nil {
		return "", refuse(act, err)
	}
	var task types.ManagedObjectReference
	if act.Kind == engine.Move {
		spec, err := a.relocateSpec(ctx, c, act)
		if err != nil {
			return "", refuse(act, err)
		}
		vm := types.ManagedObjectReference{Type: "VirtualMachine", Value: act.Moid}
		res, err := methods.RelocateVM_Task(ctx, c, &types.RelocateVM_Task{This: vm, Spec: *spec, Priority: types.VirtualMachineMovePriorityDefaultPriority})
		if err != nil {
			return "", classify(act, err)
		}
		task = res.Returnval
	} else if task, err = hostCall(ctx, c, act); err != nil {
		return "", classify(act, err)
	}
	return taskKey(c.VCenter, task), nil
}

func taskKey(vc engine.VCenterID, task types.ManagedObjectReference) string {
	return string(vc) + "/" + task.Value
}

// hostCall starts an action on a host.
func hostCall(ctx context.Context, c *vsphere.Conn, act *engine.Action) (task types.ManagedObjectReference, err error) {
	host := object("HostSystem", act.HostOf())
	switch act.Kind {
	case engine.Standby:
		// Powered-off VMs stay registered at the sleeping host.
		res, err := methods.PowerDownHostToStandBy_Task(ctx, c, &types.PowerDownHostToStandBy_Task{This: host, TimeoutSec: standbyTimeoutS, EvacuatePoweredOffVms: new(false)})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	case engine.Wakeup:
		res, err := methods.PowerUpHostFromStandBy_Task(ctx, c, &types.PowerUpHostFromStandBy_Task{This: host, TimeoutSec: wakeTimeoutS})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	case engine.EnterMaintenance:
		// Timeout 0: vCenter waits for the last VM to leave as long as it takes.
		// Where there is vSAN, objects stay readable and are not rebuilt.
		res, err := methods.EnterMaintenanceMode_Task(ctx, c, &types.EnterMaintenanceMode_Task{
			This: host, EvacuatePoweredOffVms: new(false),
			MaintenanceSpec: &types.HostMaintenanceSpec{VsanMode: &types.VsanHostDecommissionMode{ObjectAction: string(types.VsanHostDecommissionModeObjectActionEnsureObjectAccessibility)}},
		})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	case engine.ExitMaintenance:
		res, err := methods.ExitMaintenanceMode_Task(ctx, c, &types.ExitMaintenanceMode_Task{This: host})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	case engine.Move:
	}
	return task, fmt.Errorf("%s is no action on a host", act.Kind)
}

// refuse says that nothing was started.
func refuse(act *engine.Action, err error) error {
	return fmt.Errorf("submit %s: %w: %w", act.ID, execute.ErrRejected, err)
}

// classify tells a refusal, which started nothing, from what is not certain.
func classify(act *engine.Action, err error) error {
	if _, busy := vsphere.Fault(err).(types.BaseTaskInProgress); busy {
		return fmt.Errorf("submit %s: %w: %w", act.ID, execute.ErrBusy, err)
	}
	if rejected(vsphere.Fault(err)) {
		return fmt.Errorf("submit %s: %w: %s: %w", act.ID, execute.ErrRejected, faultName(vsphere.Fault(err)), err)
	}
	return fmt.Errorf("submit %s: %w", act.ID, err)
}

// rejected lists the faults by which a vCenter answers the call itself, before
// it makes a task. Whatever is not listed is not certain.
func rejected(f types.BaseMethodFault) bool {
	switch f.(type) {
	case types.BaseNoPermission, // NotAuthenticated too
		types.BaseInvalidArgument, types.BaseInvalidState, types.BaseNotSupported, types.BaseInsufficientResourcesFault, types.BaseNotEnoughLicenses,
		*types.InvalidRequest, *types.InvalidLogin, *types.ManagedObjectNotFound, *types.NotImplemented, *types.MethodNotFound, *types.InvalidType,
		*types.RestrictedByAdministrator, *types.MethodDisabled:
		return true
	}
	return false
}

// faultName is the fault's type, such as InvalidState.
func faultName(f types.BaseMethodFault) string { return fmt.Sprintf("%T", f)[len("*types."):] }
