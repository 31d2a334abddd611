package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"heliostat/engine"
)

// Certify says of each evacuation of a site, cluster or host with a deadline what
// the plan saves by then, what no plan could, and why. It is pure, as [Build] is,
// and shares its view of what a VM may do; the times are those of a simulation,
// and the bounds those of a relaxed problem that has no order, no single hosts and
// no groups.
func Certify(in engine.Input, p *engine.Plan) []engine.Certificate {
	if in.Decision == nil || !slices.ContainsFunc(in.Decision.Evacuations, evacDue) {
		return nil
	}
	x := newCertifier(&in, p)
	var out []engine.Certificate
	for _, k := range x.b.rescues() {
		out = append(out, x.certificate(k))
	}
	return out
}

func newCertifier(in *engine.Input, p *engine.Plan) *certifier {
	f := newFluid(in, p.Actions)
	return &certifier{in: in, p: p, b: survey(*in), f: f, ends: f.run(nil)}
}

// A certifier writes the certificates of one plan.
type certifier struct {
	in   *engine.Input
	p    *engine.Plan
	b    *builder
	f    *fluid
	ends []float64

	// Of the evacuation at hand.
	r     *rescue
	c     *engine.Certificate
	out   []bool  // by index: out by the deadline
	act   []int32 // by index: its action, None
	works []bool

	coldSurvey *builder // with what has no way out powered off; nil until asked for
}

func (x *certifier) certificate(k int32) engine.Certificate {
	d := &x.b.demands[k]
	x.r, x.coldSurvey = x.b.rescue(k), nil
	x.c = &engine.Certificate{Demand: d.subject, Name: d.name, At: x.in.Now, Deadline: d.deadline, VMs: len(x.r.vms), Gone: x.gone(d), Traded: x.in.Config.TradeTiers, Tiers: []engine.TierScore{}}
	x.out, x.act = x.r.out(x.f, x.ends)
	x.works = x.r.works(x.out)
	for i := range x.r.vms {
		switch {
		case x.out[i]:
			x.c.Leave++
		case x.act[i] >= 0:
			x.c.Late++
		default:
			x.c.Stay++
		}
		if x.works[i] {
			x.c.Work++
		}
		x.c.Value.All += x.r.worth(int32(i))
	}
	x.scores()
	x.makespan()
	x.eta()
	x.harm()
	x.stranded()
	x.leftovers(k)
	return *x.c
}

// gone counts the VMs that evacuations have brought away from the place before.
func (x *certifier) gone(d *demand) int {
	n := 0
	if x.in.History == nil || d.subject.Kind != "site" {
		return 0
	}
	for _, a := range x.in.History.Rails.Away {
		if v, ok := x.b.s.FindVM(a.VM); ok && string(a.Site) == d.subject.ID && x.r.at[v] < 0 {
			n++
		}
	}
	return n
}

// scores counts by tier, and bounds what could be. Where all that can leave does,
// nothing needs to be bounded.
func (x *certifier) scores() {
	r, c := x.r, x.c
	work, value := r.tally(x.works)
	leave, _ := r.tally(x.out)
	all := make([]int, len(r.tiers))
	for _, k := range r.rank {
		all[k]++
	}
	r.survey()
	c.Value.Reached = value
	fewest := work
	if c.Traded {
		fewest = nil
	}
	bound, price := r.bound(value, fewest)
	c.Value.Bound = bound
	upTo := 0
	for k, tier := range r.tiers {
		upTo += leave[k]
		t := engine.TierScore{Tier: tier, VMs: all[k], Leave: leave[k], Work: work[k], UpTo: upTo, Bound: r.boundUpTo(int32(k), upTo)}
		if tier == math.MaxInt32 {
			t.Tier, t.Other = 0, true
		}
		c.Tiers = append(c.Tiers, t)
	}
	x.prices(price)
	if len(r.tiers) > 1 && c.Leave < c.VMs {
		c.Other = x.other()
	}
}

// other makes the plan with its tiers the other way, and counts what it saves.
func (x *certifier) other() *engine.OrderScore {
	in := *x.in
	in.Config.TradeTiers = !in.Config.TradeTiers
	p := Build(in)
	f := newFluid(&in, p.Actions)
	out, _ := x.r.out(f, f.run(nil))
	s := &engine.OrderScore{Traded: in.Config.TradeTiers}
	for i, yes := range x.r.works(out) {
		if out[i] {
			s.Leave++
		}
		if yes {
			s.Work++
			s.Value += x.r.worth(int32(i))
		}
	}
	return s
}

// prices lists what binds: the value of a hundredth more of it.
func (x *certifier) prices(price []float64) {
	for row, v := range price {
		has := x.r.market.capacity[row]
		milli := int64(math.Round(v * has * 10))
		if milli <= 0 {
			continue
		}
		x.c.Prices = append(x.c.Prices, engine.Price{What: x.r.names[row], Unit: x.r.units[row], Has: int64(has), Milli: milli})
	}
	slices.SortStableFunc(x.c.Prices, func(a, b engine.Price) int { return cmp.Compare(b.Milli, a.Milli) })
	const most = 8
	x.c.Prices = x.c.Prices[:min(len(x.c.Prices), most)]
}

// makespan is when the last of the moves ends, and how much work some host,
// interface or link has, which no order makes less.
func (x *certifier) makespan() {
	m := &x.c.Makespan
	nh := int32(len(x.b.s.Hosts))
	pipes, slots := make([]float64, len(x.f.rate)), make([]float64, nh)
	for i := range x.r.vms {
		n := x.act[i]
		if n < 0 {
			continue
		}
		m.Seconds = max(m.Seconds, int64(math.Ceil(x.ends[n])))
		least := math.Inf(1)
		for _, p := range x.f.pipes[n] {
			least = min(least, x.f.rate[p])
		}
		rest := x.f.rest(n, 1)
		secs := x.f.fixed[n] + rest*x.f.mbit[n]/least
		x.bindsBy(secs, x.f.acts[n].Name)
		cost := x.in.Config.Limits.Cost[x.f.acts[n].Class()]
		for _, p := range x.f.pipes[n] {
			pipes[p] += rest * x.f.mbit[n]
			if p < nh {
				slots[p] += float64(cost.Host) * secs
			}
		}
	}
	for p, mbit := range pipes {
		if mbit == 0 {
			continue
		}
		secs := mbit / x.f.rate[p]
		if int32(p) >= nh {
			k := &x.b.s.Links[int32(p)-nh]
			x.bindsBy(secs, fmt.Sprintf("link %s - %s", x.b.s.Sites[k.A].ID, x.b.s.Sites[k.B].ID))
			continue
		}
		x.bindsBy(secs, "vMotion network of "+x.b.s.Hosts[p].Name)
		x.bindsBy(slots[p]/float64(max(x.in.Config.Limits.HostUnits, 1)), "slots of "+x.b.s.Hosts[p].Name)
	}
}

func (x *certifier) bindsBy(secs float64, what string) {
	if s := int64(math.Floor(secs)); s > x.c.Makespan.BoundS {
		x.c.Makespan.BoundS, x.c.Makespan.Binds = s, what
	}
}

// harm adds up what the moves do to those who use the VMs.
func (x *certifier) harm() {
	for i := range x.r.vms {
		n := x.act[i]
		if n < 0 || x.f.acts[n].Cold {
			continue
		}
		e := &x.f.acts[n].Estimate
		x.c.Harm.StunMS += e.StunMS
		x.c.Harm.WorstMS = max(x.c.Harm.WorstMS, e.StunMS)
		x.c.Harm.SlowS += e.Seconds
	}
}

// leftovers lists what stands there and does not count.
func (x *certifier) leftovers(k int32) {
	moves := map[engine.VMID]bool{}
	for _, a := range x.f.acts {
		moves[a.VM] = true
	}
	for i := range x.b.s.VMs {
		vm := &x.b.s.VMs[i]
		var what string
		switch {
		case x.r.at[i] >= 0 || x.b.demandOf(int32(i)) != k || moves[vm.ID]:
			continue
		case vm.Obstacles&engine.ObAgent != 0:
			what = "agent"
		case vm.Template:
			what = "template"
		case vm.Power == engine.VMSuspended:
			what = "suspended"
		default:
			what = "powered off"
		}
		l := engine.Leftover{VM: vm.ID, Name: vm.Name, What: what}
		if h := x.hold(vm.ID); h != nil && what != "template" {
			l.Why = h.Detail
		}
		x.c.Left = append(x.c.Left, l)
	}
}

// hold is the plan's hold of a VM that is to leave, nil where there is none.
func (x *certifier) hold(vm engine.VMID) *engine.Hold {
	for i := range x.p.Holds {
		if h := &x.p.Holds[i]; h.Subject.ID == string(vm) && h.Subject.Kind == "vm" && h.Demand == x.c.Demand {
			return h
		}
	}
	return nil
}
