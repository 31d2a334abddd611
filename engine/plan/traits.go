package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
	"heliostat/internal/parallel"
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
	parallel.Each(parts(len(all)), b.apart(func(n *builder, k int) {
		for v := k * partSize; v < min((k+1)*partSize, len(all)); v++ {
			all[v] = n.traitsOf(int32(v))
		}
	}))
	b.traits, b.tenants = all, make([]tenants, len(b.s.Hosts))
	for h := range b.tenants {
		b.tenants[h] = b.tenantsOf(int32(h))
	}
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

// tenants are the VMs on a host, as they stand.
type tenants struct {
	live   int32 // powered on, and no agents
	mib    int64 // that these take
	plain  int32 // that have to leave for the host to be empty, and nothing keeps them
	simple bool  // nothing else on it matters to that
	cpu    int64 // MHz that are not a VM's
	mem    int64 // MiB that are not a VM's
}

// tenantsOf looks the VMs on host h over, once they have traits.
func (b *builder) tenantsOf(h int32) tenants {
	x := tenants{simple: true, cpu: int64(b.ground.CPU[h]), mem: int64(b.ground.Mem[h])}
	for _, v := range b.s.VMsOn(h) {
		t, f := b.traits[v], &b.ground.Foot[v]
		if t&trLive != 0 {
			x.live++
			x.mib += int64(f.MiB)
		}
		if t&trPlain == trPlain {
			x.plain++
		} else {
			x.simple = false
		}
		x.cpu, x.mem = x.cpu-int64(f.CPUMHz), x.mem-int64(f.MiB) // those that are off take nothing
	}
	return x
}
