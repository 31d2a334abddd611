package plan

import "heliostat/engine"

// lodgers are what the VMs on a host, as they stand, come to.
type lodgers struct {
	used load2 // what the host's own load holds of theirs
	foot load2 // what they are taken for
	mib  int32 // of that: of those that are no agents
}

// load2 is MHz and MiB.
type load2 [2]int32

func (l *load2) add(cpu, mem, sign int32) { l[0], l[1] = l[0]+sign*cpu, l[1]+sign*mem }

// settle brings the ground up to date: what every VM takes, and what is on each host.
// What a VM came to when it was last looked at is taken off where it was then, so that
// the others on its hosts need no look.
func (b *builder) settle(x *news, old *engine.Snapshot) {
	if x.all || x.past {
		b.settleAll()
		return
	}
	b.oldest = x.oldest
	g := b.ground
	g.S = b.s
	for d := range b.s.Datastores {
		g.Free[d] = b.s.Datastores[d].FreeMiB
	}
	for _, v := range x.vms {
		b.lodge(v, &old.VMs[v], -1)
		g.Foot[v], g.Host[v] = engine.FootprintOf(&b.s.VMs[v], b.pack[v]), b.s.VMs[v].Host
		b.lodge(v, &b.s.VMs[v], 1)
	}
	for _, h := range x.hosts {
		b.land(h)
	}
}

func (b *builder) settleAll() {
	foot := make([]engine.Footprint, len(b.s.VMs))
	b.ground = engine.EmptyState(b.s, foot)
	b.oldest = [2]engine.Unix{engine.NoReading, engine.NoReading}
	clear(b.lodgers)
	for i := range foot {
		v, vm := int32(i), &b.s.VMs[i]
		b.pack[v] = b.packed(v)
		foot[v], b.ground.Host[v] = engine.FootprintOf(vm, b.pack[v]), vm.Host
		b.lodge(v, vm, 1)
		if vm.Power == engine.VMOn && vm.Seen() {
			b.oldest[0] = min(b.oldest[0], vm.LoadAt)
		}
	}
	clear(b.own)
	clear(b.carried)
	for h := range b.s.Hosts {
		if host := &b.s.Hosts[h]; host.Power == engine.HostOn && host.Seen() {
			b.oldest[1] = min(b.oldest[1], host.LoadAt)
		}
		b.land(int32(h))
	}
	b.st = nil
}

// packed is the percentile over the last hour on which VM v is packed.
func (b *builder) packed(v int32) int32 {
	if j := b.vmHist[v]; j >= 0 {
		return b.hy.VMs[j].CPU.Percentile(int(b.c.PackPct))
	}
	return engine.Unknown
}

// lodge counts VM v on its host as it is in some snapshot and is taken for now, or takes
// it off.
func (b *builder) lodge(v int32, vm *engine.VM, sign int32) {
	h, f := vm.Host, &b.ground.Foot[v]
	if h < 0 {
		return
	}
	x := &b.lodgers[h]
	if vm.Power == engine.VMOn && vm.Seen() {
		x.used.add(vm.UsedMHz, vm.UsedMiB, sign)
	}
	x.foot.add(f.CPUMHz, f.MiB, sign)
	x.mib += sign * f.MiB * f.Counts
	b.ground.VCPU[h] += sign * f.VCPUs
	b.ground.On[h] += sign * f.Counts
}

// land sums up host h: its VMs, its hypervisor, and what that will take once the host is
// woken, which is not in what the cluster carries now.
func (b *builder) land(h int32) {
	g, host, x, c := b.ground, &b.s.Hosts[h], &b.lodgers[h], &b.carried[b.s.Hosts[h].Cluster]
	c[0], c[1] = c[0]-int64(g.CPU[h]-b.own[h][0]), c[1]-int64(g.Mem[h]-b.own[h][1])
	g.CPU[h], g.Mem[h] = x.foot[0], x.foot[1]
	if host.Seen() {
		g.CPU[h], g.Mem[h] = g.CPU[h]+max(host.UsedMHz-x.used[0], 0), g.Mem[h]+max(host.UsedMiB-x.used[1], 0)
	}
	c[0], c[1] = c[0]+int64(g.CPU[h]), c[1]+int64(g.Mem[h])
	cpu, mem := b.hypervisor(h)
	b.own[h] = load2{cpu, mem}
	g.CPU[h], g.Mem[h] = g.CPU[h]+cpu, g.Mem[h]+mem
	g.Power[h], g.Maint[h] = host.Power, host.Maintenance || host.Entering
}

// itself is what the hypervisor of host h takes, to which nothing is on its way.
func (b *builder) itself(h int32) (cpu, mem int64) {
	x := &b.lodgers[h]
	return int64(b.st.CPU[h] - x.foot[0]), int64(b.st.Mem[h] - x.foot[1])
}
