package whatif

import (
	"fmt"
	"slices"
	"strings"

	"heliostat/engine"
)

// liftRule is lift for what people, policies and the past have laid down.
func (q *question) liftRule(in engine.Input, code engine.HoldCode) (change, string) {
	switch code {
	case engine.HoldCooldown:
		return func(in engine.Input) engine.Input {
			in.History = q.rested(in.History)
			return in
		}, "it had not been moved, by us or by others, and had not failed to, of late"
	case engine.HoldBudget:
		return func(in engine.Input) engine.Input {
			in.Config.MovesPerCycle, in.Config.MovesPerHour, in.Config.MovesPerDay, in.Budget = plenty, plenty, plenty, 1<<40
			return in
		}, "that budget were larger, or less of it had been used"
	case engine.HoldPinned:
		return func(in engine.Input) engine.Input {
			d := *in.Decision
			d.Pins = slices.DeleteFunc(slices.Clone(d.Pins), func(x engine.Pin) bool { return x.VM == q.v })
			in.Decision = &d
			if in.Snapshot.VMs[q.v].Mode == engine.Off {
				in.Snapshot = q.changed(in.Snapshot, func(vm *engine.VM) { vm.Mode = max(in.Level, engine.Advise) })
			}
			return in
		}, "neither a policy nor its owner's tag kept it where it is"
	case engine.HoldSites:
		return q.decided(func(d *engine.Decision) {
			d.AllowSites = slices.DeleteFunc(slices.Clone(d.AllowSites), func(x engine.AllowSites) bool { return x.VM == q.v })
		}), "its policies allowed that site"
	case engine.HoldHosts:
		return q.decided(func(d *engine.Decision) {
			d.AllowHosts = slices.DeleteFunc(slices.Clone(d.AllowHosts), func(x engine.AllowHosts) bool { return x.VM == q.v })
		}), "its policies allowed a host there"
	case engine.HoldRule:
		return q.ungrouped, "no group of a policy and no rule of its cluster bound it to others"
	case engine.HoldAcross:
		return q.ofVM(func(vm *engine.VM) { vm.Across = true }), "its owner had opted in to moves across vCenters"
	case engine.HoldPaused:
		return func(in engine.Input) engine.Input {
			in.Paused = ""
			return in
		}, "nobody had paused it: 'heliostat resume'"
	case engine.HoldBreaker:
		return unbroken(code), "the vCenter had rested, and a trial ended well"
	case engine.HoldPrivilege:
		return unbroken(code), "the account at the vCenter had the role that 'heliostat doctor --print-roles' prints"
	case engine.HoldBusy:
		if in.Snapshot.VMs[q.v].Task == "" {
			return nil, ""
		}
		return q.ofVM(func(vm *engine.VM) { vm.Task = "" }), "the task on it had ended"
	case engine.HoldWorth:
		return func(in engine.Input) engine.Input {
			in.Config.PaybackS = 1 << 40
			return in
		}, "it paid back in time"
	default:
		return nil, ""
	}
}

// decided is a change of what the policies said.
func (q *question) decided(f func(*engine.Decision)) change {
	return func(in engine.Input) engine.Input {
		d := *in.Decision
		f(&d)
		in.Decision = &d
		return in
	}
}

// ofVM is a change of the VM.
func (q *question) ofVM(f func(*engine.VM)) change {
	return func(in engine.Input) engine.Input {
		in.Snapshot = q.changed(in.Snapshot, f)
		return in
	}
}

// unbroken lets actions start where something of that kind forbids them.
func unbroken(code engine.HoldCode) change {
	return func(in engine.Input) engine.Input {
		in.Broken = slices.DeleteFunc(slices.Clone(in.Broken), func(h engine.Hold) bool { return h.Code == code })
		return in
	}
}

// ungrouped is the Input without the rules and groups that the VM is in.
func (q *question) ungrouped(in engine.Input) engine.Input {
	d, s := *in.Decision, copyOf(in.Snapshot)
	d.Groups = slices.DeleteFunc(slices.Clone(d.Groups), func(g engine.Group) bool { return slices.Contains(g.VMs, q.v) })
	s.Rules = slices.DeleteFunc(slices.Clone(s.Rules), func(r engine.Rule) bool { return slices.Contains(r.VMs, q.v) })
	in.Decision, in.Snapshot = &d, s
	return in
}

// hosts is the snapshot with the hosts of the place changed.
func (q *question) hosts(s *engine.Snapshot, f func(*engine.Host)) *engine.Snapshot {
	return changedHosts(s, q.inside, f)
}

func changedHosts(s *engine.Snapshot, which func(int32) bool, f func(*engine.Host)) *engine.Snapshot {
	out := copyOf(s)
	out.Hosts = slices.Clone(s.Hosts)
	for h := range out.Hosts {
		if which(int32(h)) {
			f(&out.Hosts[h])
		}
	}
	return out
}

// changed is the snapshot with the VM changed.
func (q *question) changed(s *engine.Snapshot, f func(*engine.VM)) *engine.Snapshot {
	out := copyOf(s)
	out.VMs = slices.Clone(s.VMs)
	f(&out.VMs[q.v])
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
	return fmt.Sprintf(", as %s now asks", strings.Join(names, " and "))
}
