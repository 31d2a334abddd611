// Package whatif asks the planner what would have had to be different for a VM
// to move. It is pure: it changes an Input in one respect after another and
// builds the plan again, so that what it answers is what the planner would do,
// and not a second opinion.
package whatif

import (
	"slices"

	"heliostat/engine"
	"heliostat/engine/plan"
)

// maxSteps bounds how many constraints in a row an answer names.
const maxSteps = 12

// ceiling is what the question offers for the move at most, micro-euros an hour:
// a thousand euros an hour outweighs every cost that there is.
const ceiling = int64(1_000_000_000)

// An Answer says what keeps a VM from a place.
type Answer struct {
	VM   engine.VMID    `json:"vm"`
	Name string         `json:"name"`
	To   engine.Subject `json:"to"`

	There bool `json:"there,omitempty"` // it is there already
	Moves bool `json:"moves,omitempty"` // the plan moves it there as things are

	// Binds are the constraints in the way, in the order in which they bind:
	// with the first lifted the second binds, and so on.
	Binds []Bind `json:"binds"`
	// Possible: with all of them lifted it moves. Otherwise the last one is a
	// fact that no setting changes.
	Possible bool `json:"possible"`
	// ShortMicro is what the move would have to be worth more, micro-euros an
	// hour, once nothing binds; 0 when it is worth enough.
	ShortMicro int64 `json:"short_micro_eur_per_h"`
	// Scores words it as what site scores would have to be.
	Scores []Score `json:"scores,omitempty"`

	Builds int `json:"builds"` // plans built to find out
}

// A Bind is one constraint, as the planner worded it.
type Bind struct {
	Code   engine.HoldCode `json:"code"`
	Detail string          `json:"detail"`
	Unless string          `json:"unless,omitempty"` // what would lift it; empty: nothing does
}

// A Score is how much higher a policy's score of the place, above that of where
// the VM is, would have to be.
type Score struct {
	Policy string  `json:"policy"`
	More   float64 `json:"more"`
}

// Deny asks the policies about moves, as the loop does when a plan proposes them.
type Deny func(moves []engine.Action) []engine.Veto

// WhyNot asks why VM v is not moved to the place: of kind site, cluster or host. The
// policies are asked about the moves that it thinks of; with a nil deny nobody is.
func WhyNot(in engine.Input, v int32, to engine.Subject, deny Deny) Answer {
	q := &question{in: in, v: v, to: to, site: siteOf(in.Snapshot, to), deny: deny, said: map[engine.HostID][]engine.Veto{}}
	vm := &in.Snapshot.VMs[v]
	a := Answer{VM: vm.ID, Name: vm.Name, To: to, Binds: []Bind{}}
	switch {
	case q.inside(vm.Host):
		a.There = true
		return a
	case q.moved(in, 0):
		a.Moves, a.Builds = true, q.builds
		return a
	}
	eased := in
	for len(a.Binds) < maxSteps {
		p := q.build(eased, ceiling)
		if q.moves(p) {
			a.Possible = true
			break
		}
		h := q.hold(p)
		b := Bind{Code: h.Code, Detail: h.Detail}
		next, unless := q.lift(eased, h.Code, slices.ContainsFunc(a.Binds, func(x Bind) bool { return x.Code == h.Code }))
		b.Unless = unless
		a.Binds = append(a.Binds, b)
		if unless == "" {
			break
		}
		eased = next
	}
	if a.Possible && !q.moved(eased, 0) {
		a.ShortMicro = q.least(eased)
		a.Scores = q.scores(a.ShortMicro)
	}
	a.Builds = q.builds
	return a
}

// A question is what is asked of the planner again and again.
type question struct {
	in     engine.Input
	v      int32
	to     engine.Subject
	site   int32 // of the place; None where it has none
	builds int

	deny Deny
	said map[engine.HostID][]engine.Veto // about moves of the VM to hosts
}

func siteOf(s *engine.Snapshot, to engine.Subject) int32 {
	switch to.Kind {
	case "site":
		if i, ok := s.FindSite(engine.SiteID(to.ID)); ok {
			return i
		}
	case "cluster":
		if c, ok := s.FindCluster(engine.ClusterID(to.ID)); ok {
			return s.ClusterSite(c)
		}
	case "host":
		if h, ok := s.FindHost(engine.HostID(to.ID)); ok {
			return s.Hosts[h].Site
		}
	}
	return engine.None
}

// inside reports whether host h is in the place.
func (q *question) inside(h int32) bool {
	if h < 0 {
		return false
	}
	s := q.in.Snapshot
	host := &s.Hosts[h]
	switch q.to.Kind {
	case "site":
		return host.Site >= 0 && string(s.Sites[host.Site].ID) == q.to.ID
	case "cluster":
		return host.Cluster >= 0 && string(s.Clusters[host.Cluster].ID) == q.to.ID
	default:
		return string(host.ID) == q.to.ID
	}
}

func (q *question) moved(in engine.Input, premium int64) bool { return q.moves(q.build(in, premium)) }

// build plans with the VM worth so much more at the place.
func (q *question) build(in engine.Input, premium int64) *engine.Plan {
	q.builds++
	if premium > 0 {
		d := *in.Decision
		d.Voices = append(slices.Clone(d.Voices), engine.Voice{Policy: "question", Rule: engine.RulePrefer, Mode: engine.Enforce})
		d.Reasons = append(slices.Clone(d.Reasons), "somebody asks")
		x := engine.Prefer{VM: q.v, To: q.to, MicroEUR: premium, By: engine.By{Voice: int32(len(d.Voices)) - 1, Reason: int32(len(d.Reasons)) - 1}}
		at, _ := slices.BinarySearchFunc(d.Prefers, q.v+1, func(p engine.Prefer, v int32) int { return int(p.VM) - int(v) })
		d.Prefers = slices.Insert(slices.Clone(d.Prefers), at, x)
		in.Decision = &d
	}
	// As the loop: the plan is built around what the policies refuse, three times at most.
	for round := 1; ; round++ {
		p := plan.Build(in)
		fresh := q.refused(p, in.Vetoes)
		if len(fresh) == 0 {
			return p
		}
		if round == 3 {
			for i := range fresh {
				fresh[i].To = "" // anywhere
			}
		}
		in.Vetoes = append(slices.Clone(in.Vetoes), fresh...)
	}
}

// refused is what the policies say against the plan's move of the VM, beyond what is
// known. A refusal that was lifted is not asked for again.
func (q *question) refused(p *engine.Plan, known []engine.Veto) (fresh []engine.Veto) {
	if q.deny == nil {
		return nil
	}
	vm := q.in.Snapshot.VMs[q.v].ID
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Kind != engine.Move || a.VM != vm {
			continue
		}
		said, ok := q.said[a.To.Host]
		if !ok {
			said = q.deny([]engine.Action{*a})
			q.said[a.To.Host] = said
		}
		for _, v := range said {
			if !slices.ContainsFunc(known, func(k engine.Veto) bool { return k.VM == v.VM && (k.To == v.To || k.To == "") && k.Policy == v.Policy }) {
				fresh = append(fresh, v)
			}
		}
	}
	return fresh
}

func (q *question) moves(p *engine.Plan) bool {
	id := q.in.Snapshot.VMs[q.v].ID
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Kind != engine.Move || a.VM != id {
			continue
		}
		if h, ok := q.in.Snapshot.FindHost(a.To.Host); ok && q.inside(h) {
			return true
		}
		return q.to.Kind == "site" && string(a.To.Site) == q.to.ID || q.to.Kind == "cluster" && string(a.To.Cluster) == q.to.ID
	}
	return false
}

// hold is what the plan says of the VM. A plan that neither moves nor holds it
// found no reason to look at it.
func (q *question) hold(p *engine.Plan) engine.Hold {
	id := string(q.in.Snapshot.VMs[q.v].ID)
	for _, h := range p.Holds {
		if h.Subject.Kind == "vm" && h.Subject.ID == id {
			return h
		}
	}
	for _, h := range p.Holds {
		if h.Subject.Kind == "fleet" {
			return h
		}
	}
	return engine.Hold{Code: engine.HoldNowhere, Detail: "the planner does not move it: it is not running, its place is not known, or it is on its way elsewhere"}
}

// least finds the smallest premium that moves the VM, to a thousandth of itself.
func (q *question) least(in engine.Input) int64 {
	high := int64(100) // micro-euros an hour
	for high < ceiling && !q.moved(in, high) {
		high *= 10
	}
	low := high / 10
	for high-low > max(1, high/1000) {
		if mid := low + (high-low)/2; q.moved(in, mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// scores divides the premium by what a score of 1 is worth to the VM.
func (q *question) scores(premium int64) []Score {
	if q.site < 0 {
		return nil
	}
	var out []Score
	for _, v := range q.in.Decision.Voices {
		per := v.WeightMicroEUR * int64(q.in.Snapshot.VMs[q.v].VCPUs)
		if v.Rule == engine.RuleSiteScore && per > 0 {
			out = append(out, Score{Policy: v.Policy, More: float64(premium) / float64(per)})
		}
	}
	return out
}
