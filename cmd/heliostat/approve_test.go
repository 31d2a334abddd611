package main

import (
	"encoding/json"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/web"
)

// advised waits for a plan that waits for a person.
func (r *rig) advised(t *testing.T) *web.PendingPlan {
	t.Helper()
	var p *web.PendingPlan
	eventually(t, "a plan is advised", func() bool {
		p = r.status(t).Pending
		return p != nil
	})
	return p
}

// TestApproval has a daemon that only advises, rejects its plan, and approves
// the next.
func TestApproval(t *testing.T) {
	t.Parallel()
	const first, second = "tyo-b-db002", "fra-a-web040"
	r := startLab(t, "--speed", "1000")
	file := r.withGather(t, first)
	r.edit(t, "move: enforce", "move: advise")
	r.run(t)

	p := r.advised(t)
	if !names(p.Plan)[first] || p.Approvers != 1 {
		t.Errorf("%d approvers are asked for %v", p.Approvers, names(p.Plan))
	}
	if out := r.ask(t, "status"); !strings.Contains(out, "PLAN "+p.Hash[:12]+" WAITS for 1 approval") || !strings.Contains(out, "heliostat approve "+p.Hash[:8]) {
		t.Errorf("status says:\n%s", out)
	}
	for _, hash := range []string{"000000000000", p.Hash[:5]} {
		if _, stderr, code := heliostat(t, "approve", hash, "--config", r.config); code != exitFailure {
			t.Errorf("approve %s: exit %d: %s", hash, code, stderr)
		}
	}
	if out := r.ask(t, "reject", p.Hash[:8], "--reason", "month end"); !strings.Contains(out, "rejected") {
		t.Errorf("reject says %q", out)
	}
	if s := r.status(t); s.Pending != nil && s.Pending.Hash == p.Hash {
		t.Error("a rejected plan still waits")
	}
	if n := len(r.journal(t, engine.EntryIntent)); n > 0 {
		t.Errorf("%d actions were started without approval", n)
	}

	write(t, file, gather(first, second))
	eventually(t, "another plan is advised", func() bool {
		q := r.status(t).Pending
		if q != nil && !names(q.Plan)[second] {
			// Made before the edit, to another host: it would wait for its answer.
			r.ask(t, "reject", q.Hash[:8])
			return false
		}
		return q != nil
	})
	p = r.advised(t)
	r.orders(t, "approve", p.Hash[:8])
	eventually(t, "the approved plan is carried out", func() bool { return len(r.ended(t)) >= len(p.Plan.Actions) })
	for _, rec := range r.ended(t) {
		if rec.State != engine.StateSucceeded || rec.Plan != p.Hash {
			t.Errorf("%s of plan %.8s ended as %s: %s", rec.Action.String(), rec.Plan, rec.State, rec.Error)
		}
	}
	var said []string
	for _, e := range r.journal(t, engine.EntryApproval) {
		var rec engine.ApprovalRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			t.Fatal(err)
		}
		if rec.Who == "" {
			t.Errorf("nobody approved or rejected %s", rec.Hash)
		}
		said = append(said, strings.TrimSpace(rec.Hash[:8]+" "+rec.Reason))
	}
	if n := len(said); n < 2 || !strings.HasSuffix(said[0], "month end") || said[n-1] != p.Hash[:8] {
		t.Errorf("approvals in the journal: %v", said)
	}
	r.daemon.interrupt(t)
}

// orders gives the daemon an order, and has it confirmed to a machine.
func (r *rig) orders(t *testing.T, args ...string) {
	t.Helper()
	var got struct{ Done, Of string }
	out := r.ask(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &got); err != nil || args[len(args)-2] != got.Done || args[len(args)-1] != got.Of {
		t.Errorf("%v: %v: %s", args, err, out)
	}
}

// names are the VMs that a plan moves.
func names(p *engine.Plan) map[string]bool {
	out := map[string]bool{}
	for i := range p.Actions {
		out[p.Actions[i].Name] = true
	}
	return out
}
