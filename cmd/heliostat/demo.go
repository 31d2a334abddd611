package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/configs"
	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/internal/bubble"
	"heliostat/lab"
	"heliostat/store"
)

// demoFlags are what a demo may vary in.
type demoFlags struct {
	headless bool
	hours    float64
	seed     uint64
	state    string
	minutes  float64
}

func newDemo(g *globals) *cobra.Command {
	f := demoFlags{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole job on three simulated datacentres, a day in about two minutes",
		Long: `The demo starts three simulated vCenters (Houston, Frankfurt and Tokyo, with the round
trips that they have) and the daemon, in one process, talking SOAP over TLS. In a
day of simulated time it shows VMs that follow the sun, hosts put in standby by
night and woken in the morning, one host emptied for maintenance, and a hurricane
that empties Houston, disks included, before it strikes. An observer that shares
no code with the planner counts what goes wrong.

Time is virtual: with --headless it runs as fast as it can be computed.`,
		Example: `  heliostat demo
  heliostat demo --headless --hours 24 --seed 1 --state ./demo --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.hours < 1 || f.hours > 24*28 {
				return codeError{exitUsage, fmt.Errorf("--hours: %v is not between 1 and %d", f.hours, 24*28)}
			}
			if f.minutes <= 0 {
				return codeError{exitUsage, fmt.Errorf("--minutes: %v is not positive", f.minutes)}
			}
			s, err := runDemo(cmd.Context(), f, g, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return s.print(cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.headless, "headless", false, "run as fast as it can be computed, with nothing to watch")
	fl.Float64Var(&f.hours, "hours", 24, "simulated hours")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the fleet and its load; the same seed gives the same day")
	fl.StringVar(&f.state, "state", "", "keep configuration and journal here (default: a new folder under the system's temporary one)")
	fl.Float64Var(&f.minutes, "minutes", 2, "wall minutes that a simulated day takes at least, to be watched")
	return cmd
}

// demoStart is when the simulated day begins: a Monday near the equinox, early
// morning in Frankfurt, deep night in Houston.
var demoStart = time.Date(2026, 9, 21, 4, 0, 0, 0, time.UTC)

// The day's events, after demoStart.
const (
	demoEvery        = 5 * time.Minute
	maintenanceFrom  = 2 * time.Hour
	maintenanceUntil = 6 * time.Hour
	hazardKnown      = 17 * time.Hour // when the advisory is issued
	hazardArrives    = 23 * time.Hour // the earliest arrival of damaging winds
	threatenedSite   = "houston"
)

// demo is one run.
type demo struct {
	demoFlags
	out      io.Writer // progress; nil for none
	log      *slog.Logger
	lab      *lab.Lab
	files    labFiles
	observer *lab.Observer
	meter    *lab.Meter
	daemon   *daemon
	deadline time.Time
	start    time.Time
}

func runDemo(outer context.Context, f demoFlags, g *globals, out io.Writer) (*summary, error) {
	if f.state == "" {
		dir, err := os.MkdirTemp("", "heliostat-demo-")
		if err != nil {
			return nil, err
		}
		f.state = dir
	}
	if err := os.MkdirAll(f.state, 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(f.state, "state", "journal.db")); err == nil {
		return nil, codeError{exitUsage, fmt.Errorf("--state: %s holds the journal of an earlier run: give another folder", f.state)}
	}
	logFile, err := os.OpenFile(filepath.Join(f.state, "heliostat.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	d := &demo{demoFlags: f, log: slog.New(slog.NewTextHandler(logFile, nil)), observer: lab.NewObserver(), meter: lab.NewMeter()}
	if !f.headless && !g.json {
		d.out = out
	}
	if d.out != nil {
		_, _ = fmt.Fprintf(d.out, "Houston, Frankfurt and Tokyo, simulated: %v h from %s, a day in about %v min.\nThe daemon's log and journal are in %s. End it early with Ctrl-C.\n\n", f.hours, demoStart.Format("Monday 15:04 MST"), f.minutes, f.state)
	}
	var s *summary
	wall := time.Now()
	// What runs in the bubble cannot wait for a signal outside it. The journal
	// bears being ended at any moment.
	defer endAtOnce(outer, fmt.Sprintf("'heliostat journal ls --state %s' shows what it did", filepath.Join(f.state, "state")))()
	err = bubble.Run(func(ctx context.Context) error {
		var err error
		s, err = d.run(ctx)
		return err
	})
	if s != nil {
		s.WallSeconds = time.Since(wall).Seconds()
	}
	return s, err
}

// run is the whole demo, in a bubble.
func (d *demo) run(ctx context.Context) (*summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	time.Sleep(time.Until(demoStart)) // a bubble's time begins in the year 2000
	d.start = time.Now()
	cfg := lab.DemoConfig(d.seed)
	cfg.Start, cfg.Speed, cfg.Demand = d.start, 1, demoDemand(cfg)
	var err error
	if d.lab, err = lab.New(cfg); err != nil {
		return nil, err
	}
	d.lab.ServePipe(ctx)
	defer d.lab.Close()
	d.files, err = writeLabFiles(d.state, cfg, d.lab.Endpoints(), labOptions{
		every: demoEvery, minGap: time.Minute, unchecked: true,
		maintenance: &maintenance{host: d.maintained(), from: d.start.Add(maintenanceFrom), to: d.start.Add(maintenanceUntil)},
	})
	if err != nil {
		return nil, err
	}
	if err := d.startDaemon(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = d.daemon.journal.Close() }()
	ended := make(chan error, 1)
	daemonCtx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ended <- d.daemon.run(daemonCtx) }()
	if d.out != nil {
		// A day in so many minutes: small steps, so that it looks smooth.
		const step = time.Minute
		go pace(ctx, step, time.Duration(float64(step)*d.minutes/(24*60)))
	}
	err = d.watch(ctx, ended)
	stop()
	err = errors.Join(err, <-ended)
	if err != nil {
		return nil, err
	}
	return d.sum()
}

func (d *demo) startDaemon(ctx context.Context) error {
	cfg, err := configs.Load(d.files.config)
	if err != nil {
		return fmt.Errorf("own configuration: %w", err)
	}
	j, err := store.Open(cfg.State.Dir, store.Options{})
	if err != nil {
		return err
	}
	at := surroundings{log: d.log, dial: d.lab.Dial, noSockets: true}
	if d.out != nil {
		at.onPublish = newProgress(d.out, d.start).show
	}
	d.daemon, err = newDaemon(ctx, cfg, j, at)
	return err
}

// maintained is the host that goes into maintenance: the first of the last site.
func (d *demo) maintained() string {
	w := d.lab.World()
	last := len(w.Sites) - 1
	for _, h := range w.Hosts {
		if h.Site == last {
			return h.Name
		}
	}
	return ""
}

// watch lets time pass, shows the lab to observer and meter each minute, and
// makes the day's events happen.
func (d *demo) watch(ctx context.Context, ended chan error) error {
	end := d.start.Add(time.Duration(d.hours * float64(time.Hour)))
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		w := d.lab.World()
		d.observer.Observe(w)
		d.meter.Observe(w)
		if d.deadline.IsZero() && time.Since(d.start) >= hazardKnown {
			if err := d.hazard(); err != nil {
				return err
			}
		}
		if !time.Now().Before(end) {
			return nil
		}
		select {
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the daemon ended early: %w", err)
		case <-minute.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hazard issues the hurricane's advisory.
func (d *demo) hazard() error {
	now := time.Now().UTC()
	arrives := d.start.Add(hazardArrives).UTC()
	d.deadline = arrives
	text := fmt.Sprintf(`[{"hazard": "al092026", "site": %q, "kind": "hurricane", "severity": "extreme", "threshold": "64 kt", "p": 0.8,
  "t_earliest": %q, "t_likely": %q, "t_end": %q, "source": "demo", "advisory": "14", "issued": %q, "valid_until": %q, "method": "official"}]
`, threatenedSite, stamp(arrives), stamp(arrives.Add(4*time.Hour)), stamp(arrives.Add(24*time.Hour)), stamp(now), stamp(arrives.Add(36*time.Hour)))
	tmp := d.files.hazards + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, d.files.hazards); err != nil {
		return err
	}
	if d.out != nil {
		_, _ = fmt.Fprintf(d.out, "\n*** advisory: hurricane al092026 may reach %s at %s\n\n", threatenedSite, arrives.Format("15:04"))
	}
	d.daemon.loop.Poke("the list of hazards changed")
	return d.observer.Threaten(threatenedSite, arrives)
}

func stamp(t time.Time) string { return t.Format(time.RFC3339) }

// sum adds up what journal, observer and meter know.
func (d *demo) sum() (*summary, error) {
	w := d.lab.World()
	s := &summary{Hours: d.hours, Seed: d.seed, Sites: len(w.Sites), Hosts: len(w.Hosts), VMs: d.lab.Guests(), State: filepath.Join(d.state, "state")}
	var evacuation *lab.EvacuationReport
	if !d.deadline.IsZero() {
		s.Threatened = threatenedSite
		e := d.observer.Evacuation(threatenedSite)
		evacuation = &e
	}
	s.fromLab(d.observer.Report(), d.meter.Reading(), evacuation)
	j := d.daemon.journal
	held, err := s.fromJournal(j, engine.SiteID(threatenedSite))
	if err != nil {
		return nil, err
	}
	if evacuation != nil {
		s.WronglyHeld = len(d.observer.WronglyHeld(held))
	}
	last := j.Last()
	s.JournalEntries, s.JournalHead = last.Seq, last.Hash
	return s, nil
}

// progress shows a run as it happens.
type progress struct {
	w     io.Writer
	start time.Time
	cycle uint64
	every uint64
}

func newProgress(w io.Writer, start time.Time) *progress {
	return &progress{w: w, start: start, every: 3}
}

// show prints a line for each of a few cycles, and one for each action on a host.
func (p *progress) show(x cycle.Published) {
	for i := range x.Ended {
		r := &x.Ended[i]
		if r.Action.Kind != engine.Move || (r.State != engine.StateSucceeded && r.State != engine.StateStale) {
			_, _ = fmt.Fprintf(p.w, "         %s: %s\n", r.Action.String(), strings.TrimSpace(string(r.State)+" "+r.Error))
		}
	}
	if x.Cycle == p.cycle || x.Snapshot == nil {
		return
	}
	p.cycle = x.Cycle
	if x.Cycle%p.every != 1 {
		return
	}
	var line strings.Builder
	fmt.Fprintf(&line, "%s UTC ", x.At.UTC().Format("15:04"))
	s := x.Snapshot
	on, vms := make([]int, len(s.Sites)), make([]int, len(s.Sites))
	hosts := make([]int, len(s.Sites))
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Site >= 0 {
			hosts[h.Site]++
			if h.Power == engine.HostOn {
				on[h.Site]++
			}
		}
	}
	for i := range s.VMs {
		if site := s.VMSite(int32(i)); site >= 0 && s.VMs[i].Power == engine.VMOn {
			vms[site]++
		}
	}
	for i := range s.Sites {
		sun := "night"
		if e := s.Sites[i].SunMilliDeg; e != engine.Unknown && e > 0 {
			sun = fmt.Sprintf("%2d deg", e/1000)
		}
		fmt.Fprintf(&line, " | %-9s sun %-6s %3d VMs %2d/%d on", s.Sites[i].ID, sun, vms[i], on[i], hosts[i])
	}
	_, _ = fmt.Fprintf(p.w, "%s | %5.1f kW | %d moving, %d held\n", line.String(), float64(x.Record.PowerW)/1000, len(x.Open), x.Record.Holds)
}

// demoOffice is how many of a hundred VMs keep office hours, so that a day and a
// night can be told apart. In recorded fleets it is fewer: see lab.RecordedOfficePct.
const demoOffice = 60

// demoDemand gives each VM the day of the site where it began: the sun's time
// there, to the hour.
func demoDemand(cfg lab.Config) lab.Demand {
	var offsets []time.Duration
	for _, s := range cfg.Sites {
		for _, c := range s.Clusters {
			for range c.VMs {
				offsets = append(offsets, time.Duration(math.Round(s.Lon/15))*time.Hour)
			}
		}
	}
	d := lab.NewDemand(cfg.Seed, offsets)
	d.OfficePct = demoOffice
	return d
}
