package backtest

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
	"heliostat/engine/cycle"
)

// book is a journal in memory.
type book struct {
	entries []engine.Entry
	blobs   map[string][]byte
}

func (b *book) Entries(uint64) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		for _, e := range b.entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (b *book) Get(digest string) ([]byte, error) {
	v, ok := b.blobs[digest]
	if !ok {
		return nil, fmt.Errorf("no blob %s", digest)
	}
	return bytes.Clone(v), nil
}

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// plan journals a plan that moves the VMs to h2.
func (b *book) plan(t *testing.T, number uint64, level engine.Mode, shadow string, watts int64, vms ...string) {
	t.Helper()
	p := engine.Plan{Cycle: number, At: engine.At(noon.Add(time.Duration(number) * time.Hour)), Effect: engine.Effect{PowerW: watts, MicroEURPerH: -watts * 100}}
	for _, vm := range vms {
		p.Actions = append(p.Actions, engine.Action{
			Kind: engine.Move, VM: engine.VMID(vm), Name: vm, From: engine.Place{Host: "h1", Name: "h1"}, To: engine.Place{Host: "h2", Name: "h2"},
			Estimate: engine.Estimate{MemoryMiB: 1024}, Why: []engine.Why{{Policy: "p", Rule: "prefer", Reason: "because"}},
		})
	}
	raw, err := engine.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	rec := engine.PlanRecord{Level: level, Shadow: shadow, Digest: engine.DigestBytes(raw), Actions: len(p.Actions)}
	e, err := engine.NewEntry(number, engine.EntryPlan, rec, rec.Digest)
	if err != nil {
		t.Fatal(err)
	}
	e.At = p.At.Time()
	b.blobs[rec.Digest] = raw
	b.entries = append(b.entries, e)
}

func TestCompare(t *testing.T) {
	b := &book{blobs: map[string][]byte{}}
	for n := uint64(1); n <= 4; n++ {
		b.plan(t, n, engine.Enforce, "", -10, "a")
		b.plan(t, n, engine.Shadow, "other", 0, "z")
		if n < 4 {
			b.plan(t, n, engine.Shadow, cycle.ShadowOf("next"), -40, "a", "b")
		} else {
			b.plan(t, n, engine.Shadow, cycle.ShadowOf("next"), -20, "a")
		}
	}
	c, err := Compare(b, "next", noon.Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if c.Cycles != 3 || c.Same != 1 || c.Both != 1 || c.Shadow.Actions != 2 || c.Enforce.Actions != 1 || len(c.OnlyForce) != 0 {
		t.Errorf("%+v", c)
	}
	want := []Wish{{What: "move b h1 -> h2 (vmotion)", Cycles: 2, First: 2, Why: "p.prefer: because"}}
	if !slices.Equal(c.OnlyShadow, want) {
		t.Errorf("only in shadow: %+v", c.OnlyShadow)
	}
	if c.Shadow.PowerW != -33.3 || c.Enforce.PowerW != -10 {
		t.Errorf("power: %v in shadow, %v enforced", c.Shadow.PowerW, c.Enforce.PowerW)
	}
	// Two hours at -40 W; the last cycle has none after it.
	if c.Shadow.KWh != -0.08 || c.Enforce.KWh != -0.02 || c.Shadow.GB != 2 || c.Enforce.GB != 1 {
		t.Errorf("%v kWh and %v GB in shadow, %v and %v enforced", c.Shadow.KWh, c.Shadow.GB, c.Enforce.KWh, c.Enforce.GB)
	}
	if text := c.Text(); !strings.Contains(text, "1 action only in shadow:\n  move b h1 -> h2") {
		t.Errorf("text:\n%s", text)
	}
	if _, err := Compare(b, "nope", noon); err == nil || !strings.Contains(err.Error(), "bundle:next, other") {
		t.Errorf("no such shadow: %v", err)
	}
}
