package main

import (
	"math"
	"testing"

	"heliostat/internal/race"
)

// flat is a day on which each VM asks for the same all the time.
func flat(vms int, load float64) [][]float64 {
	out := make([][]float64, vms)
	for v := range out {
		for range 288 {
			out[v] = append(out[v], load)
		}
	}
	return out
}

func TestPowerIsInterpolated(t *testing.T) {
	g4 := &hostKinds[0]
	for load, want := range map[float64]float64{0: 86, 0.05: 87.7, 0.1: 89.4, 0.95: 115.5, 1: 117, 2: 117} {
		if got := g4.power(load); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %.2f: %.3f W, want %.3f", load, got, want)
		}
	}
}

// All 800 hosts at full power for 287 steps: the published figure.
func TestNPA(t *testing.T) {
	w := newWorld(flat(8, 0.5))
	if err := play(w, "NPA", 0, false); err != nil {
		t.Fatal(err)
	}
	if r := w.report("", "NPA"); math.Abs(r.EnergyKWh-2410.80) > 0.01 {
		t.Errorf("%.2f kWh, want 2410.80", r.EnergyKWh)
	}
}

// On a flat day each policy ends with fewer hosts than it began with, serves what
// is asked for, and needs no less than the bound.
func TestAFlatDay(t *testing.T) {
	race.Alone(t)
	dvfs := 0.0
	for _, policy := range []string{"DVFS", "THR-MMT-0.8", "LR-MMT-1.2", "heliostat"} {
		w := newWorld(flat(200, 0.2))
		if err := play(w, policy, 80, false); err != nil {
			t.Fatal(err)
		}
		r := w.report("", policy)
		if policy == "DVFS" {
			dvfs = r.EnergyKWh
		} else if r.EnergyKWh >= dvfs || r.Migrations == 0 {
			t.Errorf("%s: %.2f kWh with %d migrations, DVFS has %.2f", policy, r.EnergyKWh, r.Migrations, dvfs)
		}
		if r.EnergyKWh < r.BoundKWh || r.UnservedPct > 0.1 {
			t.Errorf("%s: %.2f kWh, bound %.2f, %.3f %% unserved", policy, r.EnergyKWh, r.BoundKWh, r.UnservedPct)
		}
		if policy == "heliostat" && r.Migrations > 200 {
			t.Errorf("%d migrations of 200 VMs on a flat day", r.Migrations)
		}
	}
}

// A VM that asks for nothing is taken for completed, and gone.
func TestIdleVMsAreRemoved(t *testing.T) {
	trace := flat(4, 0.5)
	for k := 100; k < 288; k++ {
		trace[2][k] = 0
	}
	w := newWorld(trace)
	if err := play(w, "DVFS", 0, false); err != nil {
		t.Fatal(err)
	}
	for v := range w.vms {
		if w.vms[v].gone != (v == 2) {
			t.Errorf("VM %d is gone: %t", v, w.vms[v].gone)
		}
	}
}
