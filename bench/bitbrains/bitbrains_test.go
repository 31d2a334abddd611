package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/bench/internal/run"
)

// write makes a month of a few VMs that hardly do anything.
func write(t *testing.T, vms, samples int) string {
	t.Helper()
	dir := t.TempDir()
	var sizes, loads strings.Builder
	sizes.WriteString("vm,cores,cpu_provisioned_mhz,mem_provisioned_mb,first_ts,last_ts,samples\n")
	for v := range vms {
		fmt.Fprintf(&sizes, "%d,2,5200.0,4096,0,1,%d\n", v+1, samples)
		fmt.Fprintf(&loads, "%d%s,%s\n", v+1, strings.Repeat(",50", samples-1), [2]string{"60", ""}[v%2])
	}
	if err := os.WriteFile(filepath.Join(dir, "rnd_2013-8_vms.csv"), []byte(sizes.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(loads.String())); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rnd_2013-8_cpu_mhz.csv.gz"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Idle VMs on six hosts need one, and one in reserve: four hosts sleep within the
// first day, and stay asleep.
func TestIdleHostsSleepAndStayAsleep(t *testing.T) {
	dir := write(t, 30, 2*perDay)
	var out bytes.Buffer
	if err := mainErr(run.Start(), []string{"-data", dir, "-days", "1", "-hosts", "6", "-json"}, &out); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.SharePct != 100 || r.Moves != 0 || r.Switches != 0 || r.OverPct != 0 || r.HostsOn != 2 {
		t.Errorf("%+v", r)
	}
	if err := mainErr(run.Start(), []string{"-data", dir, "-days", "9"}, &out); err == nil {
		t.Error("more days than there are were played")
	}
}

// VMs that rise once to what fills three hosts: with room for the load of one there are
// too few at that moment, unless the rise is known before.
func TestLimits(t *testing.T) {
	w, err := load(write(t, 30, 2*perDay), "2013-8", 6)
	if err != nil {
		t.Fatal(err)
	}
	for v := range w.cpu {
		w.cpu[v][perDay+100] = 3 * mhz / 30
	}
	blind, seeing := w.limit(0, 1, 80, 1, 1), w.limit(1, 1, 80, 1, 1)
	if blind.OverPct == 0 || seeing.OverPct != 0 || seeing.SharePct < 90 || blind.Switches == 0 {
		t.Errorf("without foresight %+v, with it %+v", blind, seeing)
	}
}
