package plan

import (
	"reflect"
	"slices"
	"sync"

	"heliostat/engine"
)

// A Planner makes plans one after the other, and keeps between them what it made of
// the fleet. Each plan is what [Build] makes of the same Input, byte for byte: it is
// only made sooner where little has changed. What has, the snapshot says
// ([engine.Snapshot.Since]); where it does not know, or where what is configured is
// another, everything is made anew. A Planner is for one goroutine, and what an Input
// refers to must stay as it is.
type Planner struct {
	b *builder // of the last Input; nil for none
}

// Build makes the plan of in.
func (p *Planner) Build(in engine.Input) *engine.Plan {
	b := p.b
	p.b = nil // what a panic leaves half done is not gone on with
	if x := b.newsOf(&in); x != nil {
		b.read(in, x)
	} else {
		b = compile(in)
	}
	b.stages()
	best := b
	if len(b.demands) > 0 {
		if x := newRescuer(&in); x != nil {
			best = x.improve(b)
		}
	}
	plan := best.finish()
	clear(b.beds) // what was searched is let go
	b.beds = b.beds[:0]
	p.b, b.heldBefore = b, len(plan.Holds)+len(plan.Holds)/16
	return plan
}

// compile turns the Input into arrays by index.
func compile(in engine.Input) *builder {
	b := &builder{}
	b.read(in, &news{all: true})
	return b
}

// A news is what an Input has that the one before had not, as far as something is
// kept that was made of it.
type news struct {
	all    bool    // everything
	past   bool    // another history
	rules  bool    // other groups
	nets   bool    // VMs or hosts on other networks
	sites  bool    // hosts at other sites
	bars   bool    // what keeps hosts from taking VMs may be anything
	traits bool    // what keeps VMs from moving may be anything
	stays  bool    // what keeps hosts from sleeping may be anything
	words  bool    // what is said of pins may be
	vms    []int32 // that may differ
	hosts  []int32 // that may differ, or whose VMs do
	turned []int32 // of them, those whose VMs may have other traits
	asked  []int32 // VMs that a veto or an action under way is about, or was
	busy   []int32 // hosts that one is under way on, or was
	oldest [2]engine.Unix
}

// newsOf compares an Input with the last one; nil where all must be made anew.
func (b *builder) newsOf(in *engine.Input) *news {
	if b == nil {
		return nil
	}
	old := &b.in
	c := in.Snapshot.Since(old.Snapshot)
	if in.Snapshot == old.Snapshot {
		c = &engine.Changes{OldestVM: b.oldest[0], OldestHost: b.oldest[1]}
	}
	if c == nil || c.Shape || in.Config != old.Config {
		return nil
	}
	x := &news{past: in.History != old.History, oldest: [2]engine.Unix{c.OldestVM, c.OldestHost}}
	for i, at := range [2]engine.Unix{in.Now, old.Now} {
		oldest := [2][2]engine.Unix{x.oldest, b.oldest}[i]
		if at-min(oldest[0], oldest[1]) > engine.Unix(in.Config.LoadMaxAgeS) {
			return nil // a load may be too old now, or have been
		}
	}
	if in.Now < old.Now {
		return nil // what was long enough ago may be no more
	}
	x.lists(b, in, c)
	x.said(b, in)
	return x
}

// lists collects the VMs and hosts that may differ.
func (x *news) lists(b *builder, in *engine.Input, c *engine.Changes) {
	s, old := in.Snapshot, b.s
	x.vms = c.VMs
	on := make([]bool, len(s.Hosts))
	for _, v := range c.VMs {
		x.nets = x.nets || !alike(s.VMs[v].NICs, old.VMs[v].NICs)
		for _, h := range [2]int32{s.VMs[v].Host, old.VMs[v].Host} {
			if h >= 0 {
				on[h] = true
			}
		}
	}
	for _, h := range c.Hosts {
		x.nets = x.nets || !alike(s.Hosts[h].Networks, old.Hosts[h].Networks)
		x.sites = x.sites || s.Hosts[h].Site != old.Hosts[h].Site
		on[h] = true
	}
	for h, is := range on {
		if is {
			x.hosts = append(x.hosts, int32(h))
		}
	}
	for _, list := range [2][]engine.ActionRecord{b.in.Open, in.Open} {
		for i := range list {
			a := &list[i].Action
			if v, ok := s.FindVM(a.VM); ok {
				x.asked = append(x.asked, v)
			}
			for _, id := range [2]engine.HostID{a.From.Host, a.To.Host} {
				if h, ok := s.FindHost(id); ok {
					x.busy = append(x.busy, h)
				}
			}
		}
	}
	for _, list := range [2][]engine.Veto{b.in.Vetoes, in.Vetoes} {
		for i := range list {
			if v, ok := s.FindVM(list[i].VM); ok {
				x.asked = append(x.asked, v)
			}
		}
	}
}

// alike compares two lists, at a look where they are one.
func alike[T comparable](x, y []T) bool {
	return len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0] || slices.Equal(x, y))
}

// said compares what policies, persons and sources say.
func (x *news) said(b *builder, in *engine.Input) {
	d, h, none, forgotten := in.Decision, in.History, engine.Decision{}, engine.History{}
	if d == nil {
		d = &none
	}
	if h == nil {
		h = &forgotten
	}
	about := func(x, y engine.Gap) bool { return x.Subject == y.Subject }
	x.bars = x.sites || in.Level != b.in.Level || in.Shadow != b.in.Shadow || len(d.Freezes)+len(b.d.Freezes) > 0 || !slices.EqualFunc(in.Snapshot.Gaps, b.s.Gaps, about) ||
		len(h.Quarantine)+len(b.hy.Quarantine)+len(in.Broken)+len(b.in.Broken) > 0 ||
		!slices.EqualFunc(in.Snapshot.Sites, b.s.Sites, func(x, y engine.Site) bool { return x.Mode == y.Mode && x.Frozen == y.Frozen })
	x.traits = x.bars || !reflect.DeepEqual(d.Pins, b.d.Pins) || !reflect.DeepEqual(d.AllowSites, b.d.AllowSites) || !reflect.DeepEqual(d.AllowHosts, b.d.AllowHosts)
	x.words = len(d.Pins) > 0 && (!slices.Equal(d.Voices, b.d.Voices) || !slices.Equal(d.Reasons, b.d.Reasons))
	x.stays = x.bars || x.past || len(in.KeepHosts)+len(b.in.KeepHosts) > 0 || !slices.Equal(d.KeepOns, b.d.KeepOns)
	x.rules = !reflect.DeepEqual(d.Groups, b.d.Groups) || (len(d.Groups) > 0 && !slices.Equal(d.Voices, b.d.Voices))
}

// read takes an Input in, as far as it is new, and starts a plan.
func (b *builder) read(in engine.Input, x *news) {
	old, restless, freezes := b.s, slices.Clone(b.restless), 0
	if b.d != nil {
		freezes = len(b.d.Freezes)
	}
	b.in, b.s, b.d, b.hy, b.c, b.budget = in, in.Snapshot, in.Decision, in.History, in.Config, in.Budget
	if b.d == nil {
		b.d = &engine.Decision{}
	}
	if b.hy == nil {
		b.hy = &engine.History{}
	}
	if b.budget <= 0 {
		b.budget = b.c.DefaultBudget
	}
	if x.all {
		b.allocate()
	}
	if x.all || x.past {
		b.compileHistory()
		b.compileSurge()
	}
	b.compileNet(x)
	var soon sync.WaitGroup
	soon.Go(func() { b.compileSoon(x) })
	b.settle(x, old)
	b.start(x)
	soon.Wait()
	copy(b.soonOn, b.soonHere)
	b.left = BudgetLeft(b.c, b.hy, in.Now)
	b.compileOpen()
	if x.all || len(b.d.Freezes)+freezes > 0 {
		b.compileFreezes()
	}
	if x.all || len(b.s.Gaps)+len(old.Gaps) > 0 {
		b.compileGaps()
	}
	b.compileQuarantine()
	b.compileVetoes()
	if x.all || x.rules {
		b.compileRules()
	}
	if x.all || x.nets {
		b.compileNetworks()
		b.compileMACs()
	}
	if x.all || x.sites {
		b.compileSites()
	}
	tariff := b.tariff
	b.compilePrices()
	x.stays = x.stays || !slices.Equal(b.tariff, tariff)
	if x.all {
		b.compileTwins()
	}
	b.readHosts(x, old)
	b.readRules(x)
	b.readAgain(x, old, restless)
}

// allocate makes the arrays that stay.
func (b *builder) allocate() {
	nv, nh, nc := len(b.s.VMs), len(b.s.Hosts), len(b.s.Clusters)
	b.vmHist, b.hostHist = make([]int32, nv), make([]int32, nh)
	b.dest, b.moved, b.held, b.leaving, b.openVM = nones(nv), make([]int32, nv), make([]bool, nv), make([]bool, nv), make([]bool, nv)
	b.openHost, b.openTo = make([]bool, nh), make([]bool, nh)
	b.waking, b.drained, b.work, b.doomed = make([]int32, nh), make([]bool, nh), make([]int64, nh), make([]bool, nh)
	b.sleepy, b.going = make([]bool, nh), make([]bool, nh)
	b.hostDemand, b.doomedDS = nones(nh), make([]int32, len(b.s.Datastores))
	b.queue, b.unmet, b.rooms = make([]int64, len(b.s.Links)), make([]unmetWish, nc), make([]room, nc)
	b.sentOff = make([]int32, nh)
	b.rise, b.lasting = make([]int64, nc), make([]int32, nc)
	b.surge, b.recent, b.soonOn, b.soonHere = make([]int64, nc), make([]int64, nc), make([]int32, nh), make([]int32, nh)
	b.net, b.quiet, b.hindrance = make([]int32, nh), make([]bool, nh), make([]hindrance, nh)
	b.parts, b.partsOn, b.partsIn = make([]part, nv), make([]part, nh), make([]part, nc)
	b.own, b.carried, b.lodgers, b.pack = make([]load2, nh), make([][2]int64, nc), make([]lodgers, nh), make([]int32, nv)
	b.bars = [2][]bar{make([]bar, nh), make([]bar, nh)}
	for _, r := range engine.ObstacleTable {
		b.stopMask[r.Scope] |= r.Bit
	}
	b.mark.init(b.s)
}

// start takes back what the last plan decided.
func (b *builder) start(x *news) {
	if b.wide {
		b.stirred = b.stirred[:0]
		for v := range b.dest {
			b.dest[v] = engine.None
			if b.aim != nil {
				b.aim[v] = engine.None
			}
		}
		clear(b.moved)
		clear(b.held)
		clear(b.leaving)
		clear(b.openVM)
	}
	for _, v := range b.stirred {
		b.dest[v], b.moved[v], b.held[v], b.leaving[v], b.openVM[v] = engine.None, 0, false, false, false
		if b.aim != nil {
			b.aim[v] = engine.None
		}
	}
	switch {
	case b.st == nil:
		b.st = b.ground.Clone()
	case b.wide:
		copy(b.st.Host, b.ground.Host)
		copy(b.st.Moved, b.ground.Moved)
		b.st.Revert(b.ground, nil)
	default:
		b.st.Revert(b.ground, b.stirred)
		b.st.Restore(b.ground, nil, x.vms, nil)
	}
	if len(b.demands) > 0 {
		for h := range b.hostDemand {
			b.hostDemand[h] = engine.None
		}
		clear(b.doomed)
		clear(b.doomedDS)
	}
	for _, list := range [][]bool{b.openHost, b.openTo, b.drained, b.sleepy, b.going} {
		clear(list)
	}
	clear(b.waking)
	clear(b.sentOff)
	clear(b.work)
	clear(b.queue)
	clear(b.unmet)
	if b.aimed {
		clear(b.gone)
		clear(b.goneBy)
		clear(b.ejected)
	}
	for c := range b.rooms {
		b.rooms[c] = room{usedCPU: b.carried[c][0], usedMem: b.carried[c][1]}
	}
	for i := range b.d.Drains {
		if b.d.Drains[i].Then == engine.ThenStandby {
			b.sleepy[b.d.Drains[i].Host] = true
		}
	}
	b.stirred, b.wide, b.stuck = b.stirred[:0], false, b.stuck[:0]
	b.unseen, b.demands, b.doomedSite, b.order, b.asleep = nil, nil, 0, nil, nil
	b.aimed, b.astir, b.evaluated, b.power, b.granted, b.wishes, b.budgetName = false, false, 0, engine.PowerCost{}, engine.WishGain{}, 0, ""
	b.acts, b.actions, b.holds = b.acts[:0], nil, make([]engine.Hold, 0, b.heldBefore)
}

// readHosts looks over the hosts that may differ.
func (b *builder) readHosts(x *news, old *engine.Snapshot) {
	if x.all || x.bars {
		b.hostBars()
	}
	if x.stays {
		clear(b.quiet)
	}
	if x.all {
		for h := range b.s.Hosts {
			if b.overloaded(int32(h)) {
				b.over = append(b.over, int32(h))
			}
			if b.s.Hosts[h].Maintenance {
				b.resting = append(b.resting, int32(h))
			}
		}
		return
	}
	for _, h := range x.hosts {
		if host := &b.s.Hosts[h]; !steady(host, &old.Hosts[h]) {
			b.readBars(x, h, old)
			b.resting = listed(b.resting, h, host.Maintenance)
		}
		b.over = listed(b.over, h, b.overloaded(h))
	}
	for _, h := range x.busy {
		b.readBars(x, h, old)
	}
}

// readBars looks over what keeps host h from taking VMs, and from sleeping.
func (b *builder) readBars(x *news, h int32, old *engine.Snapshot) {
	now := [2]bar{b.barOf(h, false), b.barOf(h, true)}
	b.quiet[h] = b.quiet[h] && now[0] == b.bars[0][h] && sameState(&b.s.Hosts[h], &old.Hosts[h])
	if now != [2]bar{b.bars[0][h], b.bars[1][h]} || b.s.Hosts[h].VMotion != old.Hosts[h].VMotion {
		x.turned = append(x.turned, h)
	}
	b.bars[0][h], b.bars[1][h] = now[0], now[1]
}

// steady reports whether a host is what it was, as far as readBars goes.
func steady(x, y *engine.Host) bool {
	return x.Power == y.Power && x.Connected == y.Connected && x.Maintenance == y.Maintenance && x.Entering == y.Entering && x.VMotion == y.VMotion && x.Seen() == y.Seen() && sameState(x, y)
}

// sameState reports whether a host is what it was, as far as that may keep it on: see stateReason.
func sameState(x, y *engine.Host) bool {
	return x.Tasks == y.Tasks && x.Standby == y.Standby && x.VSANData == y.VSANData && x.USB == y.USB && x.IdleW == y.IdleW && x.Site == y.Site
}

// listed is an ascending list with h in it or not.
func listed(list []int32, h int32, in bool) []int32 {
	i, is := slices.BinarySearch(list, h)
	switch {
	case in && !is:
		return slices.Insert(list, i, h)
	case is && !in:
		return slices.Delete(list, i, i+1)
	}
	return list
}

// readRules looks over the constraints of VMs that may differ.
func (b *builder) readRules(x *news) {
	if x.all || x.rules || x.sites {
		b.broke = make([]bool, len(b.cons))
		for i := range b.cons {
			b.broke[i] = b.violated(&b.cons[i])
		}
		return
	}
	for _, v := range x.vms {
		for _, k := range b.consOf(v) {
			b.broke[k] = b.violated(&b.cons[k])
		}
	}
}
