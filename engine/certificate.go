package engine

import "fmt"

// A Certificate says what an evacuation can and cannot save by its deadline, with
// the bounds that prove it. It is computed from a plan's Input and the plan, and
// decides nothing.
//
// Times are those of a simulation of the plan by the executor's own rule: slots,
// and links and interfaces that moves share. The bounds are of the same model:
// everything else stays where it is, and nothing happens that is not planned.
type Certificate struct {
	Demand   Subject `json:"demand"`
	Name     string  `json:"name"`
	At       Unix    `json:"at"`
	Deadline Unix    `json:"deadline"`
	// Traded: higher tiers do not come first; the order is by value for what is scarce.
	Traded bool `json:"traded,omitempty"`

	VMs   int         `json:"vms"`           // that run there, agents apart
	Gone  int         `json:"gone,omitzero"` // that left before, and are not among VMs
	Leave int         `json:"leave"`         // of VMs: out by the deadline
	Work  int         `json:"work"`          // of those: that can be reached and have all that they need
	Late  int         `json:"late,omitzero"` // of VMs: planned, and out only after it
	Stay  int         `json:"stay,omitzero"` // of VMs: with no way out
	Value Worth       `json:"value"`         // of those that work
	Tiers []TierScore `json:"tiers"`         // the highest first
	// Other is the plan with its tiers the other way: strict where this one
	// trades. nil where everything is out in time, or there is but one tier.
	Other *OrderScore `json:"other,omitempty"`

	Makespan Makespan `json:"makespan"`
	ETA      ETA      `json:"eta"`
	Harm     Harm     `json:"harm"`

	Prices      []Price    `json:"prices,omitempty"`      // of what binds, the dearest first
	Out         []Stranded `json:"not_out,omitempty"`     // each of VMs that is not out by the deadline
	Unreachable []Stranded `json:"unreachable,omitempty"` // each that is out, and does not work
	Left        []Leftover `json:"left,omitempty"`        // what else is there and stays
}

// Worth is what works by the deadline, in units of a VM of the lowest tier.
type Worth struct {
	Reached int64 `json:"reached"`
	Bound   int64 `json:"bound"` // no plan reaches more; with strict tiers: that has no fewer of each higher tier
	All     int64 `json:"all"`   // of all that run there
}

// A TierScore counts the VMs of one tier.
type TierScore struct {
	Tier  int32 `json:"tier"`
	Other bool  `json:"other,omitempty"` // those that no policy has put in a tier
	VMs   int   `json:"vms"`
	Leave int   `json:"leave"`
	Work  int   `json:"work"`
	// UpTo is how many of this tier and those before it leave, and Bound how many
	// could at most.
	UpTo  int `json:"up_to"`
	Bound int `json:"bound"`
}

// An OrderScore is what another order would reach.
type OrderScore struct {
	Traded bool  `json:"traded,omitempty"`
	Leave  int   `json:"leave"`
	Work   int   `json:"work"`
	Value  int64 `json:"value"`
}

// A Makespan is how long the evacuation takes, and what no schedule of its moves
// can be shorter than.
type Makespan struct {
	Seconds int64  `json:"seconds"`
	BoundS  int64  `json:"bound_s"`
	Binds   string `json:"binds,omitempty"` // what has that much work
}

// An ETA is when the last move should have ended, and between what moments it will
// in 9 of 10 cases.
type ETA struct {
	At      Unix `json:"at,omitzero"` // 0: nothing moves
	From    Unix `json:"from,omitzero"`
	To      Unix `json:"to,omitzero"`
	Learned int  `json:"learned"` // from how many finished moves; few, and the interval is the published error of such models
}

// Harm is what the moves cost those who use the VMs.
type Harm struct {
	StunMS  int64 `json:"stun_ms"`           // all switch-overs together
	WorstMS int64 `json:"worst_ms,omitzero"` // the longest of them
	SlowS   int64 `json:"slow_s"`            // VM-seconds in which memory is copied from a running VM
}

// A Price is what one more unit of something scarce would be worth.
type Price struct {
	What  string `json:"what"` // such as "link a - b" or "memory of cluster x"
	Unit  string `json:"unit"`
	Has   int64  `json:"has"`   // until the deadline
	Milli int64  `json:"milli"` // value x 1000 of a hundredth of it
}

// Causes of a VM's not making it.
const (
	CauseLink        = "link"
	CauseSlot        = "slot"
	CauseDestination = "destination"
	CauseDevice      = "device"
	CauseNetwork     = "network"
	CausePolicy      = "policy"
	CauseState       = "state" // of the VM, its host or what is seen of them
	CauseGateway     = "gateway"
	CauseDependency  = "dependency"
)

// Headline is the certificate in a line: the answer.
func (c *Certificate) Headline() string {
	by := c.Deadline.Time().Format("15:04 MST on Mon 2 Jan")
	switch {
	case c.VMs == 0:
		return fmt.Sprintf("%s %s: nothing runs there any more", c.Demand.Kind, c.Name)
	case c.Work == c.VMs:
		return fmt.Sprintf("%s %s: all %d VMs that run there are out and working by %s", c.Demand.Kind, c.Name, c.VMs, by)
	case c.Work == c.Leave:
		return fmt.Sprintf("%s %s: %d of the %d VMs that run there are out and working by %s; %d are NOT", c.Demand.Kind, c.Name, c.Work, c.VMs, by, c.VMs-c.Work)
	}
	return fmt.Sprintf("%s %s: of the %d VMs that run there %d are out by %s, and only %d of them work; %d are NOT out", c.Demand.Kind, c.Name, c.VMs, c.Leave, by, c.Work, c.VMs-c.Leave)
}

// A Stranded VM is not out, or not working, by the deadline.
type Stranded struct {
	VM     VMID     `json:"vm"`
	Name   string   `json:"name"`
	Tier   int32    `json:"tier"`
	Other  bool     `json:"other,omitempty"` // in no tier
	Cause  string   `json:"cause"`
	Code   HoldCode `json:"code,omitempty"`
	Detail string   `json:"detail"`
	Ends   Unix     `json:"ends,omitzero"`   // when it should be out; 0: it has no way out
	Buys   []string `json:"buys,omitempty"`  // what would bring it out
	Proof  string   `json:"proof,omitempty"` // the bound
}

// A Leftover is something that stays, and does not count.
type Leftover struct {
	VM   VMID   `json:"vm"`
	Name string `json:"name"`
	What string `json:"what"` // template, powered off, suspended, agent
	Why  string `json:"why,omitempty"`
}
