package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/internal/fault"
)

// failing makes the n-th write, sync or rename of the calling thread fail.
type failing struct {
	n, errno atomic.Int32 // n counts down; the call fails when it comes to 0
}

// over reports whether the call has failed.
func (f *failing) over() bool { return f.n.Load() <= 0 }

// eachFailure plays a story in a new folder once for each write, sync and rename
// in it, which fails with EIO or with ENOSPC. All is in one goroutine, since calls
// fail for its thread alone.
func eachFailure(t *testing.T, story func(dir string, f *failing) error) {
	t.Helper()
	f, dir := &failing{}, memoryDir(t)
	err := fault.Judge(dir, func(fault.Call) fault.Verdict {
		if f.n.Add(-1) == 0 {
			return fault.Verdict(f.errno.Load())
		}
		return fault.Make
	})
	if err != nil {
		t.Skip("calls cannot be made to fail here: ", err)
	}
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		calls := int32(1)
		for ; ; calls++ {
			f.errno.Store(int32(errno))
			f.n.Store(calls)
			err := story(filepath.Join(dir, fmt.Sprintf("%d-%d", errno, calls)), f)
			if err != nil {
				t.Errorf("call %d fails with %q: %v", calls, errno, err)
			}
			if !f.over() {
				break // the story has no such call
			}
		}
		if t.Logf("%q at each of %d calls", errno, calls-1); calls < 50 {
			t.Error("so few: the test tests nothing")
		}
	}
}

// memoryDir is a folder whose syncs cost nothing, where there is one: what fails
// does so before it comes to a disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "heliostat-") //nolint:usetesting // where it is is the point
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// After the first write, sync or rename that fails nothing is taken any more, and
// after a restart all that was acknowledged is there, and nothing by halves.
func TestFirstFailedCallStopsTheJournal(t *testing.T) {
	t.Parallel()
	type step struct {
		entries uint64
		do      func(*Journal) error
	}
	add := func(content string) step {
		return step{2, func(j *Journal) error {
			digest, err := j.Put(t.Context(), []byte(content))
			if err != nil {
				return err
			}
			return j.Append(t.Context(), entry(t, 1, engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest), entry(t, 1, engine.EntryVetoes, content))
		}}
	}
	steps := []step{
		add("a snapshot"), add(strings.Repeat("more than a page ", 1000)), add("a snapshot"),
		{1, func(j *Journal) error { _, err := j.SaveAlert(t.Context(), alert(1, firing)); return err }},
		{0, func(j *Journal) error { _, err := j.SaveCheckpoint(); return err }},
		add("one more"),
	}
	eachFailure(t, func(dir string, f *failing) error {
		acknowledged, begun := uint64(0), uint64(0)
		j, err := Open(dir, Options{})
		if err == nil {
			var first error
			for i, s := range steps {
				err := s.do(j)
				switch {
				case first != nil && !errors.Is(err, ErrBroken):
					return fmt.Errorf("after %w, step %d says %w", first, i, err)
				case first != nil:
				case err != nil && (!f.over() || !errors.Is(err, ErrBroken)):
					return fmt.Errorf("step %d: %w", i, err)
				case err != nil:
					first, begun = err, acknowledged+s.entries
				default:
					acknowledged += s.entries
				}
			}
			if f.over() && first == nil {
				return errors.New("nobody noticed")
			}
			_ = j.Close()
		} else if !f.over() {
			return err
		}
		defer f.n.Store(f.n.Swap(1 << 30)) // nothing fails after the restart
		j, err = Open(dir, Options{})
		if err != nil {
			return fmt.Errorf("after a restart: %w", err)
		}
		defer func() { _ = j.Close() }()
		r, err := j.Verify(t.Context())
		if err == nil && r.Entries != acknowledged && r.Entries != begun {
			err = fmt.Errorf("%d entries, %d were acknowledged", r.Entries, acknowledged)
		}
		return err
	})
}

// After the first write, sync or rename that fails, the executor calls nothing.
func TestFirstFailedCallStopsTheExecutor(t *testing.T) {
	t.Parallel()
	actions := make([]engine.Action, 3)
	for i := range actions {
		vm := engine.VMID(fmt.Sprintf("vm%d", i))
		actions[i] = engine.Action{
			ID: fmt.Sprintf("c1-%d", i), Kind: engine.Move, VM: vm, Rank: int32(i),
			From: engine.Place{VCenter: "va", Cluster: "va/c", Host: "va/h1"}, To: engine.Place{VCenter: "va", Cluster: "va/c", Host: "va/h2"},
		}
		if i > 0 {
			actions[i].After = []int32{int32(i - 1)}
		}
	}
	eachFailure(t, func(dir string, f *failing) error {
		j, err := Open(dir, Options{})
		if err != nil {
			return nil
		}
		defer func() { _ = j.Close() }()
		// Workers append from goroutines of their own: this one, whose calls
		// fail, does it for them.
		thread := &relay{make(chan func()), j}
		w := &calls{f: f}
		e := execute.New(w, thread, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
		e.Observe(&engine.Snapshot{})
		e.Offer(t.Context(), "enforce", &engine.Plan{Actions: actions})
		var first error
		for first == nil && len(e.Open()) > 0 {
			select {
			case do := <-thread.appends:
				do()
			case r := <-e.Reports():
				first = e.Handle(t.Context(), r)
			}
		}
		switch {
		case w.late.Load() > 0:
			return fmt.Errorf("%d calls after the first error", w.late.Load())
		case f.over() != errors.Is(first, ErrBroken):
			return fmt.Errorf("it ends with %w", first)
		case !f.over() && w.made.Load() != int32(len(actions)):
			return fmt.Errorf("%d calls without any failure", w.made.Load())
		}
		return nil
	})
}

// relay hands appends over to the goroutine that takes them from the channel.
type relay struct {
	appends chan func()
	journal *Journal
}

func (r *relay) Append(ctx context.Context, entries ...engine.Entry) error {
	done := make(chan error)
	r.appends <- func() {
		err := r.journal.Append(ctx, entries...)
		go func() { done <- err }()
	}
	return <-done
}

// calls is a vCenter in which every move has happened as soon as it was called.
type calls struct {
	f          *failing
	made, late atomic.Int32 // late: after a failure
}

func (c *calls) Submit(context.Context, string, *engine.Action) (string, error) {
	c.made.Add(1)
	if c.f.over() {
		c.late.Add(1)
	}
	return "va/task-1", nil
}

func (c *calls) Look(_ context.Context, a *engine.Action) (execute.Sight, error) {
	arrived := fmt.Sprintf("c1-%d", c.made.Load()-1) == a.ID
	return execute.Sight{Exists: true, Arrived: arrived, Source: !arrived}, nil
}

func (c *calls) Wait(_ context.Context, key string, _ func(int32)) (execute.Task, error) {
	return execute.Task{Key: key, State: "success"}, nil
}

func (c *calls) Session(context.Context, *engine.Action) (string, engine.Unix, error) {
	return "s1", 0, nil
}
func (c *calls) Check(context.Context, *engine.Action) error                { return nil }
func (c *calls) EndSession(context.Context, engine.VCenterID, string) error { return nil }
func (c *calls) Mark(context.Context, *engine.Action, string) error         { return nil }
func (c *calls) Tasks(context.Context, *engine.Action, engine.Unix) ([]execute.Task, error) {
	return nil, nil
}
