package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/store"
	"heliostat/vsphere"
)

// A result is what one run came to, or many.
type result struct {
	Executor     string `json:"executor"`
	Runs         int    `json:"runs"`
	Crashes      int    `json:"crashes"`
	LostRequests int    `json:"lost_requests"`
	LostReplies  int    `json:"lost_replies"`
	Late         int    `json:"late"`
	DoubleStarts int    `json:"double_starts"` // what had taken effect was started again
	Lost         int    `json:"lost"`          // effects and the journal's ends that disagree, and ends that say "lost"
	Unfinished   int    `json:"unfinished"`    // intents that did not come to their end in time

	actions int // journaled to their ends
	left    int // steps never done: not a failure, since nobody promises that the world lets us
	points  [points]int
}

func (r *result) add(x *result) {
	r.Runs, r.Crashes = r.Runs+x.Runs, r.Crashes+x.Crashes
	r.LostRequests, r.LostReplies, r.Late = r.LostRequests+x.LostRequests, r.LostReplies+x.LostReplies, r.Late+x.Late
	r.DoubleStarts, r.Lost, r.Unfinished = r.DoubleStarts+x.DoubleStarts, r.Lost+x.Lost, r.Unfinished+x.Unfinished
	r.actions, r.left = r.actions+x.actions, r.left+x.left
	for i := range x.points {
		r.points[i] += x.points[i]
	}
}

// An effect is what an intent is for. Each errand's steps differ in it.
type effect struct {
	subject string // VM or host
	what    string // the host that a VM goes to, or the task of a host
}

var hostTasks = map[string]engine.ActionKind{
	"HostSystem.powerDownToStandBy": engine.Standby, "HostSystem.powerUpFromStandBy": engine.Wakeup,
	"HostSystem.enterMaintenanceMode": engine.EnterMaintenance, "HostSystem.exitMaintenanceMode": engine.ExitMaintenance,
}

func effectOf(a *engine.Action) effect {
	if a.Kind == engine.Move {
		return effect{string(a.VM), string(a.To.Host)}
	}
	return effect{string(a.From.Host), a.Kind.String()}
}

// judge compares what happened, by the lab's ground truth and the vCenters' task
// histories, with what the journal says.
func (w *world) judge(ctx context.Context) (err error) {
	happened, err := w.happened(ctx)
	if err != nil {
		return fmt.Errorf("judge: %w", err)
	}
	j, err := store.Open(w.dir, store.Options{ReadOnly: true, MaxBytes: journalBytes})
	if err != nil {
		return fmt.Errorf("judge: %w", err)
	}
	defer func() { err = j.Close() }()
	open, err := j.OpenActions()
	if err != nil {
		return fmt.Errorf("judge: %w", err)
	}
	w.res.Unfinished = len(open)
	entries, err := j.Kind(engine.EntryEnded)
	if err != nil {
		return fmt.Errorf("judge: %w", err)
	}
	told, ends := map[effect]int{}, map[effect][]string{}
	for i := range open {
		told[effectOf(&open[i].Action)]++ // counted already
		w.note("unfinished: %s %s", open[i].Action.ID, open[i].Action.String())
	}
	for i := range entries {
		var r engine.ActionRecord
		if err := json.Unmarshal(entries[i].Data, &r); err != nil {
			return fmt.Errorf("judge: %w", err)
		}
		w.res.actions++
		e := effectOf(&r.Action)
		ends[e] = append(ends[e], fmt.Sprintf("%s %s: %s", r.Action.ID, r.State, r.Error))
		switch r.State {
		case engine.StateSucceeded:
			told[e]++
			if happened[e] == 0 {
				w.res.Lost++
				w.note("never happened: %s %s", r.Action.ID, r.Action.String())
			}
		case engine.StateLost:
			w.res.Lost++
			w.note("lost: %s %s: %s", r.Action.ID, r.Action.String(), r.Error)
		default:
		}
	}
	for e, n := range happened {
		w.res.DoubleStarts += n - 1
		if n > 1 {
			w.note("%d times: %s to %s", n, e.subject, e.what)
		}
		if told[e] == 0 {
			w.res.Lost++
			w.note("not in the journal: %s to %s, but %q", e.subject, e.what, ends[e])
		}
	}
	for _, e := range w.errands {
		w.res.left += len(e.steps) - e.next
	}
	return nil
}

func (w *world) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "seed %d: "+format+"\n", append([]any{w.seed}, args...)...)
}

// happened counts how often each effect was had, or is being had.
func (w *world) happened(ctx context.Context) (map[effect]int, error) {
	out := map[effect]int{}
	hosts := w.lab.World().Hosts
	for _, m := range w.lab.Moves() {
		if m.Done || m.Ended.IsZero() {
			out[effect{m.VM, string(hostID(&hosts[m.To]))}]++
		}
	}
	for i := range w.vcenters {
		err := w.connect(ctx, i, func(c *vsphere.Conn) error {
			tasks, err := history(ctx, c)
			for k := range tasks {
				kind, ok := hostTasks[tasks[k].DescriptionId]
				if ok && tasks[k].State != types.TaskInfoStateError {
					out[effect{string(c.VCenter) + "/" + tasks[k].Entity.Value, kind.String()}]++
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// history is all tasks of a vCenter, read with another client than the actuator's.
func history(ctx context.Context, c *vsphere.Conn) (all []types.TaskInfo, err error) {
	h, err := task.NewManager(c.Client).CreateCollectorForTasks(ctx, types.TaskFilterSpec{})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, read := range []func(context.Context, int32) ([]types.TaskInfo, error){h.ReadNextTasks, h.ReadPreviousTasks} {
		for {
			list, err := read(ctx, 100)
			if err != nil {
				return nil, err
			}
			list = slices.DeleteFunc(list, func(t types.TaskInfo) bool { return seen[t.Key] })
			if len(list) == 0 {
				break
			}
			for i := range list {
				seen[list[i].Key] = true
			}
			all = append(all, list...)
		}
	}
	return all, nil
}
