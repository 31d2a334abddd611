package plan

import (
	"cmp"
	"slices"
	"strings"

	"heliostat/engine"
)

// compileNetworks numbers the L2 segments and lists them by host.
func (b *builder) compileNetworks() {
	b.netSeg = nones(len(b.s.Networks))
	ids := map[string]int32{}
	for i := range b.s.Networks {
		seg := b.s.Networks[i].Segment
		if seg == "" {
			continue
		}
		id, ok := ids[seg]
		if !ok {
			id = int32(len(ids))
			ids[seg] = id
		}
		b.netSeg[i] = id
	}
	b.hostSegs = newCSR(len(b.s.Hosts), func(add func(int32, int32)) {
		for h := range b.s.Hosts {
			for _, n := range b.s.Hosts[h].Networks {
				if n >= 0 && b.netSeg[n] >= 0 {
					add(int32(h), b.netSeg[n])
				}
			}
		}
	})
}

// compileMACs finds MACs that two VMs use on one segment, over all vCenters.
func (b *builder) compileMACs() {
	b.macDup = nil
	type use struct {
		key     uint64 // of the MAC: comparing numbers settles nearly all of the order
		mac     string
		seg, vm int32
	}
	n := 0
	for i := range b.s.VMs {
		n += len(b.s.VMs[i].NICs)
	}
	uses := make([]use, 0, n)
	for i := range b.s.VMs {
		for _, c := range b.s.VMs[i].NICs {
			if c.MAC != "" && c.Network >= 0 && b.netSeg[c.Network] >= 0 {
				mac := strings.ToLower(c.MAC)
				uses = append(uses, use{macKey(mac), mac, b.netSeg[c.Network], int32(i)})
			}
		}
	}
	slices.SortFunc(uses, func(x, y use) int {
		if x.key != y.key {
			return cmp.Compare(x.key, y.key)
		}
		if c := strings.Compare(x.mac, y.mac); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(x.seg, y.seg), cmp.Compare(x.vm, y.vm))
	})
	for i := 1; i < len(uses); i++ {
		x, y := &uses[i-1], &uses[i]
		if x.mac != y.mac || x.seg != y.seg {
			continue
		}
		if b.macDup == nil {
			b.macDup = nones(len(b.s.VMs))
		}
		b.macDup[x.vm], b.macDup[y.vm] = y.vm, x.vm
	}
}

// macKey packs the hexadecimal digits of a MAC; what is no MAC may share a key.
func macKey(mac string) uint64 {
	var k uint64
	for i := range len(mac) {
		switch c := mac[i]; {
		case c >= '0' && c <= '9':
			k = k<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			k = k<<4 | uint64(c-'a'+10)
		}
	}
	return k
}

// networkReason asks for each card's L2 segment at the destination.
func (b *builder) networkReason(w *want, h int32) reason {
	vm := &b.s.VMs[w.v]
	if h == vm.Host {
		return reason{}
	}
	changed := false
	for i := range vm.NICs {
		n := vm.NICs[i].Network
		if n < 0 {
			return reason{code: engine.HoldNetwork, stage: stNetwork, form: "a network of it is not in the inventory"}
		}
		if _, ok := slices.BinarySearch(b.s.Hosts[h].Networks, n); ok {
			continue
		}
		changed = true
		if seg := b.netSeg[n]; seg < 0 || !slices.Contains(b.hostSegs.of(h), seg) {
			return reason{code: engine.HoldNetwork, stage: stNetwork, form: "%[1]s has no network of the same segment as %[2]s", where: b.s.Hosts[h].Name, other: b.s.Networks[n].Name}
		}
	}
	if changed && b.macDup != nil && b.macDup[w.v] >= 0 {
		return reason{code: engine.HoldMAC, stage: stNetwork, form: "a MAC of it is also used by %[1]s on the same segment", where: b.s.VMs[b.macDup[w.v]].Name}
	}
	return reason{}
}
