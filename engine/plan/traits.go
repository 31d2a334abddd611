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
	trFree    traits = 1 << iota // nothing of its own keeps it from moving for a wish, and so for anything
	trFresh                      // nobody has moved it within memory
	trLoose                      // no policy says where it may be
	trLive                       // powered on, and no agent
	trCrosses                    // it may leave its vCenter without being asked to

	trPlain = trFree | trFresh | trLive
)

// readTraits looks every VM over once, for the stages that go through all of them.
func (b *builder) readTraits() {
	if b.traits != nil {
		return
	}
	all := make([]traits, len(b.s.VMs))
	parallel.Each(parts(len(all)), func() func(int) {
		return func(k int) {
			for v := k * partSize; v < min((k+1)*partSize, len(all)); v++ {
				all[v] = b.traitsOf(int32(v))
			}
		}
	})
	b.traits, b.tenants = all, make([]tenants, len(b.s.Hosts))
	for v, t := range all {
		b.house(b.s.VMs[v].Host, t, 1)
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
	if c := b.s.VMCluster(v); c >= 0 {
		if r := b.acrossReason(&w, c); r.ok() {
			t |= trCrosses
		}
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
func (b *builder) has(v int32, t traits) bool { return b.known(v).have(t) }

func (b *builder) known(v int32) traits {
	if b.traits == nil {
		return 0
	}
	return b.traits[v]
}

func (x traits) have(t traits) bool { return x&t == t }

// tenants are how many VMs on a host, as they stand, have to leave for it to be empty and
// nothing keeps them, and how many others there are.
type tenants struct{ plain, others int32 }

// house counts a VM with these traits on host h, or takes it off.
func (b *builder) house(h int32, t traits, sign int32) {
	switch {
	case h < 0:
	case t&trPlain == trPlain:
		b.tenants[h].plain += sign
	default:
		b.tenants[h].others += sign
	}
}

// readAgain looks VMs over again that may have other traits: those that differ in more
// than their load, those that somebody asks about, those on hosts that differ, and those
// that rest, since time has passed.
func (b *builder) readAgain(x *news, old *engine.Snapshot, restless []int32) {
	if x.all || x.traits || b.traits == nil {
		b.traits, b.tenants = nil, nil
		clear(b.hindrance)
		return
	}
	if x.words {
		clear(b.hindrance)
	}
	for _, h := range x.hosts {
		b.hindrance[h] = hindrance{}
	}
	again := slices.Concat(b.otherwise(x.vms, old), x.asked, restless, b.restless)
	for _, h := range x.turned {
		again = append(again, b.s.VMsOn(h)...)
	}
	slices.Sort(again)
	again = slices.Compact(again)
	all, now := b.traits, make([]traits, len(again))
	b.traits = nil // or they would be believed
	parallel.Each(parts(len(again)), func() func(int) {
		return func(k int) {
			for i := k * partSize; i < min((k+1)*partSize, len(again)); i++ {
				now[i] = b.traitsOf(again[i])
			}
		}
	})
	b.traits = all
	for i, v := range again {
		b.house(old.VMs[v].Host, all[v], -1)
		b.house(b.s.VMs[v].Host, now[i], 1)
		if h := b.s.VMs[v].Host; h >= 0 {
			b.hindrance[h] = hindrance{}
		}
		all[v] = now[i]
	}
}

// otherwise are those of some VMs that differ in something that traits depend on.
func (b *builder) otherwise(vms []int32, old *engine.Snapshot) []int32 {
	out := make([][]int32, parts(len(vms)))
	parallel.Each(len(out), func() func(int) {
		return func(k int) {
			for _, v := range vms[k*partSize : min((k+1)*partSize, len(vms))] {
				if !sameTraits(&b.s.VMs[v], &old.VMs[v]) {
					out[k] = append(out[k], v)
				}
			}
		}
	})
	return slices.Concat(out...)
}

// sameTraits reports whether a VM is what it was, as far as its traits go: see vmReason and acrossReason.
func sameTraits(x, y *engine.VM) bool {
	return x.Host == y.Host && x.Power == y.Power && x.Template == y.Template && x.Home == y.Home && x.Mode == y.Mode && x.Across == y.Across && x.Obstacles == y.Obstacles && x.Task == y.Task &&
		x.Seen() == y.Seen() && alike(x.Disks, y.Disks)
}
