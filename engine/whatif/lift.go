package whatif

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"heliostat/engine"
)

// plenty is a budget that is never used up.
const plenty = int32(1 << 30)

// lift returns the Input without the constraint, and says what that would mean
// in the world. Its text is empty for facts that nothing lifts. again: lifting
// it once was not enough.
func (q *question) lift(in engine.Input, code engine.HoldCode, again bool) (engine.Input, string) {
	vm := &in.Snapshot.VMs[q.v]
	switch code {
	case engine.HoldCapacity:
		if again {
			return in, ""
		}
		in.Config.CPUMaxPct, in.Config.MemMaxPct, in.Config.VCPUPerCoreX10 = 100, 100, plenty
		in.Snapshot = q.roomier(in.Snapshot)
		return in, fmt.Sprintf("a host there had room for %d vCPUs, %s and %s more", vm.VCPUs, amount(vm.UsedMHz, "MHz"), amount(vm.UsedMiB, "MiB"))
	case engine.HoldReserve:
		if again {
			return in, ""
		}
		in.Config.ReserveHosts = 0
		in.Snapshot = q.roomier(in.Snapshot)
		return in, "the cluster there could lose a host and still take it"
	case engine.HoldRTT:
		return q.link(in, again, fmt.Sprintf("the round trip were at most %d ms", in.Config.Limits.MaxRTTMicros/1000), func(l *engine.Link) { l.RTTMicros = min(l.RTTMicros, in.Config.Limits.MaxRTTMicros) })
	case engine.HoldBandwidth:
		return q.link(in, again, fmt.Sprintf("the link carried at least %d Mbit/s for it", in.Config.Limits.MinMbpsPerMove), func(l *engine.Link) { l.Mbps = max(l.Mbps, 100_000) })
	case engine.HoldConverge:
		if again {
			return in, ""
		}
		in.Snapshot = q.changed(in.Snapshot, func(vm *engine.VM) { vm.DirtyMbps = 0 })
		return in, "it dirtied memory more slowly, at a quieter hour"
	case engine.HoldSpace:
		if again {
			return in, ""
		}
		s := copyOf(in.Snapshot)
		s.Datastores = slices.Clone(s.Datastores)
		for i := range s.Datastores {
			s.Datastores[i].FreeMiB += vm.DiskMiB() + vm.SwapMiB() + s.Datastores[i].CapacityMiB
			s.Datastores[i].CapacityMiB *= 2
		}
		in.Snapshot = s
		return in, fmt.Sprintf("a datastore there had %d MiB more", vm.DiskMiB()+vm.SwapMiB())
	default:
		if again {
			return in, ""
		}
		return q.liftRule(in, code)
	}
}

// liftRule is lift for what people, policies and the past have laid down.
func (q *question) liftRule(in engine.Input, code engine.HoldCode) (engine.Input, string) {
	vm := &in.Snapshot.VMs[q.v]
	d := *in.Decision
	about := func(v int32) bool { return v == q.v }
	switch code {
	case engine.HoldCooldown:
		in.History = q.rested(in.History)
		return in, "it had not been moved, by us or by others, and had not failed to, of late"
	case engine.HoldBudget:
		in.Config.MovesPerCycle, in.Config.MovesPerHour, in.Config.MovesPerDay = plenty, plenty, plenty
		return in, "the budgets of moves were larger, or less of them had been used"
	case engine.HoldFrozen:
		who := said(&d, d.Freezes, func(x engine.Freeze) engine.By { return x.By })
		d.Freezes, in.Decision = nil, &d
		s := copyOf(in.Snapshot)
		s.Sites = slices.Clone(s.Sites)
		for i := range s.Sites {
			s.Sites[i].Frozen = false
		}
		in.Snapshot = s
		return in, "nothing were frozen" + who
	case engine.HoldVeto:
		var who []string
		for _, x := range q.vetoes(in.Vetoes) {
			if !slices.Contains(who, x.Policy) {
				who = append(who, x.Policy)
			}
		}
		in.Vetoes = slices.DeleteFunc(slices.Clone(in.Vetoes), func(x engine.Veto) bool { return x.VM == vm.ID })
		q.deny = nil
		return in, fmt.Sprintf("%s did not deny it", strings.Join(who, ", "))
	case engine.HoldPinned:
		d.Pins = slices.DeleteFunc(slices.Clone(d.Pins), func(x engine.Pin) bool { return about(x.VM) })
		in.Decision = &d
		in.Snapshot = q.changed(in.Snapshot, func(vm *engine.VM) { vm.Mode = engine.Enforce })
		return in, "neither a policy nor its owner's tag kept it where it is"
	case engine.HoldSites:
		d.AllowSites = slices.DeleteFunc(slices.Clone(d.AllowSites), func(x engine.AllowSites) bool { return about(x.VM) })
		in.Decision = &d
		return in, "its policies allowed that site"
	case engine.HoldHosts:
		d.AllowHosts = slices.DeleteFunc(slices.Clone(d.AllowHosts), func(x engine.AllowHosts) bool { return about(x.VM) })
		in.Decision = &d
		return in, "its policies allowed a host there"
	case engine.HoldRule:
		return q.ungrouped(in)
	case engine.HoldMode:
		s := copyOf(q.changed(in.Snapshot, func(vm *engine.VM) { vm.Mode = engine.Enforce }))
		s.Sites = slices.Clone(s.Sites)
		for i := range s.Sites {
			s.Sites[i].Mode = engine.Enforce
		}
		in.Snapshot, in.Config.Modes.Move = s, engine.Enforce
		return in, fmt.Sprintf("its owner's tag, its site and the configuration let moves go as far as %s", max(in.Level, engine.Advise))
	case engine.HoldAcross:
		in.Snapshot = q.changed(in.Snapshot, func(vm *engine.VM) { vm.Across = true })
		return in, "its owner had opted in to moves across vCenters"
	case engine.HoldPaused, engine.HoldBreaker, engine.HoldRamp:
		in.Paused, in.Broken = "", nil
		return in, "actions were allowed to start"
	case engine.HoldQuarantine:
		h := *in.History
		h.Quarantine = slices.DeleteFunc(slices.Clone(h.Quarantine), func(x engine.Quarantine) bool { return x.Subject == engine.Subject{Kind: "vm", ID: string(vm.ID)} })
		in.History = &h
		return in, fmt.Sprintf("a person had looked at it: 'heliostat release vm %s'", vm.Name)
	case engine.HoldUnavailable:
		in.Snapshot = q.hosts(in.Snapshot, func(h *engine.Host) {
			h.Power, h.Connected, h.Maintenance, h.Entering, h.VMotion = engine.HostOn, true, false, false, true
		})
		return in, "the hosts there were on and answered"
	case engine.HoldWorth:
		in.Config.PaybackS = 1 << 40
		return in, "it paid back in time"
	default:
		return in, ""
	}
}

// vetoes are those about the VM: that the Input has, and that were found by asking.
func (q *question) vetoes(in []engine.Veto) []engine.Veto {
	out := slices.DeleteFunc(slices.Clone(in), func(x engine.Veto) bool { return x.VM != q.in.Snapshot.VMs[q.v].ID })
	for _, host := range slices.Sorted(maps.Keys(q.said)) {
		out = append(out, q.said[host]...)
	}
	return out
}

// ungrouped is the Input without the rules and groups that the VM is in.
func (q *question) ungrouped(in engine.Input) (engine.Input, string) {
	d := *in.Decision
	var in0 []engine.Group
	for _, g := range d.Groups {
		if !slices.Contains(g.VMs, q.v) {
			in0 = append(in0, g)
		}
	}
	d.Groups, in.Decision = in0, &d
	s := copyOf(in.Snapshot)
	s.Rules = slices.DeleteFunc(slices.Clone(s.Rules), func(r engine.Rule) bool { return slices.Contains(r.VMs, q.v) })
	in.Snapshot = s
	return in, "no group of a policy and no rule of its cluster bound it to others"
}

// link changes the links between the VM's site and the place's.
func (q *question) link(in engine.Input, again bool, unless string, change func(*engine.Link)) (engine.Input, string) {
	from := in.Snapshot.VMSite(q.v)
	if again || from < 0 || q.site < 0 {
		return in, ""
	}
	s := copyOf(in.Snapshot)
	s.Links = slices.Clone(s.Links)
	found := false
	for i := range s.Links {
		if l := &s.Links[i]; l.A == from && l.B == q.site || l.B == from && l.A == q.site {
			found = true
			if l.RTTMicros == engine.Unknown || l.Mbps == engine.Unknown {
				return in, ""
			}
			l.At = in.Now
			change(l)
		}
	}
	if !found {
		return in, ""
	}
	in.Snapshot = s
	return in, unless
}

// roomier doubles the hosts of the place.
func (q *question) roomier(s *engine.Snapshot) *engine.Snapshot {
	return q.hosts(s, func(h *engine.Host) {
		h.CPUMHz, h.MemoryMiB, h.Cores, h.Threads = 2*h.CPUMHz, 2*h.MemoryMiB, 2*h.Cores, 2*h.Threads
	})
}

// hosts is the snapshot with the hosts of the place changed.
func (q *question) hosts(s *engine.Snapshot, change func(*engine.Host)) *engine.Snapshot {
	out := copyOf(s)
	out.Hosts = slices.Clone(s.Hosts)
	for h := range out.Hosts {
		if q.inside(int32(h)) {
			change(&out.Hosts[h])
		}
	}
	return out
}

// changed is the snapshot with the VM changed.
func (q *question) changed(s *engine.Snapshot, change func(*engine.VM)) *engine.Snapshot {
	out := copyOf(s)
	out.VMs = slices.Clone(s.VMs)
	change(&out.VMs[q.v])
	return out
}

// rested is the history without the VM's moves.
func (q *question) rested(h *engine.History) *engine.History {
	out := *h
	out.VMs = slices.Clone(h.VMs)
	id := q.in.Snapshot.VMs[q.v].ID
	for i := range out.VMs {
		if x := &out.VMs[i]; x.ID == id {
			x.MovedAt, x.LeftHost, x.LeftSite, x.Returns, x.FailedAt, x.Failures, x.ForeignAt = 0, "", "", 0, 0, 0, 0
		}
	}
	return &out
}

// copyOf is a snapshot of the same slices, without what was derived from them.
func copyOf(s *engine.Snapshot) *engine.Snapshot {
	return &engine.Snapshot{
		At: s.At, Sites: s.Sites, VCenters: s.VCenters, Clusters: s.Clusters, Hosts: s.Hosts, Datastores: s.Datastores, Networks: s.Networks,
		VMs: s.VMs, Links: s.Links, Rules: s.Rules, Hazards: s.Hazards, Alerts: s.Alerts, Gaps: s.Gaps,
	}
}

// said names the policies behind some opinions.
func said[T any](d *engine.Decision, items []T, by func(T) engine.By) string {
	var names []string
	for _, x := range items {
		if name := d.Voices[by(x).Voice].Policy; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(" (as %v now says)", names)
}

func amount(v int32, unit string) string {
	if v == engine.Unknown {
		return "an unknown amount of " + unit
	}
	return fmt.Sprintf("%d %s", v, unit)
}
