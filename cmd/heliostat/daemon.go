package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"heliostat/collectors"
	"heliostat/collectors/alerts"
	"heliostat/collectors/hazard"
	"heliostat/collectors/latency"
	"heliostat/collectors/sun"
	"heliostat/collectors/vcenter"
	"heliostat/configs"
	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/cycle"
	"heliostat/engine/execute"
	"heliostat/policy"
	"heliostat/rego"
	"heliostat/store"
	"heliostat/systemd"
	"heliostat/vsphere"
	"heliostat/vsphere/actuator"
	"heliostat/web"
)

// surroundings are what a daemon takes from where it runs. The zero value is the
// real world.
type surroundings struct {
	log  *slog.Logger
	dial func(ctx context.Context, network, addr string) (net.Conn, error) // replaces the network to vCenters
	// noSockets leaves out the web server and the control socket, which cannot
	// be in a bubble, and the watch of files.
	noSockets bool
	notify    *systemd.Notifier // nil for nobody
	onPublish func(cycle.Published)
}

// daemon is the wiring: it owns every part and the order in which they start
// and end.
type daemon struct {
	cfg      *configs.Config
	at       surroundings
	log      *slog.Logger
	journal  *store.Journal
	sessions []*vsphere.Session
	watches  []*vcenter.Source
	act      *actuator.Actuator
	policies *policy.Service
	loop     *cycle.Loop
	board    *web.Board
	metrics  *web.Metrics
	intake   *alerts.Intake
	may      *privileges
	started  time.Time
	mode     engine.Mode
	cycles   uint64          // last one counted in the metrics
	open     map[string]bool // actions in flight at the last publication, by ID
	told     time.Time       // when a checkpoint was logged last
}

// newDaemon builds a daemon on an open journal. Nothing runs yet.
func newDaemon(ctx context.Context, cfg *configs.Config, j *store.Journal, at surroundings) (*daemon, error) {
	d := &daemon{at: at, log: at.log, journal: j, board: &web.Board{}, metrics: web.NewMetrics(version), started: time.Now()}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.cfg = cfg
	var err error
	if d.policies, err = d.startPolicies(ctx); err != nil {
		return nil, err
	}
	schedule, err := cfg.Times()
	if err != nil {
		return nil, err
	}
	if cfg.Alerts.TokenFile != "" {
		d.intake = &alerts.Intake{Config: cfg.Alerts, Sink: countedSink{j, d.metrics}, Wake: func(reason string) { d.loop.Poke(reason) }, Log: d.log}
	}
	set, err := d.sources(ctx)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.act, err = actuator.New(ctx, cfg.VCenters, actuator.Options{
		Session: vsphere.Options{DialContext: at.dial, Logger: d.log}, Logger: d.log, LeavePoweredOff: cfg.Plan.PoweredOff == engine.LeaveOff,
	})
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.mode = strongest(cfg)
	executor := execute.New(d.act, j, cfg.Plan.Limits, d.log)
	executor.Configure(cfg.Execute)
	d.may = &privileges{cfg: cfg, opts: vsphere.Options{DialContext: at.dial}, log: d.log, bans: map[string][]cycle.Ban{}}
	d.loop = cycle.New(cycle.Loop{
		Collector: resolving{set}, Policy: d.policies, Executor: executor, Journal: j,
		Config: cfg.Plan, Sanity: cfg.Sanity, Schedule: schedule, MinGap: cfg.Schedule.MinGap, ApprovalTTL: cfg.Schedule.ApprovalTTL,
		Windows: cfg.WindowsAt, Rails: cfg.Rails, Bans: d.may.Bans, SelfTest: check.SelfTest, KillFile: killFile(cfg, at), Publish: d.publish, Alive: d.alive, Log: d.log,
		Shadows: d.shadows(),
	})
	return d, nil
}

// shadows are the bundles that are asked and never acted on.
func (d *daemon) shadows() (out []cycle.Shadow) {
	for _, b := range d.cfg.Policy.ShadowBundles {
		opts := policy.Options{Log: d.log.With("bundle", b.Name), Within: d.cfg.Schedule.Every}
		if !d.at.noSockets {
			opts.Examiner = examiner
		}
		out = append(out, cycle.Shadow{Name: b.Name, Policy: policy.NewShadow(rego.FS, d.cfg.Policy, b, opts)})
	}
	return out
}

// sources makes the sources of observations.
func (d *daemon) sources(ctx context.Context) (*collectors.Set, error) {
	cfg := d.cfg
	set := &collectors.Set{Config: cfg.Config}
	for _, v := range cfg.VCenters {
		s, err := vsphere.Dial(ctx, v, v.Reader, vsphere.Options{DialContext: d.at.dial, Logger: d.log})
		if err != nil {
			return nil, fmt.Errorf("vCenter %s: %w", v.Name, err)
		}
		d.sessions = append(d.sessions, s)
		src := vcenter.New(vcenter.Config{Movers: accounts(cfg), Wake: func(reason string) { d.loop.Poke(reason) }, Logger: d.log}, s)
		d.watches = append(d.watches, src)
		set.Sources = append(set.Sources, src)
	}
	set.Sources = append(set.Sources, &sun.Source{Sites: cfg.SunSites()}, &alerts.Source{Book: d.journal, Intake: d.intake})
	if cfg.Hazards.File != "" {
		set.Sources = append(set.Sources, &hazard.Source{Config: cfg.Hazards})
	}
	if targets := cfg.LatencyTargets(); len(targets) > 0 {
		set.Sources = append(set.Sources, &latency.Source{Targets: targets, Config: cfg.Latency})
	}
	return set, nil
}

// accounts are the users whose tasks in vCenter are this daemon's own.
func accounts(cfg *configs.Config) []string {
	var names []string
	for _, v := range cfg.VCenters {
		for _, a := range []*vsphere.Account{v.Mover, v.Power, v.Receiver} {
			if a != nil {
				names = append(names, a.Username)
			}
		}
	}
	return names
}

// resolving lets the loop choose between sightings.
type resolving struct{ set *collectors.Set }

// Collect implements cycle.Collector.
func (r resolving) Collect(ctx context.Context, now time.Time, resolve cycle.Resolve) (*engine.Snapshot, error) {
	r.set.Resolve = collectors.Resolve(resolve)
	s, _, err := r.set.Collect(ctx, now)
	return s, err
}

// readyWithin is how long the first cycle waits for the inventories. After that
// it runs with what is there, and gaps for the rest.
const readyWithin = time.Minute

// ready waits until every vCenter's inventory has been received once.
func (d *daemon) ready(ctx context.Context) {
	deadline := time.Now().Add(readyWithin)
	for _, w := range d.watches {
		for time.Now().Before(deadline) && ctx.Err() == nil {
			if _, err := w.Observe(ctx); !errors.Is(err, vcenter.ErrNotReady) {
				break
			}
			pause(ctx, 200*time.Millisecond)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// run runs the daemon until ctx ends or the journal fails.
func (d *daemon) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.close()) }()
	defer d.checkpoint(0)
	memory, err := cycle.Remember(d.journal)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range d.watches {
		g.Go(func() error { return quiet(ctx, w.Run(ctx)) })
	}
	if !d.at.noSockets {
		if err := d.serve(ctx, g); err != nil {
			g.Go(func() error { return err }) // ends the others
			return g.Wait()
		}
	}
	if !d.at.noSockets {
		g.Go(func() error { d.policies.Run(ctx, d.settle); return nil })
	}
	g.Go(func() error { return d.prune(ctx) })
	g.Go(func() error {
		d.ready(ctx)
		known := d.may.ask(ctx)
		g.Go(func() error { d.may.watch(ctx, known); return nil })
		d.loop.Restore(ctx, memory)
		if len(memory.Open) > 0 {
			d.log.WarnContext(ctx, "actions of an earlier process are taken over", "actions", len(memory.Open))
		}
		return quiet(ctx, d.loop.Run(ctx))
	})
	return g.Wait()
}

// quiet makes an error that only says that ctx has ended into none.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

func (d *daemon) close() error {
	var errs []error
	for _, s := range d.sessions {
		errs = append(errs, s.Close())
	}
	if d.act != nil {
		errs = append(errs, d.act.Close())
	}
	return errors.Join(errs...)
}

// serve starts the control socket, the web server and the watch of files.
func (d *daemon) serve(ctx context.Context, g *errgroup.Group) error {
	if path := d.cfg.State.Socket; path != "" {
		ln, err := web.Listen(path)
		if err != nil {
			return err
		}
		g.Go(func() error {
			return web.Serve(ctx, ln, web.NewControl(d.board, revising{d.loop, d}, d.journal), d.log)
		})
	}
	if addr := d.cfg.Web.Listen; addr != "" {
		ln, err := web.ListenTCP(ctx, addr, d.cfg.Web.CertFile, d.cfg.Web.KeyFile)
		if err != nil {
			return err
		}
		d.log.InfoContext(ctx, "web server listens", "addr", ln.Addr().String())
		var intake http.Handler
		if d.intake != nil {
			intake = countRefused(d.intake, d.metrics)
		}
		g.Go(func() error { return web.Serve(ctx, ln, web.NewHandler(d.board, d.metrics, intake), d.log) })
	}
	return d.watchFiles(ctx, g)
}

// alive is called by the loop while it is well.
func (d *daemon) alive() {
	d.board.Beat()
	if d.at.notify != nil {
		d.at.notify.Feed()
	}
}

// publish turns what the loop shows into what the web serves.
func (d *daemon) publish(p cycle.Published) {
	d.alive()
	s := statusOf(&p)
	s.Version, s.Started, s.Mode = version, d.started, d.mode.String()
	last := d.journal.Last()
	s.Journal = web.JournalStatus{Entries: last.Seq, Hash: last.Hash}
	if old := d.board.Status(); p.Err != nil {
		s.Good = old.Good
	}
	for _, w := range d.watches {
		s.Sources = append(s.Sources, sourceStatus(w.Name(), p.Snapshot))
	}
	d.board.Show(s)
	d.metrics.Shown(s)
	for i := range p.Open {
		if id := p.Open[i].Action.ID; !d.open[id] {
			d.metrics.ActionStarted(p.Open[i].Action.Kind)
		}
	}
	for i := range p.Ended {
		// One that began and ended between two publications has not been counted.
		if !d.open[p.Ended[i].Action.ID] && p.Ended[i].Started != 0 && !p.Ended[i].Adopted {
			d.metrics.ActionStarted(p.Ended[i].Action.Kind)
		}
		d.metrics.ActionEnded(&p.Ended[i])
	}
	d.open = make(map[string]bool, len(p.Open))
	for i := range p.Open {
		d.open[p.Open[i].Action.ID] = true
	}
	if p.Cycle != d.cycles {
		if d.cycles == 0 && d.at.notify != nil {
			d.at.notify.Ready()
		}
		d.cycles = p.Cycle
		d.checkpoint(tellEvery)
		d.metrics.CycleEnded(s)
		if p.Err == nil && p.Decision != nil {
			for _, f := range p.Decision.Failures {
				v := p.Decision.Voices[f.Voice]
				d.metrics.PolicyFailed(v.Policy, v.Rule)
			}
		}
	}
	if d.at.onPublish != nil {
		d.at.onPublish(p)
	}
}

// sourceStatus says whether a vCenter answered in the last snapshot.
func sourceStatus(name string, s *engine.Snapshot) web.SourceStatus {
	x := web.SourceStatus{Name: name}
	if s == nil {
		return x
	}
	x.Up, x.At = true, s.At.Time()
	for _, g := range s.Gaps {
		if g.Source == name && g.Subject.Kind != "vm" && g.Subject.Kind != "host" {
			x.Up, x.Error = false, g.Reason
		}
	}
	return x
}

// statusOf is what can be said of a Published by itself.
func statusOf(p *cycle.Published) *web.Status {
	s := &web.Status{
		Cycle: p.Cycle, At: p.At, TookMS: p.Took.Milliseconds(), Good: p.At, Next: p.Next, Paused: p.Paused,
		Revision: p.Revision, Refused: p.Standing.Refused, Waits: p.Standing.Waits, Newest: p.Standing.Candidate, Held: p.Standing.Held,
		Record: p.Record, Rails: p.Rails,
	}
	if p.Err != nil {
		s.Error = p.Err.Error()
	}
	if p.Snapshot != nil {
		s.Sites, s.Gaps, s.Hazards, s.Alerts = web.SitesOf(p.Snapshot), p.Snapshot.Gaps, p.Snapshot.Hazards, p.Snapshot.Alerts
	}
	for i := range p.Open {
		s.Open = append(s.Open, web.OpenAction{Record: p.Open[i], Percent: p.Percent[i]})
	}
	if p.History != nil {
		s.Quarantine = p.History.Quarantine
		if p.Snapshot != nil {
			s.Swings = p.History.Swings(p.Snapshot)
		}
	}
	s.Evacuations, s.Ordered = web.EvacuationsOf(p.Certificates), p.Ordered
	if len(p.Plans) > 0 {
		s.Holds = p.Plans[0].Holds
	}
	if q := p.Pending; q != nil {
		s.Pending = &web.PendingPlan{Hash: q.Hash, Since: q.Since, Expires: q.Expires, Approvers: q.Approvers, Approved: q.Approved, Doubt: q.Doubt, Plan: q.Plan}
	}
	return s
}

// strongest is the strongest mode in which anything can happen.
func strongest(cfg *configs.Config) engine.Mode {
	kinds := max(cfg.Plan.Modes.Move, cfg.Plan.Modes.Standby, cfg.Plan.Modes.Wake, cfg.Plan.Modes.Maintenance)
	sites, movers := engine.Off, false
	for _, s := range cfg.Sites {
		sites = max(sites, s.Mode)
	}
	for _, v := range cfg.VCenters {
		movers = movers || v.Mover != nil
	}
	mode := min(kinds, sites)
	if !movers {
		mode = min(mode, engine.Advise)
	}
	return mode
}
