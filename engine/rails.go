package engine

// RailState is what the rails remember from one cycle to the next, so that a
// restart neither forgets a failure nor gives a budget anew.
type RailState struct {
	Breakers []Breaker `json:"breakers,omitempty"`
	Starts   []Start   `json:"starts,omitempty"` // of the last day, oldest first
	Away     []Away    `json:"away,omitempty"`   // brought away by evacuations, and not back
}

// An Away is a VM that the evacuation of its site has brought to another.
type Away struct {
	VM   VMID   `json:"vm"`
	Site SiteID `json:"site"` // where it stood
	At   Unix   `json:"at"`
}

// A Breaker is how actions ended at one vCenter, and until when it is left alone.
type Breaker struct {
	VCenter VCenterID `json:"vcenter"`
	Ended   string    `json:"ended,omitempty"` // the last ones, oldest first: . well, x badly
	Until   Unix      `json:"until,omitzero"`
	Why     string    `json:"why,omitempty"` // why it is open, until then
}

// A Start is one action that was started, as budgets count it.
type Start struct {
	ID     string `json:"id"`
	At     Unix   `json:"at"`
	From   Place  `json:"from"`
	To     Place  `json:"to,omitzero"`
	Demand bool   `json:"demand,omitempty"` // for an evacuation or maintenance
	Retry  bool   `json:"retry,omitempty"`  // the last action on it had failed
}

// Touches reports whether the action was about the vCenter, site, cluster or host,
// at either end.
func (x *Start) Touches(place Subject) bool { return x.From.is(place) || x.To.is(place) }

func (p *Place) is(place Subject) bool {
	switch place.Kind {
	case "vcenter":
		return string(p.VCenter) == place.ID
	case "site":
		return string(p.Site) == place.ID
	case "cluster":
		return string(p.Cluster) == place.ID
	case "host":
		return string(p.Host) == place.ID
	}
	return false
}
