package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// compileSurge asks the history for how much load each cluster has to keep room.
func (b *builder) compileSurge() {
	b.surge, b.recent = make([]int64, len(b.s.Clusters)), make([]int64, len(b.s.Clusters))
	if b.c.SurgePct == 0 {
		return
	}
	for c := range b.s.Clusters {
		k, ok := slices.BinarySearchFunc(b.hy.Clusters, b.s.Clusters[c].ID, func(x engine.ClusterHistory, id engine.ClusterID) int { return cmp.Compare(x.ID, id) })
		if ok {
			b.surge[c], b.recent[c] = b.hy.Clusters[k].Surge(b.c.SurgePct), b.hy.Clusters[k].Recent()
		}
	}
}

// compileSoon shares what each cluster has to expect among its VMs: beside what it
// takes now, each has the same part of what it lacks to its own highest load. So the
// VMs of a host that are busy take what they do, those that might become so take some
// of it, and hosts within their limits are balanced for what may come.
func (b *builder) compileSoon() {
	now, gap := make([]int64, len(b.s.Clusters)), make([]int64, len(b.s.Clusters))
	b.soon, b.soonOn = make([]int32, len(b.s.VMs)), make([]int32, len(b.s.Hosts))
	if !slices.ContainsFunc(b.surge, func(mhz int64) bool { return mhz > 0 }) {
		return
	}
	each := func(f func(v, c int32, takes, lacks int64)) {
		for i := range b.s.VMs {
			if v := &b.s.VMs[i]; v.Power == engine.VMOn && v.Host >= 0 {
				takes := int64(max(v.UsedMHz, 0))
				f(int32(i), b.s.Hosts[v.Host].Cluster, takes, max(int64(b.ofVM(int32(i)).Peak)-takes, 0))
			}
		}
	}
	each(func(_, c int32, takes, lacks int64) { now[c], gap[c] = now[c]+takes, gap[c]+lacks })
	each(func(v, c int32, takes, lacks int64) {
		if b.surge[c] > 0 {
			b.soon[v] = int32(takes + lacks*min(max(b.surge[c]-now[c], 0), gap[c])/max(gap[c], 1))
			b.soonOn[b.s.VMs[v].Host] += b.soon[v]
		}
	})
}

// balanceStage moves VMs off hosts that would be asked for more than they have if the
// load of their cluster rose as it has before, as long as others would not: where it
// rises there is no time to. Each is a move outside demands.
func (b *builder) balanceStage() {
	for i := range b.s.Hosts {
		h := int32(i)
		over := int64(b.soonOn[h]) - b.netMHz(h)
		if b.bars[0][h] != barNone || b.doomed[h] || over <= b.netMHz(h)*balanceSlackPct/100 || b.surge[b.s.Hosts[h].Cluster] == 0 {
			continue
		}
		why := engine.Why{Policy: "engine", Rule: "balance", Reason: b.s.Hosts[h].Name + " would be over its capacity if load rose as it has this week"}
		for _, v := range b.s.VMsOn(h) {
			if b.moved[v] > 0 {
				over -= int64(b.soon[v])
			}
		}
		for _, v := range b.byNeed(b.s.VMsOn(h), func(v int32) int32 { return b.soon[v] }) {
			if over <= 0 {
				break
			}
			if vm := &b.s.VMs[v]; b.mendable(v) && vm.Obstacles&engine.ObAgent == 0 && b.even(v, why) {
				over -= int64(b.soon[v])
			}
		}
	}
}

const balanceSlackPct = 10

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
	storage := b.storageNeeded(&w, h)
	e := b.estimate(v, h, storage, b.diskCopy(&w, h))
	b.commit(&w, h, []engine.Why{why}, engine.Ledger{CostOnce: b.moveCost(v, b.st.Host[v], h, &e, b.rate(b.st.Host[v], h, storage, false))})
	b.wishes--
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
func (b *builder) netMHz(h int32) int64 {
	return int64(b.s.Hosts[h].CPUMHz) - int64(b.ofHost(h).OwnMHz)
}
