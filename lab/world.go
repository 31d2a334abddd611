package lab

import "time"

// A World is the lab's ground truth at one moment, in the lab's own words: what
// the observer judges by. It is a copy; slices are in a fixed order, and sites,
// clusters, hosts and datastores keep their indices from one World to the next.
// A VM that is between two vCenters is listed once or twice, as each lists it.
type World struct {
	Now        time.Time
	Sites      []WorldSite
	Clusters   []WorldCluster
	Hosts      []WorldHost
	Datastores []WorldDatastore
	VMs        []WorldVM
	Links      []WorldLink
	Rules      []WorldRule
	Moves      []WorldMove // in flight (not those that wait for a slot), and those that ended since the last World
}

// WorldSite is one place on earth.
type WorldSite struct {
	Name       string
	Region     string // what a tag residency:<region> of a VM must equal, such as "eu"
	PUE        float64
	EURPerKWh  float64
	GramPerKWh float64
}

// WorldCluster is one cluster.
type WorldCluster struct {
	Name     string // unique in the lab
	Site     int
	DRS      string // off, manual, partial, full
	VSAN     bool
	Failover int // host failures that its HA policy keeps room for; 0 without admission control
}

// WorldHost is one host.
type WorldHost struct {
	Name        string
	Moid        string
	VCenter     string // instance UUID
	Site        int
	Cluster     int
	On          bool // powered on and connected
	Standby     bool
	Maintenance bool
	VSANData    bool
	MHz         int64
	MiB         int64
	Threads     int
	VMotion     bool
	Watts       float64 // now, at the host
	IdleW       float64 // its power curve, straight from idle to full load: the meter
	MaxW        float64 // computes by it what the host would draw had nothing been moved
	Datastores  []int
	Segments    []string // L2 segments reachable
	CPULevel    int      // generation of its CPU; EVC levels compare with it
}

// WorldDatastore is one datastore.
type WorldDatastore struct {
	Name    string
	Moid    string
	VCenter string
	MiB     int64
	FreeMiB int64 // reservations by moves in flight are taken off
	Shared  bool
	Holds   []string // site names where its data survives
}

// WorldVM is one VM.
type WorldVM struct {
	UUID       string // instance UUID
	Name       string
	VCenter    string
	Host       int
	On         bool
	Template   bool
	VCPUs      int
	MHz        int64 // demand now
	MiB        int64 // consumed
	Configured int64 // MiB
	ReserveMiB int64
	DiskMiB    int64 // allocated over all disks
	Datastores []int
	Segments   []string // L2 segments its cards need
	MACs       []string
	DirtyMbps  float64
	Fixtures   []string // names of the fixtures that bind it: see FixtureNames; an agent of its cluster has "agent"
	Tags       []string // "category:name"
	CPULevel   int      // CPU generation that the running guest has seen
}

// WorldLink is what lies between two sites.
type WorldLink struct {
	A, B int
	RTT  time.Duration
	Mbps float64
}

// WorldRule is a DRS rule.
type WorldRule struct {
	Cluster   int
	Name      string
	Kind      string // together, apart, on, not_on
	Mandatory bool
	VMs       []int
	Hosts     []int
}

// WorldMove is a move in flight, or one that has just ended.
type WorldMove struct {
	VM       string // instance UUID
	From, To int    // hosts
	Storage  bool   // disks go along
	Across   bool   // between vCenters
	Started  time.Time
	Ended    time.Time // zero while in flight
	Done     bool      // ended well
	MemMiB   float64   // sent
	DiskMiB  float64   // sent
	Stun     time.Duration
	WAN      bool // over a link between sites
	Target   int  // destination datastore, -1 without storage
}
