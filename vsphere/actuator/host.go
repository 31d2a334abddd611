package actuator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/vsphere"
)

// lookHost reads how a host stands.
func (a *Actuator) lookHost(ctx context.Context, act *engine.Action) (execute.Sight, error) {
	_, c, err := a.looking(ctx, act.From.VCenter, act.Kind)
	if err != nil {
		return execute.Sight{}, fmt.Errorf("look at host %s: %w", act.Name, err)
	}
	props, err := properties(ctx, c, object("HostSystem", act.HostOf()), "runtime.powerState", "runtime.connectionState", "runtime.standbyMode", "runtime.inMaintenanceMode", "recentTask", "vm", "parent")
	if err != nil {
		return execute.Sight{}, fmt.Errorf("look at host %s: %w", act.Name, err)
	}
	if props == nil {
		return execute.Sight{Detail: "the host is not there"}, nil
	}
	out := execute.Sight{Exists: true}
	if out.Task, out.Busy, err = running(ctx, c, props["recentTask"]); err != nil {
		return out, fmt.Errorf("look at host %s: %w", act.Name, err)
	}
	power, _ := props["runtime.powerState"].(types.HostSystemPowerState)
	link, _ := props["runtime.connectionState"].(types.HostSystemConnectionState)
	mode, _ := props["runtime.standbyMode"].(string)
	maintenance, _ := props["runtime.inMaintenanceMode"].(bool)
	// A host that wakes is judged by its connection, never by its task.
	asleep := power == types.HostSystemPowerStateStandBy || mode == string(types.HostStandbyModeIn)
	up := power == types.HostSystemPowerStatePoweredOn && link == types.HostSystemConnectionStateConnected && !asleep
	source, there := false, false
	switch act.Kind {
	case engine.Standby:
		source, there = up, asleep
	case engine.Wakeup:
		source, there = asleep, up
	case engine.EnterMaintenance:
		source, there = up && !maintenance, maintenance
	case engine.ExitMaintenance:
		source, there = maintenance, up && !maintenance
	case engine.Move:
	}
	out.Source, out.Arrived = source && !out.Busy, there && !out.Busy
	out.Detail = fmt.Sprintf("%s, %s, standby mode %q, maintenance %t", power, link, mode, maintenance)
	switch {
	case out.Busy:
		out.Code = engine.HoldBusy
		out.Detail += fmt.Sprintf(", and %s runs, started by %s", out.Task.Method, out.Task.User)
	case out.Source && act.Kind == engine.Standby:
		why, code, err := a.occupied(ctx, c, props)
		if err != nil {
			return out, fmt.Errorf("look at the VMs of host %s: %w", act.Name, err)
		}
		if code != "" {
			out.Source, out.Code, out.Detail = false, code, why
		}
	}
	return out, nil
}

// occupied says which VM keeps a host from going to sleep, by what is registered
// there now: a person may have put it there since the plan was made. What runs
// may stay only in a cluster that moves it away by itself; what is off, where the
// configuration permits it.
func (a *Actuator) occupied(ctx context.Context, c *vsphere.Conn, host map[string]any) (why string, code engine.HoldCode, err error) {
	list, _ := host["vm"].(types.ArrayOfManagedObjectReference)
	if len(list.ManagedObjectReference) == 0 {
		return "", "", nil
	}
	var on, off string
	spec := vsphere.Objects("VirtualMachine", list.ManagedObjectReference, "name", "runtime.powerState", "config.managedBy", "config.extraConfig")
	err = c.Retrieve(ctx, spec, func(objects []types.ObjectContent) error {
		for i := range objects {
			props := map[string]any{}
			for _, p := range objects[i].PropSet {
				props[p.Name] = p.Val
			}
			name, _ := props["name"].(string)
			switch {
			case isAgent(props):
			case props["runtime.powerState"] == types.VirtualMachinePowerStatePoweredOff:
				off = name
			default:
				on = name // a suspended one too, whose memory is on the host
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return "", "", err
	case off != "" && !a.leave:
		return fmt.Sprintf("%s, which is off or a template, is registered on it", off), engine.HoldPoweredOff, nil
	case on == "":
		return "", "", nil
	}
	parent, _ := host["parent"].(types.ManagedObjectReference)
	cluster, err := properties(ctx, c, parent, "configurationEx")
	if err != nil {
		return "", "", err
	}
	if cfg, ok := cluster["configurationEx"].(types.ClusterConfigInfoEx); ok && empties(cfg.DrsConfig) {
		return "", "", nil
	}
	return fmt.Sprintf("%s is on it, and its cluster moves nothing by itself", on), engine.HoldNotEmpty, nil
}

// isAgent reports whether a VM is an agent of the cluster's own services, which
// come and go with the host.
func isAgent(props map[string]any) bool {
	if by, ok := props["config.managedBy"].(types.ManagedByInfo); ok && (by.Type == "cluster-agent" || by.ExtensionKey == "com.vmware.vim.eam") {
		return true
	}
	extra, _ := props["config.extraConfig"].(types.ArrayOfOptionValue)
	return slices.ContainsFunc(extra.OptionValue, func(o types.BaseOptionValue) bool {
		v := o.GetOptionValue()
		return v.Key == "HDCS.agent" && strings.EqualFold(fmt.Sprint(v.Value), "true")
	})
}

// empties reports whether a cluster's scheduler moves VMs away by itself.
func empties(c types.ClusterDrsConfigInfo) bool {
	return c.Enabled != nil && *c.Enabled && (c.DefaultVmBehavior == types.DrsBehaviorFullyAutomated || c.DefaultVmBehavior == "")
}
