package backtest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"heliostat/engine"
)

// A Report is the backtest of a bundle.
type Report struct {
	From      engine.Unix `json:"from"`
	To        engine.Unix `json:"to"`
	Level     engine.Mode `json:"level"`
	Revisions []string    `json:"recorded_revisions"`
	// Differences are the recorded cycles in which the bundle's decision or a plan
	// made of it is another, to the byte.
	Differences int       `json:"differences"`
	Replayed    *Replayed `json:"replayed"`
	Actual      *Run      `json:"recorded"`
	Base        *Run      `json:"base"` // the bundle in force, simulated
	New         *Run      `json:"new"`  // the bundle under test, simulated by the same model
	VMs         []Change  `json:"vms"`  // that fare most differently, base against new
	Hosts       []Change  `json:"hosts"`
}

// A Change is how one VM or host fares under each bundle.
type Change struct {
	Name string  `json:"name"`
	Base string  `json:"base"`
	New  string  `json:"new"`
	Why  string  `json:"why,omitempty"`
	Size float64 `json:"size"` // by which changes are ordered: moves, or kWh
}

// Run replays and simulates: base is the bundle that was in force.
func (r *Record) Run(ctx context.Context, base, fresh Load, level engine.Mode) (*Report, error) {
	out := &Report{Level: level, Revisions: r.Revisions()}
	again := replay{r: r, b: bench{load: fresh}}
	was := actual{r: r, m: newMeter("recorded"), w: newFleet(), level: level}
	runs := [2]simulation{
		{b: bench{load: base}, m: newMeter("base"), w: newFleet(), level: level},
		{b: bench{load: fresh}, m: newMeter("new"), w: newFleet(), level: level},
	}
	if err := r.each(ctx, again.step, was.step, runs[0].step, runs[1].step); err != nil {
		return nil, err
	}
	again.out.Rules = again.rules.sorted()
	out.Replayed, out.Actual = &again.out, was.m.close(was.before.snapshot)
	out.Base, out.New = runs[0].m.close(runs[0].w.s), runs[1].m.close(runs[1].w.s)
	out.Differences = out.Replayed.Differences
	out.From, out.To = out.New.Points[0].At, out.New.Points[len(out.New.Points)-1].At
	out.VMs, out.Hosts = vmChanges(out.Base, out.New), hostChanges(out.Base, out.New)
	return out, nil
}

// changes is how many VMs and hosts a report names.
const changes = 10

func largest(all []Change) []Change {
	slices.SortStableFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Name, b.Name))
	})
	return all[:min(len(all), changes)]
}

func vmChanges(base, fresh *Run) []Change {
	out := []Change{}
	join(base.VMs, fresh.VMs, func(v *VMRun) engine.VMID { return v.ID }, func(a, b *VMRun) {
		c := Change{Name: cmp.Or(b.Name, a.Name), Base: a.text(), New: b.text(), Size: math.Abs(float64(b.Moves - a.Moves)), Why: differing(a.Why, b.Why)}
		if a.Left != b.Left {
			c.Size += 1000 // a VM left behind matters more than any number of moves
		}
		if c.Base != c.New && c.Size > 0 {
			out = append(out, c)
		}
	})
	return largest(out)
}

func hostChanges(base, fresh *Run) []Change {
	out := []Change{}
	join(base.Hosts, fresh.Hosts, func(h *HostRun) engine.HostID { return h.ID }, func(a, b *HostRun) {
		c := Change{Name: cmp.Or(b.Name, a.Name), Base: a.text(), New: b.text(), Size: round(math.Abs(b.KWh-a.KWh), 3), Why: differing(a.Why, b.Why)}
		if c.Base != c.New && c.Size > 0 {
			out = append(out, c)
		}
	})
	return largest(out)
}

// join visits the pairs of two lists sorted by ID; what one of them lacks is empty.
func join[T any, K cmp.Ordered](a, b []T, id func(*T) K, f func(a, b *T)) {
	var none T
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || (len(a) > 0 && id(&a[0]) < id(&b[0])):
			f(&a[0], &none)
			a = a[1:]
		case len(a) == 0 || id(&b[0]) < id(&a[0]):
			f(&none, &b[0])
			b = b[1:]
		default:
			f(&a[0], &b[0])
			a, b = a[1:], b[1:]
		}
	}
}

// differing is the last reason of the new course, else that of the old one.
func differing(a, b string) string {
	switch {
	case b != "":
		return "new: " + b
	case a != "":
		return "base: " + a
	}
	return ""
}

func round(x float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(x*p) / p
}

func (v *VMRun) text() string {
	switch {
	case v.Left != "":
		return fmt.Sprintf("left at %s", v.Left)
	case v.Moves == 0:
		return "not moved"
	}
	return fmt.Sprintf("moved %s, %.0f GB, ends at %s", times(v.Moves), v.GB, v.Site)
}

func (h *HostRun) text() string {
	s := fmt.Sprintf("%.1f kWh, %.1f h asleep", h.KWh, h.StandbyH)
	if h.OverMin > 0 {
		s += fmt.Sprintf(", %.0f min overloaded", h.OverMin)
	}
	return s
}
