package cycle

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"heliostat/engine"
	"heliostat/engine/plan"
)

// A Denier is asked about the moves of a plan: see [Policy].
type Denier interface {
	Deny(ctx context.Context, v engine.View, moves []engine.Action) ([]engine.Veto, error)
}

// Settle builds the plan of in, asks deny about its moves, and builds again around
// the vetoes, which it adds to in. After MaxVetoRounds a VM still refused is vetoed
// everywhere. rounds is how often it was built.
func Settle(ctx context.Context, ask Denier, v engine.View, in *engine.Input) (p *engine.Plan, rounds int, err error) {
	return settle(ctx, plan.Build, ask, v, in)
}

// settle is Settle with plans from a planner.
func settle(ctx context.Context, build func(engine.Input) *engine.Plan, ask Denier, v engine.View, in *engine.Input) (p *engine.Plan, rounds int, err error) {
	asked := map[veto]bool{}
	for round := 1; ; round++ {
		p := build(*in)
		var moves []engine.Action
		for i := range p.Actions {
			if a := &p.Actions[i]; a.Kind == engine.Move && !asked[veto{a.VM, a.To.Host}] {
				asked[veto{a.VM, a.To.Host}] = true
				moves = append(moves, *a)
			}
		}
		if len(moves) == 0 {
			return p, round, nil
		}
		vetoes, err := ask.Deny(ctx, v, moves)
		if err != nil {
			return nil, round, fmt.Errorf("ask deny: %w", err)
		}
		fresh := false
		for _, v := range vetoes {
			if v.Mode < in.Level && (in.Shadow == "" || v.Policy != in.Shadow) {
				continue
			}
			if round >= MaxVetoRounds {
				v.To = "" // anywhere
			}
			in.Vetoes = append(in.Vetoes, v)
			fresh = true
		}
		if !fresh {
			return p, round, nil
		}
	}
}

type veto struct {
	vm engine.VMID
	to engine.HostID
}

// BundleVoices are the voices of a journaled decision that are the bundle's own, as
// it was configured then: the loop adds its own, and what it demotes, after them.
func BundleVoices(d *engine.Decision) []engine.Voice {
	for i, v := range d.Voices {
		if v.Policy == operator || slices.ContainsFunc(d.Voices[:i], func(x engine.Voice) bool { return x.Policy == v.Policy && x.Rule == v.Rule }) {
			return d.Voices[:i]
		}
	}
	return d.Voices
}

// Relay lays what the rails added to a journaled decision over what policies say
// about a snapshot with the same sites and VMs: freezes, the way back of evacuated
// VMs, what persons ordered, and how far the evacuation of a site was heard. What made the rails judge so,
// their configuration above all, is not in the journal; so an evacuation that the
// journal does not know is heard as its policy's mode says. Policies that say what
// they said then give the journaled decision, byte for byte.
func Relay(recorded, fresh *engine.Decision, s *engine.Snapshot) *engine.Decision {
	own := int32(len(BundleVoices(recorded)))
	if int(own) == len(recorded.Voices) {
		return fresh
	}
	said := speak(fresh)
	said.Prefers, said.AllowSites = slices.Clone(fresh.Prefers), slices.Clone(fresh.AllowSites)
	for _, v := range recorded.Voices[own:] {
		if !slices.Contains(said.Voices, v) && (v.Policy == operator || slices.ContainsFunc(fresh.Voices, func(x engine.Voice) bool { return x.Policy == v.Policy && x.Rule == v.Rule })) {
			said.Voices = append(said.Voices, v)
		}
	}
	for _, i := range reasonsOf(recorded, own) {
		if !slices.Contains(said.Reasons, recorded.Reasons[i]) {
			said.Reasons = append(said.Reasons, recorded.Reasons[i])
		}
	}
	by := func(b engine.By) engine.By { return said.by(recorded.Voices[b.Voice], recorded.Reasons[b.Reason]) }
	for _, x := range recorded.Evacuations {
		switch v := recorded.Voices[x.By.Voice]; {
		case x.By.Voice < own:
		case v.Policy == operator: // a person has ordered it
			x.By = by(x.By)
			said.Evacuations = append(said.Evacuations, x)
		default:
			said.lower(x.Place, v.Mode)
		}
	}
	for _, x := range recorded.Freezes {
		if x.By.Voice >= own {
			x.By = by(x.By)
			said.Freezes = append(said.Freezes, x)
		}
	}
	for _, x := range recorded.Prefers {
		if x.By.Voice >= own {
			x.By = by(x.By)
			said.Prefers = append(said.Prefers, x)
		}
	}
	for _, x := range recorded.AllowSites {
		if x.By.Voice >= own {
			x.By, x.Sites = by(x.By), x.Sites.With(s.VMSite(x.VM)) // it may stay, wherever it is
			said.AllowSites = append(said.AllowSites, x)
		}
	}
	slices.SortStableFunc(said.Prefers, func(a, b engine.Prefer) int { return cmp.Compare(a.VM, b.VM) })
	slices.SortStableFunc(said.AllowSites, func(a, b engine.AllowSites) int { return cmp.Compare(a.VM, b.VM) })
	return said.Decision
}

// reasonsOf are the reasons that voices from the own-th on give, ascending.
func reasonsOf(d *engine.Decision, own int32) []int32 {
	var out []int32
	add := func(b engine.By) {
		if b.Voice >= own {
			out = append(out, b.Reason)
		}
	}
	for _, x := range d.Evacuations {
		add(x.By)
	}
	for _, x := range d.Freezes {
		add(x.By)
	}
	for _, x := range d.Prefers {
		add(x.By)
	}
	for _, x := range d.AllowSites {
		add(x.By)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
