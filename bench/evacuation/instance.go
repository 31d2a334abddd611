package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"heliostat/engine"
)

// instance is the part of a BtrPlace instance that a decommissioning is made of:
// nodes that run VMs and are to go off, nodes that are to take them, the node of
// each VM, and the network.
type instance struct {
	Model struct {
		Mapping struct {
			OnlineNodes map[string]struct {
				RunningVMs []int `json:"runningVMs"`
			} `json:"onlineNodes"`
			OfflineNodes []int `json:"offlineNodes"`
		} `json:"mapping"`
		Attributes struct {
			VMs map[string]struct {
				MemUsed       int32   `json:"memUsed"`       // MB
				ColdDirtyRate float64 `json:"coldDirtyRate"` // MB/s
				HotDirtySize  int32   `json:"hotDirtySize"`  // MB
			} `json:"vms"`
		} `json:"attributes"`
		Views []view `json:"views"`
	} `json:"model"`
	Constraints []struct {
		ID    string `json:"id"`
		VM    int    `json:"vm"`
		Nodes []int  `json:"nodes"`
	} `json:"constraints"`
}

// A view is resources of nodes and VMs, or the network.
type view struct {
	ID    string         `json:"id"`
	Rc    string         `json:"rcId"`
	Nodes map[string]int `json:"nodes"`
	VMs   map[string]int `json:"vms"`
	Links []struct {
		Element struct {
			ID   int    `json:"id"`
			Type string `json:"type"`
		} `json:"physicalElement"`
		Capacity int32 `json:"capacity"` // Mbit/s
		Switch   int   `json:"switch"`
	} `json:"links"`
}

// instances finds the JSON files below a folder.
func instances(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".json") {
			out = append(out, path)
		}
		return err
	})
	slices.Sort(out)
	return out, err
}

// now is when instances happen: any moment will do.
const now engine.Unix = 1_800_000_000

// load turns an instance into what the planner takes: the nodes to be emptied are
// one cluster and are evacuated, those that take the VMs are another, storage is
// shared, and each VM may go to the one node that the instance names. Set-up takes
// no time, as in BtrPlace's model.
func load(path string) (engine.Input, error) {
	var in instance
	b, err := os.ReadFile(path)
	if err != nil {
		return engine.Input{}, err
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return engine.Input{}, fmt.Errorf("read %s: %w", path, err)
	}
	x := &world{s: &engine.Snapshot{At: now}, host: map[int]int32{}}
	if err := x.nodes(&in); err != nil {
		return engine.Input{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := x.vms(&in); err != nil {
		return engine.Input{}, fmt.Errorf("%s: %w", path, err)
	}
	c := engine.DefaultConfig()
	c.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	c.Cost.SetupS, c.Cost.EfficiencyPct = 0, 100
	c.Limits.VCenterUnits = int32(len(x.s.VMs)) // there is no vCenter in it
	c.EvacuationCPUPct, c.EvacuationMemPct, c.VCPUPerCoreX10 = 100, 100, 1000
	return engine.Input{Cycle: 1, Now: now, Level: engine.Enforce, Snapshot: x.s, Decision: x.decision(&in), History: &engine.History{}, Config: c}, x.s.Validate()
}

// A world is a snapshot under construction.
type world struct {
	s    *engine.Snapshot
	host map[int]int32 // by node
}

func (x *world) nodes(in *instance) error {
	s := x.s
	s.Sites = []engine.Site{{ID: "site", Mode: engine.Enforce, PriceMicroEURPerKWh: engine.Unknown, CarbonGPerKWh: engine.Unknown, SunMilliDeg: engine.Unknown}}
	s.VCenters = []engine.VCenter{{ID: "v", Name: "v"}}
	s.Clusters = []engine.Cluster{{ID: "v/from", Name: "from", Pool: "p"}, {ID: "v/to", Name: "to", Pool: "p"}}
	var stores []int32 // enough for none of them to be what binds
	for i := range 32 {
		s.Datastores = append(s.Datastores, engine.Datastore{ID: engine.DatastoreID(fmt.Sprintf("v/ds%02d", i)), Name: "shared", CapacityMiB: 1 << 40, FreeMiB: 1 << 40, Accessible: true, Shared: true, Sites: 1, Survives: 1})
		stores = append(stores, int32(i))
	}
	var nodes []int
	leaves := map[int]bool{}
	for id := range in.Model.Mapping.OnlineNodes {
		n, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		nodes, leaves[n] = append(nodes, n), true
	}
	nodes = append(nodes, in.Model.Mapping.OfflineNodes...)
	slices.Sort(nodes)
	mem, cpu := in.view("mem"), in.view("cpu")
	if mem == nil || cpu == nil {
		return errors.New("its views lack mem or cpu")
	}
	mbps, err := in.nics()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		id := strconv.Itoa(n)
		cluster := int32(1)
		if leaves[n] {
			cluster = 0
		}
		x.host[n] = int32(len(s.Hosts))
		s.Hosts = append(s.Hosts, engine.Host{
			ID: engine.HostID(fmt.Sprintf("v/n%04d", n)), Name: "n" + id, Cluster: cluster, Power: engine.HostOn, Connected: true, VMotion: true, NICMbps: mbps[n],
			CPUModel: "x", CPUMHz: int32(cpu.Nodes[id]) * 1000, Cores: int32(cpu.Nodes[id]), Threads: int32(cpu.Nodes[id]), MemoryMiB: int32(mem.Nodes[id]) << 10,
			LoadAt: now, PowerW: engine.Unknown, Datastores: stores,
		})
	}
	return nil
}

func (in *instance) view(resource string) *view {
	for i := range in.Model.Views {
		if v := &in.Model.Views[i]; v.Rc == resource {
			return v
		}
	}
	return nil
}

// nics is the bandwidth of each node. Links between switches are left out: in the
// published instances they carry all the nodes at one side of them at once.
func (in *instance) nics() (map[int]int32, error) {
	out := map[int]int32{}
	for i := range in.Model.Views {
		for _, l := range in.Model.Views[i].Links {
			if l.Element.Type == "node" {
				out[l.Element.ID] = l.Capacity
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no link to a node")
	}
	return out, nil
}

func (x *world) vms(in *instance) error {
	s := x.s
	mem, cpu := in.view("mem"), in.view("cpu")
	at := map[int]int32{}
	for id, node := range in.Model.Mapping.OnlineNodes {
		n, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		for _, v := range node.RunningVMs {
			at[v] = x.host[n]
		}
	}
	for v := range len(at) {
		id := strconv.Itoa(v)
		a, ok := in.Model.Attributes.VMs[id]
		if !ok {
			return fmt.Errorf("VM %d is not described", v)
		}
		h := &s.Hosts[at[v]]
		vm := engine.VM{
			ID: engine.VMID(fmt.Sprintf("vm%05d", v)), Name: "vm" + id, Host: at[v], Power: engine.VMOn, VCPUs: int32(cpu.VMs[id]), MemoryMiB: int32(mem.VMs[id]) << 10,
			UsedMHz: int32(cpu.VMs[id]) * 1000, UsedMiB: mib(a.MemUsed), ActiveMiB: 8 * mib(a.HotDirtySize), DirtyMbps: int32(8 * a.ColdDirtyRate), LoadAt: now, Mode: engine.Enforce, Home: int32(v % 32),
		}
		h.UsedMHz += vm.UsedMHz
		h.UsedMiB += vm.UsedMiB
		s.VMs = append(s.VMs, vm)
	}
	return nil
}

// mib turns megabytes into MiB.
func mib(mb int32) int32 { return int32(int64(mb) * 1_000_000 / (1 << 20)) }

func (x *world) decision(in *instance) *engine.Decision {
	d := &engine.Decision{Voices: []engine.Voice{{Policy: "bench", Rule: engine.RuleAllowHosts, Mode: engine.Enforce}, {Policy: "bench", Rule: engine.RuleEvacuate, Mode: engine.Enforce}}, Reasons: []string{"decommissioned"}}
	for _, c := range in.Constraints {
		if c.ID == "fence" {
			var hosts []int32
			for _, n := range c.Nodes {
				hosts = append(hosts, x.host[n])
			}
			slices.Sort(hosts)
			d.AllowHosts = append(d.AllowHosts, engine.AllowHosts{VM: int32(c.VM), Hosts: hosts})
		}
	}
	slices.SortFunc(d.AllowHosts, func(a, b engine.AllowHosts) int { return int(a.VM - b.VM) })
	d.Evacuations = []engine.Evacuation{{Place: engine.Subject{Kind: "cluster", ID: "v/from"}, Deadline: now + 30*86_400, By: engine.By{Voice: 1}}}
	return d
}
