package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/sim/shuffle"
	"heliostat/engine/sim/soak"
)

// simFlags are what a simulation may vary in.
type simFlags struct {
	days    int
	seed    uint64
	faults  bool
	drs     bool
	harm    bool
	until   time.Duration
	verbose bool
	orders  int
}

func newSim(g *globals) *cobra.Command {
	f := simFlags{}
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run the planner's core for simulated months against a world that lies and breaks",
		Long: `Run what decides (history, doubt, planner, check) and the executor's rules against
seeded fleets in memory, on virtual time. With --faults calls are lost, tasks fail,
hang and vanish, feeds freeze, lie or leave things out, vCenters do not answer, hosts
crash, persons move VMs and take hosts, and the daemon is killed and started again.
A judge that shares no code with what it judges looks at every event.

With --drs every cluster balances its hosts by itself every five minutes, and the
judge sees to it that the daemon and a scheduler do not both move a VM within an hour:
but for evacuations, and for what the daemon hands over to a cluster, which is for its
scheduler to place (counted as "onward").

A fleet lives for ten days. The first has the seed given, each next one more: what
is reported of seed 17 is replayed with --seed 17, by itself. The same seed gives
the same run, and so the same trace_sha256.

With --orders no time passes: random plans of random fleets are carried out in that
many random orders in all, with any overlap that the plans' edges allow and with
actions that fail, and a judge looks at every start: capacity, space, reserve, rules
that keep VMs apart or in their place, hosts that must be ready or empty, slots.

It exits with 1 when a rule was broken.`,
		Example: `  heliostat sim --days 1000 --seed 1 --faults --json
  heliostat sim --orders 1000000 --seed 1 --json
  heliostat sim --days 28 --seed 1 --drs
  heliostat sim --days 28 --seed 1 --harm
  heliostat sim --days 10 --seed 17 --faults --until 53h20m --verbose`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.days < 1 || f.days > 100_000 {
				return codeError{exitUsage, fmt.Errorf("--days: %d is not between 1 and 100000", f.days)}
			}
			if f.until < 0 {
				return codeError{exitUsage, fmt.Errorf("--until: %s is negative", f.until)}
			}
			if f.orders < 0 {
				return codeError{exitUsage, fmt.Errorf("--orders: %d is negative", f.orders)}
			}
			defer endAtOnce(cmd.Context(), "the same seed begins it again")()
			if f.orders > 0 {
				return runOrders(f, g.json, cmd.OutOrStdout())
			}
			if f.harm {
				return runHarm(f, g.json, cmd.OutOrStdout())
			}
			return runSim(f, g.json, cmd.OutOrStdout(), os.Stderr)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&f.days, "days", 30, "days to simulate")
	fl.IntVar(&f.orders, "orders", 0, "carry random plans out in so many orders instead")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the first ten days, or of the first plan; each next has one more")
	fl.BoolVar(&f.faults, "faults", false, "let things break")
	fl.BoolVar(&f.drs, "drs", false, "let every cluster's own scheduler move VMs too")
	fl.BoolVar(&f.harm, "harm", false, "play the same load with the daemon alone and with the clusters' own schedulers alone, also with the aims alone that both have, and compare what moves do to VMs")
	fl.DurationVar(&f.until, "until", 0, "stop that long after the start, such as 53h20m (default: at the end)")
	fl.BoolVar(&f.verbose, "verbose", false, "print every event on standard error")
	return cmd
}

// simReport is what a simulation prints with --json.
type simReport struct {
	Days       int     `json:"days"`
	Seed       uint64  `json:"seed"`
	Cycles     int     `json:"cycles"`
	Actions    int     `json:"actions"`
	Faults     int     `json:"faults"`
	Violations int     `json:"violations"`
	Unfinished int     `json:"unfinished"`
	Trace      string  `json:"trace_sha256"`
	CPU        float64 `json:"cpu_s"`
	Misled     int     `json:"misled"`             // moves that overfilled a host on loads that stood still, or beside a person's move
	Balanced   int     `json:"balanced,omitempty"` // moves by the clusters' own schedulers
	Onward     int     `json:"onward,omitempty"`   // of those, of VMs that the daemon had brought within the hour before
}

// runSim runs the simulation and prints what came of it.
func runSim(f simFlags, asJSON bool, out, events io.Writer) error {
	// The heap is a few megabytes: collecting it less often is a third of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	o := soak.Options{Days: f.days, Seed: f.seed, Faults: f.faults, DRS: f.drs, Until: int64(f.until / time.Second)}
	w := bufio.NewWriter(events)
	if f.verbose {
		o.Verbose = func(line string) { _, _ = fmt.Fprintln(w, line) } // a lost event is seen to be
	}
	began := cpuSeconds()
	r := soak.Run(o)
	rep := simReport{
		Days: r.Days, Seed: r.Seed, Cycles: r.Cycles, Actions: r.Actions, Faults: r.AllFaults(),
		Violations: r.Violated, Unfinished: r.Unfinished, Trace: r.Trace, CPU: cpuSeconds() - began, Misled: r.Misled,
		Balanced: r.Balanced, Onward: r.Onward,
	}
	for _, v := range r.Violations {
		_, _ = fmt.Fprintln(w, v)
	}
	if err := errors.Join(w.Flush(), printSim(out, &rep, r, asJSON)); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if r.Violated > 0 {
		v := r.Violations[0]
		return fmt.Errorf("%s; the first again: heliostat sim --days 10 --seed %d%s --until %s --verbose", engine.Count(r.Violated, "violation"), v.Seed, flagsAgain(&f), time.Duration(v.After+1)*time.Second)
	}
	return nil
}

// runOrders carries plans out in many orders and prints what came of it.
func runOrders(f simFlags, asJSON bool, out io.Writer) error {
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	began := cpuSeconds()
	rep := struct {
		shuffle.Tally
		CPU float64 `json:"cpu_s"`
	}{Tally: shuffle.Many(f.orders, f.seed, nil)}
	rep.CPU = cpuSeconds() - began
	if asJSON {
		if err := json.NewEncoder(out).Encode(rep); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else if _, err := fmt.Fprintf(out, "%s of %s from seed %d (%s, %s): %s, %s injected, %s, %.1f s of CPU\n",
		engine.Count(rep.Executions, "execution"), engine.Count(rep.Plans, "plan"), rep.Seed, engine.Count(rep.Actions, "action"), engine.Count(rep.Edges, "edge"),
		engine.Count(rep.Events, "event"), engine.Count(rep.Failures, "failure"), engine.Count(rep.Violations, "violation"), rep.CPU); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if rep.Violations > 0 {
		return fmt.Errorf("%s, such as:\n  %s", engine.Count(rep.Violations, "violation"), strings.Join(rep.First, "\n  "))
	}
	return nil
}

// A harmReport is what the moves of one run did for each VM and day, and what for.
type harmReport struct {
	Who       string  `json:"who"`
	Moves     float64 `json:"moves"`
	StunMS    float64 `json:"stun_ms"`
	SlowS     float64 `json:"slow_s"`
	SavedWh   float64 `json:"saved_wh"`           // that hosts in standby would have idled away
	OverPct   float64 `json:"overloaded_percent"` // of the time of hosts that are ready: more CPU is asked for than there is
	AsleepPct float64 `json:"asleep_percent"`     // of the time of all hosts
}

// runHarm plays one load four times, and prints the harm a VM and day of each: with all
// aims, where moves of the daemon that empty a place stand apart, since no scheduler has
// to make them; and with the aims that the clusters' own schedulers have too.
func runHarm(f simFlags, asJSON bool, out io.Writer) error {
	run := func(schedulers, power bool) *soak.Result {
		return soak.Run(soak.Options{Days: f.days, Seed: f.seed, DRS: schedulers, Alone: schedulers, Power: power})
	}
	per := func(who string, h soak.Harm, r *soak.Result) harmReport {
		n := float64(max(r.VMDays, 1))
		return harmReport{
			who, float64(h.Moves) / n, float64(h.StunMS) / n, float64(h.SlowS) / n, float64(r.SavedWs) / 3600 / n,
			100 * float64(r.Overloaded) / float64(max(r.Awake, 1)), 100 * float64(r.Asleep) / float64(max(r.Awake+r.Asleep, 1)),
		}
	}
	ours, theirs, ourPower, theirPower := run(false, false), run(true, false), run(false, true), run(true, true)
	for _, r := range []harmReport{
		per("heliostat, all aims", ours.Harm, ours), per("heliostat, to empty places", ours.Demanded, ours), per("schedulers that balance", theirs.Harm, theirs),
		per("heliostat, dpm and load_balance", ourPower.Harm, ourPower), per("schedulers that save power too", theirPower.Harm, theirPower),
	} {
		if asJSON {
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			continue
		}
		if _, err := fmt.Fprintf(out, "%-32s a VM and day: %.3f moves, %.1f ms stunned, %.2f s slowed; %.1f Wh saved, %.1f %% of hosts asleep, %.3f %% overloaded\n", r.Who, r.Moves, r.StunMS, r.SlowS, r.SavedWh, r.AsleepPct, r.OverPct); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// flagsAgain are the flags that a replay needs.
func flagsAgain(f *simFlags) (flags string) {
	if f.faults {
		flags += " --faults"
	}
	if f.drs {
		flags += " --drs"
	}
	return flags
}

func printSim(out io.Writer, rep *simReport, r *soak.Result, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(rep)
	}
	counts := func(m map[string]int) string {
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
		}
		return strings.Join(parts, ", ")
	}
	if rep.Balanced > 0 {
		if _, err := fmt.Fprintf(out, "%s by clusters' own schedulers, %d of them onward\n", engine.Count(rep.Balanced, "move"), rep.Onward); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%s from seed %d: %s, %s (%s)\n%s (%s)\n%s, %d unfinished, %d misled\ntrace %s, %.1f s of CPU\n",
		engine.Count(rep.Days, "day"), rep.Seed, engine.Count(rep.Cycles, "cycle"), engine.Count(rep.Actions, "action"), counts(r.Ended), engine.Count(rep.Faults, "fault"), counts(r.Faults), engine.Count(rep.Violations, "violation"), rep.Unfinished, rep.Misled, rep.Trace, rep.CPU)
	return err
}

// cpuSeconds is what this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
