package cycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/execute"
)

// town is the fleet at two sites: the first host stands at a, the others at b.
// tweak changes what is seen of it.
type town struct {
	crowd
	lock  sync.Mutex
	tweak func(s *engine.Snapshot)
}

func (x *town) Collect(ctx context.Context, now time.Time, r Resolve) (*engine.Snapshot, error) {
	s, err := x.fleet.Collect(ctx, now, r)
	if err != nil {
		return nil, err
	}
	b := s.Sites[0]
	b.ID = "b"
	s.Sites = append(s.Sites, b)
	s.Datastores[0].Sites, s.Datastores[0].Survives = 3, 2
	s.Hosts[1].Site, s.Hosts[2].Site = 1, 1
	s.Links = []engine.Link{{A: 0, B: 1, RTTMicros: 5000, Mbps: 10_000, At: s.At}}
	x.lock.Lock()
	defer x.lock.Unlock()
	if x.tweak != nil {
		x.tweak(s)
	}
	return s, s.Validate()
}

func (x *town) see(tweak func(s *engine.Snapshot)) {
	x.lock.Lock()
	defer x.lock.Unlock()
	x.tweak = tweak
}

// storm is a hazard at a site.
func storm(s *engine.Snapshot, site engine.SiteID) {
	s.Hazards = append(s.Hazards, engine.Hazard{ID: "h", Site: site, Kind: "hurricane", Severity: "extreme", End: s.At + day, ValidUntil: s.At + day})
}

func alarm(s *engine.Snapshot, site engine.SiteID, kind string) {
	s.Alerts = append(s.Alerts, engine.Alert{Name: "X", Kind: kind, Site: site, Status: "firing"})
}

// word is a policy that says what it is told to.
type word struct {
	opinion
	lock sync.Mutex
	say  func(d *engine.Decision)
}

func (w *word) now(say func(d *engine.Decision)) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.say = say
}

func (w *word) Evaluate(context.Context, engine.View) (*engine.Decision, error) {
	d := &engine.Decision{Revision: "r1", Voices: []engine.Voice{{Policy: "hurricane", Rule: engine.RuleEvacuate, Mode: engine.Enforce}}, Reasons: []string{"because"}}
	w.lock.Lock()
	defer w.lock.Unlock()
	w.say(d)
	return d, nil
}

func evacuate(sites ...string) func(*engine.Decision) {
	return func(d *engine.Decision) {
		for _, id := range sites {
			d.Evacuations = append(d.Evacuations, engine.Evacuation{Place: engine.Subject{Kind: "site", ID: id}})
		}
	}
}

func drain(d *engine.Decision) { d.Drains = []engine.Drain{{Host: 0, Then: engine.ThenMaintenance}} }

// scene is a town with a loop on rails.
type scene struct {
	*rig
	town *town
	said *word
	book *book
}

func newScene(t *testing.T, x *town, b *book, rails Rails, say func(*engine.Decision)) *scene {
	t.Helper()
	base := newRig(t, &x.fleet, newBook(), engine.Off)
	out := &scene{rig: &rig{fleet: &x.fleet, book: b}, town: x, said: &word{say: say}, book: b}
	sanity := engine.DefaultSanity()
	sanity.StuckS = 0 // a town's loads stay as they are
	out.Loop = New(Loop{
		Collector: x, Policy: out.said, Executor: execute.New(&x.crowd, b, base.Config.Limits, slog.New(slog.DiscardHandler)), Journal: b, Config: base.Config, Sanity: sanity,
		Schedule: base.Schedule, MinGap: base.MinGap, ApprovalTTL: base.ApprovalTTL, Log: base.Log, Rails: rails, SelfTest: check.SelfTest,
		Publish: func(p Published) {
			out.mu.Lock()
			defer out.mu.Unlock()
			out.shown = p
		},
	})
	m, err := Remember(b)
	if err != nil {
		t.Fatal(err)
	}
	out.Restore(t.Context(), m)
	return out
}

// held is the hold of that code, on the rails or in the enforced plan.
func (x *scene) held(code engine.HoldCode) string {
	p := x.now()
	holds := p.Rails
	if len(p.Plans) > 0 {
		holds = append(slices.Clone(holds), p.Plans[0].Holds...)
	}
	for _, h := range holds {
		if h.Code == code {
			return h.String()
		}
	}
	return fmt.Sprint("no such hold among ", holds)
}

// bites expects nothing to have been called, and the hold to say why.
func (x *scene) bites(t *testing.T, code engine.HoldCode, says string) {
	t.Helper()
	if got := x.held(code); !strings.Contains(got, says) {
		t.Errorf("held: %s\nwant: %s", got, says)
	}
	if n := len(x.town.made()); n > 0 {
		t.Errorf("%d calls", n)
	}
}

// quick are the rails without the slow start.
func quick() Rails {
	r := DefaultRails()
	r.Ramp = 0
	return r
}

// calm is a town whose VM runs at site a.
func calm() *town { return &town{crowd: crowd{fleet: fleet{host: "v/h0"}}} }

// TestRails is each rail in a scene in which it bites, with the hold that people read.
func TestRails(t *testing.T) {
	for name, test := range map[string]func(t *testing.T){
		"1 advise is the default": func(t *testing.T) {
			x := newScene(t, calm(), newBook(), quick(), drain)
			x.Config.Modes = engine.DefaultConfig().Modes
			_ = x.with(t, func(context.Context) {
				time.Sleep(5 * time.Minute)
				x.bites(t, engine.HoldMode, "leave host h0 held: moves are in mode advise (mode)")
				if p := x.now().Pending; p == nil || len(p.Plan.Actions) != 2 {
					t.Errorf("waits for a person: %+v", p)
				}
			})
		},
		"2 kill switch":         killByTag,
		"2 kill switch, orders": killByOrder,
		"3 budgets": func(t *testing.T) {
			rails := quick()
			rails.Budgets.Host = Budget{}
			x := newScene(t, calm(), newBook(), rails, drain)
			_ = x.with(t, func(context.Context) {
				time.Sleep(5 * time.Minute)
				x.bites(t, engine.HoldBudget, "v/h0: start actions held: its budget of 0 actions started within an hour is used up (budget)")
			})
		},
		"4 freshness": func(t *testing.T) {
			town := calm()
			town.see(func(s *engine.Snapshot) { s.At -= 901 })
			x := newScene(t, town, newBook(), quick(), drain)
			_ = x.with(t, func(context.Context) {
				time.Sleep(5 * time.Minute)
				x.bites(t, engine.HoldGap, "the fleet was last seen 901 s ago, at most 900 s is allowed")
			})
		},
		"5 sanity": func(t *testing.T) {
			town := calm()
			x := newScene(t, town, newBook(), quick(), func(*engine.Decision) {})
			crowded := func(n int) func(s *engine.Snapshot) {
				return func(s *engine.Snapshot) {
					for i := range n {
						v := s.VMs[0]
						v.ID, v.Name, v.Host = engine.VMID(fmt.Sprintf("vm1%02d", i)), "x", 1
						s.VMs = append(s.VMs, v)
					}
				}
			}
			town.see(crowded(20))
			_ = x.with(t, func(context.Context) {
				time.Sleep(90 * time.Second)
				x.said.now(drain)
				town.see(crowded(10))
				time.Sleep(time.Minute)
				x.bites(t, engine.HoldGap, "10 of 21 VMs have vanished at once")
			})
		},
		"6 an empty scope is nothing": func(t *testing.T) {
			x := newScene(t, calm(), newBook(), quick(), evacuate(""))
			_ = x.with(t, func(context.Context) {
				time.Sleep(5 * time.Minute)
				if p := x.now().Pending; p != nil || len(x.town.made()) > 0 {
					t.Errorf("to be done: %+v", p)
				}
			})
			x = newScene(t, calm(), newBook(), quick(), evacuate("a"))
			_ = x.with(t, func(ctx context.Context) {
				time.Sleep(time.Second)
				for _, n := range []int{0, 2} {
					if err := x.Approve(ctx, x.now().Pending.Hash, n, "ann"); err == nil || !strings.Contains(err.Error(), "the plan has 1 actions") {
						t.Errorf("approved as %d actions: %v", n, err)
					}
				}
			})
		},
		"7 evidence": func(t *testing.T) {
			town, rails := calm(), quick()
			rails.Tiers.Autonomous = true
			x := newScene(t, town, newBook(), rails, evacuate("a"))
			_ = x.with(t, func(context.Context) {
				town.see(func(s *engine.Snapshot) { alarm(s, "a", "reachability") })
				time.Sleep(90 * time.Second)
				x.bites(t, engine.HoldApproval, "a: evacuate site a held: 2 different persons must approve it: the evidence is none but a policy's word, 2 classes would do (approval)")
				town.see(func(s *engine.Snapshot) { storm(s, "a") })
				x.pendingAgain(t)
				x.bites(t, engine.HoldApproval, "1 person must approve it: the evidence is hazard, 2 classes would do")
				town.see(func(s *engine.Snapshot) { storm(s, "a"); storm(s, "b") })
				time.Sleep(time.Minute)
				x.bites(t, engine.HoldEvidence, "all 2 sites are threatened: nowhere is safer")
				town.see(func(s *engine.Snapshot) { storm(s, "a"); alarm(s, "a", "power") })
				time.Sleep(time.Minute)
				if len(town.made()) != 1 {
					t.Errorf("%d calls with two classes of evidence", len(town.made()))
				}
			})
			replayAll(t, x.book)
		},
		"8 tiers": func(t *testing.T) {
			x := newScene(t, calm(), newBook(), quick(), evacuate("a"))
			_ = x.with(t, func(ctx context.Context) {
				time.Sleep(time.Second)
				x.bites(t, engine.HoldApproval, "2 different persons must approve it (tiers.evacuation_autonomous is false)")
				p := x.now().Pending
				if p == nil || p.Approvers != 2 || p.Expires.Sub(p.Since) != 15*time.Minute {
					t.Fatalf("waits: %+v", p)
				}
				for i, who := range []string{"ann", "ann", "bob"} {
					if err := x.Approve(ctx, p.Hash, 1, who); (err != nil) != (i == 1) {
						t.Errorf("%s: %v", who, err)
					}
					if synctest.Wait(); (len(x.town.made()) > 0) != (i == 2) {
						t.Errorf("after %s: %d calls", who, len(x.town.made()))
					}
				}
				time.Sleep(time.Second)
				if got := x.held(engine.HoldApproval); !strings.HasPrefix(got, "no such hold") {
					t.Errorf("carried out, and held: %s", got)
				}
			})
			rails := quick()
			rails.Tiers.SmallMoves = 1
			town := calm()
			town.see(func(s *engine.Snapshot) {
				v := s.VMs[0]
				v.ID, v.Name, v.Moid = "vm2", "vm2", "vm-2"
				s.VMs = append(s.VMs, v)
			})
			x = newScene(t, town, newBook(), rails, drain)
			_ = x.with(t, func(context.Context) {
				time.Sleep(time.Minute)
				x.bites(t, engine.HoldApproval, "2 moves are more than 1: one person must approve them")
			})
			// What is only wished for is cut to what needs nobody.
			x = newScene(t, town, newBook(), rails, func(d *engine.Decision) {
				for v := range int32(2) {
					d.Prefers = append(d.Prefers, engine.Prefer{VM: v, To: engine.Subject{Kind: "host", ID: "v/h1"}, MicroEUR: 10_000_000})
				}
			})
			_ = x.with(t, func(context.Context) {
				time.Sleep(time.Second)
				if p := x.now().Plans[0]; len(p.Actions) != 1 || x.now().Pending != nil {
					t.Errorf("%d actions, %v waits: %v", len(p.Actions), x.now().Pending, p.Holds)
				}
				if got := x.held(engine.HoldBudget); !strings.Contains(got, "this cycle's 1 moves are used up") {
					t.Error(got)
				}
			})
		},
		"9 canary": func(t *testing.T) {
			rails := DefaultRails()
			rails.RampDemand = 0
			x := newScene(t, calm(), newBook(), rails, func(*engine.Decision) {})
			x.town.slow = 3 * time.Hour
			_ = x.with(t, func(ctx context.Context) {
				time.Sleep(11 * time.Minute)
				x.offer(ctx, t, "load", load(100, "v", engine.Subject{}))
				time.Sleep(time.Hour)
				if n := len(x.town.made()); n != 1 {
					t.Errorf("%d calls before the first has ended", n)
				}
				if h := x.held(engine.HoldRamp); !strings.Contains(h, "0 actions have ended well since") || !strings.Contains(h, "1 at a time until 1 have") {
					t.Errorf("held: %s", h)
				}
			})
		},
		"10 breaker": func(t *testing.T) {
			town, b := calm(), newBook()
			town.fail = true
			x := newScene(t, town, b, quick(), func(*engine.Decision) {})
			_ = x.with(t, func(ctx context.Context) {
				time.Sleep(time.Second)
				x.offer(ctx, t, "load", load(2, "v", engine.Subject{}))
				time.Sleep(5 * time.Minute)
			})
			// A restart does not close it.
			x = newScene(t, town, b, quick(), drain)
			_ = x.with(t, func(context.Context) {
				time.Sleep(5 * time.Minute)
				if h := x.held(engine.HoldBreaker); !strings.Contains(h, "2 of the first 2 actions ended badly, the last one c0-v-001: no space") || len(town.made()) != 2 {
					t.Errorf("%d calls, held: %s", len(town.made()), h)
				}
			})
			// One site at a time.
			x = newScene(t, calm(), newBook(), quick(), evacuate("a", "c"))
			x.town.see(func(s *engine.Snapshot) {
				for _, id := range []engine.SiteID{"c", "d"} {
					site := s.Sites[0]
					site.ID = id
					s.Sites = append(s.Sites, site)
				}
			})
			_ = x.with(t, func(context.Context) {
				time.Sleep(5 * time.Minute)
				x.bites(t, engine.HoldTurn, "c: evacuate site c held: one site is evacuated at a time, and it is the turn of a (turn)")
			})
		},
		"11 self-test": func(t *testing.T) {
			x := newScene(t, calm(), newBook(), quick(), func(*engine.Decision) {})
			var broken atomic.Pointer[error]
			x.SelfTest = func() error {
				if e := broken.Load(); e != nil {
					return *e
				}
				return nil
			}
			_ = x.with(t, func(ctx context.Context) {
				time.Sleep(90 * time.Second)
				x.fleet.fail(errors.New("nothing is seen for a day"))
				harm := errors.New("a plan to move a pinned VM is accepted")
				broken.Store(&harm)
				x.said.now(drain)
				time.Sleep(25 * time.Hour)
				x.fleet.fail(nil)
				time.Sleep(time.Minute)
				x.bites(t, engine.HoldPaused, "paused: a plan to move a pinned VM is accepted")
				if p := x.now().Paused; p == nil || p.Who != selfTestWho {
					t.Errorf("paused: %+v", p)
				}
				if err := x.Resume(ctx, "ann"); err == nil || !strings.Contains(err.Error(), "the guards fail their self-test") {
					t.Errorf("resumed: %v", err)
				}
				broken.Store(nil)
				if err := x.Resume(ctx, "ann"); err != nil {
					t.Error(err)
				}
			})
			if err := testRails(func(Rails) *gate { return &gate{} }); err == nil || strings.Count(err.Error(), "let an action start") != 2 {
				t.Errorf("gates on no rails: %v", err)
			}
		},
		"12 never the last host": func(t *testing.T) {
			town := calm()
			town.see(func(s *engine.Snapshot) {
				for i := range s.Hosts {
					s.Hosts[i].Maintenance = i > 0
				}
				s.VMs = nil
			})
			x := newScene(t, town, newBook(), quick(), func(d *engine.Decision) { d.Drains = []engine.Drain{{Host: 0, Then: engine.ThenStandby}} })
			_ = x.with(t, func(context.Context) {
				time.Sleep(5 * time.Minute)
				x.bites(t, engine.HoldLast, "it is the last host that is on in cluster c")
			})
		},
		"13 dead man for standby": func(t *testing.T) {
			for _, c := range []struct {
				power engine.HostPower
				mark  string
				mine  bool
			}{
				{engine.HostStandby, "standby c12-3", true},
				{engine.HostOn, "standby c12-3", false},
				{engine.HostStandby, "standby", false},
				{engine.HostStandby, "standby ann", false},
				{engine.HostStandby, "maintenance c12-3", false},
				{engine.HostStandby, "", false},
			} {
				h := engine.Host{Power: c.power, Mark: c.mark}
				if h.SleepsByUs() != c.mine {
					t.Errorf("%s, %q: not %t", c.power, c.mark, c.mine)
				}
			}
		},
		"14 the way back": func(t *testing.T) {
			town, rails := calm(), quick()
			rails.Tiers.Autonomous, rails.Tiers.Evidence = true, 1
			say := evacuate("a")
			x := newScene(t, town, newBook(), rails, say)
			x.Config.ReturnS, x.Config.PaybackS = 3600, 3600
			town.see(func(s *engine.Snapshot) { storm(s, "a") })
			_ = x.with(t, func(ctx context.Context) {
				time.Sleep(90 * time.Second)
				if n := len(town.made()); n != 1 {
					t.Fatalf("%d calls to evacuate", n)
				}
				town.arrive("v/h1")
				time.Sleep(3 * time.Hour)
				x.said.now(func(*engine.Decision) {})
				town.see(nil)
				time.Sleep(2 * time.Minute)
				p := x.now().Pending
				if p == nil || len(p.Plan.Actions) != 1 || p.Plan.Actions[0].To.Site != "a" || !strings.Contains(p.Plan.Actions[0].Why[0].String(), "operator.prefer: it stood at site a before that was evacuated") {
					t.Fatalf("the way back: %+v, held: %v", p, x.now().Plans)
				}
				if err := x.Approve(ctx, p.Hash, 1, "ann"); err != nil {
					t.Error(err)
				}
				town.arrive("v/h0")
				time.Sleep(5 * time.Minute)
				if p := x.now().Pending; p != nil || len(x.now().History.Rails.Away) != 0 {
					t.Errorf("at home, and still to go: %+v", p)
				}
			})
			replayAll(t, x.book)
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}

// pendingAgain lets the waiting plan expire, and a new one be made.
func (x *scene) pendingAgain(t *testing.T) {
	t.Helper()
	time.Sleep(17 * time.Minute)
	if x.now().Pending == nil {
		t.Error("nothing waits")
	}
}

// arrive is where the VM is seen from now on.
func (x *town) arrive(at engine.HostID) {
	x.fleet.mu.Lock()
	defer x.fleet.mu.Unlock()
	x.host = at
}
