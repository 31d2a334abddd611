package plan

import (
	"errors"
	"fmt"
	"slices"

	"heliostat/engine"
)

// checkMost is how many violations Check reports before it stops looking: a
// person reads the first few, and a plan with one is refused.
const checkMost = 20

// Check refuses a plan that breaks a rule at any moment of any execution that
// its edges allow, with an error that names each action and the numbers. It
// distrusts Build: it is written from the documents, looks everything up again,
// and shares with it the slots and [engine.State] alone.
//
// First each action is judged by itself against the snapshot, the decision and
// the history. Then the plan is replayed, see [checker.replays]. A plan may be
// checked again on a later Input than the one it was built from: its cycle and
// time are not compared, its level is.
func Check(in Input, p *engine.Plan) error {
	if len(p.Actions) == 0 {
		return nil
	}
	c := newChecker(in, p)
	c.whole()
	for i := range p.Actions {
		c.action(int32(i))
	}
	c.delegated()
	c.opinions()
	c.budgets()
	c.macs()
	if !c.broken {
		c.replays()
	}
	return errors.Join(c.errs...)
}

// checkEnds is an action's places by index.
type checkEnds struct {
	vm, from, to int32 // vm and to are None for a host action
}

// checkFault is what a violation is reported by once, however many replays show it.
type checkFault struct {
	action int32
	code   engine.HoldCode
}

// checkShape is the code of a plan that cannot be read as one.
const checkShape engine.HoldCode = "shape"

// A checker is one call of Check.
type checker struct {
	in *Input
	s  *engine.Snapshot
	d  *engine.Decision
	h  *engine.History
	p  *engine.Plan

	ends    []checkEnds
	movedBy []int32                    // by VM: its action, or None
	touched map[engine.Subject][]int32 // actions by each thing they touch
	evac    map[engine.Subject]bool    // places to be emptied by an evacuation
	empty   map[engine.HostID]bool     // hosts that a drain or a person wants empty
	maint   map[engine.HostID]bool     // those of them that are to enter maintenance
	doomed  engine.SiteMask            // evacuated sites
	asleep  map[engine.HostID]bool     // hosts that a policy permits to put in standby
	wake    map[engine.HostID]bool     // hosts that a policy permits to wake
	unseen  map[engine.HostID]string   // hosts to which an action brings a VM that the snapshot does not have

	order  []int32 // by action: its place in one order that the edges allow
	errs   []error
	seen   map[checkFault]bool
	broken bool // something does not exist or goes in circles: it cannot be replayed
}

func newChecker(in Input, p *engine.Plan) *checker {
	c := &checker{
		in: &in, s: in.Snapshot, d: in.Decision, h: in.History, p: p,
		ends: make([]checkEnds, len(p.Actions)), movedBy: make([]int32, len(in.Snapshot.VMs)), touched: map[engine.Subject][]int32{},
		evac: map[engine.Subject]bool{}, empty: map[engine.HostID]bool{}, maint: map[engine.HostID]bool{}, asleep: map[engine.HostID]bool{}, wake: map[engine.HostID]bool{}, unseen: map[engine.HostID]string{},
		seen: map[checkFault]bool{},
	}
	if c.d == nil {
		c.d = &engine.Decision{}
	}
	if c.h == nil {
		c.h = &engine.History{}
	}
	for i := range c.movedBy {
		c.movedBy[i] = engine.None
	}
	for _, e := range c.d.Evacuations {
		c.evac[e.Place] = true
		if site, ok := c.s.FindSite(engine.SiteID(e.Place.ID)); ok && e.Place.Kind == "site" {
			c.doomed = c.doomed.With(site)
		}
	}
	for _, d := range c.d.Drains {
		switch id := c.s.Hosts[d.Host].ID; d.Then {
		case engine.ThenMaintenance:
			c.empty[id], c.maint[id] = true, true
		case engine.ThenNothing:
			c.empty[id] = true
		case engine.ThenStandby:
			c.asleep[id] = true
		}
	}
	for _, id := range in.Drain {
		c.empty[id], c.maint[id] = true, true
	}
	for _, w := range c.d.Wakes {
		c.wake[c.s.Hosts[w.Host].ID] = true
	}
	c.expected()
	return c
}

// refuse records a violation by action i, once per code.
func (c *checker) refuse(i int32, code engine.HoldCode, format string, args ...any) {
	f := checkFault{i, code}
	if c.seen[f] || len(c.errs) >= checkMost {
		return
	}
	c.seen[f] = true
	a := &c.p.Actions[i]
	c.errs = append(c.errs, fmt.Errorf("%s: %s: %s: %s", a.ID, a, code, fmt.Sprintf(format, args...)))
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
	ids, ranks := map[string]int32{}, map[int32]int32{}
	for i := range int32(len(p.Actions)) {
		a := &p.Actions[i]
		if j, dup := ids[a.ID]; dup || a.ID == "" {
			c.refuse(i, checkShape, "the ID %q is that of action %d too", a.ID, j)
		}
		if j, dup := ranks[a.Rank]; dup {
			c.refuse(i, checkShape, "the rank %d is that of action %d too", a.Rank, j)
		}
		ids[a.ID], ranks[a.Rank] = i, i
		for _, j := range a.After {
			if j < 0 || j > last || j == i {
				c.refuse(i, checkShape, "comes after action %d of %d", j, len(p.Actions))
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

// circles finds actions that wait for one another.
func (c *checker) circles() {
	waits, next := checkEdges(c.p)
	var ready []int32
	for i, n := range waits {
		if n == 0 {
			ready = append(ready, int32(i))
		}
	}
	c.order = make([]int32, len(waits))
	for k := 0; k < len(ready); k++ {
		c.order[ready[k]] = int32(k)
		for _, j := range next[ready[k]] {
			if waits[j]--; waits[j] == 0 {
				ready = append(ready, j)
			}
		}
	}
	for i, n := range waits {
		if n > 0 {
			c.refuse(int32(i), checkShape, "waits in a circle of %d actions", len(waits)-len(ready))
			c.broken = true
			return
		}
	}
}

// checkEdges gives for each action how many it waits for, and which wait for it.
func checkEdges(p *engine.Plan) (waits []int32, next [][]int32) {
	waits, next = make([]int32, len(p.Actions)), make([][]int32, len(p.Actions))
	for i := range p.Actions {
		for _, j := range p.Actions[i].After {
			waits[i]++
			next[j] = append(next[j], int32(i))
		}
	}
	return waits, next
}

// action judges action i by itself, as far as the things it names exist.
func (c *checker) action(i int32) {
	a := &c.p.Actions[i]
	e, ok := c.find(i, a)
	c.ends[i] = e
	if !ok {
		c.broken = true
		return
	}
	c.touch(i, a, e)
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

// find resolves what the action names, and compares it with the snapshot.
func (c *checker) find(i int32, a *engine.Action) (checkEnds, bool) {
	e := checkEnds{vm: engine.None, from: engine.None, to: engine.None}
	var ok bool
	if e.from, ok = c.s.FindHost(a.From.Host); !ok {
		c.refuse(i, checkShape, "there is no host %s", a.From.Host)
		return e, false
	}
	c.place(i, "from", &a.From, e.from)
	if a.Kind != engine.Move {
		return e, true
	}
	if e.vm, ok = c.s.FindVM(a.VM); !ok {
		c.refuse(i, checkShape, "there is no VM %s", a.VM)
		return e, false
	}
	v := &c.s.VMs[e.vm]
	if v.Host != e.from {
		c.refuse(i, checkShape, "the VM is on %s, not on %s", c.hostName(v.Host), a.From.Host)
		return e, false
	}
	if v.Moid != a.Moid || v.VCenter != c.s.Hosts[e.from].VCenter {
		c.refuse(i, checkShape, "the VM is %s of %s, not %s of %s", v.Moid, c.vcenter(v.VCenter), a.Moid, a.From.VCenter)
	}
	if e.to, ok = c.s.FindHost(a.To.Host); !ok {
		c.refuse(i, checkShape, "there is no host %s", a.To.Host)
		return e, false
	}
	c.place(i, "to", &a.To, e.to)
	if c.movedBy[e.vm] >= 0 {
		c.refuse(i, engine.HoldBusy, "%s moves it too", c.p.Actions[c.movedBy[e.vm]].ID)
		return e, false
	}
	c.movedBy[e.vm] = i
	return e, true
}

// place compares a place with the host it names.
func (c *checker) place(i int32, end string, p *engine.Place, host int32) {
	h := &c.s.Hosts[host]
	var site engine.SiteID
	if h.Site >= 0 {
		site = c.s.Sites[h.Site].ID
	} else {
		c.refuse(i, engine.HoldGap, "%s: the site of host %s is not known", end, h.ID)
	}
	if p.Site != site || p.Cluster != c.s.Clusters[h.Cluster].ID || p.VCenter != c.vcenter(h.VCenter) {
		c.refuse(i, checkShape, "%s: host %s is of site %q, cluster %s, vCenter %s, not of %q, %s, %s",
			end, h.ID, site, c.s.Clusters[h.Cluster].ID, c.vcenter(h.VCenter), p.Site, p.Cluster, p.VCenter)
	}
}

func (c *checker) hostName(h int32) string {
	if h < 0 {
		return "no host"
	}
	return string(c.s.Hosts[h].ID)
}

func (c *checker) vcenter(i int32) engine.VCenterID {
	if i < 0 {
		return ""
	}
	return c.s.VCenters[i].ID
}

// touch notes everything that the action touches, so that what is said about a
// thing is found by its name.
func (c *checker) touch(i int32, a *engine.Action, e checkEnds) {
	subjects := make([]engine.Subject, 0, 12)
	note := func(kind, id string) {
		if s := (engine.Subject{Kind: kind, ID: id}); !slices.Contains(subjects, s) {
			subjects = append(subjects, s)
		}
	}
	note("fleet", "")
	for _, p := range []*engine.Place{&a.From, &a.To} {
		if p.Host != "" {
			note("site", string(p.Site))
			note("vcenter", string(p.VCenter))
			note("cluster", string(p.Cluster))
			note("host", string(p.Host))
		}
	}
	if e.vm >= 0 {
		note("vm", string(a.VM))
	}
	if a.Storage {
		note("datastore", string(a.HomeTo))
		for _, d := range a.Disks {
			note("datastore", string(d.From))
			note("datastore", string(d.To))
		}
	}
	for _, s := range subjects {
		c.touched[s] = append(c.touched[s], i)
	}
}

// modes takes the weakest of kind, sites and tag. The decision has been cut to
// the policies of this level before.
func (c *checker) modes(i int32, a *engine.Action, e checkEnds) {
	allow := func(what string, m engine.Mode) {
		if c.weak(m) {
			c.refuse(i, engine.HoldMode, "%s allows %s, the plan is for %s", what, m, c.in.Level)
		}
	}
	allow("the kind "+a.Kind.String(), c.in.Config.Modes.Of(a.Kind))
	for _, h := range []int32{e.from, e.to} {
		if h >= 0 && c.s.Hosts[h].Site >= 0 {
			site := &c.s.Sites[c.s.Hosts[h].Site]
			allow("site "+string(site.ID), site.Mode)
			if site.Frozen {
				c.refuse(i, engine.HoldFrozen, "an operator froze site %s", site.ID)
			}
		}
	}
	if e.vm >= 0 {
		allow("the VM's tag", c.s.VMs[e.vm].Mode)
	}
}

// weak reports whether a mode keeps an action out of a plan of this level.
func (c *checker) weak(m engine.Mode) bool { return m < max(c.in.Level, engine.Shadow) }

// evacuates reports whether the action carries out an evacuation: vetoes that
// yield give way to it, and it may cross vCenters without being asked.
func (c *checker) evacuates(a *engine.Action) bool { return c.evac[a.Demand] }

// demand compares the demand that an action claims with the decision.
func (c *checker) demand(i int32, a *engine.Action, e checkEnds) {
	d := a.Demand
	if d.Kind == "" {
		return
	}
	if !c.evac[d] && (d.Kind != "host" || !c.empty[engine.HostID(d.ID)]) {
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
		return ok && slices.ContainsFunc(c.datastores(vm, a), func(d int32) bool { return c.lost(d, engine.SiteMask(0).With(site)) })
	case "datastore":
		return slices.ContainsFunc(c.datastores(vm, a), func(d int32) bool { return string(c.s.Datastores[d].ID) == place.ID })
	}
	return false
}

// lost reports whether the data on d does not survive the loss of the sites.
func (c *checker) lost(d int32, sites engine.SiteMask) bool {
	ds := &c.s.Datastores[d]
	return ds.Sites&sites != 0 && ds.Survives&^sites == 0
}

// datastores lists where the VM's files are after the move (nil: now).
func (c *checker) datastores(vm int32, a *engine.Action) []int32 {
	var out []int32
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

// threatened tells which demand wants host h empty, if any.
func (c *checker) threatened(h int32) (engine.Subject, bool) {
	host := &c.s.Hosts[h]
	places := [...]engine.Subject{
		{Kind: "host", ID: string(host.ID)}, {Kind: "cluster", ID: string(c.s.Clusters[host.Cluster].ID)}, {Kind: "site"},
	}
	if host.Site >= 0 {
		places[2].ID = string(c.s.Sites[host.Site].ID)
	}
	for _, p := range places {
		if c.evac[p] {
			return p, true
		}
	}
	return places[0], c.empty[host.ID]
}
