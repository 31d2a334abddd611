package engine

// A Rule name as policies write it.
const (
	RuleSiteScore  = "site_score"
	RulePrefer     = "prefer"
	RuleEvacuate   = "evacuate"
	RuleDrain      = "drain"
	RuleWake       = "wake"
	RulePriority   = "priority"
	RuleGroupApart = "apart"
	RuleGroupTog   = "together"
	RuleNear       = "near"
	RuleAllowSites = "allow_sites"
	RuleAllowHosts = "allow_hosts"
	RulePin        = "pin"
	RuleKeepOn     = "keep_on"
	RuleFreeze     = "freeze"
	RuleDeny       = "deny"
	RuleShed       = "shed"
	RuleReject     = "reject"
	RuleApproval   = "approval"
)

// A Voice is one rule of one policy, with what the configuration makes of it.
type Voice struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	Mode   Mode   `json:"mode"`
	// Yields reports whether the veto gives way to an evacuation.
	Yields bool `json:"yields,omitempty"`
	// WeightMicroEUR is what a site score of 1 is worth per vCPU and hour.
	WeightMicroEUR int64 `json:"weight_micro_eur,omitzero"`
}

// By says who said something and why: indices into a Decision's Voices and Reasons.
type By struct {
	Voice  int32 `json:"voice"`
	Reason int32 `json:"reason"`
}

// A Decision is all that the policies said about one snapshot. Opinions refer
// to the snapshot by index; each slice is sorted (by its index, then voice, then
// reason), so that equal decisions are equal bytes.
type Decision struct {
	Revision string   `json:"revision"` // digest of the bundle that decided
	Voices   []Voice  `json:"voices"`
	Reasons  []string `json:"reasons"` // interned, sorted

	SiteScores  []SiteScore  `json:"site_scores,omitempty"`
	Prefers     []Prefer     `json:"prefers,omitempty"`
	Evacuations []Evacuation `json:"evacuations,omitempty"`
	Drains      []Drain      `json:"drains,omitempty"`
	Wakes       []Wake       `json:"wakes,omitempty"`
	Priorities  []Priority   `json:"priorities,omitempty"`
	Groups      []Group      `json:"groups,omitempty"`
	AllowSites  []AllowSites `json:"allow_sites,omitempty"`
	AllowHosts  []AllowHosts `json:"allow_hosts,omitempty"`
	Pins        []Pin        `json:"pins,omitempty"`
	KeepOns     []KeepOn     `json:"keep_ons,omitempty"`
	Freezes     []Freeze     `json:"freezes,omitempty"`
	Sheds       []Shed       `json:"sheds,omitempty"`

	// Failures are the rules that could not be evaluated. A failed veto is
	// already among Freezes (POLICY: fails closed); a failed wish is dropped.
	Failures []RuleFailure `json:"failures,omitempty"`
}

// A SiteScore says how good a site is, -1000..1000 for -1..1.
type SiteScore struct {
	Site  int32 `json:"site"`
	Milli int32 `json:"milli"`
	By    By    `json:"by"`
}

// A Prefer says what it is worth to have a VM at a place.
type Prefer struct {
	VM       int32   `json:"vm"`
	To       Subject `json:"to"` // kind site, cluster or host
	MicroEUR int64   `json:"micro_eur_per_h"`
	By       By      `json:"by"`
}

// An Evacuation demands that a place be emptied by a deadline (0: none).
type Evacuation struct {
	Place    Subject `json:"place"` // kind site, cluster, host or datastore
	Deadline Unix    `json:"deadline,omitzero"`
	By       By      `json:"by"`
}

// DrainThen is what becomes of a host once it is empty.
type DrainThen uint8

// What a drain leads to. Standby permits; Maintenance demands; None empties.
const (
	ThenStandby DrainThen = iota
	ThenMaintenance
	ThenNothing
)

var thenNames = [...]string{"standby", "maintenance", "none"}

// String names it as policies do.
func (t DrainThen) String() string { return thenNames[t] }

// MarshalText implements encoding.TextMarshaler.
func (t DrainThen) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *DrainThen) UnmarshalText(b []byte) error {
	return parseName(t, b, thenNames[:], "drain outcome")
}

// A Drain names a host to empty.
type Drain struct {
	Host     int32     `json:"host"`
	Then     DrainThen `json:"then"`
	Deadline Unix      `json:"deadline,omitzero"`
	By       By        `json:"by"`
}

// A Wake permits to power a host on.
type Wake struct {
	Host int32 `json:"host"`
	By   By    `json:"by"`
}

// A Priority is the tier in which a VM leaves: the smallest first.
type Priority struct {
	VM   int32 `json:"vm"`
	Tier int32 `json:"tier"`
	By   By    `json:"by"`
}

// GroupKind is what a group asks of its members.
type GroupKind uint8

// The kinds.
const (
	GroupApart GroupKind = iota
	GroupTogether
	GroupNear
)

var groupNames = [...]string{"apart", "together", "near"}

// String names the kind.
func (k GroupKind) String() string { return groupNames[k] }

// MarshalText implements encoding.TextMarshaler.
func (k GroupKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *GroupKind) UnmarshalText(b []byte) error {
	return parseName(k, b, groupNames[:], "group kind")
}

// A Group is VMs that a policy wants apart, together or near one another,
// united over clusters by (policy, name).
type Group struct {
	Kind         GroupKind `json:"kind"`
	Name         string    `json:"name"`
	Scope        string    `json:"scope"`                // host, cluster or site; near: site
	MaxRTTMicros int32     `json:"max_rtt_us,omitzero"`  // near
	MaxSplitS    int32     `json:"max_split_s,omitzero"` // near: how long members may be apart during a move
	VMs          []int32   `json:"vms"`                  // ascending
	By           By        `json:"by"`                   // the first member's
}

// AllowSites restricts a VM to the sites of the mask. Several intersect.
type AllowSites struct {
	VM    int32    `json:"vm"`
	Sites SiteMask `json:"sites"`
	By    By       `json:"by"`
}

// AllowHosts restricts a VM to the hosts listed, ascending. Several intersect.
type AllowHosts struct {
	VM    int32   `json:"vm"`
	Hosts []int32 `json:"hosts"`
	By    By      `json:"by"`
}

// A Pin keeps a VM on its host.
type Pin struct {
	VM int32 `json:"vm"`
	By By    `json:"by"`
}

// A KeepOn forbids standby for a host.
type KeepOn struct {
	Host int32 `json:"host"`
	By   By    `json:"by"`
}

// A Freeze forbids every action in its place until a moment (0: while it is said).
type Freeze struct {
	Place Subject `json:"place"` // kind fleet, site, cluster, host or vm
	Until Unix    `json:"until,omitzero"`
	By    By      `json:"by"`
}

// A Shed permits to shut a VM down to make room in an evacuation.
type Shed struct {
	VM      int32 `json:"vm"`
	Suspend bool  `json:"suspend,omitempty"`
	By      By    `json:"by"`
}

// A RuleFailure is a rule that could not be evaluated.
type RuleFailure struct {
	Voice int32   `json:"voice"`
	Scope Subject `json:"scope"` // what it was asked about
	Error string  `json:"error"`
	Veto  bool    `json:"veto"` // a veto rule: its scope is frozen
}

// A Veto is a policy's refusal of one proposed move. It binds every later Build
// of the same cycle.
type Veto struct {
	VM     VMID   `json:"vm"`
	To     HostID `json:"to"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Policy string `json:"policy"`
	Mode   Mode   `json:"mode"`
	Yields bool   `json:"yields,omitempty"`
}

// A Review is what the plan-scope rules said about a whole plan.
type Review struct {
	Rejects   []string `json:"rejects,omitempty"`   // reasons; any one stops the plan
	Approvers int32    `json:"approvers,omitempty"` // how many persons must approve
	Reasons   []string `json:"reasons,omitempty"`
}

// Audience returns the decision as the plan at level sees it: only the voices
// whose mode is at least level, and also policy extra when it is not "" (a
// policy in shadow, for its own journaled plan). Indices and interned tables
// are shared with d.
func (d *Decision) Audience(level Mode, extra string) *Decision {
	out := *d
	heard := make([]bool, len(d.Voices))
	all := true
	for i, v := range d.Voices {
		heard[i] = v.Mode >= level || (extra != "" && v.Policy == extra && v.Mode != Off)
		all = all && heard[i]
	}
	if all {
		return &out
	}
	out.SiteScores = keep(d.SiteScores, heard, func(x *SiteScore) By { return x.By })
	out.Prefers = keep(d.Prefers, heard, func(x *Prefer) By { return x.By })
	out.Evacuations = keep(d.Evacuations, heard, func(x *Evacuation) By { return x.By })
	out.Drains = keep(d.Drains, heard, func(x *Drain) By { return x.By })
	out.Wakes = keep(d.Wakes, heard, func(x *Wake) By { return x.By })
	out.Priorities = keep(d.Priorities, heard, func(x *Priority) By { return x.By })
	out.Groups = keep(d.Groups, heard, func(x *Group) By { return x.By })
	out.AllowSites = keep(d.AllowSites, heard, func(x *AllowSites) By { return x.By })
	out.AllowHosts = keep(d.AllowHosts, heard, func(x *AllowHosts) By { return x.By })
	out.Pins = keep(d.Pins, heard, func(x *Pin) By { return x.By })
	out.KeepOns = keep(d.KeepOns, heard, func(x *KeepOn) By { return x.By })
	out.Freezes = keep(d.Freezes, heard, func(x *Freeze) By { return x.By })
	out.Sheds = keep(d.Sheds, heard, func(x *Shed) By { return x.By })
	return &out
}

func keep[T any](items []T, heard []bool, by func(*T) By) []T {
	var out []T
	for i := range items {
		if heard[by(&items[i]).Voice] {
			out = append(out, items[i])
		}
	}
	return out
}

// Opinions is how many things the policies said.
func (d *Decision) Opinions() int {
	return len(d.SiteScores) + len(d.Prefers) + len(d.Evacuations) + len(d.Drains) + len(d.Wakes) + len(d.Priorities) + len(d.Groups) +
		len(d.AllowSites) + len(d.AllowHosts) + len(d.Pins) + len(d.KeepOns) + len(d.Freezes) + len(d.Sheds)
}

// Why renders By for people and for the plan.
func (d *Decision) Why(b By) Why {
	v := d.Voices[b.Voice]
	return Why{Policy: v.Policy, Rule: v.Rule, Reason: d.Reasons[b.Reason]}
}
