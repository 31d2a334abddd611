package engine

import (
	"fmt"
	"slices"
	"strings"
)

// ActionKind is what an action does.
type ActionKind uint8

// The kinds of action.
const (
	Move ActionKind = iota
	Standby
	Wakeup
	EnterMaintenance
	ExitMaintenance
)

var actionNames = [...]string{"move", "standby", "wake", "enter_maintenance", "exit_maintenance"}

// String names the kind as the journal does.
func (k ActionKind) String() string { return actionNames[k] }

// MarshalText implements encoding.TextMarshaler.
func (k ActionKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *ActionKind) UnmarshalText(b []byte) error {
	return parseName(k, b, actionNames[:], "action kind")
}

// A Place is where a VM runs. Host is always filled: with DRS true it is only
// what the planner presumes, and the cluster's own scheduler chooses.
type Place struct {
	Site    SiteID    `json:"site,omitempty"`
	VCenter VCenterID `json:"vcenter"`
	Cluster ClusterID `json:"cluster"`
	Host    HostID    `json:"host"`
	Name    string    `json:"name,omitempty"`   // of the host, for people
	Pool    string    `json:"pool,omitempty"`   // moid
	Folder  string    `json:"folder,omitempty"` // moid
	DRS     bool      `json:"drs,omitempty"`
}

// A DiskTarget says where one disk goes. A move with storage names every disk.
type DiskTarget struct {
	Key     int32       `json:"key"`
	From    DatastoreID `json:"from"`
	To      DatastoreID `json:"to"`
	Profile string      `json:"profile,omitempty"`
	MiB     int64       `json:"mib"` // to be copied and reserved at the destination
	Thin    bool        `json:"thin,omitempty"`
}

// A NICTarget says which network one card is connected to at the destination.
type NICTarget struct {
	Key int32     `json:"key"`
	To  NetworkID `json:"to"`
}

// Why is one policy rule's reason, or the engine's own (Policy "engine").
type Why struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

// String gives "policy.rule: reason".
func (w Why) String() string { return w.Policy + "." + w.Rule + ": " + w.Reason }

// An Estimate is what carrying out an action is expected to take.
type Estimate struct {
	Seconds   int64 `json:"seconds"`
	MemoryMiB int64 `json:"memory_mib,omitzero"` // bytes of memory sent, rounds included
	DiskMiB   int64 `json:"disk_mib,omitzero"`
	StunMS    int64 `json:"stun_ms,omitzero"`
	// ExpectS is how long a move lasts beside those that run at the same time;
	// Seconds is with the least that it can get.
	ExpectS int64 `json:"expect_s,omitzero"`
	// LowS and HighS are between what nine of ten such moves last; 0 while too few
	// were seen. Mbps is the line rate that a move is expected to get, and Storage
	// what it is told apart by: see MoveFit.
	Mbps    int32  `json:"mbps,omitzero"`
	Storage string `json:"storage,omitempty"`
	LowS    int64  `json:"low_s,omitzero"`
	HighS   int64  `json:"high_s,omitzero"`
}

// A Ledger is an action's account in micro-euros.
type Ledger struct {
	SavesPerH int64 `json:"saves_micro_eur_per_h"`
	CostOnce  int64 `json:"cost_micro_eur"`
	PaybackS  int64 `json:"payback_s,omitzero"`
	HoldsS    int64 `json:"holds_s,omitzero"` // how long the choice is expected to hold
}

// String says it in euros. What saves nothing by itself pays nothing back.
func (l Ledger) String() string {
	cost := fmt.Sprintf("costs %.4f EUR once", float64(l.CostOnce)/1e6)
	if l.SavesPerH <= 0 {
		return cost
	}
	return fmt.Sprintf("saves %.4f EUR/h, %s, pays back in %s, expected to hold %s", float64(l.SavesPerH)/1e6, cost, coarse(l.PaybackS), coarse(l.HoldsS))
}

// coarse renders so many seconds for people.
func coarse(s int64) string {
	switch {
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 7200:
		return fmt.Sprintf("%d min", s/60)
	}
	return fmt.Sprintf("%d h", s/3600)
}

// An Action is one thing to do. It leaves the executor no choice but when.
type Action struct {
	ID   string     `json:"id"` // "c<cycle>-<n>", unique in a journal
	Kind ActionKind `json:"kind"`

	VM   VMID   `json:"vm,omitempty"` // moves
	Name string `json:"name"`         // of the VM or host, for people
	Moid string `json:"moid,omitempty"`
	From Place  `json:"from"` // the other kinds fill From with the host acted on
	To   Place  `json:"to,omitzero"`

	Storage bool         `json:"storage,omitempty"` // disks go along
	Across  bool         `json:"across,omitempty"`  // between vCenters
	Cold    bool         `json:"cold,omitempty"`    // powered off
	HomeTo  DatastoreID  `json:"home_to,omitempty"` // with storage: where the configuration file goes
	SwapMiB int64        `json:"swap_mib,omitzero"` // with storage: swap space on HomeTo
	Disks   []DiskTarget `json:"disks,omitempty"`
	NICs    []NICTarget  `json:"nics,omitempty"`

	After []int32 `json:"after,omitempty"` // indices of actions in the plan that must have ended well first
	Rank  int32   `json:"rank"`            // the executor starts the lowest first

	// Demand names the evacuation or maintenance that asks for it: budgets are
	// raised and vetoes that yield are passed over.
	Demand   Subject  `json:"demand,omitzero"`
	Deadline Unix     `json:"deadline,omitzero"`
	Why      []Why    `json:"why"`
	Estimate Estimate `json:"estimate"`
	Ledger   Ledger   `json:"ledger,omitzero"`
}

// HostOf is the host that a host action is about.
func (a *Action) HostOf() HostID { return a.From.Host }

// Blocks reports whether b must wait while the action is in flight: a VM has one
// action at a time, and a host changes its state only when no move touches it.
// Moves may leave a host that is entering maintenance: it waits for them.
func (a *Action) Blocks(b *Action) bool {
	switch {
	case a.Kind == Move && b.Kind == Move:
		return a.VM == b.VM
	case a.Kind == Move:
		return a.To.Host == b.HostOf() || a.From.Host == b.HostOf()
	case b.Kind == Move:
		return b.To.Host == a.HostOf() || (b.From.Host == a.HostOf() && a.Kind != EnterMaintenance)
	default:
		return a.HostOf() == b.HostOf()
	}
}

// String describes the action in a line.
func (a *Action) String() string {
	if a.Kind != Move {
		return a.Kind.String() + " " + a.Name
	}
	how := "vmotion"
	switch {
	case a.Across:
		how = "cross-vCenter"
	case a.Storage && a.From.Host == a.To.Host:
		how = "storage vmotion"
	case a.Storage:
		how = "vmotion with storage"
	}
	return fmt.Sprintf("move %s %s -> %s (%s)", a.Name, a.From.people(), a.To.people(), how)
}

// people is what people call the host.
func (p *Place) people() string {
	if p.Name != "" {
		return p.Name
	}
	return string(p.Host)
}

// HoldCode types the reason why something that should happen does not.
type HoldCode string

// The hold codes. Their texts are in the reference (docs/reference.md).
const (
	HoldFrozen      HoldCode = "frozen"          // a freeze covers it
	HoldVeto        HoldCode = "veto"            // a policy's deny, or of a whole plan its reject
	HoldPinned      HoldCode = "pinned"          // a pin, or the VM's own tag
	HoldMode        HoldCode = "mode"            // its site, kind or tag is weaker than this plan's level
	HoldSites       HoldCode = "sites"           // allow_sites leaves no destination
	HoldHosts       HoldCode = "hosts"           // allow_hosts leaves no destination
	HoldObstacle    HoldCode = "obstacle"        // a property of the VM, see Detail
	HoldAcross      HoldCode = "across"          // not opted in to moves across vCenters
	HoldCapacity    HoldCode = "capacity"        // no host has room for CPU, memory or vCPUs
	HoldReserve     HoldCode = "reserve"         // room is there, but N+1 or HA admission needs it
	HoldSpace       HoldCode = "space"           // no datastore has room
	HoldNetwork     HoldCode = "network"         // the L2 segment is not at the destination
	HoldMAC         HoldCode = "mac"             // the MAC is in use on the segment
	HoldRule        HoldCode = "rule"            // a DRS rule or a policy's group forbids it
	HoldRTT         HoldCode = "rtt"             // the round trip is beyond the limit
	HoldBandwidth   HoldCode = "bandwidth"       // the link is too thin or unknown
	HoldConverge    HoldCode = "dirty_rate"      // memory is dirtied faster than the link carries
	HoldCompat      HoldCode = "compatibility"   // CPU, EVC or hardware version, in either direction
	HoldCooldown    HoldCode = "cooldown"        // moved or failed recently
	HoldBudget      HoldCode = "budget"          // this cycle's, hour's or day's budget is used up
	HoldWorth       HoldCode = "not_worth"       // saves less than it costs, or pays back too late
	HoldGap         HoldCode = "gap"             // what is needed to decide is not seen
	HoldBusy        HoldCode = "busy"            // an open action or a foreign task is on it
	HoldNowhere     HoldCode = "nowhere"         // there is no other host at all
	HoldDeadline    HoldCode = "deadline"        // cannot finish by the deadline
	HoldStorage     HoldCode = "storage_profile" // a storage policy has no mapping at the destination
	HoldOwner       HoldCode = "owner"           // a person owns the host's state
	HoldKeepOn      HoldCode = "keep_on"         // a policy keeps the host on
	HoldLast        HoldCode = "last_host"       // would leave a cluster or site without hosts
	HoldVSAN        HoldCode = "vsan"            // contributes storage
	HoldStandby     HoldCode = "no_wake"         // cannot be woken, so is never put to sleep
	HoldDPM         HoldCode = "dpm"             // vSphere's own power management runs there
	HoldNotEmpty    HoldCode = "not_empty"       // VMs remain that cannot leave
	HoldPoweredOff  HoldCode = "powered_off"     // a powered-off VM or template stays behind
	HoldDRS         HoldCode = "drs"             // the cluster's own scheduler does this
	HoldEvacuating  HoldCode = "evacuating"      // its site, cluster or host is being emptied
	HoldPaused      HoldCode = "paused"          // an operator's pause
	HoldUnavailable HoldCode = "unavailable"     // the host or vCenter does not answer
	HoldBreaker     HoldCode = "breaker"         // too many actions at the vCenter ended badly
	HoldRamp        HoldCode = "ramp"            // actions start slowly after a start or a resume
	HoldEvidence    HoldCode = "evidence"        // too little speaks for an evacuation, or nowhere is safer
	HoldApproval    HoldCode = "approval"        // persons must approve it
	HoldTurn        HoldCode = "turn"            // another site is evacuated first
	HoldQuarantine  HoldCode = "quarantine"      // an action on it was lost: a person must look
	HoldPrivilege   HoldCode = "privilege"       // the account at the vCenter may not do it, or may do too much
	HoldSuspended   HoldCode = "suspended"       // it is approved, and does not hold on what is seen now
)

// A Hold says why something that should happen does not.
type Hold struct {
	Subject Subject  `json:"subject"`
	Name    string   `json:"name"` // for people
	Code    HoldCode `json:"code"`
	Detail  string   `json:"detail"` // the thing that bound, with its numbers
	Want    string   `json:"want"`   // what should have happened
	Demand  Subject  `json:"demand,omitzero"`
	Why     []Why    `json:"why,omitempty"` // who wanted it

	// Conflict is a minimal set of what forbids a demanded move: together they leave
	// no place, and without any one of them there is one. Empty where Code says it all.
	Conflict []Conflict `json:"conflict,omitempty"`
	// Worth is the price of what ran out; empty where nothing did.
	Worth Scarcity `json:"worth,omitzero"`
}

// A Scarcity is the shadow price of what has run out: what one more unit of it would
// save, by the best of those who are held for it.
type Scarcity struct {
	What         string `json:"what"` // such as "a GiB at site fra" or "a move"
	MicroEURPerH int64  `json:"micro_eur_per_h"`
}

// A Conflict is one of those who together leave a VM no place.
type Conflict struct {
	Code   HoldCode `json:"code"`
	Detail string   `json:"detail"` // of the first of the hosts that it alone keeps the VM from
	Hosts  int32    `json:"hosts"`  // how many it alone, of all of them, keeps the VM from
}

// Because is what there is to add to the detail, a line each: what else forbids it, and
// what more of what ran out would be worth.
func (h Hold) Because() (lines []string) {
	if len(h.Conflict) > 1 {
		lines = append(lines, "these together leave no host, and without any one of them there would be some:")
		for _, c := range h.Conflict {
			lines = append(lines, fmt.Sprintf("  %s (%s): %d ruled out by this alone", c.Detail, c.Code, c.Hosts))
		}
	}
	if h.Worth.MicroEURPerH > 0 {
		lines = append(lines, fmt.Sprintf("%s more would save %.4f EUR/h now", h.Worth.What, float64(h.Worth.MicroEURPerH)/1e6))
	}
	return lines
}

// String gives "name: want: detail (code)".
func (h Hold) String() string {
	return fmt.Sprintf("%s: %s held: %s (%s)", h.Name, h.Want, h.Detail, h.Code)
}

// An Effect is what a plan is expected to achieve.
type Effect struct {
	PowerW        int64 `json:"power_w"`                // change of power at the meter; negative saves
	MicroEURPerH  int64 `json:"micro_eur_per_h"`        // what it saves an hour
	CostMicroEUR  int64 `json:"cost_micro_eur"`         // what it costs once
	MakespanS     int64 `json:"makespan_s"`             // until the last action should end
	LowerBoundS   int64 `json:"lower_bound_s,omitzero"` // no schedule can be shorter
	VMsAtDeadline int64 `json:"vms_at_deadline,omitzero"`

	Power  PowerCost `json:"power,omitzero"`
	Wishes WishGain  `json:"wishes,omitzero"`
}

// A WishGain is what wishes for places are worth while their choices are expected to
// hold, the cost of the moves deducted, micro-euros, as foreseen before hosts are
// chosen: those that the plan grants, and no more than the bound could be granted by any
// plan for the same moment, whose moves wait for nobody to leave.
type WishGain struct {
	Granted int64 `json:"granted"`
	Bound   int64 `json:"bound"`
}

// SharePct is how much of what is possible the plan grants.
func (g WishGain) SharePct() float64 {
	if g.Bound <= 0 {
		return 100
	}
	return float64(g.Granted) * 100 / float64(g.Bound)
}

// A PowerCost is what the power of the clusters costs in which hosts may sleep,
// micro-euros an hour: now, with the plan, and at least, whatever the plan. The
// moves and the wear of switching are spread over the time that a choice holds.
type PowerCost struct {
	Start   int64 `json:"start"`
	Planned int64 `json:"planned"`
	Bound   int64 `json:"bound"`
}

// SharePct is how much of the possible saving the plan makes; all of nothing
// where nothing can be saved.
func (c PowerCost) SharePct() float64 {
	if c.Start <= c.Bound {
		return 100
	}
	return float64(c.Start-c.Planned) * 100 / float64(c.Start-c.Bound)
}

// GapPct is by how much the plan's cost may exceed the least, percent of that.
func (c PowerCost) GapPct() float64 {
	if c.Bound <= 0 {
		return 0
	}
	return float64(c.Planned-c.Bound) * 100 / float64(c.Bound)
}

// A Plan is ordered actions with dependencies, and holds. Once made it never changes.
type Plan struct {
	Cycle   uint64   `json:"cycle"`
	Level   Mode     `json:"level"`            // Enforce, Advise, or Shadow
	Shadow  string   `json:"shadow,omitempty"` // the policy whose shadow plan this is
	At      Unix     `json:"at"`
	Actions []Action `json:"actions"`
	Holds   []Hold   `json:"holds"`
	Effect  Effect   `json:"effect"`
	// Evaluated counts the candidates looked at, against Input's budget.
	Evaluated int64 `json:"evaluated"`
}

// Hash identifies what a plan would do: its actions and edges, not its reasons
// or estimates, so that an approval survives a re-reading of the same plan.
func (p *Plan) Hash() string {
	var b strings.Builder
	for i := range p.Actions {
		a := &p.Actions[i]
		fmt.Fprintf(&b, "%s|%s|%s|%s|%s|%t|%t|%s|%v|%v|%v\n", a.Kind, a.VM, a.From.Host, a.To.Host, a.To.Pool, a.Storage, a.To.DRS, a.HomeTo, diskTargets(a.Disks), a.NICs, a.After)
	}
	return DigestBytes([]byte(b.String()))
}

// Part is the plan with some of its actions alone, given by index, ascending: what they
// come after and is not among them has been done.
func (p *Plan) Part(keep []int32) *Plan {
	part := *p
	part.Actions = make([]Action, len(keep))
	at := make(map[int32]int32, len(keep))
	for n, i := range keep {
		at[i] = int32(n)
	}
	for n, i := range keep {
		a := p.Actions[i]
		a.After = nil
		for _, j := range p.Actions[i].After {
			if k, ok := at[j]; ok {
				a.After = append(a.After, k)
			}
		}
		part.Actions[n] = a
	}
	return &part
}

// Evacuates lists the sites that the plan empties, each once.
func (p *Plan) Evacuates() (sites []string) {
	for i := range p.Actions {
		if d := p.Actions[i].Demand; d.Kind == "site" && !slices.Contains(sites, d.ID) {
			sites = append(sites, d.ID)
		}
	}
	return sites
}

func diskTargets(ds []DiskTarget) string {
	var b strings.Builder
	for _, d := range ds {
		fmt.Fprintf(&b, "%d>%s;", d.Key, d.To)
	}
	return b.String()
}
