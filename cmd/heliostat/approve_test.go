package main

import (
	"encoding/json"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/web"
)

// answered waits for a plan that waits for a person, and answers it with the order that
// choose gives, until that says that it was the last. A plan that a cycle has dropped
// before its order came is not counted.
func (r *rig) answered(t *testing.T, choose func(*web.PendingPlan) (args []string, last bool)) *web.PendingPlan {
	t.Helper()
	var p *web.PendingPlan
	eventually(t, "a plan is advised and answered", func() bool {
		if p = r.status(t).Pending; p == nil {
			return false
		}
		args, last := choose(p)
		out, stderr, code := heliostat(t, append(args, "--json", "--config", r.config)...)
		if code == exitFailure && strings.Contains(stderr, "no such plan waits") {
			return false
		}
		confirms(t, out, args[0], args[1])
		return last
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

	r.advises(t, first)
	for _, hash := range []string{"000000000000", "7b44b"} {
		if _, stderr, code := heliostat(t, "approve", hash, "--config", r.config); code != exitFailure {
			t.Errorf("approve %s: exit %d: %s", hash, code, stderr)
		}
	}
	p := r.answered(t, func(p *web.PendingPlan) ([]string, bool) {
		return []string{"reject", p.Hash[:8], "--reason", "month end"}, true
	})
	if s := r.status(t); s.Pending != nil && s.Pending.Hash == p.Hash {
		t.Error("a rejected plan still waits")
	}
	if n := len(r.journal(t, engine.EntryIntent)); n > 0 {
		t.Errorf("%d actions were started without approval", n)
	}

	write(t, file, gather(first, second))
	p = r.answered(t, func(p *web.PendingPlan) ([]string, bool) {
		if !names(p.Plan)[second] {
			// Made before the edit, to another host: it would wait for its answer.
			return []string{"reject", p.Hash[:8]}, false
		}
		return []string{"approve", p.Hash[:8]}, true
	})
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

// advises waits until the daemon advises to move a VM, and says so in its status.
func (r *rig) advises(t *testing.T, vm string) {
	t.Helper()
	eventually(t, "status tells of the plan that waits", func() bool {
		p := r.status(t).Pending
		if p == nil {
			return false
		}
		out := r.ask(t, "status")
		if q := r.status(t).Pending; q == nil || q.Hash != p.Hash {
			return false // another cycle, another plan
		}
		if !names(p.Plan)[vm] || p.Approvers != 1 {
			t.Errorf("%d approvers are asked for %v", p.Approvers, names(p.Plan))
		}
		if !strings.Contains(out, "PLAN "+p.Hash[:12]+" WAITS for 1 approval") || !strings.Contains(out, "heliostat approve "+p.Hash[:8]) {
			t.Errorf("status says:\n%s", out)
		}
		return true
	})
}

// orders gives the daemon an order, and has it confirmed to a machine.
func (r *rig) orders(t *testing.T, args ...string) {
	t.Helper()
	confirms(t, r.ask(t, append(args, "--json")...), args[len(args)-2], args[len(args)-1])
}

// confirms is what a machine reads when an order was taken.
func confirms(t *testing.T, out, done, of string) {
	t.Helper()
	var got struct{ Done, Of string }
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Done != done || got.Of != of {
		t.Errorf("%s %s: %v: %s", done, of, err, out)
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
