// Evacuation measures how well the planner empties a place by a deadline: BtrPlace's
// published decommissioning instances, and generated fleets that cannot be brought
// out whole.
//
//	go run ./bench/evacuation -data DIR
//	go run ./bench/evacuation -short -json
//
// Each run is the planner's Build, its check and Certify, as in the daemon, and prints a
// line. Of an instance it says how long the moves take, simulated, for what they
// would at least: the volume that some interface has to carry. Of a fleet it says
// what works by the deadline, simulated, for the most that any plan could reach.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"heliostat/bench/internal/run"
	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/plan"
)

// A report is what one run prints.
type report struct {
	Name     string  `json:"name"`
	Seed     uint64  `json:"seed,omitempty"`
	VMs      int     `json:"vms"`
	Leave    int     `json:"leave"`
	Work     int     `json:"work"`
	Makespan int64   `json:"makespan_s"`
	Volume   int64   `json:"volume_bound_s,omitempty"`
	Ratio    float64 `json:"makespan_ratio,omitempty"`
	Order    string  `json:"order,omitempty"` // strict or traded tiers
	Value    int64   `json:"value,omitempty"`
	Bound    int64   `json:"value_bound,omitempty"`
	Percent  float64 `json:"value_percent,omitempty"` // of the bound
	BuildMS  int64   `json:"build_ms"`
	CheckMS  int64   `json:"check_ms"`
	ProveMS  int64   `json:"certify_ms"`
}

// A task is one run.
type task struct {
	name  string
	seed  uint64
	input func() (engine.Input, error)
	fleet bool
}

func main() { run.Main("evacuation", mainErr) }

func mainErr(_ run.Clock, args []string, out io.Writer) error {
	var f run.Flags
	fs := flag.NewFlagSet("evacuation", flag.ContinueOnError)
	short := fs.Bool("short", false, "one instance of each kind, and the smaller fleet")
	eta := fs.Int("eta", 0, "instead: foresee the end of so many evacuations under hidden links, interfaces and VMs, and count how many end inside the intervals")
	left := fs.Int("left", 30, "with -eta: of a hundred VMs, how many have left before, from which it learns")
	if err := f.Parse(fs, 600, args); err != nil {
		return err
	}
	if *eta > 0 {
		return cover(&f, *eta, *left, out)
	}
	tasks, err := all(&f, *short)
	if err != nil {
		return err
	}
	start := time.Now()
	reports := make([]report, len(tasks))
	g := errgroup.Group{}
	g.SetLimit(f.Threads)
	for i := range tasks {
		g.Go(func() error {
			if time.Since(start).Seconds() > float64(f.Time) {
				return fmt.Errorf("the time is up before %s: -time gives more", tasks[i].name)
			}
			return measure(&tasks[i], &reports[i])
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range reports {
		if err := reports[i].print(out, f.JSON); err != nil {
			return err
		}
	}
	return nil
}

// all lists the runs: the instances below the folder, if it has any, and the fleets.
func all(f *run.Flags, short bool) ([]task, error) {
	files, err := instances(f.Data)
	if err != nil {
		return nil, err
	}
	var tasks []task
	kind := ""
	for _, path := range files {
		if short && filepath.Dir(path) == kind {
			continue
		}
		kind = filepath.Dir(path)
		name, err := filepath.Rel(f.Data, path)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, task{name: name, input: func() (engine.Input, error) { return load(path) }})
	}
	sizes := []fleetSize{{3, 48, 480, 4000}, {6, 400, 4000, 8000}}
	if short {
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		for seed := f.Seed; seed < f.Seed+3; seed++ {
			for _, scarce := range []bool{false, true} {
				for _, trade := range []bool{false, true} {
					tasks = append(tasks, fleetTask(size, seed, scarce, trade))
				}
			}
		}
	}
	return tasks, nil
}

func fleetTask(size fleetSize, seed uint64, scarce, trade bool) task {
	room := "roomy"
	if scarce {
		room = "scarce"
	}
	return task{name: fmt.Sprintf("%d hosts, %s", size.hosts, room), seed: seed, fleet: true, input: func() (engine.Input, error) {
		in := generate(seed, size, scarce)
		in.Config.TradeTiers = trade
		return in, nil
	}}
}

// measure runs one task.
func measure(t *task, r *report) error {
	in, err := t.input()
	if err != nil {
		return err
	}
	at := time.Now()
	lap := func() int64 {
		d := time.Since(at)
		at = time.Now()
		return d.Milliseconds()
	}
	p := plan.Build(in)
	r.BuildMS = lap()
	if err := check.Plan(in, p); err != nil {
		return fmt.Errorf("%s: the check refuses the plan: %w", t.name, err)
	}
	r.CheckMS = lap()
	c := plan.Certify(in, p)[0]
	r.ProveMS = lap()
	r.Name, r.Seed, r.VMs, r.Leave, r.Work, r.Makespan = t.name, t.seed, c.VMs, c.Leave, c.Work, c.Makespan.Seconds
	if !t.fleet {
		if c.Leave != c.VMs {
			return fmt.Errorf("%s: %d of %d VMs have a way out: %v", t.name, c.Leave, c.VMs, c.Out)
		}
		r.Volume = volume(&in, p)
		r.Ratio = float64(r.Makespan) / float64(r.Volume)
		return nil
	}
	r.Order = "strict"
	if c.Traded {
		r.Order = "traded"
	}
	r.Value, r.Bound = c.Value.Reached, c.Value.Bound
	r.Percent = 100 * float64(r.Value) / float64(max(r.Bound, 1))
	return nil
}

// volume is the longest that an interface needs for what it has to carry at least:
// each VM's memory sent alone at the full rate.
func volume(in *engine.Input, p *engine.Plan) int64 {
	s := in.Snapshot
	mib := make([]int64, len(s.Hosts))
	for i := range p.Actions {
		v, _ := s.FindVM(p.Actions[i].VM)
		from, _ := s.FindHost(p.Actions[i].From.Host)
		to, _ := s.FindHost(p.Actions[i].To.Host)
		e := in.Config.Cost.Estimate(&s.VMs[v], min(s.Hosts[from].NICMbps, s.Hosts[to].NICMbps), 0, 0)
		mib[from] += e.MemoryMiB
		mib[to] += e.MemoryMiB
	}
	most := int64(1)
	for h := range s.Hosts {
		most = max(most, mib[h]*8_388_608/(int64(s.Hosts[h].NICMbps)*1_000_000))
	}
	return most
}

func (r *report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	if r.Order == "" {
		_, err := fmt.Fprintf(out, "%-62s %5d VMs: %5d s, the volume takes %5d s: %.3f\n", r.Name, r.VMs, r.Makespan, r.Volume, r.Ratio)
		return err
	}
	_, err := fmt.Fprintf(out, "%-18s seed %d, %s tiers: %4d of %4d VMs work, %.2f %% of the bound; build %d ms, check %d ms, certify %d ms\n", r.Name, r.Seed, r.Order, r.Work, r.VMs, r.Percent, r.BuildMS, r.CheckMS, r.ProveMS)
	return err
}
