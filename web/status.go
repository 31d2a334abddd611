// Package web is the daemon as seen over HTTP: health, readiness, metrics and
// the mount point for alerts on a port, and the operator's orders on a Unix
// socket.
//
// It serves copies. The loop publishes a [Status] on a [Board] after each cycle
// and never hears of requests; what a person orders goes through [Control], to be
// carried out by the loop in its own time. The socket is open to root and to the
// daemon's own account; who gave an order is what the kernel says about the peer,
// not what the peer says.
package web

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"heliostat/engine"
)

// A Status is what the loop published last. It never changes once published.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Mode    string    `json:"mode"` // the strongest that the configuration allows

	Cycle  uint64    `json:"cycle"`
	At     time.Time `json:"at,omitzero"`     // when the last cycle began
	TookMS int64     `json:"took_ms"`         // how long it took
	Error  string    `json:"error,omitempty"` // why it ended early
	Good   time.Time `json:"good,omitzero"`   // when the last cycle began that did not end early
	Next   time.Time `json:"next,omitzero"`   // when the next one is due

	Paused *engine.OperatorRecord `json:"paused,omitempty"` // who paused the daemon and why

	Revision string `json:"revision"`          // the policies in service
	Refused  string `json:"refused,omitempty"` // what is wrong with the newest edit of them
	Waits    string `json:"waits,omitempty"`   // why the newest edit waits for a person
	Newest   string `json:"newest,omitempty"`  // its revision, where it does not serve
	Held     bool   `json:"held,omitempty"`    // a person went back to what serves

	Rails      []engine.Hold       `json:"rails,omitempty"`      // what is held back beside the plans' holds
	Quarantine []engine.Quarantine `json:"quarantine,omitempty"` // what a person must look at
	Swings     []engine.Swing      `json:"swings,omitempty"`     // what is moved or switched there and back

	// Evacuations are those with a deadline; the whole certificate is in the journal.
	Evacuations []EvacuationStatus      `json:"evacuations,omitempty"`
	Ordered     []engine.OperatorRecord `json:"ordered,omitempty"` // evacuations that persons have ordered

	Record  engine.CycleRecord `json:"record"`
	Sites   []SiteStatus       `json:"sites"`
	Sources []SourceStatus     `json:"sources,omitempty"`
	Open    []OpenAction       `json:"open"`
	Pending *PendingPlan       `json:"pending,omitempty"`
	Holds   []engine.Hold      `json:"holds"`
	Gaps    []engine.Gap       `json:"gaps"`
	Hazards []engine.Hazard    `json:"hazards,omitempty"`
	Alerts  []engine.Alert     `json:"alerts,omitempty"`

	Journal JournalStatus `json:"journal"`
}

// Doubted are the vCenters whose part of the fleet is not believed: a person may confirm it.
func (s *Status) Doubted() (out []engine.Gap) {
	for _, g := range s.Gaps {
		if g.Source == "census" && g.Subject.Kind == "vcenter" {
			out = append(out, g)
		}
	}
	return out
}

// A SiteStatus sums one site up.
type SiteStatus struct {
	Site        engine.SiteID `json:"site"`
	Mode        engine.Mode   `json:"mode"`
	Frozen      bool          `json:"frozen,omitempty"`
	Hosts       HostCounts    `json:"hosts"`
	Maintenance int           `json:"maintenance"` // hosts in it or entering it
	VMs         int           `json:"vms"`         // powered on
	PowerW      int64         `json:"power_w"`     // of the hosts with a meter
	Unmetered   int           `json:"unmetered"`   // hosts whose power is not known
	SunDeg      *float64      `json:"sun_deg"`     // degrees above the horizon; null when not known
}

// An EvacuationStatus sums a certificate up.
type EvacuationStatus struct {
	Demand   engine.Subject `json:"demand"`
	Deadline engine.Unix    `json:"deadline"`
	Headline string         `json:"headline"` // what is saved, and what is not, in a line
	Gone     int            `json:"gone"`     // that left before, and are not among VMs
	VMs      int            `json:"vms"`
	Leave    int            `json:"leave"`
	Work     int            `json:"work"`
	Value    engine.Worth   `json:"value"`
	ETA      engine.ETA     `json:"eta"`
}

// EvacuationsOf sums certificates up.
func EvacuationsOf(cs []engine.Certificate) []EvacuationStatus {
	var out []EvacuationStatus
	for i := range cs {
		c := &cs[i]
		out = append(out, EvacuationStatus{c.Demand, c.Deadline, c.Headline(), c.Gone, c.VMs, c.Leave, c.Work, c.Value, c.ETA})
	}
	return out
}

// HostCounts counts hosts by power state.
type HostCounts struct {
	On      int `json:"on"`
	Standby int `json:"standby"`
	Off     int `json:"off"`
	Unknown int `json:"unknown"`
}

// A SourceStatus says how a source of observations, such as one vCenter, is doing.
type SourceStatus struct {
	Name  string    `json:"name"`
	Up    bool      `json:"up"`
	At    time.Time `json:"at,omitzero"` // of its last good answer
	Error string    `json:"error,omitempty"`
}

// An OpenAction is an action under way.
type OpenAction struct {
	Record  engine.ActionRecord `json:"record"`
	Percent int32               `json:"percent"`
}

// A PendingPlan waits for a person's approval.
type PendingPlan struct {
	Hash      string       `json:"hash"`
	Since     time.Time    `json:"since"`
	Expires   time.Time    `json:"expires"`
	Approvers int32        `json:"approvers"` // how many different persons must approve
	Approved  []string     `json:"approved,omitempty"`
	Doubt     string       `json:"doubt,omitempty"` // what of it does not hold on what is seen now
	Plan      *engine.Plan `json:"plan"`
}

// A JournalStatus is the head of the journal: a checkpoint to keep elsewhere.
type JournalStatus struct {
	Entries uint64 `json:"entries"`
	Hash    string `json:"hash"`
}

// SitesOf sums a snapshot up by site, in the snapshot's order.
func SitesOf(s *engine.Snapshot) []SiteStatus {
	sites := make([]SiteStatus, len(s.Sites))
	for i := range s.Sites {
		site := &s.Sites[i]
		sites[i] = SiteStatus{Site: site.ID, Mode: site.Mode, Frozen: site.Frozen}
		if site.SunMilliDeg != engine.Unknown {
			deg := float64(site.SunMilliDeg) / 1000
			sites[i].SunDeg = &deg
		}
	}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Site >= 0 {
			sites[h.Site].add(h)
		}
	}
	for v := range s.VMs {
		if site := s.VMSite(int32(v)); site >= 0 && s.VMs[v].Power == engine.VMOn {
			sites[site].VMs++
		}
	}
	return sites
}

func (s *SiteStatus) add(h *engine.Host) {
	switch h.Power {
	case engine.HostOn:
		s.Hosts.On++
	case engine.HostStandby:
		s.Hosts.Standby++
	case engine.HostOff:
		s.Hosts.Off++
	case engine.HostUnknown:
		s.Hosts.Unknown++
	}
	if h.Maintenance || h.Entering {
		s.Maintenance++
	}
	if h.PowerW == engine.Unknown {
		s.Unmetered++
		return
	}
	s.PowerW += int64(h.PowerW)
}

// A Count is how many there are of something.
type Count struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

// KW is the power of its hosts in kW, for people: "-" where no meter is read, since
// what is not known is not zero.
func (s *SiteStatus) KW() string {
	if s.Unmetered > 0 && s.Unmetered == s.Hosts.On+s.Hosts.Standby+s.Hosts.Off+s.Hosts.Unknown {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(s.PowerW)/1000)
}

// Sun is the sun's height in whole degrees, for people: "-" where it is not known.
func (s *SiteStatus) Sun(unit string) string {
	if s.SunDeg == nil {
		return "-"
	}
	return fmt.Sprintf("%d%s", int(math.Round(*s.SunDeg)), unit) // not -0
}

// HoldCounts counts holds by code, the most frequent first.
func HoldCounts(holds []engine.Hold) []Count {
	n := map[engine.HoldCode]int{}
	for i := range holds {
		n[holds[i].Code]++
	}
	counts := make([]Count, 0, len(n))
	for code, n := range n {
		counts = append(counts, Count{string(code), n})
	}
	slices.SortFunc(counts, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return counts
}

// A Board is where the loop publishes and handlers read, without waiting for one
// another. The zero value is ready to use.
type Board struct {
	status atomic.Pointer[Status]
	beat   atomic.Int64 // Unix nanoseconds
}

// Show publishes s, which must not change afterwards.
func (b *Board) Show(s *Status) { b.status.Store(s) }

// Beat notes that the loop is well.
func (b *Board) Beat() { b.beat.Store(time.Now().UnixNano()) }

// Status returns what was published last, an empty status before that.
func (b *Board) Status() *Status {
	if s := b.status.Load(); s != nil {
		return s
	}
	return &Status{}
}

// LastBeat returns the moment of the last Beat, the zero time before that.
func (b *Board) LastBeat() time.Time {
	n := b.beat.Load()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
