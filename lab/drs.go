package lab

import (
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// rebalanceEvery and rebalanceGap are a fully automated cluster's own scheduler:
// how often, and from what difference in CPU use.
const rebalanceEvery, rebalanceGap = 5 * time.Minute, 0.2

// drs is the cluster's automation as it is configured now: off, manual, partial or full.
func (c *cluster) drs() string {
	info, ok := c.obj.ConfigurationEx.(*types.ClusterConfigInfoEx)
	if !ok || !isTrue(info.DrsConfig.Enabled) {
		return "off"
	}
	switch info.DrsConfig.DefaultVmBehavior {
	case types.DrsBehaviorManual:
		return "manual"
	case types.DrsBehaviorPartiallyAutomated:
		return "partial"
	case types.DrsBehaviorFullyAutomated:
	}
	return "full"
}

// evacuate has a fully automated cluster empty a host: what runs is moved, and
// what is off when asked to. What no host takes now stays for the next look.
func (l *Lab) evacuate(op *hostOp) {
	k := l.clusters[op.h.cluster]
	if k.drs() != "full" {
		return
	}
	for _, i := range l.machinesOn(op.h.index) {
		m := l.machines[i]
		if m.agent || m.lost || m.move != nil || (!m.on && !op.evacuate) {
			continue
		}
		rules := l.worldRules()
		to := l.roomiestOf(k, m.consumed, func(h *host) bool { return h != op.h && l.obeys(rules, m, h) })
		switch {
		case to == nil:
		case m.on:
			l.balance(m, to)
		default:
			l.setHost(m, to)
		}
	}
}

// obeys reports whether the scheduler's rules let a VM go to a host. What should
// be near or far from a host is no rule to it; what must be is.
func (l *Lab) obeys(rules []WorldRule, m *machine, to *host) bool {
	for i := range rules {
		r := &rules[i]
		if !slices.Contains(r.VMs, m.index) {
			continue
		}
		switch r.Kind {
		case "on", "not_on":
			if r.Mandatory && slices.Contains(r.Hosts, to.index) != (r.Kind == "on") {
				return false
			}
		default:
			for _, o := range r.VMs {
				at := l.machines[o].destination()
				if o != m.index && at != m.host && (at == to.index) == (r.Kind == "apart") {
					return false
				}
			}
		}
	}
	return true
}

// destination is the host where the VM is, or where it is going.
func (m *machine) destination() int {
	if m.move != nil {
		return m.move.to.index
	}
	return m.host
}

// balance is a move of the cluster's own scheduler, which does not try what cannot be.
func (l *Lab) balance(m *machine, to *host) {
	mv := l.within(m, to)
	mv.drs = true
	if l.check(mv) == nil {
		l.submit(mv)
	}
}

// within is a VM's move to another host with all else as it is.
func (l *Lab) within(m *machine, to *host) *move {
	mv := &move{m: m, v: m.vc, dst: m.vc, from: l.hosts[m.host], to: to, pool: l.clusters[to.cluster].pool, folder: *m.obj.Parent, home: m.home, live: m.on, link: -1}
	for i := range m.disks {
		mv.targets = append(mv.targets, m.disks[i].store)
	}
	for _, n := range m.nics {
		mv.segments = append(mv.segments, n.segment)
	}
	return mv
}

// rebalance plays the schedulers of fully automated clusters that do move.
func (l *Lab) rebalance() {
	for ci, k := range l.clusters {
		if k.drs() == "full" && (k.cfg.Rebalance || k.restless.After(l.now)) && !k.next.After(l.now) {
			k.next = l.now.Add(rebalanceEvery)
			l.evenOut(ci)
		}
	}
}

// evenOut moves the largest VM that narrows the gap off the busiest host to the
// one with the least to do.
func (l *Lab) evenOut(ci int) {
	var most, least *host
	for _, i := range l.hostsOf(ci) {
		h := l.hosts[i]
		if !h.ready() {
			continue
		}
		if most == nil || l.load(h) > l.load(most) {
			most = h
		}
		if least == nil || l.load(h) < l.load(least) {
			least = h
		}
	}
	if most == nil || l.load(most)-l.load(least) < rebalanceGap {
		return
	}
	gap := int64((l.load(most) - l.load(least)) * float64(most.cpuMHz) / 2)
	rules := l.worldRules()
	var best *machine
	for _, i := range l.machinesOn(most.index) {
		m := l.machines[i]
		if !m.on || m.agent || m.busy() != nil || m.cpuMHz > gap || (best != nil && m.cpuMHz <= best.cpuMHz) {
			continue
		}
		if !together(rules, m) && l.obeys(rules, m, least) && l.check(l.within(m, least)) == nil {
			best = m
		}
	}
	if best != nil {
		l.balance(best, least)
	}
}

// together reports whether a VM belongs beside another, so that it is not moved alone.
func together(rules []WorldRule, m *machine) bool {
	return slices.ContainsFunc(rules, func(r WorldRule) bool { return r.Kind == "together" && slices.Contains(r.VMs, m.index) })
}
