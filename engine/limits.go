package engine

import "slices"

// Limits are the platform's numbers, as data with their sources, so that a
// release of vSphere is a new table and not new code.
type Limits struct {
	Version int `json:"version"`

	// Units that one host, NIC, datastore and vCenter can carry at once.
	// Source: vSphere, "Limits on Simultaneous Migrations".
	HostUnits      int32 `json:"host_units"`
	NICUnitsSlow   int32 `json:"nic_units_slow"` // below 10 Gbit/s
	NICUnitsFast   int32 `json:"nic_units_fast"` // from 10 Gbit/s
	DatastoreUnits int32 `json:"datastore_units"`
	VCenterUnits   int32 `json:"vcenter_units"`

	// Cost in those units by class of move. Same source.
	Cost [moveClasses]SlotCost `json:"cost"`

	// MaxRTTMicros is the longest round trip over which a live move is
	// supported: 150 ms. Source: vSphere 6.0 and later, long-distance vMotion.
	MaxRTTMicros int32 `json:"max_rtt_us"`
	// MinMbpsPerMove is the bandwidth to be dedicated to each concurrent move:
	// 250 Mbit/s. Source: vSphere, networking requirements of vMotion.
	MinMbpsPerMove int32 `json:"min_mbps_per_move"`
	// PerLink bounds concurrent moves over one link whatever its bandwidth.
	PerLink int32 `json:"per_link"`
	// MaxStandby and MaxMaintenance bound concurrent host actions per cluster.
	HostActionsPerCluster int32 `json:"host_actions_per_cluster"`
}

// MoveClass sorts moves by what they occupy.
type MoveClass uint8

// The classes.
const (
	ClassVMotion MoveClass = iota // shared storage: memory only
	ClassStorage                  // disks only, same host
	ClassBoth                     // memory and disks: shared-nothing and all cross-site moves
	ClassCold                     // powered off
	moveClasses
)

// A SlotCost is how many units a move of a class takes at each end.
type SlotCost struct {
	Host      int32 `json:"host"`
	NIC       int32 `json:"nic"`
	Datastore int32 `json:"datastore"`
}

// DefaultLimits returns the table for vSphere 7.0 and 8.0.
func DefaultLimits() Limits {
	return Limits{
		Version: 1, HostUnits: 8, NICUnitsSlow: 4, NICUnitsFast: 8, DatastoreUnits: 128, VCenterUnits: 640,
		Cost: [moveClasses]SlotCost{
			ClassVMotion: {Host: 1, NIC: 1, Datastore: 1},
			ClassStorage: {Host: 4, Datastore: 16},
			ClassBoth:    {Host: 4, NIC: 1, Datastore: 16},
			ClassCold:    {Host: 1, Datastore: 16},
		},
		MaxRTTMicros: 150_000, MinMbpsPerMove: 250, PerLink: 16, HostActionsPerCluster: 2,
	}
}

// Class tells what the action occupies. Only moves have a class.
func (a *Action) Class() MoveClass {
	switch {
	case a.Cold:
		return ClassCold
	case a.Storage && a.From.Host == a.To.Host:
		return ClassStorage
	case a.Storage:
		return ClassBoth
	default:
		return ClassVMotion
	}
}

// Slots counts what open actions occupy. The zero value is not usable: see [NewSlots].
type Slots struct {
	l    Limits
	s    *Snapshot
	used []int32 // nil as long as nothing was taken
	// Where in used the counters of a kind start; those of hosts are at 0.
	nic, ds, vc, link int32 // links by index in Snapshot.Links
	acts              int32 // host actions by cluster
}

// NewSlots returns empty slots over the hosts, datastores and links of s.
func NewSlots(l Limits, s *Snapshot) *Slots {
	t := &Slots{l: l, s: s, nic: int32(len(s.Hosts))}
	t.ds = t.nic + int32(len(s.Hosts))
	t.vc = t.ds + int32(len(s.Datastores))
	t.link = t.vc + int32(len(s.VCenters))
	t.acts = t.link + int32(len(s.Links))
	return t
}

// Fits reports whether the action can start beside what is already taken. What
// the snapshot does not know (a host that left it) binds nothing.
func (t *Slots) Fits(a *Action) bool {
	fits := true
	t.each(a, func(k, cost, capacity int32) {
		fits = fits && cost <= capacity && (t.used == nil || t.used[k] <= capacity-cost)
	})
	return fits
}

// Take occupies the action's slots. Whether it fits is the caller's business.
func (t *Slots) Take(a *Action) {
	if t.used == nil {
		t.used = make([]int32, t.Counters())
	}
	t.each(a, func(k, cost, _ int32) { t.used[k] += cost })
}

// Release frees what Take took.
func (t *Slots) Release(a *Action) {
	t.each(a, func(k, cost, _ int32) { t.used[k] -= cost })
}

// Visit calls f once for every counter that the action occupies, in a fixed
// order: the counter's number, below [Slots.Counters], what the action takes of it,
// and its capacity. It is for those who ask about one action many times and would
// look its objects up but once.
func (t *Slots) Visit(a *Action, f func(counter, cost, capacity int32)) { t.each(a, f) }

// VisitMove is Visit for a move whose VM and hosts were looked up before.
func (t *Slots) VisitMove(a *Action, v, from, to int32, f func(counter, cost, capacity int32)) {
	x, y := &t.s.Hosts[from], &t.s.Hosts[to]
	t.eachOfMove(a, v, [2]int32{from, to}, [2]int32{x.VCenter, y.VCenter}, t.s.linkIndex(x.Site, y.Site), f)
}

// Counters is how many counters there are.
func (t *Slots) Counters() int { return int(t.acts) + len(t.s.Clusters) }

// each calls f once for every counter that the action occupies.
func (t *Slots) each(a *Action, f func(counter, cost, capacity int32)) {
	if a.Kind != Move {
		if c, ok := t.s.FindCluster(a.From.Cluster); ok {
			f(t.acts+c, 1, t.l.HostActionsPerCluster)
		}
		return
	}
	v, _ := t.s.FindVM(a.VM)
	from, _ := t.s.FindHost(a.From.Host)
	to, _ := t.s.FindHost(a.To.Host)
	x, ok1 := t.s.FindSite(a.From.Site)
	y, ok2 := t.s.FindSite(a.To.Site)
	link := None
	if ok1 && ok2 {
		link = t.s.linkIndex(x, y)
	}
	here, _ := t.s.FindVCenter(a.From.VCenter)
	there, _ := t.s.FindVCenter(a.To.VCenter)
	t.eachOfMove(a, v, [2]int32{from, to}, [2]int32{here, there}, link, f)
}

// eachOfMove is each for a move whose objects were looked up; None for those that
// are not in the snapshot.
func (t *Slots) eachOfMove(a *Action, v int32, ends, vcenters [2]int32, link int32, f func(counter, cost, capacity int32)) {
	cost := t.l.Cost[a.Class()]
	if ends[0] == ends[1] {
		ends[1] = None
	}
	for _, h := range ends {
		if h < 0 {
			continue
		}
		f(h, cost.Host, t.l.HostUnits)
		if cost.NIC > 0 {
			units := t.l.NICUnitsSlow
			if t.s.Hosts[h].NICMbps >= 10_000 {
				units = t.l.NICUnitsFast
			}
			f(t.nic+h, cost.NIC, units)
		}
	}
	switch {
	case a.Storage:
		t.eachDatastore(a, func(d int32) { f(t.ds+d, cost.Datastore, t.l.DatastoreUnits) })
	case v >= 0 && t.s.VMs[v].Home >= 0:
		f(t.ds+t.s.VMs[v].Home, cost.Datastore, t.l.DatastoreUnits)
	}
	for k, c := range vcenters {
		if c >= 0 && (k == 0 || a.Across) {
			f(t.vc+c, 1, t.l.VCenterUnits)
		}
	}
	if link >= 0 {
		f(t.link+link, 1, LinkMoves(t.l, &t.s.Links[link]))
	}
}

// eachDatastore visits each datastore that a move with storage touches, once.
func (t *Slots) eachDatastore(a *Action, f func(int32)) {
	var seen [16]int32
	n := 0
	visit := func(id DatastoreID) {
		d, ok := t.s.FindDatastore(id)
		if !ok || slices.Contains(seen[:n], d) {
			return
		}
		if n < len(seen) {
			seen[n] = d
			n++
		}
		f(d)
	}
	visit(a.HomeTo)
	for _, d := range a.Disks {
		visit(d.From)
		visit(d.To)
	}
}

// LinkMoves is how many moves at once a link carries: as many as each get
// Limits.MinMbpsPerMove, at most PerLink.
func LinkMoves(l Limits, k *Link) int32 {
	if k.Mbps == Unknown {
		return 0
	}
	return min(k.Mbps/l.MinMbpsPerMove, l.PerLink)
}
