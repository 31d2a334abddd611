package cycle

import (
	"cmp"
	"fmt"
	"slices"

	"heliostat/engine"
)

// awayMost is how long the way back of an evacuated VM is offered: after a month it
// is at home where it is.
const awayMost = 30 * day

// A homeward is a VM that an evacuation has brought away, and that may go home.
type homeward struct {
	vm, site int32
	free     bool // its owner lets it go to any site anyway
}

// away remembers that an evacuation has brought a VM away from its site, the first
// of several.
func (g *gate) away(r *engine.ActionRecord) {
	a := &r.Action
	if a.Kind != engine.Move || a.Demand.Kind != "site" || a.From.Site == a.To.Site {
		return
	}
	if !slices.ContainsFunc(g.state.Away, func(x engine.Away) bool { return x.VM == a.VM }) {
		g.state.Away = append(g.state.Away, engine.Away{VM: a.VM, Site: a.From.Site, At: r.Ended})
	}
}

// homewards lists what may go home, by VM, and forgets what is there or has been
// away for too long. Where anything still speaks against the site nothing returns.
func (g *gate) homewards(v *engine.View) []homeward {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := v.Snapshot
	g.state.Away = slices.DeleteFunc(g.state.Away, func(x engine.Away) bool {
		i, seen := s.FindVM(x.VM)
		if seen && s.VMSite(i) >= 0 && s.Sites[s.VMSite(i)].ID == x.Site {
			return true
		}
		return v.Now-x.At > awayMost
	})
	var out []homeward
	for _, x := range g.state.Away {
		vm, seen := s.FindVM(x.VM)
		site, known := s.FindSite(x.Site)
		if seen && known && s.VMSite(vm) >= 0 && len(Tiers{}.evidence(v, x.Site)) == 0 {
			out = append(out, homeward{vm, site, s.VMs[vm].Across})
		}
	}
	slices.SortFunc(out, func(a, b homeward) int { return cmp.Compare(a.vm, b.vm) })
	return out
}

// openWay lets a VM that was evacuated go back the way it came, though its owner has
// not opted in to moves across vCenters. Call it before anybody has seen s.
func openWay(s *engine.Snapshot, list []homeward) {
	for _, x := range list {
		s.VMs[x.vm].Across = true
	}
}

// wayBack lays over what the policies and persons said that VMs which were evacuated
// would rather be at home, unless that is to be empty. It is advice: a person approves
// the way back. Those for which only that way is open go there or stay.
func wayBack(d *engine.Decision, s *engine.Snapshot, list []homeward, worth int64) *engine.Decision {
	if len(list) == 0 {
		return d
	}
	said := speak(d)
	said.Prefers, said.AllowSites = slices.Clone(d.Prefers), slices.Clone(d.AllowSites)
	for _, x := range list {
		home := siteSubject(s, x.site)
		why := fmt.Sprintf("it stood at site %s before that was evacuated", home.ID)
		if !slices.ContainsFunc(d.Evacuations, func(e engine.Evacuation) bool { return e.Place == home }) {
			said.Prefers = append(said.Prefers, engine.Prefer{
				VM: x.vm, To: home, MicroEUR: worth, By: said.by(engine.Voice{Policy: operator, Rule: engine.RulePrefer, Mode: engine.Advise}, why),
			})
		}
		if x.free {
			continue
		}
		said.AllowSites = append(said.AllowSites, engine.AllowSites{
			VM: x.vm, Sites: engine.SiteMask(0).With(x.site).With(s.VMSite(x.vm)), By: said.by(engine.Voice{Policy: operator, Rule: engine.RuleAllowSites, Mode: engine.Enforce, Yields: true}, why),
		})
	}
	slices.SortStableFunc(said.Prefers, func(a, b engine.Prefer) int { return cmp.Compare(a.VM, b.VM) })
	slices.SortStableFunc(said.AllowSites, func(a, b engine.AllowSites) int { return cmp.Compare(a.VM, b.VM) })
	return said.Decision
}

func siteSubject(s *engine.Snapshot, site int32) engine.Subject {
	return engine.Subject{Kind: "site", ID: string(s.Sites[site].ID)}
}
