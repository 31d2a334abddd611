package cycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
)

// ErrNoPlan means that no plan of that hash waits for approval.
var ErrNoPlan = errors.New("no such plan waits for approval")

// ask runs do on the loop's goroutine and waits for it.
func (l *Loop) ask(ctx context.Context, do func(context.Context) error) error {
	q := request{do: do, reply: make(chan error, 1)}
	select {
	case l.requests <- q:
	case <-ctx.Done():
		return fmt.Errorf("reach the loop: %w", context.Cause(ctx))
	}
	select {
	case err := <-q.reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the loop: %w", context.Cause(ctx))
	}
}

// Pause stops starting actions, at once and until Resume, over restarts. What is
// in flight goes on to its end.
func (l *Loop) Pause(ctx context.Context, who, reason string) error {
	return l.ask(ctx, func(ctx context.Context) error {
		return l.pause(ctx, engine.OperatorRecord{Op: "pause", Who: who, Reason: reason})
	})
}

// Resume ends a pause, and what the rails hold back: actions start slowly again.
func (l *Loop) Resume(ctx context.Context, who string) error {
	err := l.ask(ctx, func(ctx context.Context) error {
		if why := killed(l.KillFile); why != "" {
			return fmt.Errorf("%s: remove it first", why)
		}
		stay, err := l.unstop()
		if err != nil {
			l.Poke("a resume found a stop")
			return err
		}
		if err := l.testGuards(); err != nil {
			return fmt.Errorf("the guards fail their self-test: %w", err)
		}
		// A crash before the entry leaves the pause in force, which is the safe side.
		if err := l.record(ctx, engine.EntryOperator, engine.OperatorRecord{Op: "resume", Who: who}); err != nil {
			return err
		}
		l.paused = nil
		h := *l.history
		h.Stops, l.history = stay, &h
		l.gate.begin()
		l.gate.stopAt(stay)
		l.Log.WarnContext(ctx, "resumed", "who", who)
		return nil
	})
	if err == nil {
		l.Poke("resumed")
	}
	return err
}

// Release ends the quarantine of a VM or a host (kind), by its name or ID: a
// person has looked at it. Of a vCenter that is doubted it says that what it shows
// is true. The next cycle may act on it again.
func (l *Loop) Release(ctx context.Context, kind, name, who, reason string) error {
	err := l.ask(ctx, func(ctx context.Context) error {
		q, err := l.quarantined(kind, name)
		if err != nil {
			return err
		}
		// A crash before the entry leaves the quarantine in force.
		if err := l.record(ctx, engine.EntryOperator, engine.OperatorRecord{Op: "release", Who: who, Reason: reason, Subject: q.Subject}); err != nil {
			return err
		}
		l.released = append(l.released, q.Subject)
		l.Log.WarnContext(ctx, "released by a person", "subject", q.Subject.String(), "name", q.Name, "who", who, "reason", reason)
		return nil
	})
	if err == nil {
		l.Poke("released " + kind + " " + name)
	}
	return err
}

// quarantined finds the one quarantine of that name.
func (l *Loop) quarantined(kind, name string) (*engine.Quarantine, error) {
	if kind == "vcenter" {
		return l.doubted(name)
	}
	var found []*engine.Quarantine
	for i := range l.history.Quarantine {
		q := &l.history.Quarantine[i]
		if q.Subject.Kind == kind && (q.Name == name || q.Subject.ID == name) && !slices.Contains(l.released, q.Subject) {
			found = append(found, q)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no %s %q is in quarantine", kind, name)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d of kind %s in quarantine are named %q: give the ID, such as %s", len(found), kind, name, found[0].Subject.ID)
}

// doubted finds the vCenter of that name or ID, which is not believed.
func (l *Loop) doubted(name string) (*engine.Quarantine, error) {
	if s := l.shown.Snapshot; s != nil {
		for i := range s.VCenters {
			v := &s.VCenters[i]
			if (v.Name == name || string(v.ID) == name) && l.history.Doubts(v.ID) {
				return &engine.Quarantine{Subject: engine.Subject{Kind: "vcenter", ID: string(v.ID)}, Name: v.Name}, nil
			}
		}
	}
	return nil, fmt.Errorf("no vcenter %q shows a change that a person could confirm", name)
}

// Approve lets the waiting plan be carried out. hash may be its beginning, of at
// least six digits. Where several approvers are asked for, each must be another.
// count is how many actions the person takes it to have: 0 where that was not said,
// which will not do for the evacuation of a site.
func (l *Loop) Approve(ctx context.Context, hash string, count int, who string) error {
	return l.ask(ctx, func(ctx context.Context) error {
		p, err := l.waiting(hash)
		if err != nil {
			return err
		}
		if p.revision != l.Policy.Revision() {
			return fmt.Errorf("plan %s was made by other policies than serve now: the next cycle makes it anew", hash)
		}
		if n := len(p.Plan.Actions); count != n && (count != 0 || len(p.Plan.Evacuates()) > 0) {
			return fmt.Errorf("the plan has %d actions, expected were %d: look at it again", n, count)
		}
		if l.ordersOf(p.Plan, who) {
			return fmt.Errorf("%s has ordered this evacuation: others must approve it", who)
		}
		if slices.Contains(p.Approved, who) {
			return fmt.Errorf("%s has approved it already: %d different persons must", who, p.Approvers)
		}
		if len(p.doubts) == len(p.Plan.Actions) {
			return fmt.Errorf("plan %s cannot be approved now: %s", hash, p.Doubt)
		}
		if err := l.record(ctx, engine.EntryApproval, engine.ApprovalRecord{Hash: p.Hash, Approved: true, Who: who}); err != nil {
			return err
		}
		p.Approved = append(p.Approved, who)
		l.Log.InfoContext(ctx, "plan approved", "plan", p.Hash[:8], "who", who, "approvals", len(p.Approved), "of", p.Approvers)
		if int32(len(p.Approved)) < p.Approvers {
			return nil
		}
		x := &approved{program: "approved:" + p.Hash, hash: p.Hash, doubts: p.doubts}
		l.approved = append(l.approved, x)
		l.pending = nil
		l.Executor.Entrust(ctx, x.program, p.Plan, x.doubts.about)
		return nil
	})
}

// Reject drops the waiting plan. The same actions are not proposed again for as
// long as an approval would have been waited for.
func (l *Loop) Reject(ctx context.Context, hash, who, reason string) error {
	return l.ask(ctx, func(ctx context.Context) error {
		p, err := l.waiting(hash)
		if err != nil {
			return err
		}
		l.rejected[p.Hash] = time.Now().Add(l.ApprovalTTL)
		l.pending = nil
		l.Log.InfoContext(ctx, "plan rejected", "plan", p.Hash[:8], "who", who, "reason", reason)
		return l.record(ctx, engine.EntryApproval, engine.ApprovalRecord{Hash: p.Hash, Who: who, Reason: reason})
	})
}

func (l *Loop) waiting(hash string) (*Pending, error) {
	switch {
	case l.paused != nil:
		return nil, fmt.Errorf("the daemon is paused by %s: resume first", l.paused.Who)
	case len(hash) < 6:
		return nil, errors.New("give at least the first six digits of the plan's hash")
	case l.pending == nil || !strings.HasPrefix(l.pending.Hash, hash):
		return nil, fmt.Errorf("plan %s: %w", hash, ErrNoPlan)
	case time.Now().After(l.pending.Expires):
		l.pending = nil
		return nil, fmt.Errorf("plan %s has expired: %w", hash, ErrNoPlan)
	}
	return l.pending, nil
}

func (l *Loop) record(ctx context.Context, kind engine.EntryKind, data any) error {
	e, err := engine.NewEntry(l.cycle, kind, data)
	if err != nil {
		return err
	}
	return l.append(context.WithoutCancel(ctx), e)
}
