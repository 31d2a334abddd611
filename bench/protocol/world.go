package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"heliostat/engine"
	"heliostat/lab"
	"heliostat/store"
	"heliostat/vsphere"
)

const (
	// faultsFor is how long calls fail and processes crash, and graceFor how long
	// after that every intent must have come to its end.
	faultsFor, graceFor = 40 * time.Minute, 30 * time.Minute
	// cycleEvery is how often what is left to do is offered anew.
	cycleEvery = time.Minute
	// latest is how late a request arrives at most.
	latest = 6 * time.Minute
	// restartWithin is how long a crashed daemon is down at most.
	restartWithin = 90 * time.Second
	// mostCrashes bounds the crashes of one run.
	mostCrashes = 8
	// journalBytes caps a run's journal: a hundred times what it takes.
	journalBytes = 64 << 20
)

// A world is one run: a lab, what is to be done in it, the faults on the way, and
// the process that does it.
type world struct {
	naive     bool
	seed      uint64
	dir       string // of the journal
	lab       *lab.Lab
	vcenters  []vsphere.Config
	passwords map[string]string
	errands   []*errand
	quiet     time.Time // when faults and crashes end
	offered   int       // actions, for their IDs
	cycle     int

	mu      sync.Mutex
	rng     *rand.Rand
	res     result
	running *process
}

// labConfig is two sites with a link between them. The VMs are on the first
// hosts of each cluster: the last ones are free for host actions.
func labConfig(seed uint64) lab.Config {
	site := func(name string) lab.SiteConfig {
		return lab.SiteConfig{
			Name: name, Segments: []string{"app", "db"}, DVS: true,
			Clusters: []lab.ClusterConfig{{
				Name: name[:3], Hosts: hostsPerSite, CoresPerHost: 32, MHzPerCore: 2400, MemGiB: 1024, DRS: "off", IdleW: 150, MaxW: 400, VMs: vmsPerSite,
			}},
			Datastores: []lab.DatastoreConfig{{Name: name[:3] + "-ds1", GiB: 20_000}, {Name: name[:3] + "-ds2", GiB: 20_000}},
		}
	}
	return lab.Config{
		Seed: seed, Start: time.Now(), Sites: []lab.SiteConfig{site("houston"), site("frankfurt")},
		Links: []lab.LinkConfig{{A: "houston", B: "frankfurt", RTT: 123 * time.Millisecond, Mbps: 10_000}},
	}
}

// run plays one world in the bubble that it is called in. dir takes the journal.
func run(ctx context.Context, seed uint64, naive bool, dir string) (res result, err error) {
	w := &world{naive: naive, seed: seed, dir: dir, rng: rand.New(rand.NewPCG(seed, 1)), res: result{Runs: 1}}
	if w.lab, err = lab.New(labConfig(seed)); err != nil {
		return res, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w.lab.ServePipe(ctx)
	defer func() {
		cancel()
		w.lab.Close()
		time.Sleep(latest) // handlers of the lab that linger
	}()
	w.configure()
	if err := w.survey(ctx); err != nil {
		return res, fmt.Errorf("survey the lab: %w", err)
	}
	w.quiet = time.Now().Add(faultsFor)
	w.lab.SetFaults(w.fault)
	for ctx.Err() == nil {
		done, err := w.process(ctx)
		if err != nil {
			return res, err
		}
		if done {
			break
		}
		w.mu.Lock()
		down := time.Duration(w.rng.Int64N(int64(restartWithin)))
		w.mu.Unlock()
		time.Sleep(down)
	}
	// What was sent may still arrive, and must not take effect.
	w.lab.SetFaults(nil)
	time.Sleep(latest)
	err = w.judge(ctx)
	return w.res, err
}

func (w *world) configure() {
	w.passwords = map[string]string{}
	for _, e := range w.lab.Endpoints() {
		c := vsphere.Config{Name: e.Name, URL: e.URL, Thumbprint: e.Thumbprint}
		for _, a := range e.Accounts {
			w.passwords[a.Username] = a.Password
			if a.Role == lab.RoleMover {
				c.Mover = &vsphere.Account{Username: a.Username, PasswordFile: "-"}
			} else {
				c.Reader = &vsphere.Account{Username: a.Username, PasswordFile: "-"}
			}
		}
		w.vcenters = append(w.vcenters, c)
	}
}

func (w *world) password(a vsphere.Account) (vsphere.Secret, error) {
	return vsphere.NewSecret(w.passwords[a.Username]), nil
}

// fault draws what goes wrong with a call. A call that changes something may
// also be the last that the process made.
func (w *world) fault(c lab.Call) (f lab.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Now().After(w.quiet) {
		return f
	}
	odds := 0.08
	if strings.HasSuffix(c.Method, "_Task") && c.Method != "CheckRelocate_Task" {
		odds = 0.45
		w.running.hit(atCall)
	} else if c.Method == "TerminateSession" || c.Method == "Logout" {
		odds = 0.2
	}
	if w.rng.Float64() >= odds {
		return f
	}
	wait := time.Duration(w.rng.Int64N(int64(latest)))
	switch w.rng.IntN(8) {
	case 0:
		f.Lose = true
	case 1:
		f.Refuse = 503
	case 2:
		f.LoseReply = true
	case 3:
		f.HTML = true
	case 4:
		f.Truncate = true
	case 5:
		f.Late = wait
	default:
		f.Delay = wait
	}
	switch {
	case f.Lose || f.Refuse != 0:
		w.res.LostRequests++
	case f.Late > 0 || f.Delay > 0:
		w.res.Late++
	default:
		w.res.LostReplies++
	}
	return f
}

// process runs a daemon until it crashes, or until all is done or time is up.
func (w *world) process(ctx context.Context) (done bool, err error) {
	j, err := store.Open(w.dir, store.Options{MaxBytes: journalBytes})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	p := &process{world: w, journal: j}
	ctx, p.cancel = context.WithCancel(ctx)
	defer p.kill()
	w.mu.Lock()
	w.running = p
	if w.res.Crashes < mostCrashes {
		// By turns, so that each point is met as often as any other.
		p.point = point((w.seed*mostCrashes+uint64(w.res.Crashes))%uint64(points-1)) + 1
		p.left = 1 + w.rng.IntN(5)
	}
	w.mu.Unlock()
	if w.naive {
		err = w.serveNaive(ctx, p)
	} else {
		err = w.serve(ctx, p)
	}
	if p.isDead() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.res.Crashes++
		w.res.points[p.point]++
		return false, nil
	}
	return true, err
}

// finished reports whether nothing is left to do, or to wait for.
func (w *world) finished(open []engine.ActionRecord) bool {
	w.advance()
	if time.Now().After(w.quiet.Add(graceFor)) {
		return true
	}
	left := len(open)
	for _, e := range w.errands {
		left += len(e.steps) - e.next
	}
	return left == 0
}

// plan is what can be done next: of every object that nothing is done to now.
func (w *world) plan(open []engine.ActionRecord) *engine.Plan {
	w.advance()
	w.cycle++
	p := &engine.Plan{Cycle: uint64(w.cycle), Level: engine.Enforce, At: engine.At(time.Now())}
	busy := map[string]bool{}
	for i := range open {
		busy[subject(&open[i].Action)] = true
	}
	for _, e := range w.errands {
		if e.next == len(e.steps) || busy[subject(&e.steps[e.next])] {
			continue
		}
		a := e.steps[e.next]
		w.offered++
		a.ID, a.Rank = fmt.Sprintf("c%d-%d", w.cycle, w.offered), int32(len(p.Actions))
		p.Actions = append(p.Actions, a)
	}
	return p
}

// subject is what an action is done to.
func subject(a *engine.Action) string {
	if a.Kind == engine.Move {
		return string(a.VM)
	}
	return string(a.From.Host)
}

// trace writes to standard error what PROTOCOL_TRACE asks for: one run's log.
func tracing() bool { return os.Getenv("PROTOCOL_TRACE") != "" }
