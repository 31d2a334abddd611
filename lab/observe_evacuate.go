package lab

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A threat is a site that must be empty by a deadline, with what could leave it
// when that became known.
type threat struct {
	site     int
	known    time.Time
	deadline time.Time
	movable  []string          // ascending
	reasons  map[string]string // by VM that cannot leave: why
	out      map[string]bool   // VMs of the site that were out, at the deadline or so far
	passed   bool
}

// A Left is a VM that cannot leave, or has not left.
type Left struct {
	UUID   string `json:"uuid"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// An EvacuationReport says how the evacuation of a site went. Movable were, when
// the threat became known, the running VMs there that could leave in the
// observer's own opinion.
type EvacuationReport struct {
	Site     string    `json:"site"`
	Known    time.Time `json:"known"`
	Deadline time.Time `json:"deadline"`

	Movable             int `json:"movable"`
	EvacuatedByDeadline int `json:"evacuated_by_deadline"` // of the movable; until the deadline: so far
	WorkingAfter        int `json:"working_after"`         // of the movable, as of the last World
	LeftBehind          int `json:"left_behind"`           // of the movable: not out by the deadline
	Beyond              int `json:"beyond"`                // out although not found movable

	Behind     []Left `json:"behind,omitempty"`      // the left behind
	NotWorking []Left `json:"not_working,omitempty"` // movable and not working now
	Unmovable  []Left `json:"unmovable,omitempty"`   // and why not
}

// Threaten notes, as of the last World, that the site must be empty by the
// deadline, and which of its running VMs can leave. A second threat of the same
// site changes only its deadline.
func (o *Observer) Threaten(site string, deadline time.Time) error {
	s := &o.last
	i := slices.IndexFunc(s.Sites, func(x WorldSite) bool { return x.Name == site })
	if i < 0 {
		return fmt.Errorf("threaten %s: no such site", site)
	}
	if t := o.threatOf(i); t != nil {
		t.deadline = deadline
		t.passed = false
		return nil
	}
	t := &threat{site: i, known: s.Now, deadline: deadline, reasons: map[string]string{}, out: map[string]bool{}}
	o.threats = append(o.threats, t)
	o.findMovable(s, t)
	return nil
}

func (o *Observer) threatOf(site int) *threat {
	for _, t := range o.threats {
		if t.site == site {
			return t
		}
	}
	return nil
}

// struck reports whether the site's deadline has passed: what stands there then
// is the hazard's doing.
func (o *Observer) struck(s *scene, site int) bool {
	t := o.threatOf(site)
	return t != nil && !s.Now.Before(t.deadline)
}

// findMovable places the VMs of the site elsewhere, largest memory first, each
// at the first host that can take it beside those placed before. That they all
// find room so proves that they can leave; where one does not, a cleverer
// placement might still exist.
func (o *Observer) findMovable(s *scene, t *threat) {
	var vms []*WorldVM
	for _, id := range s.uuids {
		for _, i := range s.entries[id] {
			if v := &s.VMs[i]; v.On && v.Host >= 0 && s.Hosts[v.Host].Site == t.site {
				vms = append(vms, v)
				break
			}
		}
	}
	slices.SortStableFunc(vms, func(a, b *WorldVM) int {
		return cmp.Or(cmp.Compare(b.MiB, a.MiB), cmp.Compare(a.UUID, b.UUID))
	})
	room := roomOf(s)
	for _, v := range vms {
		if why := o.place(s, room, v); why != "" {
			t.reasons[v.UUID] = why
			continue
		}
		t.movable = append(t.movable, v.UUID)
	}
	slices.Sort(t.movable)
}

// A roomLeft is what hosts and datastores have left, and clusters beside the room
// that HA keeps for host failures: its admission control refuses a VM that would
// take it.
type roomLeft struct {
	mem, cpu, disk, admit []int64
}

func roomOf(s *scene) *roomLeft {
	r := &roomLeft{mem: make([]int64, len(s.Hosts)), cpu: make([]int64, len(s.Hosts)), disk: make([]int64, len(s.Datastores)), admit: make([]int64, len(s.Clusters))}
	for i := range s.Hosts {
		r.mem[i], r.cpu[i] = s.Hosts[i].MiB, s.Hosts[i].MHz
	}
	for i := range s.Datastores {
		r.disk[i] = s.Datastores[i].FreeMiB
	}
	for c := range s.Clusters {
		r.admit[c] = afterFailures(s, c, func(h int) bool { return mayRun(&s.Hosts[h]) })
	}
	for _, id := range s.uuids {
		for _, h := range s.places(id) {
			if v := s.vm(id, h); v.On {
				r.take(s, v, h)
			}
		}
	}
	return r
}

func (r *roomLeft) take(s *scene, v *WorldVM, host int) {
	mem := max(v.MiB, v.ReserveMiB)
	r.mem[host] -= mem
	r.cpu[host] -= v.MHz
	r.admit[s.Hosts[host].Cluster] -= mem
}

// mayRun reports whether the host can run VMs, once it is woken if need be.
func mayRun(h *WorldHost) bool { return !h.Maintenance && (h.On || h.Standby) }

// place takes room for v outside threatened sites, or says why there is none:
// the reason that got furthest.
func (o *Observer) place(s *scene, r *roomLeft, v *WorldVM) string {
	if tagged(v, "heliostat:never") || tagged(v, "heliostat:advise") {
		return "tagged so that it is not moved without a person"
	}
	if f := o.forbids(v, false, false); f != "" {
		return "fixture " + f
	}
	if !s.Hosts[v.Host].VMotion {
		return s.Hosts[v.Host].Name + " has no vMotion interface"
	}
	why := whyNot{}
	for h := range s.Hosts {
		d, no := o.fits(s, r, v, h)
		if no.rank > 0 {
			if no.rank > why.rank {
				why = no
			}
			continue
		}
		r.take(s, v, h)
		if d >= 0 {
			r.disk[d] -= arrivalMiB(v)
		}
		return ""
	}
	return why.text
}

// arrivalMiB is the space that a VM's disks and swap file take.
func arrivalMiB(v *WorldVM) int64 { return v.DiskMiB + max(v.Configured-v.ReserveMiB, 0) }

// convergence is the share of a link's rate below which a VM's dirty rate must
// stay for its pre-copy to end: nine tenths of a payload of four fifths.
const convergence = 0.9 * 0.8

// A whyNot says why a host cannot take a VM. The rank grows with how much else is
// in order there; 0 is no objection.
type whyNot struct {
	rank int
	text string
}

// fits says whether the host can take v, and the datastore that takes its disks
// (-1 when they can stay where they are).
func (o *Observer) fits(s *scene, r *roomLeft, v *WorldVM, host int) (datastore int, no whyNot) {
	h, from := &s.Hosts[host], &s.Hosts[v.Host]
	refuse := func(rank int, format string, args ...any) (int, whyNot) {
		return -1, whyNot{rank, fmt.Sprintf(format, args...)}
	}
	across := h.VCenter != from.VCenter
	link := s.link(from.Site, h.Site)
	switch {
	case h.Site == from.Site:
		return refuse(1, "there is no host at another site")
	case o.threatOf(h.Site) != nil:
		return refuse(1, "every other site is threatened too")
	case link == nil:
		return refuse(2, "no link to %s", s.Sites[h.Site].Name)
	case link.RTT > longestRTT:
		return refuse(3, "%s is %s away", s.Sites[h.Site].Name, link.RTT)
	case link.Mbps < mbpsPerMove:
		return refuse(3, "the link to %s has %.0f Mbit/s", s.Sites[h.Site].Name, link.Mbps)
	case v.DirtyMbps >= link.Mbps*convergence:
		return refuse(3, "it dirties %.0f Mbit/s and the link to %s has %.0f", v.DirtyMbps, s.Sites[h.Site].Name, link.Mbps)
	case outside(v, &s.Sites[h.Site]) != "":
		return refuse(4, "it has to stay in region %s", outside(v, &s.Sites[h.Site]))
	case o.forbids(v, false, across) != "":
		return refuse(5, "fixture %s, and %s is under another vCenter", o.forbids(v, false, across), h.Name)
	case h.Cluster != from.Cluster && mustRule(s, v.UUID, from.Cluster) != "":
		return refuse(6, "mandatory rule %s does not travel", mustRule(s, v.UUID, from.Cluster))
	case lacks(v.Segments, h.Segments) != "":
		return refuse(7, "%s does not reach segment %s", h.Name, lacks(v.Segments, h.Segments))
	case !mayRun(h) || !h.VMotion:
		return refuse(8, "%s cannot take VMs", h.Name)
	case h.CPULevel < v.CPULevel:
		return refuse(9, "%s has CPU level %d, the guest has seen %d", h.Name, h.CPULevel, v.CPULevel)
	case v.VCPUs > h.Threads, max(v.MiB, v.ReserveMiB) > r.mem[host], v.MHz > r.cpu[host]:
		return refuse(10, "%s has no room left", h.Name)
	case s.Clusters[h.Cluster].Failover > 0 && max(v.MiB, v.ReserveMiB) > r.admit[h.Cluster]:
		return refuse(10, "%s has no room left beside its failover reserve", s.Clusters[h.Cluster].Name)
	}
	if stays(s, v, h, from.Site) {
		return -1, whyNot{}
	}
	if f := o.forbids(v, true, across); f != "" {
		return refuse(11, "fixture %s, and its disks have to move", f)
	}
	for _, d := range h.Datastores {
		if outlives(s, d, from.Site) && r.disk[d] >= arrivalMiB(v) {
			return d, whyNot{}
		}
	}
	return refuse(12, "no datastore at %s has %d MiB left", h.Name, arrivalMiB(v))
}

// stays reports whether the VM's disks can stay when it moves to h: h mounts them
// all, and their data survives the loss of the site.
func stays(s *scene, v *WorldVM, h *WorldHost, site int) bool {
	return !slices.ContainsFunc(v.Datastores, func(d int) bool {
		return !slices.Contains(h.Datastores, d) || !outlives(s, d, site)
	})
}

// outlives reports whether the datastore's data survives the loss of the site.
func outlives(s *scene, datastore, site int) bool {
	name := s.Sites[site].Name
	return slices.ContainsFunc(s.Datastores[datastore].Holds, func(x string) bool { return x != name })
}

// watchThreats notes who is out until the deadline. What the World before the
// deadline said counts when none is seen at the deadline itself.
func (o *Observer) watchThreats(s *scene) {
	for _, t := range o.threats {
		if t.passed || s.Now.After(t.deadline) {
			t.passed = true
			continue
		}
		clear(t.out)
		for _, id := range s.uuids {
			t.out[id] = notOut(s, id, t.site) == ""
		}
	}
}

// notOut says why a VM is not out of the site with its disks, or "".
func notOut(s *scene, uuid string, site int) string {
	list := s.entries[uuid]
	if len(list) == 0 {
		return "no vCenter lists it"
	}
	for _, h := range s.places(uuid) {
		if s.Hosts[h].Site == site {
			return "at " + s.Hosts[h].Name
		}
	}
	for _, i := range list {
		for _, d := range s.VMs[i].Datastores {
			if !outlives(s, d, site) {
				return "its disks on " + s.Datastores[d].Name + " are lost with the site"
			}
		}
	}
	return ""
}

// notWorking says why a VM does not work once the site is gone, or "".
func notWorking(s *scene, uuid string, site int) string {
	if why := notOut(s, uuid, site); why != "" {
		return why
	}
	why := "it has no host"
	for _, i := range s.entries[uuid] {
		v := &s.VMs[i]
		if v.Host < 0 {
			continue
		}
		h := &s.Hosts[v.Host]
		missing := lacks(v.Segments, h.Segments)
		switch {
		case !v.On:
			why = "it is not running"
		case !s.ready(v.Host):
			why = h.Name + " is " + hostState(h)
		case missing != "":
			why = h.Name + " does not reach segment " + missing
		case slices.ContainsFunc(v.Datastores, func(d int) bool { return !slices.Contains(h.Datastores, d) }):
			why = h.Name + " does not mount all its disks"
		default:
			return ""
		}
	}
	return why
}

// Evacuation reports on the threatened site, as of the last World. The zero
// report is of a site that nobody threatened.
func (o *Observer) Evacuation(site string) EvacuationReport {
	s := &o.last
	i := slices.IndexFunc(s.Sites, func(x WorldSite) bool { return x.Name == site })
	t := o.threatOf(i)
	if t == nil {
		return EvacuationReport{Site: site}
	}
	r := EvacuationReport{Site: site, Known: t.known, Deadline: t.deadline, Movable: len(t.movable)}
	left := func(id, why string) Left { return Left{UUID: id, Name: o.names[id], Reason: why} }
	for _, id := range t.movable {
		if t.out[id] {
			r.EvacuatedByDeadline++
		} else {
			r.Behind = append(r.Behind, left(id, cmp.Or(notOut(s, id, t.site), "it came out after the deadline")))
		}
		if why := notWorking(s, id, t.site); why != "" {
			r.NotWorking = append(r.NotWorking, left(id, why))
		} else {
			r.WorkingAfter++
		}
	}
	r.LeftBehind = len(r.Behind)
	for _, id := range slices.Sorted(maps.Keys(t.reasons)) {
		r.Unmovable = append(r.Unmovable, left(id, t.reasons[id]))
		if t.out[id] {
			r.Beyond++
		}
	}
	return r
}

// WronglyHeld lists, of the VMs that were said to be unable to leave a threatened
// site, those that could: by instance UUID, ascending.
func (o *Observer) WronglyHeld(held []string) []string {
	var wrong []string
	for _, id := range held {
		for _, t := range o.threats {
			if _, ok := slices.BinarySearch(t.movable, id); ok && !slices.Contains(wrong, id) {
				wrong = append(wrong, id)
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}
