package check

import (
	"slices"
	"strings"

	"heliostat/engine"
)

// power judges one host action by itself: whose host it is, and who asks.
func (c *checker) power(i int32, a *engine.Action, e step) {
	h, cluster := &c.s.Hosts[e.from], &c.s.Clusters[c.s.Hosts[e.from].Cluster]
	if (a.Kind == engine.Standby || a.Kind == engine.Wakeup) && cluster.DPM {
		c.refuse(i, engine.HoldDPM, "vSphere's own power management runs in %s", cluster.ID)
	}
	switch a.Kind {
	case engine.Standby:
		c.standby(i, a, e)
	case engine.Wakeup:
		c.wakeup(i, e)
	case engine.EnterMaintenance:
		if !h.Connected {
			c.refuse(i, engine.HoldUnavailable, "the host does not answer")
		}
		if c.marks[e.from]&wantMaint == 0 {
			c.refuse(i, "demand", "nobody demands the host's maintenance")
		}
	case engine.ExitMaintenance:
		if !h.Maintenance {
			c.refuse(i, shape, "the host is not in maintenance")
		}
		c.ours(i, e.from, engine.OwnMaintenance)
		if place, yes := c.threatened(e.from); yes {
			c.refuse(i, "demand", "%s is still to be emptied", place)
		}
	case engine.Move:
	}
}

func (c *checker) standby(i int32, a *engine.Action, e step) {
	h, cluster, cfg := &c.s.Hosts[e.from], &c.s.Clusters[c.s.Hosts[e.from].Cluster], &c.in.Config
	if c.marks[e.from]&maySleep == 0 {
		c.refuse(i, "demand", "no policy permits the host's standby")
	}
	for k := range c.d.KeepOns {
		if c.marks[e.from]&keptOn == 0 {
			break
		}
		if k := &c.d.KeepOns[k]; k.Host == e.from && c.binds(k.By, a) {
			c.refuse(i, engine.HoldKeepOn, "%s", c.d.Why(k.By))
		}
	}
	switch {
	case !h.Ready():
		c.refuse(i, engine.HoldUnavailable, "the host is %s, connected %t, maintenance %t", h.Power, h.Connected, h.Maintenance || h.Entering)
	case !h.Standby:
		c.refuse(i, engine.HoldStandby, "the host cannot be woken")
	case h.USB:
		c.refuse(i, engine.HoldStandby, "a USB device of the host is in use")
	case h.VSANData:
		c.refuse(i, engine.HoldVSAN, "the host contributes storage")
	case slices.Contains(cluster.FailOn, e.from):
		c.refuse(i, engine.HoldReserve, "the host is a dedicated failover host")
	}
	for _, vm := range c.s.VMsOn(e.from) {
		if v := &c.s.VMs[vm]; v.Power == engine.VMOff && cfg.PoweredOff != engine.LeaveOff && v.Obstacles&engine.ObAgent == 0 && (c.movedBy[vm] < 0 || c.movedBy[vm] > i) {
			c.refuse(i, engine.HoldPoweredOff, "VM %s, which is off, is registered on the host", v.Name)
		}
	}
	if place, yes := c.threatened(e.from); yes {
		c.deserted(i, place, e.from)
	}
	if age := int64(c.in.Now - h.LoadAt); !h.Seen() || age > cfg.LoadMaxAgeS {
		c.refuse(i, engine.HoldGap, "the host's load is %d s old, of at most %d", age, cfg.LoadMaxAgeS)
	}
	past := c.hostPast(e.from)
	if since, rest := int64(c.in.Now-past.ChangeAt), engine.Longer(cfg.PowerCooldownS, past.Returns); past.ChangeAt != 0 && since < rest {
		c.refuse(i, engine.HoldCooldown, "the host changed %d s ago, rests for %d", since, rest)
	}
}

// deserted refuses the standby of a host that is being emptied while anything is
// on it or on its way from or to it, or when it is more than a part of the place
// that an evacuation empties: then somebody has plans for the host itself.
func (c *checker) deserted(i int32, place engine.Subject, host int32) {
	id := c.s.Hosts[host].ID
	if place.Kind == "host" || c.marks[host]&wantEmpty != 0 {
		c.refuse(i, engine.HoldEvacuating, "the host itself is to be emptied")
	}
	for _, vm := range c.s.VMsOn(host) {
		if v := &c.s.VMs[vm]; v.Obstacles&engine.ObAgent == 0 {
			c.refuse(i, engine.HoldEvacuating, "VM %s is still in %s, on the host", v.Name, place)
		}
	}
	for k := range c.in.Open {
		if o := &c.in.Open[k]; !o.State.Terminal() && (o.Action.From.Host == id || o.Action.To.Host == id) {
			c.refuse(i, engine.HoldEvacuating, "%s is under way from or to the host", o.Action.ID)
		}
	}
}

// behind reports whether a VM stays behind in the part of the cluster that is
// being emptied: it runs there, and neither this plan nor a move under way takes
// it anywhere else.
func (c *checker) behind(cluster int32) bool {
	for _, h := range c.s.HostsOf(cluster) {
		if _, yes := c.threatened(h); !yes {
			continue
		}
		for _, vm := range c.s.VMsOn(h) {
			if v := &c.s.VMs[vm]; v.Power != engine.VMOn || v.Obstacles&engine.ObAgent != 0 {
				continue
			}
			if _, yes := c.threatened(c.goes(vm, h)); yes {
				return true
			}
		}
	}
	return false
}

// goes is the host that a VM on host h is to end on.
func (c *checker) goes(vm, h int32) int32 {
	if i := c.movedBy[vm]; i >= 0 {
		return c.steps[i].to
	}
	for k := range c.in.Open {
		if o := &c.in.Open[k]; !o.State.Terminal() && o.Action.Kind == engine.Move && o.Action.VM == c.s.VMs[vm].ID {
			if to, ok := c.s.FindHost(o.Action.To.Host); ok {
				return to
			}
		}
	}
	return h
}

// wakeup: only a host that this daemon put to sleep. Who may ask for it is judged
// where the fleet's loads are known: see unasked.
func (c *checker) wakeup(i int32, e step) {
	h := &c.s.Hosts[e.from]
	if h.Power != engine.HostStandby {
		c.refuse(i, shape, "the host is %s", h.Power)
	}
	c.ours(i, e.from, engine.OwnStandby)
	if place, yes := c.threatened(e.from); yes {
		c.refuse(i, "doomed", "the host is in %s, which is to be emptied", place)
	}
}

// ours refuses hosts that a person owns: the journal's memory and the mark on
// the host must agree that this daemon put it where it is. There may be hands in
// the chassis.
func (c *checker) ours(i, host int32, want engine.Owned) {
	h := &c.s.Hosts[host]
	if own := c.hostPast(host).Own; own != want || !strings.HasPrefix(h.Mark, want.String()) {
		c.refuse(i, engine.HoldOwner, "the journal says %s, the host's mark %q: both must say %s", own, h.Mark, want)
	}
}

// delegates reports whether a cluster's own scheduler empties the host of this action.
func (c *checker) delegates(e *step) bool {
	return e.empties() && c.s.Clusters[c.s.Hosts[e.from].Cluster].DRS == engine.DRSFull
}

// delegated judges the moves that a cluster's own scheduler makes when a host of
// it goes: what stops a VM of the host from moving stops the host action, and
// what is said about the VM is said about the action.
func (c *checker) delegated() {
	for k := range c.p.Actions {
		i, e := int32(k), &c.steps[k]
		if e.from < 0 || !c.delegates(e) {
			continue
		}
		for _, vm := range c.s.VMsOn(e.from) {
			v := &c.s.VMs[vm]
			if v.Power != engine.VMOn || v.Obstacles&engine.ObAgent != 0 || c.movedBy[vm] >= 0 {
				continue
			}
			subject := engine.Subject{Kind: "vm", ID: string(v.ID)}
			c.along[vm] = append(c.along[vm], i)
			if row, stops := v.Obstacles.Stops(false, false); stops {
				c.refuse(i, engine.HoldObstacle, "VM %s on it %s (%s)", v.Name, row.Text, row.Name)
			}
			if q := c.h.QuarantineOf(subject); q != nil {
				c.refuse(i, engine.HoldQuarantine, "VM %s on it is %s", v.Name, q.Text())
			}
			if c.weak(v.Mode) {
				c.refuse(i, engine.HoldMode, "the tag of VM %s on it allows %s, the plan is for %s", v.Name, v.Mode, c.in.Level)
			}
			if v.Task != "" {
				c.refuse(i, engine.HoldBusy, "a task runs on VM %s on it: %s", v.Name, v.Task)
			}
		}
	}
}
