package check

import (
	"slices"

	"heliostat/engine"
)

// mostFound is how many violations are reported before the search for more ends: a
// person reads the first few, and a plan with one is refused.
const mostFound = 20

// Plan refuses a plan that does harm, with an error that names each action and the
// numbers; the package says what that proves. A plan may be checked again on a later
// Input than the one it was built from: its cycle and time are not compared, its level is.
func Plan(in engine.Input, p *engine.Plan) error { return new(Checker).Plan(in, p) }

// judge is the whole of [Plan].
func (c *checker) judge() {
	c.static()
	if !c.broken && !c.sees() {
		c.replays()
	}
}

// static judges the plan and each action by itself.
func (c *checker) static() {
	c.whole()
	c.resolve()
	c.eachAction(func(n *checker, i int32) {
		if i%few == 0 {
			n.touch(i)
		}
		if n.steps[i].from >= 0 {
			n.action(i)
		}
	})
	c.delegated()
	c.opinions()
	if !c.sees() {
		c.budgets()
	}
	c.macs()
}

// A step is what is looked up of an action: it is looked at again and again, and
// actions are large.
type step struct {
	vm, from, to int32 // vm and to are None for a host action, all where what it names does not exist
	rank         int32
	seconds      int64 // that it is estimated to last
	kind         engine.ActionKind
	demanded     bool // a demand asks for it
	storage      bool
	cards        bool             // it names networks for the VM's cards
	inside       bool             // it is a move to another host of the same cluster
	grouped      bool             // it moves a VM of a group
	foot         engine.Footprint // what the VM takes, once that is settled
}

// gone takes the places out of a step.
func (e *step) gone() { e.vm, e.from, e.to = engine.None, engine.None, engine.None }

// lists are lists of numbers in one slice.
type lists struct{ start, items []int32 }

// of is list i; there may be more of them than were made, which are empty.
func (x *lists) of(i int32) []int32 {
	if int(i)+1 >= len(x.start) {
		return nil
	}
	return x.items[x.start[i]:x.start[i+1]]
}

// shape is the code of a plan that cannot be read as one.
const shape engine.HoldCode = "shape"

// A checker is one call of [Plan].
type checker struct {
	in *engine.Input
	s  *engine.Snapshot
	d  *engine.Decision
	h  *engine.History
	p  *engine.Plan

	findings
	steps   []step                  // by action
	movedBy []int32                 // by VM: its action, or None
	marks   []mark                  // by host
	evac    map[engine.Subject]bool // places to be emptied by an evacuation
	doomed  engine.SiteMask         // evacuated sites
	unseen  map[int32]string        // hosts to which an action brings a VM that the snapshot does not have
	named   named                   // by host: the actions that name it
	kept    *memory
	along   map[int32][]int32 // by VM: the host actions whose cluster's scheduler is to move it
	last    [2]int32          // the hosts looked up last, as a source and as a destination
	touched int               // of no meaning: what is read for its own sake must go somewhere

	order  []int32 // by action: its place in one order that the edges allow
	waits  []int32 // by action: how many it waits for
	next   lists   // by action: those that wait for it
	broken bool    // something does not exist or goes in circles: it cannot be replayed
}

// A mark is what the decision and persons say of a host.
type mark uint8

const (
	evacHost    mark = 1 << iota // an evacuation empties it,
	evacCluster                  // its cluster,
	evacSite                     // its site
	wantEmpty                    // a drain or a person wants it empty
	wantMaint                    // and in maintenance
	maySleep                     // a policy permits to put it in standby
	mayWake                      // a policy permits to wake it
	keptOn                       // a policy keeps it on

	leaving = evacHost | evacCluster | evacSite | wantEmpty // something wants it empty
)

func newChecker(in engine.Input, p *engine.Plan, kept *memory) *checker {
	c := &checker{
		kept: kept, movedBy: kept.movedBy,
		in: &in, s: in.Snapshot, d: in.Decision, h: in.History, p: p,
		steps: make([]step, len(p.Actions)), marks: make([]mark, len(in.Snapshot.Hosts)),
		evac: map[engine.Subject]bool{}, unseen: map[int32]string{}, along: map[int32][]int32{},
	}
	if c.d == nil {
		c.d = &engine.Decision{}
	}
	if c.h == nil {
		c.h = &engine.History{}
	}
	for _, e := range c.d.Evacuations {
		c.evacuate(e.Place)
	}
	for i := range c.d.Drains {
		switch d := &c.d.Drains[i]; d.Then {
		case engine.ThenMaintenance:
			c.marks[d.Host] |= wantEmpty | wantMaint
		case engine.ThenNothing:
			c.marks[d.Host] |= wantEmpty
		case engine.ThenStandby:
			c.marks[d.Host] |= maySleep
		}
	}
	for _, id := range in.Drain {
		if h, ok := c.s.FindHost(id); ok {
			c.marks[h] |= wantEmpty | wantMaint
		}
	}
	for _, w := range c.d.Wakes {
		c.marks[w.Host] |= mayWake
	}
	for i := range c.d.KeepOns {
		c.marks[c.d.KeepOns[i].Host] |= keptOn
	}
	c.expected()
	return c
}

// evacuate marks what is to be emptied with a place.
func (c *checker) evacuate(place engine.Subject) {
	c.evac[place] = true
	switch place.Kind {
	case "host":
		if h, ok := c.s.FindHost(engine.HostID(place.ID)); ok {
			c.marks[h] |= evacHost
		}
	case "cluster":
		if k, ok := c.s.FindCluster(engine.ClusterID(place.ID)); ok {
			for _, h := range c.s.HostsOf(k) {
				c.marks[h] |= evacCluster
			}
		}
	case "site":
		site, ok := c.s.FindSite(engine.SiteID(place.ID))
		if !ok {
			return
		}
		c.doomed = c.doomed.With(site)
		for h := range c.s.Hosts {
			if c.s.Hosts[h].Site == site {
				c.marks[h] |= evacSite
			}
		}
	}
}

// whole judges the plan as a plan: level, names, order.
func (c *checker) whole() {
	p, in := c.p, c.in
	last := int32(len(p.Actions) - 1)
	if p.Level != in.Level || p.Shadow != in.Shadow {
		c.refuse(0, engine.HoldMode, "the plan is for level %s %q, asked was %s %q", p.Level, p.Shadow, in.Level, in.Shadow)
	}
	if in.Paused != "" {
		c.refuse(0, engine.HoldPaused, "%d actions while paused: %s", len(p.Actions), in.Paused)
	}
	if age := int64(in.Now - c.s.At); age > in.Config.TopologyMaxAgeS {
		c.refuse(0, engine.HoldGap, "the snapshot is %d s old, of at most %d", age, in.Config.TopologyMaxAgeS)
	}
	c.names()
	for i := range int32(len(p.Actions)) {
		a := &p.Actions[i]
		for _, j := range a.After {
			if j < 0 || j > last || j == i {
				c.refuse(i, shape, "comes after action %d of %d", j, len(p.Actions))
				c.broken = true
			}
		}
		if len(a.Why) == 0 || slices.ContainsFunc(a.Why, func(w engine.Why) bool { return w.Policy == "" || w.Reason == "" }) {
			c.refuse(i, "why", "nobody says why")
		}
	}
	if !c.broken {
		c.circles()
	}
}

// names checks that no two actions have one ID or one rank. Build numbers both
// upwards, which settles it at a look.
func (c *checker) names() {
	upwards := true
	for i := range c.p.Actions {
		if a := &c.p.Actions[i]; i == 0 {
			upwards = a.ID != ""
		} else if b := &c.p.Actions[i-1]; len(a.ID) < len(b.ID) || (len(a.ID) == len(b.ID) && a.ID <= b.ID) || a.Rank <= b.Rank {
			upwards = false
		}
	}
	if upwards {
		return
	}
	ids, ranks := map[string]int32{}, map[int32]int32{}
	for i := range int32(len(c.p.Actions)) {
		a := &c.p.Actions[i]
		if j, dup := ids[a.ID]; dup || a.ID == "" {
			c.refuse(i, shape, "the ID %q is that of action %d too", a.ID, j)
		}
		if j, dup := ranks[a.Rank]; dup {
			c.refuse(i, shape, "the rank %d is that of action %d too", a.Rank, j)
		}
		ids[a.ID], ranks[a.Rank] = i, i
	}
}

// circles finds actions that wait for one another.
func (c *checker) circles() {
	c.waits, c.next = edgesOf(c.p)
	waits, next := slices.Clone(c.waits), c.next
	ready := make([]int32, 0, len(waits))
	for i, n := range waits {
		if n == 0 {
			ready = append(ready, int32(i))
		}
	}
	c.order = make([]int32, len(waits))
	for k := 0; k < len(ready); k++ {
		c.order[ready[k]] = int32(k)
		for _, j := range next.of(ready[k]) {
			if waits[j]--; waits[j] == 0 {
				ready = append(ready, j)
			}
		}
	}
	for i, n := range waits {
		if n > 0 {
			c.refuse(int32(i), shape, "waits in a circle of %d actions", len(waits)-len(ready))
			c.broken = true
			return
		}
	}
}

// edgesOf gives for each action how many it waits for, and which wait for it.
func edgesOf(p *engine.Plan) (waits []int32, next lists) {
	n := len(p.Actions)
	waits, next.start = make([]int32, n), make([]int32, n+1)
	for i := range p.Actions {
		waits[i] = int32(len(p.Actions[i].After))
		for _, j := range p.Actions[i].After {
			next.start[j+1]++
		}
	}
	for j := range n {
		next.start[j+1] += next.start[j]
	}
	next.items = make([]int32, next.start[n])
	free := slices.Clone(next.start)
	for i, left := range waits {
		if left == 0 {
			continue
		}
		for _, j := range p.Actions[i].After {
			next.items[free[j]] = int32(i)
			free[j]++
		}
	}
	return waits, next
}

// few is how many actions are judged between one look ahead and the next.
const few = 16

// touch reads a little of what will be asked of the VMs of the next few actions. They,
// what they have and their memories lie far apart: read together, none waits for another.
func (c *checker) touch(i int32) {
	next := c.steps[i:min(int(i)+few, len(c.steps))]
	for k := range next {
		if v := next[k].vm; v >= 0 {
			x := &c.s.VMs[v]
			c.touched += len(x.Task) + len(x.NICs) + int(x.Power) + int(c.vmPast(v).MovedAt)
		}
	}
	for k := range next {
		if v := next[k].vm; v >= 0 {
			x := &c.s.VMs[v]
			if len(x.NICs) > 0 {
				c.touched += int(x.NICs[0].Network)
			}
			if len(x.Disks) > 0 {
				c.touched += int(x.Disks[0].Datastore)
			}
		}
	}
}

// action judges action i by itself.
func (c *checker) action(i int32) {
	a, e := &c.p.Actions[i], c.steps[i]
	c.busy(i, a, e)
	c.quarantine(i, a)
	c.modes(i, a, e)
	c.demand(i, a, e)
	if a.Kind == engine.Move {
		c.move(i, a, e)
		return
	}
	c.power(i, a, e)
}

// modes takes the weakest of kind, sites and tag. The decision has been cut to
// the policies of this level before.
func (c *checker) modes(i int32, a *engine.Action, e step) {
	allow := func(what, name string, m engine.Mode) {
		if c.weak(m) {
			c.refuse(i, engine.HoldMode, "%s%s allows %s, the plan is for %s", what, name, m, c.in.Level)
		}
	}
	allow("the kind ", a.Kind.String(), c.in.Config.Modes.Of(a.Kind))
	for _, h := range []int32{e.from, e.to} {
		if h >= 0 && c.s.Hosts[h].Site >= 0 {
			site := &c.s.Sites[c.s.Hosts[h].Site]
			allow("site ", string(site.ID), site.Mode)
			if site.Frozen {
				c.refuse(i, engine.HoldFrozen, "an operator froze site %s", site.ID)
			}
		}
	}
	if e.vm >= 0 {
		allow("the VM's tag", "", c.s.VMs[e.vm].Mode)
	}
}

// weak reports whether a mode keeps an action out of a plan of this level.
func (c *checker) weak(m engine.Mode) bool { return m < max(c.in.Level, engine.Shadow) }

// evacuates reports whether the action carries out an evacuation: vetoes that
// yield give way to it, and it may cross vCenters without being asked.
func (c *checker) evacuates(a *engine.Action) bool { return a.Demand.Kind != "" && c.evac[a.Demand] }

// demand compares the demand that an action claims with the decision.
func (c *checker) demand(i int32, a *engine.Action, e step) {
	d := a.Demand
	if d.Kind == "" {
		return
	}
	if !c.evac[d] && !c.drained(d) {
		c.refuse(i, "demand", "nobody demands that %s be emptied", d)
		return
	}
	if a.Kind != engine.Move {
		return
	}
	if !c.inside(d, e.vm, e.from, nil) {
		c.refuse(i, "demand", "the VM is not in %s", d)
	}
	if c.inside(d, e.vm, e.to, a) {
		c.refuse(i, "demand", "the VM does not leave %s", d)
	}
}

// inside reports whether the VM is in the place when it runs on host h, with its
// disks where a move takes them (nil: where they are).
func (c *checker) inside(place engine.Subject, vm, h int32, a *engine.Action) bool {
	host := &c.s.Hosts[h]
	switch place.Kind {
	case "host":
		return string(host.ID) == place.ID
	case "cluster":
		return string(c.s.Clusters[host.Cluster].ID) == place.ID
	case "site":
		if host.Site >= 0 && string(c.s.Sites[host.Site].ID) == place.ID {
			return true
		}
		site, ok := c.s.FindSite(engine.SiteID(place.ID))
		return ok && slices.ContainsFunc(c.datastores(nil, vm, a), func(d int32) bool { return c.lost(d, engine.SiteMask(0).With(site)) })
	case "datastore":
		return slices.ContainsFunc(c.datastores(nil, vm, a), func(d int32) bool { return string(c.s.Datastores[d].ID) == place.ID })
	}
	return false
}

// lost reports whether the data on d does not survive the loss of the sites.
func (c *checker) lost(d int32, sites engine.SiteMask) bool {
	ds := &c.s.Datastores[d]
	return ds.Sites&sites != 0 && ds.Survives&^sites == 0
}

// datastores adds to a list where the VM's files are after the move (nil: now).
func (c *checker) datastores(out []int32, vm int32, a *engine.Action) []int32 {
	add := func(d int32) {
		if d >= 0 && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	if a != nil && a.Storage {
		if d, ok := c.s.FindDatastore(a.HomeTo); ok {
			add(d)
		}
		for i := range a.Disks {
			if d, ok := c.s.FindDatastore(a.Disks[i].To); ok {
				add(d)
			}
		}
		return out
	}
	v := &c.s.VMs[vm]
	add(v.Home)
	for i := range v.Disks {
		add(v.Disks[i].Datastore)
	}
	return out
}

// drained reports whether a drain or a person wants the place, a host, empty.
func (c *checker) drained(place engine.Subject) bool {
	h, ok := c.s.FindHost(engine.HostID(place.ID))
	return ok && place.Kind == "host" && c.marks[h]&wantEmpty != 0
}

// threatened tells which demand wants host h empty, if any.
func (c *checker) threatened(h int32) (engine.Subject, bool) {
	host, m := &c.s.Hosts[h], c.marks[h]
	place := engine.Subject{Kind: "host", ID: string(host.ID)}
	switch {
	case m&leaving == 0:
		return place, false
	case m&evacHost != 0:
	case m&evacCluster != 0:
		place = engine.Subject{Kind: "cluster", ID: string(c.s.Clusters[host.Cluster].ID)}
	case m&evacSite != 0:
		place = engine.Subject{Kind: "site", ID: string(c.s.Sites[host.Site].ID)}
	}
	return place, true
}
