package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"heliostat/engine"
)

// causes sorts the reasons of holds.
var causes = map[engine.HoldCode]string{
	engine.HoldDeadline: engine.CauseLink, engine.HoldRTT: engine.CauseLink, engine.HoldBandwidth: engine.CauseLink, engine.HoldConverge: engine.CauseLink,
	engine.HoldCapacity: engine.CauseDestination, engine.HoldReserve: engine.CauseDestination, engine.HoldSpace: engine.CauseDestination,
	engine.HoldNowhere: engine.CauseDestination, engine.HoldCompat: engine.CauseDestination, engine.HoldStorage: engine.CauseDestination,
	engine.HoldObstacle: engine.CauseDevice, engine.HoldNetwork: engine.CauseNetwork, engine.HoldMAC: engine.CauseNetwork,
	engine.HoldFrozen: engine.CausePolicy, engine.HoldVeto: engine.CausePolicy, engine.HoldPinned: engine.CausePolicy, engine.HoldMode: engine.CausePolicy,
	engine.HoldSites: engine.CausePolicy, engine.HoldHosts: engine.CausePolicy, engine.HoldAcross: engine.CausePolicy, engine.HoldRule: engine.CausePolicy,
}

// stranded names each VM that is not out by the deadline, and each that is out and
// does not work.
func (x *certifier) stranded() {
	faster := x.faster()
	for i, v := range x.r.vms {
		vm := &x.b.s.VMs[v]
		s := engine.Stranded{VM: vm.ID, Name: vm.Name}
		if s.Tier = x.r.tiers[x.r.rank[i]]; s.Tier == math.MaxInt32 {
			s.Tier, s.Other = 0, true
		}
		switch {
		case x.works[i]:
			continue
		case x.out[i]:
			x.unreachable(&s, int32(i))
			x.c.Unreachable = append(x.c.Unreachable, s)
			continue
		case x.act[i] >= 0:
			x.late(&s, int32(i), faster)
		default:
			x.stays(&s, int32(i))
		}
		x.c.Out = append(x.c.Out, s)
	}
	slices.SortStableFunc(x.c.Out, func(a, b engine.Stranded) int {
		return cmp.Or(cmp.Compare(boolInt(a.Other), boolInt(b.Other)), cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Name, b.Name))
	})
}

func boolInt(x bool) int {
	if x {
		return 1
	}
	return 0
}

// late explains why a move ends after the deadline: its link, or slots.
func (x *certifier) late(s *engine.Stranded, i int32, faster []speedUp) {
	n := x.act[i]
	a := x.f.acts[n]
	late := x.ends[n] - x.r.seconds
	s.Ends, s.Code = x.in.Now+engine.Unix(math.Round(x.ends[n])), engine.HoldDeadline
	s.Cause, s.Detail = engine.CauseSlot, fmt.Sprintf("its move to %s should end %s after the deadline: it waits for slots", a.To.Name, span(late))
	k := x.linkOf(n)
	alone := x.f.fixed[n] + x.f.mbit[n]/x.slowest(n)
	if k >= 0 {
		l := &x.b.s.Links[k]
		s.Cause, s.Detail = engine.CauseLink, fmt.Sprintf("its move to %s should end %s after the deadline: link %s - %s has %d Mbit/s, and others leave first", a.To.Name, span(late), x.b.s.Sites[l.A].ID, x.b.s.Sites[l.B].ID, l.Mbps)
	}
	if alone > x.r.seconds {
		s.Proof = fmt.Sprintf("alone and at the full rate it takes %s, and there are %s", span(alone), span(x.r.seconds))
	} else {
		s.Proof = x.proof(i)
	}
	s.Buys = append(s.Buys, fmt.Sprintf("a start %s earlier", span(late)))
	for _, f := range faster {
		if f.link == k && k >= 0 && f.ends[n] <= x.r.seconds {
			s.Buys = append(s.Buys, fmt.Sprintf("%d Mbit/s on that link", f.mbps))
			break
		}
	}
	if !a.Cold {
		cold := float64(a.Estimate.DiskMiB) * mbitPerMiB
		if less := x.f.mbit[n] - cold; less > 0 && x.ends[n]-less/x.slowest(n) <= x.r.seconds {
			s.Buys = append(s.Buys, fmt.Sprintf("a cold move: %.0f GiB less to copy", less/mbitPerMiB/1024))
		}
	}
}

// slowest is the rate of the narrowest of what a move flows through, Mbit/s.
func (x *certifier) slowest(n int32) float64 {
	least := math.Inf(1)
	for _, p := range x.f.pipes[n] {
		least = min(least, x.f.rate[p])
	}
	return least
}

// linkOf is the link that a move crosses, None inside a site.
func (x *certifier) linkOf(n int32) int32 {
	nh := int32(len(x.b.s.Hosts))
	for _, p := range x.f.pipes[n] {
		if p >= nh {
			return p - nh
		}
	}
	return engine.None
}

// proof is the bound on the VM's tier and those before it.
func (x *certifier) proof(i int32) string {
	t := &x.c.Tiers[x.r.rank[i]]
	all := 0
	for k := range x.r.rank[i] + 1 {
		all += x.c.Tiers[k].VMs
	}
	return fmt.Sprintf("of the %d VMs of its tier and those before it, at most %d can leave in time, whatever the order; %d do", all, t.Bound, t.UpTo)
}

// A speedUp is the plan carried out with a faster link.
type speedUp struct {
	link int32
	mbps int32
	ends []float64
}

// faster carries the plan out with each link on which a move is late made wider,
// in steps.
func (x *certifier) faster() []speedUp {
	var out []speedUp
	late := map[int32]bool{}
	for i := range x.r.vms {
		if n := x.act[i]; n >= 0 && !x.out[i] {
			if k := x.linkOf(n); k >= 0 {
				late[k] = true
			}
		}
	}
	for k := range x.b.s.Links {
		if !late[int32(k)] {
			continue
		}
		for _, pct := range []int64{125, 150, 200, 400} {
			in, links := *x.in, slices.Clone(x.b.s.Links)
			links[k].Mbps = int32(int64(links[k].Mbps) * pct / 100)
			in.Snapshot = withLinks(x.b.s, links)
			out = append(out, speedUp{int32(k), links[k].Mbps, newFluid(&in, x.p.Actions).run(nil)})
		}
	}
	return out
}

// withLinks is the snapshot with other links between the same sites.
func withLinks(s *engine.Snapshot, links []engine.Link) *engine.Snapshot {
	return &engine.Snapshot{
		At: s.At, Sites: s.Sites, VCenters: s.VCenters, Clusters: s.Clusters, Hosts: s.Hosts, Datastores: s.Datastores, Networks: s.Networks,
		VMs: s.VMs, Links: links, Rules: s.Rules, Hazards: s.Hazards, Alerts: s.Alerts, Gaps: s.Gaps,
	}
}

// stays explains why a VM has no way out.
func (x *certifier) stays(s *engine.Stranded, i int32) {
	s.Cause, s.Detail = engine.CauseState, "the plan has no move for it"
	if h := x.hold(s.VM); h != nil {
		s.Code, s.Detail = h.Code, h.Detail
		s.Cause = cmp.Or(causes[h.Code], engine.CauseState)
	}
	if len(x.r.options[i]) == 0 {
		s.Proof = "no host of any place would take it, with nothing else there"
	} else {
		s.Proof = x.proof(i)
	}
	if s.Cause == engine.CauseDestination {
		s.Buys = append(s.Buys, x.room(i)...)
	}
	if s.Code == engine.HoldDeadline {
		s.Buys = append(s.Buys, x.way(i)...)
	}
	if x.goesCold(i) {
		s.Buys = append(s.Buys, "a cold move: powered off, it could go")
	}
}

// room says what would have to be powered off, and where, for VM i to fit.
func (x *certifier) room(i int32) []string {
	b := x.b
	v := x.r.vms[i]
	vm, foot := &b.s.VMs[v], b.st.Foot[v]
	best, least := "", int64(math.MaxInt64)
	for _, o := range x.r.options[i] {
		if o.dest < 0 {
			continue
		}
		h := &x.r.havens[o.dest]
		mem, cpu := int64(foot.MiB)-h.mem+x.taken(o.dest, func(f engine.Footprint) int32 { return f.MiB }), int64(foot.CPUMHz)-h.cpu+x.taken(o.dest, func(f engine.Footprint) int32 { return f.CPUMHz })
		if mem <= 0 && cpu <= 0 {
			continue // it is not room that it lacks there
		}
		if need := max(mem, 0) + max(cpu, 0); need < least {
			best, least = fmt.Sprintf("a power-off at %s: %d MiB and %d MHz are missing for %s", h.name, max(mem, 0), max(cpu, 0), vm.Name), need
		}
	}
	if best == "" {
		return nil
	}
	return []string{best}
}

// way says what would carry VM i beside all that is planned, over the link where
// that is least.
func (x *certifier) way(i int32) []string {
	links := x.b.s.Links
	var least use
	secs := math.Inf(1)
	for _, o := range x.r.options[i] {
		for _, u := range o.uses {
			if int(u.row) >= 2*len(links) || u.row%2 == 1 {
				continue
			}
			if t := u.amount / (float64(links[u.row/2].Mbps) * x.r.efficiency()); t < secs {
				least, secs = u, t
			}
		}
	}
	if math.IsInf(secs, 1) {
		return nil
	}
	k := &links[least.row/2]
	more := math.Ceil(least.amount / (x.r.flowing() * x.r.efficiency()))
	return []string{fmt.Sprintf("a start about %s earlier", span(secs)), fmt.Sprintf("%.0f Mbit/s more on link %s - %s", more, x.b.s.Sites[k.A].ID, x.b.s.Sites[k.B].ID)}
}

// taken is what the plan brings to a haven.
func (x *certifier) taken(haven int32, of func(engine.Footprint) int32) int64 {
	n := int64(0)
	for _, a := range x.p.Actions {
		if a.Kind != engine.Move {
			continue
		}
		h, ok1 := x.b.s.FindHost(a.To.Host)
		v, ok2 := x.b.s.FindVM(a.VM)
		if ok1 && ok2 && x.r.placeOf[h] == haven {
			n += int64(of(x.b.st.Foot[v]))
		}
	}
	return n
}

// goesCold reports whether VM i, which cannot leave as it is, could once powered off.
func (x *certifier) goesCold(i int32) bool {
	if x.coldSurvey == nil {
		s := withLinks(x.b.s, x.b.s.Links)
		s.VMs = slices.Clone(x.b.s.VMs)
		for k, v := range x.r.vms {
			if x.act[k] < 0 {
				s.VMs[v].Power = engine.VMOff
			}
		}
		in := *x.in
		in.Snapshot = s
		x.coldSurvey = survey(in)
	}
	b := x.coldSurvey
	v := x.r.vms[i]
	w := want{v: v, demand: x.r.k, evac: true, lax: true, sites: b.refuges(v, &b.demands[x.r.k]), cluster: engine.None, host: engine.None, avoid: engine.None}
	if r := b.vmReason(&w); !r.ok() {
		return false
	}
	_, r := b.find(&w)
	return r.ok()
}

// unreachable explains why a VM that is out does not work.
func (x *certifier) unreachable(s *engine.Stranded, i int32) {
	r := x.r
	if v := r.needs[i]; v >= 0 {
		s.Cause, s.Detail = engine.CauseDependency, fmt.Sprintf("it needs %s, whose gateway goes down with %s", x.b.s.VMs[v].Name, x.c.Name)
		return
	}
	if r.lost[i] {
		s.Cause, s.Detail = engine.CauseGateway, "its gateway stands in "+x.c.Demand.Kind+" "+x.c.Name+" and goes down with it"
		s.Buys = []string{"a gateway elsewhere for its network, or a card on a network that has one"}
		return
	}
	for k, v := range r.vms {
		if r.app[k] != r.app[i] || (x.out[k] && !r.lost[k]) {
			continue
		}
		if r.needs[k] >= 0 {
			v = r.needs[k]
		}
		s.Cause = engine.CauseDependency
		s.Detail = fmt.Sprintf("it needs %s, which stays behind", x.b.s.VMs[v].Name)
		if x.out[k] {
			s.Detail = fmt.Sprintf("it needs %s, whose gateway goes down with %s", x.b.s.VMs[v].Name, x.c.Name)
		}
		return
	}
}

// span is a time for people.
func span(secs float64) string {
	return (time.Duration(math.Ceil(secs)) * time.Second).String()
}
