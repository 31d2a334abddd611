// Fleet measures one cycle of the daemon on a generated fleet: what each stage
// costs on the wall and on the processors, how much memory the process takes,
// and how large the journaled parts are.
//
//	go run ./bench/fleet -hosts 15000 -vms 150000
//
// The stages are the daemon's own packages in the daemon's order (engine/cycle),
// in one process and without its sources and targets: nothing is collected, and
// nothing is carried out. The first cycle is cold; before each further one five
// minutes pass, every load changes a little and 1 % of the VMs get another tag.
// Fleets of a sixteenth and a quarter of the size are run as well: between two
// sizes a stage may grow as the fleet does, and not as its square.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"time"

	shared "heliostat/bench/internal/run"
)

// options are the flags.
type options struct {
	hosts, vms, sites int
	seed              uint64
	cycles            int
	changed           float64 // percent of VMs
	scaled            bool
	merge             bool
	holds             float64 // hours
	evaluations       int64   // of a full plan; 0 for the default
	cpuProfile        string
	time              time.Duration
}

// A report is what one invocation prints.
type report struct {
	Go     string  `json:"go"`
	Arch   string  `json:"arch"`
	Cores  int     `json:"cores"`
	Seed   uint64  `json:"seed"`
	Sites  int     `json:"sites"`
	Runs   []run   `json:"runs,omitempty"` // smallest first
	Growth []ratio `json:"growth,omitempty"`

	planner // its fields are the report's own

	Merge *merged `json:"merge,omitempty"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := mainErr(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func mainErr(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	f := shared.Flags{Threads: runtime.GOMAXPROCS(0)}
	fs := flag.NewFlagSet("fleet", flag.ContinueOnError)
	fs.IntVar(&o.hosts, "hosts", 15_000, "hosts of the largest fleet")
	fs.IntVar(&o.vms, "vms", 150_000, "VMs of the largest fleet")
	fs.IntVar(&o.sites, "sites", 15, "sites, over which hosts are spread evenly")
	fs.IntVar(&o.cycles, "cycles", 3, "cycles of each run: the first is cold, the others warm; 0 for the planner alone")
	fs.Float64Var(&o.changed, "changed", 1, "percent of the VMs whose configuration changes between cycles")
	fs.BoolVar(&o.scaled, "scaled", true, "run fleets of 1/16 and 1/4 of the size first")
	fs.BoolVar(&o.merge, "merge", false, "also compare plans with and without VMs that go to other clusters")
	fs.Float64Var(&o.holds, "holds", 24, "hours for which a standby is taken to hold, within which what its moves cost must come back")
	fs.Int64Var(&o.evaluations, "evaluations", 0, "candidates that a full plan may look at; 0 for the daemon's default")
	fs.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of all runs to this file")
	if err := f.Parse(fs, 5, args); err != nil { // with the planner alone, and three plans at least
		return err
	}
	o.seed, o.time = f.Seed, time.Duration(float64(f.Time)*float64(time.Second))
	if o.hosts < 1 || o.vms < 1 || o.sites < 1 || o.cycles < 0 || o.changed < 0 || o.changed > 100 || o.holds < 1 || o.evaluations < 0 {
		return errors.New("hosts, vms, sites and holds are at least 1, cycles and evaluations are not negative, and changed is from 0 to 100")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(f.Threads))
	if o.cpuProfile != "" {
		f, err := os.Create(o.cpuProfile)
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	r, err := measure(ctx, o)
	if err != nil {
		return err
	}
	if f.JSON {
		return json.NewEncoder(out).Encode(r)
	}
	return r.table(out)
}

// measure runs the fleets, the smallest first, since the peak of resident memory
// is the process's.
func measure(ctx context.Context, o options) (*report, error) {
	r := &report{Go: runtime.Version(), Arch: runtime.GOARCH, Cores: runtime.GOMAXPROCS(0), Seed: o.seed, Sites: o.sites}
	parts := []int{1}
	switch {
	case o.cycles == 0:
		parts = nil
	case o.scaled:
		parts = []int{16, 4, 1}
	}
	for _, part := range parts {
		x := o
		x.hosts, x.vms = max(o.hosts/part, 1), max(o.vms/part, 1)
		res, err := runFleet(ctx, x)
		if err != nil {
			return nil, fmt.Errorf("%d hosts and %d VMs: %w", x.hosts, x.vms, err)
		}
		r.Runs = append(r.Runs, *res)
		runtime.GC()
	}
	for i := 1; i < len(r.Runs); i++ {
		r.Growth = append(r.Growth, growth(&r.Runs[i-1], &r.Runs[i]))
	}
	x, err := measurePlanner(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("planner: %w", err)
	}
	r.planner = *x
	if o.merge {
		if r.Merge, err = measureMerging(ctx, o); err != nil {
			return nil, fmt.Errorf("merging: %w", err)
		}
	}
	return r, nil
}
