package lab

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Kind says what was violated.
type Kind string

// The kinds of violation.
const (
	OvercommitMemory  Kind = "overcommit_memory"  // a host's memory, both ends of a move counted
	OvercommitCPU     Kind = "overcommit_cpu"     // a host's CPU, likewise
	NotReady          Kind = "not_ready"          // a running VM on a host that is off or in maintenance
	StandbyWithVMs    Kind = "standby_with_vms"   // running VMs on a host in standby
	StandbyVSAN       Kind = "standby_vsan"       // standby of a host that holds vSAN data
	StandbyFailover   Kind = "standby_failover"   // a standby took its cluster's failover reserve
	RuleBroken        Kind = "rule_broken"        // a DRS rule, more than at the start
	RuleLeft          Kind = "rule_left"          // a VM left the cluster of a mandatory VM-host rule
	SegmentMissing    Kind = "segment_missing"    // a running VM without its L2 segment
	DatastoreMissing  Kind = "datastore_missing"  // a VM with a datastore that its host does not mount
	DatastoreOverfull Kind = "datastore_overfull" // less than nothing free
	HostSlots         Kind = "host_slots"         // more moves at once than a host has slots
	DatastoreSlots    Kind = "datastore_slots"    // likewise a datastore
	LinkSlots         Kind = "link_slots"         // more moves at once than a link has bandwidth
	LinkRTT           Kind = "link_rtt"           // a live move over too long a round trip
	CPUTooOld         Kind = "cpu_too_old"        // a live move to a CPU that lacks what the guest has seen
	NoVMotion         Kind = "no_vmotion"         // a live move with a host that has no interface for it
	FixtureIgnored    Kind = "fixture_ignored"    // a move that a property of the VM forbids
	NeverIgnored      Kind = "never_ignored"      // a move of a VM tagged heliostat:never
	Duplicate         Kind = "duplicate"          // one VM runs in two vCenters without a move
	Lost              Kind = "lost"               // a VM that was there is nowhere
	BackAndForth      Kind = "back_and_forth"     // A to B to A within an hour
	Residency         Kind = "residency"          // a VM outside the region of its tag
)

// The numbers that the observer judges by. Slots and distance are vSphere's:
// "Limits on Simultaneous Migrations" and "Requirements for vMotion".
const (
	hostUnits, hostUnitsLive, hostUnitsStorage = 8, 1, 4
	dsUnits, dsUnitsLive, dsUnitsStorage       = 128, 1, 16
	mbpsPerMove                                = 250.0
	longestRTT                                 = 150 * time.Millisecond
	tooSoonBack                                = time.Hour
	// togetherGrace is how long VMs that belong together may be apart around
	// their moves: they cannot all arrive at one instant.
	togetherGrace = 15 * time.Minute
)

// A Violation is something that must not be, from when to when.
type Violation struct {
	Kind    Kind      `json:"kind"`
	At      time.Time `json:"at"`
	Until   time.Time `json:"until,omitzero"` // zero while it lasts; At when it is a moment's
	Subject string    `json:"subject"`        // the VM, host, datastore, link or rule
	Text    string    `json:"text"`           // the figures
}

// String reads as a sentence.
func (v Violation) String() string {
	return fmt.Sprintf("%s %s: %s: %s", v.At.UTC().Format(time.RFC3339), v.Kind, v.Subject, v.Text)
}

// An Observer watches the ground truth and judges it, with code of its own. It
// knows nothing of who moves what or why. What was wrong in the first World that
// it sees is not held against anyone until it has ended and begins again. It is
// owned by one goroutine.
type Observer struct {
	last scene
	seen bool

	open  map[string]int // by kind and subject: index in found, -1 for what the first World had
	now   map[string]bool
	found []Violation

	ruleBase map[string]int       // by rule: how much it was violated when first seen
	home     map[string]int       // by VM: host in the first World
	names    map[string]string    // by VM ever seen, agents apart
	moves    map[moveKey]*journey // that the last World listed
	trips    map[string]trip      // by VM: its last move that ended well
	split    map[string]time.Time // by VM: when its last move ended, either way

	threats []*threat
	unknown map[string]bool // fixtures that this code does not know
	sum     Report
	sent    int64 // bytes, of sum.GBCopied
	stun    time.Duration
}

// A journey is what is known of a listed move.
type journey struct {
	ended bool
	sent  float64 // MiB
}

// A trip is a move that ended well.
type trip struct {
	from, to int
	ended    time.Time
}

// NewObserver returns an observer that has seen nothing.
func NewObserver() *Observer {
	return &Observer{
		open: map[string]int{}, now: map[string]bool{}, ruleBase: map[string]int{}, home: map[string]int{}, names: map[string]string{},
		moves: map[moveKey]*journey{}, trips: map[string]trip{}, split: map[string]time.Time{}, unknown: map[string]bool{},
	}
}

// A scene is a World with what is asked of it again and again.
type scene struct {
	World
	entries map[string][]int // by VM: its entries, more than one while two vCenters list it
	flight  map[string]int   // by VM: its move in flight
	uuids   []string         // ascending
}

func newScene(w World) scene {
	s := scene{World: w, entries: make(map[string][]int, len(w.VMs)), flight: map[string]int{}}
	for i := range w.VMs {
		id := w.VMs[i].UUID
		if len(s.entries[id]) == 0 {
			s.uuids = append(s.uuids, id)
		}
		s.entries[id] = append(s.entries[id], i)
	}
	slices.Sort(s.uuids)
	for i := range w.Moves {
		if w.Moves[i].Ended.IsZero() {
			s.flight[w.Moves[i].VM] = i
		}
	}
	return s
}

// vm returns the VM's entry at the host, or any, or nil.
func (s *scene) vm(uuid string, host int) *WorldVM {
	list := s.entries[uuid]
	for _, i := range list {
		if s.VMs[i].Host == host {
			return &s.VMs[i]
		}
	}
	if len(list) == 0 {
		return nil
	}
	return &s.VMs[list[0]]
}

// places lists the hosts that the VM occupies: where it is listed, and both ends
// of its move.
func (s *scene) places(uuid string) []int {
	var hosts []int
	for _, i := range s.entries[uuid] {
		hosts = appendHost(hosts, s.VMs[i].Host)
	}
	if i, ok := s.flight[uuid]; ok {
		hosts = appendHost(hosts, s.Moves[i].From)
		hosts = appendHost(hosts, s.Moves[i].To)
	}
	return hosts
}

func appendHost(hosts []int, h int) []int {
	if h < 0 || slices.Contains(hosts, h) {
		return hosts
	}
	return append(hosts, h)
}

func (s *scene) siteOf(host int) *WorldSite { return &s.Sites[s.Hosts[host].Site] }

// ready reports whether the host can run VMs.
func (s *scene) ready(host int) bool {
	h := &s.Hosts[host]
	return h.On && !h.Standby && !h.Maintenance
}

// link returns the link between two sites, or nil.
func (s *scene) link(a, b int) *WorldLink {
	for i := range s.Links {
		if l := &s.Links[i]; (l.A == a && l.B == b) || (l.A == b && l.B == a) {
			return l
		}
	}
	return nil
}

// Observe takes the next World: at each step of the lab, and whenever a move
// starts or ends. Times must not go back.
func (o *Observer) Observe(w World) {
	s := newScene(w)
	clear(o.now)
	o.learn(&s)
	o.checkPresence(&s)
	o.checkHosts(&s)
	o.checkVMs(&s)
	o.checkDatastores(&s)
	o.checkSlots(&s)
	o.checkMoves(&s)
	o.checkRules(&s) // after the moves, whose ends it forgives for a while
	if o.seen {
		o.checkPower(&s)
	}
	o.close(w.Now)
	o.watchThreats(&s)
	o.last, o.seen = s, true
}

// learn notes what is there for the first time.
func (o *Observer) learn(s *scene) {
	if !o.seen {
		o.sum.From = s.Now
	}
	o.sum.To = s.Now
	for _, id := range s.uuids {
		if _, ok := o.names[id]; ok {
			continue
		}
		v := s.vm(id, -1)
		if isAgent(v) {
			continue // comes and goes with its host
		}
		o.names[id] = v.Name
		o.home[id] = v.Host
	}
}

// say notes something that lasts: it is recorded when it begins.
func (o *Observer) say(s *scene, kind Kind, subject, format string, args ...any) {
	key := string(kind) + "|" + subject
	o.now[key] = true
	if _, ok := o.open[key]; ok {
		return
	}
	if !o.seen {
		o.open[key] = -1
		return
	}
	o.open[key] = len(o.found)
	o.found = append(o.found, Violation{Kind: kind, At: s.Now, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

// tell records something that is of a moment.
func (o *Observer) tell(s *scene, kind Kind, subject, format string, args ...any) {
	o.found = append(o.found, Violation{Kind: kind, At: s.Now, Until: s.Now, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

// close ends what is no more.
func (o *Observer) close(now time.Time) {
	for key, i := range o.open {
		if o.now[key] {
			continue
		}
		if i >= 0 {
			o.found[i].Until = now
		}
		delete(o.open, key)
	}
}

// Violations lists all that was found, by time, then in a fixed order.
func (o *Observer) Violations() []Violation {
	out := slices.Clone(o.found)
	slices.SortStableFunc(out, func(a, b Violation) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}
