package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Config describes a lab: what stands where, and how fast its time runs. The
// same Config gives the same inventory and the same course of events.
type Config struct {
	// Seed draws sizes, identities and loads.
	Seed uint64 `yaml:"seed"`
	// Start is the lab's time when it is built; zero is now.
	Start time.Time `yaml:"start"`
	// Speed is lab seconds per wall second; zero is 1. A synctest bubble needs 1.
	Speed float64 `yaml:"speed"`
	// Linked puts all vCenters in one SSO domain, so that tags travel with a VM
	// (Enhanced Linked Mode). Otherwise a move across vCenters loses them.
	Linked bool `yaml:"linked"`
	// Efficiency is the share of line rate that becomes payload; zero is 0.85.
	Efficiency float64 `yaml:"efficiency"`
	// Accounts may log in to each vCenter; none gives a reader and a mover.
	Accounts []Account `yaml:"accounts"`

	Sites    []SiteConfig    `yaml:"sites"`
	Links    []LinkConfig    `yaml:"links"`
	Rules    []RuleConfig    `yaml:"rules"`
	Fixtures []FixtureConfig `yaml:"fixtures"`

	// Demand is what the VMs ask for; nil is [NewDemand] of the seed.
	Demand Demand `yaml:"-"`
}

// A Demand says what VM number vm asks for at a moment: percent of its vCPUs,
// and percent of its memory that is active. Calls are made in time order.
type Demand interface {
	At(vm int, t time.Time) (cpuPct, activePct float64)
}

// An Account may log in.
type Account struct {
	Username string `yaml:"username" json:"username"`
	Password string `yaml:"password" json:"password"`
	// Role is reader (changes nothing) or mover (may do everything).
	Role string `yaml:"role" json:"role"`
	// Privileges are what the account is said to have when asked; "*" is all. None
	// given are those of its role. What it may call goes by the role alone.
	Privileges []string `yaml:"privileges" json:"-"`
}

// A SiteConfig is one place on earth with one vCenter.
type SiteConfig struct {
	Name       string            `yaml:"name"`
	Lat        float64           `yaml:"lat"` // degrees, north positive
	Lon        float64           `yaml:"lon"` // degrees, east positive
	Region     string            `yaml:"region"`
	TimeZone   string            `yaml:"timezone"`
	PUE        float64           `yaml:"pue"`
	EURPerKWh  float64           `yaml:"eur_per_kwh"`
	GramPerKWh float64           `yaml:"gram_per_kwh"`
	Clusters   []ClusterConfig   `yaml:"clusters"`
	Datastores []DatastoreConfig `yaml:"datastores"`
	// Segments are the L2 networks present here, each as one port group. A
	// segment named at several sites is one broadcast domain.
	Segments []string `yaml:"segments"`
	// DVS puts the port groups on a distributed switch.
	DVS bool `yaml:"dvs"`
}

// A ClusterConfig is a cluster of equal hosts.
type ClusterConfig struct {
	Name         string `yaml:"name"` // unique in the lab
	Hosts        int    `yaml:"hosts"`
	CoresPerHost int    `yaml:"cores_per_host"` // two threads each
	MHzPerCore   int    `yaml:"mhz_per_core"`
	MemGiB       int    `yaml:"mem_gib"`
	// DRS is off, manual, partial or full. With full, the cluster evacuates a
	// host that enters maintenance or standby by itself.
	DRS string `yaml:"drs"`
	// Rebalance makes a fully automated cluster even out its hosts every five minutes.
	Rebalance bool `yaml:"rebalance"`
	// CPULevel is the generation of the hosts' CPUs, 1 to 8; see EVCModes. Zero is 5.
	CPULevel int `yaml:"cpu_level"`
	// EVC is the level that the cluster holds its VMs to; zero is none.
	EVC int `yaml:"evc"`
	// VSAN makes the hosts contribute storage to a vSAN.
	VSAN bool `yaml:"vsan"`
	// HAAdmission turns admission control on, for HAFailures host failures.
	HAAdmission bool `yaml:"ha_admission"`
	HAFailures  int  `yaml:"ha_failures"`
	// IdleW and MaxW are a host's draw with nothing to do and with all CPUs busy.
	IdleW float64 `yaml:"idle_w"`
	MaxW  float64 `yaml:"max_w"`
	// NICMbps is the speed of the vMotion interface; zero is 10,000.
	NICMbps int `yaml:"nic_mbps"`
	VMs     int `yaml:"vms"`
}

// A DatastoreConfig is one datastore, mounted by all hosts of the site or by one.
type DatastoreConfig struct {
	Name string `yaml:"name"`
	GiB  int64  `yaml:"gib"`
	// Host makes the datastore local to one host, by name.
	Host string `yaml:"host"`
}

// A LinkConfig is what lies between two sites.
type LinkConfig struct {
	A    string        `yaml:"a"`
	B    string        `yaml:"b"`
	RTT  time.Duration `yaml:"rtt"`
	Mbps float64       `yaml:"mbps"` // for migrations, each way together
}

// A RuleConfig is a DRS rule of one cluster.
type RuleConfig struct {
	Cluster   string   `yaml:"cluster"`
	Name      string   `yaml:"name"`
	Kind      string   `yaml:"kind"` // together, apart, on, not_on
	Mandatory bool     `yaml:"mandatory"`
	VMs       []string `yaml:"vms"`
	Hosts     []string `yaml:"hosts"`
}

// A FixtureConfig gives one VM or one host a property that binds it.
type FixtureConfig struct {
	Name string `yaml:"name"` // one of FixtureNames or HostFixtureNames
	VM   string `yaml:"vm"`
	Host string `yaml:"host"`
	// Value is for tag and attribute ("category:name", "name=value"), big_disk
	// (GiB) and duplicate_mac (the other VM's name).
	Value string `yaml:"value"`
}

// The roles of accounts.
const (
	RoleReader = "reader"
	RoleMover  = "mover"
	RolePower  = "power" // where there is such an account, movers leave hosts alone
)

// DefaultAccounts are used where a Config names none. They guard nothing: the
// lab is reachable by whoever can reach its port, and holds nothing of worth.
var DefaultAccounts = []Account{
	{Username: "reader@lab", Password: "reader", Role: RoleReader},
	{Username: "mover@lab", Password: "mover", Role: RoleMover},
}

// EVCModes are the keys of the CPU levels, level 1 first. Source: vSphere, "EVC
// and CPU compatibility", Intel baselines.
var EVCModes = []string{
	"intel-sandybridge", "intel-ivybridge", "intel-haswell", "intel-broadwell",
	"intel-skylake", "intel-cascadelake", "intel-icelake", "intel-sapphirerapids",
}

var (
	drsLevels = []string{"off", "manual", "partial", "full"}
	ruleKinds = []string{"together", "apart", "on", "not_on"}
)

// Validate reports everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Sites) == 0 {
		bad("sites: none")
	}
	if c.Speed < 0 || c.Efficiency < 0 || c.Efficiency > 1 {
		bad("speed %v and efficiency %v: must be positive, efficiency at most 1", c.Speed, c.Efficiency)
	}
	sites, clusters := map[string]bool{}, map[string]bool{}
	for i := range c.Sites {
		s := &c.Sites[i]
		if s.Name == "" || strings.ContainsAny(s.Name, " /:.") || sites[s.Name] {
			bad("sites[%d]: name %q is empty, used twice, or not fit for a host name", i, s.Name)
		}
		sites[s.Name] = true
		errs = append(errs, s.validate(clusters)...)
	}
	for i, l := range c.Links {
		if !sites[l.A] || !sites[l.B] || l.A == l.B || l.RTT < 0 || l.Mbps <= 0 {
			bad("links[%d]: needs two known sites, a round trip and a bandwidth", i)
		}
	}
	for i, r := range c.Rules {
		if !clusters[r.Cluster] || !slices.Contains(ruleKinds, r.Kind) || len(r.VMs) == 0 {
			bad("rules[%d] %s: needs a known cluster, a kind out of %s, and VMs", i, r.Name, strings.Join(ruleKinds, ", "))
		}
	}
	for i, f := range c.Fixtures {
		isVM, isHost := slices.Contains(FixtureNames, f.Name), slices.Contains(HostFixtureNames, f.Name)
		if isVM == isHost || (isVM && f.VM == "") || (isHost && f.Host == "") {
			bad("fixtures[%d]: %q is not a fixture of a VM or a host, or does not say of which", i, f.Name)
		}
	}
	for i, a := range c.Accounts {
		if a.Username == "" || a.Password == "" || !slices.Contains([]string{RoleReader, RoleMover, RolePower}, a.Role) {
			bad("accounts[%d]: needs a username, a password and a role, reader, mover or power", i)
		}
	}
	return errors.Join(errs...)
}

func (s *SiteConfig) validate(clusters map[string]bool) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("site %s: "+format, append([]any{s.Name}, args...)...))
	}
	if len(s.Clusters) == 0 || len(s.Datastores) == 0 || len(s.Segments) == 0 {
		bad("needs a cluster, a datastore and a segment")
	}
	shared := false
	for _, d := range s.Datastores {
		shared = shared || d.Host == ""
		if d.Name == "" || d.GiB <= 0 {
			bad("datastore %q: needs a name and a size", d.Name)
		}
	}
	if !shared {
		bad("needs a shared datastore")
	}
	if _, err := time.LoadLocation(s.TimeZone); err != nil {
		bad("timezone %q: %w", s.TimeZone, err)
	}
	for _, k := range s.Clusters {
		if k.Name == "" || clusters[k.Name] {
			bad("cluster name %q is empty or used twice in the lab", k.Name)
		}
		clusters[k.Name] = true
		if k.Hosts <= 0 || k.CoresPerHost <= 0 || k.MHzPerCore <= 0 || k.MemGiB <= 0 || k.VMs < 0 {
			bad("cluster %s: needs hosts, cores, clock and memory", k.Name)
		}
		if k.DRS != "" && !slices.Contains(drsLevels, k.DRS) {
			bad("cluster %s: drs %q is not one of %s", k.Name, k.DRS, strings.Join(drsLevels, ", "))
		}
		if k.CPULevel < 0 || k.CPULevel > len(EVCModes) || k.EVC < 0 || k.EVC > k.level() {
			bad("cluster %s: cpu_level is 1 to %d, and evc at most that", k.Name, len(EVCModes))
		}
		if k.IdleW < 0 || k.MaxW < k.IdleW {
			bad("cluster %s: max_w is below idle_w", k.Name)
		}
	}
	return errs
}

func (k *ClusterConfig) level() int {
	if k.CPULevel == 0 {
		return 5
	}
	return k.CPULevel
}

func (k *ClusterConfig) nic() float64 {
	if k.NICMbps == 0 {
		return 10_000
	}
	return float64(k.NICMbps)
}

func (c *Config) efficiency() float64 {
	if c.Efficiency == 0 {
		return 0.85
	}
	return c.Efficiency
}

func (c *Config) accounts() []Account {
	if len(c.Accounts) == 0 {
		return DefaultAccounts
	}
	return c.Accounts
}

// Offsets is, for each VM in the order in which a lab numbers them, its home's
// local time less UTC at a moment.
func (c *Config) Offsets(at time.Time) (out []time.Duration) {
	for i := range c.Sites {
		s := &c.Sites[i]
		offset := time.Duration(0)
		if zone, err := time.LoadLocation(s.TimeZone); err == nil {
			_, seconds := at.In(zone).Zone()
			offset = time.Duration(seconds) * time.Second
		}
		for k := range s.Clusters {
			for range s.Clusters[k].VMs {
				out = append(out, offset)
			}
		}
	}
	return out
}
