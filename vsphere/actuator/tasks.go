package actuator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/vsphere"
)

// taskOf is a task in the executor's words.
func taskOf(c *vsphere.Conn, info *types.TaskInfo) execute.Task {
	t := execute.Task{
		Key: taskKey(c.VCenter, info.Task), Method: info.DescriptionId, State: string(info.State), Percent: info.Progress, Start: engine.At(info.QueueTime),
	}
	if info.Task.Value == "" {
		t.Key = string(c.VCenter) + "/" + info.Key
	}
	switch r := info.Reason.(type) {
	case *types.TaskReasonUser:
		// Both are as the vCenter names the account.
		t.User, t.Ours = r.UserName, strings.EqualFold(r.UserName, c.User)
	case nil:
	default:
		t.User = fmt.Sprintf("%T", r)[len("*types.TaskReason"):]
	}
	if info.CompleteTime != nil {
		t.End = engine.At(*info.CompleteTime)
	}
	switch info.State {
	case types.TaskInfoStateError:
		t.Error = "the task failed without a reason"
		if e := info.Error; e != nil {
			t.Error = e.LocalizedMessage
			if e.Fault != nil {
				t.Error = faultName(e.Fault) + ": " + t.Error
			}
		}
	case types.TaskInfoStateSuccess:
		t.Percent = 100
	case types.TaskInfoStateQueued, types.TaskInfoStateRunning:
	}
	return t
}

// Tasks implements [execute.Actuator].
func (a *Actuator) Tasks(ctx context.Context, act *engine.Action, since engine.Unix) ([]execute.Task, error) {
	_, c, err := a.looking(ctx, act.From.VCenter, act.Kind)
	if err != nil {
		return nil, fmt.Errorf("tasks of %s: %w", act.Name, err)
	}
	entity := object("HostSystem", act.HostOf())
	if act.Kind == engine.Move {
		entity = types.ManagedObjectReference{Type: "VirtualMachine", Value: act.Moid}
	}
	list, err := history(ctx, c, entity, since)
	if err != nil {
		return nil, fmt.Errorf("tasks of %s: %w", act.Name, err)
	}
	if act.Kind == engine.Move && act.Across {
		more, err := a.tasksThere(ctx, act, since)
		if err != nil {
			return nil, fmt.Errorf("tasks of %s: %w", act.Name, err)
		}
		list = append(list, more...)
	}
	slices.SortStableFunc(list, func(x, y execute.Task) int { return cmp.Compare(x.Start, y.Start) })
	return list, nil
}

// tasksThere lists the tasks at the destination, once the VM shows there.
func (a *Actuator) tasksThere(ctx context.Context, act *engine.Action, since engine.Unix) ([]execute.Task, error) {
	_, c, err := a.looking(ctx, act.To.VCenter, act.Kind)
	if err != nil {
		return nil, err
	}
	vm, err := findVM(ctx, c, act.VM)
	if err != nil || vm == nil {
		return nil, err
	}
	return history(ctx, c, *vm, since)
}

// history reads an object's tasks queued since the moment, from the task
// history. The list of recent tasks would not do: it forgets after 200.
func history(ctx context.Context, c *vsphere.Conn, entity types.ManagedObjectReference, since engine.Unix) ([]execute.Task, error) {
	if c.ServiceContent.TaskManager == nil {
		return nil, errors.New("the vCenter has no task manager")
	}
	start := since.Time()
	filter := types.TaskFilterSpec{
		Entity: &types.TaskFilterSpecByEntity{Entity: entity, Recursion: types.TaskFilterSpecRecursionOptionSelf},
		Time:   &types.TaskFilterSpecByTime{TimeType: types.TaskFilterSpecTimeOptionQueuedTime, BeginTime: &start},
	}
	list, err := collect(ctx, c, filter, nil)
	if err == nil || !vsphere.Answered(err) || vsphere.IsNotAuthenticated(err) {
		return list, err
	}
	// An object that has left the vCenter cannot be asked for, but its tasks are
	// still among all of that time.
	filter.Entity = nil
	return collect(ctx, c, filter, &entity)
}

// collect reads a task history, oldest first. Only tasks on the object are kept,
// if one is given.
func collect(ctx context.Context, c *vsphere.Conn, filter types.TaskFilterSpec, only *types.ManagedObjectReference) (list []execute.Task, err error) {
	res, err := methods.CreateCollectorForTasks(ctx, c, &types.CreateCollectorForTasks{This: *c.ServiceContent.TaskManager, Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("read the task history: %w", err)
	}
	collector := res.Returnval
	// A vCenter allows few collectors at a time; leaving one behind would count.
	defer func() {
		_, derr := methods.DestroyCollector(context.WithoutCancel(ctx), c, &types.DestroyCollector{This: collector})
		if derr != nil && !vsphere.IsGone(derr) && !vsphere.IsNotAuthenticated(derr) {
			err = errors.Join(err, fmt.Errorf("destroy a task collector: %w", derr))
		}
	}()
	found, err := scroll(ctx, c, collector)
	if err != nil {
		return nil, fmt.Errorf("read the task history: %w", err)
	}
	slices.SortStableFunc(found, func(x, y types.TaskInfo) int { return x.QueueTime.Compare(y.QueueTime) })
	for i := range found {
		if info := &found[i]; only == nil || (info.Entity != nil && *info.Entity == *only) {
			list = append(list, taskOf(c, info))
		}
	}
	return list, nil
}

// scroll reads all of a collector. A new one stands before its latest page, so
// it is read onwards from there and then backwards; where the two overlap, each
// task counts once.
func scroll(ctx context.Context, c *vsphere.Conn, collector types.ManagedObjectReference) (found []types.TaskInfo, err error) {
	const page = 100
	seen := map[string]bool{}
	keep := func(list []types.TaskInfo) {
		for i := range list {
			if !seen[list[i].Key] {
				seen[list[i].Key] = true
				found = append(found, list[i])
			}
		}
	}
	for {
		res, err := methods.ReadNextTasks(ctx, c, &types.ReadNextTasks{This: collector, MaxCount: page})
		if err != nil {
			return nil, err
		}
		if len(res.Returnval) == 0 {
			break
		}
		keep(res.Returnval)
	}
	for {
		res, err := methods.ReadPreviousTasks(ctx, c, &types.ReadPreviousTasks{This: collector, MaxCount: page})
		if err != nil {
			return nil, err
		}
		if len(res.Returnval) == 0 {
			return found, nil
		}
		keep(res.Returnval)
	}
}
