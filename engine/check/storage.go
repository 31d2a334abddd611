package check

import (
	"slices"

	"heliostat/engine"
)

// storage checks where every file of the VM is after the move: on a datastore
// that the destination host reads and that is not to be emptied.
func (c *checker) storage(i int32, a *engine.Action, e step) {
	if !a.Storage {
		if len(a.Disks) > 0 || a.HomeTo != "" {
			c.refuse(i, shape, "names datastores for %d disks and takes none along", len(a.Disks))
		}
		var room [8]int32
		for _, d := range c.datastores(room[:0], e.vm, nil) {
			c.readable(i, a, e, d, false)
		}
		if c.s.VMs[e.vm].Home < 0 {
			c.refuse(i, engine.HoldGap, "the datastore of the VM's configuration is not known")
		}
		return
	}
	c.homeTarget(i, a, e)
	c.diskTargets(i, a, e)
}

// readable checks one datastore that holds files of the VM after the move;
// written says that the move brings them there.
func (c *checker) readable(i int32, a *engine.Action, e step, d int32, written bool) {
	ds, to := &c.s.Datastores[d], &c.s.Hosts[e.to]
	if !slices.Contains(to.Datastores, d) {
		c.refuse(i, engine.HoldSpace, "host %s does not mount datastore %s", to.ID, ds.ID)
	}
	if !ds.Accessible {
		c.refuse(i, engine.HoldSpace, "datastore %s is not accessible", ds.ID)
	}
	// What already lies in a place to be emptied is that demand's business, but an
	// evacuation of a site saves nothing by leaving files there.
	emptied := written && c.emptiesVolume(d)
	if emptied || ((written || (a.Demand.Kind == "site" && c.evacuates(a))) && c.lost(d, c.doomed)) {
		c.refuse(i, "doomed", "datastore %s is to be emptied or is lost with its site", ds.ID)
	}
	if written && ds.Maintenance {
		c.refuse(i, engine.HoldSpace, "datastore %s is in maintenance", ds.ID)
	}
}

// emptiesVolume reports whether an evacuation is to empty datastore d, or the same
// volume as another vCenter sees it.
func (c *checker) emptiesVolume(d int32) bool {
	ds := &c.s.Datastores[d]
	for e := range c.evac {
		if e.Kind != "datastore" {
			continue
		}
		if k, ok := c.s.FindDatastore(engine.DatastoreID(e.ID)); ok && (k == d || (ds.URL != "" && c.s.Datastores[k].URL == ds.URL)) {
			return true
		}
	}
	return false
}

// homeTarget checks where the configuration and the swap file go.
func (c *checker) homeTarget(i int32, a *engine.Action, e step) {
	v := &c.s.VMs[e.vm]
	home, ok := c.s.FindDatastore(a.HomeTo)
	if !ok {
		c.refuse(i, engine.HoldSpace, "there is no datastore %q for the configuration", a.HomeTo)
		return
	}
	c.readable(i, a, e, home, home != v.Home)
	if home != v.Home && v.Home >= 0 && c.s.Datastores[v.Home].Replicated {
		c.refuse(i, engine.HoldObstacle, "datastore %s is replicated, leaving it loses protection", c.s.Datastores[v.Home].ID)
	}
	if need := v.SwapMiB(); home != v.Home && v.Power == engine.VMOn && a.SwapMiB < need {
		c.refuse(i, engine.HoldSpace, "reserves %d MiB of swap, the VM needs %d", a.SwapMiB, need)
	}
	if a.SwapMiB < 0 {
		c.refuse(i, shape, "reserves %d MiB of swap", a.SwapMiB)
	}
}

// diskTargets checks that every disk is mapped once, as large and as thin as it
// is, and under its own storage policy.
func (c *checker) diskTargets(i int32, a *engine.Action, e step) {
	v := &c.s.VMs[e.vm]
	if len(a.Disks) != len(v.Disks) {
		c.refuse(i, shape, "maps %d disks, the VM has %d", len(a.Disks), len(v.Disks))
	}
	for k := range v.Disks {
		disk := &v.Disks[k]
		var targets []engine.DiskTarget
		for _, t := range a.Disks {
			if t.Key == disk.Key {
				targets = append(targets, t)
			}
		}
		if len(targets) != 1 {
			c.refuse(i, shape, "maps disk %d %d times", disk.Key, len(targets))
			continue
		}
		c.disk(i, a, e, disk, &targets[0])
	}
}

func (c *checker) disk(i int32, a *engine.Action, e step, disk *engine.Disk, t *engine.DiskTarget) {
	to, ok := c.s.FindDatastore(t.To)
	if !ok {
		c.refuse(i, engine.HoldSpace, "disk %d: there is no datastore %q", t.Key, t.To)
		return
	}
	if disk.Datastore < 0 || c.s.Datastores[disk.Datastore].ID != t.From {
		c.refuse(i, shape, "disk %d is not on datastore %q", t.Key, t.From)
		return
	}
	from := &c.s.Datastores[disk.Datastore]
	moves := to != disk.Datastore
	c.readable(i, a, e, to, moves)
	if moves && from.Replicated {
		c.refuse(i, engine.HoldObstacle, "disk %d: datastore %s is replicated, leaving it loses protection", t.Key, from.ID)
	}
	if moves && t.MiB < disk.CopyMiB() {
		c.refuse(i, engine.HoldSpace, "disk %d: reserves %d MiB, it takes %d", t.Key, t.MiB, disk.CopyMiB())
	}
	if t.Thin != disk.Thin {
		c.refuse(i, shape, "disk %d: thin is %t, the target says %t", t.Key, disk.Thin, t.Thin)
	}
	switch {
	case a.Across && disk.Profile != "":
		c.refuse(i, engine.HoldStorage, "disk %d: storage policy %q has no mapping in vCenter %s", t.Key, disk.Profile, a.To.VCenter)
	case t.Profile != disk.Profile:
		c.refuse(i, engine.HoldStorage, "disk %d: storage policy is %q, the target says %q", t.Key, disk.Profile, t.Profile)
	}
}
