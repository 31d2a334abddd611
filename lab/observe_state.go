package lab

import (
	"fmt"
	"slices"
	"strings"
)

// checkPresence finds VMs that are nowhere, or running twice.
func (o *Observer) checkPresence(s *scene) {
	for id, name := range o.names {
		if len(s.entries[id]) == 0 {
			o.say(s, Lost, vmLabel(id, name), "no vCenter lists it")
		}
	}
	for _, id := range s.uuids {
		if _, moving := s.flight[id]; moving || len(s.entries[id]) < 2 {
			continue
		}
		var running []string
		for _, i := range s.entries[id] {
			if v := &s.VMs[i]; v.On && !slices.Contains(running, v.VCenter) {
				running = append(running, v.VCenter)
			}
		}
		if len(running) > 1 {
			o.say(s, Duplicate, vmLabel(id, o.names[id]), "runs in %s, and no move is under way", strings.Join(running, " and "))
		}
	}
}

func vmLabel(uuid, name string) string { return name + " (" + uuid + ")" }

// checkHosts adds up what each host carries. A host is held to its capacity once
// something was moved onto it: load that grows on VMs which nobody moved is
// nobody's doing.
func (o *Observer) checkHosts(s *scene) {
	n := len(s.Hosts)
	mem, cpu, running := make([]int64, n), make([]int64, n), make([]int, n)
	touched := make([]bool, n)
	for _, id := range s.uuids {
		for _, h := range s.places(id) {
			v := s.vm(id, h)
			if !v.On {
				continue
			}
			mem[h] += max(v.MiB, v.ReserveMiB)
			cpu[h] += v.MHz
			if home, ok := o.home[id]; ok && h != home {
				touched[h] = true
			}
		}
		for _, i := range s.entries[id] {
			if v := &s.VMs[i]; v.On && v.Host >= 0 && !isAgent(v) {
				running[v.Host]++
			}
		}
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h.Standby && running[i] > 0 {
			o.say(s, StandbyWithVMs, h.Name, "%d running VMs", running[i])
		}
		if touched[i] && mem[i] > h.MiB {
			o.say(s, OvercommitMemory, h.Name, "%d MiB of %d, moves under way counted at both ends", mem[i], h.MiB)
		}
		if touched[i] && cpu[i] > h.MHz {
			o.say(s, OvercommitCPU, h.Name, "%d MHz of %d, moves under way counted at both ends", cpu[i], h.MHz)
		}
	}
}

// checkVMs looks at each VM where it is listed.
func (o *Observer) checkVMs(s *scene) {
	for i := range s.VMs {
		v := &s.VMs[i]
		if v.Host < 0 {
			continue
		}
		h, name := &s.Hosts[v.Host], vmLabel(v.UUID, v.Name)
		if v.On && !isAgent(v) && !h.Standby && !s.ready(v.Host) && !o.struck(s, h.Site) {
			o.say(s, NotReady, name, "runs on %s, which is %s", h.Name, hostState(h))
		}
		// Between two vCenters a VM's backing is in the making.
		if _, moving := s.flight[v.UUID]; !moving {
			if missing := lacks(v.Segments, h.Segments); v.On && missing != "" {
				o.say(s, SegmentMissing, name, "%s does not reach segment %s", h.Name, missing)
			}
			for _, d := range v.Datastores {
				if !slices.Contains(h.Datastores, d) {
					o.say(s, DatastoreMissing, name, "%s does not mount %s", h.Name, s.Datastores[d].Name)
					break
				}
			}
		}
		for _, p := range s.places(v.UUID) {
			if region := outside(v, s.siteOf(p)); region != "" {
				o.say(s, Residency, name, "at %s (%s), to stay in %s", s.siteOf(p).Name, s.siteOf(p).Region, region)
			}
		}
	}
}

// isAgent reports whether the VM belongs to its host, which may go down with it.
func isAgent(v *WorldVM) bool { return slices.Contains(v.Fixtures, "agent") }

func hostState(h *WorldHost) string {
	switch {
	case h.Standby:
		return "in standby"
	case h.Maintenance:
		return "in maintenance"
	default:
		return "off"
	}
}

// lacks returns the first of need that have does not hold, or "".
func lacks(need, have []string) string {
	for _, x := range need {
		if !slices.Contains(have, x) {
			return x
		}
	}
	return ""
}

// outside returns the region that the VM's tag names when the site is not in it, or "".
func outside(v *WorldVM, site *WorldSite) string {
	for _, t := range v.Tags {
		if region, ok := strings.CutPrefix(t, "residency:"); ok && region != site.Region {
			return region
		}
	}
	return ""
}

func (o *Observer) checkDatastores(s *scene) {
	for i := range s.Datastores {
		if d := &s.Datastores[i]; d.FreeMiB < 0 {
			o.say(s, DatastoreOverfull, d.Name+" ("+d.VCenter+")", "%d MiB promised beyond its %d", -d.FreeMiB, d.MiB)
		}
	}
}

// checkSlots counts the moves in flight against what hosts, datastores and links carry.
func (o *Observer) checkSlots(s *scene) {
	host, ds := make([]int, len(s.Hosts)), make([]int, len(s.Datastores))
	link := make(map[[2]int]int)
	for i := range s.Moves {
		m := &s.Moves[i]
		if !m.Ended.IsZero() {
			continue
		}
		hostCost, dsCost := hostUnitsLive, dsUnitsLive
		v := s.vm(m.VM, m.From)
		if m.Storage {
			dsCost = dsUnitsStorage
			if v == nil || v.On {
				hostCost = hostUnitsStorage
			}
		}
		for _, h := range appendHost([]int{m.From}, m.To) {
			host[h] += hostCost
		}
		for _, d := range storesOf(v, m) {
			ds[d] += dsCost
		}
		if a, b := s.Hosts[m.From].Site, s.Hosts[m.To].Site; a != b {
			link[[2]int{min(a, b), max(a, b)}]++
		}
	}
	for i, units := range host {
		if units > hostUnits {
			o.say(s, HostSlots, s.Hosts[i].Name, "%d units of moves at once, %d are to be had", units, hostUnits)
		}
	}
	for i, units := range ds {
		if units > dsUnits {
			d := &s.Datastores[i]
			o.say(s, DatastoreSlots, d.Name+" ("+d.VCenter+")", "%d units of moves at once, %d are to be had", units, dsUnits)
		}
	}
	for a := range s.Sites {
		for b := a + 1; b < len(s.Sites); b++ {
			o.checkLink(s, a, b, link[[2]int{a, b}])
		}
	}
}

func (o *Observer) checkLink(s *scene, a, b, moves int) {
	if moves == 0 {
		return
	}
	mbps := 0.0
	if l := s.link(a, b); l != nil {
		mbps = l.Mbps
	}
	if need := float64(moves) * mbpsPerMove; need > mbps {
		o.say(s, LinkSlots, s.Sites[a].Name+"-"+s.Sites[b].Name, "%d moves at once need %.0f Mbit/s of %.0f", moves, need, mbps)
	}
}

// storesOf lists the datastores that a move touches, each once.
func storesOf(v *WorldVM, m *WorldMove) []int {
	var list []int
	if v != nil {
		for _, d := range v.Datastores {
			if !slices.Contains(list, d) {
				list = append(list, d)
			}
		}
	}
	if m.Storage && m.Target >= 0 && !slices.Contains(list, m.Target) {
		list = append(list, m.Target)
	}
	return list
}

// checkPower counts hosts that went to standby or woke, and judges the former.
func (o *Observer) checkPower(s *scene) {
	for i := range s.Hosts {
		h := &s.Hosts[i]
		switch was := &o.last.Hosts[i]; {
		case was.Standby == h.Standby:
		case was.Standby:
			o.sum.Wakes++
		default:
			o.sum.Standbys++
			if h.VSANData {
				o.tell(s, StandbyVSAN, h.Name, "it holds vSAN data of %s", s.Clusters[h.Cluster].Name)
			}
			if text := failoverGap(s, h.Cluster); text != "" {
				o.tell(s, StandbyFailover, h.Name, "%s", text)
			}
		}
	}
}

// failoverGap says what is missing when the cluster's largest hosts fail, as many
// as its policy keeps room for, or "". Memory is what VMs use or have reserved,
// both ends of moves counted; HA knows no other claim of a running VM that must
// find room at once.
func failoverGap(s *scene, cluster int) string {
	c := &s.Clusters[cluster]
	if c.Failover <= 0 {
		return ""
	}
	left := afterFailures(s, cluster, s.ready)
	used := int64(0)
	for _, id := range s.uuids {
		for _, h := range s.places(id) {
			if v := s.vm(id, h); v.On && s.Hosts[h].Cluster == cluster {
				used += max(v.MiB, v.ReserveMiB)
				break
			}
		}
	}
	if used <= left {
		return ""
	}
	return fmt.Sprintf("%s needs %d MiB and would have %d after %d host failures", c.Name, used, left, c.Failover)
}

// afterFailures is the memory that the cluster's hosts (those that count) keep
// when the largest of them fail, as many as its policy reckons with.
func afterFailures(s *scene, cluster int, counts func(host int) bool) int64 {
	var sizes []int64
	for i := range s.Hosts {
		if s.Hosts[i].Cluster == cluster && counts(i) {
			sizes = append(sizes, s.Hosts[i].MiB)
		}
	}
	slices.Sort(sizes)
	left := int64(0)
	for _, x := range sizes[:max(len(sizes)-s.Clusters[cluster].Failover, 0)] {
		left += x
	}
	return left
}
