package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// A bench is one program and what is read from its lines.
type bench struct {
	program string
	folder  string // of the data it needs
	without bool   // it runs without the data as well, on less
	timed   bool   // -time says how long it searches
	runs    func(dir string) [][]string
	name    func(line) string
	figures []figure
}

// A figure is one field of a line, or what is computed of some.
type figure struct {
	name      string
	of        func(line) (string, bool)
	published func(line) string
	aim       string
}

// field is a figure that is in a line as it is.
func field(name, path, format, aim string) figure {
	return figure{name, func(x line) (string, bool) {
		_, ok := x.float(path)
		return x.number(path, format), ok
	}, nowhere, aim}
}

func nowhere(line) string { return "" }

// beside is a figure with a published one that is in the line, too.
func beside(f figure, path, format string) figure {
	f.published = func(x line) string { return x.number(path, format) }
	return f
}

func once(args ...string) func(string) [][]string {
	return func(string) [][]string { return [][]string{args} }
}

// files runs a program for each file of a folder, named by what the pattern has in
// place of its star.
func files(pattern, flag string) func(string) [][]string {
	return func(dir string) (out [][]string) {
		before, after, _ := strings.Cut(pattern, "*")
		names, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is sound
		for _, path := range names {
			name := strings.TrimPrefix(filepath.Base(path), before)
			if k := strings.Index(name, strings.TrimSuffix(after, "*")); k >= 0 {
				name = name[:k]
			}
			out = append(out, []string{flag, name})
		}
		return out
	}
}

// paper is the energy that CloudSim's experiment is published with, kWh, for the day
// and policy. Source: A. Beloglazov and R. Buyya, CCPE 2012, and CloudSim's own logs.
var paper = map[string]string{
	"20110303 NPA": "2410.80", "20110322 NPA": "2410.80", "20110412 NPA": "2410.80", "20110303 DVFS": "802.75", "20110412 DVFS": "763.48",
	"20110303 THR-MMT-0.8": "192.62", "20110322 THR-MMT-0.8": "201.70", "20110412 THR-MMT-0.8": "177.20",
	"20110303 LR-MMT-1.2": "163.48", "20110322 LR-MMT-1.2": "177.48", "20110412 LR-MMT-1.2": "151.61",
}

func benches() []bench {
	instance := func(x line) string { return x.text("instance") }
	day := func(x line) string { return x.text("day") + " " + x.text("policy") }
	energy := field("energy, kWh", "energy_kwh", "%.2f", "")
	energy.published = func(x line) string { return paper[day(x)] }
	ours := figure{"energy for the least possible", func(x line) (string, bool) {
		used, ok1 := x.float("energy_kwh")
		least, ok2 := x.float("lower_bound_kwh")
		return fmt.Sprintf("%.2f", used/max(least, 1)), ok1 && ok2 && x.text("policy") == "heliostat"
	}, nowhere, "1.2 at most, with 1/20 of LR-MMT's migrations and 1/10 of its ESV"}
	return []bench{
		{"fleet", "", false, false, once("-cycles", "0", "-scaled=false"), func(line) string { return "15,000 hosts, 150,000 VMs" }, []figure{
			field("full plan, checked, p99, ms", "plan_ms_p99", "%.0f", "400"), field("the same, median, CPU ms", "plan_cpu_ms", "%.0f", ""),
			field("first safe plan, ms", "first_safe_ms", "%.1f", "50"), field("after 1 % of the VMs have changed, CPU ms", "delta_cpu_ms", "%.1f", "10"),
			field("after a host has failed, ms", "host_failure_ms", "%.2f", "1"), field("certified gap, %", "gap_percent", "%.3f", "0.5"),
			field("share of the possible saving, %", "share_of_saving", "%.2f", "98"), field("heap, MiB", "heap_mb", "%.0f", "200"), field("plans refused by the check", "check_failures", "%.0f", "0"),
		}},
		{"fleet", "", false, false, once("-cycles", "0", "-scaled=false", "-hosts", "3750", "-vms", "37500", "-merge"), func(line) string { return "3,750 hosts, merging" }, []figure{
			field("of the further hosts that merging could empty, %", "merge.reached_pct", "%.1f", "50"),
		}},
		{"roadef", "roadef2012", false, true, files("model_*.txt*", "-instance"), instance, []figure{field("cost", "cost", "%.0f", "")}},
		{"cloudbalancing", "cloudbalancing", false, true, files("*.json", "-instance"), instance, []figure{
			field("cost of First Fit", "first_fit", "%.0f", "the published one"), field("cost", "cost", "%.0f", ""),
		}},
		{"evacuation", "evacuation", true, false, once("-short"), func(x line) string {
			return strings.TrimSpace(x.text("name") + x.number("seed", ", seed %.0f") + " " + x.text("order"))
		}, []figure{
			field("makespan for the volume bound", "makespan_ratio", "%.3f", "1.3 at most"), field("value out, % of the bound", "value_percent", "%.2f", "99.5, with scarce room 98"),
		}},
		{"migrations", "migrations", false, false, once(), func(line) string { return "held-out halves" }, []figure{
			beside(field("mean error of durations, %", "error_percent", "%.2f", "5 at most"), "btrplace_percent", "%.1f"),
		}},
		{"planetlab", "planetlab", false, false, files("*.csv.gz", "-day"), day, []figure{
			energy, field("migrations", "migrations", "%.0f", ""), field("ESV", "esv", "%.2e", ""), field("MIPS unserved, mean", "unserved_mips", "%.0f", ""), ours,
		}},
		{"bitbrains", "bitbrains", false, false, once("-days", "7"), func(line) string { return "7 days" }, []figure{
			field("share of the possible saving, %", "share_of_saving", "%.1f", "75"), field("moves a VM and day", "moves_per_vm_day", "%.3f", "0.5 at most"),
			field("power switches a host and day", "switches_per_host_day", "%.2f", "1 at most"), field("host time overloaded, %", "overloaded_percent", "%.4f", "0.005 at most"),
		}},
	}
}
