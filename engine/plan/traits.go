package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// traits are what is asked of a VM again and again, in a byte: most VMs are free
// to move, and a look at one that is costs several cache lines.
type traits uint8

const (
	trFree  traits = 1 << iota // nothing of its own keeps it from moving for a wish, and so for anything
	trFresh                    // nobody has moved it within memory
	trLoose                    // no policy says where it may be
	trLive                     // powered on, and no agent

	trPlain = trFree | trFresh | trLive
)

// readTraits looks every VM over once, for the stages that go through all of them.
func (b *builder) readTraits() {
	if b.traits != nil {
		return
	}
	all := make([]traits, len(b.s.VMs))
	inParallel(parts(len(all)), b.apart(func(n *builder, k int) {
		for v := k * partSize; v < min((k+1)*partSize, len(all)); v++ {
			all[v] = n.traitsOf(int32(v))
		}
	}))
	b.traits = all
}

func (b *builder) traitsOf(v int32) traits {
	var t traits
	if b.loose(v) {
		t = trLoose
	}
	if vm := &b.s.VMs[v]; vm.Power == engine.VMOn && vm.Obstacles&engine.ObAgent == 0 {
		t |= trLive
	}
	if x := b.ofVM(v); x.MovedAt == 0 && x.ForeignAt == 0 {
		t |= trFresh
	}
	w := want{v: v, demand: engine.None, cluster: engine.None, host: engine.None, avoid: engine.None}
	if r := b.vmReason(&w); r.ok() {
		t |= trFree
	}
	return t
}

// loose reports whether no policy says where VM v may be.
func (b *builder) loose(v int32) bool {
	_, vetoed := slices.BinarySearchFunc(b.vetoes, v, func(x vmVeto, v int32) int { return cmp.Compare(x.vm, v) })
	return !vetoed && len(of(b.d.AllowSites, v, func(x *engine.AllowSites) int32 { return x.VM })) == 0 &&
		len(of(b.d.AllowHosts, v, func(x *engine.AllowHosts) int32 { return x.VM })) == 0
}

// has reports whether VM v is known to have all of the traits.
func (b *builder) has(v int32, t traits) bool { return b.traits != nil && b.traits[v]&t == t }
