package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"heliostat/bench/internal/run"
	"heliostat/internal/race"
)

// tiny is an instance of the published form: two nodes with a VM each are emptied
// into one, over a link of 1 Gbit/s.
const tiny = `{"model": {
  "mapping": {"onlineNodes": {"0": {"runningVMs": [0]}, "1": {"runningVMs": [1]}}, "offlineNodes": [2]},
  "attributes": {"vms": {"0": {"memUsed": 2000, "coldDirtyRate": 0, "hotDirtySize": 5}, "1": {"memUsed": 4000, "coldDirtyRate": 3, "hotDirtySize": 96}}},
  "views": [
    {"id": "shareableResource", "rcId": "mem", "nodes": {"0": 16, "1": 16, "2": 16}, "vms": {"0": 2, "1": 4}},
    {"id": "shareableResource", "rcId": "cpu", "nodes": {"0": 4, "1": 4, "2": 4}, "vms": {"0": 1, "1": 1}},
    {"id": "net", "links": [
      {"physicalElement": {"id": 0, "type": "node"}, "capacity": 1000, "switch": 0}, {"physicalElement": {"id": 1, "type": "node"}, "capacity": 1000, "switch": 0},
      {"physicalElement": {"id": 2, "type": "node"}, "capacity": 1000, "switch": 0}]}]},
  "constraints": [{"id": "fence", "vm": 0, "nodes": [2]}, {"id": "fence", "vm": 1, "nodes": [2]}]}`

func TestInstance(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tiny.json"), []byte(tiny), 0o600); err != nil {
		t.Fatal(err)
	}
	tasks, err := all(&run.Flags{Data: dir, Seed: 1}, true)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := measure(&tasks[0], &r); err != nil {
		t.Fatal(err)
	}
	// 6,000 MB of memory and a little more go into one interface of 1 Gbit/s.
	if r.VMs != 2 || r.Leave != 2 || r.Volume < 48 || r.Volume > 52 || r.Ratio < 1 || r.Ratio > 1.2 {
		t.Errorf("%+v", r)
	}
	var out bytes.Buffer
	if err := r.print(&out, true); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("%v: %s", err, out.Bytes())
	}
}

// TestFleets: what works is no more than the bound, and not much less.
func TestFleets(t *testing.T) {
	for _, scarce := range []bool{false, true} {
		task := fleetTask(fleetSize{3, 24, 240, 4000}, 1, scarce, true)
		var r report
		if err := measure(&task, &r); err != nil {
			t.Fatal(err)
		}
		if r.Percent < 85 || r.Percent > 100 || r.Work == r.VMs {
			t.Errorf("scarce %t: %+v", scarce, r)
		}
	}
}

// TestForesee: the hidden truth differs from what was expected, and the foreseen ends
// differ from one another and are of its order.
func TestForesee(t *testing.T) {
	race.Alone(t)
	inside := 0
	const evacuations = 8
	for seed := range uint64(evacuations) {
		ends, at, ok := foresee(seed+1, 40)
		if !ok || ends[0] <= 0 || ends[0] >= ends[len(ends)-1] {
			t.Fatalf("seed %d: %t, %v", seed+1, ok, ends)
		}
		if at > ends[0]/2 && at < 2*ends[len(ends)-1] {
			inside++
		}
	}
	if inside < evacuations-2 {
		t.Errorf("%d of %d evacuations end when they were foreseen to, more or less", inside, evacuations)
	}
}
