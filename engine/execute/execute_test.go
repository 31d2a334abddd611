package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// world is a fleet of one-VM truths: where each VM is, and the tasks that ran.
// It can lose a request or an answer, and be slow.
type world struct {
	mu     sync.Mutex
	host   map[engine.VMID]engine.HostID
	tasks  map[string]*job
	order  []string
	starts map[engine.VMID]int
	ended  map[string]bool // sessions

	dropRequest, dropReply, reject, failTask bool

	checked error // what Check says
	busy    bool  // the call is answered by ErrBusy
	twice   bool  // the call arrives twice
	fails   engine.VMID
	rejects engine.VMID
	noEnd   bool // sessions are not ended
	health  func(after bool) Health
	late    time.Duration // the request arrives so much later
	took    time.Duration
}

type job struct {
	Task
	vm   engine.VMID
	done chan struct{}
}

var errLost = errors.New("connection reset")

func newWorld() *world {
	return &world{host: map[engine.VMID]engine.HostID{}, tasks: map[string]*job{}, starts: map[engine.VMID]int{}, ended: map[string]bool{}, took: time.Minute}
}

func (w *world) Session(context.Context, *engine.Action) (string, engine.Unix, error) {
	return "s1", engine.At(time.Now()), nil
}

func (w *world) Check(context.Context, *engine.Action) error { return w.checked }

func (w *world) EndSession(_ context.Context, _ engine.VCenterID, key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noEnd {
		return fmt.Errorf("NoPermission: %w", ErrNotEnded)
	}
	w.ended[key] = true
	return nil
}

func (w *world) Look(_ context.Context, a *engine.Action) (Sight, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.host[a.VM]
	s := Sight{Exists: true, Arrived: at == a.To.Host, Detail: "it is on " + string(at)}
	for _, j := range w.tasks {
		if j.vm == a.VM && j.Running() {
			s.Busy, s.Task = true, j.Task
		}
	}
	s.Source = at == a.From.Host && !s.Busy
	if w.health != nil {
		s.Health = w.health(s.Arrived)
	}
	if s.Busy {
		s.Code = engine.HoldBusy
	}
	return s, nil
}

func (w *world) Submit(ctx context.Context, _ string, a *engine.Action) (string, error) {
	switch {
	case w.reject, w.rejects == a.VM:
		return "", fmt.Errorf("InvalidState: %w", ErrRejected)
	case w.busy:
		if w.twice {
			w.begin(a)
		}
		return "", fmt.Errorf("TaskInProgress: %w", ErrBusy)
	case w.dropRequest:
		return "", errLost
	case w.late > 0:
		go func() {
			time.Sleep(w.late)
			w.mu.Lock()
			open := !w.ended["s1"]
			w.mu.Unlock()
			if open {
				w.begin(a)
			}
		}()
		return "", errLost
	}
	key := w.begin(a)
	if w.dropReply {
		return "", errLost
	}
	return key, ctx.Err()
}

// begin starts a task: somebody else's, when the action has no ID.
func (w *world) begin(a *engine.Action) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starts[a.VM]++
	key := fmt.Sprintf("va/task-%d", len(w.order)+1)
	j := &job{vm: a.VM, done: make(chan struct{}), Task: Task{Key: key, Method: "VirtualMachine.relocate", Ours: a.ID != "", State: "running", Start: engine.At(time.Now())}}
	w.tasks[key] = j
	w.order = append(w.order, key)
	vm, to := a.VM, a.To.Host
	go func() {
		time.Sleep(w.took)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.failTask || w.fails == vm {
			j.State, j.Error = "error", "no space"
		} else {
			j.State = "success"
			w.host[vm] = to
		}
		close(j.done)
	}()
	return key
}

func (w *world) Wait(ctx context.Context, task string, progress func(int32)) (Task, error) {
	w.mu.Lock()
	j := w.tasks[task]
	w.mu.Unlock()
	progress(50)
	select {
	case <-j.done:
		w.mu.Lock()
		defer w.mu.Unlock()
		return j.Task, nil
	case <-ctx.Done():
		return Task{}, ctx.Err()
	}
}

func (w *world) Tasks(_ context.Context, a *engine.Action, since engine.Unix) ([]Task, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Task
	for _, k := range w.order {
		if j := w.tasks[k]; j.vm == a.VM && j.Start >= since {
			out = append(out, j.Task)
		}
	}
	return out, nil
}

func (w *world) Mark(context.Context, *engine.Action, string) error { return nil }

// memory is a journal that can crash the process after the n-th entry, or fail.
type memory struct {
	mu      sync.Mutex
	entries []engine.Entry
	crash   int // 0 never
	die     context.CancelFunc
	err     error
}

func (m *memory) Append(_ context.Context, es ...engine.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.entries = append(m.entries, es...)
	if m.crash != 0 && len(m.entries) >= m.crash {
		m.die()
	}
	return nil
}

func (m *memory) records(t *testing.T) (kinds string, open []engine.ActionRecord, last engine.ActionRecord) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	state := map[string]engine.ActionRecord{}
	for _, e := range m.entries {
		var r engine.ActionRecord
		if err := json.Unmarshal(e.Data, &r); err != nil {
			t.Fatal(err)
		}
		kinds += string(e.Kind) + " "
		state[r.Action.ID] = r
		last = r
	}
	for _, r := range state {
		if !r.State.Terminal() {
			open = append(open, r)
		}
	}
	return kinds, open, last
}

func move(n int, vm engine.VMID, after ...int32) engine.Action {
	return engine.Action{
		ID: fmt.Sprintf("c1-%d", n), Kind: engine.Move, VM: vm, Name: string(vm), Rank: int32(n), After: after,
		From: engine.Place{VCenter: "va", Cluster: "va/c", Host: "va/h1"}, To: engine.Place{VCenter: "va", Cluster: "va/c", Host: "va/h2"},
	}
}

// drive plays the loop: it hands reports to the executor until nothing is in
// flight or ctx ends.
func drive(ctx context.Context, e *Executor) error {
	for len(e.open) > 0 {
		select {
		case r := <-e.Reports():
			if err := e.Handle(ctx, r); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func start(ctx context.Context, w *world, m *memory, actions ...engine.Action) *Executor {
	for _, a := range actions {
		if a.Kind == engine.Move {
			w.host[a.VM] = a.From.Host
		}
	}
	e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
	e.Observe(&engine.Snapshot{})
	e.Offer(ctx, "enforce", &engine.Plan{Actions: actions})
	return e
}

// Did it happen, did we learn of it: in each case the call is made once at
// most, and the journal ends with the truth.
func TestFaultMatrix(t *testing.T) {
	for name, c := range map[string]struct {
		fault  func(*world)
		state  engine.ActionState
		starts int
		kinds  string
	}{
		"happened, learned":             {func(*world) {}, engine.StateSucceeded, 1, "intent task ended "},
		"happened, answer lost":         {func(w *world) { w.dropReply = true }, engine.StateSucceeded, 1, "intent task ended "},
		"happened and over, lost":       {func(w *world) { w.dropReply, w.took = true, time.Second }, engine.StateSucceeded, 1, "intent task ended "},
		"did not happen, not learned":   {func(w *world) { w.dropRequest = true }, engine.StateStale, 0, "intent ended "},
		"did not happen, learned":       {func(w *world) { w.reject = true }, engine.StateRejected, 0, "intent ended "},
		"late, bounced with session":    {func(w *world) { w.late = 10 * time.Second }, engine.StateStale, 0, "intent ended "},
		"happened, failed":              {func(w *world) { w.failTask = true }, engine.StateFailed, 1, "intent task ended "},
		"happened, failed, answer lost": {func(w *world) { w.failTask, w.dropReply = true, true }, engine.StateFailed, 1, "intent task ended "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m := newWorld(), &memory{}
				c.fault(w)
				e := start(t.Context(), w, m, move(1, "vm1"))
				if err := drive(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				kinds, open, last := m.records(t)
				if last.State != c.state || w.starts["vm1"] != c.starts || kinds != c.kinds || len(open) != 0 {
					t.Errorf("ended %s (%s) after %d starts, journal %s, open %d", last.State, last.Error, w.starts["vm1"], kinds, len(open))
				}
				if ended := e.Ended(); len(ended) != 1 || len(e.Ended()) != 0 {
					t.Errorf("ended actions are told %d times", len(ended))
				}
			})
		})
	}
}

// A crash after each durable step, with the answer learned or lost: the next
// process brings every action to its end without a second call.
func TestCrashAndRecover(t *testing.T) {
	for crash := 1; crash <= 2; crash++ {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("after entry %d, answer lost %t", crash, lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, die := context.WithCancel(t.Context())
					w, m := newWorld(), &memory{crash: crash, die: die}
					w.dropReply, w.took = lost, 5*time.Minute
					e := start(ctx, w, m, move(1, "vm1"))
					if err := drive(ctx, e); !errors.Is(err, context.Canceled) {
						t.Fatalf("the first process ended with %v", err)
					}
					synctest.Wait()
					_, open, _ := m.records(t)
					if len(open) != 1 {
						t.Fatalf("the crash left %d actions open", len(open))
					}
					m.crash = 0
					next := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
					next.Recover(t.Context(), open, nil)
					if got := next.Open(); len(got) != 1 || got[0].Action.ID != "c1-1" {
						t.Fatalf("adopted: %v", got)
					}
					if err := drive(t.Context(), next); err != nil {
						t.Fatal(err)
					}
					_, open, last := m.records(t)
					happened := w.starts["vm1"] == 1
					if len(open) != 0 || w.starts["vm1"] > 1 || (last.State == engine.StateSucceeded) != happened || (!happened && last.State != engine.StateStale) {
						t.Errorf("ended %s after %d starts, %d open", last.State, w.starts["vm1"], len(open))
					}
				})
			})
		}
	}
}

func TestDependentsOfAFailureDoNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		w.failTask = true
		standby := engine.Action{ID: "c1-3", Kind: engine.Standby, Rank: 3, After: []int32{0}, From: engine.Place{Host: "va/h1", Cluster: "va/c"}}
		e := start(t.Context(), w, m, move(1, "vm1"), move(2, "vm2"), standby)
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		kinds, _, _ := m.records(t)
		if strings.Count(kinds, "intent") != 2 || strings.Count(kinds, "ended") != 2 {
			t.Errorf("journal: %s", kinds)
		}
		if rest := e.Rest("enforce"); len(rest.Actions) != 0 {
			t.Errorf("still waiting: %v", rest.Actions)
		}
	})
}

func TestDependentsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		first, second := move(1, "vm1"), move(2, "vm2", 0)
		e := start(t.Context(), w, m, first, second)
		if len(e.Open()) != 1 {
			t.Fatalf("in flight: %v", e.Open())
		}
		if rest := e.Rest("enforce"); len(rest.Actions) != 1 || len(rest.Actions[0].After) != 0 {
			t.Errorf("the rest depends on what it does not contain: %+v", rest.Actions)
		}
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if w.host["vm2"] != "va/h2" {
			t.Error("the dependent never started")
		}
	})
}

func TestSlotsBindAndAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		s := &engine.Snapshot{Clusters: []engine.Cluster{{ID: "va/c"}}, Hosts: []engine.Host{{ID: "va/h1", NICMbps: 10_000}, {ID: "va/h2", NICMbps: 10_000}}}
		var actions []engine.Action
		for i := range 20 {
			a := move(i+1, engine.VMID(fmt.Sprintf("vm%02d", i)))
			w.host[a.VM] = a.From.Host
			actions = append(actions, a)
		}
		e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
		e.Observe(s)
		e.Offer(t.Context(), "enforce", &engine.Plan{Actions: actions})
		most := len(e.Open())
		for len(e.open) > 0 {
			if err := e.Handle(t.Context(), <-e.Reports()); err != nil {
				t.Fatal(err)
			}
			most = max(most, len(e.open))
		}
		if most != 8 || len(e.Ended()) != 20 {
			t.Errorf("at once %d, want 8", most)
		}
	})
}

func TestStaleIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		a := move(1, "vm1")
		e := New(w, m, engine.DefaultLimits(), slog.New(slog.DiscardHandler))
		e.Observe(&engine.Snapshot{})
		w.host["vm1"] = "va/h7" // somebody else moved it
		e.Offer(t.Context(), "enforce", &engine.Plan{Actions: []engine.Action{a}})
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		kinds, _, last := m.records(t)
		if kinds != "ended " || last.State != engine.StateStale || w.starts["vm1"] != 0 {
			t.Errorf("journal %s, state %s", kinds, last.State)
		}
	})
}

func TestJournalFailureStopsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{err: errors.New("disk full")}
		e := start(t.Context(), w, m, move(1, "vm1"), move(2, "vm2", 0))
		if err := drive(t.Context(), e); err == nil {
			t.Fatal("the loop does not learn that the journal failed")
		}
		if len(w.starts) != 0 || e.Rest("enforce") != nil {
			t.Error("something was called, or is still waiting to be")
		}
	})
}
