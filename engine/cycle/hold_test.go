package cycle

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// silent is that a vCenter does not answer.
func silent(s *engine.Snapshot) {
	s.Gaps = append(s.Gaps, engine.Gap{Source: "vcenter v", Subject: engine.Subject{Kind: "vcenter", ID: "v"}, Reason: "connection refused", At: s.At})
}

// full is that the hosts to which they could go have no room.
func full(s *engine.Snapshot) {
	for i := range s.Hosts[1:] {
		s.Hosts[i+1].UsedMiB = s.Hosts[i+1].MemoryMiB - 100
	}
}

// crowded is a town with more VMs at the site, and what change makes of it.
func crowded(change func(s *engine.Snapshot), more ...engine.VMID) func(s *engine.Snapshot) {
	return func(s *engine.Snapshot) {
		v := s.VMs[0]
		for _, id := range more {
			v.ID, v.Name, v.Moid = id, string(id), string(id)
			s.VMs = append(s.VMs, v)
		}
		if change != nil {
			change(s)
		}
	}
}

// moved are the VMs whose moves were called, by the journal.
func moved(b *book) map[engine.VMID]bool {
	begun := map[engine.VMID]bool{}
	for e := range b.Entries(1) {
		var r engine.ActionRecord
		if e.Kind == engine.EntryIntent && json.Unmarshal(e.Data, &r) == nil {
			begun[r.Action.VM] = true
		}
	}
	return begun
}

// What two persons have approved is not begun while it does not hold, and is gone on with
// once it does; what does not hold for long, or can not any more, is left out of it.
func TestApprovedPlanIsSuspended(t *testing.T) {
	says := "and are left out if they do not by "
	for name, c := range map[string]struct {
		change  func(s *engine.Snapshot)
		say     func(*engine.Decision)
		lasts   time.Duration
		held    string // while it does not hold
		at, end int    // how many moves were begun: while it does not hold, and in the end
	}{
		"a vCenter is silent for a moment": {silent, nil, time.Minute, says, 1, 3},
		"a vCenter is silent for long":     {silent, nil, 6 * time.Minute, "no such hold", 1, 1},
		"hosts are full for a moment":      {full, nil, time.Minute, says, 1, 3},
		"one VM is not seen": {func(s *engine.Snapshot) {
			s.Gaps = append(s.Gaps, engine.Gap{Subject: engine.Subject{Kind: "vm", ID: "vm2"}, Reason: "no load"})
		}, nil, 2 * time.Minute, "begin 1 of the ", 2, 3},
		"one VM goes elsewhere":     {func(s *engine.Snapshot) { s.VMs[1].Host = 1 }, nil, 2 * time.Minute, "no such hold", 2, 2},
		"one VM is gone":            {func(s *engine.Snapshot) { s.VMs = append(s.VMs[:1], s.VMs[2:]...) }, nil, 2 * time.Minute, "no such hold", 2, 2},
		"nobody wants it any more":  {nil, func(*engine.Decision) {}, time.Minute, "no such hold", 1, 1},
		"who wants it is not heard": {nil, func(d *engine.Decision) { d.Failures = []engine.RuleFailure{{Error: "timeout"}} }, time.Minute, says, 1, 3},
		"what speaks for it is silent": {func(s *engine.Snapshot) {
			s.Gaps = append(s.Gaps, engine.Gap{Subject: engine.Subject{Kind: "feed", ID: "hazards"}, Reason: "timeout"})
		}, func(*engine.Decision) {}, time.Minute, says, 1, 3},
		"it is wanted more strongly": {nil, func(d *engine.Decision) {
			evacuate("a")(d)
			d.Evacuations[0].Deadline = engine.At(time.Now().Add(day * time.Second))
		}, time.Minute, "no such hold", 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, rails := calm(), Rails{Tiers: DefaultTiers(), Ramp: 10 * time.Minute, RampDemand: 5 * time.Minute} // one begins at once
				x.see(crowded(nil, "vm2", "vm3"))
				s := newScene(t, x, newBook(), rails, evacuate("a"))
				s.Sanity, s.ApprovalTTL = engine.Sanity{}, 5*time.Minute
				_ = s.with(t, func(ctx context.Context) {
					time.Sleep(time.Second)
					for _, who := range []string{"ann", "bob"} {
						if err := s.Approve(ctx, s.now().Pending.Hash, 3, who); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(30 * time.Second)
					x.see(crowded(c.change, "vm2", "vm3"))
					if c.say != nil {
						s.said.now(c.say)
					}
					time.Sleep(c.lasts + 15*time.Second) // a cycle has been, and a minute of the ramp
					if got := s.held(engine.HoldSuspended); !strings.Contains(got, c.held) {
						t.Errorf("held: %s", got)
					}
					time.Sleep(c.lasts)
					if n := len(moved(s.book)); n != c.at {
						t.Errorf("while it does not hold %d moves are begun, want %d", n, c.at)
					}
					x.see(crowded(nil, "vm2", "vm3"))
					s.said.now(evacuate("a"))
					time.Sleep(5 * time.Minute)
					if got := s.held(engine.HoldSuspended); !strings.HasPrefix(got, "no such hold") {
						t.Errorf("still held: %s", got)
					}
					if n := len(moved(s.book)); n != c.end {
						t.Errorf("in the end %d moves are begun, want %d", n, c.end)
					}
					if p := s.now().Pending; c.end < 3 && (p == nil || len(p.Plan.Evacuates()) != 1) {
						t.Errorf("what is left out is not offered anew: %+v", p)
					}
				})
				replayAll(t, s.book)
			})
		})
	}
}

// broken is a guard that cannot be evaluated for a while: that is a veto, for as long.
type broken struct {
	*word
	now atomic.Bool
}

func (p *broken) Deny(_ context.Context, _ engine.View, moves []engine.Action) (out []engine.Veto, err error) {
	for i := range moves {
		if p.now.Load() {
			out = append(out, engine.Veto{VM: moves[i].VM, To: moves[i].To.Host, Code: "policy_error", Reason: "timeout", Policy: "guard", Mode: engine.Enforce})
		}
	}
	return out, nil
}

// A guard that cannot be evaluated for a moment strikes nothing out of an approved plan.
func TestBrokenGuardSuspends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := calm()
		x.see(crowded(nil, "vm2", "vm3"))
		s := newScene(t, x, newBook(), Rails{Tiers: DefaultTiers(), Ramp: 10 * time.Minute, RampDemand: 5 * time.Minute}, evacuate("a"))
		guard := &broken{word: s.said}
		s.Policy = guard
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			for _, who := range []string{"ann", "bob"} {
				if err := s.Approve(ctx, s.now().Pending.Hash, 3, who); err != nil {
					t.Fatal(err)
				}
			}
			guard.now.Store(true)
			time.Sleep(3 * time.Minute)
			if n := len(moved(s.book)); n != 1 {
				t.Errorf("%d moves are begun beside a guard that cannot be asked", n)
			}
			guard.now.Store(false)
			time.Sleep(10 * time.Minute)
			if n := len(moved(s.book)); n != 3 {
				t.Errorf("%d moves are begun", n)
			}
		})
	})
}

// A plan that persons read stays while what is wrong with it may pass, and is not
// approved meanwhile; what holds of the evacuation of a site may be.
func TestWaitingPlanStays(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *engine.Snapshot)
		lasts  time.Duration
		stays  bool
		why    string // why it cannot be approved meanwhile
		begun  int    // of three
	}{
		"a vCenter is silent for a moment": {silent, time.Minute, true, "cannot be approved now: nothing of it holds: c1a-1: move vm1", 3},
		"a vCenter is silent for long":     {silent, 5 * time.Minute, false, "no such plan", 0},
		"one VM is not seen": {func(s *engine.Snapshot) {
			s.Gaps = append(s.Gaps, engine.Gap{Subject: engine.Subject{Kind: "vm", ID: "vm2"}, Reason: "no load"})
		}, 5 * time.Minute, true, "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := calm()
				x.see(crowded(nil, "vm2", "vm3"))
				s := newScene(t, x, newBook(), Rails{Tiers: DefaultTiers()}, evacuate("a"))
				s.Sanity = engine.Sanity{}
				_ = s.with(t, func(ctx context.Context) {
					time.Sleep(time.Second)
					first := s.now().Pending
					if err := s.Approve(ctx, first.Hash, 3, "ann"); err != nil {
						t.Fatal(err)
					}
					x.see(crowded(c.change, "vm2", "vm3"))
					time.Sleep(c.lasts)
					p := s.now().Pending
					if is := p != nil && p.Hash == first.Hash; is != c.stays {
						t.Fatalf("waits: %+v", p)
					}
					if p != nil && p.Doubt == "" {
						t.Error("nobody is told that it does not hold")
					}
					switch err := s.Approve(ctx, first.Hash, 3, "bob"); {
					case c.why == "" && err != nil:
						t.Error(err)
					case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
						t.Errorf("approved: %v", err)
					}
					time.Sleep(20 * time.Second)
					if moved(s.book)["vm2"] {
						t.Error("what does not hold is begun")
					}
					x.see(crowded(nil, "vm2", "vm3"))
					time.Sleep(time.Minute)
					if c.why != "" && c.stays {
						if p = s.now().Pending; p == nil || p.Doubt != "" {
							t.Fatalf("once it holds waits: %+v", p)
						}
						if err := s.Approve(ctx, first.Hash, 3, "bob"); err != nil {
							t.Error(err)
						}
					}
					time.Sleep(2 * time.Minute)
					if n := len(moved(s.book)); n != c.begun {
						t.Errorf("%d moves are begun", n)
					}
				})
			})
		})
	}
}

// A vCenter that cannot be asked when a move is about to be called costs the plan nothing,
// though it was the last of its moves.
func TestCallIsPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := calm()
		s := newScene(t, x, newBook(), Rails{Tiers: DefaultTiers()}, evacuate("a"))
		_ = s.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			x.deaf.Store(true)
			for _, who := range []string{"ann", "bob"} {
				if err := s.Approve(ctx, s.now().Pending.Hash, 1, who); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(3 * time.Minute)
			if n := len(moved(s.book)); n > 0 || s.now().Pending != nil {
				t.Errorf("%d moves are begun, waits: %+v", n, s.now().Pending)
			}
			x.deaf.Store(false)
			time.Sleep(time.Minute)
			if n := len(moved(s.book)); n != 1 {
				t.Errorf("%d moves are begun", n)
			}
		})
	})
}
