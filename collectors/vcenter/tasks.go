package vcenter

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

// snapshotRest is how long after a disk-snapshot task a VM is left alone: the
// backup that took the snapshot is about to read it, or to take the next.
const snapshotRest = 5 * time.Minute

// snapshotTasks are the tasks that change a VM's chain of disks.
var snapshotTasks = []string{
	"VirtualMachine.createSnapshot", "VirtualMachine.createSnapshotEx", "VirtualMachine.removeAllSnapshots", "VirtualMachine.consolidateDisks",
	"VirtualMachine.revertToCurrentSnapshot", "vm.Snapshot.remove", "vm.Snapshot.revert",
}

const enterMaintenance = "HostSystem.enterMaintenanceMode"

// pollTasks reads the recent tasks of VMs and hosts and notes those of others.
func (s *Source) pollTasks(ctx context.Context, conn *vsphere.Conn, b *inventory, inv *engine.Inventory, now engine.Unix) error {
	if len(b.tasks) == 0 {
		return nil
	}
	on := make(map[types.ManagedObjectReference]taskOn, len(b.tasks))
	list := make([]types.ManagedObjectReference, 0, len(b.tasks))
	for _, t := range b.tasks {
		if _, ok := on[t.task]; !ok {
			list = append(list, t.task)
		}
		on[t.task] = t
	}
	for batch := range slices.Chunk(list, vsphere.PageObjects) {
		err := conn.Retrieve(ctx, vsphere.Objects("Task", batch, "info"), func(objects []types.ObjectContent) error {
			for _, o := range objects {
				for _, p := range o.PropSet {
					if info, ok := p.Val.(types.TaskInfo); ok {
						s.task(inv, on[o.Obj], &info, now)
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) task(inv *engine.Inventory, on taskOn, info *types.TaskInfo, now engine.Unix) {
	running := info.State == types.TaskInfoStateRunning || info.State == types.TaskInfoStateQueued
	ours := s.ours(info)
	if on.vm >= 0 {
		v := &inv.VMs[on.vm]
		recent := info.CompleteTime != nil && now.Sub(engine.At(*info.CompleteTime)) < snapshotRest
		if (running || recent) && slices.Contains(snapshotTasks, info.DescriptionId) {
			v.Obstacles |= engine.ObSnapshotTask
		}
		if running && !ours {
			v.Task = info.DescriptionId
		}
		return
	}
	h := &inv.Hosts[on.host]
	if running && info.DescriptionId == enterMaintenance {
		h.Entering = true
	}
	if running && !ours {
		h.Tasks++
	}
}

// ours reports whether one of our own accounts started the task.
func (s *Source) ours(info *types.TaskInfo) bool {
	user, ok := info.Reason.(*types.TaskReasonUser)
	return ok && slices.ContainsFunc(s.cfg.Movers, func(m string) bool { return sameUser(m, user.UserName) })
}

// sameUser compares name@domain with DOMAIN\name, which vCenter shows for the
// same account.
func sameUser(a, b string) bool {
	an, ad := splitUser(a)
	bn, bd := splitUser(b)
	return strings.EqualFold(an, bn) && (ad == "" || bd == "" || strings.EqualFold(ad, bd))
}

func splitUser(s string) (name, domain string) {
	if d, n, ok := strings.Cut(s, `\`); ok {
		return n, d
	}
	name, domain, _ = strings.Cut(s, "@")
	return name, domain
}
