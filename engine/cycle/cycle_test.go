package cycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
	"heliostat/engine/execute"
)

// fleet is three hosts of one cluster and a VM on the first; it is the
// collector, and the actuator's world.
type fleet struct {
	mu    sync.Mutex
	host  engine.HostID
	other engine.HostID // of a second VM, which is moved after approval only; "": there is none
	maint []engine.HostID
	err   error
	asked int
	calls []string
}

func (f *fleet) Collect(_ context.Context, now time.Time, _ Resolve) (*engine.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.err != nil {
		return nil, f.err
	}
	at := engine.At(now)
	s := &engine.Snapshot{
		At: at, Sites: []engine.Site{{ID: "a", Mode: engine.Enforce, SunMilliDeg: engine.Unknown, PriceMicroEURPerKWh: 100_000, CarbonGPerKWh: engine.Unknown, PUEMilli: 1000}},
		VCenters: []engine.VCenter{{ID: "v", Name: "v"}}, Clusters: []engine.Cluster{{ID: "v/c", Name: "c", Pool: "pool"}},
		Datastores: []engine.Datastore{{ID: "v/d", Name: "d", CapacityMiB: 1 << 20, FreeMiB: 1 << 19, Accessible: true, Sites: 1, Survives: 1, Shared: true}},
	}
	for i := range 3 {
		s.Hosts = append(s.Hosts, engine.Host{
			ID: engine.HostID(fmt.Sprintf("v/h%d", i)), Name: fmt.Sprintf("h%d", i), Power: engine.HostOn, Connected: true, VMotion: true, NICMbps: 10_000, Standby: true,
			CPUModel: "x", CPUMHz: 40_000, Cores: 16, Threads: 32, MemoryMiB: 131_072, UsedMHz: 100, UsedMiB: 1000, LoadAt: at, PowerW: 200, IdleW: 150, MaxW: 300, PowerAt: at,
			Maintenance: slices.Contains(f.maint, engine.HostID(fmt.Sprintf("v/h%d", i))), Datastores: []int32{0},
		})
	}
	v := engine.VM{ID: "vm1", Name: "vm1", Moid: "vm-1", Power: engine.VMOn, VCPUs: 2, MemoryMiB: 4096, UsedMHz: 500, UsedMiB: 2048, ActiveMiB: 512, DirtyMbps: 10, LoadAt: at, Mode: engine.Enforce, Disks: []engine.Disk{{Key: 2000, MiB: 1024}}}
	for i := range s.Hosts {
		if s.Hosts[i].ID == f.host {
			v.Host = int32(i)
			s.Hosts[i].UsedMHz += 500
			s.Hosts[i].UsedMiB += 2048
		}
	}
	s.VMs = []engine.VM{v}
	if f.other != "" {
		v.ID, v.Name, v.Moid, v.Mode = "vm2", "vm2", "vm-2", engine.Advise
		for i := range s.Hosts {
			if s.Hosts[i].ID == f.other {
				v.Host = int32(i)
			}
		}
		s.VMs = append(s.VMs, v)
	}
	return s, s.Validate()
}

// did lists the calls that were submitted.
func (f *fleet) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// times is how often the fleet was collected.
func (f *fleet) times() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// fail makes collecting fail, or work again.
func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fleet) Session(context.Context, *engine.Action) (string, engine.Unix, error) {
	return "s", engine.At(time.Now()), nil
}
func (f *fleet) Check(context.Context, *engine.Action) error                { return nil }
func (f *fleet) EndSession(context.Context, engine.VCenterID, string) error { return nil }
func (f *fleet) Mark(context.Context, *engine.Action, string) error         { return nil }
func (f *fleet) Tasks(context.Context, *engine.Action, engine.Unix) ([]execute.Task, error) {
	return nil, nil
}

func (f *fleet) Look(_ context.Context, a *engine.Action) (execute.Sight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.Kind == engine.Move {
		at := f.where(a.VM)
		return execute.Sight{Exists: true, Source: *at == a.From.Host, Arrived: *at == a.To.Host}, nil
	}
	in := slices.Contains(f.maint, a.From.Host)
	return execute.Sight{Exists: true, Source: !in, Arrived: in}, nil
}

// where is the host of a VM.
func (f *fleet) where(vm engine.VMID) *engine.HostID {
	if vm == "vm2" {
		return &f.other
	}
	return &f.host
}

func (f *fleet) Submit(_ context.Context, _ string, a *engine.Action) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, a.Kind.String())
	if a.Kind == engine.Move {
		*f.where(a.VM) = a.To.Host
	} else {
		f.maint = append(f.maint, a.From.Host)
	}
	return "v/task-1", nil
}

func (f *fleet) Wait(ctx context.Context, key string, _ func(int32)) (execute.Task, error) {
	select {
	case <-time.After(90 * time.Second):
		return execute.Task{Key: key, State: "success"}, nil
	case <-ctx.Done():
		return execute.Task{}, ctx.Err()
	}
}

// opinion asks to drain the first host for maintenance, in a mode.
type opinion struct {
	mode  engine.Mode
	two   bool // the second host, too
	deny  bool
	err   error
	asked int
}

func (o *opinion) Reload(context.Context) (bool, error) { return false, nil }
func (o *opinion) Revision() string                     { return "r1" }
func (o *opinion) Standing() (engine.RevisionRecord, []byte) {
	return engine.RevisionRecord{Serving: "r1"}, nil
}

func (o *opinion) Evaluate(context.Context, engine.View) (*engine.Decision, error) {
	if o.err != nil {
		return nil, o.err
	}
	d := &engine.Decision{
		Revision: "r1", Voices: []engine.Voice{{Policy: "maintenance", Rule: engine.RuleDrain, Mode: o.mode}}, Reasons: []string{"firmware"},
		Drains: []engine.Drain{{Host: 0, Then: engine.ThenMaintenance}},
	}
	if o.two {
		d.Drains = append(d.Drains, engine.Drain{Host: 1, Then: engine.ThenMaintenance})
	}
	return d, nil
}

func (o *opinion) Deny(_ context.Context, _ engine.View, moves []engine.Action) ([]engine.Veto, error) {
	o.asked += len(moves)
	var out []engine.Veto
	for i := range moves {
		if o.deny {
			out = append(out, engine.Veto{VM: moves[i].VM, To: moves[i].To.Host, Code: "no", Reason: "because", Policy: "guard", Mode: engine.Enforce})
		}
	}
	return out, nil
}

func (o *opinion) Review(context.Context, engine.View, *engine.Plan) (engine.Review, error) {
	return engine.Review{}, nil
}

// book is a journal in memory.
type book struct {
	mu      sync.Mutex
	entries []engine.Entry
	blobs   map[string][]byte
	err     error
}

func (b *book) Append(_ context.Context, es ...engine.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	for _, e := range es {
		e.Seq, e.At = uint64(len(b.entries)+1), time.Now()
		b.entries = append(b.entries, e)
	}
	return nil
}

func (b *book) Put(_ context.Context, v []byte) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := engine.DigestBytes(v)
	b.blobs[d] = bytes.Clone(v)
	return d, nil
}

func (b *book) PutLike(ctx context.Context, v []byte, _ string) (digest, next string, err error) {
	digest, err = b.Put(ctx, v)
	return digest, digest, err
}

func (b *book) Get(d string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.blobs[d]
	if !ok {
		return nil, fmt.Errorf("no blob %s", d)
	}
	return v, nil
}

func (b *book) Entries(from uint64) iter.Seq2[engine.Entry, error] {
	b.mu.Lock()
	es := b.entries
	b.mu.Unlock()
	return func(yield func(engine.Entry, error) bool) {
		for _, e := range es {
			if e.Seq >= from && !yield(e, nil) {
				return
			}
		}
	}
}

// rig is a loop with its surroundings.
type rig struct {
	*Loop
	fleet *fleet
	said  *opinion
	book  *book
	shown Published
	mu    sync.Mutex
}

func newRig(t *testing.T, f *fleet, b *book, mode engine.Mode) *rig {
	t.Helper()
	c := engine.DefaultConfig()
	c.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	schedule, err := ParseSchedule("@every 1m", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{fleet: f, said: &opinion{mode: mode}, book: b}
	log := slog.New(slog.DiscardHandler)
	r.Loop = New(Loop{
		Collector: f, Policy: r.said, Executor: execute.New(f, b, c.Limits, log), Journal: b, Config: c, Schedule: schedule,
		MinGap: 10 * time.Second, ApprovalTTL: 15 * time.Minute, Log: log,
		Publish: func(p Published) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.shown = p
		},
	})
	m, err := Remember(b)
	if err != nil {
		t.Fatal(err)
	}
	r.Restore(t.Context(), m)
	return r
}

func (r *rig) now() Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown
}

// with runs the loop in a bubble while do acts, then stops it.
func (r *rig) with(t *testing.T, do func(ctx context.Context)) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	do(ctx)
	cancel()
	err := <-ended
	synctest.Wait()
	return err
}

func newBook() *book { return &book{blobs: map[string][]byte{}} }

func TestHostIsEmptiedThenHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, newBook()
		r := newRig(t, f, b, engine.Enforce)
		err := r.with(t, func(context.Context) { time.Sleep(10 * time.Minute) })
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got := fmt.Sprint(f.did()); got != "[move enter_maintenance]" {
			t.Errorf("calls: %s", got)
		}
		if h := r.history.Host("v/h0"); h.Own != engine.OwnMaintenance {
			t.Errorf("the host is remembered as %s", h.Own)
		}
		replayAll(t, b)
	})
}

// replayAll builds every journaled plan again.
func replayAll(t *testing.T, b *book) {
	t.Helper()
	var in engine.InputRecord
	n := 0
	for e := range b.Entries(1) {
		switch e.Kind {
		case engine.EntryInput:
			in = engine.InputRecord{}
			if err := json.Unmarshal(e.Data, &in); err != nil {
				t.Fatal(err)
			}
		case engine.EntryPlan:
			var p engine.PlanRecord
			if err := json.Unmarshal(e.Data, &p); err != nil {
				t.Fatal(err)
			}
			if p.Refused != "" {
				t.Errorf("cycle %d: own plan refused: %s", e.Cycle, p.Refused)
			}
			_, got, want, err := Rebuild(b, in, p)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("cycle %d: rebuilt\n%s\njournaled\n%s", e.Cycle, got, want)
			}
			n++
		default:
		}
	}
	if n == 0 {
		t.Error("no plan was journaled")
	}
}

func TestAdviceWaitsForApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, newBook()
		r := newRig(t, f, b, engine.Advise)
		_ = r.with(t, func(ctx context.Context) {
			time.Sleep(5*time.Minute + time.Second)
			p := r.now().Pending
			if p == nil || len(f.did()) != 0 {
				t.Fatalf("pending %v, calls %v", p, f.did())
			}
			first := p.Hash
			for _, c := range []struct{ hash, want string }{{"abc", "six"}, {"ffffffffffff", "no such plan"}} {
				if err := r.Approve(ctx, c.hash, 0, "ann"); err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
					t.Errorf("approve %q: %v", c.hash, err)
				}
			}
			if err := r.Approve(ctx, first[:8], 0, "ann"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			if got := fmt.Sprint(f.did()); got != "[move enter_maintenance]" {
				t.Errorf("calls: %s", got)
			}
		})
		replayAll(t, b)
	})
}

// What waits for a person is what that would add: it stays the same plan while what
// needs nobody is carried out.
func TestAdviceAddsToWhatIsEnforced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0", other: "v/h1"}, newBook()
		r := newRig(t, f, b, engine.Enforce)
		r.said.two = true
		_ = r.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			first := r.now().Pending
			if first == nil {
				t.Fatal("nothing waits for approval")
			}
			for _, a := range first.Plan.Actions {
				if a.VM == "vm1" || a.Kind != engine.Move && a.From.Host == "v/h0" {
					t.Errorf("what is carried out anyway waits for approval: %s %s", a.Kind, a.From.Host)
				}
			}
			for range 5 {
				time.Sleep(time.Minute)
				if p := r.now().Pending; p == nil || p.Hash != first.Hash {
					t.Fatalf("another plan waits after calls %v: %+v", f.did(), p)
				}
			}
			if got := fmt.Sprint(f.did()); got != "[move enter_maintenance]" {
				t.Errorf("before approval: %s", got)
			}
			if err := r.Approve(ctx, first.Hash, 0, "ann"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			if got := fmt.Sprint(f.did()); got != "[move enter_maintenance move enter_maintenance]" {
				t.Errorf("after approval: %s", got)
			}
		})
		replayAll(t, b)
	})
}

func TestRejectedPlanIsNotOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, newBook()
		r := newRig(t, f, b, engine.Advise)
		_ = r.with(t, func(ctx context.Context) {
			time.Sleep(time.Minute + time.Second)
			if err := r.Reject(ctx, r.now().Pending.Hash, "bob", "month end"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			if p := r.now().Pending; p != nil {
				t.Errorf("offered again: %s", p.Hash)
			}
		})
		r = newRig(t, f, b, engine.Advise)
		_ = r.with(t, func(context.Context) {
			time.Sleep(5 * time.Minute)
			if p := r.now().Pending; p != nil {
				t.Errorf("offered again after a restart: %s", p.Hash)
			}
			time.Sleep(10 * time.Minute)
			if r.now().Pending == nil {
				t.Error("never offered again")
			}
		})
	})
}

func TestPauseHoldsOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0", err: errors.New("not yet")}, newBook()
		r := newRig(t, f, b, engine.Enforce)
		_ = r.with(t, func(ctx context.Context) {
			if err := r.Pause(ctx, "ann", "storage work"); err != nil {
				t.Fatal(err)
			}
		})
		f.fail(nil)
		again := newRig(t, f, b, engine.Enforce)
		_ = again.with(t, func(ctx context.Context) {
			time.Sleep(5 * time.Minute)
			if len(f.did()) != 0 || again.now().Paused == nil {
				t.Fatalf("after a restart: calls %v, paused %v", f.did(), again.now().Paused)
			}
			if err := again.Resume(ctx, "ann"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			if len(f.did()) == 0 {
				t.Error("nothing is done after resume")
			}
		})
	})
}

func TestVetoesBecomeHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, newBook()
		r := newRig(t, f, b, engine.Enforce)
		r.said.deny = true
		_ = r.with(t, func(context.Context) { time.Sleep(3 * time.Minute) })
		if len(f.did()) != 0 {
			t.Errorf("calls: %v", f.did())
		}
		held := false
		for _, h := range r.now().Plans[0].Holds {
			held = held || (h.Subject.ID == "vm1" && h.Code == engine.HoldVeto)
		}
		if !held {
			t.Errorf("holds: %v", r.now().Plans[0].Holds)
		}
		replayAll(t, b)
	})
}

func TestEndedActionsAreFoldedOnceOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, newBook()
		r := newRig(t, f, b, engine.Enforce)
		// Stop between the end of the move and the next cycle, which would fold it.
		_ = r.with(t, func(context.Context) { time.Sleep(95 * time.Second) })
		again := newRig(t, f, b, engine.Enforce)
		_ = again.with(t, func(context.Context) { time.Sleep(10 * time.Minute) })
		if got := again.history.VM("vm1").Moves; got != 1 {
			t.Errorf("remembered moves: %d", got)
		}
		third := newRig(t, f, b, engine.Enforce)
		_ = third.with(t, func(context.Context) { time.Sleep(3 * time.Minute) })
		if got := third.history.VM("vm1").Moves; got != 1 {
			t.Errorf("remembered moves after another restart: %d", got)
		}
		if got := fmt.Sprint(f.did()); got != "[move enter_maintenance]" {
			t.Errorf("calls: %s", got)
		}
	})
}

func TestFailedCycleIsForgottenAndPokesAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{host: "v/h1", err: errors.New("vCenter is down")}
		r := newRig(t, f, newBook(), engine.Enforce)
		_ = r.with(t, func(context.Context) {
			time.Sleep(time.Second)
			for range 50 {
				r.Poke("storm")
				time.Sleep(100 * time.Millisecond)
			}
			time.Sleep(6 * time.Second) // within 12 s of the first cycle one more has run
			if f.times() != 2 {
				t.Errorf("%d cycles in 12 s, want 2", f.times())
			}
			f.fail(nil)
			time.Sleep(2 * time.Minute)
			if err := r.now().Err; err != nil {
				t.Errorf("still failing: %v", err)
			}
		})
	})
}

func TestJournalFailureEndsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, newBook()
		r := newRig(t, f, b, engine.Enforce)
		b.err = errors.New("disk full")
		ended := make(chan error, 1)
		go func() { ended <- r.Run(t.Context()) }()
		if err := <-ended; err == nil || len(f.did()) != 0 {
			t.Errorf("ended with %v after %v", err, f.did())
		}
	})
}
