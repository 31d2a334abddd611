package check

import (
	"slices"
	"sync"

	"heliostat/engine"
)

// A Checker checks plans one after the other, with the verdicts of [Plan], and keeps
// the memory that this takes between them, which grows with the fleet where a plan
// may touch little of it. What one plan has put there is taken away before the next:
// no verdict depends on those before. A Checker is for one goroutine.
type Checker struct{ kept *memory }

// Plan is [Plan].
func (k *Checker) Plan(in engine.Input, p *engine.Plan) error {
	if len(p.Actions) == 0 {
		return nil
	}
	kept := k.kept
	k.kept = nil // what a panic leaves half done is not gone on with
	if kept == nil || !kept.fits(in.Snapshot) {
		kept = newMemory(in.Snapshot)
	}
	c := newChecker(in, p, kept)
	err := c.judge()
	kept.clean(c)
	k.kept = kept
	return err
}

// A memory is for a fleet of some size.
type memory struct {
	movedBy []int32 // by VM: None
	overCPU []int32 // by host
	overMem []int32

	mu     sync.Mutex
	states []*engine.State // that know nothing
	foot   []engine.Footprint
	hosts  []int32 // that they have been told of
}

func newMemory(s *engine.Snapshot) *memory {
	return &memory{
		movedBy: slices.Repeat([]int32{engine.None}, len(s.VMs)), overCPU: make([]int32, len(s.Hosts)), overMem: make([]int32, len(s.Hosts)), foot: make([]engine.Footprint, len(s.VMs)),
	}
}

// fits reports whether the fleet has the same numbers of things.
func (x *memory) fits(s *engine.Snapshot) bool {
	stores := len(s.Datastores)
	if len(x.states) > 0 {
		stores = len(x.states[0].Free)
	}
	return len(x.movedBy) == len(s.VMs) && len(x.overCPU) == len(s.Hosts) && stores == len(s.Datastores)
}

// state is the n-th state, empty, of the snapshot. All take each VM for the same.
func (x *memory) state(n int, s *engine.Snapshot) *engine.State {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.states) <= n {
		x.states = append(x.states, engine.EmptyState(s, x.foot))
	}
	t := x.states[n]
	t.S = s
	for d := range s.Datastores {
		t.Free[d] = s.Datastores[d].FreeMiB
	}
	return t
}

// clean takes away what the check of one plan has put here.
func (x *memory) clean(c *checker) {
	for _, e := range c.steps {
		if e.vm >= 0 {
			x.movedBy[e.vm] = engine.None
		}
	}
	for _, t := range x.states {
		t.S = c.s
		t.Forget(x.hosts)
	}
	x.hosts = x.hosts[:0]
}
