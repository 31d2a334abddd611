package collectors

import (
	"fmt"

	"heliostat/engine"
)

// check reports the first slice out of order or reference out of range of an
// inventory, so that a source with a bug costs its own part and no more. Two VMs
// of one ID are let through: they are sightings.
func check(inv *engine.Inventory) error {
	in := func(n int, idx ...int32) bool {
		for _, i := range idx {
			if i < engine.None || int(i) >= n {
				return false
			}
		}
		return true
	}
	if inv.VCenter.ID == "" {
		return fmt.Errorf("its vCenter has no ID")
	}
	nc, nh, nd, nn, nv := len(inv.Clusters), len(inv.Hosts), len(inv.Datastores), len(inv.Networks), len(inv.VMs)
	for i := range inv.Clusters {
		c := &inv.Clusters[i]
		if (i > 0 && inv.Clusters[i-1].ID >= c.ID) || !in(nh, c.FailOn...) {
			return fmt.Errorf("cluster %s is out of order, or refers to nothing", c.ID)
		}
	}
	for i := range inv.Hosts {
		h := &inv.Hosts[i]
		if (i > 0 && inv.Hosts[i-1].ID >= h.ID) || h.Cluster < 0 || !in(nc, h.Cluster) || !in(nd, h.Datastores...) || !in(nn, h.Networks...) {
			return fmt.Errorf("host %s is out of order, or refers to nothing", h.ID)
		}
	}
	for i := range inv.Datastores {
		if d := &inv.Datastores[i]; i > 0 && inv.Datastores[i-1].ID >= d.ID {
			return fmt.Errorf("datastore %s is out of order", d.ID)
		}
	}
	for i := range inv.Networks {
		if n := &inv.Networks[i]; i > 0 && inv.Networks[i-1].ID >= n.ID {
			return fmt.Errorf("network %s is out of order", n.ID)
		}
	}
	for i := range inv.VMs {
		v := &inv.VMs[i]
		bad := (i > 0 && inv.VMs[i-1].ID > v.ID) || !in(nh, v.Host) || !in(nd, v.Home)
		for j := range v.Disks {
			bad = bad || !in(nd, v.Disks[j].Datastore)
		}
		for j := range v.NICs {
			bad = bad || !in(nn, v.NICs[j].Network)
		}
		if bad {
			return fmt.Errorf("vm %s is out of order, or refers to nothing", v.ID)
		}
	}
	for i := range inv.Rules {
		r := &inv.Rules[i]
		if r.Cluster < 0 || !in(nc, r.Cluster) || !in(nv, r.VMs...) || !in(nh, r.Hosts...) || min0(r.VMs) < 0 || min0(r.Hosts) < 0 {
			return fmt.Errorf("rule %s refers to nothing", r.Name)
		}
	}
	return nil
}

func min0(idx []int32) int32 {
	least := int32(0)
	for _, i := range idx {
		least = min(least, i)
	}
	return least
}
