package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// one carries out one move in the world that prepare makes, and returns its end.
func one(t *testing.T, prepare func(*world)) (w *world, kinds string, end engine.ActionRecord) {
	t.Helper()
	w, m := newWorld(), &memory{}
	w.host["vm1"] = "va/h1"
	prepare(w)
	e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
	e.Configure(Config{Check: true})
	e.Observe(&engine.Snapshot{})
	e.Offer(t.Context(), "enforce", &engine.Plan{Actions: []engine.Action{move(1, "vm1")}})
	if err := drive(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	kinds, _, end = m.records(t)
	time.Sleep(w.took) // what others have started
	return w, kinds, end
}

// An account that may not end sessions does not keep an action open for ever, and
// what nobody can tell becomes a person's business.
func TestSessionThatCannotBeEnded(t *testing.T) {
	for name, c := range map[string]struct {
		fault  func(*world)
		state  engine.ActionState
		starts int
	}{
		"arrived, answer lost": {func(w *world) { w.dropReply = true }, engine.StateSucceeded, 1},
		"arrives late":         {func(w *world) { w.late = 6 * time.Minute }, engine.StateSucceeded, 1},
		"never arrives":        {func(w *world) { w.dropRequest = true }, engine.StateLost, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				w, _, end := one(t, func(w *world) { c.fault(w); w.noEnd = true })
				if end.State != c.state || w.starts["vm1"] != c.starts {
					t.Errorf("ended %s (%s) after %d starts", end.State, end.Error, w.starts["vm1"])
				}
				if took := time.Since(began); took > lateWindow+5*time.Minute {
					t.Errorf("took %v", took)
				}
				if c.state == engine.StateLost && !strings.Contains(end.Error, "may still arrive: NoPermission") {
					t.Errorf("the reason says %q", end.Error)
				}
			})
		})
	}
}

// A call that was not answered is told by a task of its own: not by an older one,
// though clocks differ, and not by one that somebody else started.
func TestAdoptsItsOwnTaskOnly(t *testing.T) {
	for name, alter := range map[string]func(*Task){
		"older":        func(k *Task) { k.Start -= 30 },
		"another's":    func(k *Task) { k.Ours = false },
		"of its disks": func(k *Task) { k.Method = "VirtualMachine.reconfigure" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, kinds, end := one(t, func(w *world) {
					w.dropRequest, w.took = true, 0
					a := move(1, "vm1")
					a.To = a.From
					w.begin(&a) // it ends where it began
					time.Sleep(time.Millisecond)
					synctest.Wait()
					alter(&w.tasks["va/task-1"].Task)
				})
				if end.State != engine.StateStale || kinds != "intent ended " {
					t.Errorf("ended %s (%s), journal %s", end.State, end.Error, kinds)
				}
			})
		})
	}
}

// Who moves the VM while a call is in doubt is waited for, and not taken for us.
func TestForeignMoveWhileInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, kinds, end := one(t, func(w *world) {
			w.dropRequest = true
			time.AfterFunc(10*time.Second, func() {
				a := move(1, "vm1")
				a.ID, a.To.Host = "", "va/h7"
				w.begin(&a)
			})
		})
		if end.State != engine.StateStale || !strings.Contains(end.Error, "va/h7") || kinds != "intent ended " {
			t.Errorf("ended %s (%s), journal %s", end.State, end.Error, kinds)
		}
	})
}

func TestAnsweredByATaskThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, kinds, end := one(t, func(w *world) { w.busy = true })
		if end.State != engine.StateStale || end.Code != engine.HoldBusy || kinds != "intent ended " {
			t.Errorf("somebody else's: ended %s %s (%s), journal %s", end.State, end.Code, end.Error, kinds)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, kinds, end := one(t, func(w *world) { w.busy, w.twice = true, true })
		if end.State != engine.StateSucceeded || w.starts["vm1"] != 1 || kinds != "intent task ended " {
			t.Errorf("its own: ended %s (%s), journal %s", end.State, end.Error, kinds)
		}
	})
}

// What the world says immediately before the call ends an action without one.
func TestRevalidation(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*world)
		state   engine.ActionState
		code    engine.HoldCode
		says    string
	}{
		"the server's check": {func(w *world) { w.checked = fmt.Errorf("CpuIncompatible: %w", ErrRejected) }, engine.StateRejected, engine.HoldCompat, "CpuIncompatible"},
		"checked as busy":    {func(w *world) { w.checked = ErrBusy }, engine.StateStale, engine.HoldBusy, "a task runs"},
		"check not answered": {func(w *world) { w.checked = errLost }, engine.StateStale, "", "connection reset"},
		"a task of another": {func(w *world) {
			a := move(1, "vm1")
			a.ID = ""
			w.begin(&a)
		}, engine.StateStale, engine.HoldBusy, "not as planned"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, kinds, end := one(t, c.prepare)
				if end.State != c.state || end.Code != c.code || !strings.Contains(end.Error, c.says) || kinds != "ended " {
					t.Errorf("ended %s %q (%s), journal %s", end.State, end.Code, end.Error, kinds)
				}
			})
		})
	}
}

// slow is a world in which each look takes a while.
type slow struct {
	*world
	look time.Duration
}

func (s *slow) Look(ctx context.Context, a *engine.Action) (Sight, error) {
	time.Sleep(s.look)
	return s.world.Look(ctx, a)
}

// A plan is acted on until it is dropped, and while it is young: those who wait in
// line for their call no longer make it.
func TestStalePlanIsNeverCalled(t *testing.T) {
	for name, c := range map[string]struct {
		stop func(context.Context, *Executor)
		says string
	}{
		"dropped":  {func(_ context.Context, e *Executor) { e.Drop("enforce") }, "was dropped"},
		"replaced": {func(ctx context.Context, e *Executor) { e.Offer(ctx, "enforce", &engine.Plan{}); time.Sleep(time.Hour) }, "of at most"},
		"aged":     {func(context.Context, *Executor) { time.Sleep(time.Hour) }, "of at most"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m := newWorld(), &memory{}
				w.host["vm1"], w.host["vm2"] = "va/h1", "va/h1"
				e := New(&slow{w, 20 * time.Minute}, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
				e.Configure(Config{MaxPlanAge: 15 * time.Minute})
				e.Observe(&engine.Snapshot{})
				e.Offer(t.Context(), "enforce", &engine.Plan{At: engine.At(time.Now()), Actions: []engine.Action{move(1, "vm1"), move(2, "vm2")}})
				c.stop(t.Context(), e)
				if err := drive(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				for _, r := range e.Ended() {
					if r.State != engine.StateStale || !strings.Contains(r.Error, c.says) {
						t.Errorf("%s ended %s: %s", r.Action.ID, r.State, r.Error)
					}
				}
				if len(w.starts) != 0 {
					t.Errorf("called: %v", w.starts)
				}
			})
		})
	}
}

// A plan of which nothing is left to start is forgotten while its last actions wait
// for their calls: they make them.
func TestForgottenPlanIsCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		w.host["vm1"] = "va/h1"
		e := New(&slow{w, time.Second}, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
		e.Configure(Config{MaxPlanAge: 15 * time.Minute})
		e.Observe(&engine.Snapshot{})
		e.Offer(t.Context(), "approved", &engine.Plan{At: engine.At(time.Now()), Actions: []engine.Action{move(1, "vm1")}})
		w.mu.Lock()
		called := len(w.starts)
		w.mu.Unlock()
		if rest := e.Rest("approved"); len(rest.Actions) != 0 || called != 0 {
			t.Fatalf("%d actions are left to start, %d were called", len(rest.Actions), called)
		}
		e.Forget("approved")
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if ended := e.Ended(); len(ended) != 1 || ended[0].State != engine.StateSucceeded || w.starts["vm1"] != 1 || e.Rest("approved") != nil {
			t.Errorf("called: %v; ended: %+v", w.starts, ended)
		}
	})
}

// What is queued in a plan that has grown old starts once the plan is found to
// be right again.
func TestRenewedPlanGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		w.host["vm1"] = "va/h1"
		e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
		e.Configure(DefaultConfig())
		e.Observe(&engine.Snapshot{})
		e.Offer(t.Context(), "approved", &engine.Plan{At: engine.At(time.Now().Add(-time.Hour)), Actions: []engine.Action{move(1, "vm1")}})
		if len(e.Open()) != 0 {
			t.Error("an old plan is acted on")
		}
		e.Renew(t.Context(), "approved", engine.At(time.Now()))
		if err := drive(t.Context(), e); err != nil || w.starts["vm1"] != 1 {
			t.Errorf("started %d times: %v", w.starts["vm1"], err)
		}
	})
}

func TestHealthAfterAMove(t *testing.T) {
	well := Health{Connected: true, On: true, Tools: true, Heartbeat: 2}
	for name, c := range map[string]struct {
		before, after Health
		says          string
	}{
		"as before":        {well, well, ""},
		"never had tools":  {Health{Connected: true, On: true}, Health{Connected: true, On: true}, ""},
		"better":           {Health{Connected: true, On: true}, well, ""},
		"off":              {well, Health{Connected: true, Tools: true, Heartbeat: 2}, "not powered on"},
		"disconnected":     {well, Health{On: true, Tools: true, Heartbeat: 2}, "disconnected"},
		"no tools":         {well, Health{Connected: true, On: true, Heartbeat: 2}, "tools"},
		"heartbeat missed": {well, Health{Connected: true, On: true, Tools: true, Heartbeat: 1}, "heartbeat"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m, g := newWorld(), &memory{}, &counting{}
				w.host["vm1"] = "va/h1"
				w.health = func(after bool) Health {
					if after {
						return c.after
					}
					return c.before
				}
				e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
				e.Configure(DefaultConfig())
				e.Guard(g)
				e.Observe(&engine.Snapshot{})
				e.Offer(t.Context(), "enforce", &engine.Plan{At: engine.At(time.Now()), Actions: []engine.Action{move(1, "vm1")}})
				if err := drive(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				for len(e.Reports()) > 0 {
					if err := e.Handle(t.Context(), <-e.Reports()); err != nil {
						t.Fatal(err)
					}
				}
				var rec engine.HealthRecord
				last := m.entries[len(m.entries)-1]
				if err := json.Unmarshal(last.Data, &rec); err != nil || last.Kind != engine.EntryHealth {
					t.Fatalf("the last entry is %s: %v", last.Kind, err)
				}
				if rec.Well != (c.says == "") || !strings.Contains(rec.Detail, c.says) || rec.Action != "c1-1" || rec.Host != "va/h2" {
					t.Errorf("journaled: %+v", rec)
				}
				if bad := g.ended[len(g.ended)-1].State == engine.StateFailed; bad == rec.Well {
					t.Errorf("the gate was told %d times, last %+v", len(g.ended), g.ended[len(g.ended)-1])
				}
			})
		})
	}
}

// A crash between a move and the look at its VM leaves no move without a verdict:
// the next process looks, or says that nobody knows.
func TestHealthAfterACrash(t *testing.T) {
	for name, c := range map[string]struct {
		down    time.Duration
		health  Health
		moved   bool // by somebody else, while the daemon was away
		well    bool
		unknown bool
		says    string
	}{
		"back at once":        {time.Second, Health{Connected: true, On: true}, false, true, false, ""},
		"back before the end": {90 * time.Second, Health{Connected: true, On: true}, false, true, false, ""},
		"and it is off":       {time.Second, Health{Connected: true}, false, false, false, "not powered on"},
		"back too late":       {time.Hour, Health{Connected: true, On: true}, false, false, true, "nobody looked"},
		"moved on":            {time.Second, Health{Connected: true, On: true}, true, false, true, "moved it on"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, die := context.WithCancel(t.Context())
				w, m := newWorld(), &memory{}
				w.host["vm1"] = "va/h1"
				w.health = func(bool) Health { return c.health }
				first := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
				first.Configure(DefaultConfig())
				first.Observe(&engine.Snapshot{})
				first.Offer(ctx, "enforce", &engine.Plan{At: engine.At(time.Now()), Actions: []engine.Action{move(1, "vm1")}})
				if err := drive(ctx, first); err != nil {
					t.Fatal(err)
				}
				die()
				synctest.Wait()
				_, _, moved := m.records(t)
				if !Observed(&moved) || m.entries[len(m.entries)-1].Kind != engine.EntryEnded {
					t.Fatalf("the crash left %+v", moved)
				}
				time.Sleep(c.down)
				if c.moved {
					w.host["vm1"] = "va/h7"
				}
				next := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
				next.Configure(DefaultConfig())
				next.LookAgain(t.Context(), []engine.ActionRecord{moved})
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				var rec engine.HealthRecord
				last := m.entries[len(m.entries)-1]
				if err := json.Unmarshal(last.Data, &rec); err != nil || last.Kind != engine.EntryHealth {
					t.Fatalf("the last entry is %s: %v", last.Kind, err)
				}
				if rec.Well != c.well || rec.Unknown != c.unknown || !strings.Contains(rec.Detail, c.says) || rec.Action != "c1-1" {
					t.Errorf("journaled: %+v", rec)
				}
				if unwell := len(next.Reports()) == 1; unwell != (!c.well && !c.unknown) {
					t.Errorf("told the loop %d times", len(next.Reports()))
				}
			})
		})
	}
}

// counting is an open gate that remembers what it was told.
type counting struct {
	open
	ended []engine.ActionRecord
}

func (c *counting) Ended(r *engine.ActionRecord) { c.ended = append(c.ended, *r) }

// What depends on an action that did not end well does not start, however it
// ended; all else goes on.
func TestPlanWithFailures(t *testing.T) {
	//	1 -> 3 -> 5
	//	2 -> 4      4 also needs 1
	//	6
	plan := func() []engine.Action {
		return []engine.Action{move(1, "vm1"), move(2, "vm2"), move(3, "vm3", 0), move(4, "vm4", 0, 1), move(5, "vm5", 2), move(6, "vm6")}
	}
	for _, c := range []struct {
		fails  engine.VMID
		moved  string
		orphan string // never started, and no longer queued
	}{
		{"", "vm1 vm2 vm3 vm4 vm5 vm6", ""},
		{"vm1", "vm2 vm6", "vm3 vm4 vm5"},
		{"vm2", "vm1 vm3 vm5 vm6", "vm4"},
		{"vm3", "vm1 vm2 vm4 vm6", "vm5"},
		{"vm6", "vm1 vm2 vm3 vm4 vm5", ""},
	} {
		for how, spoil := range map[string]func(*world){
			"fails":       func(w *world) { w.fails = c.fails },
			"is rejected": func(w *world) { w.rejects = c.fails },
			"is stale":    func(w *world) { w.host[c.fails] = "va/h7" },
		} {
			t.Run(string(c.fails)+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, m := newWorld(), &memory{}
					for i := range plan() {
						w.host[plan()[i].VM] = "va/h1"
					}
					spoil(w)
					e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
					e.Observe(&engine.Snapshot{})
					e.Offer(t.Context(), "enforce", &engine.Plan{Actions: plan()})
					if err := drive(t.Context(), e); err != nil {
						t.Fatal(err)
					}
					var moved, orphans []string
					for _, a := range plan() {
						switch {
						case w.host[a.VM] == "va/h2":
							moved = append(moved, string(a.VM))
						case a.VM != c.fails:
							orphans = append(orphans, string(a.VM))
						}
					}
					if got := strings.Join(moved, " "); got != c.moved {
						t.Errorf("moved %s", got)
					}
					if got := strings.Join(orphans, " "); got != c.orphan || len(e.Rest("enforce").Actions) != 0 {
						t.Errorf("orphans %s, still queued %d", got, len(e.Rest("enforce").Actions))
					}
					// The next plan has what is left.
					w.fails, w.rejects = "", ""
					var again []engine.Action
					for _, vm := range orphans {
						again = append(again, move(len(again)+10, engine.VMID(vm)))
					}
					e.Offer(t.Context(), "enforce", &engine.Plan{Actions: again})
					if err := drive(t.Context(), e); err != nil {
						t.Fatal(err)
					}
					for _, vm := range orphans {
						if w.host[engine.VMID(vm)] != "va/h2" {
							t.Errorf("%s is not moved by the next plan", vm)
						}
					}
				})
			})
		}
	}
}

// What is struck out of a plan is not called, nor what depends on it; the rest is.
func TestStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		e := start(t.Context(), w, m)
		for i := range 4 {
			w.host[engine.VMID(fmt.Sprint("vm", i))] = "va/h1"
		}
		e.Offer(t.Context(), "enforce", &engine.Plan{Actions: []engine.Action{move(0, "vm0"), move(1, "vm1", 0), move(2, "vm2", 1), move(3, "vm3", 0)}})
		e.Strike("enforce", func(a *engine.Action) bool { return a.VM == "vm1" })
		e.Strike("another", func(*engine.Action) bool { return true })
		if rest := e.Rest("enforce"); len(rest.Actions) != 1 || rest.Actions[0].VM != "vm3" {
			t.Errorf("left: %v", rest.Actions)
		}
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		for vm, at := range map[engine.VMID]engine.HostID{"vm0": "va/h2", "vm1": "va/h1", "vm2": "va/h1", "vm3": "va/h2"} {
			if w.host[vm] != at {
				t.Errorf("%s is at %s", vm, w.host[vm])
			}
		}
	})
}

// What cannot be called for a reason that may pass goes back to a plan that is not made
// anew, as if it had never been begun; it and what is held wait for Hold, and it comes
// back only so often.
func TestPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		for i := range 3 {
			w.host[engine.VMID(fmt.Sprint("vm", i))] = "va/h1"
		}
		w.checked = errLost
		e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
		e.Configure(Config{Check: true})
		e.Observe(&engine.Snapshot{})
		turn := func(held engine.VMID) {
			t.Helper()
			e.Hold("approved", func(a *engine.Action) bool { return a.VM == held })
			e.Renew(t.Context(), "approved", engine.At(time.Now()))
			if err := drive(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		e.Entrust(t.Context(), "approved", &engine.Plan{Actions: []engine.Action{move(0, "vm0"), move(1, "vm1", 0), move(2, "vm2")}}, func(a *engine.Action) bool { return a.VM == "vm2" })
		if !e.InHand("approved") {
			t.Error("nothing is in hand")
		}
		for range 3 {
			turn("vm2")
		}
		if rest := e.Rest("approved"); len(rest.Actions) != 3 || len(rest.Actions[1].After) != 1 || len(m.entries) > 0 || len(e.Ended()) > 0 {
			t.Errorf("left: %v, %d entries", rest.Actions, len(m.entries))
		}
		w.checked = nil
		turn("vm2")
		if w.host["vm0"] != "va/h2" || w.host["vm1"] != "va/h2" || w.host["vm2"] != "va/h1" {
			t.Errorf("then: %v", w.host)
		}
		w.checked = errLost
		for range mostTries + 1 {
			if rest := e.Rest("approved"); len(rest.Actions) != 1 {
				t.Fatalf("left: %v", rest.Actions)
			}
			turn("")
		}
		if ended := e.Ended(); len(e.Rest("approved").Actions) > 0 || len(ended) != 3 || ended[2].State != engine.StateStale {
			t.Errorf("ended: %v", ended)
		}
	})
}
