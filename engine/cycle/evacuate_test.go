package cycle

import (
	"context"
	"encoding/json"
	"fmt"
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

// rearrange is advice about more VMs, at the site that nobody evacuates.
func rearrange(x *town, vms ...string) func(*engine.Decision) {
	x.see(func(s *engine.Snapshot) {
		v := s.VMs[0]
		for _, id := range vms {
			v.ID, v.Name, v.Moid, v.Host = engine.VMID(id), id, id, 1
			s.VMs = append(s.VMs, v)
		}
	})
	return func(d *engine.Decision) {
		advice(d)
		for i := range vms {
			d.Prefers = append(d.Prefers, engine.Prefer{VM: int32(i) + 1, To: engine.Subject{Kind: "host", ID: "v/h2"}, MicroEUR: 10_000_000, By: engine.By{Voice: 1}})
		}
	}
}

// The evacuation of a site does not wait for a decision about a wish, nor for one that
// is being carried out.
func TestEvacuationWaitsBehindNothing(t *testing.T) {
	for _, approved := range []bool{false, true} {
		t.Run(fmt.Sprintf("approved %t", approved), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := calm()
				x.slow = 3 * time.Hour
				wide := Budget{9, 9}
				rails := Rails{Tiers: DefaultTiers(), Budgets: &Budgets{Host: Budget{1, 1}, Cluster: wide, Site: wide, DemandX: 9}} // one wish is granted today
				s := newScene(t, x, newBook(), rails, rearrange(x, "vm2", "vm3"))
				_ = s.with(t, func(ctx context.Context) {
					time.Sleep(time.Second)
					p := s.now().Pending
					if p == nil || len(p.Plan.Actions) != 2 || len(p.Plan.Evacuates()) > 0 {
						t.Fatalf("waits: %+v", p)
					}
					if approved {
						if err := s.Approve(ctx, p.Hash, 0, "bob"); err != nil {
							t.Fatal(err)
						}
					}
					if err := s.Evacuate(ctx, "a", time.Now().Add(4*time.Hour), "ann", "storm"); err != nil {
						t.Fatal(err)
					}
					var first *Pending
					for i, who := range []string{"bob", "eve"} {
						time.Sleep(90 * time.Second)
						if p = s.now().Pending; p == nil || len(p.Plan.Evacuates()) != 1 || p.Approvers != 2 || (i > 0 && p.Hash != first.Hash) {
							t.Fatalf("for %s waits: %+v", who, p)
						}
						first = p
						if err := s.Approve(ctx, p.Hash, len(p.Plan.Actions), who); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(90 * time.Second)
					if n := len(x.made()); n != 2 {
						t.Errorf("%d calls", n)
					}
				})
				replayAll(t, s.book)
			})
		})
	}
}

// third adds a site to the town, with a host of b and a VM on it.
func (x *town) third() {
	x.see(func(s *engine.Snapshot) {
		c, v := s.Sites[0], s.VMs[0]
		c.ID, v.ID, v.Name, v.Moid, v.Host = "c", "vm2", "vm2", "vm-2", 2
		s.Sites, s.VMs, s.Hosts[2].Site = append(s.Sites, c), append(s.VMs, v), 2
		s.Datastores[0].Sites, s.Datastores[0].Survives = 7, 2
		s.Links = append(s.Links, engine.Link{A: 1, B: 2, RTTMicros: 5000, Mbps: 10_000, At: s.At})
	})
}

// A drill of a site whose turn it is not says what its evacuation would come to.
func TestDrillOutOfTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := calm()
		x.third()
		s := newScene(t, x, newBook(), Rails{Tiers: DefaultTiers()}, evacuate("a", "c"))
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			c, err := s.Drill(ctx, "c", time.Now().Add(4*time.Hour), "ann", false)
			if err != nil || c.VMs != 1 || c.Leave != 1 {
				t.Errorf("drill: %+v, %v", c, err)
			}
		})
	})
}

// A site keeps its turn until it is empty, for what is left when its moves have ended,
// and passes it on when a person rejects its evacuation.
func TestTurn(t *testing.T) {
	for name, c := range map[string]struct {
		reject bool
		want   string
	}{"something is left": {false, "a"}, "it is rejected": {true, "c"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := calm()
				x.slow = 3 * time.Minute // and the VM is seen where it was
				x.third()
				s := newScene(t, x, newBook(), Rails{Tiers: DefaultTiers()}, evacuate("a", "c"))
				_ = s.with(t, func(ctx context.Context) {
					time.Sleep(time.Second)
					p := s.now().Pending
					if p == nil || p.Plan.Evacuates()[0] != "a" {
						t.Fatalf("waits first: %+v", p)
					}
					if c.reject {
						if err := s.Reject(ctx, p.Hash, "ann", "not yet"); err != nil {
							t.Fatal(err)
						}
					} else {
						for _, who := range []string{"ann", "bob"} {
							if err := s.Approve(ctx, p.Hash, 1, who); err != nil {
								t.Fatal(err)
							}
						}
					}
					time.Sleep(6 * time.Minute)
					if p = s.now().Pending; p == nil || p.Plan.Evacuates()[0] != c.want {
						t.Errorf("waits then: %+v; %d calls; %v", p, len(x.made()), s.now().Rails)
					}
				})
			})
		})
	}
}

// Who approves an evacuation and then orders it anew is still not one of those who
// approve it.
func TestOrderedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := calm()
		s := newScene(t, x, newBook(), Rails{Tiers: DefaultTiers()}, evacuate())
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			for i, who := range []string{"ann", "bob"} {
				if err := s.Evacuate(ctx, "a", time.Now().Add(4*time.Hour), who, ""); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				p := s.now().Pending
				if (p == nil) != (i == 1) {
					t.Fatalf("waits: %+v", p)
				}
				if p != nil {
					if err := s.Approve(ctx, p.Hash, 1, "bob"); err != nil {
						t.Fatal(err)
					}
				}
			}
			time.Sleep(time.Minute)
			if err := s.Approve(ctx, s.now().Pending.Hash, 1, "ann"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if n := len(x.made()); n > 0 {
				t.Errorf("%d calls after one approval and the word of who ordered it", n)
			}
		})
	})
}

// An evacuation that began by itself, since there is evidence, ends at once when its
// order is cancelled, but for what is in flight.
func TestCancelEndsWhatIsEnforced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := calm()
		x.see(func(s *engine.Snapshot) {
			storm(s, "a")
			v := s.VMs[0]
			v.ID, v.Name, v.Moid = "vm2", "vm2", "vm-2"
			s.VMs = append(s.VMs, v)
		})
		rails := Rails{Tiers: DefaultTiers(), Budgets: &Budgets{Host: Budget{1, 1}, Cluster: Budget{9, 9}, Site: Budget{9, 9}, DemandX: 1}}
		rails.Tiers.Autonomous, rails.Tiers.Evidence = true, 1
		s := newScene(t, x, newBook(), rails, evacuate())
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			if err := s.Evacuate(ctx, "a", time.Now().Add(4*time.Hour), "ann", ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			if rest := s.rest(ctx, t); len(x.made()) != 1 || rest == nil || len(rest.Actions) != 1 {
				t.Fatalf("%d calls, %+v is left", len(x.made()), rest)
			}
			if err := s.CancelEvacuation(ctx, "a", "ann", ""); err != nil {
				t.Fatal(err)
			}
			if rest := s.rest(ctx, t); rest != nil {
				t.Errorf("goes on with %v", rest.Actions)
			}
		})
	})
}

// rest is what the enforced plan has not started.
func (x *scene) rest(ctx context.Context, t *testing.T) (p *engine.Plan) {
	t.Helper()
	if err := x.ask(ctx, func(context.Context) error { p = x.Executor.Rest(program); return nil }); err != nil {
		t.Error(err)
	}
	return p
}

// A VM that was brought away is not asked back to a site that is to be empty, whoever
// says so, and is let go nowhere else.
func TestNoWayBackToWhatIsEvacuated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, rails := calm(), quick()
		rails.Tiers.Autonomous, rails.Tiers.Evidence = true, 1
		x.see(func(s *engine.Snapshot) { storm(s, "a") })
		s := newScene(t, x, newBook(), rails, evacuate("a"))
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(90 * time.Second)
			x.arrive("v/h1")
			x.see(nil)
			for _, by := range []string{"a policy", "a person", ""} {
				switch by {
				case "a person":
					s.said.now(evacuate())
					if err := s.Evacuate(ctx, "a", time.Now().Add(4*time.Hour), "ann", ""); err != nil {
						t.Error(err)
					}
				case "":
					if err := s.CancelEvacuation(ctx, "a", "ann", ""); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(2 * time.Minute)
				d, v := s.now().Decision, &s.now().Snapshot.VMs[0]
				if len(d.Evacuations) > 0 != (by != "") || len(d.Prefers) > 0 != (by == "") || !v.Across || len(d.AllowSites) != 1 || d.AllowSites[0].Sites != 3 {
					t.Errorf("evacuated by %q: %+v", by, d)
				}
			}
		})
		replayAll(t, s.book)
	})
}
