package check

import (
	"cmp"
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
	return k.judge(in, p, nil).report()
}

// partRounds is how often what is wrong is taken out of a plan before all of it is
// taken to be: most of it is found at once, and what it was in the way of after that.
const partRounds = 6

// Part tells what of a plan may be carried out without the rest, as [Checker.Plan] would
// let it. Of each action of the plan it says why it is not in that part, nil where it is:
// it is wrong, or comes after one that is.
func (k *Checker) Part(in engine.Input, p *engine.Plan) (out []error) {
	out = make([]error, len(p.Actions))
	keep := make([]int32, len(p.Actions))
	for i := range keep {
		keep[i] = int32(i)
	}
	for round := 0; len(keep) > 0; round++ {
		c := k.judge(in, p.Part(keep), map[int32]bool{})
		if len(c.list) == 0 {
			break
		}
		for _, f := range c.list {
			out[keep[f.action]] = c.error(f)
		}
		if round+1 == partRounds {
			for _, i := range keep {
				out[i] = cmp.Or(out[i], c.error(c.list[0]))
			}
			break
		}
		for n := 0; n != len(keep); {
			n = len(keep)
			keep = slices.DeleteFunc(keep, func(i int32) bool {
				for _, j := range p.Actions[i].After {
					out[i] = cmp.Or(out[i], out[j])
				}
				return out[i] != nil
			})
		}
	}
	return out
}

// judge is a whole check. had is not nil where every action that is wrong is looked for.
func (k *Checker) judge(in engine.Input, p *engine.Plan, had map[int32]bool) *checker {
	kept := k.kept
	k.kept = nil // what a panic leaves half done is not gone on with
	if kept == nil || !kept.fits(in.Snapshot) {
		kept = newMemory(in.Snapshot)
	}
	c := newChecker(in, p, kept)
	c.had = had
	c.judge()
	kept.clean(c)
	k.kept = kept
	return c
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
