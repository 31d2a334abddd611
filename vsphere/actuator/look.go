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
	_, c, err := a.looking(ctx, act.From.VCenter, act.Kind)
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
	_, c, err = a.looking(ctx, act.To.VCenter, act.Kind)
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
	health     execute.Health
}

// seeVM reads a VM at one vCenter.
func seeVM(ctx context.Context, c *vsphere.Conn, id engine.VMID) (s sighting, err error) {
	vm, err := findVM(ctx, c, id)
	if err != nil || vm == nil {
		return s, err
	}
	props, err := properties(ctx, c, *vm, "runtime.host", "runtime.connectionState", "runtime.powerState", "guest.toolsRunningStatus", "guestHeartbeatStatus", "recentTask", "config.hardware.device")
	if err != nil || props == nil {
		return s, err // gone in the meantime: as if it had not been found
	}
	s.exists, s.health = true, healthOf(props)
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

// healthOf is how a VM is, by its properties. What is not there counts as bad.
func healthOf(props map[string]any) execute.Health {
	tools, _ := props["guest.toolsRunningStatus"].(string)
	h := execute.Health{
		Connected: props["runtime.connectionState"] == types.VirtualMachineConnectionStateConnected,
		On:        props["runtime.powerState"] == types.VirtualMachinePowerStatePoweredOn,
		Tools:     tools == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning),
	}
	switch props["guestHeartbeatStatus"] {
	case types.ManagedEntityStatusGreen:
		h.Heartbeat = 2
	case types.ManagedEntityStatusYellow:
		h.Heartbeat = 1
	}
	return h
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
					if t := taskOf(c, &info); t.Running() {
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
	out := execute.Sight{Exists: s.exists, Busy: s.busy, Task: s.task, Arrived: arrived && !s.busy, Health: s.health}
	out.Source = s.exists && !s.busy && !arrived && s.host == act.From.Host
	switch {
	case !s.exists:
		out.Detail, out.Code = "the VM is not there", engine.HoldGap
	case s.busy:
		out.Detail, out.Code = fmt.Sprintf("on host %s, and %s runs, started by %s", s.host, s.task.Method, s.task.User), engine.HoldBusy
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
	out := execute.Sight{Exists: true, Busy: src.busy || dst.busy, Task: src.task, Code: engine.HoldGap}
	if !src.busy {
		out.Task = dst.task
	}
	out.Detail = fmt.Sprintf("shown by both vCenters, on host %s and on host %s", src.host, dst.host)
	return out
}
