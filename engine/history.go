package engine

import (
	"cmp"
	"slices"
)

// A Ring keeps the means of the last twelve five-minute intervals: an hour.
type Ring struct {
	Slot  int64     `json:"slot"` // Unix/300 of the newest interval; 0 when empty
	Count int32     `json:"count"`
	Sum   int64     `json:"sum"`
	Past  [11]int32 `json:"past"` // newest first; Unknown where nothing was seen
}

// RingSeconds is the length of one interval.
const RingSeconds = 300

// Add puts a sample in. Samples come in order of time; Unknown is ignored.
func (r *Ring) Add(at Unix, value int32) {
	slot := int64(at) / RingSeconds
	if r.Slot-slot > int64(len(r.Past))+1 {
		*r = Ring{} // the clock was ahead and has been set back: it would hear of nothing until then
	}
	if r.Slot == 0 {
		for i := range r.Past {
			r.Past[i] = Unknown
		}
		r.Slot = slot
	}
	for ; r.Slot < slot; r.Slot++ {
		if slot-r.Slot > int64(len(r.Past))+1 {
			r.Slot = slot - int64(len(r.Past)) - 1
		}
		copy(r.Past[1:], r.Past[:len(r.Past)-1])
		r.Past[0] = r.current()
		r.Count, r.Sum = 0, 0
	}
	if value == Unknown || slot < r.Slot {
		return
	}
	r.Count++
	r.Sum += int64(value)
}

// after reports whether its newest interval is not before the moment.
func (r *Ring) after(at Unix) bool { return r.Slot*RingSeconds >= int64(at) }

func (r *Ring) current() int32 {
	if r.Count == 0 {
		return Unknown
	}
	return int32(r.Sum / int64(r.Count))
}

// Mean is the mean over the newest n intervals (at most 12), Unknown unless
// at least all but one of them were seen: a demand over 40 minutes is not known
// after ten.
func (r *Ring) Mean(n int) int32 {
	var sum, seen int64
	if c := r.current(); c != Unknown {
		sum, seen = int64(c), 1
	}
	for i := 0; i < n-1 && i < len(r.Past); i++ {
		if r.Slot != 0 && r.Past[i] != Unknown {
			sum += int64(r.Past[i])
			seen++
		}
	}
	if seen == 0 || seen < int64(n)-1 {
		return Unknown
	}
	return int32(sum / seen)
}

// Percentile is the p-th percentile (nearest rank) over what was seen of the
// hour, Unknown when nothing was.
func (r *Ring) Percentile(p int) int32 {
	var vals [12]int32
	n := 0
	if c := r.current(); c != Unknown {
		vals[n] = c
		n++
	}
	for _, v := range r.Past {
		if r.Slot != 0 && v != Unknown {
			vals[n] = v
			n++
		}
	}
	if n == 0 {
		return Unknown
	}
	rank := (p*n + 99) / 100
	if rank >= n {
		return slices.Max(vals[:n])
	}
	slices.Sort(vals[:n])
	return vals[max(rank, 1)-1]
}

// Owned says what this daemon has done to a host and not undone.
type Owned uint8

// What may be owned.
const (
	OwnNothing Owned = iota
	OwnStandby
	OwnMaintenance
)

var ownedNames = [...]string{"none", "standby", "maintenance"}

// String names it.
func (o Owned) String() string { return ownedNames[o] }

// MarshalText implements encoding.TextMarshaler.
func (o Owned) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Owned) UnmarshalText(b []byte) error { return parseName(o, b, ownedNames[:], "ownership") }

// HostHistory is what is remembered of one host.
type HostHistory struct {
	ID       HostID `json:"id"`
	Own      Owned  `json:"own,omitzero"`
	ChangeAt Unix   `json:"change_at,omitzero"` // last change of power or maintenance by us
	FailedAt Unix   `json:"failed_at,omitzero"` // last failure of an action on it
	Returns  int32  `json:"returns,omitzero"`   // how often in a row it was woken soon after it was put to sleep
	LowSince Unix   `json:"low_since,omitzero"` // since when its load is below Thresholds; 0 when it is not
	CPU      Ring   `json:"cpu"`                // percent of capacity x 10
	Mem      Ring   `json:"mem"`                // percent of capacity x 10

	// The last load that was read of it while it ran, believed or not, and since when
	// it is the same.
	LastMHz   int32 `json:"last_mhz,omitzero"`
	LastMiB   int32 `json:"last_mib,omitzero"`
	SameSince Unix  `json:"same_since,omitzero"`
	// What the hypervisor itself took then: what a host that sleeps will take once woken.
	OwnMHz int32 `json:"own_mhz,omitzero"`
	OwnMiB int32 `json:"own_mib,omitzero"`
}

// VMHistory is what is remembered of one VM.
type VMHistory struct {
	ID        VMID   `json:"id"`
	MovedAt   Unix   `json:"moved_at,omitzero"` // end of the last move by us
	Moves     int32  `json:"moves,omitzero"`    // by us, in all
	LeftHost  HostID `json:"left_host,omitzero"`
	LeftSite  SiteID `json:"left_site,omitzero"` // for A to B to A
	Returns   int32  `json:"returns,omitzero"`   // in a row, each soon after the move that it undid, whoever moved it back
	FailedAt  Unix   `json:"failed_at,omitzero"`
	Failures  int32  `json:"failures,omitzero"`   // in a row
	SeenOn    HostID `json:"seen_on,omitzero"`    // where it stood when it was last seen
	ForeignAt Unix   `json:"foreign_at,omitzero"` // when somebody else was last seen to have moved it
	CPU       Ring   `json:"cpu"`                 // MHz
	Peak      int32  `json:"peak,omitzero"`       // highest of late, MHz: what was a day ago counts an eighth less
}

// A Spend is one started action, for budgets by hour and day.
type Spend struct {
	At     Unix       `json:"at"`
	Kind   ActionKind `json:"kind"`
	Site   SiteID     `json:"site"`
	Demand bool       `json:"demand,omitempty"` // for an evacuation or maintenance
}

// History is what one cycle hands to the next. It is journaled, and read back at start.
type History struct {
	At    Unix          `json:"at"`
	Hosts []HostHistory `json:"hosts"` // sorted by ID
	VMs   []VMHistory   `json:"vms"`   // sorted by ID
	// Clusters are how the loads of clusters rise, sorted by ID.
	Clusters []ClusterHistory `json:"clusters,omitempty"`
	Spent    []Spend          `json:"spent,omitempty"`
	Census   []Census         `json:"census,omitempty"` // by vCenter: see Believe
	Cycles   uint64           `json:"cycles"`
	// Quarantine is what a person must look at, sorted by kind and ID. It does
	// not age, and stays while its subject is out of sight.
	Quarantine []Quarantine `json:"quarantine,omitempty"`
	// Stops are the places where a person in vCenter has said stop, sorted likewise.
	Stops []Stop    `json:"stops,omitempty"`
	Rails RailState `json:"rails,omitzero"` // what the rails remember
	// Fits are how long moves really take, sorted by what they are about.
	Fits []MoveFit `json:"fits,omitempty"`
	// Flows are what the moves under way have had of interfaces and links, sorted by action.
	Flows []Flow `json:"flows,omitempty"`
}

// Host returns what is remembered of the host, or an empty memory.
func (h *History) Host(id HostID) HostHistory {
	if i, ok := find(h.Hosts, id, func(x *HostHistory) HostID { return x.ID }); ok {
		return h.Hosts[i]
	}
	return HostHistory{ID: id}
}

// VM returns what is remembered of the VM, or an empty memory.
func (h *History) VM(id VMID) VMHistory {
	if i, ok := find(h.VMs, id, func(x *VMHistory) VMID { return x.ID }); ok {
		return h.VMs[i]
	}
	return VMHistory{ID: id}
}

// Read notes what each host that runs shows in s, before any of it is disbelieved:
// whether a feed stands still is told by all that it says. It returns a new History
// and leaves h alone.
func (h *History) Read(s *Snapshot) *History {
	out := *h
	out.Hosts = mergeBy(h.Hosts, len(s.Hosts), func(i int) HostID { return s.Hosts[i].ID }, func(x *HostHistory) HostID { return x.ID },
		func(*HostHistory) bool { return true }) // for Fold to forget
	for i := range out.Hosts {
		x := &out.Hosts[i]
		j, ok := s.FindHost(x.ID)
		if !ok || !s.Hosts[j].reads() {
			continue
		}
		if now := &s.Hosts[j]; x.SameSince == 0 || x.LastMHz != now.UsedMHz || x.LastMiB != now.UsedMiB {
			x.LastMHz, x.LastMiB, x.SameSince = now.UsedMHz, now.UsedMiB, s.At
		}
	}
	return &out
}

// day is in seconds.
const day = 86_400

// Thresholds are what counts as low load, percent of capacity.
type Thresholds struct {
	CPUPct int32 `json:"cpu_pct"`
	MemPct int32 `json:"mem_pct"`
}

// Fold carries history over one observation: the snapshot, and the actions that
// ended since the last one. It is pure: it returns a new History and leaves h alone.
// What is not in the snapshot is forgotten a day after it was last seen, or acted
// on, since a vCenter may be out of sight for a while.
func Fold(h *History, s *Snapshot, ended []ActionRecord, low Thresholds) *History {
	at := s.At
	out := &History{At: at, Cycles: h.Cycles + 1, Census: h.Census, Quarantine: slices.Clone(h.Quarantine), Stops: h.Stops, Rails: h.Rails, Fits: slices.Clone(h.Fits), Flows: h.Flows, Hosts: make([]HostHistory, 0, len(s.Hosts)), VMs: make([]VMHistory, 0, len(s.VMs))}
	for _, sp := range h.Spent {
		if at-sp.At < day {
			out.Spent = append(out.Spent, sp)
		}
	}
	out.Hosts = mergeBy(h.Hosts, len(s.Hosts), func(i int) HostID { return s.Hosts[i].ID }, func(x *HostHistory) HostID { return x.ID },
		func(x *HostHistory) bool { return x.Own != OwnNothing || at-x.ChangeAt < day || x.CPU.after(at-day) })
	for i := range out.Hosts {
		if j, ok := s.FindHost(out.Hosts[i].ID); ok {
			foldHost(&out.Hosts[i], s, j, low)
		}
	}
	out.VMs = mergeBy(h.VMs, len(s.VMs), func(i int) VMID { return s.VMs[i].ID }, func(x *VMHistory) VMID { return x.ID },
		func(x *VMHistory) bool { return at-x.MovedAt < day || at-x.FailedAt < day || x.CPU.after(at-day) })
	j := 0
	for i := range out.VMs {
		for j < len(s.VMs) && s.VMs[j].ID < out.VMs[i].ID {
			j++
		}
		if j < len(s.VMs) && s.VMs[j].ID == out.VMs[i].ID {
			out.VMs[i].fold(&s.VMs[j], at, int64(at)/day-int64(h.At)/day)
		}
	}
	out.foldClusters(h, s)
	for i := range ended {
		out.apply(&ended[i])
	}
	return out
}

// mergeBy joins the old memories with the n current IDs, both ascending: every
// current ID has a memory, and old ones stay where keep says so.
func mergeBy[T any, K cmp.Ordered](old []T, n int, id func(int) K, key func(*T) K, keep func(*T) bool) []T {
	out := make([]T, 0, max(n, len(old)))
	i, j := 0, 0
	for i < len(old) || j < n {
		switch {
		case j == n || (i < len(old) && key(&old[i]) < id(j)):
			if keep(&old[i]) {
				out = append(out, old[i])
			}
			i++
		case i < len(old) && key(&old[i]) == id(j):
			out = append(out, old[i])
			i++
			j++
		default:
			var t T
			setID(&t, id(j))
			out = append(out, t)
			j++
		}
	}
	return out
}

func setID(t, id any) {
	switch x := t.(type) {
	case *HostHistory:
		x.ID, _ = id.(HostID)
	case *VMHistory:
		x.ID, _ = id.(VMID)
	case *ClusterHistory:
		x.ID, _ = id.(ClusterID)
	}
}

// ownGrace is for how long after an action of ours a host may still be listed as
// it was before: longer than inventories lag.
const ownGrace = 600

// disowned reports whether somebody else has undone what this daemon did to the
// host: whatever is done to it next is not ours, though our mark may still be there.
func disowned(x *HostHistory, h *Host, at Unix) bool {
	if h.Power != HostOn || !h.Connected || at-x.ChangeAt < ownGrace {
		return false
	}
	return x.Own == OwnStandby || (x.Own == OwnMaintenance && h.Ready())
}

// fold adds the VM's demand. Of one that runs and whose load is not seen or not
// believed, the last hour that was is kept: it takes something, and not nothing.
func (x *VMHistory) fold(v *VM, at Unix, days int64) {
	for ; days > 0 && x.Peak > 0; days-- {
		x.Peak -= (x.Peak + 7) / 8
	}
	switch {
	case v.Power != VMOn:
		x.CPU.Add(at, Unknown)
	case v.UsedMHz != Unknown:
		x.CPU.Add(at, v.UsedMHz)
		x.Peak = max(x.Peak, x.CPU.current())
	}
}

func foldHost(x *HostHistory, s *Snapshot, i int32, low Thresholds) {
	h, at := &s.Hosts[i], s.At
	if h.reads() {
		x.OwnMHz, x.OwnMiB = overhead(s, i)
	}
	if disowned(x, h, at) {
		x.Own = OwnNothing
	}
	if h.Power != HostOn || !h.Seen() || h.CPUMHz <= 0 || h.MemoryMiB <= 0 {
		x.LowSince = 0
		x.CPU.Add(at, Unknown)
		x.Mem.Add(at, Unknown)
		return
	}
	cpu := int32(int64(h.UsedMHz) * 1000 / int64(h.CPUMHz))
	mem := int32(int64(h.UsedMiB) * 1000 / int64(h.MemoryMiB))
	x.CPU.Add(at, cpu)
	x.Mem.Add(at, mem)
	if cpu >= low.CPUPct*10 || mem >= low.MemPct*10 {
		x.LowSince = 0
	} else if x.LowSince == 0 {
		x.LowSince = at
	}
}

// LowFor is for how many seconds the host's load has been low, rounded down to a minute.
func (x HostHistory) LowFor(now Unix) int64 {
	if x.LowSince == 0 || now < x.LowSince {
		return 0
	}
	return int64(now-x.LowSince) / 60 * 60
}

func (h *History) apply(r *ActionRecord) {
	a := &r.Action
	if r.State == StateLost {
		h.quarantine(r)
	}
	if r.State == StateSucceeded || r.State == StateFailed || r.State == StateLost {
		h.Spent = append(h.Spent, Spend{At: r.Started, Kind: a.Kind, Site: a.From.Site, Demand: a.Demand.Kind != ""})
	}
	if a.Kind == Move {
		i, ok := find(h.VMs, a.VM, func(x *VMHistory) VMID { return x.ID })
		if !ok {
			return
		}
		x := &h.VMs[i]
		switch r.State {
		case StateSucceeded:
			x.noteMove(a, r.Ended)
			x.MovedAt, x.LeftHost, x.LeftSite, x.Failures = r.Ended, a.From.Host, a.From.Site, 0
			x.Moves++
		case StateFailed, StateRejected, StateLost:
			x.FailedAt = r.Ended
			x.Failures++
		case StateIntent, StateStarted, StateStale:
		}
		return
	}
	i, ok := find(h.Hosts, a.From.Host, func(x *HostHistory) HostID { return x.ID })
	if !ok {
		return
	}
	x := &h.Hosts[i]
	switch r.State {
	case StateSucceeded:
		if a.Kind == Wakeup && x.Own == OwnStandby {
			x.Returns = again(x.Returns, int64(r.Ended-x.ChangeAt), soonAwake)
		}
		x.ChangeAt = r.Ended
		switch a.Kind {
		case Standby:
			x.Own = OwnStandby
		case EnterMaintenance:
			x.Own = OwnMaintenance
		case Wakeup, ExitMaintenance:
			x.Own = OwnNothing
		case Move:
		}
	case StateFailed, StateRejected, StateLost:
		x.FailedAt = r.Ended
	case StateIntent, StateStarted, StateStale:
	}
}
