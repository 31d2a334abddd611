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
	host []int32
	nic  []int32
	ds   []int32
	vc   []int32
	link []int32 // by index in Snapshot.Links
	acts []int32 // host actions by cluster
}

// NewSlots returns empty slots over the hosts, datastores and links of s.
func NewSlots(l Limits, s *Snapshot) *Slots {
	return &Slots{
		l: l, s: s, host: make([]int32, len(s.Hosts)), nic: make([]int32, len(s.Hosts)), ds: make([]int32, len(s.Datastores)),
		vc: make([]int32, len(s.VCenters)), link: make([]int32, len(s.Links)), acts: make([]int32, len(s.Clusters)),
	}
}

// Fits reports whether the action can start beside what is already taken. What
// the snapshot does not know (a host that left it) binds nothing.
func (t *Slots) Fits(a *Action) bool {
	fits := true
	t.each(a, func(used *int32, cost, capacity int32) {
		fits = fits && *used+cost <= capacity
	})
	return fits
}

// Take occupies the action's slots. Whether it fits is the caller's business.
func (t *Slots) Take(a *Action) {
	t.each(a, func(used *int32, cost, _ int32) { *used += cost })
}

// Release frees what Take took.
func (t *Slots) Release(a *Action) {
	t.each(a, func(used *int32, cost, _ int32) { *used -= cost })
}

// Visit calls f once for every counter that the action occupies, in a fixed
// order: the counter itself, which stays the same for the life of t, what the
// action takes of it, and its capacity. It is for those who ask about one action
// many times and would look its objects up but once.
func (t *Slots) Visit(a *Action, f func(used *int32, cost, capacity int32)) { t.each(a, f) }

// each calls f once for every counter that the action occupies.
func (t *Slots) each(a *Action, f func(used *int32, cost, capacity int32)) {
	if a.Kind != Move {
		if c, ok := t.s.FindCluster(a.From.Cluster); ok {
			f(&t.acts[c], 1, t.l.HostActionsPerCluster)
		}
		return
	}
	cost := t.l.Cost[a.Class()]
	ends := [2]HostID{a.From.Host, a.To.Host}
	if ends[0] == ends[1] {
		ends[1] = ""
	}
	for _, id := range ends {
		h, ok := t.s.FindHost(id)
		if !ok {
			continue
		}
		f(&t.host[h], cost.Host, t.l.HostUnits)
		if cost.NIC > 0 {
			units := t.l.NICUnitsSlow
			if t.s.Hosts[h].NICMbps >= 10_000 {
				units = t.l.NICUnitsFast
			}
			f(&t.nic[h], cost.NIC, units)
		}
	}
	t.eachDatastore(a, func(d int32) { f(&t.ds[d], cost.Datastore, t.l.DatastoreUnits) })
	if v, ok := t.s.FindVCenter(a.From.VCenter); ok {
		f(&t.vc[v], 1, t.l.VCenterUnits)
	}
	if a.Across {
		if v, ok := t.s.FindVCenter(a.To.VCenter); ok {
			f(&t.vc[v], 1, t.l.VCenterUnits)
		}
	}
	if i, ok := t.linkOf(a); ok {
		f(&t.link[i], 1, LinkMoves(t.l, &t.s.Links[i]))
	}
}

// eachDatastore visits each datastore that the move touches, once.
func (t *Slots) eachDatastore(a *Action, f func(int32)) {
	var seen [16]int32
	n := 0
	visit := func(id DatastoreID) {
		d, ok := t.s.FindDatastore(id)
		if !ok {
			return
		}
		if slices.Contains(seen[:n], d) {
			return
		}
		if n < len(seen) {
			seen[n] = d
			n++
		}
		f(d)
	}
	if !a.Storage {
		if v, ok := t.s.FindVM(a.VM); ok && t.s.VMs[v].Home >= 0 {
			visit(t.s.Datastores[t.s.VMs[v].Home].ID)
		}
		return
	}
	visit(a.HomeTo)
	for _, d := range a.Disks {
		visit(d.From)
		visit(d.To)
	}
}

func (t *Slots) linkOf(a *Action) (int32, bool) {
	from, ok1 := t.s.FindSite(a.From.Site)
	to, ok2 := t.s.FindSite(a.To.Site)
	if !ok1 || !ok2 {
		return None, false
	}
	i := t.s.linkIndex(from, to)
	return i, i >= 0
}

// LinkMoves is how many moves at once a link carries: as many as each get
// Limits.MinMbpsPerMove, at most PerLink.
func LinkMoves(l Limits, k *Link) int32 {
	if k.Mbps == Unknown {
		return 0
	}
	return min(k.Mbps/l.MinMbpsPerMove, l.PerLink)
}
