package actuator

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/vsphere"
)

// A taskWatch watches all tasks of one vCenter that somebody waits for, with one
// property collector. It runs only while somebody waits.
type taskWatch struct {
	end   *end
	loops sync.WaitGroup

	mu      sync.Mutex
	waiters map[types.ManagedObjectReference]*waiter
	loop    *taskLoop // nil when nobody waits
	stopped bool
}

// A taskLoop is one run of the watch.
type taskLoop struct {
	cancel  context.CancelFunc
	watcher *vsphere.Watcher // nil while it is being built
}

// A waiter is a task that somebody waits for. The watch's lock guards it.
type waiter struct {
	task    types.ManagedObjectReference
	users   int           // calls of Wait for it
	changed chan struct{} // closed, and replaced, when something is new
	watcher *vsphere.Watcher
	filter  types.ManagedObjectReference // of watcher
	state   types.TaskInfoState
	percent int32
	err     error // it cannot be watched
}

var errClosed = errors.New("the actuator is closed")

var errTaskGone = errors.New("the vCenter no longer knows the task")

// Wait implements [execute.Actuator].
func (a *Actuator) Wait(ctx context.Context, key string, progress func(percent int32)) (execute.Task, error) {
	vc, moid := engine.SplitRef(key)
	e, _, err := a.looking(ctx, vc, engine.Move)
	if err != nil {
		return execute.Task{}, fmt.Errorf("wait for task %s: %w", key, err)
	}
	ref := types.ManagedObjectReference{Type: "Task", Value: moid}
	if err := e.watch.wait(ctx, ref, progress); err != nil {
		return execute.Task{}, fmt.Errorf("wait for task %s: %w", key, err)
	}
	c, info, err := readTask(ctx, e, ref)
	if err != nil {
		return execute.Task{}, fmt.Errorf("wait for task %s: %w", key, err)
	}
	return taskOf(c, info), nil
}

// readTask reads how a task stands.
func readTask(ctx context.Context, e *end, ref types.ManagedObjectReference) (*vsphere.Conn, *types.TaskInfo, error) {
	c, err := e.conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	props, err := properties(ctx, c, ref, "info")
	if err != nil {
		return nil, nil, err
	}
	info, ok := props["info"].(types.TaskInfo)
	if !ok {
		return nil, nil, errTaskGone
	}
	return c, &info, nil
}

// wait returns once the task has ended.
func (w *taskWatch) wait(ctx context.Context, ref types.ManagedObjectReference, progress func(int32)) error {
	x, watcher := w.join(ctx, ref)
	defer w.leave(ctx, x)
	if watcher != nil {
		w.add(ctx, watcher, x)
	}
	// A task that ended before its filter was there changes no more.
	_, info, err := readTask(ctx, w.end, ref)
	if err != nil {
		return err
	}
	w.note(x, info.State, info.Progress)
	for last := int32(-1); ; {
		w.mu.Lock()
		now := *x
		w.mu.Unlock()
		switch {
		case now.ended():
			return nil
		case now.err != nil:
			return now.err
		}
		if now.percent != last && progress != nil {
			progress(now.percent)
		}
		last = now.percent
		select {
		case <-now.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// join registers a waiter and starts the loop if it does not run. When a watcher
// stands already that does not know the task, it is for the caller to add it.
func (w *taskWatch) join(ctx context.Context, ref types.ManagedObjectReference) (*waiter, *vsphere.Watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.waiters[ref]
	if x == nil {
		x = &waiter{task: ref, changed: make(chan struct{})}
		if w.waiters == nil {
			w.waiters = map[types.ManagedObjectReference]*waiter{}
		}
		w.waiters[ref] = x
	}
	x.users++
	if w.stopped {
		x.err = errClosed
		return x, nil
	}
	if w.loop == nil {
		// The loop serves all waiters, so it must outlive the first one's ctx. It
		// ends when the last one leaves.
		loop, cancel := context.WithCancel(context.WithoutCancel(ctx))
		l := &taskLoop{cancel: cancel}
		w.loop = l
		w.loops.Go(func() { w.run(loop, l) })
	}
	if w.loop.watcher != nil && x.watcher != w.loop.watcher {
		x.watcher = w.loop.watcher
		return x, x.watcher
	}
	return x, nil
}

// leave takes a waiter away; the loop ends with the last one.
func (w *taskWatch) leave(ctx context.Context, x *waiter) {
	w.mu.Lock()
	if x.users--; x.users > 0 {
		w.mu.Unlock()
		return
	}
	if w.waiters[x.task] == x {
		delete(w.waiters, x.task)
	}
	watcher, filter := x.watcher, x.filter
	if len(w.waiters) == 0 && w.loop != nil {
		w.loop.cancel()
		w.loop, watcher = nil, nil // the collector goes, and its filters with it
	}
	w.mu.Unlock()
	if watcher != nil && filter.Value != "" {
		// What fails here is one filter too many on a collector that is going to be built again.
		_ = watcher.Remove(context.WithoutCancel(ctx), filter)
	}
}

// stop waits for the loops to end. Whoever comes to wait from now on is refused:
// one that the actuator's owner has not seen end yet.
func (w *taskWatch) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.loops.Wait()
}

// add makes the watcher watch the waiter's task.
func (w *taskWatch) add(ctx context.Context, watcher *vsphere.Watcher, x *waiter) {
	filter, err := watcher.Add(ctx, vsphere.Objects("Task", []types.ManagedObjectReference{x.task}, "info.state", "info.progress"))
	w.mu.Lock()
	gone := x.users == 0
	if x.watcher == watcher {
		x.filter = filter
	}
	if err != nil && ctx.Err() == nil {
		x.fail(err)
	}
	w.mu.Unlock()
	if gone && err == nil {
		// Whoever waited left before there was a filter to take along.
		_ = watcher.Remove(context.WithoutCancel(ctx), filter)
	}
}

// note takes what is known of a task and wakes who waits for it.
func (w *taskWatch) note(x *waiter, state types.TaskInfoState, percent int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.learn(state)
	x.percent = max(percent, x.percent)
	x.wake()
}

// learn takes a state. A task that has ended stays so: what was read and what the
// watch reports come by two ways, and the older may arrive last. Nobody would report
// the end again.
func (x *waiter) learn(state types.TaskInfoState) {
	if !x.ended() {
		x.state = state
	}
}

func (x *waiter) ended() bool {
	return x.state == types.TaskInfoStateSuccess || x.state == types.TaskInfoStateError
}

func (x *waiter) wake() {
	close(x.changed)
	x.changed = make(chan struct{})
}

func (x *waiter) fail(err error) {
	x.err = err
	x.wake()
}

// run watches until nobody waits any more. A lost session, which takes the
// collector along, is normal: it builds the watch again, once. What fails after
// that the waiters are told; who still wants to know calls Wait again.
func (w *taskWatch) run(ctx context.Context, l *taskLoop) {
	var err error
	for range 2 {
		if err = w.watch(ctx, l); ctx.Err() != nil {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.loop != l {
		return
	}
	l.cancel()
	w.loop = nil
	for _, x := range w.waiters {
		x.fail(err)
	}
	clear(w.waiters)
}

// watch builds the collector and follows it until it breaks.
func (w *taskWatch) watch(ctx context.Context, l *taskLoop) (err error) {
	c, err := w.end.conn(ctx)
	if err != nil {
		return err
	}
	watcher, err := c.NewWatcher(ctx)
	if err != nil {
		return err
	}
	defer func() {
		w.mu.Lock()
		l.watcher = nil
		w.mu.Unlock()
		err = errors.Join(err, watcher.Close())
	}()
	for {
		todo := w.strangers(l, watcher)
		if todo == nil {
			break
		}
		for _, x := range todo {
			w.add(ctx, watcher, x)
		}
	}
	for ctx.Err() == nil {
		updates, _, err := watcher.Next(ctx)
		if err != nil {
			return err
		}
		for i := range updates {
			w.update(&updates[i])
		}
	}
	return ctx.Err()
}

// strangers lists the waiters that the new watcher does not know. When there is
// none left, the watcher is put into service: from then on they add themselves.
func (w *taskWatch) strangers(l *taskLoop, watcher *vsphere.Watcher) (list []*waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.waiters {
		if x.watcher != watcher {
			x.watcher, x.filter = watcher, types.ManagedObjectReference{}
			list = append(list, x)
		}
	}
	if list == nil {
		l.watcher = watcher
	}
	return list
}

func (w *taskWatch) update(u *types.ObjectUpdate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.waiters[u.Obj]
	if x == nil {
		return
	}
	if u.Kind == types.ObjectUpdateKindLeave {
		x.fail(errTaskGone)
		return
	}
	for _, c := range u.ChangeSet {
		switch v := c.Val.(type) {
		case types.TaskInfoState:
			x.learn(v)
		case int32:
			x.percent = max(x.percent, v)
		}
	}
	x.wake()
}
