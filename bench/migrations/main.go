// Migrations measures how well the cost model predicts live migrations that others
// have measured: 1,000 on a 1 Gbit/s network, published with BtrPlace.
//
//	go run ./bench/migrations -data DIR -seed 1 -json
//
// It learns from one half as the daemon learns from its own moves, one by one, and
// predicts the other half, then the other way round; and so for many ways to halve.
// BtrPlace's own prediction, which is in the data, is the comparison.
package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"heliostat/bench/internal/run"
	"heliostat/engine"
)

// A migration is one that was measured.
type migration struct {
	vm       engine.VM
	mbps     int32   // planned for it
	real     float64 // seconds
	btrplace float64 // seconds, predicted
	run      int
}

// A report is what one run prints. Errors are means of |predicted - real| / real.
type report struct {
	Migrations   int     `json:"migrations"`
	Seed         uint64  `json:"seed"`
	Splits       int     `json:"splits"`
	ErrorPct     float64 `json:"error_percent"`       // on halves that were held out, mean of all splits
	WorstPct     float64 `json:"worst_error_percent"` // of one half
	RunsPct      float64 `json:"runs_error_percent"`  // learnt from the first half of the runs, held against the others
	UntaughtPct  float64 `json:"untaught_percent"`    // the model before it has learnt anything
	BtrPlacePct  float64 `json:"btrplace_percent"`    // BtrPlace's own, on all
	WithinPct    float64 `json:"within_percent"`      // real durations within the interval for nine in ten
	Efficiency   float64 `json:"efficiency"`          // learnt from the last half
	SetupSeconds float64 `json:"setup_seconds"`       // likewise
	CPUSeconds   float64 `json:"cpu_seconds"`         // of the whole program
}

func main() { run.Main("migrations", mainErr) }

func mainErr(clock run.Clock, args []string, out io.Writer) error {
	var f run.Flags
	fs := flag.NewFlagSet("migrations", flag.ContinueOnError)
	splits := fs.Int("splits", 50, "ways to halve the migrations at random")
	if err := f.Parse(fs, 60, args); err != nil {
		return err
	}
	if *splits < 1 {
		return errors.New("-splits is at least 1")
	}
	all, err := load(filepath.Join(f.Data, "g5k-qemu-precopy.csv"))
	if err != nil {
		return err
	}
	r := measure(all, f.Seed, *splits)
	r.CPUSeconds = clock.CPU()
	if f.JSON {
		return json.NewEncoder(out).Encode(r)
	}
	_, err = fmt.Fprintf(out, "%d migrations, %d halvings: %.2f %% off (worst half %.2f %%), %.1f %% within the interval; untaught %.1f %%, BtrPlace %.1f %%\n",
		r.Migrations, r.Splits, r.ErrorPct, r.WorstPct, r.WithinPct, r.UntaughtPct, r.BtrPlacePct)
	return err
}

// measure halves the migrations in every way and sums up.
func measure(all []migration, seed uint64, splits int) report {
	r := report{Migrations: len(all), Seed: seed, Splits: splits}
	model := engine.DefaultCostModel()
	untaught := engine.NewMoveFit(model)
	last := 0
	for i := range all {
		r.BtrPlacePct += 100 * math.Abs(all[i].btrplace-all[i].real) / all[i].real / float64(len(all))
		last = max(last, all[i].run)
	}
	r.UntaughtPct, _ = hold(model, &untaught, all)
	dice := rand.New(rand.NewPCG(seed, 0))
	x := slices.Clone(all)
	for range splits {
		dice.Shuffle(len(x), func(i, j int) { x[i], x[j] = x[j], x[i] })
		half := len(x) / 2
		for _, side := range [2][2][]migration{{x[:half], x[half:]}, {x[half:], x[:half]}} {
			fit := learn(model, side[0])
			off, within := hold(model, &fit, side[1])
			r.ErrorPct += off / float64(2*splits)
			r.WithinPct += within / float64(2*splits)
			r.WorstPct = max(r.WorstPct, off)
			r.Efficiency, r.SetupSeconds = 1/fit.Slow, fit.SetupS
		}
	}
	late := func(m migration) bool { return m.run > last/2 }
	fit := learn(model, slices.DeleteFunc(slices.Clone(all), late))
	r.RunsPct, _ = hold(model, &fit, slices.DeleteFunc(slices.Clone(all), func(m migration) bool { return !late(m) }))
	return r
}

// learn does what the daemon does with moves that end: predict, then learn.
func learn(model engine.CostModel, from []migration) engine.MoveFit {
	fit := engine.NewMoveFit(model)
	for i := range from {
		m := &from[i]
		e := model.Learnt(&fit, &m.vm, m.mbps, 0, 0)
		fit.Learn(e.LineSeconds(), m.real)
	}
	return fit
}

// hold predicts each, and returns by how much it is off and how many are within
// the interval, both in percent.
func hold(model engine.CostModel, fit *engine.MoveFit, out []migration) (off, within float64) {
	for i := range out {
		m := &out[i]
		e := model.Learnt(fit, &m.vm, m.mbps, 0, 0)
		off += 100 * math.Abs(float64(e.Seconds)-m.real) / m.real / float64(len(out))
		if low, high := fit.Within(e.Seconds); float64(low) <= m.real && m.real <= float64(high) {
			within += 100 / float64(len(out))
		}
	}
	return off, within
}

// load reads the table. Its megabytes are decimal, ours are MiB.
func load(path string) ([]migration, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(rows) < 3 {
		return nil, fmt.Errorf("read %s: no migrations", path)
	}
	out := make([]migration, 0, len(rows)-1)
	for n, row := range rows[1:] {
		bad := ""
		at := func(name string) float64 {
			i := slices.Index(rows[0], name)
			if i < 0 {
				bad = "no column " + name
				return 0
			}
			x, err := strconv.ParseFloat(row[i], 64)
			if err != nil {
				bad = name + " is " + row[i]
			}
			return x
		}
		m := migration{
			// The model takes an eighth of what is active for the hot set.
			vm:   engine.VM{Power: engine.VMOn, UsedMiB: mib(at("mem_used_mb")), ActiveMiB: 8 * mib(at("hot_set_mb")), DirtyMbps: int32(math.Round(8 * at("dirty_rate_mb_s")))},
			mbps: int32(at("planned_bw_mbit_s")), real: at("measured_end_s") - at("measured_start_s"), btrplace: at("predicted_end_s") - at("predicted_start_s"), run: int(at("run")),
		}
		if m.real <= 0 {
			bad = "it took no time"
		}
		if bad != "" {
			return nil, fmt.Errorf("read %s: line %d: %s", path, n+2, bad)
		}
		out = append(out, m)
	}
	return out, nil
}

func mib(mb float64) int32 { return int32(math.Round(mb * 1e6 / (1 << 20))) }
