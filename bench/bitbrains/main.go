// Bitbrains runs the daemon's line for weeks on load that was recorded of 500 VMs on
// VMware (GWA-T-12 "Rnd", by courtesy of Bitbrains and the Grid Workloads Archive):
// the shipped policy dpm with its shipped parameters, the planner, its check, and a
// cluster that carries out what they decide.
//
//	go run ./bench/bitbrains -data DIR -days 28 -json
//
// It asks how much of the power of idle hosts is saved, of what could be, and at
// what unrest: moves, power switches, and hosts that had too little CPU.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"

	"heliostat/bench/internal/line"
	"heliostat/bench/internal/run"
	"heliostat/engine"
)

// A report is what one run prints.
type report struct {
	Days       float64                 `json:"days"`
	VMs        int                     `json:"vms"`
	Hosts      int                     `json:"hosts"`
	SharePct   float64                 `json:"share_of_saving"`       // percent of the host hours that could be saved
	Moves      float64                 `json:"moves_per_vm_day"`      //
	Switches   float64                 `json:"switches_per_host_day"` // into standby and out of it
	Returns    int                     `json:"returns"`               // moves back to the host left last, within power_holds_s
	OverPct    float64                 `json:"overloaded_percent"`    // of the time of hosts that are on: their VMs ask for more CPU than they have
	HostsOn    float64                 `json:"hosts_on_mean"`
	Bound      float64                 `json:"hosts_needed_mean"` // at least, for the load at each moment, with the reserve
	Holds      map[engine.HoldCode]int `json:"standby_holds"`     // why hosts that policies permit to sleep did not, times
	CPUSeconds float64                 `json:"cpu_seconds"`
	PackPct    int32                   `json:"pack_pct"`
	SurgePct   int32                   `json:"surge_pct"`
	CPUMaxPct  int32                   `json:"cpu_max_pct"`
	MemMaxPct  int32                   `json:"mem_max_pct"`
	Reserve    int32                   `json:"reserve_hosts"`
	CooldownS  int64                   `json:"power_cooldown_s"`
}

func main() { run.Main("bitbrains", mainErr) }

func mainErr(clock run.Clock, args []string, out io.Writer) error {
	var f run.Flags
	c := engine.DefaultConfig()
	fs := flag.NewFlagSet("bitbrains", flag.ContinueOnError)
	month := fs.String("month", "2013-8", "as 2013-8")
	days := fs.Float64("days", 28, "days, after one that only fills the memory")
	hosts := fs.Int("hosts", 18, "of 32 cores at 2.6 GHz, with 512 GiB")
	reserve := fs.Int("reserve", int(c.ReserveHosts), "host failures that the cluster must survive (reserve_hosts)")
	fill := fs.Int("cpu-max", int(c.CPUMaxPct), "percent of a host's CPU that is filled (cpu_max_pct)")
	pack := fs.Int("pack", int(c.PackPct), "percentile of the last hour that VMs are packed on (pack_pct)")
	surge := fs.Int("surge", int(c.SurgePct), "percent of the largest rise in a week for which room is kept (surge_pct)")
	perCycle := fs.Int("moves-per-cycle", int(c.MovesPerCycle), "moves of a cycle (moves_per_cycle): no host with more VMs is emptied")
	fs.Int64Var(&c.CooldownS, "cooldown", c.CooldownS, "seconds before a VM moves again (cooldown_s)")
	fs.Int64Var(&c.PowerCooldownS, "power-cooldown", c.PowerCooldownS, "seconds before a host changes its state again (power_cooldown_s)")
	fs.Int64Var(&c.PowerCycleMicro, "power-cycle", c.PowerCycleMicro, "micro-euros that a standby and a wake cost (power_cycle_micro_eur)")
	fs.Int64Var(&c.PowerHoldsS, "holds", c.PowerHoldsS, "seconds for which a standby is expected to hold (power_holds_s)")
	curve := fs.Bool("curve", false, "several -surge, for the trade-off")
	limited := fs.Bool("limits", false, "what comes of the number of hosts alone, without and with foresight of the load, instead")
	if err := f.Parse(fs, 60, args); err != nil {
		return err
	}
	if *limited {
		w, err := load(f.Data, *month, *hosts)
		if err != nil {
			return err
		}
		return limits(w, int32(*fill), int32(*reserve), *days, f.JSON, out)
	}
	c.ReserveHosts, c.CPUMaxPct, c.PackPct = int32(*reserve), int32(*fill), int32(*pack)
	c.MovesPerCycle = int32(*perCycle)
	surges := []int{*surge}
	if *curve {
		surges = []int{0, 50, 100, 150, 200}
	}
	for _, pct := range surges {
		c.SurgePct = int32(pct)
		if err := c.Validate(); err != nil {
			return err
		}
		w, err := load(f.Data, *month, *hosts)
		if err != nil {
			return err
		}
		if err := measure(clock, w, c, *days, f.JSON, out); err != nil {
			return err
		}
	}
	return nil
}

// measure plays the days by one configuration and prints what came of it.
func measure(clock run.Clock, w *world, c engine.Config, days float64, asJSON bool, out io.Writer) error {
	ctx, began := context.Background(), clock.CPU()
	l, err := line.Open(ctx, c)
	if err != nil {
		return err
	}
	if err := w.play(ctx, l, days); err != nil {
		return err
	}
	r := w.report(l)
	r.CPUSeconds = clock.CPU() - began
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	_, err = fmt.Fprintf(out, "surge_pct %d, %.0f days, %d VMs on %d hosts: %.1f %% of the possible saving, %.3f moves a VM and day, %.2f switches a host and day, %.4f %% of host time overloaded; %.1f s of CPU\n",
		r.SurgePct, r.Days, r.VMs, r.Hosts, r.SharePct, r.Moves, r.Switches, r.OverPct, r.CPUSeconds)
	return err
}
