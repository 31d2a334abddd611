package cycle

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// An order to evacuate is heard as a policy would be: it waits for persons, of whom
// who gave it is none; it outlives a restart, and ends when it is cancelled.
func TestOrderedEvacuation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := &town{crowd: crowd{fleet: fleet{host: "v/h0"}}}, newBook()
		rails := Rails{Tiers: DefaultTiers()}
		s := newScene(t, x, b, rails, evacuate())
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(2 * time.Minute)
			by := time.Now().Add(4 * time.Hour)
			if err := s.Evacuate(ctx, "nowhere", by, "ann", ""); err == nil {
				t.Error("a site that is not there is evacuated")
			}
			if err := s.Evacuate(ctx, "a", time.Now(), "ann", ""); err == nil {
				t.Error("a deadline that is past is taken")
			}
			c, err := s.Drill(ctx, "a", by, "eve", false)
			if err != nil || c.VMs != 1 || c.Work != 1 || c.Value.Bound != 1 || c.ETA.At == 0 {
				t.Errorf("drill: %+v, %v", c, err)
			}
			time.Sleep(2 * time.Minute)
			if p := s.now(); p.Pending != nil || len(p.Ordered) > 0 || len(x.made()) > 0 {
				t.Error("a drill changes something")
			}
			if err := s.Evacuate(ctx, "a", by, "ann", "storm"); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Minute)
		})
		s = newScene(t, x, b, rails, evacuate())
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(2 * time.Minute)
			p := s.now()
			if p.Pending == nil || p.Pending.Approvers != 2 || len(p.Ordered) != 1 || len(p.Certificates) != 1 {
				t.Fatalf("after a restart: pending %+v, ordered %v, %d certificates", p.Pending, p.Ordered, len(p.Certificates))
			}
			if err := s.Approve(ctx, p.Pending.Hash, len(p.Pending.Plan.Actions), "ann"); err == nil || !strings.Contains(err.Error(), "others must approve") {
				t.Errorf("who ordered it approves it: %v", err)
			}
			if err := s.CancelEvacuation(ctx, "a", "bob", "gone"); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Minute)
			if p := s.now(); p.Pending != nil || len(p.Certificates) > 0 || len(x.made()) > 0 {
				t.Errorf("after it was cancelled: %+v", p.Pending)
			}
			if err := s.CancelEvacuation(ctx, "a", "bob", ""); err == nil {
				t.Error("cancelled twice")
			}
		})
		orders := journaled(t, b)
		if got := strings.Join(orders, " "); got != "drill:eve evacuate:ann cancel_evacuation:bob" {
			t.Errorf("journaled: %s", got)
		}
	})
}

// A plan that empties a site and waits for persons gives way to a better one when much
// more could be saved than when it was made, but not sooner than they can read it.
func TestWaitingPlanIsOutdone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := &town{crowd: crowd{fleet: fleet{host: "v/h0"}}}, newBook()
		stays := func(why engine.Obstacles) func(s *engine.Snapshot) {
			return func(s *engine.Snapshot) {
				v := s.VMs[0]
				v.ID, v.Name, v.NICs, v.Obstacles = v.ID+"x", "second", nil, why
				s.VMs = append(s.VMs, v)
			}
		}
		x.see(stays(engine.ObUSB))
		s := newScene(t, x, b, Rails{Tiers: DefaultTiers()}, evacuate())
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(2 * time.Minute)
			if err := s.Evacuate(ctx, "a", time.Now().Add(4*time.Hour), "ann", "storm"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			first := s.now().Pending
			if first == nil || len(first.Plan.Actions) != 1 {
				t.Fatalf("waits: %+v", first)
			}
			x.see(stays(0))
			time.Sleep(time.Minute)
			if p := s.now().Pending; p == nil || p.Hash != first.Hash {
				t.Error("the plan was replaced before anybody could read it")
			}
			time.Sleep(3 * time.Minute)
			second := s.now().Pending
			if second == nil || len(second.Plan.Actions) != 2 {
				t.Fatalf("waits though more can be saved: %+v", second)
			}
			time.Sleep(8 * time.Minute)
			if p := s.now().Pending; p == nil || p.Hash != second.Hash || !p.Since.Equal(second.Since) {
				t.Error("a plan that is as good as it was is made anew")
			}
			if err := s.Evacuate(ctx, "a", time.Now().Add(8*time.Hour), "ann", "it comes later"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if p := s.now().Pending; p == nil || p.Since.Equal(second.Since) {
				t.Error("the plan for the old deadline waits on")
			}
		})
	})
}

// journaled lists the orders, each with who gave it; what they and plans refer to
// is there.
func journaled(t *testing.T, b *book) (orders []string) {
	t.Helper()
	certified := 0
	for e, err := range b.Entries(1) {
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range e.Blobs {
			if _, err := b.Get(d); err != nil {
				t.Error(err)
			}
		}
		var r engine.OperatorRecord
		if e.Kind == engine.EntryOperator && json.Unmarshal(e.Data, &r) == nil {
			orders = append(orders, r.Op+":"+r.Who)
			if (r.Op == opDrill) != (r.Certificate != "") {
				t.Errorf("%s has certificate %q", r.Op, r.Certificate)
			}
		}
		var p engine.PlanRecord
		if e.Kind == engine.EntryPlan && json.Unmarshal(e.Data, &p) == nil && p.Certificates != "" {
			certified++
		}
	}
	if certified == 0 {
		t.Error("no plan has its certificate in the journal")
	}
	return orders
}
