package engine

import (
	"math"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// Changes are what differs between a snapshot and the one before it.
type Changes struct {
	// Shape says that there are other hosts or VMs, or that something is configured
	// otherwise that is neither: then nothing else is told.
	Shape bool
	// VMs and Hosts are those that differ in more than in when their load was read,
	// ascending.
	VMs, Hosts []int32
	// Moved says that some VMs are on other hosts.
	Moved bool
	// When the oldest load was read, of what is on and seen; [NoReading] for none.
	OldestVM, OldestHost Unix
}

// NoReading is later than any.
const NoReading Unix = math.MaxInt64

// A following is what a snapshot knows of the one before, which it does not keep.
type following struct {
	old     weak.Pointer[Snapshot]
	changes Changes
}

// Follow compares the snapshot with the one before, for those who keep what they
// made of that: see [Snapshot.Since]. It is for who assembles the snapshot, before
// anybody else has it.
func (s *Snapshot) Follow(old *Snapshot) {
	c := s.compare(old)
	if !c.Shape && !c.Moved {
		x := old.idx()
		s.once.Do(func() {
			s.index = index{hostStart: x.hostStart, hostVMs: x.hostVMs, clusterStart: x.clusterStart, clusterHosts: x.clusterHosts}
			s.indexLinks()
		})
	}
	s.idx()
	s.follows = &following{weak.Make(old), c}
}

// Since is what differs from the snapshot before; nil where old is not that one.
func (s *Snapshot) Since(old *Snapshot) *Changes {
	if s.follows == nil || old == nil || s.follows.old.Value() != old {
		return nil
	}
	return &s.follows.changes
}

func (s *Snapshot) compare(old *Snapshot) Changes {
	if len(s.VMs) != len(old.VMs) || len(s.Hosts) != len(old.Hosts) || len(s.Sites) != len(old.Sites) || !slices.Equal(s.Networks, old.Networks) ||
		!reflect.DeepEqual(s.VCenters, old.VCenters) || !reflect.DeepEqual(s.Clusters, old.Clusters) || !reflect.DeepEqual(s.Rules, old.Rules) ||
		!slices.EqualFunc(s.Sites, old.Sites, func(x, y Site) bool { return x.ID == y.ID }) || !slices.EqualFunc(s.Datastores, old.Datastores, sameDatastore) {
		return Changes{Shape: true}
	}
	const part = 4096
	parts := make([]Changes, (max(len(s.VMs), len(s.Hosts))+part-1)/part)
	var wg sync.WaitGroup
	lanes := min(runtime.GOMAXPROCS(0), max(len(parts), 1))
	for lane := range lanes {
		wg.Go(func() {
			for k := lane; k < len(parts); k += lanes {
				parts[k] = s.comparePart(old, k*part, (k+1)*part)
			}
		})
	}
	wg.Wait()
	c := Changes{OldestVM: NoReading, OldestHost: NoReading}
	for i := range parts {
		x := &parts[i]
		c.Shape, c.Moved = c.Shape || x.Shape, c.Moved || x.Moved
		c.VMs, c.Hosts = append(c.VMs, x.VMs...), append(c.Hosts, x.Hosts...)
		c.OldestVM, c.OldestHost = min(c.OldestVM, x.OldestVM), min(c.OldestHost, x.OldestHost)
	}
	if c.Shape {
		return Changes{Shape: true}
	}
	return c
}

func (s *Snapshot) comparePart(old *Snapshot, lo, hi int) Changes {
	c := Changes{OldestVM: NoReading, OldestHost: NoReading}
	for i := lo; i < min(hi, len(s.VMs)); i++ {
		x, y := &s.VMs[i], &old.VMs[i]
		if x.ID != y.ID {
			return Changes{Shape: true}
		}
		if !sameVM(x, y) {
			c.VMs = append(c.VMs, int32(i))
		}
		c.Moved = c.Moved || x.Host != y.Host
		if x.Power == VMOn && x.Seen() {
			c.OldestVM = min(c.OldestVM, x.LoadAt)
		}
	}
	for i := lo; i < min(hi, len(s.Hosts)); i++ {
		x, y := &s.Hosts[i], &old.Hosts[i]
		if x.ID != y.ID || x.Cluster != y.Cluster || x.VCenter != y.VCenter {
			return Changes{Shape: true}
		}
		if !sameHost(x, y) {
			c.Hosts = append(c.Hosts, int32(i))
		}
		if x.Power == HostOn && x.Seen() {
			c.OldestHost = min(c.OldestHost, x.LoadAt)
		}
	}
	return c
}

func sameDatastore(x, y Datastore) bool {
	x.FreeMiB = y.FreeMiB
	return x == y
}

func sameVM(x, y *VM) bool {
	return x.UsedMHz == y.UsedMHz && x.UsedMiB == y.UsedMiB && x.ActiveMiB == y.ActiveMiB && x.DirtyMbps == y.DirtyMbps &&
		x.ID == y.ID && x.Name == y.Name && x.Moid == y.Moid && x.VCenter == y.VCenter && x.Host == y.Host && x.Folder == y.Folder && x.Pool == y.Pool && x.Path == y.Path &&
		x.Power == y.Power && x.Template == y.Template && x.VCPUs == y.VCPUs && x.MemoryMiB == y.MemoryMiB && x.ReserveMHz == y.ReserveMHz && x.ReserveMiB == y.ReserveMiB &&
		x.Home == y.Home && x.ManagedBy == y.ManagedBy && x.ProtectedBy == y.ProtectedBy && x.HWVersion == y.HWVersion && x.Mode == y.Mode && x.Across == y.Across &&
		x.DRSOwn == y.DRSOwn && x.EVC == y.EVC && x.Obstacles == y.Obstacles && x.Task == y.Task &&
		sameSlice(x.Disks, y.Disks) && sameSlice(x.NICs, y.NICs) && sameSlice(x.Tags, y.Tags) && sameSlice(x.Attributes, y.Attributes)
}

func sameHost(x, y *Host) bool {
	return x.UsedMHz == y.UsedMHz && x.UsedMiB == y.UsedMiB && x.PowerW == y.PowerW &&
		x.ID == y.ID && x.Name == y.Name && x.VCenter == y.VCenter && x.Cluster == y.Cluster && x.Site == y.Site && x.Power == y.Power && x.Connected == y.Connected &&
		x.Maintenance == y.Maintenance && x.Mark == y.Mark && x.CPUMHz == y.CPUMHz && x.Cores == y.Cores && x.Threads == y.Threads && x.MemoryMiB == y.MemoryMiB &&
		x.CPUModel == y.CPUModel && x.EVCMax == y.EVCMax && x.IdleW == y.IdleW && x.MaxW == y.MaxW && x.VMotion == y.VMotion && x.NICMbps == y.NICMbps &&
		x.Standby == y.Standby && x.USB == y.USB && x.VSANData == y.VSANData && x.Tasks == y.Tasks && x.Entering == y.Entering &&
		sameSlice(x.Datastores, y.Datastores) && sameSlice(x.Networks, y.Networks)
}

// sameSlice compares two slices, at a look where they are one.
func sameSlice[T comparable](x, y []T) bool {
	return len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0] || slices.Equal(x, y))
}
