package plan

import (
	"heliostat/engine"
)

// A con is one placement constraint: a rule of a cluster, or a policy's group.
type con struct {
	kind    conKind
	scope   uint8 // scopeHost, scopeCluster, scopeSite
	cluster int32 // a DRS rule's; None for a group
	vms     []int32
	hosts   []int32
	rtt     int32
	split   int32
	name    string
}

type conKind uint8

const (
	conTogether conKind = iota
	conApart
	conOn
	conNotOn
	conNear
)

const (
	scopeHost uint8 = iota
	scopeCluster
	scopeSite
)

func (b *builder) compileRules() {
	b.cons = nil
	for i := range b.s.Rules {
		r := &b.s.Rules[i]
		k := con{cluster: r.Cluster, vms: r.VMs, hosts: r.Hosts, name: "rule " + r.Name}
		switch r.Kind {
		case engine.RuleTogether:
			k.kind = conTogether
		case engine.RuleApart:
			k.kind = conApart
		case engine.RuleOn:
			k.kind = conOn
		case engine.RuleNotOn:
			k.kind = conNotOn
		}
		if r.Disabled || ((k.kind == conOn || k.kind == conNotOn) && !r.Mandatory) {
			continue // nothing, or a wish of the cluster's own scheduler
		}
		b.cons = append(b.cons, k)
	}
	for i := range b.d.Groups {
		g := &b.d.Groups[i]
		k := con{cluster: engine.None, vms: g.VMs, rtt: g.MaxRTTMicros, split: g.MaxSplitS, name: "group " + b.d.Voices[g.By.Voice].Policy + "/" + g.Name}
		switch g.Scope {
		case "cluster":
			k.scope = scopeCluster
		case "site":
			k.scope = scopeSite
		}
		switch g.Kind {
		case engine.GroupApart:
			k.kind = conApart
		case engine.GroupTogether:
			k.kind = conTogether
		case engine.GroupNear:
			k.kind, k.scope = conNear, scopeSite
		}
		b.cons = append(b.cons, k)
	}
	x := newCSR(len(b.s.VMs), func(add func(int32, int32)) {
		for i := range b.cons {
			for _, v := range b.cons[i].vms {
				add(v, int32(i))
			}
		}
	})
	b.conStart, b.conItems = x.start, x.items
}

func (b *builder) consOf(v int32) []int32 { return b.conItems[b.conStart[v]:b.conStart[v+1]] }

// A scratch holds what the groups of one VM say about destinations, and other
// buffers of one search. Marks are stamped, so that clearing them is free.
type scratch struct {
	stamp    int32
	host     []int32 // == stamp: a mate that must be apart is or will be there
	cluster  []int32
	site     []int32
	apart    string // names of the constraints, for the reason
	together string
	near     string

	must    [3]int32 // by scope: where a mate is that it must be with; None
	nearBad engine.SiteMask
	stuck   *con // a rule that forbids leaving the cluster
	cons    []int32

	free     []int64 // of the host looked at, by datastore: MiB above what is to stay free
	disks    []int32
	cpus     []int64 // of the hosts of one cluster
	mems     []int64
	order    []int32
	leave    []int32
	siteKeys []siteKey
}

type siteKey struct {
	site int32
	key  int64
}

func (m *scratch) init(s *engine.Snapshot) {
	m.host, m.cluster, m.site = make([]int32, len(s.Hosts)), make([]int32, len(s.Clusters)), make([]int32, len(s.Sites))
}

// prepare reads the constraints of VM v into the scratch.
func (b *builder) prepare(w *want) { b.prepareOnly(w, b.consOf(w.v)...) }

// prepareOnly reads some of them.
func (b *builder) prepareOnly(w *want, cons ...int32) {
	m := &b.mark
	m.stamp++
	m.must = [3]int32{engine.None, engine.None, engine.None}
	m.nearBad, m.stuck, m.cons = 0, nil, cons
	for _, i := range cons {
		k := &b.cons[i]
		if k.cluster >= 0 && k.cluster != b.s.VMCluster(w.v) {
			continue // the rule of a cluster that it has left
		}
		switch k.kind {
		case conApart:
			b.markApart(w, k)
		case conTogether:
			b.markTogether(w, k)
		case conNear:
			b.markNear(w, k)
		case conOn, conNotOn:
			m.stuck = k
		}
	}
}

// markApart forbids the places where mates are and where they are going.
func (b *builder) markApart(w *want, k *con) {
	m := &b.mark
	for _, x := range k.vms {
		if x == w.v {
			continue
		}
		for _, h := range [2]int32{b.st.Host[x], b.dest[x]} {
			if h < 0 {
				continue
			}
			m.apart = k.name
			switch k.scope {
			case scopeHost:
				m.host[h] = m.stamp
			case scopeCluster:
				m.cluster[b.s.Hosts[h].Cluster] = m.stamp
			case scopeSite:
				if site := b.s.Hosts[h].Site; site >= 0 {
					m.site[site] = m.stamp
				}
			}
		}
	}
}

// nowhere is where two groups ask a VM to be that are in different places.
const nowhere int32 = -2

// now is where VM x counts as being: what is under way counts as arrived.
func (b *builder) now(x int32) int32 {
	if b.openVM[x] && b.dest[x] >= 0 {
		return b.dest[x]
	}
	return b.st.Host[x]
}

// settled is where a mate will be: where it is going or, unless a demand will
// move it too, where it is.
func (b *builder) settled(x int32, evac bool) int32 {
	if h := b.dest[x]; h >= 0 {
		return h
	}
	if evac && b.leaving[x] && !b.held[x] {
		return engine.None
	}
	return b.st.Host[x]
}

// markTogether requires the place where the mates that it is with will be. On
// the way they may be apart: VMs move one by one.
func (b *builder) markTogether(w *want, k *con) {
	m := &b.mark
	for _, x := range k.vms {
		if x == w.v || b.s.VMs[x].Power != engine.VMOn || b.st.Host[x] < 0 {
			continue
		}
		h := b.settled(x, w.lax)
		if h < 0 || b.apartAnyway(k, x, h, b.st.Host[w.v]) {
			continue
		}
		m.together = k.name
		p := b.scopeOf(k.scope, h)
		if old := m.must[k.scope]; old != engine.None && old != p {
			p = nowhere
		}
		m.must[k.scope] = p
	}
}

// apartAnyway reports whether mate x, now and when it is settled at h, is not as
// the group asks with a VM on host at: then that VM's leaving makes it no worse.
func (b *builder) apartAnyway(k *con, x, h, at int32) bool {
	return b.parted(k, b.now(x), at) && b.parted(k, h, at)
}

// markNear forbids the sites beyond the group's round trip from any mate that is
// near now.
func (b *builder) markNear(w *want, k *con) {
	for _, x := range k.vms {
		if x == w.v || b.s.VMs[x].Power != engine.VMOn || b.st.Host[x] < 0 {
			continue
		}
		h := b.settled(x, w.lax)
		if h < 0 || b.apartAnyway(k, x, h, b.st.Host[w.v]) {
			continue
		}
		b.farFrom(b.s.Hosts[h].Site, k)
		if !w.lax { // only a demand may split them on the way
			b.farFrom(b.s.Hosts[b.st.Host[x]].Site, k)
		}
	}
}

// far reports whether two sites are beyond the group's round trip.
func (b *builder) far(x, y int32, k *con) bool {
	if x == y {
		return false
	}
	l, ok := b.s.Link(x, y)
	return !ok || l.RTTMicros == engine.Unknown || l.RTTMicros > k.rtt
}

func (b *builder) farFrom(site int32, k *con) {
	for s := range b.s.Sites {
		if b.far(site, int32(s), k) {
			b.mark.nearBad = b.mark.nearBad.With(int32(s))
			b.mark.near = k.name
		}
	}
}

// ruleReason applies groups and rules to host h, after prepare.
func (b *builder) ruleReason(w *want, h int32) reason {
	m := &b.mark
	host := &b.s.Hosts[h]
	from := b.st.Host[w.v]
	src := &b.s.Hosts[from]
	r := reason{code: engine.HoldRule, stage: stRule, where: host.Name}
	switch {
	case m.stuck != nil && host.Cluster != src.Cluster:
		r.form, r.other = "%[2]s ties it to hosts of its cluster, and no rule is mapped at %[1]s", m.stuck.name
	case m.host[h] == m.stamp && h != from,
		m.cluster[host.Cluster] == m.stamp && host.Cluster != src.Cluster,
		m.site[host.Site] == m.stamp && host.Site != src.Site:
		r.form, r.other = "%[2]s keeps it apart from a VM at %[1]s", m.apart
	case m.must[scopeHost] != engine.None && m.must[scopeHost] != h,
		m.must[scopeCluster] != engine.None && m.must[scopeCluster] != host.Cluster,
		m.must[scopeSite] != engine.None && m.must[scopeSite] != host.Site:
		r.form, r.other = "%[2]s keeps it together with a VM that is not at %[1]s", m.together
	case m.nearBad.Has(host.Site) && host.Site != src.Site:
		r.form, r.other = "%[2]s keeps it near a VM that is too far from %[1]s", m.near
	case w.mend != nil && w.mend.kind == conApart && !b.parted(w.mend, from, h):
		r.form, r.other = "%[2]s would still be violated at %[1]s", w.mend.name
	default:
		return b.vmHostReason(h)
	}
	return r
}

// vmHostReason applies the mandatory VM-host rules of the cluster.
func (b *builder) vmHostReason(h int32) reason {
	if b.mark.stuck == nil {
		return reason{}
	}
	for _, i := range b.mark.cons {
		k := &b.cons[i]
		if k.cluster != b.s.Hosts[h].Cluster || (k.kind != conOn && k.kind != conNotOn) {
			continue
		}
		if k.breaks(h) {
			return reason{code: engine.HoldRule, stage: stRule, form: "%[2]s keeps it off %[1]s", where: b.s.Hosts[h].Name, other: k.name}
		}
	}
	return reason{}
}

// breaks reports whether a VM on host h breaks a VM-host rule.
func (k *con) breaks(h int32) bool {
	in := false
	for _, x := range k.hosts {
		in = in || x == h
	}
	return in == (k.kind == conNotOn)
}
