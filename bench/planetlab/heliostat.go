package main

import (
	"context"
	"fmt"
	"math"

	"heliostat/bench/internal/line"
	"heliostat/engine"
)

// A daemon decides as Heliostat does, on what it sees of the world.
type daemon struct {
	w      *world
	line   *line.Line
	asleep []bool
	ended  []engine.ActionRecord
	hosts  map[engine.HostID]int32
}

const (
	epoch       = 1_300_000_000 // the world's second 0, as a date
	clusterSize = 100           // hosts: a cluster of vSphere has at most 96 to 128
	vcenter     = "planetlab"
)

// settings are the daemon's own, but for what this world does not have: a failure
// of a host to be survived, vCPUs that share cores, or persons who mind how many
// moves there are in an hour.
func settings(cpuMax int) engine.Config {
	c := engine.DefaultConfig()
	c.CPUMaxPct, c.ReserveHosts, c.VCPUPerCoreX10 = int32(cpuMax), 0, 10_000
	c.MovesPerCycle, c.MovesPerHour, c.MovesPerDay, c.PowerPerHour, c.PowerPerDay = 10_000, 100_000, 1_000_000, 10_000, 100_000
	return c
}

func newDaemon(ctx context.Context, w *world, c engine.Config) (*daemon, error) {
	l, err := line.Open(ctx, c)
	d := &daemon{w: w, line: l, asleep: make([]bool, len(w.hosts)), hosts: map[engine.HostID]int32{}}
	for h := range w.hosts {
		d.hosts[hostID(h)] = int32(h)
	}
	return d, err
}

func hostID(h int) engine.HostID { return engine.HostID(fmt.Sprintf(vcenter+"/host-%04d", h)) }

func (d *daemon) now() engine.Unix { return epoch + engine.Unix(d.w.now) }

// snapshot is what the daemon sees. Memory does not bind here: hosts have plenty.
func (d *daemon) snapshot() *engine.Snapshot {
	w, at := d.w, d.now()
	s := &engine.Snapshot{At: at}
	s.Sites = []engine.Site{{ID: "lab", Mode: engine.Enforce, PUEMilli: 1000, PriceMicroEURPerKWh: 150_000, SunMilliDeg: engine.Unknown}}
	s.VCenters = []engine.VCenter{{ID: vcenter, Name: vcenter}}
	in := engine.SiteMask(0).With(0)
	s.Datastores = []engine.Datastore{{ID: vcenter + "/ds", Name: "ds", Type: "vmfs", CapacityMiB: 1 << 40, FreeMiB: 1 << 39, Accessible: true, Shared: true, Sites: in, Survives: in}}
	s.Networks = []engine.Network{{ID: vcenter + "/net", Name: "net", Segment: "net", Gateway: engine.None}}
	for h := range w.hosts {
		if h%clusterSize == 0 {
			s.Clusters = append(s.Clusters, engine.Cluster{ID: engine.ClusterID(fmt.Sprintf(vcenter+"/c-%02d", h/clusterSize)), Name: fmt.Sprintf("c%d", h/clusterSize), DRS: engine.DRSPartial, EVC: "intel-merom", Pool: "pool", Folder: "folder"})
		}
		k := w.hosts[h].kind
		x := engine.Host{
			ID: hostID(h), Name: fmt.Sprintf("h%d", h), Cluster: int32(h / clusterSize), Power: engine.HostOn, Connected: true, CPUModel: "Xeon", EVCMax: "intel-merom",
			CPUMHz: int32(k.capacity()), Cores: 2, Threads: 2, MemoryMiB: 1 << 20, LoadAt: at, PowerW: engine.Unknown, IdleW: int32(k.watts[0]), MaxW: int32(k.watts[10]),
			VMotion: true, NICMbps: 1000, Standby: true, Datastores: []int32{0}, Networks: []int32{0},
		}
		if d.asleep[h] {
			x.Power, x.Connected, x.Mark = engine.HostStandby, false, "standby c1-1"
		}
		s.Hosts = append(s.Hosts, x)
	}
	for v := range w.vms {
		y := &w.vms[v]
		if y.gone {
			continue
		}
		mhz := int32(math.Ceil(y.asks))
		s.VMs = append(s.VMs, engine.VM{
			ID: engine.VMID(fmt.Sprintf("%06d", v)), Name: fmt.Sprintf("vm%d", v), Moid: fmt.Sprintf("vm-%d", v), Host: y.at, Power: engine.VMOn, VCPUs: 1, MemoryMiB: int32(y.mb),
			UsedMHz: mhz, UsedMiB: int32(y.mb), Pool: "pool", Folder: "folder", DirtyMbps: engine.Unknown, LoadAt: at, Mode: engine.Enforce,
		})
		s.Hosts[y.at].UsedMHz += mhz
		s.Hosts[y.at].UsedMiB += int32(y.mb)
	}
	return s
}

// watch fills the memory with the hour before as it would be had the load been what
// it is now: what a daemon knows that was there before the day began.
func (d *daemon) watch() {
	for k := 12; k > 0; k-- {
		s := d.snapshot()
		s.At -= engine.Unix(k * step)
		d.line.History = engine.Fold(d.line.History, s, nil, d.line.Config.Low)
	}
}

// decide makes a cycle of the daemon, and takes all that it plans for done at once:
// the longest move takes half a minute here, and a cycle is five.
func (d *daemon) decide(ctx context.Context) ([]move, error) {
	p, err := d.line.Once(ctx, d.snapshot(), d.ended)
	if err != nil {
		return nil, err
	}
	d.ended = nil
	var moves []move
	for i := range p.Actions {
		a := &p.Actions[i]
		switch a.Kind {
		case engine.Move:
			var v int32
			if _, err := fmt.Sscanf(string(a.VM), "%d", &v); err != nil {
				return nil, err
			}
			moves = append(moves, move{v, d.hosts[a.To.Host]})
		case engine.Standby, engine.Wakeup:
			d.asleep[d.hosts[a.From.Host]] = a.Kind == engine.Standby
		case engine.EnterMaintenance, engine.ExitMaintenance:
		}
		d.ended = append(d.ended, engine.ActionRecord{Action: *a, State: engine.StateSucceeded, Started: d.now(), Ended: d.now() + 30})
	}
	return moves, nil
}
