// Roadef runs the core of the planner on instances of the ROADEF/EURO challenge
// 2012, machine reassignment, whose constraints are a planner's: transient use is a
// move's double occupancy, a conflict is anti-affinity, spread is over fault
// domains, and a dependency keeps services near one another.
//
//	go run ./bench/roadef -instance b_1 -data DIR -time 300 -threads 2 -out b_1.solution
//
// It reads model_b_1.txt and assignment_b_1.txt, or the same with .gz, writes the
// solution as the challenge wants it, and prices that with code of its own, apart
// from the core's. Where the folder has a reference.csv, it says how far the
// solution is from the published ones.
package main

import (
	"bufio"
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
	Instance    string      `json:"instance"`
	Machines    int         `json:"machines"`
	Processes   int         `json:"processes"`
	Services    int         `json:"services"`
	Seed        uint64      `json:"seed"`
	Threads     int         `json:"threads"`
	InitialCost int64       `json:"initial_cost"`
	Cost        int64       `json:"cost"` // by the program's own rules
	Published   []run.Score `json:"published,omitempty"`
	run.Spent
}

func main() { run.Main("roadef", mainErr) }

func mainErr(clock run.Clock, args []string, out io.Writer) error {
	var f run.Flags
	fs := flag.NewFlagSet("roadef", flag.ContinueOnError)
	instance := fs.String("instance", "", "as b_1: of model_b_1.txt and assignment_b_1.txt")
	path := fs.String("out", "", "write the solution to this file")
	if err := f.ParseSearch(fs, 300, args); err != nil {
		return err
	}
	if *instance == "" {
		return errors.New("name an instance: -instance b_1 -data DIR")
	}
	m, initial, err := load(f.Data, *instance)
	if err != nil {
		return err
	}
	r := report{
		Instance: *instance, Machines: len(m.machines), Processes: len(m.processes), Services: len(m.services),
		Seed: f.Seed, Threads: f.Threads,
	}
	if r.InitialCost, err = m.judge(initial, initial); err != nil {
		return fmt.Errorf("the initial assignment: %w", err)
	}
	best, result, spent, err := f.Search(clock, m.problem(initial), initial)
	if err != nil {
		return err
	}
	r.Spent = spent
	if r.Cost, err = m.judge(initial, best); err != nil {
		return fmt.Errorf("the core's solution: %w", err)
	}
	if r.Cost != result.Cost || result.Violations != 0 {
		return fmt.Errorf("the core says %d with %d violations, and the rules say %d", result.Cost, result.Violations, r.Cost)
	}
	if *path != "" {
		if err := write(*path, best); err != nil {
			return err
		}
	}
	if r.Published, err = run.Published(f.Data, *instance, float64(r.Cost)); err != nil {
		return err
	}
	if f.JSON {
		return json.NewEncoder(out).Encode(r)
	}
	_, err = fmt.Fprintf(out, "%s: %d processes on %d machines, cost %d, at first %d; %d evaluations, %.1f s, %.1f s of CPU\n",
		r.Instance, r.Processes, r.Machines, r.Cost, r.InitialCost, r.Evaluations, r.WallSeconds, r.CPUSeconds)
	return errors.Join(err, run.PrintPublished(out, r.Published))
}

// write writes machines, process by process, on one line.
func write(path string, at []int32) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for i, machine := range at {
		_, _ = fmt.Fprintf(w, "%s%d", [2]string{"", " "}[min(i, 1)], machine) // Flush says
	}
	_, _ = w.WriteString("\n")
	return errors.Join(w.Flush(), f.Close())
}
