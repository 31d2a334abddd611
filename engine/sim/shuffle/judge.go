package shuffle

import (
	"fmt"
	"slices"

	"heliostat/engine"
)

// What is occupied at a moment: a VM on its way at both ends.
type occupied struct {
	carries  [][3]int64 // by host: MHz, MiB, vCPUs, with what is not a VM's
	own      [][2]int64 // by host: MHz and MiB that are not a VM's
	on       []int32    // by host: VMs that keep it from being empty
	arriving []int32    // by host
	ready    []bool     // by host: it can take a VM
	sum      [][2]int64 // by cluster: MHz and MiB of its VMs, those inside it counted once
	free     []int64    // by datastore: MiB
	at       []int32    // by VM: its host
	going    []int32    // by VM: where it is on its way to, or None
}

// from is the fleet before anything moves.
func (o *occupied) from(s *engine.Snapshot, foot []engine.Footprint) {
	st := engine.NewState(s, foot)
	n := len(s.Hosts)
	*o = occupied{
		carries: make([][3]int64, n), own: make([][2]int64, n), on: st.On, arriving: make([]int32, n), ready: make([]bool, n),
		sum: make([][2]int64, len(s.Clusters)), free: st.Free, at: st.Host, going: make([]int32, len(s.VMs)),
	}
	for h := range s.Hosts {
		o.carries[h] = [3]int64{int64(st.CPU[h]), int64(st.Mem[h]), int64(st.VCPU[h])}
		o.own[h] = [2]int64{o.carries[h][0], o.carries[h][1]}
		o.ready[h] = st.Ready(int32(h))
	}
	for v := range s.VMs {
		o.going[v] = engine.None
		if h := o.at[v]; h >= 0 {
			o.own[h][0] -= int64(foot[v].CPUMHz)
			o.own[h][1] -= int64(foot[v].MiB)
			o.load(s.Hosts[h].Cluster, &foot[v], 1)
		}
	}
}

func (o *occupied) copied() occupied {
	x := *o
	x.carries, x.on, x.arriving, x.ready = slices.Clone(o.carries), slices.Clone(o.on), slices.Clone(o.arriving), slices.Clone(o.ready)
	x.sum, x.free, x.at, x.going = slices.Clone(o.sum), slices.Clone(o.free), slices.Clone(o.at), slices.Clone(o.going)
	return x
}

func (o *occupied) add(h int32, f *engine.Footprint, sign int64) {
	u := &o.carries[h]
	u[0], u[1], u[2] = u[0]+sign*int64(f.CPUMHz), u[1]+sign*int64(f.MiB), u[2]+sign*int64(f.VCPUs)
}

func (o *occupied) load(cluster int32, f *engine.Footprint, sign int64) {
	u := &o.sum[cluster]
	u[0], u[1] = u[0]+sign*int64(f.CPUMHz), u[1]+sign*int64(f.MiB)
}

// turn says that a host can take VMs from now on, or no longer.
func (r *run) turn(h int32, ready bool) { r.ready[h] = ready && r.s.Hosts[h].Reachable() }

// judgeHost: no arrival fills a host further than it may be filled.
func (r *run) judgeHost(x *act) {
	h, c, u, f := &r.s.Hosts[x.to], &r.in.Config, r.carries[x.to], &x.foot
	cpu, mem := int64(c.CPUMaxPct), int64(c.MemMaxPct)
	if x.Demand.Kind != "" {
		cpu, mem = max(cpu, int64(c.EvacuationCPUPct)), max(mem, int64(c.EvacuationMemPct))
	}
	if f.CPUMHz > 0 && u[0]*100 > int64(h.CPUMHz)*cpu {
		r.wrong("overcommit", x, "%d of %d MHz, with %d moves under way", u[0], h.CPUMHz, r.many)
	}
	if f.MiB > 0 && u[1]*100 > int64(h.MemoryMiB)*mem {
		r.wrong("overcommit", x, "%d of %d MiB, with %d moves under way", u[1], h.MemoryMiB, r.many)
	}
	if f.VCPUs > 0 && u[2]*10 > int64(h.Cores)*int64(c.VCPUPerCoreX10) {
		r.wrong("overcommit", x, "%d vCPUs on %d cores, with %d moves under way", u[2], h.Cores, r.many)
	}
}

// judgeSpace: every datastore that is written to keeps what is to stay free.
func (r *run) judgeSpace(x *act) {
	for _, w := range x.writes {
		if d := &r.s.Datastores[w.to]; r.free[w.to]*100 < d.CapacityMiB*int64(r.in.Config.DatastoreFreePct) {
			r.wrong("space", x, "%d of %d MiB free on %s, with %d moves under way", r.free[w.to], d.CapacityMiB, d.Name, r.many)
		}
	}
}

// failures is how many hosts the cluster must be able to lose.
func (c *Course) failures(cluster int32) int {
	x := &c.s.Clusters[cluster]
	n := max(c.in.Config.ReserveHosts, int32(len(x.FailOn)))
	if x.HA.Enabled && x.HA.Admission {
		n = max(n, x.HA.HostFailures)
	}
	return int(n)
}

// lack is how many MHz and MiB the cluster's load is beyond what its hosts that are
// ready hold without the largest that may fail, and without the share that its
// admission control keeps.
func (r *run) lack(cluster int32) (out [2]int64) {
	x := &r.s.Clusters[cluster]
	if x.Lone {
		return out
	}
	share := [2]int64{}
	if x.HA.Enabled && x.HA.Admission {
		share = [2]int64{int64(x.HA.CPUPct), int64(x.HA.MemoryPct)}
	}
	for k := range out {
		var all, lost, own int64
		var largest [4]int64 // clusters survive no more failures than that
		n := min(r.failures(cluster), len(largest))
		for _, h := range r.s.HostsOf(cluster) {
			if !r.ready[h] {
				continue
			}
			size := int64([2]int32{r.s.Hosts[h].CPUMHz, r.s.Hosts[h].MemoryMiB}[k])
			all, own = all+size, own+r.own[h][k]
			for i := range n {
				if size > largest[i] {
					size, largest[i] = largest[i], size
				}
			}
		}
		for i := range n {
			lost += largest[i]
		}
		out[k] = r.sum[cluster][k] + own - (all - max(lost, all*share[k]/100))
	}
	return out
}

// judgeReserve: outside demands nothing takes what the cluster needs to survive the
// failures that it must, beyond what it lacked before.
func (r *run) judgeReserve(x *act, cluster int32, before [2]int64) {
	if x.Demand.Kind != "" {
		return
	}
	first := (&run{Course: r.Course, occupied: r.start}).lack(cluster)
	for k, now := range r.lack(cluster) {
		if now > 0 && now > first[k] && now > before[k] {
			r.wrong("reserve", x, "cluster %s lacks %d %s to survive %d failures, with %d moves under way", r.s.Clusters[cluster].Name, now, [2]string{"MHz", "MiB"}[k], r.failures(cluster), r.many)
		}
	}
}

// doomed reports whether an evacuation wants the host empty.
func (c *Course) doomed(h int32) bool {
	x := &c.s.Hosts[h]
	return c.evacuate[engine.Subject{Kind: "host", ID: string(x.ID)}] ||
		c.evacuate[engine.Subject{Kind: "cluster", ID: string(c.s.Clusters[x.Cluster].ID)}] ||
		(x.Site >= 0 && c.evacuate[engine.Subject{Kind: "site", ID: string(c.s.Sites[x.Site].ID)}])
}

// A group is VMs that are to be apart.
type group struct {
	name  string
	place func(h int32) int32
	vms   []int32
	start int // pairs in one place before the plan
}

// findGroups collects those with a VM that the plan moves.
func (c *Course) findGroups(moved map[int32][]int32) {
	scopes := map[string]func(int32) int32{
		"host": func(h int32) int32 { return h }, "cluster": func(h int32) int32 { return c.s.Hosts[h].Cluster }, "site": func(h int32) int32 { return c.s.Hosts[h].Site },
	}
	add := func(name, scope string, vms []int32) {
		g := group{name: name, place: scopes[scope]}
		for _, v := range vms {
			if c.s.VMs[v].Power == engine.VMOn && c.s.VMs[v].Host >= 0 {
				g.vms = append(g.vms, v)
				for _, i := range moved[v] {
					c.acts[i].groups = append(c.acts[i].groups, int32(len(c.groups)))
				}
			}
		}
		g.start = g.pairs(&c.start)
		c.groups = append(c.groups, g)
	}
	for k := range c.s.Rules {
		if x := &c.s.Rules[k]; x.Kind == engine.RuleApart && !x.Disabled {
			add("rule "+x.Name, "host", x.VMs)
		}
	}
	for k := range c.in.Decision.Groups {
		if x := &c.in.Decision.Groups[k]; x.Kind == engine.GroupApart {
			add("group "+x.Name, x.Scope, x.VMs)
		}
	}
}

// pairs counts the pairs that have a place in common, at either end of their ways.
func (g *group) pairs(o *occupied) int {
	n := 0
	for i, v := range g.vms {
		for _, w := range g.vms[:i] {
			if g.meet(o, v, w) {
				n++
			}
		}
	}
	return n
}

func (g *group) meet(o *occupied, v, w int32) bool {
	for _, a := range [2]int32{o.at[v], o.going[v]} {
		for _, b := range [2]int32{o.at[w], o.going[w]} {
			if a >= 0 && b >= 0 && g.place(a) == g.place(b) {
				return true
			}
		}
	}
	return false
}

// judgeGroups: no arrival brings together what is to be apart.
func (r *run) judgeGroups(x *act) {
	for _, k := range x.groups {
		g := &r.groups[k]
		if n := g.pairs(&r.occupied); n > g.start && !r.pairs[k] {
			r.pairs[k] = true
			r.wrong("apart", x, "%s has %d pairs in one place, %d at the start, with %d moves under way", g.name, n, g.start, r.many)
		}
	}
}

// static judges what is the same in every order: where policies and rules let a VM
// run, its networks, and the way there.
func (c *Course) static() {
	wrong := func(x *act, format string, args ...any) {
		c.Always = append(c.Always, Fault{"place", fmt.Sprintf("%s %s: %s", x.ID, x.Action, fmt.Sprintf(format, args...))})
	}
	d := c.in.Decision
	for i := range c.acts {
		x := &c.acts[i]
		if x.Kind != engine.Move || !x.moves {
			continue
		}
		binds := func(v int32, by engine.By) bool {
			return v == x.vm && (!d.Voices[by.Voice].Yields || !c.evacuate[x.Demand])
		}
		to, vm := &c.s.Hosts[x.to], &c.s.VMs[x.vm]
		for _, p := range d.Pins {
			if binds(p.VM, p.By) {
				wrong(x, "it is pinned")
			}
		}
		for _, p := range d.AllowSites {
			if binds(p.VM, p.By) && !p.Sites.Has(to.Site) {
				wrong(x, "its site is not allowed")
			}
		}
		for _, p := range d.AllowHosts {
			if binds(p.VM, p.By) && !slices.Contains(p.Hosts, x.to) {
				wrong(x, "its host is not allowed")
			}
		}
		for _, p := range c.in.Vetoes {
			if p.VM == vm.ID && (p.To == to.ID || p.To == "") && (!p.Yields || !c.evacuate[x.Demand]) {
				wrong(x, "it was vetoed")
			}
		}
		for k := range c.s.Rules {
			rule := &c.s.Rules[k]
			on, about := rule.Kind == engine.RuleOn, rule.Kind == engine.RuleOn || rule.Kind == engine.RuleNotOn
			if rule.Disabled || !rule.Mandatory || !about || !slices.Contains(rule.VMs, x.vm) || rule.Cluster != c.s.Hosts[x.from].Cluster {
				continue
			}
			if rule.Cluster != to.Cluster || slices.Contains(rule.Hosts, x.to) != on {
				wrong(x, "rule %s forbids it", rule.Name)
			}
		}
		for _, nic := range vm.NICs {
			if !slices.Contains(to.Networks, c.network(x, nic)) {
				wrong(x, "a network of it is not there")
			}
		}
		if from := c.s.Hosts[x.from].Site; from != to.Site && !x.Cold {
			if k, ok := c.s.Link(from, to.Site); !ok || k.RTTMicros > c.in.Config.Limits.MaxRTTMicros {
				wrong(x, "the round trip is too long, or unknown")
			}
		}
	}
}

// network is what a card is connected to after the move, None where that is another segment.
func (c *Course) network(x *act, nic engine.NIC) int32 {
	for _, n := range x.NICs {
		if n.Key != nic.Key {
			continue
		}
		to, ok := c.s.FindNetwork(n.To)
		if !ok || nic.Network < 0 || c.s.Networks[to].Segment == "" || c.s.Networks[to].Segment != c.s.Networks[nic.Network].Segment {
			return engine.None
		}
		return to
	}
	return nic.Network
}
