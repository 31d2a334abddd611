package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A tiny fleet runs, and what is counted is the same each time.
func TestTinyFleet(t *testing.T) {
	counts := func() []oneCycle {
		var out bytes.Buffer
		args := []string{"-time", "1ms", "-hosts", "96", "-vms", "640", "-sites", "3", "-cycles", "2", "-json", "-cpuprofile", filepath.Join(t.TempDir(), "cpu")}
		if err := mainErr(t.Context(), args, &out); err != nil {
			t.Fatal(err)
		}
		var r report
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
		if len(r.Runs) != 3 || len(r.Growth) != 2 || r.Runs[0].VMs*4 != r.Runs[1].VMs || r.Growth[1].VMs != 4 {
			t.Fatalf("runs %+v, growth %+v", r.Runs, r.Growth)
		}
		if x := &r.planner; x.Plans != 3 || x.Moves == 0 || x.Standby == 0 || x.CheckFailures != 0 || x.ShareOfSaving < 90 || x.GapPercent < 0 || x.PlanMSP99 < x.PlanMSP50 {
			t.Errorf("planner %+v", x)
		}
		var all []oneCycle
		for i := range r.Runs {
			x := &r.Runs[i]
			if x.HeapPeakMB <= 0 || x.RSSPeakMB <= 0 || len(x.Cycles) != 2 || !x.Cycles[0].Cold || x.Cycles[1].Cold {
				t.Fatalf("run %+v", x)
			}
			for _, c := range x.Cycles {
				var parts []string
				for _, b := range c.Blobs {
					parts = append(parts, b.Part)
					if b.RawBytes <= 0 || b.StoredBytes <= 0 {
						t.Errorf("blob %+v", b)
					}
				}
				if !slices.Equal(parts, []string{"snapshot", "history", "decision", "input", "plan"}) || c.CPUMS <= 0 || c.Evaluated == 0 {
					t.Errorf("cycle %+v", c)
				}
				all = append(all, c)
			}
		}
		return all
	}
	a, b := counts(), counts()
	for i := range a {
		x, y := &a[i], &b[i]
		if x.Actions != y.Actions || x.Holds != y.Holds || x.Evaluated != y.Evaluated || !slices.Equal(x.Blobs, y.Blobs) {
			t.Errorf("cycle %d of all: %+v, and then %+v", i, x, y)
		}
	}
}

func TestTable(t *testing.T) {
	for _, args := range [][]string{{"-cycles", "1"}, {"-scaled=false"}} {
		var out bytes.Buffer
		if err := mainErr(t.Context(), append(args, "-time", "1ms", "-hosts", "24", "-vms", "160", "-sites", "2"), &out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"24 hosts, ", "encode snapshot", "all", "actions", "snapshot 0.", "of the possible saving"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v: no %q in\n%s", args, want, out.String())
			}
		}
	}
	var out bytes.Buffer
	if err := mainErr(t.Context(), []string{"-cycles", "0", "-time", "1ms", "-hosts", "320", "-vms", "3200", "-sites", "1", "-merge", "-json"}, &out); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if x := r.Merge; x == nil || x.Failures != 0 || x.Crossing == 0 || x.SiteOn >= x.ClusterOn || x.SiteOn < x.BoundOn || x.SiteShare <= x.ClusterShare || x.SiteShare > 100 {
		t.Errorf("merging: %s", out.String())
	}
	for _, args := range [][]string{{"-hosts", "0"}, {"-changed", "101"}, {"-what"}} {
		if err := mainErr(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
