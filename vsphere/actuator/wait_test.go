package actuator

import (
	"testing"

	"github.com/vmware/govmomi/vim25/types"
)

// A reading that was made before the task's end and arrives after the watch has
// reported it must not take the end back: nothing would bring it again, and the
// action would stay open for as long as the session lasts.
func TestLateReadingTakesNoEndBack(t *testing.T) {
	ref := types.ManagedObjectReference{Type: "Task", Value: "task-1"}
	for _, end := range []types.TaskInfoState{types.TaskInfoStateSuccess, types.TaskInfoStateError} {
		x := &waiter{task: ref, changed: make(chan struct{})}
		w := &taskWatch{waiters: map[types.ManagedObjectReference]*waiter{ref: x}}
		w.update(&types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, Obj: ref, ChangeSet: []types.PropertyChange{{Name: "info.state", Val: end}, {Name: "info.progress", Val: int32(100)}}})
		w.note(x, types.TaskInfoStateRunning, 50)
		if x.state != end || x.percent != 100 {
			t.Errorf("%s, then a late reading: %s at %d %%", end, x.state, x.percent)
		}
	}
}
