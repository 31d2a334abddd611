package check

import (
	"maps"
	"slices"

	"heliostat/engine"
	"heliostat/engine/turns"
	"heliostat/internal/parallel"
)

// A world is what all replays start from. Of the fleet it has the clusters that
// the plan and what is under way are about: what no action touches can not become
// worse, and whatever were forgotten would be on no host and be refused.
type world struct {
	c     *checker
	acts  []*engine.Action // the plan's, then the open ones that hold something
	steps []step
	open  int // index of the first open one

	clusters []int32 // that are touched
	base     *engine.State
	overCPU  []int32      // by host: MHz that are not a VM's
	overMem  []int32      // by host: MiB that are not a VM's
	readyAt  [2][]int32   // by cluster, by site: hosts that can take a VM at the start
	bySize   [2][][]int32 // by cluster: its hosts, the largest first: MHz, MiB
	lacked   [][2]int64   // by cluster: MHz and MiB that its reserve lacks at the start
	waits    []int32
	next     lists
	turns    *turns.Table

	twins    map[string][]int32 // datastores by URL, where two vCenters see one volume
	groups   []group
	before   []tally   // by group: before the plan
	groupsOf [][]int32 // by action
}

func (c *checker) world() *world {
	w := &world{c: c, steps: c.steps, open: len(c.p.Actions)}
	w.waits, w.next = slices.Clone(c.waits), c.next
	w.acts = make([]*engine.Action, len(c.p.Actions))
	for i := range c.p.Actions {
		w.acts[i] = &c.p.Actions[i]
	}
	w.settle()
	idle := &replay{world: w, st: w.base, twice: make([][2]int64, len(c.s.Clusters))}
	idle.unasked()
	w.opens()
	if slices.ContainsFunc(w.steps, func(e step) bool { return e.storage }) {
		w.twins = twinsOf(c.s)
	}
	w.readyAt = [2][]int32{make([]int32, len(c.s.Clusters)), make([]int32, len(c.s.Sites))}
	w.lacked = make([][2]int64, len(c.s.Clusters))
	for _, k := range w.clusters {
		for _, h := range c.s.HostsOf(k) {
			if w.base.Ready(h) {
				w.count(w.readyAt, h, 1)
			}
		}
		w.lacked[k] = idle.lack(k)
	}
	if w.stretched() {
		clear(w.readyAt[1]) // of the other clusters the base knows nothing: they are as the snapshot shows them
		for h := range c.s.Hosts {
			host := &c.s.Hosts[h]
			if ready := w.base.Ready(int32(h)); host.Site >= 0 && (ready || (w.base.Power[h] == engine.HostUnknown && host.Ready())) {
				w.readyAt[1][host.Site]++
			}
		}
	}
	w.slots()
	w.memberships()
	return w
}

// stretched reports whether a host is to sleep of a cluster that stands at several
// sites: only then a site may lose its last host and the cluster not.
func (w *world) stretched() bool {
	for _, e := range w.steps {
		if e.kind == engine.Standby && w.c.s.ClusterSite(w.c.s.Hosts[e.from].Cluster) < 0 {
			return true
		}
	}
	return false
}

// settle puts the clusters that are touched into the base as they stand, with what
// every VM takes and what of each host is not a VM's.
func (w *world) settle() {
	s := w.c.s
	touched := make([]bool, len(s.Clusters))
	touch := func(h int32) {
		if h >= 0 && !touched[s.Hosts[h].Cluster] {
			touched[s.Hosts[h].Cluster] = true
			w.clusters = append(w.clusters, s.Hosts[h].Cluster)
			w.c.kept.hosts = append(w.c.kept.hosts, s.HostsOf(s.Hosts[h].Cluster)...)
		}
	}
	for _, e := range w.steps {
		touch(e.from)
		touch(e.to)
	}
	for _, o := range w.c.underWay() {
		e := w.c.stepOf(&o.Action)
		touch(e.from)
		touch(e.to)
		if e.vm >= 0 {
			touch(s.VMs[e.vm].Host)
		}
	}
	w.base, w.overCPU, w.overMem = w.c.kept.state(0, s), w.c.kept.overCPU, w.c.kept.overMem
	w.bySize = [2][][]int32{make([][]int32, len(s.Clusters)), make([][]int32, len(s.Clusters))}
	parallel.Each(len(w.clusters), func() func(int) { return func(k int) { w.settleCluster(w.clusters[k]) } })
}

func (w *world) settleCluster(k int32) {
	s := w.c.s
	hosts := s.HostsOf(k)
	var pasts []*engine.VMHistory
	for _, h := range hosts {
		// They and their memories lie far apart: they are looked for together, so that
		// none waits for another.
		pasts = pasts[:0]
		for _, v := range s.VMsOn(h) {
			pasts = append(pasts, w.c.vmPast(v))
		}
		for i, v := range s.VMsOn(h) {
			f := w.c.footprint(v, pasts[i])
			if w.base.Foot[v] = f; w.c.movedBy[v] >= 0 {
				w.steps[w.c.movedBy[v]].foot = f
			}
		}
		w.base.Settle(h)
	}
	w.hypervisors(hosts)
	for _, h := range hosts {
		w.overCPU[h], w.overMem[h] = w.base.CPU[h], w.base.Mem[h]
		for _, v := range s.VMsOn(h) {
			w.overCPU[h] -= w.base.Foot[v].CPUMHz
			w.overMem[h] -= w.base.Foot[v].MiB
		}
	}
	for r, size := range [2]func(h int32) int32{
		func(h int32) int32 { return s.Hosts[h].CPUMHz },
		func(h int32) int32 { return s.Hosts[h].MemoryMiB },
	} {
		w.bySize[r][k] = slices.Clone(hosts)
		slices.SortFunc(w.bySize[r][k], func(x, y int32) int { return int(size(y)) - int(size(x)) })
	}
}

// hypervisors gives every host in standby what its hypervisor took before, for when
// it is woken; where that was never seen, what the hungriest of its cluster took.
func (w *world) hypervisors(hosts []int32) {
	for _, h := range hosts {
		if w.c.s.Hosts[h].Power != engine.HostStandby {
			continue
		}
		var own [2]int32
		if seen := w.c.hostPast(h); seen.SameSince > 0 {
			own = [2]int32{seen.OwnMHz, seen.OwnMiB}
		} else {
			for _, x := range hosts {
				other := w.c.hostPast(x)
				own = [2]int32{max(own[0], other.OwnMHz), max(own[1], other.OwnMiB)}
			}
		}
		w.base.CPU[h] += own[0]
		w.base.Mem[h] += own[1]
	}
}

// footprint packs a VM on its percentile over the last hour, as configured.
func (c *checker) footprint(v int32, past *engine.VMHistory) engine.Footprint {
	x := &c.s.VMs[v]
	pack := int32(engine.Unknown)
	if x.Power == engine.VMOn {
		pack = past.CPU.Percentile(int(c.in.Config.PackPct))
	}
	return engine.FootprintOf(x, pack)
}

// vmPast is what is remembered of VM v. The memories are sorted as the VMs are and
// mostly of the same ones.
func (c *checker) vmPast(v int32) *engine.VMHistory {
	id := c.s.VMs[v].ID
	if int(v) < len(c.h.VMs) && c.h.VMs[v].ID == id {
		return &c.h.VMs[v]
	}
	past := c.h.VM(id)
	return &past
}

// hostPast is what is remembered of host h.
func (c *checker) hostPast(h int32) *engine.HostHistory {
	id := c.s.Hosts[h].ID
	if int(h) < len(c.h.Hosts) && c.h.Hosts[h].ID == id {
		return &c.h.Hosts[h]
	}
	past := c.h.Host(id)
	return &past
}

// twinsOf finds the volumes that several vCenters see, each under an ID of its own.
func twinsOf(s *engine.Snapshot) map[string][]int32 {
	twins := map[string][]int32{}
	for d := range s.Datastores {
		if url := s.Datastores[d].URL; url != "" {
			twins[url] = append(twins[url], int32(d))
		}
	}
	maps.DeleteFunc(twins, func(_ string, same []int32) bool { return len(same) < 2 })
	return twins
}

// count adds n to the hosts that are ready in h's cluster and site.
func (w *world) count(ready [2][]int32, h, n int32) {
	host := &w.c.s.Hosts[h]
	ready[0][host.Cluster] += n
	if host.Site >= 0 {
		ready[1][host.Site] += n
	}
}

// slots looks up what every action takes of them.
func (w *world) slots() {
	slots := engine.NewSlots(w.c.in.Config.Limits, w.c.s)
	w.turns = turns.NewTable(slots, len(w.acts), func(i int, visit func(counter, cost, capacity int32)) {
		if e := &w.steps[i]; e.vm >= 0 {
			slots.VisitMove(w.acts[i], e.vm, e.from, e.to, visit)
		} else {
			slots.Visit(w.acts[i], visit)
		}
	})
}
