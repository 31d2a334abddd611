package check

import (
	"slices"
	"strings"

	"heliostat/engine"
)

// move judges one move against the snapshot: what the VM is, what the
// destination is, and what lies between.
func (c *checker) move(i int32, a *engine.Action, e step) {
	c.flags(i, a, e)
	c.subject(i, a, e)
	if e.from != e.to {
		c.destination(i, a, e)
		c.distance(i, a, e)
	}
	c.nics(i, a, e)
	c.storage(i, a, e)
	if a.Demand.Kind == "" {
		c.rested(i, a, e)
	}
}

// flags compares what the action says of itself with what it does.
func (c *checker) flags(i int32, a *engine.Action, e step) {
	v, from, to := &c.s.VMs[e.vm], &c.s.Hosts[e.from], &c.s.Hosts[e.to]
	if a.Cold != (v.Power != engine.VMOn) {
		c.refuse(i, shape, "cold is %t, the VM is %s", a.Cold, v.Power)
	}
	if across := from.VCenter != to.VCenter; a.Across != across {
		c.refuse(i, shape, "across is %t, the vCenters are %s and %s", a.Across, a.From.VCenter, a.To.VCenter)
	}
	if a.Across && !a.Storage {
		c.refuse(i, shape, "crosses vCenters without naming datastores")
	}
	if e.from == e.to && !a.Storage {
		c.refuse(i, shape, "goes nowhere")
	}
	cluster := &c.s.Clusters[to.Cluster]
	if full := cluster.DRS == engine.DRSFull; e.from != e.to && a.To.DRS != full {
		c.refuse(i, engine.HoldDRS, "to.drs is %t, the cluster's scheduler is %s", a.To.DRS, cluster.DRS)
	}
	if e.from != e.to && from.Cluster == to.Cluster && cluster.DRS == engine.DRSFull {
		c.refuse(i, engine.HoldDRS, "is inside %s, where the cluster's own scheduler moves VMs", cluster.ID)
	}
	c.pool(i, a, e)
}

// pool checks that the VM keeps its pool and folder where it can, and that they
// are explicit where it cannot: left out, they default to a root with other permissions.
func (c *checker) pool(i int32, a *engine.Action, e step) {
	v, from, to := &c.s.VMs[e.vm], &c.s.Hosts[e.from], &c.s.Hosts[e.to]
	cluster := &c.s.Clusters[to.Cluster]
	switch {
	case from.Cluster != to.Cluster && a.To.Pool == "":
		c.refuse(i, shape, "names no pool in cluster %s", cluster.ID)
	case from.Cluster == to.Cluster && a.To.Pool != "" && a.To.Pool != v.Pool:
		c.refuse(i, shape, "takes the VM from pool %s to %s", v.Pool, a.To.Pool)
	}
	switch {
	case a.Across && a.To.Folder == "":
		c.refuse(i, shape, "names no folder in vCenter %s", a.To.VCenter)
	case !a.Across && a.To.Folder != "" && a.To.Folder != v.Folder && (from.Cluster == to.Cluster || a.To.Folder != cluster.Folder):
		c.refuse(i, shape, "takes the VM from folder %s to %s", v.Folder, a.To.Folder)
	}
}

// subject refuses VMs that cannot or must not move, or are not seen well enough.
func (c *checker) subject(i int32, a *engine.Action, e step) {
	v := &c.s.VMs[e.vm]
	if v.Template {
		c.refuse(i, engine.HoldPoweredOff, "is a template")
	}
	if row, stops := v.Obstacles.Stops(a.Storage, a.Across); stops {
		c.refuse(i, engine.HoldObstacle, "the VM %s (%s)", row.Text, row.Name)
	}
	if v.Power == engine.VMOn {
		c.seen(i, "the VM", v.Seen(), v.LoadAt)
	}
	if a.Across && !v.Across && !c.evacuates(a) {
		c.refuse(i, engine.HoldAcross, "the VM has not opted in to moves across vCenters, and this is no evacuation")
	}
	if h := &c.s.Hosts[e.from]; h.Power != engine.HostOn || !h.Connected {
		c.refuse(i, engine.HoldUnavailable, "its host %s is %s, connected %t", h.ID, h.Power, h.Connected)
	}
}

// seen refuses what has a load that is not known, or was read too long ago.
func (c *checker) seen(i int32, what string, known bool, at engine.Unix) {
	if age := int64(c.in.Now - at); !known {
		c.refuse(i, engine.HoldGap, "the load of %s is not seen", what)
	} else if age > c.in.Config.LoadMaxAgeS {
		c.refuse(i, engine.HoldGap, "the load of %s is %d s old, of at most %d", what, age, c.in.Config.LoadMaxAgeS)
	}
}

// destination refuses hosts that cannot or must not take the VM, at any time.
func (c *checker) destination(i int32, a *engine.Action, e step) {
	v, to := &c.s.VMs[e.vm], &c.s.Hosts[e.to]
	if place, yes := c.threatened(e.to); yes {
		c.refuse(i, "doomed", "the destination is in %s, which is to be emptied", place)
	}
	if slices.Contains(c.s.Clusters[to.Cluster].FailOn, e.to) {
		c.refuse(i, engine.HoldReserve, "the destination is a dedicated failover host")
	}
	if v.VCPUs > to.Threads {
		c.refuse(i, engine.HoldCapacity, "%d vCPUs, the destination has %d threads", v.VCPUs, to.Threads)
	}
	// A host that is not on has no load to be seen; it is empty.
	if to.Power == engine.HostOn {
		c.seen(i, "the destination", to.Seen(), to.LoadAt)
	}
	if a.Cold {
		return
	}
	for _, h := range []int32{e.from, e.to} {
		if !c.s.Hosts[h].VMotion {
			c.refuse(i, engine.HoldUnavailable, "host %s has no vMotion interface up", c.s.Hosts[h].ID)
		}
	}
	// Equal in both directions: a guest that restarts on a newer CPU could not return.
	// What is not known is not equal.
	if one, other := c.cpu(e.from), c.cpu(e.to); one != other || one == "" {
		c.refuse(i, engine.HoldCompat, "the CPUs are %q here and %q there", one, other)
	}
}

// cpu is the set of CPU features that a guest on the host may be using.
func (c *checker) cpu(h int32) string {
	host := &c.s.Hosts[h]
	for _, level := range []string{c.s.Clusters[host.Cluster].EVC, host.EVCMax} {
		if level != "" {
			return level
		}
	}
	return host.CPUModel
}

// distance checks what lies between two sites.
func (c *checker) distance(i int32, a *engine.Action, e step) {
	v, from, to := &c.s.VMs[e.vm], &c.s.Hosts[e.from], &c.s.Hosts[e.to]
	limits, cost := c.in.Config.Limits, c.in.Config.Cost
	rate := min(from.NICMbps, to.NICMbps)
	if !a.Cold && rate <= 0 {
		c.refuse(i, engine.HoldBandwidth, "the vMotion network is not known: %d and %d Mbit/s", from.NICMbps, to.NICMbps)
	}
	if from.Site != to.Site {
		link, ok := c.s.Link(from.Site, to.Site)
		if !ok {
			c.refuse(i, engine.HoldBandwidth, "there is no link between %s and %s", a.From.Site, a.To.Site)
			return
		}
		if age, most := int64(c.in.Now-link.At), c.in.Config.LinkMaxAgeS; most > 0 && age > most {
			c.refuse(i, engine.HoldRTT, "the link was measured %d s ago, at most %d", age, most)
		}
		if !a.Cold && (link.RTTMicros == engine.Unknown || link.RTTMicros > limits.MaxRTTMicros) {
			c.refuse(i, engine.HoldRTT, "the round trip is %d us, at most %d", link.RTTMicros, limits.MaxRTTMicros)
		}
		if engine.LinkMoves(limits, link) < 1 {
			c.refuse(i, engine.HoldBandwidth, "the link has %d Mbit/s, a move needs %d", link.Mbps, limits.MinMbpsPerMove)
		}
		rate = min(rate, link.Mbps)
	}
	// If it does not converge alone at full rate, it never does.
	if rate > 0 && !a.Cold && !cost.Converges(v, rate) {
		c.refuse(i, engine.HoldConverge, "memory is dirtied at %d Mbit/s, the path carries %d", cost.Dirty(v), rate)
	}
}

// nics checks that every card finds its L2 segment at the destination.
func (c *checker) nics(i int32, a *engine.Action, e step) {
	v, to := &c.s.VMs[e.vm], &c.s.Hosts[e.to]
	for k, t := range a.NICs {
		known := slices.ContainsFunc(v.NICs, func(n engine.NIC) bool { return n.Key == t.Key })
		if !known || slices.ContainsFunc(a.NICs[:k], func(o engine.NICTarget) bool { return o.Key == t.Key }) {
			c.refuse(i, engine.HoldNetwork, "card %d is not the VM's, or is named twice", t.Key)
		}
	}
	if e.from == e.to && len(a.NICs) == 0 {
		return
	}
	for _, n := range v.NICs {
		target, named := c.nicTarget(a, n)
		switch {
		case n.Network < 0:
			c.refuse(i, engine.HoldNetwork, "card %d is on a network that is not in the inventory", n.Key)
		case target < 0:
			c.refuse(i, engine.HoldNetwork, "card %d goes to a network that does not exist", n.Key)
		case a.Across && !named:
			c.refuse(i, engine.HoldNetwork, "card %d is mapped to no network", n.Key)
		case !slices.Contains(to.Networks, target):
			c.refuse(i, engine.HoldNetwork, "card %d: host %s has no network %s", n.Key, to.ID, c.s.Networks[target].ID)
		case target != n.Network && !c.sameSegment(n.Network, target):
			c.refuse(i, engine.HoldNetwork, "card %d: segment %q of %s is not %q of %s", n.Key,
				c.s.Networks[n.Network].Segment, c.s.Networks[n.Network].ID, c.s.Networks[target].Segment, c.s.Networks[target].ID)
		}
	}
}

// nicTarget is the network of card n after the move; what is not named stays.
func (c *checker) nicTarget(a *engine.Action, n engine.NIC) (network int32, named bool) {
	for _, t := range a.NICs {
		if t.Key == n.Key {
			to, ok := c.s.FindNetwork(t.To)
			if !ok {
				return engine.None, true
			}
			return to, true
		}
	}
	return n.Network, false
}

func (c *checker) sameSegment(a, b int32) bool {
	seg := c.s.Networks[a].Segment
	return seg != "" && seg == c.s.Networks[b].Segment
}

// address is one address on one L2 segment.
type address struct{ segment, mac string }

// macs refuses moves that would bring a second card with one address to an L2
// segment, over all vCenters. A card that stays on its network brings nothing.
func (c *checker) macs() {
	brought, onto := map[address][]int32{}, map[string]bool{}
	for i := range c.p.Actions {
		e := &c.steps[i]
		if e.vm < 0 || !e.cards { // what is not named stays on its network
			continue
		}
		a := &c.p.Actions[i]
		for _, n := range c.s.VMs[e.vm].NICs {
			if t, _ := c.nicTarget(a, n); t >= 0 && t != n.Network && n.MAC != "" {
				k := address{c.s.Networks[t].Segment, strings.ToLower(n.MAC)}
				brought[k], onto[k.segment] = append(brought[k], int32(i)), true
			}
		}
	}
	if len(brought) == 0 {
		return
	}
	reached := make([]bool, len(c.s.Networks))
	for n := range reached {
		reached[n] = onto[c.s.Networks[n].Segment]
	}
	for v := range c.s.VMs {
		for _, n := range c.s.VMs[v].NICs {
			if n.Network < 0 || !reached[n.Network] || n.MAC == "" {
				continue
			}
			for _, i := range brought[address{c.s.Networks[n.Network].Segment, strings.ToLower(n.MAC)}] {
				if c.steps[i].vm != int32(v) {
					c.refuse(i, engine.HoldMAC, "%s is that of %s too, on segment %q", n.MAC, c.s.VMs[v].Name, c.s.Networks[n.Network].Segment)
				}
			}
		}
	}
}
