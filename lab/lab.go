package lab

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A Lab is several simulated vCenters and the hosts, networks and links under
// them. Build one with [New] or [Load], then [Lab.Serve] or [Lab.ServePipe] it.
type Lab struct {
	cfg   Config
	clock *Clock
	slots Slots

	// sem is the lock of everything below: held by whoever is in the channel. It
	// is a channel, not a mutex, so that waiting for it lets a bubble's time go on.
	sem chan struct{}

	vcs      []*vcenter
	sites    []WorldSite
	clusters []*cluster
	hosts    []*host
	stores   []*store
	machines []*machine
	guests   int // machines[:guests] are ordinary VMs, the rest are agents
	links    []link

	moves  []*move // queued and running, in order of submission
	ended  []WorldMove
	ops    []*hostOp
	agenda []appointment
	seq    int64
	now    time.Time // up to which the lab has been played
	tick   time.Time // next minute
	report time.Time // next progress report
	tasks  []endedTask
	// kick wakes the player after something new was submitted.
	kick chan struct{}

	dialers sync.WaitGroup
	stop    []func()
	// faults may be nil; see SetFaults.
	faults    func(Call) Fault
	incidents []*incident // in order of giving
	rng       *rand.Rand  // of incidents
}

// A vcenter is one simulated vCenter.
type vcenter struct {
	lab      *Lab
	name     string
	site     int
	uuid     string
	svc      *simulator.Service
	mux      http.Handler
	identity identity
	url      string
	control  *control
	hub      hub
	request  context.Context //nolint:containedctx // of the call being served, under the lab's lock
	recorded bool            // a dump: nothing can be changed
	pipe     *pipeListener

	datacenter *simulator.Datacenter
	vmFolder   *simulator.Folder
	hostFolder *simulator.Folder
	network    map[string]types.ManagedObjectReference // by segment
	dvs        *simulator.DistributedVirtualSwitch
	tags       *tagStore
	power      int32 // counter key of power.power.average
}

type cluster struct {
	cfg  *ClusterConfig
	obj  *simulator.ClusterComputeResource
	vc   *vcenter
	site int
	pool types.ManagedObjectReference

	next, restless time.Time // of its own rebalancing, and until when it does so without being configured to
	evc            int       // the level that it holds its VMs to, 0 for none
	manager        *mo.ClusterEVCManager
}

type host struct {
	index   int
	obj     *simulator.HostSystem
	vc      *vcenter
	cluster int
	site    int
	name    string
	cfg     *ClusterConfig

	phase    hostPhase
	maint    bool
	since    time.Time // of its phase
	vmotion  bool
	unplug   bool // disconnected: a fixture
	nowake   bool
	vsan     bool
	op       *hostOp // at most one at a time
	stores   []int
	segments []string

	units, nicUnits int // taken by moves
	flows           int // moves that send or receive now
	cpuMHz, memMiB  int64
	watts           float64
	samples         []powerSample // the last hour, a sample a minute
}

// A hostPhase is a host's power.
type hostPhase uint8

const (
	hostUp hostPhase = iota
	hostAsleep
	hostBooting
)

type store struct {
	index    int
	obj      *simulator.Datastore
	vc       *vcenter
	site     int
	name     string
	capacity int64 // MiB
	used     int64 // MiB
	reserved int64 // MiB, for moves in flight
	shared   bool
	units    int
}

func (s *store) free() int64 { return s.capacity - s.used - s.reserved }

type disk struct {
	key       int32
	mib, used int64
	thin      bool
	store     int
}

// copyMiB is what has to be written where the disk goes.
func (d *disk) copyMiB() int64 {
	if d.thin {
		return d.used
	}
	return d.mib
}

type nic struct {
	key     int32
	segment string // "" when its network is gone
	mac     string
}

type machine struct {
	index    int
	obj      *simulator.VirtualMachine
	vc       *vcenter
	host     int
	uuid     string
	name     string
	on       bool
	template bool
	agent    bool
	lost     bool // disconnected or orphaned: a fixture
	vcpus    int
	mem      int64 // MiB
	reserve  int64 // MiB
	home     int
	disks    []disk
	nics     []nic
	fixtures []string
	tags     []string
	level    int
	base     float64 // share of memory that is consumed whatever the load
	hot      float64 // factor on the dirty rate

	cpuMHz   int64
	consumed int64
	active   int64
	move     *move
}

// dirtyMbps is the rate at which the VM dirties memory: a fifth of its active
// memory a minute, times a factor of its own.
func (m *machine) dirtyMbps() float64 {
	return float64(m.active) * mibBits / 1e6 / 60 / 5 * m.hot
}

func (m *machine) stores() []int {
	out := []int{m.home}
	for _, d := range m.disks {
		if !slices.Contains(out, d.store) {
			out = append(out, d.store)
		}
	}
	return out
}

type link struct {
	a, b  int
	rtt   time.Duration
	mbps  float64
	flows int
}

// mibBits is the number of bits in a MiB.
const mibBits = 8 * 1 << 20

// New builds a lab. Nothing moves in it until it is served.
func New(cfg Config) (*Lab, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("lab configuration: %w", err)
	}
	l := newLab(cfg)
	for i := range cfg.Sites {
		if err := l.addSite(i); err != nil {
			return nil, fmt.Errorf("build site %s: %w", cfg.Sites[i].Name, err)
		}
	}
	for i := range cfg.Sites {
		l.addVMs(i)
	}
	l.guests = len(l.machines)
	for i := range l.clusters {
		l.addAgent(i)
	}
	for _, k := range cfg.Links {
		l.links = append(l.links, link{a: l.siteIndex(k.A), b: l.siteIndex(k.B), rtt: k.RTT, mbps: k.Mbps})
	}
	if err := l.applyFixtures(); err != nil {
		return nil, fmt.Errorf("lab configuration: %w", err)
	}
	if err := l.applyRules(); err != nil {
		return nil, fmt.Errorf("lab configuration: %w", err)
	}
	l.applyTags()
	for _, s := range l.stores {
		l.showSpace(s)
	}
	l.minute(l.now)
	l.tick = l.now.Truncate(time.Minute).Add(time.Minute)
	return l, nil
}

func newLab(cfg Config) *Lab {
	l := &Lab{cfg: cfg, clock: NewClock(cfg.Start, cfg.Speed), sem: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
	l.now = l.clock.Now()
	l.rng = rand.New(rand.NewPCG(cfg.Seed, l.hash("incidents")))
	l.slots = DefaultSlots
	if l.cfg.Demand == nil {
		l.cfg.Demand = NewDemand(cfg.Seed, cfg.Offsets(l.now))
	}
	return l
}

func (l *Lab) lock()   { l.sem <- struct{}{} }
func (l *Lab) unlock() { <-l.sem }

// Clock is the lab's time.
func (l *Lab) Clock() *Clock { return l.clock }

// Guests is how many ordinary VMs there are: the VMs that a [Demand] is asked about.
func (l *Lab) Guests() int { return l.guests }

// Now is the lab's time.
func (l *Lab) Now() time.Time { return l.clock.Now() }

// Close ends the servers. The contexts given to Serve and ServePipe do the same.
func (l *Lab) Close() {
	for _, stop := range l.stop {
		stop()
	}
	l.stop = nil
	l.dialers.Wait()
}

// An Endpoint is how to reach one vCenter.
type Endpoint struct {
	Name         string    `json:"name"`
	Site         string    `json:"site"`
	InstanceUUID string    `json:"instance_uuid"`
	URL          string    `json:"url"`      // of the SDK
	Username     string    `json:"username"` // the first account's
	Password     string    `json:"password"`
	Accounts     []Account `json:"accounts"`
	Thumbprint   string    `json:"thumbprint"` // of the certificate: SHA-256, colon-separated hex
	CertPEM      []byte    `json:"cert_pem"`
}

// Endpoints lists the vCenters, in order of the configuration's sites.
func (l *Lab) Endpoints() []Endpoint {
	out := make([]Endpoint, 0, len(l.vcs))
	accounts := l.cfg.accounts()
	for _, v := range l.vcs {
		e := Endpoint{
			Name: v.name, InstanceUUID: v.uuid, URL: v.url, Username: accounts[0].Username, Password: accounts[0].Password,
			Accounts: accounts, Thumbprint: v.identity.sha256, CertPEM: v.identity.pem,
		}
		if v.site < len(l.sites) {
			e.Site = l.sites[v.site].Name
		}
		out = append(out, e)
	}
	return out
}

func (l *Lab) siteIndex(name string) int {
	for i := range l.sites {
		if l.sites[i].Name == name {
			return i
		}
	}
	return -1
}

// hash draws 64 bits for a thing of the lab, the same for the same seed.
func (l *Lab) hash(parts ...string) uint64 {
	h := sha256.New()
	_ = binary.Write(h, binary.BigEndian, l.cfg.Seed)
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// unit draws a number in [0, 1).
func (l *Lab) unit(parts ...string) float64 { return float64(l.hash(parts...)>>11) / (1 << 53) }

// uuid makes a UUID for a thing of the lab.
func (l *Lab) uuid(parts ...string) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], l.hash(append([]string{"uuid-hi"}, parts...)...))
	binary.BigEndian.PutUint64(b[8:], l.hash(append([]string{"uuid-lo"}, parts...)...))
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return uuid.UUID(b).String()
}

// mac makes the n-th address of VMware's range for vCenter-assigned addresses.
// Source: 00:50:56:80:00:00 to 00:50:56:BF:FF:FF.
func mac(n int) string {
	return net.HardwareAddr{0, 0x50, 0x56, 0x80 | byte(n>>16&0x3f), byte(n >> 8), byte(n)}.String()
}
