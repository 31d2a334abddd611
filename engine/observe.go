package engine

// An Observation is what one source saw, and when. Exactly what a source does
// not see it leaves empty; what it should have seen and could not is a [Gap].
type Observation struct {
	Source string `json:"source"`
	At     Unix   `json:"at"`

	Inventory *Inventory  `json:"inventory,omitempty"` // one vCenter's part of the fleet
	Sites     []SiteValue `json:"sites,omitempty"`
	Links     []LinkValue `json:"links,omitempty"`
	Hazards   []Hazard    `json:"hazards,omitempty"`
	Alerts    []Alert     `json:"alerts,omitempty"`
	Gaps      []Gap       `json:"gaps,omitempty"`
}

// An Inventory is one vCenter's part of a fleet. Its indices refer to its own
// slices; sites are not yet known (None, and empty masks), since which host
// stands where is configuration. Each slice is sorted by ID.
type Inventory struct {
	VCenter    VCenter     `json:"vcenter"`
	Clusters   []Cluster   `json:"clusters"`
	Hosts      []Host      `json:"hosts"`
	Datastores []Datastore `json:"datastores"`
	Networks   []Network   `json:"networks"`
	VMs        []VM        `json:"vms"`
	Rules      []Rule      `json:"rules,omitempty"`
}

// A SiteValue is one reading about a site.
type SiteValue struct {
	Site  SiteID `json:"site"`
	Value Value  `json:"value"`
}

// Keys of the site values that have a field of their own in [Site].
const (
	KeySun    = "sun_deg"           // degrees above the horizon
	KeyPrice  = "price_eur_per_kwh" // euros per kilowatt-hour
	KeyCarbon = "carbon_g_per_kwh"  // average grams of CO2 per kilowatt-hour
	KeyPUE    = "pue"               // power usage effectiveness, >= 1
	KeyRise   = "next_sunrise_unix" // absent in polar day and night
	KeySet    = "next_sunset_unix"  // absent in polar day and night
)

// A LinkValue is one measurement between two sites, in either order.
type LinkValue struct {
	A         SiteID `json:"a"`
	B         SiteID `json:"b"`
	RTTMicros int32  `json:"rtt_us"`
	Mbps      int32  `json:"mbps"`
	LossPPM   int32  `json:"loss_ppm,omitzero"`
	At        Unix   `json:"at"`
	Source    string `json:"source"`
}

// A Subject names the thing that a gap, a hold or a freeze is about.
type Subject struct {
	Kind string `json:"kind"` // fleet, site, vcenter, cluster, host, vm, datastore, link, feed
	ID   string `json:"id,omitempty"`
}

// String gives "kind id".
func (s Subject) String() string {
	if s.ID == "" {
		return s.Kind
	}
	return s.Kind + " " + s.ID
}

// A Gap is something that a source could not see, or saw and cannot be believed.
type Gap struct {
	Source  string  `json:"source"`
	Subject Subject `json:"subject"`
	Reason  string  `json:"reason"`
	At      Unix    `json:"at"`
}

// A Hazard is something that threatens a site. One record a site: a storm that
// threatens two sites is two records with one ID.
type Hazard struct {
	ID         string `json:"id"`
	Site       SiteID `json:"site"`
	Kind       string `json:"kind"`     // hurricane, flood, cooling, ...
	Severity   string `json:"severity"` // minor, moderate, severe, extreme
	Threshold  string `json:"threshold,omitempty"`
	PMilli     int32  `json:"p_milli"` // probability x 1000; Unknown when the source gives none
	Earliest   Unix   `json:"earliest"`
	Likely     Unix   `json:"likely"`
	End        Unix   `json:"end"`
	Source     string `json:"source"`
	Advisory   string `json:"advisory,omitempty"`
	Issued     Unix   `json:"issued"`
	ValidUntil Unix   `json:"valid_until"`
	Method     string `json:"method,omitempty"` // official, derived, zone
}

// An Alert is a message from outside, mapped to a site by configuration. It is
// evidence: policies decide what follows.
type Alert struct {
	Fingerprint string `json:"fingerprint"`
	Status      string `json:"status"` // firing, resolved, stale
	Name        string `json:"name"`   // the alert's name, such as CoolingFailure
	Kind        string `json:"kind"`   // the configured kind
	Site        SiteID `json:"site"`
	Severity    string `json:"severity"`
	Deadline    Unix   `json:"deadline,omitzero"`
	Summary     string `json:"summary,omitempty"`
	StartsAt    Unix   `json:"starts_at"`
	ReceivedAt  Unix   `json:"received_at"`
	ExpiresAt   Unix   `json:"expires_at"` // after which a firing alert is stale, never resolved
	Source      string `json:"source"`
}

// A Sighting is one place where a VM was seen. Two sightings of one VM are
// normal while it moves across vCenters, and a Gap otherwise.
type Sighting struct {
	VM      VMID      `json:"vm"`
	VCenter VCenterID `json:"vcenter"`
	Moid    string    `json:"moid"`
	Host    HostID    `json:"host"`
}
