package main

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"heliostat/bench/internal/line"
	"heliostat/engine"
	"heliostat/engine/sim"
)

const (
	step   = 300 // seconds between two samples
	perDay = 86_400 / step
	cores  = 32
	mhz    = cores * 2600
	mib    = 512 << 10
	ownMHz = 400 // that a hypervisor takes itself
	ownMiB = 6 << 10
)

// A world is one cluster whose VMs have the recorded load. Heliostat's plans are
// carried out by the simulator of the property tests, with its slots and durations.
type world struct {
	sim  *sim.World
	cpu  [][]int32 // by VM and sample, MHz
	mem  []int32   // by VM, MiB: half of what is configured, as in the published study
	days float64

	moves, switches int
	returns         int
	holds           map[engine.HoldCode]int
	on, needed      float64 // host steps
	over, steps     float64
}

// load reads a month. A sample that is missing is as the one before.
func load(dir, month string, hosts int) (*world, error) {
	vms, err := table(filepath.Join(dir, "rnd_"+month+"_vms.csv"))
	if err != nil {
		return nil, err
	}
	rows, err := table(filepath.Join(dir, "rnd_"+month+"_cpu_mhz.csv.gz"))
	if err != nil {
		return nil, err
	}
	if len(vms)-1 != len(rows) {
		return nil, fmt.Errorf("%d VMs, and the load of %d", len(vms)-1, len(rows))
	}
	w := &world{holds: map[engine.HoldCode]int{}}
	s := &engine.Snapshot{At: sim.Start}
	s.Sites = []engine.Site{{ID: "dc", Mode: engine.Enforce, PUEMilli: 1300, PriceMicroEURPerKWh: 150_000, SunMilliDeg: engine.Unknown}}
	s.VCenters = []engine.VCenter{{ID: "vc", Name: "vc"}}
	s.Clusters = []engine.Cluster{{ID: "vc/c", Name: "c", DRS: engine.DRSPartial, EVC: "intel-icelake", Pool: "pool", Folder: "folder"}}
	in := engine.SiteMask(0).With(0)
	s.Datastores = []engine.Datastore{{ID: "vc/ds", Name: "ds", Type: "vmfs", CapacityMiB: 1 << 40, FreeMiB: 1 << 39, Accessible: true, Shared: true, Sites: in, Survives: in}}
	s.Networks = []engine.Network{{ID: "vc/net", Name: "net", Segment: "net", Gateway: engine.None}}
	for h := range hosts {
		s.Hosts = append(s.Hosts, engine.Host{
			ID: engine.HostID(fmt.Sprintf("vc/host-%03d", h)), Name: fmt.Sprintf("h%d", h), Power: engine.HostOn, Connected: true, CPUMHz: mhz, Cores: cores, Threads: 2 * cores, MemoryMiB: mib,
			CPUModel: "Xeon Gold 6338", EVCMax: "intel-icelake", PowerW: engine.Unknown, IdleW: 140, MaxW: 520, VMotion: true, NICMbps: 25_000, Standby: true, Datastores: []int32{0}, Networks: []int32{0},
		})
	}
	for v, row := range rows {
		count, err := strconv.Atoi(vms[v+1][1])
		if err != nil {
			return nil, fmt.Errorf("VM %d: %w", v, err)
		}
		memory, err := strconv.ParseFloat(vms[v+1][3], 64)
		if err != nil {
			return nil, fmt.Errorf("VM %d: %w", v, err)
		}
		trace, last := make([]int32, 0, len(row)), 0.0
		for _, cell := range row[1:] {
			if cell != "" {
				if last, err = strconv.ParseFloat(cell, 64); err != nil {
					return nil, fmt.Errorf("VM %d: %w", v, err)
				}
			}
			trace = append(trace, int32(math.Round(last)))
		}
		w.cpu, w.mem = append(w.cpu, trace), append(w.mem, int32(memory/2)+64)
		s.VMs = append(s.VMs, engine.VM{
			ID: engine.VMID(fmt.Sprintf("%06d", v)), Name: fmt.Sprintf("vm%d", v), Moid: fmt.Sprintf("vm-%d", v), Host: int32(v % hosts), Power: engine.VMOn, VCPUs: int32(max(count, 1)),
			MemoryMiB: max(int32(memory), 64), ActiveMiB: int32(memory) / 10, DirtyMbps: engine.Unknown, Mode: engine.Enforce, Pool: "pool", Folder: "folder",
		})
	}
	w.sim = &sim.World{Snapshot: s, History: &engine.History{}, Now: s.At, Limits: engine.DefaultLimits()}
	w.sample(0)
	return w, s.Validate()
}

func table(path string) ([][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	if filepath.Ext(path) == ".gz" {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		r = csv.NewReader(z)
	}
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return rows, nil
}

// sample gives VMs and hosts the load of sample k.
func (w *world) sample(k int) {
	old := w.sim.Snapshot
	s := &engine.Snapshot{
		At: sim.Start + engine.Unix(k*step), Sites: old.Sites, VCenters: old.VCenters, Clusters: old.Clusters, Hosts: slices.Clone(old.Hosts),
		Datastores: old.Datastores, Networks: old.Networks, VMs: slices.Clone(old.VMs),
	}
	w.sim.Now = s.At
	for h := range s.Hosts {
		x := &s.Hosts[h]
		x.LoadAt, x.UsedMHz, x.UsedMiB = s.At, ownMHz, ownMiB
		if x.Power != engine.HostOn {
			x.UsedMHz, x.UsedMiB = 0, 0
		}
	}
	for v := range s.VMs {
		y := &s.VMs[v]
		y.LoadAt, y.UsedMHz, y.UsedMiB = s.At, w.cpu[v][min(k, len(w.cpu[v])-1)], w.mem[v]
		s.Hosts[y.Host].UsedMHz += y.UsedMHz
		s.Hosts[y.Host].UsedMiB += y.UsedMiB
	}
	w.sim.Snapshot = s
}

// play runs the line for a day that is not counted, and then for so many days.
func (w *world) play(ctx context.Context, l *line.Line, days float64) error {
	last := perDay + int(days*perDay)
	if n := len(w.cpu[0]); last > n {
		return fmt.Errorf("%.0f days and one before are asked for, there are %.1f", days, float64(n)/perDay)
	}
	w.days = days
	var ended []engine.ActionRecord
	for k := range last {
		w.sample(k)
		if k >= perDay {
			w.judge(l)
		}
		p, err := l.Once(ctx, w.sim.Snapshot, ended)
		if err != nil {
			return err
		}
		if ended, err = w.sim.Carry(p); err != nil {
			return fmt.Errorf("sample %d: %w", k, err)
		}
		if k < perDay {
			continue
		}
		for i := range p.Holds {
			if h := &p.Holds[i]; h.Want == "standby" {
				w.holds[h.Code]++
			}
		}
		for i := range ended {
			switch {
			case ended[i].State != engine.StateSucceeded:
			case ended[i].Action.Kind == engine.Move:
				w.moves++
				a := &ended[i].Action
				if x := l.History.VM(a.VM); x.LeftHost == a.To.Host && int64(l.History.At-x.MovedAt) < l.Config.PowerHoldsS {
					w.returns++
				}
			default:
				w.switches++
			}
		}
	}
	return nil
}

// judge counts what the load of a sample finds. No fewer hosts than needed could
// be on: by CPU and by memory, filled as far as is allowed, with the reserve.
func (w *world) judge(l *line.Line) {
	s := w.sim.Snapshot
	var cpu, mem int64
	largest := make([]int32, len(s.Hosts))
	for v := range s.VMs {
		y := &s.VMs[v]
		largest[y.Host] = max(largest[y.Host], y.UsedMHz)
	}
	for h := range s.Hosts {
		x := &s.Hosts[h]
		if x.Power != engine.HostOn {
			continue
		}
		w.on++
		if x.UsedMHz > x.CPUMHz && int64(largest[h]) < int64(mhz)*int64(l.Config.CPUMaxPct)/100 {
			w.over++ // a VM that fills a host alone could be helped by none
		}
	}
	for v := range s.VMs {
		cpu += int64(s.VMs[v].UsedMHz)
		mem += int64(s.VMs[v].UsedMiB)
	}
	c := &l.Config
	fits := func(sum, has, own, pct int64) int64 {
		room := has*pct/100 - own
		return (sum + room - 1) / room
	}
	need := max(fits(cpu, mhz, ownMHz, int64(c.CPUMaxPct)), fits(mem, mib, ownMiB, int64(c.MemMaxPct)), 1) + int64(c.ReserveHosts)
	w.needed += float64(min(need, int64(len(s.Hosts))))
	w.steps++
}

func (w *world) report(l *line.Line) report {
	n, c := len(w.sim.Snapshot.Hosts), &l.Config
	all := float64(n) * w.steps
	return report{
		Days: w.days, VMs: len(w.cpu), Hosts: n, SharePct: 100 * (all - w.on) / (all - w.needed), Moves: float64(w.moves) / float64(len(w.cpu)) / w.days, Switches: float64(w.switches) / float64(n) / w.days,
		OverPct: 100 * w.over / w.on, Returns: w.returns, Holds: w.holds, HostsOn: w.on / w.steps, Bound: w.needed / w.steps,
		PackPct: c.PackPct, SurgePct: c.SurgePct, CPUMaxPct: c.CPUMaxPct, MemMaxPct: c.MemMaxPct, Reserve: c.ReserveHosts, CooldownS: c.PowerCooldownS,
	}
}
