package lab

import (
	"slices"
	"strings"
)

// A bar says which moves a property of a VM forbids.
type bar int

// From none to all.
const (
	barNone    bar = iota
	barAcross      // between vCenters
	barStorage     // with disks
	barAll
)

// bars are the properties that this code knows. Sources: vSphere, "Conditions
// and Limitations for vMotion", "Storage vMotion Requirements and Limitations",
// "Requirements for Migration Between vCenter Server Instances".
var bars = map[string]bar{
	"passthrough": barAll, "vgpu": barAll, "usb": barAll, "client_cd": barAll, "multi_writer": barAll, "shared_bus": barAll,
	"disabled_relocate": barAll, "migration_off": barAll, "tools_installer": barAll, "agent": barAll, "managed_by": barAll,
	"latency_high": barAll, "cpu_affinity": barAll, "orphaned": barAll, "disconnected": barAll, "missing_network": barAll,
	"local_iso": barStorage, "physical_rdm": barStorage, "independent_disk": barStorage, "linked_clone": barStorage, "replicated": barStorage,
	"disk_snapshot": barAcross, "fault_tolerance": barAcross, "vapp": barAcross, "encrypted": barAcross, "vtpm": barAcross,
	"duplicate_mac": barAcross, "storage_policy": barAcross,
	"template": barNone, "powered_off": barNone, "suspended": barNone, "old_hardware": barNone, "no_heartbeat": barNone,
	"unshared_swap": barNone, "big_disk": barNone, "attribute": barNone,
	"pinned": barNone, "advise": barNone, // tags, judged as such
}

// forbids returns the first fixture of v that forbids such a move, or "". One
// that is not known forbids all, and is named in the report.
func (o *Observer) forbids(v *WorldVM, storage, across bool) string {
	for _, f := range v.Fixtures {
		if strings.Contains(f, ":") {
			continue // a tag
		}
		b, ok := bars[f]
		if !ok {
			o.unknown[f] = true
			return f
		}
		if b == barAll || (b == barStorage && storage) || (b == barAcross && across) {
			return f
		}
	}
	return ""
}

func tagged(v *WorldVM, tag string) bool { return slices.Contains(v.Tags, tag) }

// checkMoves judges each move when it is first listed and counts it when it ends.
func (o *Observer) checkMoves(s *scene) {
	listed := make(map[moveKey]*journey, len(s.Moves))
	for i := range s.Moves {
		m := &s.Moves[i]
		key := keyOf(m)
		j, ok := o.moves[key]
		if !ok {
			j = &journey{}
			if o.seen {
				o.judge(s, m)
			}
		}
		listed[key] = j
		if sent := m.MemMiB + m.DiskMiB; sent > j.sent {
			o.sent += wholeBytes(sent) - wholeBytes(j.sent)
			j.sent = sent
		}
		if !m.Ended.IsZero() && !j.ended {
			j.ended = true
			o.ended(s, m)
		}
	}
	o.moves = listed
}

// judge asks whether a move may be made at all.
func (o *Observer) judge(s *scene, m *WorldMove) {
	before := s
	v := s.vm(m.VM, m.From)
	if v == nil || v.Host != m.From { // it has arrived already
		before = &o.last
		v = before.vm(m.VM, m.From)
	}
	if v == nil {
		return // it is lost, and said to be
	}
	name := vmLabel(v.UUID, v.Name)
	from, to := &s.Hosts[m.From], &s.Hosts[m.To]
	if f := o.forbids(v, m.Storage, m.Across); f != "" {
		o.tell(s, FixtureIgnored, name, "moved from %s to %s in spite of %s", from.Name, to.Name, f)
	}
	if tagged(v, "heliostat:never") {
		o.tell(s, NeverIgnored, name, "moved from %s to %s", from.Name, to.Name)
	}
	if from.Cluster != to.Cluster {
		if r := mustRule(before, v.UUID, from.Cluster); r != "" && mustRule(before, v.UUID, to.Cluster) == "" {
			o.tell(s, RuleLeft, name, "moved from %s to %s, where mandatory rule %s does not hold", from.Name, to.Name, r)
		}
	}
	if !v.On {
		return
	}
	if from.Site != to.Site {
		if l := s.link(from.Site, to.Site); l == nil {
			o.tell(s, LinkRTT, name, "moved live from %s to %s, between which there is no link", from.Name, to.Name)
		} else if l.RTT > longestRTT {
			o.tell(s, LinkRTT, name, "moved live from %s to %s over %s", from.Name, to.Name, l.RTT)
		}
	}
	if m.From == m.To {
		return
	}
	if to.CPULevel < v.CPULevel {
		o.tell(s, CPUTooOld, name, "moved live to %s with CPU level %d, the guest has seen %d", to.Name, to.CPULevel, v.CPULevel)
	}
	if !from.VMotion || !to.VMotion {
		o.tell(s, NoVMotion, name, "moved live from %s to %s", from.Name, to.Name)
	}
}

// mustRule names a mandatory VM-host rule of the cluster that binds the VM, or "".
func mustRule(s *scene, uuid string, cluster int) string {
	for i := range s.Rules {
		r := &s.Rules[i]
		if r.Cluster != cluster || !r.Mandatory || (r.Kind != "on" && r.Kind != "not_on") {
			continue
		}
		if slices.ContainsFunc(r.VMs, func(v int) bool { return s.VMs[v].UUID == uuid }) {
			return r.Name
		}
	}
	return ""
}

// wholeBytes of MiB: sums of whole numbers do not depend on their order.
func wholeBytes(mib float64) int64 { return int64(mib * 1048576) }

// ended counts a move that is over.
func (o *Observer) ended(s *scene, m *WorldMove) {
	o.split[m.VM] = m.Ended
	if !m.Done {
		o.sum.MovesFailed++
		return
	}
	o.sum.MovesDone++
	if m.Across {
		o.sum.MovesAcross++
	}
	o.stun += m.Stun
	if m.From == m.To {
		return
	}
	was, ok := o.trips[m.VM]
	o.trips[m.VM] = trip{from: m.From, to: m.To, ended: m.Ended}
	if away := m.Ended.Sub(was.ended); ok && was.from == m.To && was.to == m.From && away <= tooSoonBack {
		o.tell(s, BackAndForth, vmLabel(m.VM, o.names[m.VM]), "from %s to %s and back after %s",
			s.Hosts[m.To].Name, s.Hosts[m.From].Name, away)
	}
}

// checkRules compares how much each rule is violated with how much it was when
// it was first seen. VM-VM rules and mandatory VM-host rules bind, and only
// inside their cluster.
func (o *Observer) checkRules(s *scene) {
	for i := range s.Rules {
		r := &s.Rules[i]
		name := s.Clusters[r.Cluster].Name + "/" + r.Name
		broken, who := o.broken(s, r)
		base, ok := o.ruleBase[name]
		if !ok {
			o.ruleBase[name], base = broken, broken
		}
		if broken > base {
			o.say(s, RuleBroken, name, "%s, %d times and %d at the start: %s", r.Kind, broken, base, strings.Join(who, ", "))
		}
	}
}

// broken counts the VMs, or pairs of them, that violate the rule, and names them.
func (o *Observer) broken(s *scene, r *WorldRule) (n int, who []string) {
	switch r.Kind {
	case "apart":
		for i, a := range r.VMs {
			for _, b := range r.VMs[i+1:] {
				if meet(s, r.Cluster, s.VMs[a].UUID, s.VMs[b].UUID) {
					n++
					who = append(who, s.VMs[a].Name+" with "+s.VMs[b].Name)
				}
			}
		}
	case "together":
		var hosts []int
		for _, i := range r.VMs {
			v := &s.VMs[i]
			if o.unsettled(s, v.UUID) {
				return 0, nil
			}
			if v.On && v.Host >= 0 && s.Hosts[v.Host].Cluster == r.Cluster {
				hosts = appendHost(hosts, v.Host)
				who = append(who, v.Name)
			}
		}
		n = max(len(hosts)-1, 0)
	case "on", "not_on":
		if !r.Mandatory {
			return 0, nil
		}
		for _, i := range r.VMs {
			for _, h := range s.places(s.VMs[i].UUID) {
				if s.Hosts[h].Cluster == r.Cluster && s.VMs[i].On && slices.Contains(r.Hosts, h) == (r.Kind == "not_on") {
					n++
					who = append(who, s.VMs[i].Name+" at "+s.Hosts[h].Name)
				}
			}
		}
	}
	return n, who
}

// unsettled reports whether the VM moves, or has just moved.
func (o *Observer) unsettled(s *scene, uuid string) bool {
	if _, moving := s.flight[uuid]; moving {
		return true
	}
	ended, ok := o.split[uuid]
	return ok && s.Now.Sub(ended) < togetherGrace
}

// meet reports whether two running VMs share a host of the cluster.
func meet(s *scene, cluster int, a, b string) bool {
	if !s.vm(a, -1).On || !s.vm(b, -1).On {
		return false
	}
	theirs := s.places(b)
	return slices.ContainsFunc(s.places(a), func(h int) bool { return s.Hosts[h].Cluster == cluster && slices.Contains(theirs, h) })
}
