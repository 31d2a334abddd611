package lab

import (
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// retire is how long an ended task can still be read as an object; the history
// keeps it longer. Source: vCenter keeps recent tasks for ten minutes.
const retire = 10 * time.Minute

// keeps is how long of the lab's time that is: a lab that runs fast has clients that live
// in wall time, and keeps a task for a minute of theirs.
func (l *Lab) keeps() time.Duration {
	return max(retire, time.Duration(l.cfg.Speed*float64(time.Minute)))
}

// An endedTask is to be retired.
type endedTask struct {
	v    *vcenter
	task *simulator.Task
	at   time.Time
}

// newTask makes a queued task on an entity. The simulator's own way would hold
// the entity's lock for as long as the task runs. user is "" for the system's own.
func (v *vcenter) newTask(user string, e mo.Entity, name, description string) *simulator.Task {
	l := v.lab
	l.seq++
	id := fmt.Sprintf("task-%d", l.seq)
	ref := e.Reference()
	t := &simulator.Task{}
	t.Self = types.ManagedObjectReference{Type: "Task", Value: id}
	t.Info = types.TaskInfo{
		Key: id, Task: t.Self, Name: name, DescriptionId: description, Entity: &ref, EntityName: e.Entity().Name, State: types.TaskInfoStateQueued,
		Cancelable: true, QueueTime: v.now(), EventChainId: int32(l.seq), Reason: &types.TaskReasonSystem{},
	}
	if user != "" {
		t.Info.Reason = &types.TaskReasonUser{UserName: user}
	}
	v.registry().Put(t) // the TaskManager hears of it and keeps the histories
	return t
}

func (v *vcenter) update(o mo.Reference, changes ...types.PropertyChange) {
	v.registry().AtomicUpdate(v.ctx(""), o, changes)
}

// startTask makes a task running.
func (v *vcenter) startTask(t *simulator.Task) {
	now := v.now()
	v.update(t, types.PropertyChange{Name: "info.startTime", Val: now}, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning})
}

func (v *vcenter) progress(t *simulator.Task, percent int32) {
	if percent > t.Info.Progress {
		v.update(t, types.PropertyChange{Name: "info.progress", Val: percent})
	}
}

// endTask ends a task, in success when f is nil.
func (v *vcenter) endTask(t *simulator.Task, f types.BaseMethodFault) {
	changes := []types.PropertyChange{{Name: "info.completeTime", Val: v.now()}, {Name: "info.cancelable", Val: false}}
	if f != nil {
		changes = append(changes,
			types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{Fault: f, LocalizedMessage: message(f)}},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
	} else {
		changes = append(changes,
			types.PropertyChange{Name: "info.progress", Val: int32(100)},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
	}
	v.update(t, changes...)
	v.lab.tasks = append(v.lab.tasks, endedTask{v: v, task: t, at: v.lab.now})
}

// message is what a person reads of a fault.
func message(f types.BaseMethodFault) string {
	if c := f.GetMethodFault().FaultCause; c != nil && c.LocalizedMessage != "" {
		return c.LocalizedMessage
	}
	return fmt.Sprintf("%T", f)[len("*types."):]
}

// because gives a fault a cause that a person can read.
func because[F types.BaseMethodFault](f F, format string, args ...any) F {
	msg := fmt.Sprintf(format, args...)
	f.GetMethodFault().FaultCause = &types.LocalizedMethodFault{Fault: &types.SystemErrorFault{Reason: msg}, LocalizedMessage: msg}
	return f
}

// retireTasks forgets the objects of tasks that ended long ago.
func (l *Lab) retireTasks() {
	n := 0
	for n < len(l.tasks) && l.now.Sub(l.tasks[n].at) >= l.keeps() {
		t := l.tasks[n]
		ctx := t.v.ctx("")
		if e, ok := t.v.registry().Get(*t.task.Info.Entity).(mo.Entity); ok {
			e.Entity().RecentTask = slices.DeleteFunc(slices.Clone(e.Entity().RecentTask), func(r types.ManagedObjectReference) bool { return r == t.task.Self })
		}
		t.v.registry().Remove(ctx, t.task.Self)
		n++
	}
	l.tasks = l.tasks[n:]
}

// CancelTask asks a task to end. It obeys: a queued one at once, a running one
// at the lab's next step, with the VM where it was.
func (c *control) CancelTask(ctx *simulator.Context, req *types.CancelTask) soap.HasFault {
	body := &methods.CancelTaskBody{}
	t, ok := ctx.Map.Get(req.This).(*simulator.Task)
	if !ok || t.Info.CompleteTime != nil || !t.Info.Cancelable {
		body.Fault_ = asFault(&types.InvalidState{})
		return body
	}
	c.v.update(t, types.PropertyChange{Name: "info.cancelled", Val: true})
	c.v.lab.cancelTask(t)
	body.Res = &types.CancelTaskResponse{}
	return body
}

// poke wakes the player.
func (l *Lab) poke() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}
