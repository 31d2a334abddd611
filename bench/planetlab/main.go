// Planetlab runs the planner on a day of recorded load of PlanetLab's VMs, by the
// rules of CloudSim's well-known experiment, beside policies of that experiment.
//
//	go run ./bench/planetlab -data DIR -day 20110303 -json
//
// NPA, DVFS, THR-MMT and LR-MMT repeat CloudSim 3.0.3, which shows that the rules
// are the published ones. Heliostat then runs on the same world, through the daemon's
// line: the shipped policy dpm with its shipped parameters, the planner, its check.
package main

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"heliostat/bench/internal/run"
)

// A report is what one policy comes to on one day.
type report struct {
	Day         string  `json:"day"`
	Policy      string  `json:"policy"`
	CPUMaxPct   int     `json:"cpu_max_pct,omitzero"`
	Warm        bool    `json:"warm,omitzero"`
	VMs         int     `json:"vms"`
	EnergyKWh   float64 `json:"energy_kwh"`
	Migrations  int     `json:"migrations"`
	SLATAH      float64 `json:"slatah"` // part of the time of active hosts in which VMs ask for more than they get
	PDM         float64 `json:"pdm"`    // part of what is asked for that migrations cost
	ESV         float64 `json:"esv"`    // energy_kwh x slatah x pdm
	Unserved    float64 `json:"unserved_mips"`
	UnservedPct float64 `json:"unserved_percent"` // of what is asked for
	BoundKWh    float64 `json:"lower_bound_kwh"`
	Switches    int     `json:"power_switches"`
	CPUSeconds  float64 `json:"cpu_seconds"`
}

func main() { run.Main("planetlab", mainErr) }

func mainErr(clock run.Clock, args []string, out io.Writer) error {
	var f run.Flags
	fs := flag.NewFlagSet("planetlab", flag.ContinueOnError)
	name := fs.String("day", "20110303", "as 20110303")
	fill := fs.Int("cpu-max", 80, "percent of a host's CPU to which heliostat fills it (cpu_max_pct)")
	warm := fs.Bool("warm", false, "heliostat has watched the fleet for an hour before the day begins, with the load of the first sample")
	curve := fs.Bool("curve", false, "heliostat with several -cpu-max, for the trade-off")
	if err := f.Parse(fs, 60, args); err != nil {
		return err
	}
	trace, err := load(filepath.Join(f.Data, *name+".csv.gz"))
	if err != nil {
		return err
	}
	names := []string{"NPA", "DVFS", "THR-MMT-0.8", "LR-MMT-1.2"}
	fills := []int{*fill}
	if *curve {
		fills = []int{50, 60, 70, 80, 90, 100}
	}
	for range fills {
		names = append(names, "heliostat")
	}
	for i, policy := range names {
		began := clock.CPU()
		w := newWorld(trace)
		cpuMax := 0
		if policy == "heliostat" {
			cpuMax = fills[i-4]
		}
		if err := play(w, policy, cpuMax, *warm); err != nil {
			return fmt.Errorf("%s: %w", policy, err)
		}
		r := w.report(*name, policy)
		r.CPUMaxPct, r.Warm, r.CPUSeconds = cpuMax, *warm && cpuMax > 0, clock.CPU()-began
		if err := show(out, &r, f.JSON); err != nil {
			return err
		}
	}
	return nil
}

// play lets a policy have the day.
func play(w *world, policy string, cpuMax int, warm bool) error {
	b := newBaseline(w, threshold(0.8))
	first, decide := w.firstFit, (func() ([]move, error))(nil)
	switch policy {
	case "NPA":
		w.npa = true
	case "DVFS":
	case "THR-MMT-0.8":
		first, decide = b.first(0.8), b.decide
	case "LR-MMT-1.2":
		b.over = regression(1.2)
		first, decide = b.first(0.7), b.decide
	default:
		ctx := context.Background()
		d, err := newDaemon(ctx, w, settings(cpuMax))
		if err != nil {
			return err
		}
		first, decide = b.first(0.8), func() ([]move, error) {
			if warm {
				d.watch()
				warm = false
			}
			return d.decide(ctx)
		}
	}
	if !w.create(first) {
		return errors.New("a VM has no host")
	}
	return w.run(decide)
}

func show(out io.Writer, r *report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	_, err := fmt.Fprintf(out, "%s %-12s %8.2f kWh (bound %.2f), %6d migrations, ESV %.3e, %.3f %% unserved, %.1f s of CPU\n",
		r.Day, r.Policy, r.EnergyKWh, r.BoundKWh, r.Migrations, r.ESV, r.UnservedPct, r.CPUSeconds)
	return err
}

func (w *world) report(day, policy string) report {
	r := report{
		Day: day, Policy: policy, VMs: len(w.vms), EnergyKWh: w.joules / 3.6e6, Migrations: w.migrations, PDM: w.lost / w.asked, BoundKWh: w.bound(), Switches: w.switches,
		Unserved: w.missed / w.now, UnservedPct: 100 * w.missed / w.asked,
	}
	var active, full float64
	for h := range w.hosts {
		active += w.hosts[h].active
		full += w.hosts[h].full
	}
	if active > 0 {
		r.SLATAH = full / active
	}
	r.ESV = r.EnergyKWh * r.SLATAH * r.PDM
	return r
}

func load(path string) ([][]float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		return nil, err
	}
	out := make([][]float64, len(rows))
	for i, row := range rows {
		for _, cell := range row[1:] {
			x, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				return nil, fmt.Errorf("read %s: line %d: %w", path, i+1, err)
			}
			out[i] = append(out[i], x/100)
		}
	}
	return out, nil
}
