package cycle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
	"heliostat/engine/execute"
)

// crowd is an actuator for many VMs: each call takes a tenth of a second, each
// task a minute.
type crowd struct {
	fleet
	mu    sync.Mutex
	calls []time.Time
	fail  bool
	slow  time.Duration // how long a task takes; 0 a minute
	deaf  atomic.Bool   // it does not answer
}

func (c *crowd) Look(context.Context, *engine.Action) (execute.Sight, error) {
	if c.deaf.Load() {
		return execute.Sight{}, errors.New("connection refused")
	}
	return execute.Sight{Exists: true, Source: true, Arrived: !c.fail}, nil
}

func (c *crowd) Submit(ctx context.Context, _ string, _ *engine.Action) (string, error) {
	c.mu.Lock()
	c.calls = append(c.calls, time.Now())
	key := fmt.Sprintf("v/task-%d", len(c.calls))
	c.mu.Unlock()
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
	return key, ctx.Err()
}

func (c *crowd) Wait(ctx context.Context, key string, _ func(int32)) (execute.Task, error) {
	select {
	case <-time.After(cmp.Or(c.slow, time.Minute)):
	case <-ctx.Done():
		return execute.Task{}, ctx.Err()
	}
	if c.fail {
		return execute.Task{Key: key, State: "error", Error: "no space"}, nil
	}
	return execute.Task{Key: key, State: "success"}, nil
}

// made is when calls were made.
func (c *crowd) made() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Time(nil), c.calls...)
}

// load is n moves of VMs that the fleet does not have.
func load(n int, vc engine.VCenterID, demand engine.Subject) *engine.Plan {
	p := &engine.Plan{}
	for i := range int32(n) {
		name := fmt.Sprintf("%s-%03d", vc, i)
		p.Actions = append(p.Actions, engine.Action{
			ID: "c0-" + name, Kind: engine.Move, VM: engine.VMID(name), Name: name, Rank: i, Demand: demand,
			From: engine.Place{VCenter: vc, Host: "x/a"}, To: engine.Place{VCenter: vc, Host: "x/b"},
		})
	}
	return p
}

// railed is a loop on rails whose policies want nothing. Give it a load with offer.
func railed(t *testing.T, c *crowd, b *book, rails Rails, killFile string) *rig {
	t.Helper()
	r := newRig(t, &c.fleet, b, engine.Off)
	l := Loop{
		Collector: &c.fleet, Policy: r.said, Executor: execute.New(c, b, r.Config.Limits, slog.New(slog.DiscardHandler)), Journal: b, Config: r.Config, Schedule: r.Schedule,
		MinGap: r.MinGap, ApprovalTTL: r.ApprovalTTL, Log: r.Log, Publish: r.Publish, Rails: rails, KillFile: killFile,
	}
	r.Loop = New(l)
	m, err := Remember(b)
	if err != nil {
		t.Fatal(err)
	}
	r.Restore(t.Context(), m)
	return r
}

func (r *rig) offer(ctx context.Context, t *testing.T, name string, p *engine.Plan) {
	t.Helper()
	if err := r.ask(ctx, func(ctx context.Context) error { r.Executor.Offer(ctx, name, p); return nil }); err != nil {
		t.Error(err)
	}
}

func TestKillFileStopsWithinASecondUnderLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stop")
	synctest.Test(t, func(t *testing.T) {
		c, b := &crowd{fleet: fleet{host: "v/h0"}}, newBook()
		r := railed(t, c, b, Rails{}, file)
		var at time.Time
		_ = r.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			r.offer(ctx, t, "load", load(200, "v", engine.Subject{}))
			time.Sleep(5 * time.Second)
			at = time.Now()
			write(t, file)
			time.Sleep(time.Second)
			if p := r.now().Paused; p == nil || p.Who != killWho || p.Reason != file+" is there" {
				t.Errorf("a second later paused is %+v", p)
			}
			if err := r.Resume(ctx, "ann"); err == nil || !strings.Contains(err.Error(), "is there: remove it first") {
				t.Errorf("resume while it is there: %v", err)
			}
			time.Sleep(5 * time.Minute)
		})
		made := c.made()
		if n := len(made); n < 20 || n > 100 {
			t.Errorf("%d of 200 calls were made", n)
		}
		if last := made[len(made)-1]; last.After(at.Add(time.Second)) {
			t.Errorf("a call %v after the file appeared", last.Sub(at))
		}
		if n := len(r.Executor.Open()); n != 0 {
			t.Errorf("%d actions do not end", n)
		}
		// It is latched: neither a restart nor the file's end lets anything start.
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		r = railed(t, c, b, Rails{}, file)
		_ = r.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			r.offer(ctx, t, "load", load(10, "v", engine.Subject{}))
			time.Sleep(time.Minute)
			if n := len(c.made()); n != len(made) {
				t.Errorf("%d calls after the restart", n-len(made))
			}
			if err := r.Resume(ctx, "ann"); err != nil {
				t.Error(err)
			}
			r.offer(ctx, t, "load", load(10, "v", engine.Subject{}))
			time.Sleep(time.Minute)
			if n := len(c.made()); n != len(made)+10 {
				t.Errorf("%d calls after the resume", n-len(made))
			}
		})
		// One that is there at the start is seen before anything else.
		write(t, file)
		r = railed(t, c, b, Rails{}, file)
		_ = r.with(t, func(context.Context) { synctest.Wait() })
		if m, err := Remember(b); err != nil || m.Paused == nil || m.Paused.Who != killWho {
			t.Errorf("paused at the start: %+v, %v", m.Paused, err)
		}
	})
}

func write(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A kill file that nobody may look for counts as there.
func TestUnreadableKillFileStops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	write(t, file)
	if why := killed(filepath.Join(file, "stop")); !strings.HasPrefix(why, "cannot tell whether the kill file is there") {
		t.Errorf("below a file: %q", why)
	}
	if why := killed(filepath.Join(t.TempDir(), "run", "stop")); why != "" {
		t.Errorf("in no folder: %q", why)
	}
}

func TestRampAfterStartAndResume(t *testing.T) {
	for name, c := range map[string]struct {
		demand engine.Subject
		want   []int // calls by minute
	}{
		"wishes":  {engine.Subject{}, []int{1, 2, 4, 8, 16, 32, 64}},
		"demands": {engine.Subject{Kind: "site", ID: "a"}, []int{1, 2, 4, 8, 16, 119}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, b := &crowd{fleet: fleet{host: "v/h0"}}, newBook()
				r := railed(t, w, b, Rails{Ramp: 10 * time.Minute, RampDemand: 5 * time.Minute}, "")
				_ = r.with(t, func(ctx context.Context) {
					synctest.Wait() // the first cycle has been
					for range 2 {
						before, began := len(w.made()), time.Now()
						r.offer(ctx, t, "load", load(150, "v", c.demand))
						time.Sleep(time.Minute)
						if h := r.now().Rails; len(h) != 1 || h[0].Code != engine.HoldRamp || !strings.Contains(h[0].Detail, "one action in the first minute") {
							t.Errorf("rails: %v", h)
						}
						time.Sleep(time.Duration(len(c.want)-1)*time.Minute - time.Second)
						got := make([]int, len(c.want)+1)
						for _, at := range w.made()[before:] {
							got[min(int(at.Sub(began)/time.Minute), len(c.want))]++
						}
						if want := append(append([]int(nil), c.want...), 0); fmt.Sprint(got) != fmt.Sprint(want) {
							t.Errorf("calls by minute %v, want %v", got, want)
						}
						if err := r.Pause(ctx, "ann", "again"); err != nil {
							t.Error(err)
						}
						time.Sleep(5 * time.Minute)
						if err := r.Resume(ctx, "ann"); err != nil {
							t.Error(err)
						}
					}
				})
			})
		})
	}
}

func TestBreaker(t *testing.T) {
	rails := DefaultRails()
	rails.Ramp = 0
	synctest.Test(t, func(t *testing.T) {
		w, b := &crowd{fleet: fleet{host: "v/h0"}, fail: true}, newBook()
		r := railed(t, w, b, rails, "")
		_ = r.with(t, func(ctx context.Context) {
			calls := func() int { time.Sleep(5 * time.Minute); return len(w.made()) }
			time.Sleep(time.Second)
			r.offer(ctx, t, "load", load(2, "v", engine.Subject{}))
			if n := calls(); n != 2 {
				t.Errorf("%d calls", n)
			}
			if in := lastInput(t, b); len(in.Broken) != 1 || in.Broken[0].Code != engine.HoldBreaker {
				t.Errorf("the planner hears of %v", in.Broken)
			}
			h := r.now().Rails
			if len(h) != 1 || h[0].Code != engine.HoldBreaker || h[0].Name != "v" || !strings.Contains(h[0].Detail, "2 of the first 2 actions ended badly, the last one c0-v-001: no space; until ") {
				t.Fatalf("rails: %v", h)
			}
			r.offer(ctx, t, "load", load(9, "v", engine.Subject{}))
			r.offer(ctx, t, "other", load(1, "w", engine.Subject{})) // another vCenter
			if n := calls(); n != 3 {
				t.Errorf("%d calls with an open breaker, want 3", n)
			}
			time.Sleep(rails.BreakerRest)
			r.offer(ctx, t, "load", load(9, "v", engine.Subject{}))
			if n := calls(); n <= 3 {
				t.Error("no calls after its rest")
			}
			n := len(w.made())
			r.offer(ctx, t, "load", load(9, "v", engine.Subject{}))
			if calls() != n {
				t.Error("it did not open again")
			}
			if err := r.Resume(ctx, "ann"); err != nil {
				t.Error(err)
			}
			r.offer(ctx, t, "load", load(1, "v", engine.Subject{}))
			if calls() != n+1 {
				t.Error("a resume does not close it")
			}
		})
	})
}

// lastInput is what the last plan was made from.
func lastInput(t *testing.T, b *book) engine.Input {
	t.Helper()
	var rec engine.InputRecord
	for e := range b.Entries(1) {
		if e.Kind == engine.EntryInput {
			if err := json.Unmarshal(e.Data, &rec); err != nil {
				t.Fatal(err)
			}
		}
	}
	in, err := ReadInput(b, rec)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// Counted over the first 5 and the last 100.
func TestBreakerJudges(t *testing.T) {
	for name, c := range map[string]struct {
		ended string // . well, x badly
		n     int    // so often
		at    int    // opens with this one; 0 never
	}{
		"two of five":          {"...xx", 1, 5},
		"one of five, then on": {"x....x", 1, 0},
		"one in twenty":        {"..................x.", 20, 0},
		"one in ten":           {"......x...", 20, 57},
		"six late":             {strings.Repeat(".", 300) + "xxxxxx", 1, 306},
	} {
		g := &gate{rails: DefaultRails()}
		at := 0
		for i, x := range strings.Repeat(c.ended, c.n) {
			rec := engine.ActionRecord{State: engine.StateSucceeded}
			if x == 'x' {
				rec.State = engine.StateFailed
			}
			g.Ended(&rec)
			g.Ended(&engine.ActionRecord{State: engine.StateStale}) // says nothing
			if at == 0 && g.broken(&rec.Action, engine.At(time.Now())) != "" {
				at = i + 1
			}
		}
		if at != c.at {
			t.Errorf("%s: opens with action %d, want %d", name, at, c.at)
		}
	}
}
