package cycle

import "heliostat/engine"

// A Ban is a hold on a whole vCenter (its subject) because of what an account
// there may or may not do.
type Ban struct {
	engine.Hold

	Scope BanScope
}

// A BanScope is how much is not started at the vCenter.
type BanScope uint8

// The scopes.
const (
	BanNone  BanScope = iota // it is only shown
	BanHosts                 // nothing that changes a host's state
	BanAll                   // nothing
)

// allBans are the bans now.
func (g *gate) allBans() []Ban {
	if g.bans == nil {
		return nil
	}
	return g.bans()
}

// banned says why the accounts may not do this, "" when they may.
func (g *gate) banned(a *engine.Action) string {
	for _, b := range g.allBans() {
		vc := engine.VCenterID(b.Subject.ID)
		here := vc == a.From.VCenter || (a.Across && vc == a.To.VCenter)
		if here && (b.Scope == BanAll || (b.Scope == BanHosts && a.Kind != engine.Move)) {
			return "vCenter " + b.Name + ": " + b.Detail
		}
	}
	return ""
}
