// Cloudbalancing runs the core of the planner on OptaPlanner's cloud balancing data
// sets: processes that need CPU, memory and bandwidth, on computers that cost
// something as soon as they are in use.
//
//	go run ./bench/cloudbalancing -instance 100 -data DIR -time 300 -threads 2
//
// It first repeats the published First Fit, which shows that the data and the rules
// are the published ones, and searches from there. Where the folder has a
// reference.csv, it says how far the result is from the published ones.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"heliostat/bench/internal/run"
)

// A report is what one run prints.
type report struct {
	Instance  string      `json:"instance"`
	Computers int         `json:"computers"`
	Processes int         `json:"processes"`
	Seed      uint64      `json:"seed"`
	Threads   int         `json:"threads"`
	FirstFit  int64       `json:"first_fit"` // its cost
	Cost      int64       `json:"cost"`      // of what the core found
	Published []run.Score `json:"published,omitempty"`
	run.Spent
}

func main() { run.Main("cloudbalancing", mainErr) }

func mainErr(clock run.Clock, args []string, out io.Writer) error {
	var f run.Flags
	fs := flag.NewFlagSet("cloudbalancing", flag.ContinueOnError)
	name := fs.String("instance", "", "as 100computers-300processes, or the number of computers alone")
	path := fs.String("out", "", "write the solution to this file, as JSON: the computer of each process")
	if err := f.ParseSearch(fs, 300, args); err != nil {
		return err
	}
	if *name == "" {
		return errors.New("name an instance: -instance 100 -data DIR")
	}
	in, full, err := load(f.Data, *name)
	if err != nil {
		return err
	}
	r := report{Instance: full, Computers: len(in.Computers), Processes: len(in.Processes), Seed: f.Seed, Threads: f.Threads}
	start := in.firstFit()
	if r.FirstFit, err = in.judge(start); err != nil && !errors.Is(err, errOverload) {
		return err
	}
	best, result, spent, err := f.Search(clock, in.problem(), start)
	if err != nil {
		return err
	}
	r.Spent = spent
	if r.Cost, err = in.judge(best); err != nil {
		return fmt.Errorf("the core's solution: %w", err)
	}
	if r.Cost != result.Cost || result.Violations != 0 {
		return fmt.Errorf("the core says %d with %d violations, and the rules say %d", result.Cost, result.Violations, r.Cost)
	}
	if *path != "" {
		b, err := json.Marshal(best)
		if err != nil {
			return err
		}
		if err := os.WriteFile(*path, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if r.Published, err = run.Published(f.Data, full, float64(r.Cost)); err != nil {
		return err
	}
	if f.JSON {
		return json.NewEncoder(out).Encode(r)
	}
	_, err = fmt.Fprintf(out, "%s: cost %d, First Fit %d; %d evaluations, %.1f s, %.1f s of CPU\n",
		r.Instance, r.Cost, r.FirstFit, r.Evaluations, r.WallSeconds, r.CPUSeconds)
	return errors.Join(err, run.PrintPublished(out, r.Published))
}
