package engine

import (
	"regexp"
	"strings"
)

// A Site is a place on earth and a power feed.
type Site struct {
	ID       SiteID  `json:"id"`
	Region   string  `json:"region,omitempty"`   // legal or commercial region, such as "eu"; matched against a VM's residency
	Lat      float64 `json:"lat"`                // degrees, north positive
	Lon      float64 `json:"lon"`                // degrees, east positive
	TimeZone string  `json:"timezone,omitempty"` // IANA name
	Mode     Mode    `json:"mode"`               // how far actions at this site may go
	Frozen   bool    `json:"frozen,omitempty"`   // an operator's freeze

	PUEMilli            int32 `json:"pue_milli"`               // power usage effectiveness x 1000
	PriceMicroEURPerKWh int32 `json:"price_micro_eur_per_kwh"` // Unknown when no source gave it
	CarbonGPerKWh       int32 `json:"carbon_g_per_kwh"`        // average intensity; Unknown when no source gave it
	SunMilliDeg         int32 `json:"sun_milli_deg"`           // solar elevation x 1000; Unknown when not computed

	// Values are the readings behind the fields above and any named value from
	// a query, sorted by Key.
	Values []Value `json:"values,omitempty"`
}

// A Value is one named number with its age and its source.
type Value struct {
	Key    string  `json:"key"`
	Number float64 `json:"number"`
	At     Unix    `json:"at"`
	Source string  `json:"source"`
}

// A VCenter is one vSphere server.
type VCenter struct {
	ID      VCenterID `json:"id"`
	Name    string    `json:"name"` // the configuration's name for it
	Version string    `json:"version,omitempty"`
	Stop    string    `json:"stop,omitempty"` // why a person wants nothing started here, as said in vCenter itself
}

// DRS is the automation level of a cluster's own scheduler.
type DRS uint8

// The levels. Only with DRSFull does the cluster choose hosts itself.
const (
	DRSOff DRS = iota
	DRSManual
	DRSPartial
	DRSFull
)

var drsNames = [...]string{"off", "manual", "partial", "full"}

// String names the level.
func (d DRS) String() string { return drsNames[d] }

// MarshalText implements encoding.TextMarshaler.
func (d DRS) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *DRS) UnmarshalText(b []byte) error { return parseName(d, b, drsNames[:], "DRS level") }

// HA is what a cluster's high availability keeps in reserve.
type HA struct {
	Enabled   bool `json:"enabled,omitempty"`
	Admission bool `json:"admission,omitempty"` // admission control is on
	// HostFailures is how many host failures the cluster's policy tolerates
	// (slot or percentage policy alike); 0 when the policy does not say.
	HostFailures int32 `json:"host_failures,omitempty"`
	CPUPct       int32 `json:"cpu_pct,omitempty"`    // reserved share of CPU, percent
	MemoryPct    int32 `json:"memory_pct,omitempty"` // reserved share of memory, percent
}

// A Cluster is a group of hosts under one vCenter. Its sites are derived from its hosts.
type Cluster struct {
	ID      ClusterID `json:"id"`
	Name    string    `json:"name"`
	VCenter int32     `json:"vcenter"`
	DRS     DRS       `json:"drs"`
	DPM     bool      `json:"dpm,omitempty"` // vSphere's own power management is on: we leave power alone
	HA      HA        `json:"ha"`
	VSAN    bool      `json:"vsan,omitempty"`
	EVC     string    `json:"evc,omitempty"`     // EVC mode key; "" when off
	Pool    string    `json:"pool"`              // moid of the root resource pool
	Folder  string    `json:"folder,omitempty"`  // moid of the datacentre's VM folder, default for arrivals
	FailOn  []int32   `json:"fail_on,omitempty"` // dedicated failover hosts
	Path    string    `json:"path,omitempty"`    // inventory path, for people
	Lone    bool      `json:"lone,omitempty"`    // a stand-alone host's compute resource
	Stop    string    `json:"stop,omitempty"`    // as of a VCenter
}

// HostPower is a host's power state.
type HostPower uint8

// The power states. HostUnknown is what a host that does not answer has.
const (
	HostUnknown HostPower = iota
	HostOn
	HostStandby
	HostOff
)

var hostPowerNames = [...]string{"unknown", "on", "standby", "off"}

// String names the state.
func (p HostPower) String() string { return hostPowerNames[p] }

// MarshalText implements encoding.TextMarshaler.
func (p HostPower) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *HostPower) UnmarshalText(b []byte) error {
	return parseName(p, b, hostPowerNames[:], "host power state")
}

// A Host is one ESXi host as last observed.
type Host struct {
	ID      HostID `json:"id"`
	Name    string `json:"name"`
	VCenter int32  `json:"vcenter"`
	Cluster int32  `json:"cluster"`
	Site    int32  `json:"site"` // None when the configuration places it nowhere

	Power       HostPower `json:"power"`
	Connected   bool      `json:"connected"`
	Maintenance bool      `json:"maintenance,omitempty"`
	// Mark is the custom attribute that this daemon writes on a host that it put
	// in standby or maintenance ("standby" or "maintenance", then the journal's
	// number); "" when a person owns the host's state.
	Mark string `json:"mark,omitempty"`

	CPUMHz    int32  `json:"cpu_mhz"` // capacity: cores x clock
	Cores     int32  `json:"cores"`
	Threads   int32  `json:"threads"`
	MemoryMiB int32  `json:"memory_mib"` // capacity
	CPUModel  string `json:"cpu_model,omitempty"`
	EVCMax    string `json:"evc_max,omitempty"` // highest EVC mode the CPU supports

	UsedMHz int32 `json:"used_mhz"` // demand now; Unknown when not seen
	UsedMiB int32 `json:"used_mib"` // memory consumed now; Unknown when not seen
	LoadAt  Unix  `json:"load_at"`  // when UsedMHz and UsedMiB were read

	PowerW  int32 `json:"power_w"` // measured; Unknown without a meter
	IdleW   int32 `json:"idle_w"`  // model or configuration
	MaxW    int32 `json:"max_w"`
	PowerAt Unix  `json:"power_at"`

	VMotion  bool  `json:"vmotion"` // a vMotion interface is up
	NICMbps  int32 `json:"nic_mbps"`
	Standby  bool  `json:"standby_capable"`   // can be woken: BMC or wake-on-LAN configured
	USB      bool  `json:"usb,omitempty"`     // has USB passthrough in use: stays on
	VSANData bool  `json:"vsan,omitempty"`    // contributes storage to vSAN: stays on
	Tasks    int32 `json:"tasks,omitempty"`   // running tasks on the host that are not ours
	Entering bool  `json:"entering,omitzero"` // entering maintenance right now

	Datastores []int32 `json:"datastores"` // mounted, ascending
	Networks   []int32 `json:"networks"`   // port groups reachable, ascending
}

// Ready reports whether the host can run and receive VMs.
func (h *Host) Ready() bool {
	return h.Power == HostOn && h.Connected && !h.Maintenance && !h.Entering
}

// Reachable reports whether the host answers, or is in standby, where none does,
// and would once woken.
func (h *Host) Reachable() bool { return h.Connected || h.Power == HostStandby }

// actionID is how the journal numbers actions: see [Action].
var actionID = regexp.MustCompile(`^c[0-9]+[a-z]*-[0-9]+$`)

// SleepsByUs reports whether this daemon put the host to sleep: it is in standby
// indeed, and its mark carries the number of the action that did it. A mark that a
// person wrote, or that has outlived its host's sleep, is none.
func (h *Host) SleepsByUs() bool {
	id, ok := strings.CutPrefix(h.Mark, "standby ")
	return ok && h.Power == HostStandby && actionID.MatchString(id)
}

// Seen reports whether the host's load is known.
func (h *Host) Seen() bool { return h.UsedMHz != Unknown && h.UsedMiB != Unknown }

// A Datastore is a place for disks.
type Datastore struct {
	ID          DatastoreID `json:"id"`
	Name        string      `json:"name"`
	VCenter     int32       `json:"vcenter"`
	Type        string      `json:"type"`          // vmfs, nfs, vsan, vvol, ...
	URL         string      `json:"url,omitempty"` // the same volume seen by two vCenters has one URL
	CapacityMiB int64       `json:"capacity_mib"`
	FreeMiB     int64       `json:"free_mib"`
	Accessible  bool        `json:"accessible"`
	Maintenance bool        `json:"maintenance,omitempty"`
	Replicated  bool        `json:"replicated,omitempty"` // leaving it loses protection
	Sites       SiteMask    `json:"sites"`                // where it is readable
	Survives    SiteMask    `json:"survives"`             // where its data survives the loss of the other sites
	Shared      bool        `json:"shared"`               // mounted by more than one host
}

// SiteMask is a set of sites by index, so at most 64 of them.
type SiteMask uint64

// Has reports whether site i is in the set.
func (m SiteMask) Has(i int32) bool { return i >= 0 && i < 64 && m&(1<<uint(i)) != 0 }

// With returns the set with site i added.
func (m SiteMask) With(i int32) SiteMask {
	if i < 0 || i >= 64 {
		return m
	}
	return m | 1<<uint(i)
}

// MaxSites is how many sites a SiteMask can hold.
const MaxSites = 64

// A Network is a port group. Two networks carry the same L2 segment only where
// the configuration says so.
type Network struct {
	ID      NetworkID `json:"id"`
	Name    string    `json:"name"`
	VCenter int32     `json:"vcenter"`
	Segment string    `json:"segment,omitempty"` // "" when the configuration does not list it: the same as nothing
	// Gateway is the site of the segment's gateway, None when unknown or everywhere.
	Gateway     int32  `json:"gateway"`
	Distributed bool   `json:"distributed,omitempty"` // a distributed port group
	Switch      string `json:"switch,omitempty"`      // UUID of its distributed switch
	Key         string `json:"key,omitempty"`         // portgroup key, for the relocate specification
}

// A Link is what is known between two sites, A before B by index.
type Link struct {
	A         int32  `json:"a"`
	B         int32  `json:"b"`
	RTTMicros int32  `json:"rtt_us"` // Unknown when not measured
	Mbps      int32  `json:"mbps"`   // usable by migrations; Unknown when not configured
	LossPPM   int32  `json:"loss_ppm,omitzero"`
	At        Unix   `json:"at"`
	Source    string `json:"source"`
}

// RuleKind is what a cluster's own placement rule asks.
type RuleKind uint8

// The kinds of rule.
const (
	RuleTogether RuleKind = iota // VM-VM affinity
	RuleApart                    // VM-VM anti-affinity
	RuleOn                       // VMs on hosts of the group
	RuleNotOn                    // VMs not on hosts of the group
)

var ruleNames = [...]string{"together", "apart", "on", "not_on"}

// String names the kind.
func (k RuleKind) String() string { return ruleNames[k] }

// MarshalText implements encoding.TextMarshaler.
func (k RuleKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *RuleKind) UnmarshalText(b []byte) error { return parseName(k, b, ruleNames[:], "rule kind") }

// A Rule is a DRS rule of one cluster. VM-VM rules and mandatory VM-host rules
// bind; a VM-host rule that is not mandatory is a wish, and one that is disabled
// is nothing but there.
type Rule struct {
	Cluster   int32    `json:"cluster"`
	Name      string   `json:"name"`
	Kind      RuleKind `json:"kind"`
	Mandatory bool     `json:"mandatory,omitempty"`
	Disabled  bool     `json:"disabled,omitempty"`
	VMs       []int32  `json:"vms"`             // ascending
	Hosts     []int32  `json:"hosts,omitempty"` // ascending; RuleOn and RuleNotOn
}
