package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/bench/internal/run"
)

// Two computers of 10 hold 4 processes as the last one alone does. First Fit takes
// the cheapest, which is full after two, and then the next.
const tiny = `{"computerList": [
  {"id": 0, "cpuPower": 10, "memory": 10, "networkBandwidth": 10, "cost": 300},
  {"id": 1, "cpuPower": 10, "memory": 10, "networkBandwidth": 10, "cost": 200},
  {"id": 2, "cpuPower": 20, "memory": 20, "networkBandwidth": 20, "cost": 350}],
 "processList": [
  {"id": 0, "requiredCpuPower": 5, "requiredMemory": 1, "requiredNetworkBandwidth": 2},
  {"id": 1, "requiredCpuPower": 5, "requiredMemory": 1, "requiredNetworkBandwidth": 2},
  {"id": 2, "requiredCpuPower": 5, "requiredMemory": 1, "requiredNetworkBandwidth": 2},
  {"id": 3, "requiredCpuPower": 5, "requiredMemory": 1, "requiredNetworkBandwidth": 2}]}`

func TestTinyInstance(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "3computers-4processes.json"), []byte(tiny), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "reference.csv"), []byte("instance,best\n3computers-4processes,700\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "out")
	var out bytes.Buffer
	args := []string{"-instance", "3", "-data", dir, "-rounds", "20000", "-json", "-out", path}
	if err := mainErr(run.Start(), args, &out); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if r.FirstFit != 500 || r.Cost != 350 || len(r.Published) != 1 || r.Published[0].GapPercent != -50 {
		t.Errorf("report %+v", r)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "[2,2,2,2]\n" {
		t.Errorf("the solution is %q, %v", b, err)
	}
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "none.json"), []byte(`{"computerList": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"none": "no computers", "other": "other.json", "": "name an instance"} {
		if err := mainErr(run.Start(), []string{"-instance", name, "-data", dir}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("instance %q: %v, and it should say %q", name, err, want)
		}
	}
}
