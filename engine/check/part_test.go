package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/plan"
)

// What is told to be a part that holds is accepted as a plan, nothing that comes after
// what is out is in it, and of a plan that is accepted nothing is out.
func TestPart(t *testing.T) {
	some := 0
	for seed := range uint64(16) {
		in, r := drawn(seed, size{2, 1, 3, 4}), rand.New(rand.NewPCG(seed, 4))
		p := plan.Build(in)
		for n := range 3 {
			if len(p.Actions) == 0 {
				break
			}
			var k Checker
			out := k.Part(in, p)
			var keep []int32
			for i := range int32(len(out)) {
				if out[i] == nil {
					keep = append(keep, i)
				}
			}
			if err := k.Plan(in, p.Part(keep)); err != nil {
				t.Fatalf("seed %d.%d: the part is refused:\n%v", seed, n, err)
			}
			for _, i := range keep {
				if slices.ContainsFunc(p.Actions[i].After, func(j int32) bool { return out[j] != nil }) {
					t.Errorf("seed %d.%d: action %d comes after one that is out", seed, n, i)
				}
			}
			if err := k.Plan(in, p); (err == nil) != (len(keep) == len(out)) {
				t.Errorf("seed %d.%d: %d of %d are in the part of a plan of which is said: %v", seed, n, len(keep), len(out), err)
			}
			if len(keep) > 0 && len(keep) < len(out) {
				some++
			}
			p = spoil(in, p, r)
		}
	}
	if some < 2 {
		t.Errorf("%d plans hold in part: the test shows little", some)
	}
}

// Every action is looked at, however many are wrong, and of a plan that is wrong as a
// whole no part holds.
func TestPartOfMany(t *testing.T) {
	f := newFleet()
	for i := range 100 {
		f.addVM(fmt.Sprintf("x%03d", i), 0)
		f.move(fmt.Sprintf("x%03d", i), 1) // where it is
	}
	inside(f)
	out := func() (n int) {
		for _, err := range new(Checker).Part(f.in, f.p) {
			if err != nil {
				n++
			}
		}
		return n
	}
	if n := out(); n != 100 || Plan(f.in, f.p.Part([]int32{100})) != nil {
		t.Errorf("%d are out", n)
	}
	f.in.Paused = "storm"
	if n := out(); n != 101 {
		t.Errorf("%d are out while paused", n)
	}
	f.in.Paused = ""
	f.in.Snapshot.Gaps = []engine.Gap{{Subject: engine.Subject{Kind: "vcenter", ID: string(f.in.Snapshot.VCenters[0].ID)}, Reason: "silent"}}
	f.p = f.p.Part([]int32{100})
	if err := new(Checker).Part(f.in, f.p)[0]; err == nil || !strings.Contains(err.Error(), "is not seen: silent") {
		t.Errorf("at a silent vCenter: %v", err)
	}
}
