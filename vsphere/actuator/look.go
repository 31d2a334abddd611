package actuator

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/vsphere"
)

// Look implements [execute.Actuator].
func (a *Actuator) Look(ctx context.Context, act *engine.Action) (execute.Sight, error) {
	if act.Kind != engine.Move {
		return a.lookHost(ctx, act)
	}
	_, c, err := a.looking(ctx, act.From.VCenter)
	if err != nil {
		return execute.Sight{}, fmt.Errorf("look at %s: %w", act.Name, err)
	}
	src, err := seeVM(ctx, c, act.VM)
	if err != nil {
		return execute.Sight{}, fmt.Errorf("look at %s: %w", act.Name, err)
	}
	if !act.Across {
		return judge(act, src, arrived(act, src)), nil
	}
	_, c, err = a.looking(ctx, act.To.VCenter)
	if err != nil {
		return execute.Sight{}, fmt.Errorf("look at %s: %w", act.Name, err)
	}
	dst, err := seeVM(ctx, c, act.VM)
	if err != nil {
		return execute.Sight{}, fmt.Errorf("look at %s: %w", act.Name, err)
	}
	return judgeAcross(act, src, dst), nil
}

// A sighting is a VM as one vCenter shows it.
type sighting struct {
	exists     bool
	host       engine.HostID
	cluster    engine.ClusterID
	datastores []engine.DatastoreID // of its disks
	busy       bool
	task       execute.Task
}

// seeVM reads a VM at one vCenter.
func seeVM(ctx context.Context, c *vsphere.Conn, id engine.VMID) (s sighting, err error) {
	vm, err := findVM(ctx, c, id)
	if err != nil || vm == nil {
		return s, err
	}
	props, err := properties(ctx, c, *vm, "runtime.host", "recentTask", "config.hardware.device")
	if err != nil || props == nil {
		return s, err // gone in the meantime: as if it had not been found
	}
	s.exists = true
	if h, ok := props["runtime.host"].(types.ManagedObjectReference); ok {
		s.host = engine.HostID(string(c.VCenter) + "/" + h.Value)
		up, err := properties(ctx, c, h, "parent")
		if err != nil {
			return s, err
		}
		if p, ok := up["parent"].(types.ManagedObjectReference); ok {
			s.cluster = engine.ClusterID(string(c.VCenter) + "/" + p.Value)
		}
	}
	devices, _ := props["config.hardware.device"].(types.ArrayOfVirtualDevice)
	for _, d := range devices.VirtualDevice {
		if disk, ok := d.(*types.VirtualDisk); ok {
			if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok && b.GetVirtualDeviceFileBackingInfo().Datastore != nil {
				s.datastores = append(s.datastores, engine.DatastoreID(string(c.VCenter)+"/"+b.GetVirtualDeviceFileBackingInfo().Datastore.Value))
			}
		}
	}
	s.task, s.busy, err = running(ctx, c, props["recentTask"])
	return s, err
}

// running gives the task among the recent ones that has not ended.
func running(ctx context.Context, c *vsphere.Conn, recent any) (task execute.Task, busy bool, err error) {
	list, _ := recent.(types.ArrayOfManagedObjectReference)
	if len(list.ManagedObjectReference) == 0 {
		return task, false, nil
	}
	err = c.Retrieve(ctx, vsphere.Objects("Task", list.ManagedObjectReference, "info"), func(objects []types.ObjectContent) error {
		for _, o := range objects {
			for _, p := range o.PropSet {
				if info, ok := p.Val.(types.TaskInfo); ok {
					if t := taskOf(c.VCenter, &info); t.Running() {
						task, busy = t, true
					}
				}
			}
		}
		return nil
	})
	return task, busy, err
}

// arrived reports whether a VM is where the action wants it. In a cluster that it
// was not in before, any host will do: the cluster's scheduler may have placed
// it, or moved it on already.
func arrived(act *engine.Action, s sighting) bool {
	there := s.host == act.To.Host || (s.cluster == act.To.Cluster && (act.To.DRS || act.To.Cluster != act.From.Cluster))
	if !s.exists || !there {
		return false
	}
	if !act.Storage || act.Across {
		return true
	}
	// No disk may be left behind on a datastore that the action empties.
	for _, d := range act.Disks {
		stays := slices.ContainsFunc(act.Disks, func(o engine.DiskTarget) bool { return o.To == d.From })
		if d.From != d.To && !stays && slices.Contains(s.datastores, d.From) {
			return false
		}
	}
	return true
}

func judge(act *engine.Action, s sighting, arrived bool) execute.Sight {
	out := execute.Sight{Exists: s.exists, Busy: s.busy, Task: s.task, Arrived: arrived && !s.busy}
	out.Source = s.exists && !s.busy && !arrived && s.host == act.From.Host
	switch {
	case !s.exists:
		out.Detail = "the VM is not there"
	case s.busy:
		out.Detail = fmt.Sprintf("on host %s, and %s runs, started by %s", s.host, s.task.Method, s.task.User)
	default:
		out.Detail = fmt.Sprintf("on host %s", s.host)
	}
	return out
}

// judgeAcross judges a move between vCenters. Near its end, and after a failure
// to clean up, both show the VM: then it has neither left nor arrived.
func judgeAcross(act *engine.Action, src, dst sighting) execute.Sight {
	switch {
	case !dst.exists:
		return judge(act, src, false)
	case !src.exists:
		return judge(act, dst, arrived(act, dst))
	}
	out := execute.Sight{Exists: true, Busy: src.busy || dst.busy, Task: src.task}
	if !src.busy {
		out.Task = dst.task
	}
	out.Detail = fmt.Sprintf("shown by both vCenters, on host %s and on host %s", src.host, dst.host)
	return out
}

func (a *Actuator) lookHost(ctx context.Context, act *engine.Action) (execute.Sight, error) {
	_, c, err := a.looking(ctx, act.From.VCenter)
	if err != nil {
		return execute.Sight{}, fmt.Errorf("look at host %s: %w", act.Name, err)
	}
	props, err := properties(ctx, c, object("HostSystem", act.HostOf()), "runtime.powerState", "runtime.connectionState", "runtime.standbyMode", "runtime.inMaintenanceMode", "recentTask")
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
	if out.Busy {
		out.Detail += fmt.Sprintf(", and %s runs, started by %s", out.Task.Method, out.Task.User)
	}
	return out, nil
}
