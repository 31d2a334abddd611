package cycle

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"heliostat/engine"
)

// Rails limit what the loop starts when something may be wrong. The zero value
// limits nothing.
type Rails struct {
	// Ramp is for how long actions start slowly after a start or a resume: one in
	// the first minute, twice as many in each one after; and no second one before one
	// has ended well, nor a sixth at a time before six have. 0: not at all.
	Ramp time.Duration `yaml:"ramp"`
	// RampDemand is the same for evacuations and maintenance. At most 5m.
	RampDemand time.Duration `yaml:"ramp_demand"`
	// BreakerFirst is how many of the first 5 actions at a vCenter may end badly
	// (failed or lost) until nothing is started there any more. 0: as many as will.
	BreakerFirst int32 `yaml:"breaker_first"`
	// BreakerPct is how many of the last 100 may, in per cent. 0: as many as will.
	BreakerPct int32 `yaml:"breaker_pct"`
	// BreakerRest is how long such a vCenter is left alone, unless a person resumes.
	BreakerRest time.Duration `yaml:"breaker_rest"`
	// Budgets are by host, cluster and site. nil only outside a configuration: none bind.
	Budgets *Budgets `yaml:"budgets"`
	// ReturnMicro is what it is worth an hour that a VM which was evacuated goes home
	// once nothing speaks against it, in micro-euros: offered as advice. 0: not offered.
	ReturnMicro int64 `yaml:"return_micro_eur_per_h"`
	// Tiers say for what persons are needed.
	Tiers Tiers `yaml:"tiers"`
}

// DefaultRails follows the incidents that other systems learned from.
func DefaultRails() Rails {
	return Rails{Ramp: 10 * time.Minute, RampDemand: rampDemandMost, BreakerFirst: 2, BreakerPct: 5, BreakerRest: 30 * time.Minute, Budgets: DefaultBudgets(), ReturnMicro: 200_000, Tiers: DefaultTiers()}
}

// rampDemandMost is the longest that what has a deadline may be slowed.
const rampDemandMost = 5 * time.Minute

// Validate reports every setting that makes no sense.
func (r Rails) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Ramp < 0 || r.Ramp > time.Hour {
		bad("ramp: %v is not between 0s and 1h", r.Ramp)
	}
	if r.RampDemand < 0 || r.RampDemand > rampDemandMost {
		bad("ramp_demand: %v is not between 0s and %v", r.RampDemand, rampDemandMost)
	}
	if r.BreakerFirst < 0 || r.BreakerFirst > breakerFirst {
		bad("breaker_first: %d is not between 0 and %d", r.BreakerFirst, breakerFirst)
	}
	if r.BreakerPct < 0 || r.BreakerPct > 100 {
		bad("breaker_pct: %d is not between 0 and 100", r.BreakerPct)
	}
	if r.BreakerRest < 0 {
		bad("breaker_rest: %v is negative", r.BreakerRest)
	}
	if r.ReturnMicro < 0 {
		bad("return_micro_eur_per_h: %d is negative", r.ReturnMicro)
	}
	if r.Budgets != nil {
		errs = append(errs, r.Budgets.validate())
	}
	return errors.Join(append(errs, r.Tiers.validate())...)
}

// quietFor is how long a rail must not have bitten to be logged as news: two sites
// that neither can be emptied pass their turn to and fro.
const quietFor = time.Hour

// A bite is a rail that bit.
type bite struct {
	subject engine.Subject
	detail  string
}

// railed are the rails that bite, with the names that people know. It logs those
// that are new.
func (l *Loop) railed() []engine.Hold {
	now := time.Now()
	holds := append(l.gate.holds(now), l.judged...)
	for _, x := range l.approved {
		holds = append(holds, x.holds(l.ApprovalTTL)...)
	}
	holds = slices.DeleteFunc(holds, func(h engine.Hold) bool { return h.Code == engine.HoldApproval && l.inHand(h.Subject) })
	for i := range holds {
		h := &holds[i]
		if s := l.shown.Snapshot; s != nil && h.Subject.Kind == "vcenter" {
			if k, ok := s.FindVCenter(engine.VCenterID(h.Subject.ID)); ok {
				h.Name = s.VCenters[k].Name
			}
		}
		x := bite{h.Subject, h.Detail}
		if now.Sub(l.bitten[x]) >= quietFor {
			l.Log.Warn("rail bites", "rail", string(h.Code), "subject", h.Subject.String(), "name", h.Name, "detail", h.Detail)
		}
		l.bitten[x] = now
	}
	maps.DeleteFunc(l.bitten, func(_ bite, last time.Time) bool { return now.Sub(last) >= quietFor })
	return holds
}

// inHand tells whether persons have approved an evacuation that is carried out now, and
// nothing more of it waits for them.
func (l *Loop) inHand(site engine.Subject) bool {
	if l.pending != nil && slices.Contains(l.pending.Plan.Evacuates(), site.ID) {
		return false
	}
	return slices.ContainsFunc(slices.Concat(l.approvedRest(""), l.Executor.Open()), func(r engine.ActionRecord) bool { return r.Action.Demand == site })
}
