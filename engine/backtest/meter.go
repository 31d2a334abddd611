package backtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"heliostat/engine"
)

// Totals are what came of a run. Money and carbon are those of power, at the prices
// and intensities of the record.
type Totals struct {
	Moves      int     `json:"moves"`
	Across     int     `json:"moves_across_vcenters"`
	GB         float64 `json:"gb_copied"`
	KWh        float64 `json:"kwh"` // hosts times PUE, and copies
	EUR        float64 `json:"eur"`
	CO2Kg      float64 `json:"co2_kg"`
	LatencyMin float64 `json:"latency_violation_min"` // of groups whose members stand further apart than a near rule allows
	OverMin    float64 `json:"overload_min"`          // of hosts whose VMs want more CPU or memory than there is
	Missed     int     `json:"missed_deadlines"`      // VMs left in places when they were to be empty
	Standby    int     `json:"standby"`
	Wake       int     `json:"wake"`
	Others     int     `json:"maintenance"` // hosts that entered it or left
	Failed     int     `json:"actions_failed"`
	Waiting    int     `json:"plans_waiting"` // for a person: the simulation does not carry them out
	Refused    int     `json:"plans_refused"` // by policies, or by the check
	// Holds are the objects held, once for each code.
	Holds map[engine.HoldCode]int `json:"holds"`
}

// A Run is one course of events.
type Run struct {
	Name     string    `json:"name"`
	Revision string    `json:"revision,omitempty"`
	Totals   Totals    `json:"totals"`
	Refused  string    `json:"refused,omitempty"` // why the first of the plans refused was
	Points   []Point   `json:"points"`
	VMs      []VMRun   `json:"vms"`   // that were moved, or left behind; by ID
	Hosts    []HostRun `json:"hosts"` // all, by ID
}

// A Point is the fleet at one cycle.
type Point struct {
	At    engine.Unix `json:"at"`
	Watts int64       `json:"watts"` // at the meter
	Moves int         `json:"moves"` // so far
}

// A VMRun is what became of one VM.
type VMRun struct {
	ID    engine.VMID   `json:"id"`
	Name  string        `json:"name"`
	Moves int           `json:"moves"`
	GB    float64       `json:"gb"`
	Site  engine.SiteID `json:"site"`           // where it stands at the end
	Left  string        `json:"left,omitempty"` // the place that it should have left by its deadline
	Why   string        `json:"why,omitempty"`  // of its last move
}

// A HostRun is what became of one host.
type HostRun struct {
	ID       engine.HostID `json:"id"`
	Name     string        `json:"name"`
	StandbyH float64       `json:"standby_h"`
	KWh      float64       `json:"kwh"`
	OverMin  float64       `json:"overload_min,omitempty"`
	Changes  int           `json:"changes"`       // of power or maintenance
	Why      string        `json:"why,omitempty"` // of the last change
}

// A meter measures a run. It is fed with the fleet in order of time.
type meter struct {
	run    Run
	vms    map[engine.VMID]*VMRun
	hosts  map[engine.HostID]*HostRun
	held   map[engine.HoldCode]map[engine.Subject]bool
	groups []engine.Group // near, as said last
	links  *engine.Snapshot
	due    map[engine.Subject]engine.Unix // evacuations, by place
	past   map[engine.Subject]engine.Unix // those judged, with their deadlines
	wh     int32                          // for each GB copied, at either end
	mhz    []int64                        // by host: what its VMs and itself take; reused
	mib    []int64
}

func newMeter(name string) *meter {
	return &meter{
		run: Run{Name: name}, vms: map[engine.VMID]*VMRun{}, hosts: map[engine.HostID]*HostRun{}, held: map[engine.HoldCode]map[engine.Subject]bool{},
		due: map[engine.Subject]engine.Unix{}, past: map[engine.Subject]engine.Unix{},
	}
}

// decided notes what binds from now on. s is the snapshot that d refers to.
func (m *meter) decided(s *engine.Snapshot, d *engine.Decision, energyWhPerGB int32) {
	m.links, m.wh, m.groups = s, energyWhPerGB, m.groups[:0]
	for _, g := range d.Groups {
		if g.Kind == engine.GroupNear {
			m.groups = append(m.groups, g)
		}
	}
	clear(m.due)
	for _, e := range d.Evacuations {
		if was, ok := m.due[e.Place]; e.Deadline != 0 && (!ok || e.Deadline < was) && m.past[e.Place] != e.Deadline {
			m.due[e.Place] = e.Deadline
		}
	}
}

func (m *meter) planned(p *engine.Plan) {
	for _, h := range p.Holds {
		if m.held[h.Code] == nil {
			m.held[h.Code] = map[engine.Subject]bool{}
		}
		m.held[h.Code][h.Subject] = true
	}
}

// ended counts an action that is over.
func (m *meter) ended(s *engine.Snapshot, r *engine.ActionRecord) {
	a, t := &r.Action, &m.run.Totals
	if r.State != engine.StateSucceeded {
		t.Failed++
		return
	}
	if a.Kind != engine.Move {
		h := m.host(a.From.Host, a.Name)
		h.Changes++
		h.Why = a.Kind.String() + why(a)
		switch a.Kind {
		case engine.Standby:
			t.Standby++
		case engine.Wakeup:
			t.Wake++
		default:
			t.Others++
		}
		return
	}
	gb := float64(a.Estimate.MemoryMiB+a.Estimate.DiskMiB) / 1024
	v := m.vm(a.VM, a.Name)
	v.Moves, v.GB, v.Why = v.Moves+1, v.GB+gb, "to "+a.To.Name+why(a)
	t.Moves, t.GB = t.Moves+1, t.GB+gb
	if a.Across {
		t.Across++
	}
	for _, id := range [2]engine.SiteID{a.From.Site, a.To.Site} {
		if i, ok := s.FindSite(id); ok {
			m.spend(&s.Sites[i], gb*float64(m.wh)/1000)
		}
	}
}

// why is the reasons of an action.
func why(a *engine.Action) string {
	all := make([]string, len(a.Why))
	for i, w := range a.Why {
		all[i] = w.String()
	}
	return strings.TrimSuffix(": "+strings.Join(all, "; "), ": ")
}

// times counts as people do.
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (m *meter) vm(id engine.VMID, name string) *VMRun {
	if m.vms[id] == nil {
		m.vms[id] = &VMRun{ID: id, Name: name}
	}
	return m.vms[id]
}

func (m *meter) host(id engine.HostID, name string) *HostRun {
	if m.hosts[id] == nil {
		m.hosts[id] = &HostRun{ID: id, Name: name}
	}
	return m.hosts[id]
}

func (m *meter) spend(s *engine.Site, kwh float64) {
	t := &m.run.Totals
	t.KWh += kwh
	if s.PriceMicroEURPerKWh != engine.Unknown {
		t.EUR += kwh * float64(s.PriceMicroEURPerKWh) / 1e6
	}
	if s.CarbonGPerKWh != engine.Unknown {
		t.CO2Kg += kwh * float64(s.CarbonGPerKWh) / 1000
	}
}

// point notes the fleet at a cycle.
func (m *meter) point(now engine.Unix, s *engine.Snapshot, own map[engine.HostID]load) {
	m.sum(s, own)
	var w float64
	for h := range s.Hosts {
		w += watts(s, h, m.mhz[h])
	}
	m.run.Points = append(m.run.Points, Point{now, int64(w + 0.5), m.run.Totals.Moves})
}

// sum is what each host's VMs and its hypervisor want.
func (m *meter) sum(s *engine.Snapshot, own map[engine.HostID]load) {
	m.mhz, m.mib = slices.Grow(m.mhz[:0], len(s.Hosts))[:len(s.Hosts)], slices.Grow(m.mib[:0], len(s.Hosts))[:len(s.Hosts)]
	for h := range s.Hosts {
		o := own[s.Hosts[h].ID]
		m.mhz[h], m.mib[h] = int64(o.mhz), int64(o.mib)
	}
	for v := range s.VMs {
		if x := &s.VMs[v]; x.Host >= 0 && x.Power == engine.VMOn {
			m.mhz[x.Host] += int64(max(x.UsedMHz, 0))
			m.mib[x.Host] += int64(max(x.UsedMiB, 0))
		}
	}
}

// watts are what host h takes at the meter, by the two ends of its model.
func watts(s *engine.Snapshot, h int, mhz int64) float64 {
	x := &s.Hosts[h]
	if x.Power == engine.HostStandby || x.Power == engine.HostOff || x.MaxW <= 0 || x.IdleW < 0 || x.CPUMHz <= 0 {
		return 0
	}
	w := float64(x.IdleW) + float64(x.MaxW-x.IdleW)*min(float64(mhz)/float64(x.CPUMHz), 1)
	if x.Site >= 0 && s.Sites[x.Site].PUEMilli > 0 {
		w *= float64(s.Sites[x.Site].PUEMilli) / 1000
	}
	return w
}

// pass lets the fleet stand as it does from one moment to another.
func (m *meter) pass(from, to engine.Unix, s *engine.Snapshot, own map[engine.HostID]load) {
	m.judge(to, s)
	if to <= from {
		return
	}
	m.sum(s, own)
	hours, minutes := float64(to-from)/3600, float64(to-from)/60
	for h := range s.Hosts {
		x := &s.Hosts[h]
		r := m.host(x.ID, x.Name)
		if x.Power == engine.HostStandby {
			r.StandbyH += hours
		}
		if x.Site >= 0 {
			kwh := watts(s, h, m.mhz[h]) * hours / 1000
			r.KWh += kwh
			m.spend(&s.Sites[x.Site], kwh)
		}
		if x.Power == engine.HostOn && (m.mhz[h] > int64(x.CPUMHz) || m.mib[h] > int64(x.MemoryMiB)) {
			r.OverMin += minutes
			m.run.Totals.OverMin += minutes
		}
	}
	for i := range m.groups {
		if m.torn(s, &m.groups[i]) {
			m.run.Totals.LatencyMin += minutes
		}
	}
}

// torn reports whether members of a near group stand too far apart. The group refers
// to the VMs of the last decision's snapshot, which are those of s.
func (m *meter) torn(s *engine.Snapshot, g *engine.Group) bool {
	var seen engine.SiteMask
	for _, v := range g.VMs {
		if site := s.VMSite(v); site >= 0 && s.VMs[v].Power == engine.VMOn {
			seen = seen.With(site)
		}
	}
	for a := range int32(len(s.Sites)) {
		for b := range a {
			if !seen.Has(a) || !seen.Has(b) {
				continue
			}
			if k, ok := m.links.Link(a, b); !ok || k.RTTMicros == engine.Unknown || k.RTTMicros > g.MaxRTTMicros {
				return true
			}
		}
	}
	return false
}

// judge counts what is left in places that were to be empty by now.
func (m *meter) judge(now engine.Unix, s *engine.Snapshot) {
	for _, place := range slices.SortedFunc(maps.Keys(m.due), func(a, b engine.Subject) int { return strings.Compare(a.String(), b.String()) }) {
		deadline := m.due[place]
		if now < deadline {
			continue
		}
		delete(m.due, place)
		m.past[place] = deadline
		for v := range s.VMs {
			if s.VMs[v].Power == engine.VMOn && stands(s, int32(v), place) {
				m.run.Totals.Missed++
				m.vm(s.VMs[v].ID, s.VMs[v].Name).Left = place.Kind + " " + s.NameOf(place)
			}
		}
	}
}

// stands reports whether VM v is in the place.
func stands(s *engine.Snapshot, v int32, place engine.Subject) bool {
	x := &s.VMs[v]
	if place.Kind == "datastore" {
		return slices.ContainsFunc(x.Disks, func(d engine.Disk) bool { return d.Datastore >= 0 && string(s.Datastores[d.Datastore].ID) == place.ID })
	}
	if x.Host < 0 {
		return false
	}
	h := &s.Hosts[x.Host]
	switch place.Kind {
	case "site":
		return h.Site >= 0 && string(s.Sites[h.Site].ID) == place.ID
	case "cluster":
		return string(s.Clusters[h.Cluster].ID) == place.ID
	default:
		return string(h.ID) == place.ID
	}
}

// close is the run, with the fleet as it stands at its end.
func (m *meter) close(s *engine.Snapshot) *Run {
	m.run.Totals.Holds = map[engine.HoldCode]int{}
	for code, subjects := range m.held {
		m.run.Totals.Holds[code] = len(subjects)
	}
	for _, v := range m.vms {
		if i, ok := s.FindVM(v.ID); ok && s.VMSite(i) >= 0 {
			v.Site = s.Sites[s.VMSite(i)].ID
		}
		m.run.VMs = append(m.run.VMs, *v)
	}
	for _, h := range m.hosts {
		m.run.Hosts = append(m.run.Hosts, *h)
	}
	slices.SortFunc(m.run.VMs, func(a, b VMRun) int { return strings.Compare(string(a.ID), string(b.ID)) })
	slices.SortFunc(m.run.Hosts, func(a, b HostRun) int { return cmp.Compare(a.ID, b.ID) })
	return &m.run
}
