package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// TestKillDuringCrossVCenterMove kills the daemon while a VM is on its way to
// another vCenter, and starts it again. The move stands still meanwhile, so that however
// busy the machine is it does not end before.
func TestKillDuringCrossVCenterMove(t *testing.T) {
	t.Parallel()
	const vm = "tyo-b-db002"
	faults := filepath.Join(t.TempDir(), "faults.yaml")
	write(t, faults, "- {kind: task_hangs, target: "+vm+", percent: 50, p: 1}\n")
	r := startLab(t, "--speed", "100", "--faults", faults, "--control", "127.0.0.1:0")
	r.withGather(t, vm)
	r.run(t)

	var before []types.TaskInfo
	eventually(t, "the move runs", func() bool {
		before = r.relocations(t, vm)
		return len(before) == 1 && before[0].State == types.TaskInfoStateRunning && len(r.entriesOf(t, engine.EntryTask, vm)) == 1
	})
	r.daemon.kill(t)
	if out := r.ask(t, "journal", "verify"); strings.Contains(out, "; 0 actions open;") {
		t.Errorf("after the kill, verify says %q", out)
	}
	if tasks := r.relocations(t, vm); len(tasks) != 1 || tasks[0].State != types.TaskInfoStateRunning {
		t.Fatalf("the move did not outlive the daemon: %+v", tasks)
	}

	r.run(t)
	r.daemon.log.find(t, `actions of an earlier process are taken over`)
	if code, err := send(t, http.MethodDelete, r.control, "", ""); err != nil || code != http.StatusNoContent {
		t.Fatalf("the end of the fault: %d, %v", code, err)
	}
	eventually(t, "the move ends", func() bool { return len(r.entriesOf(t, engine.EntryEnded, vm)) > 0 })
	// Two more cycles, in which it could be moved again.
	cycle := r.status(t).Cycle
	eventually(t, "two more cycles", func() bool { return r.status(t).Cycle >= cycle+2 })

	intents, ends := r.entriesOf(t, engine.EntryIntent, vm), r.entriesOf(t, engine.EntryEnded, vm)
	if len(intents) != 1 || len(ends) != 1 {
		t.Fatalf("%d intents and %d ends in the journal", len(intents), len(ends))
	}
	a, end := intents[0].Action, ends[0]
	if end.Action.ID != a.ID || end.State != engine.StateSucceeded || !a.Across {
		t.Errorf("intent %s, end %s as %s: %s", a.String(), end.Action.String(), end.State, end.Error)
	}
	after := r.relocations(t, vm)
	if len(after) != 1 || after[0].Key != before[0].Key || after[0].State != types.TaskInfoStateSuccess {
		t.Errorf("tasks in vCenter: %+v", after)
	}
	standing := r.standing(t)
	for _, rec := range r.ended(t) {
		if tasks := r.relocations(t, rec.Action.Name); len(tasks) != 1 {
			t.Errorf("%s was relocated by %d tasks", rec.Action.Name, len(tasks))
		}
		if at := standing[rec.Action.VM]; len(at) != 1 || at[0] != rec.Action.To.Host {
			t.Errorf("%s: the journal says %s, the vCenters %v", rec.Action.Name, rec.Action.To.Host, at)
		}
	}
	r.daemon.interrupt(t)
	if out := r.ask(t, "journal", "verify"); !strings.Contains(out, "; 0 actions open;") {
		t.Errorf("at the end, verify says %q", out)
	}
	r.ask(t, "replay", "--all")
}
