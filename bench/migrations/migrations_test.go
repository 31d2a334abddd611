package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/bench/internal/run"
)

// A network that gives 90 % of what was planned after 2 s, with a clock of whole
// seconds: the fit must come as near as the clock allows.
func TestMadeUpMigrationsArePredicted(t *testing.T) {
	var b strings.Builder
	b.WriteString("plan,run,vm,from,to,mem_used_mb,dirty_rate_mb_s,hot_set_mb,hot_set_s,planned_bw_mbit_s,predicted_start_s,predicted_end_s,measured_start_s,measured_end_s\n")
	for i := range 200 {
		mb := 1000 + 37*i%4000
		fmt.Fprintf(&b, "1,%d,%d,1,2,%d,0,0,0,1000,0,%d,10,%d\n", i%2+1, i, mb, mb*8/1000, 12+mb*8/900)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "g5k-qemu-precopy.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := mainErr(run.Start(), []string{"-data", dir, "-splits", "5", "-json"}, &out); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Migrations != 200 || r.ErrorPct > 4 || r.BtrPlacePct < 10 || r.UntaughtPct < 20 {
		t.Errorf("%+v", r)
	}
	if err := mainErr(run.Start(), []string{"-data", t.TempDir()}, &out); err == nil {
		t.Error("a folder without data is no error")
	}
}
