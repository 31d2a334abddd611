package actuator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/vsphere"
)

const (
	// checksAtOnce bounds the checks under way at one vCenter: they are for its
	// spare time.
	checksAtOnce = 8
	// checkWithin is how long a check may take. What takes longer goes unchecked:
	// the call itself is checked again by the server.
	checkWithin = time.Minute
)

var errNoChecker = errors.New("the vCenter has no checker of moves")

// Check implements [execute.Actuator]. Only moves are checked.
func (a *Actuator) Check(ctx context.Context, act *engine.Action) error {
	if act.Kind != engine.Move {
		return nil
	}
	e, c, err := a.acting(ctx, act.From.VCenter, act.Kind)
	if err != nil {
		return fmt.Errorf("check %s: %w", act.ID, err)
	}
	select {
	case e.checks <- struct{}{}:
		defer func() { <-e.checks }()
	case <-ctx.Done():
		return fmt.Errorf("check %s: %w", act.ID, context.Cause(ctx))
	}
	spec, err := a.relocateSpec(ctx, c, act)
	switch {
	case err == nil:
	case vsphere.Answered(err), errors.Is(err, errNoCard), errors.Is(err, errNoNetwork), errors.Is(err, errNoPlace):
		return fmt.Errorf("check %s: %w: %w", act.ID, execute.ErrRejected, err)
	default:
		return fmt.Errorf("check %s: %w", act.ID, err)
	}
	limited, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	results, err := a.relocatable(limited, c, act, spec)
	switch {
	case err == nil:
		return verdict(act, results)
	case ctx.Err() != nil, vsphere.IsNotAuthenticated(err), vsphere.Unreachable(err) && limited.Err() == nil && !errors.Is(err, errNoChecker):
		return fmt.Errorf("check %s: %w", act.ID, err)
	}
	e.told.Do(func() {
		a.log.WarnContext(ctx, "moves cannot be checked before they are called, and are called nonetheless", "vcenter", e.cfg.Name, "action", act.ID, "err", err)
	})
	return nil
}

// relocatable has the vCenter check a move. An error says nothing about the move.
func (a *Actuator) relocatable(ctx context.Context, c *vsphere.Conn, act *engine.Action, spec *types.VirtualMachineRelocateSpec) (results []types.CheckResult, err error) {
	if c.ServiceContent.VmProvisioningChecker == nil {
		return nil, errNoChecker
	}
	vm := types.ManagedObjectReference{Type: "VirtualMachine", Value: act.Moid}
	res, err := methods.CheckRelocate_Task(ctx, c, &types.CheckRelocate_Task{This: *c.ServiceContent.VmProvisioningChecker, Vm: vm, Spec: *spec})
	if err != nil {
		return nil, err
	}
	key := taskKey(c.VCenter, res.Returnval)
	if _, err := a.Wait(ctx, key, nil); err != nil {
		return nil, err
	}
	props, err := properties(ctx, c, res.Returnval, "info")
	if err != nil {
		return nil, err
	}
	info, _ := props["info"].(types.TaskInfo)
	if info.State != types.TaskInfoStateSuccess {
		return nil, fmt.Errorf("%w: its task failed: %s", errNoChecker, taskOf(c, &info).Error)
	}
	list, _ := info.Result.(types.ArrayOfCheckResult)
	return list.CheckResult, nil
}

// verdict is what the results come to. Warnings do not stop a move.
func verdict(act *engine.Action, results []types.CheckResult) error {
	var faults []string
	for i := range results {
		for _, f := range results[i].Error {
			if _, busy := f.Fault.(types.BaseTaskInProgress); busy {
				return fmt.Errorf("check %s: %w", act.ID, execute.ErrBusy)
			}
			faults = append(faults, faultName(f.Fault)+": "+f.LocalizedMessage)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("check %s: %w: %s", act.ID, execute.ErrRejected, strings.Join(faults, "; "))
}
