package check

import (
	"slices"

	"heliostat/engine"
)

// opinions holds every action against what was said about the things it
// touches. An opinion about something that no action touches costs one look.
func (c *checker) opinions() {
	c.freezes()
	c.gaps()
	c.vetoes()
	c.allowed()
	c.hostRules()
}

// about lists the actions that touch a thing.
func (c *checker) about(place engine.Subject) []int32 {
	switch place.Kind {
	case "vm":
		v, _ := c.s.FindVM(engine.VMID(place.ID))
		return c.aboutVM(v)
	case "host":
		if h, ok := c.s.FindHost(engine.HostID(place.ID)); ok {
			return slices.Collect(c.atHost(h))
		}
		return nil
	}
	var out []int32
	for i, e := range c.steps {
		if e.from >= 0 && (c.touches(place, int32(i), e.from) || (e.to >= 0 && c.touches(place, int32(i), e.to))) {
			out = append(out, int32(i))
		}
	}
	return out
}

// aboutVM lists the actions that move VM v, by us or by its cluster's scheduler.
func (c *checker) aboutVM(v int32) []int32 {
	if v < 0 {
		return nil
	}
	if i := c.movedBy[v]; i >= 0 {
		return []int32{i}
	}
	return c.along[v]
}

// touches reports whether action i, which is about host h, touches a place.
func (c *checker) touches(place engine.Subject, i, h int32) bool {
	host := &c.s.Hosts[h]
	switch place.Kind {
	case "fleet":
		return true
	case "site":
		return host.Site >= 0 && string(c.s.Sites[host.Site].ID) == place.ID
	case "vcenter":
		return string(c.vcenter(host.VCenter)) == place.ID
	case "cluster":
		return string(c.s.Clusters[host.Cluster].ID) == place.ID
	case "datastore":
		a := &c.p.Actions[i]
		return a.Storage && (string(a.HomeTo) == place.ID || slices.ContainsFunc(a.Disks, func(d engine.DiskTarget) bool {
			return string(d.From) == place.ID || string(d.To) == place.ID
		}))
	}
	return false
}

// binds reports whether a veto of this voice stops the action: some yield to an evacuation.
func (c *checker) binds(by engine.By, a *engine.Action) bool {
	return !c.d.Voices[by.Voice].Yields || !c.evacuates(a)
}

func (c *checker) freezes() {
	for _, f := range c.d.Freezes {
		if f.Until != 0 && f.Until <= c.in.Now {
			continue
		}
		for _, i := range c.about(f.Place) {
			if c.binds(f.By, &c.p.Actions[i]) {
				c.refuse(i, engine.HoldFrozen, "%s is frozen until %s: %s", f.Place, f.Until, c.d.Why(f.By))
			}
		}
	}
}

// gaps: what cannot be seen is not moved. A gap of a site is a missing reading
// about the site (a price, a forecast), which blinds no move.
func (c *checker) gaps() {
	for k := range c.s.Gaps {
		g := &c.s.Gaps[k]
		if g.Subject.Kind == "site" {
			continue
		}
		for _, i := range c.about(g.Subject) {
			c.refuse(i, engine.HoldGap, "%s is not seen: %s", g.Subject, g.Reason)
		}
	}
}

// vetoes are the refusals of this cycle's proposed moves; one without a
// destination refuses them all.
func (c *checker) vetoes() {
	for k := range c.in.Vetoes {
		v := &c.in.Vetoes[k]
		if c.weak(v.Mode) && (c.in.Shadow == "" || v.Policy != c.in.Shadow) {
			continue
		}
		for _, i := range c.about(engine.Subject{Kind: "vm", ID: string(v.VM)}) {
			if a := &c.p.Actions[i]; (a.To.Host == v.To || v.To == "") && (!v.Yields || !c.evacuates(a)) {
				c.refuse(i, engine.HoldVeto, "%s: %s: %s", v.Policy, v.Code, v.Reason)
			}
		}
	}
}

// allowed checks pins, allow_sites and allow_hosts. They are about where a VM
// runs: a move of its disks alone is free of them.
func (c *checker) allowed() {
	moves := func(vm int32, by engine.By) (int32, bool) {
		i := c.movedBy[vm]
		return i, i >= 0 && c.steps[i].to >= 0 && c.steps[i].from != c.steps[i].to && c.binds(by, &c.p.Actions[i])
	}
	for _, x := range c.d.Pins {
		for _, i := range c.aboutVM(x.VM) {
			if c.steps[i].from != c.steps[i].to && c.binds(x.By, &c.p.Actions[i]) {
				c.refuse(i, engine.HoldPinned, "VM %s: %s", c.s.VMs[x.VM].Name, c.d.Why(x.By))
			}
		}
	}
	for _, x := range c.d.AllowSites {
		if i, ok := moves(x.VM, x.By); ok && !x.Sites.Has(c.s.Hosts[c.steps[i].to].Site) {
			c.refuse(i, engine.HoldSites, "site %s is not allowed: %s", c.p.Actions[i].To.Site, c.d.Why(x.By))
		}
	}
	for k := range c.d.AllowHosts {
		x := &c.d.AllowHosts[k]
		if i, ok := moves(x.VM, x.By); ok && !slices.Contains(x.Hosts, c.steps[i].to) {
			c.refuse(i, engine.HoldHosts, "host %s is not among the %d allowed: %s", c.p.Actions[i].To.Host, len(x.Hosts), c.d.Why(x.By))
		}
	}
}

// hostRules checks the clusters' mandatory VM-host rules. They bind inside their
// cluster and do not travel: a VM under one stays in its cluster.
func (c *checker) hostRules() {
	for k := range c.s.Rules {
		r := &c.s.Rules[k]
		if r.Disabled || !r.Mandatory || (r.Kind != engine.RuleOn && r.Kind != engine.RuleNotOn) {
			continue
		}
		for _, vm := range r.VMs {
			i := c.movedBy[vm]
			if i < 0 || c.steps[i].from == c.steps[i].to {
				continue
			}
			from, to := c.s.Hosts[c.steps[i].from].Cluster, c.s.Hosts[c.steps[i].to].Cluster
			switch {
			case r.Cluster == from && from != to:
				c.refuse(i, engine.HoldRule, "the mandatory rule %q does not travel to cluster %s", r.Name, c.s.Clusters[to].ID)
			case r.Cluster == to && slices.Contains(r.Hosts, c.steps[i].to) != (r.Kind == engine.RuleOn):
				c.refuse(i, engine.HoldRule, "the mandatory rule %q (%s) forbids host %s", r.Name, r.Kind, c.p.Actions[i].To.Host)
			}
		}
	}
}

// rested checks the cool-downs of a VM that moves for a wish.
func (c *checker) rested(i int32, a *engine.Action, e step) {
	cfg, now := &c.in.Config, c.in.Now
	h := c.vmPast(e.vm)
	if since, rest := int64(now-h.ForeignAt), engine.Longer(cfg.CooldownS, h.Returns); h.ForeignAt != 0 && since < rest {
		c.refuse(i, engine.HoldCooldown, "somebody else moved it %d s ago, it rests for %d", since, rest)
	}
	if since := int64(now - h.MovedAt); h.MovedAt != 0 {
		if since < cfg.CooldownS && !c.over(e.from) {
			c.refuse(i, engine.HoldCooldown, "moved %d s ago, rests for %d", since, cfg.CooldownS)
		}
		back := a.To.Host == h.LeftHost || (a.To.Site == h.LeftSite && a.From.Site != a.To.Site)
		if rest := engine.Longer(cfg.ReturnS, h.Returns); back && e.from != e.to && since < rest {
			c.refuse(i, engine.HoldCooldown, "returns to %s %s after %d s, not before %d", a.To.Site, a.To.Host, since, rest)
		}
	}
	if since, rest := int64(now-h.FailedAt), backOff(cfg.FailureS, h.Failures); h.FailedAt != 0 && since < rest {
		c.refuse(i, engine.HoldCooldown, "failed %d times, last %d s ago, rests for %d", h.Failures, since, rest)
	}
}

// over reports whether host h is asked for more than it has.
func (c *checker) over(h int32) bool {
	x := &c.s.Hosts[h]
	return x.UsedMHz > x.CPUMHz || x.UsedMiB > x.MemoryMiB
}

// backOff doubles the rest with each failure in a row, up to a day.
func backOff(rest int64, failures int32) int64 {
	const day = 86_400
	if failures < 1 {
		return 0
	}
	for ; failures > 1 && rest < day; failures-- {
		rest *= 2
	}
	return min(rest, day)
}

// budgets counts the wishes of the plan beside what was spent and what is under way.
func (c *checker) budgets() {
	const hour, day = 3600, 86_400
	cfg := &c.in.Config
	spent := func(kind engine.ActionKind, within int64) int32 {
		var n int32
		for _, s := range c.h.Spent {
			if s.Kind == kind && !s.Demand && int64(c.in.Now-s.At) < within {
				n++
			}
		}
		for k := range c.in.Open {
			// What is not known to have started may start now.
			o := &c.in.Open[k]
			if !o.State.Terminal() && o.Action.Kind == kind && o.Action.Demand.Kind == "" && (o.Started == 0 || int64(c.in.Now-o.Started) < within) {
				n++
			}
		}
		return n
	}
	count := func(kind engine.ActionKind, what string, used, most int32) {
		n := used
		for i := range c.steps {
			if e := &c.steps[i]; e.kind != kind || e.demanded {
				continue
			}
			if n++; n > most {
				c.refuse(int32(i), engine.HoldBudget, "is number %d of at most %d %s", n, most, what)
				if c.had == nil {
					return
				}
			}
		}
	}
	count(engine.Move, "moves a cycle", 0, cfg.MovesPerCycle)
	count(engine.Move, "moves an hour", spent(engine.Move, hour), cfg.MovesPerHour)
	count(engine.Move, "moves a day", spent(engine.Move, day), cfg.MovesPerDay)
	count(engine.Standby, "standbys an hour", spent(engine.Standby, hour), cfg.PowerPerHour)
	count(engine.Standby, "standbys a day", spent(engine.Standby, day), cfg.PowerPerDay)
}
