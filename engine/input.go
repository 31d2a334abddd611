package engine

import (
	"errors"
	"fmt"
	"slices"
)

// Input is all that a plan is made from. Equal inputs give equal plans, byte for byte.
type Input struct {
	Cycle  uint64 `json:"cycle"`
	Now    Unix   `json:"now"`
	Seed   uint64 `json:"seed"`
	Budget int64  `json:"budget"` // candidate evaluations; 0 for Config's default
	Level  Mode   `json:"level"`
	Shadow string `json:"shadow,omitempty"`

	Snapshot *Snapshot `json:"-"`
	Decision *Decision `json:"-"` // of the audience of Level and Shadow
	History  *History  `json:"-"`

	Vetoes    []Veto         `json:"vetoes,omitempty"`
	Open      []ActionRecord `json:"open,omitempty"` // actions under way: reserved at both ends
	Windows   []Window       `json:"windows,omitempty"`
	Drain     []HostID       `json:"drain,omitempty"` // hosts that a person asks to empty, in a dry run
	Paused    string         `json:"paused,omitempty"`
	Broken    []Hold         `json:"broken,omitempty"`     // vCenters at which too much has gone wrong, or nothing may be done: nothing is started there
	KeepHosts []Hold         `json:"keep_hosts,omitempty"` // vCenters at which no host may be put to sleep, woken, or put in maintenance
	Config    Config         `json:"config"`
}

// Config is what a planner may and must respect. Percentages are of capacity.
type Config struct {
	Limits Limits     `json:"limits" yaml:"-"`
	Cost   CostModel  `json:"cost" yaml:"-"`
	Low    Thresholds `json:"low" yaml:"low"` // what counts as low load (see History)

	// Modes are the strongest mode of each kind of action.
	Modes KindModes `json:"modes" yaml:"modes"`

	CPUMaxPct        int32 `json:"cpu_max_pct" yaml:"cpu_max_pct"`                     // a destination host is filled at most so far
	MemMaxPct        int32 `json:"mem_max_pct" yaml:"mem_max_pct"`                     // likewise
	VCPUPerCoreX10   int32 `json:"vcpu_per_core_x10" yaml:"vcpu_per_core_x10"`         // powered-on vCPUs per core x 10
	ReserveHosts     int32 `json:"reserve_hosts" yaml:"reserve_hosts"`                 // N+1: host failures a cluster must survive, beside its own HA policy
	DatastoreFreePct int32 `json:"datastore_free_pct" yaml:"datastore_free_pct"`       // stays free on a destination datastore
	EvacuationCPUPct int32 `json:"evacuation_cpu_pct" yaml:"evacuation_cpu_pct"`       // for an evacuation: floor of the reserve, in place of ReserveHosts and CPUMaxPct
	EvacuationMemPct int32 `json:"evacuation_mem_pct" yaml:"evacuation_mem_pct"`       // likewise
	PackPct          int32 `json:"pack_pct" yaml:"pack_pct"`                           // percentile of the last hour that a VM is packed on
	SurgePct         int32 `json:"surge_pct" yaml:"surge_pct"`                         // of the largest rise of a cluster's load in a week, for which its hosts that are on keep room; 0: no room is kept
	MovesPerCycle    int32 `json:"moves_per_cycle" yaml:"moves_per_cycle"`             // outside demands
	MovesPerHour     int32 `json:"moves_per_hour" yaml:"moves_per_hour"`               // outside demands
	MovesPerDay      int32 `json:"moves_per_day" yaml:"moves_per_day"`                 // outside demands
	PowerPerHour     int32 `json:"power_per_hour" yaml:"power_per_hour"`               // standby actions outside demands; wakes are free
	PowerPerDay      int32 `json:"power_per_day" yaml:"power_per_day"`                 // likewise
	CooldownS        int64 `json:"cooldown_s" yaml:"cooldown_s"`                       // after a move, before the VM moves again for a wish
	ReturnS          int64 `json:"return_s" yaml:"return_s"`                           // before it returns to the host or site it left, for a wish
	FailureS         int64 `json:"failure_s" yaml:"failure_s"`                         // after a failure, doubled with each in a row, at most a day
	PowerCooldownS   int64 `json:"power_cooldown_s" yaml:"power_cooldown_s"`           // after a host's change of state
	HoldsS           int64 `json:"holds_s" yaml:"holds_s"`                             // how long a site choice is expected to hold
	PaybackS         int64 `json:"payback_s" yaml:"payback_s"`                         // a wish must pay back within this
	PowerHoldsS      int64 `json:"power_holds_s" yaml:"power_holds_s"`                 // how long a standby is expected to hold; its moves must pay back within this, and are not undone sooner to save power
	DisruptionMicro  int64 `json:"disruption_micro_eur" yaml:"disruption_micro_eur"`   // cost of interrupting one vCPU-second of stun or slowed run
	CopyMicroPerGB   int64 `json:"copy_micro_eur_per_gb" yaml:"copy_micro_eur_per_gb"` // cost of a copied GiB on a WAN link
	PowerCycleMicro  int64 `json:"power_cycle_micro_eur" yaml:"power_cycle_micro_eur"` // cost of one standby and wake: wear and boot energy
	CarbonMicroPerKg int64 `json:"carbon_micro_eur_per_kg" yaml:"carbon_micro_eur_per_kg"`
	TopologyMaxAgeS  int64 `json:"topology_max_age_s" yaml:"topology_max_age_s"` // older: nothing is planned
	LoadMaxAgeS      int64 `json:"load_max_age_s" yaml:"load_max_age_s"`         // older: that host or VM is a gap
	LinkMaxAgeS      int64 `json:"link_max_age_s" yaml:"link_max_age_s"`         // older: the link is unknown; 0 never
	DefaultBudget    int64 `json:"default_budget" yaml:"evaluations"`            // candidate evaluations a plan

	// TradeTiers lets an evacuation leave a VM of a higher tier for several of lower
	// ones that are worth more together. Otherwise no tier waits for a lower one.
	TradeTiers bool `json:"trade_tiers,omitempty" yaml:"evacuation_trade_tiers"`

	PoweredOff PoweredOff `json:"powered_off,omitzero" yaml:"powered_off"` // of a host that is to sleep

	// Consolidate is how far VMs may go for hosts to sleep.
	Consolidate Reach `json:"consolidate,omitzero" yaml:"consolidate"`
}

// Reach says how far VMs may go for hosts to sleep. They never leave their site for it.
type Reach uint8

// The reaches, each with those before it.
const (
	ReachCluster Reach = iota // within their cluster
	ReachVCenter              // to other clusters of their vCenter
	ReachSite                 // to other vCenters, if they are opted in to such moves
)

var reachNames = [...]string{"cluster", "vcenter", "site"}

func (r Reach) String() string { return reachNames[r] }

// MarshalText writes the name.
func (r Reach) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a name.
func (r *Reach) UnmarshalText(b []byte) error {
	i := slices.Index(reachNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("%q is none of cluster, vcenter and site", b)
	}
	*r = Reach(i)
	return nil
}

// KindModes are the strongest mode of each kind of action.
type KindModes struct {
	Move        Mode `json:"move" yaml:"move"`
	Standby     Mode `json:"standby" yaml:"standby"`
	Wake        Mode `json:"wake" yaml:"wake"`
	Maintenance Mode `json:"maintenance" yaml:"maintenance"` // enter and exit
}

// Of returns the mode of a kind.
func (m KindModes) Of(k ActionKind) Mode {
	switch k {
	case Standby:
		return m.Standby
	case Wakeup:
		return m.Wake
	case EnterMaintenance, ExitMaintenance:
		return m.Maintenance
	case Move:
	}
	return m.Move
}

// DefaultConfig is safe: everything is advised, nothing enforced.
func DefaultConfig() Config {
	return Config{
		Limits: DefaultLimits(), Cost: DefaultCostModel(), Low: Thresholds{CPUPct: 45, MemPct: 80},
		Modes:     KindModes{Advise, Advise, Advise, Advise},
		CPUMaxPct: 80, MemMaxPct: 90, VCPUPerCoreX10: 80, ReserveHosts: 1, DatastoreFreePct: 10,
		EvacuationCPUPct: 95, EvacuationMemPct: 95, PackPct: 75, SurgePct: 50,
		MovesPerCycle: 100, MovesPerHour: 200, MovesPerDay: 2000, PowerPerHour: 20, PowerPerDay: 100,
		CooldownS: 2 * 3600, ReturnS: 4 * 3600, FailureS: 900, PowerCooldownS: 1800,
		HoldsS: 4 * 3600, PaybackS: 4 * 3600, PowerHoldsS: 8 * 3600, DisruptionMicro: 200, CopyMicroPerGB: 500, PowerCycleMicro: 20_000, CarbonMicroPerKg: 80_000,
		TopologyMaxAgeS: 900, LoadMaxAgeS: 900, DefaultBudget: 50_000_000, Consolidate: ReachSite,
	}
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var errs []error
	pct := func(name string, v int32) {
		if v < 1 || v > 100 {
			errs = append(errs, fmt.Errorf("%s: %d is not between 1 and 100", name, v))
		}
	}
	pct("cpu_max_pct", c.CPUMaxPct)
	pct("mem_max_pct", c.MemMaxPct)
	pct("evacuation_cpu_pct", c.EvacuationCPUPct)
	pct("evacuation_mem_pct", c.EvacuationMemPct)
	pct("pack_pct", c.PackPct)
	for _, n := range []struct {
		name string
		v    int64
	}{
		{"reserve_hosts", int64(c.ReserveHosts)},
		{"surge_pct", int64(c.SurgePct)},
		{"datastore_free_pct", int64(c.DatastoreFreePct)},
		{"moves_per_cycle", int64(c.MovesPerCycle)},
		{"moves_per_hour", int64(c.MovesPerHour)},
		{"moves_per_day", int64(c.MovesPerDay)},
		{"power_per_hour", int64(c.PowerPerHour)},
		{"power_per_day", int64(c.PowerPerDay)},
		{"cooldown_s", c.CooldownS},
		{"return_s", c.ReturnS},
		{"failure_s", c.FailureS},
		{"power_cooldown_s", c.PowerCooldownS},
		{"disruption_micro_eur", c.DisruptionMicro},
		{"copy_micro_eur_per_gb", c.CopyMicroPerGB},
	} {
		if n.v < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", n.name, n.v))
		}
	}
	for _, n := range []struct {
		name string
		v    int64
	}{
		{"vcpu_per_core_x10", int64(c.VCPUPerCoreX10)},
		{"holds_s", c.HoldsS},
		{"payback_s", c.PaybackS},
		{"power_holds_s", c.PowerHoldsS},
		{"topology_max_age_s", c.TopologyMaxAgeS},
		{"load_max_age_s", c.LoadMaxAgeS},
		{"evaluations", c.DefaultBudget},
	} {
		if n.v <= 0 {
			errs = append(errs, fmt.Errorf("%s: %d is not positive", n.name, n.v))
		}
	}
	if c.DatastoreFreePct > 90 {
		errs = append(errs, fmt.Errorf("datastore_free_pct: %d leaves no room", c.DatastoreFreePct))
	}
	return errors.Join(errs...)
}
