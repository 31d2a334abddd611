package cycle

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// council is policies whose words change while the loop runs.
type council struct {
	opinion
	lock      sync.Mutex
	refuses   bool                   // every move
	approvers int32                  // that every plan asks for
	rejects   []string               // every plan
	revision  string                 // "" is r1
	adds      func(*engine.Decision) // to what the opinion says
}

func (c *council) now(change func(c *council)) {
	c.lock.Lock()
	defer c.lock.Unlock()
	change(c)
}

func (c *council) Evaluate(ctx context.Context, v engine.View) (*engine.Decision, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	d, err := c.opinion.Evaluate(ctx, v)
	if d != nil {
		d.Revision = cmp.Or(c.revision, d.Revision)
	}
	if c.adds != nil {
		c.adds(d)
	}
	return d, err
}

func (c *council) Revision() string {
	c.lock.Lock()
	defer c.lock.Unlock()
	return cmp.Or(c.revision, c.opinion.Revision())
}

func (c *council) Deny(ctx context.Context, v engine.View, moves []engine.Action) ([]engine.Veto, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.deny = c.refuses
	return c.opinion.Deny(ctx, v, moves)
}

func (c *council) Review(context.Context, engine.View, *engine.Plan) (engine.Review, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	return engine.Review{Approvers: c.approvers, Rejects: c.rejects}, nil
}

// convene is a loop on the fleet of three hosts whose policies want the first one emptied.
func convene(t *testing.T, f *fleet, mode engine.Mode, change func(c *council)) (*rig, *council) {
	t.Helper()
	r := newRig(t, f, newBook(), engine.Off)
	c := &council{opinion: opinion{mode: mode}}
	change(c)
	r.Policy = c
	return r, c
}

// advice is that there is something to be advised, of which no plan makes anything.
func advice(d *engine.Decision) {
	d.Voices = append(d.Voices, engine.Voice{Policy: "wishes", Rule: engine.RulePrefer, Mode: engine.Advise})
}

// An enforced plan that a policy wants approved waits as advice does, beside advice
// too: it stays the same plan for both persons, and once approved it is carried out to
// its end.
func TestEnforcedPlanWaits(t *testing.T) {
	for name, adds := range map[string]func(*engine.Decision){"alone": nil, "beside advice": advice} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{host: "v/h0"}
				r, _ := convene(t, f, engine.Enforce, func(c *council) { c.approvers, c.adds = 2, adds })
				_ = r.with(t, func(ctx context.Context) {
					time.Sleep(time.Second)
					first := r.now().Pending
					if first == nil || first.Approvers != 2 {
						t.Fatalf("waits: %+v", first)
					}
					for _, who := range []string{"ann", "bob"} {
						if err := r.Approve(ctx, first.Hash, 0, who); err != nil {
							t.Fatal(err)
						}
						time.Sleep(2 * time.Minute)
					}
					time.Sleep(5 * time.Minute)
					if got := fmt.Sprint(f.did()); got != "[move enter_maintenance]" {
						t.Errorf("calls: %s", got)
					}
				})
				replayAll(t, r.book)
			})
		})
	}
}

// A plan that a policy rejects is not carried out, and that is told, with the reason.
func TestRejectedPlanIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{host: "v/h0"}
		r, _ := convene(t, f, engine.Enforce, func(c *council) { c.rejects = []string{"month end"} })
		_ = r.with(t, func(context.Context) {
			time.Sleep(time.Second)
			if h := r.now().Rails; len(h) != 1 || h[0].Code != engine.HoldVeto || h[0].Detail != "month end" {
				t.Errorf("rails: %+v", h)
			}
		})
		if len(f.did()) > 0 {
			t.Errorf("calls: %s", f.did())
		}
	})
}

// wish is that the VM ran elsewhere.
func wish(d *engine.Decision) {
	advice(d)
	d.Reasons = append(d.Reasons, "nicer there")
	d.Prefers = []engine.Prefer{{VM: 0, To: engine.Subject{Kind: "host", ID: "v/h1"}, MicroEUR: 10_000_000, By: engine.By{Voice: 1, Reason: 1}}}
}

// What waits for a person is held against what the policies say now.
func TestPoliciesChangeWhileAPlanWaits(t *testing.T) {
	wishes := func(c *council) { c.mode, c.adds = engine.Off, wish }
	for name, x := range map[string]struct{ before, after func(c *council) }{
		"a guard refuses its moves": {func(*council) {}, func(c *council) { c.refuses = true }},
		"a guard rejects plans":     {func(*council) {}, func(c *council) { c.rejects = []string{"month end"} }},
		"nothing is advised":        {wishes, func(c *council) { c.adds = nil }},
		"other policies serve":      {wishes, func(c *council) { c.revision, c.adds = "r2", advice }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{host: "v/h0"}
				r, c := convene(t, f, engine.Advise, x.before)
				_ = r.with(t, func(ctx context.Context) {
					time.Sleep(time.Second)
					first := r.now().Pending
					if first == nil {
						t.Fatal("nothing waits")
					}
					c.now(x.after)
					if name == "other policies serve" { // before a cycle has asked them
						if err := r.Approve(ctx, first.Hash, 0, "ann"); err == nil || !strings.Contains(err.Error(), "made by other policies") {
							t.Errorf("approved at once: %v", err)
						}
					}
					time.Sleep(2 * time.Minute)
					if err := r.Approve(ctx, first.Hash, 0, "ann"); err == nil {
						t.Error("what no policy wants any more can be approved")
					}
					time.Sleep(5 * time.Minute)
					if len(f.did()) > 0 {
						t.Errorf("calls: %v", f.did())
					}
				})
				replayAll(t, r.book)
			})
		})
	}
}

// Where the plan of this cycle may not be carried out, neither is what the last one has
// not started.
func TestRejectedPlanEndsTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{host: "v/h0"}
		r, c := convene(t, f, engine.Enforce, func(*council) {})
		_ = r.with(t, func(context.Context) {
			time.Sleep(time.Second) // the move runs until after the next cycle
			c.now(func(c *council) { c.rejects = []string{"month end"} })
			time.Sleep(10 * time.Minute)
			if got := fmt.Sprint(f.did()); got != "[move]" {
				t.Errorf("calls: %s", got)
			}
		})
		replayAll(t, r.book)
	})
}

// jealous refuses the moves of one VM from some moment on.
type jealous struct {
	*word
	of atomic.Pointer[engine.VMID]
}

func (p *jealous) Deny(_ context.Context, _ engine.View, moves []engine.Action) (out []engine.Veto, err error) {
	for i := range moves {
		if of := p.of.Load(); of != nil && moves[i].VM == *of {
			out = append(out, engine.Veto{VM: *of, To: moves[i].To.Host, Code: "no", Reason: "because", Policy: "guard", Mode: engine.Enforce})
		}
	}
	return out, nil
}

// Of an approved plan only those moves are not begun that a guard refuses by now.
func TestGuardRefusesOneApprovedMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := calm()
		wide := Budget{9, 9}
		rails := Rails{Budgets: &Budgets{Host: Budget{1, 9}, Cluster: wide, Site: wide, DemandX: 1}} // one an hour
		s := newScene(t, x, newBook(), rails, rearrange(x, "vm2", "vm3", "vm4"))
		guard := &jealous{word: s.said}
		s.Policy = guard
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			if err := s.Approve(ctx, s.now().Pending.Hash, 3, "ann"); err != nil {
				t.Fatal(err)
			}
			of := engine.VMID("vm3")
			guard.of.Store(&of)
			time.Sleep(3 * time.Hour)
		})
		begun := map[engine.VMID]bool{}
		for e := range s.book.Entries(1) {
			var r engine.ActionRecord
			if e.Kind == engine.EntryIntent && json.Unmarshal(e.Data, &r) == nil {
				begun[r.Action.VM] = true
			}
		}
		if !begun["vm2"] || begun["vm3"] || !begun["vm4"] {
			t.Errorf("begun: %v", begun)
		}
		replayAll(t, s.book)
	})
}
