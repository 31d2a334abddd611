package shuffle

import (
	"slices"

	"heliostat/engine"
)

// A slot is so many units of one counter.
type slot struct{ counter, cost int32 }

// slots looks up, from the table of limits, what each action occupies: units of both
// hosts and of their vMotion networks, of every datastore that it touches, of the
// vCenters, and of the link between the sites.
func (c *Course) slots() {
	type key struct {
		kind string
		i    int32
	}
	counters := map[key]int32{}
	l := &c.in.Config.Limits
	for i := range c.acts {
		x := &c.acts[i]
		take := func(kind string, of, cost, capacity int32) {
			if of < 0 || cost == 0 {
				return
			}
			k, ok := counters[key{kind, of}]
			if !ok {
				k = int32(len(c.capacity))
				counters[key{kind, of}] = k
				c.capacity = append(c.capacity, capacity)
			}
			x.slots = append(x.slots, slot{k, cost})
		}
		from := &c.s.Hosts[x.from]
		if x.Kind != engine.Move {
			take("host actions", from.Cluster, 1, l.HostActionsPerCluster)
			continue
		}
		cost := l.Cost[classOf(x)]
		for k, h := range [2]int32{x.from, x.to} {
			if k == 1 && !x.moves {
				continue
			}
			units := l.NICUnitsSlow
			if c.s.Hosts[h].NICMbps >= 10_000 {
				units = l.NICUnitsFast
			}
			take("host", h, cost.Host, l.HostUnits)
			take("network", h, cost.NIC, units)
		}
		to := &c.s.Hosts[x.to]
		for _, d := range c.touched(x) {
			take("datastore", d, cost.Datastore, l.DatastoreUnits)
		}
		take("vcenter", from.VCenter, 1, l.VCenterUnits)
		if to.VCenter != from.VCenter {
			take("vcenter", to.VCenter, 1, l.VCenterUnits)
		}
		if from.Site != to.Site {
			for k := range c.s.Links {
				if n := &c.s.Links[k]; (n.A == from.Site && n.B == to.Site) || (n.B == from.Site && n.A == to.Site) {
					take("link", int32(k), 1, min(n.Mbps/l.MinMbpsPerMove, l.PerLink))
				}
			}
		}
	}
}

// touched lists the datastores that a move reads or writes, each once.
func (c *Course) touched(x *act) (out []int32) {
	if !x.Storage {
		return []int32{c.s.VMs[x.vm].Home}
	}
	ids := []engine.DatastoreID{x.HomeTo}
	for _, d := range x.Disks {
		ids = append(ids, d.From, d.To)
	}
	for _, id := range ids {
		if d, ok := c.s.FindDatastore(id); ok && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// ruled looks up what the executor's own arithmetic says that each action occupies.
func (c *Course) ruled() {
	known := engine.NewSlots(c.in.Config.Limits, c.s)
	c.rule = make([]int32, known.Counters())
	for i := range c.acts {
		known.Visit(c.acts[i].Action, func(counter, cost, capacity int32) {
			c.rule[counter] = capacity
			c.acts[i].rule = append(c.acts[i].rule, slot{counter, cost})
		})
	}
}

// classOf tells what a move is by what it takes along.
func classOf(x *act) engine.MoveClass {
	switch {
	case x.Cold:
		return engine.ClassCold
	case !x.Storage:
		return engine.ClassVMotion
	case x.moves:
		return engine.ClassBoth
	}
	return engine.ClassStorage
}
