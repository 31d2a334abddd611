package engine

import (
	"fmt"
	"slices"
	"sync"
)

// A Snapshot is the merged fleet at one moment. It never changes once built, so
// planner, policy and journal may all hold on to the same one.
//
// Every slice is sorted by ID (links by A then B; rules by cluster then name),
// and references are indices into these slices.
type Snapshot struct {
	At         Unix        `json:"at"` // when the oldest topology in it was read
	Sites      []Site      `json:"sites"`
	VCenters   []VCenter   `json:"vcenters"`
	Clusters   []Cluster   `json:"clusters"`
	Hosts      []Host      `json:"hosts"`
	Datastores []Datastore `json:"datastores"`
	Networks   []Network   `json:"networks"`
	VMs        []VM        `json:"vms"`
	Links      []Link      `json:"links"`
	Rules      []Rule      `json:"rules,omitempty"`
	Hazards    []Hazard    `json:"hazards,omitempty"`
	Alerts     []Alert     `json:"alerts,omitempty"`
	Gaps       []Gap       `json:"gaps,omitempty"`

	once    sync.Once
	index   index
	follows *following // nil where nothing is known of the snapshot before
}

// index holds what is asked of a snapshot again and again.
type index struct {
	hostStart    []int32 // VMs of host h are hostVMs[hostStart[h]:hostStart[h+1]]
	hostVMs      []int32
	clusterStart []int32
	clusterHosts []int32
	link         []int32 // by a*sites+b
}

func (s *Snapshot) idx() *index {
	s.once.Do(func() {
		x := &s.index
		x.hostStart, x.hostVMs = group(len(s.Hosts), len(s.VMs), func(i int32) int32 { return s.VMs[i].Host })
		x.clusterStart, x.clusterHosts = group(len(s.Clusters), len(s.Hosts), func(i int32) int32 { return s.Hosts[i].Cluster })
		s.indexLinks()
	})
	return &s.index
}

func (s *Snapshot) indexLinks() {
	n := len(s.Sites)
	x := make([]int32, n*n)
	for i := range x {
		x[i] = None
	}
	for i, l := range s.Links {
		x[int(l.A)*n+int(l.B)] = int32(i)
		x[int(l.B)*n+int(l.A)] = int32(i)
	}
	s.index.link = x
}

// group sorts items 0..n-1 into buckets by key, keeping their order; items with
// key None are in no bucket.
func group(buckets, n int, key func(int32) int32) (start, items []int32) {
	start = make([]int32, buckets+1)
	for i := range int32(n) {
		if k := key(i); k >= 0 {
			start[k+1]++
		}
	}
	for b := range buckets {
		start[b+1] += start[b]
	}
	items = make([]int32, start[buckets])
	next := slices.Clone(start[:buckets])
	for i := range int32(n) {
		if k := key(i); k >= 0 {
			items[next[k]] = i
			next[k]++
		}
	}
	return start, items
}

// VMsOn lists the VMs whose host is h, ascending. The slice is shared: do not change it.
func (s *Snapshot) VMsOn(h int32) []int32 {
	x := s.idx()
	return x.hostVMs[x.hostStart[h]:x.hostStart[h+1]]
}

// HostsOf lists the hosts of cluster c, ascending. The slice is shared: do not change it.
func (s *Snapshot) HostsOf(c int32) []int32 {
	x := s.idx()
	return x.clusterHosts[x.clusterStart[c]:x.clusterStart[c+1]]
}

// Link returns what is known between two different sites.
func (s *Snapshot) Link(a, b int32) (*Link, bool) {
	i := s.linkIndex(a, b)
	if i < 0 {
		return nil, false
	}
	return &s.Links[i], true
}

func (s *Snapshot) linkIndex(a, b int32) int32 {
	if a < 0 || b < 0 || a == b {
		return None
	}
	return s.idx().link[int(a)*len(s.Sites)+int(b)]
}

// VMSite is the site where VM v runs, None when its host's is unknown.
func (s *Snapshot) VMSite(v int32) int32 {
	if h := s.VMs[v].Host; h >= 0 {
		return s.Hosts[h].Site
	}
	return None
}

// VMCluster is the cluster where VM v runs, or None.
func (s *Snapshot) VMCluster(v int32) int32 {
	if h := s.VMs[v].Host; h >= 0 {
		return s.Hosts[h].Cluster
	}
	return None
}

// ClusterSite is the one site of cluster c, or None when its hosts stand at several or at none.
func (s *Snapshot) ClusterSite(c int32) int32 {
	site := None
	for i, h := range s.HostsOf(c) {
		switch hs := s.Hosts[h].Site; {
		case i == 0:
			site = hs
		case hs != site:
			return None
		}
	}
	return site
}

// FindSite returns the index of the site with the ID.
func (s *Snapshot) FindSite(id SiteID) (int32, bool) {
	return find(s.Sites, id, func(t *Site) SiteID { return t.ID })
}

// FindVCenter returns the index of the vCenter with the ID.
func (s *Snapshot) FindVCenter(id VCenterID) (int32, bool) {
	return find(s.VCenters, id, func(t *VCenter) VCenterID { return t.ID })
}

// FindCluster returns the index of the cluster with the ID.
func (s *Snapshot) FindCluster(id ClusterID) (int32, bool) {
	return find(s.Clusters, id, func(t *Cluster) ClusterID { return t.ID })
}

// FindHost returns the index of the host with the ID.
func (s *Snapshot) FindHost(id HostID) (int32, bool) { return find(s.Hosts, id, hostID) }

// FindVM returns the index of the VM with the ID.
func (s *Snapshot) FindVM(id VMID) (int32, bool) { return find(s.VMs, id, vmID) }

// FindDatastore returns the index of the datastore with the ID.
func (s *Snapshot) FindDatastore(id DatastoreID) (int32, bool) {
	return find(s.Datastores, id, func(t *Datastore) DatastoreID { return t.ID })
}

// FindNetwork returns the index of the network with the ID.
func (s *Snapshot) FindNetwork(id NetworkID) (int32, bool) {
	return find(s.Networks, id, func(t *Network) NetworkID { return t.ID })
}

// NameOf is what people call a subject: its ID where it has no other name, or is not
// in the snapshot.
func (s *Snapshot) NameOf(x Subject) string {
	switch x.Kind {
	case "host":
		if i, ok := s.FindHost(HostID(x.ID)); ok {
			return s.Hosts[i].Name
		}
	case "cluster":
		if i, ok := s.FindCluster(ClusterID(x.ID)); ok {
			return s.Clusters[i].Name
		}
	case "vcenter":
		if i, ok := s.FindVCenter(VCenterID(x.ID)); ok {
			return s.VCenters[i].Name
		}
	case "datastore":
		if i, ok := s.FindDatastore(DatastoreID(x.ID)); ok {
			return s.Datastores[i].Name
		}
	case "vm":
		if i, ok := s.FindVM(VMID(x.ID)); ok {
			return s.VMs[i].Name
		}
	}
	return x.ID
}

func hostID(h *Host) HostID { return h.ID }
func vmID(v *VM) VMID       { return v.ID }

// find looks an ID up, and copies no element: they are large.
func find[T any, K ~string](items []T, id K, key func(*T) K) (int32, bool) {
	lo, hi := 0, len(items)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if key(&items[m]) < id {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(items) && key(&items[lo]) == id {
		return int32(lo), true
	}
	return None, false
}

// Validate reports the first reference out of range or slice out of order: a
// bug in the code that built the snapshot.
func (s *Snapshot) Validate() error {
	if len(s.Sites) > MaxSites {
		return fmt.Errorf("%d sites, at most %d", len(s.Sites), MaxSites)
	}
	ok := func(i int32, n int) bool { return i >= None && int(i) < n }
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if i > 0 && s.Hosts[i-1].ID >= h.ID {
			return fmt.Errorf("hosts: %s is out of order or seen twice", h.ID)
		}
		if !ok(h.Cluster, len(s.Clusters)) || h.Cluster < 0 || !ok(h.Site, len(s.Sites)) || !ok(h.VCenter, len(s.VCenters)) {
			return fmt.Errorf("host %s: reference out of range", h.ID)
		}
		for _, d := range h.Datastores {
			if !ok(d, len(s.Datastores)) {
				return fmt.Errorf("host %s: datastore out of range", h.ID)
			}
		}
		for _, n := range h.Networks {
			if !ok(n, len(s.Networks)) {
				return fmt.Errorf("host %s: network out of range", h.ID)
			}
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		if i > 0 && s.VMs[i-1].ID >= v.ID {
			return fmt.Errorf("vms: %s is out of order or seen twice", v.ID)
		}
		if !ok(v.Host, len(s.Hosts)) || !ok(v.Home, len(s.Datastores)) || !ok(v.VCenter, len(s.VCenters)) {
			return fmt.Errorf("vm %s: reference out of range", v.ID)
		}
		for _, d := range v.Disks {
			if !ok(d.Datastore, len(s.Datastores)) {
				return fmt.Errorf("vm %s: disk datastore out of range", v.ID)
			}
		}
		for _, n := range v.NICs {
			if !ok(n.Network, len(s.Networks)) {
				return fmt.Errorf("vm %s: network out of range", v.ID)
			}
		}
	}
	for i, l := range s.Links {
		if l.A < 0 || l.B <= l.A || int(l.B) >= len(s.Sites) {
			return fmt.Errorf("link %d: sites %d and %d", i, l.A, l.B)
		}
	}
	for _, r := range s.Rules {
		for _, v := range r.VMs {
			if v < 0 || int(v) >= len(s.VMs) {
				return fmt.Errorf("rule %s: vm out of range", r.Name)
			}
		}
		for _, h := range r.Hosts {
			if h < 0 || int(h) >= len(s.Hosts) {
				return fmt.Errorf("rule %s: host out of range", r.Name)
			}
		}
	}
	return nil
}
