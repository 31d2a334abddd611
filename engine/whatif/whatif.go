// Package whatif asks the planner what would have had to be different for a VM
// to move. It is pure: it changes an Input in one respect after another and
// builds the plan again, so that what it answers is what the planner would do,
// and not a second opinion.
package whatif

import (
	"fmt"
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
	// ToName is what people call the place.
	ToName string `json:"to_name"`

	There bool `json:"there,omitempty"` // it is there already
	Moves bool `json:"moves,omitempty"` // the plan moves it there as things are

	// Binds are the constraints in the way, in the order in which they bind:
	// with the first lifted the second binds, and so on. Where it is possible, with any
	// of them left as it is the VM does not move.
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
// the VM is, would have to be, in thousandths.
type Score struct {
	Policy string  `json:"policy"`
	More   float64 `json:"more"`
	Now    float64 `json:"now"`              // how much it is above that of where the VM is; below, where negative
	Beyond bool    `json:"beyond,omitempty"` // that is more than scores can say, which are from -1 to 1
}

// Deny asks the policies about moves, as the loop does when a plan proposes them.
type Deny func(moves []engine.Action) []engine.Veto

// WhyNot asks why VM v is not moved to the place: of kind site, cluster or host. The
// policies are asked about the moves that it thinks of; with a nil deny nobody is.
func WhyNot(in engine.Input, v int32, to engine.Subject, deny Deny) Answer {
	q := ask(in, v, to, deny)
	vm := &in.Snapshot.VMs[v]
	a := Answer{VM: vm.ID, Name: vm.Name, To: to, ToName: q.name(), Binds: []Bind{}}
	switch {
	case q.inside(vm.Host):
		a.There = true
		return a
	case q.moved(in, 0):
		a.Moves, a.Builds = true, q.builds
		return a
	}
	var lifts []change
	eased := in
	for len(a.Binds) < maxSteps {
		p := q.build(eased, ceiling)
		if q.moves(p) {
			a.Possible = true
			break
		}
		h, about := q.hold(eased, p)
		b := Bind{Code: h.Code, Detail: h.Detail}
		var lift change
		if about && !slices.ContainsFunc(a.Binds, func(x Bind) bool { return x.Code == h.Code }) { // once was not enough
			lift, b.Unless = q.lift(eased, h.Code)
		}
		a.Binds = append(a.Binds, b)
		if lift == nil {
			break
		}
		lifts, eased = append(lifts, lift), lift(eased)
	}
	if a.Possible {
		eased = q.prune(&a, lifts)
	}
	if a.Possible && !q.moved(eased, 0) {
		a.ShortMicro = q.premium(eased)
		a.Scores = q.scores(a.ShortMicro)
	}
	a.Builds = q.builds
	return a
}

// prune leaves out what needs not be lifted, as others were that came later, and gives
// the Input with the rest lifted.
func (q *question) prune(a *Answer, lifts []change) engine.Input {
	without := func(k int) engine.Input {
		in := q.in
		for i, lift := range lifts {
			if i != k {
				in = lift(in)
			}
		}
		return in
	}
	for k := 0; k < len(lifts) && len(lifts) > 1; {
		permit := q.permit
		if a.Binds[k].Code == engine.HoldVeto {
			q.permit = false
		}
		if !q.moved(without(k), ceiling) {
			q.permit = permit
			k++
			continue
		}
		lifts, a.Binds = slices.Delete(lifts, k, k+1), slices.Delete(a.Binds, k, k+1)
	}
	return without(-1)
}

// A question is what is asked of the planner again and again.
type question struct {
	in     engine.Input
	v      int32
	to     engine.Subject
	site   int32   // of the place; None where it has none
	there  []int32 // hosts of the place
	want   string  // how the planner words it
	builds int

	deny   Deny
	permit bool                            // the policies are not asked any more
	said   map[engine.HostID][]engine.Veto // about moves of the VM to hosts
}

func ask(in engine.Input, v int32, to engine.Subject, deny Deny) *question {
	q := &question{in: in, v: v, to: to, site: siteOf(in.Snapshot, to), deny: deny, said: map[engine.HostID][]engine.Veto{}}
	for h := range in.Snapshot.Hosts {
		if q.inside(int32(h)) {
			q.there = append(q.there, int32(h))
		}
	}
	q.want = "move to " + to.Kind + " " + q.name()
	return q
}

// name is what people call the place.
func (q *question) name() string {
	s := q.in.Snapshot
	if len(q.there) == 0 {
		return q.to.ID
	}
	switch h := &s.Hosts[q.there[0]]; q.to.Kind {
	case "cluster":
		return s.Clusters[h.Cluster].Name
	case "host":
		return h.Name
	}
	return q.to.ID
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
	p, _ := q.settle(in, premium)
	return p
}

// settle is build, and gives what the plan was made from.
func (q *question) settle(in engine.Input, premium int64) (*engine.Plan, engine.Input) {
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
			return p, in
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
	if q.deny == nil || q.permit {
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

// hold is what keeps the VM from the place in a plan that does not move it there. It is
// not about the place where the plan has other things in mind for the VM.
func (q *question) hold(in engine.Input, p *engine.Plan) (h engine.Hold, about bool) {
	if h, ok := heldIn(p, engine.Subject{Kind: "fleet"}); ok {
		return h, true
	}
	vm := &in.Snapshot.VMs[q.v]
	self := engine.Subject{Kind: "vm", ID: string(vm.ID)}
	first, found := heldIn(p, self)
	if found && q.asked(first.Want) {
		return q.nobodyThere(in, first), true
	}
	for i := range p.Actions {
		if a := &p.Actions[i]; a.Kind == engine.Move && a.VM == vm.ID && a.Demand != (engine.Subject{}) {
			return engine.Hold{Code: engine.HoldBusy, Detail: fmt.Sprintf("it is to leave %s, for %s", a.Demand, a.To.Name)}, false
		}
	}
	// The planner speaks of what is demanded, and of the best place that is allowed: it is
	// to speak of this one.
	alone := q.alone(in, first.Demand)
	p = q.build(alone, ceiling)
	if h, ok := heldIn(p, self); ok && q.asked(h.Want) {
		return q.nobodyThere(in, h), true
	}
	switch {
	case q.moves(p) && first.Demand != (engine.Subject{}):
		return engine.Hold{Code: engine.HoldEvacuating, Detail: fmt.Sprintf("it is to leave %s, and cannot: %s", first.Demand, first.Detail)}, false
	case found && q.moved(q.ungrouped(in), ceiling):
		return engine.Hold{Code: engine.HoldRule, Detail: first.Want + ": " + first.Detail}, true
	case found:
		first.Detail = "first it is to " + first.Want + ": " + first.Detail
		return first, false
	case vm.Power != engine.VMOn:
		return engine.Hold{Code: engine.HoldPoweredOff, Detail: "it is not running, and nothing wants what does not run elsewhere"}, false
	case vm.Obstacles&engine.ObAgent != 0:
		return engine.Hold{Code: engine.HoldObstacle, Detail: "it is an agent of its cluster"}, false
	case in.Snapshot.VMSite(q.v) < 0:
		return engine.Hold{Code: engine.HoldGap, Detail: "the place where it runs is not known"}, false
	}
	return engine.Hold{Code: engine.HoldBusy, Detail: "it is on its way elsewhere"}, false
}

// asked reports whether what the planner wants is the move to the place, or to a cluster
// or host in it.
func (q *question) asked(want string) bool {
	s := q.in.Snapshot
	return want == q.want || slices.ContainsFunc(q.there, func(h int32) bool {
		return want == "move to host "+s.Hosts[h].Name || want == "move to cluster "+s.Clusters[s.Hosts[h].Cluster].Name
	})
}

func heldIn(p *engine.Plan, subject engine.Subject) (engine.Hold, bool) {
	i := slices.IndexFunc(p.Holds, func(h engine.Hold) bool { return h.Subject == subject })
	if i < 0 {
		return engine.Hold{}, false
	}
	return p.Holds[i], true
}

// nobodyThere says of a place without a host that takes VMs that this is what it lacks,
// and not room.
func (q *question) nobodyThere(in engine.Input, h engine.Hold) engine.Hold {
	if h.Code != engine.HoldReserve && h.Code != engine.HoldCapacity {
		return h
	}
	for i := range in.Snapshot.Hosts {
		if x := &in.Snapshot.Hosts[i]; q.inside(int32(i)) && x.Power == engine.HostOn && x.Reachable() && !x.Maintenance && !x.Entering {
			return h
		}
	}
	h.Code, h.Detail = engine.HoldUnavailable, "no host there is on, answers and is out of maintenance"
	return h
}

// alone is the Input in which nothing else is wished for the VM, and what is demanded
// of it is not.
func (q *question) alone(in engine.Input, demand engine.Subject) engine.Input {
	d := *in.Decision
	d.Evacuations = slices.DeleteFunc(slices.Clone(d.Evacuations), func(x engine.Evacuation) bool { return x.Place == demand })
	d.Drains = slices.DeleteFunc(slices.Clone(d.Drains), func(x engine.Drain) bool { return string(in.Snapshot.Hosts[x.Host].ID) == demand.ID })
	d.Prefers = slices.DeleteFunc(slices.Clone(d.Prefers), func(x engine.Prefer) bool { return x.VM == q.v })
	d.Voices = append(slices.Clone(d.Voices), engine.Voice{Policy: "question", Rule: engine.RuleAllowSites, Mode: engine.Enforce, Yields: true})
	d.Reasons = append(slices.Clone(d.Reasons), "somebody asks")
	x := engine.AllowSites{VM: q.v, By: engine.By{Voice: int32(len(d.Voices)) - 1, Reason: int32(len(d.Reasons)) - 1}}
	for _, site := range []int32{in.Snapshot.VMSite(q.v), q.site} {
		if site >= 0 {
			x.Sites = x.Sites.With(site)
		}
	}
	at, _ := slices.BinarySearchFunc(d.AllowSites, q.v+1, func(p engine.AllowSites, v int32) int { return int(p.VM) - int(v) })
	d.AllowSites = slices.Insert(slices.Clone(d.AllowSites), at, x)
	in.Decision = &d
	return in
}

// premium is the smallest that moves the VM, to a thousandth of itself.
func (q *question) premium(in engine.Input) int64 {
	return smallest(ceiling, 1, func(micro int64) bool { return q.moved(in, micro) })
}

// scores divides the premium by what a score of 1 is worth to the VM.
func (q *question) scores(premium int64) []Score {
	if q.site < 0 {
		return nil
	}
	var out []Score
	d, from := q.in.Decision, q.in.Snapshot.VMSite(q.v)
	for i, v := range d.Voices {
		per := v.WeightMicroEUR * int64(q.in.Snapshot.VMs[q.v].VCPUs)
		if v.Rule != engine.RuleSiteScore || per <= 0 {
			continue
		}
		milli := (premium*1000 + per - 1) / per
		now := int64(0)
		for _, x := range d.SiteScores {
			switch {
			case x.By.Voice != int32(i):
			case x.Site == q.site:
				now += int64(x.Milli)
			case x.Site == from:
				now -= int64(x.Milli)
			}
		}
		out = append(out, Score{Policy: v.Policy, More: float64(milli) / 1000, Now: float64(now) / 1000, Beyond: now+milli > 2000})
	}
	return out
}
