package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// compileSurge asks the history for how much load each cluster has to keep room, and
// what of its load passes.
func (b *builder) compileSurge() {
	for c := range b.s.Clusters {
		b.surge[c], b.recent[c], b.rise[c], b.lasting[c] = 0, 0, 0, engine.Unknown
		k, ok := slices.BinarySearchFunc(b.hy.Clusters, b.s.Clusters[c].ID, func(x engine.ClusterHistory, id engine.ClusterID) int { return cmp.Compare(x.ID, id) })
		if !ok {
			continue
		}
		x := &b.hy.Clusters[k]
		b.lasting[c] = x.Lasting()
		if b.c.SurgePct > 0 {
			b.surge[c], b.recent[c], b.rise[c] = x.Surge(b.c.SurgePct), x.Recent(), x.Rise(b.c.SurgePct)
		}
	}
}

// A part is what a VM, or those of a host or a cluster, take now, MHz, and what they
// lack to the highest load of each. By that they share in what their cluster may rise.
type part struct {
	host         int32 // of a VM: where it runs, None
	takes, lacks int64
}

func (p *part) add(x *part, sign int64) {
	p.takes, p.lacks = p.takes+sign*x.takes, p.lacks+sign*x.lacks
}

// compileSoon brings what VMs may soon ask for up to date, and starts from that.
func (b *builder) compileSoon(x *news) {
	if x.all || x.past {
		clear(b.partsOn)
		clear(b.partsIn)
		for v := range b.parts {
			b.parts[v].host = engine.None
			b.readPart(int32(v))
		}
		for c := range b.s.Clusters {
			b.shareOut(int32(c))
		}
	} else {
		for _, v := range x.vms {
			b.readPart(v)
		}
		last := engine.None
		for _, h := range x.hosts { // mostly one cluster after the other
			if c := b.s.Hosts[h].Cluster; c != last && b.surge[c] > 0 { // it was so before
				b.shareOut(c)
				last = c
			}
		}
	}
}

// shareOut tells the hosts of cluster c what they have of its rise.
func (b *builder) shareOut(c int32) {
	for _, h := range b.s.HostsOf(c) {
		b.soonHere[h] = b.shareOf(c, &b.partsOn[h])
	}
}

// readPart looks at what VM v takes and lacks.
func (b *builder) readPart(v int32) {
	x, vm := &b.parts[v], &b.s.VMs[v]
	b.lend(x, -1)
	*x = part{host: engine.None}
	if vm.Power == engine.VMOn && vm.Host >= 0 {
		takes := int64(max(vm.UsedMHz, 0))
		*x = part{vm.Host, takes, max(int64(b.ofVM(v).Peak)-takes, 0)}
		b.lend(x, 1)
	}
}

// lend counts the part of a VM in those of its host and cluster, or takes it off.
func (b *builder) lend(x *part, sign int64) {
	if x.host >= 0 {
		b.partsOn[x.host].add(x, sign)
		b.partsIn[b.s.Hosts[x.host].Cluster].add(x, sign)
	}
}

// soon is what VM v may soon ask for, MHz.
func (b *builder) soon(v int32) int32 { return b.soonOf(&b.parts[v]) }

func (b *builder) soonOf(x *part) int32 {
	if x.host < 0 {
		return 0
	}
	return b.shareOf(b.s.Hosts[x.host].Cluster, x)
}

// shareOf is what a part takes with its share in a rise of cluster c: all VMs have the
// same part of what each lacks to its own highest load. So the VMs of a host that are
// busy take what they do, those that might become so take some of it, and hosts within
// their limits are balanced for what may come.
func (b *builder) shareOf(c int32, x *part) int32 {
	if b.surge[c] == 0 {
		return 0
	}
	all := &b.partsIn[c]
	return int32(x.takes + x.lacks*min(b.rise[c], all.lacks)/max(all.lacks, 1))
}

// balanceStage moves VMs off hosts that would be asked for more than they have if the
// load of their cluster rose as it has before, as long as others would not: where it
// rises there is no time to. Each is a move outside demands.
func (b *builder) balanceStage() {
	for i := range b.s.Hosts {
		h := int32(i)
		over := int64(b.soonOn[h]) - b.netMHz(h)
		if over <= b.netMHz(h)*balanceSlackPct/100 || b.bars[0][h] != barNone || b.doomed[h] || b.surge[b.s.Hosts[h].Cluster] == 0 {
			continue
		}
		why := engine.Why{Policy: "engine", Rule: "balance", Reason: b.s.Hosts[h].Name + " would be over its capacity if load rose as it has this week"}
		for _, v := range b.s.VMsOn(h) {
			if b.moved[v] > 0 {
				over -= int64(b.soon(v))
			}
		}
		least := over / worthRelief
		for _, v := range b.byNeed(b.s.VMsOn(h), b.soon) {
			if over <= 0 {
				break
			}
			if vm := &b.s.VMs[v]; int64(b.soon(v)) >= least && b.mendable(v) && vm.Obstacles&engine.ObAgent == 0 && b.even(v, why) {
				over -= int64(b.soon(v))
			}
		}
	}
}

// balanceSlackPct is by how many percent of a host what may come has to exceed it: less
// is not worth a move, since what may come is an estimate.
const balanceSlackPct = 5

// even moves VM v to where it balances, and says nothing where it does not.
func (b *builder) even(v int32, why engine.Why) bool {
	w := want{v: v, demand: engine.None, inside: true, cluster: engine.None, host: engine.None, avoid: b.leftForGain(v)}
	if r := b.vmReason(&w); !r.ok() || b.held[v] {
		return false
	}
	if r := b.coolReason(v, b.s.VMSite(v)); !r.ok() {
		return false
	}
	if r := b.spent(); !r.ok() {
		return false
	}
	h, r := b.find(&w)
	if !r.ok() {
		return false
	}
	b.send(&w, h, why)
	return true
}

// byNeed sorts VMs by how much they need for the memory that a move sends, the most first.
func (b *builder) byNeed(vms []int32, mhz func(v int32) int32) []int32 {
	out := slices.Clone(vms)
	slices.SortStableFunc(out, func(x, y int32) int {
		return cmp.Compare(int64(mhz(y))*int64(max(b.s.VMs[x].UsedMiB, 1)), int64(mhz(x))*int64(max(b.s.VMs[y].UsedMiB, 1)))
	})
	return out
}

// netMHz is what host h leaves to VMs.
func (b *builder) netMHz(h int32) int64 { return int64(b.net[h]) }

// compileNet brings that up to date.
func (b *builder) compileNet(x *news) {
	read := func(h int32) { b.net[h] = b.s.Hosts[h].CPUMHz - b.ofHost(h).OwnMHz }
	if x.all || x.past {
		for h := range b.net {
			read(int32(h))
		}
		return
	}
	for _, h := range x.hosts {
		read(h)
	}
}
