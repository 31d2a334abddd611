package plan

import (
	"slices"

	"heliostat/engine"
)

// compileTwins finds the volumes that several vCenters see, each as a datastore of
// its own: they have one URL.
func (b *builder) compileTwins() {
	byURL := map[string][]int32{}
	for i := range b.s.Datastores {
		if url := b.s.Datastores[i].URL; url != "" {
			byURL[url] = append(byURL[url], int32(i))
		}
	}
	for i := range b.s.Datastores {
		same := byURL[b.s.Datastores[i].URL]
		if len(same) < 2 {
			continue
		}
		if b.twins == nil {
			b.twins = make([][]int32, len(b.s.Datastores))
		}
		for _, d := range same {
			if d != int32(i) {
				b.twins[i] = append(b.twins[i], d)
			}
		}
	}
}

// spare is the room on datastore ds above what is to stay free. A volume with
// several names has the least that any of them shows, and what is promised of it
// under one is missing under all.
func (b *builder) spare(ds int32) int64 {
	above := func(d int32) int64 {
		x := &b.s.Datastores[d]
		return x.FreeMiB - x.CapacityMiB*int64(b.c.DatastoreFreePct)/100
	}
	least, taken := above(ds), b.s.Datastores[ds].FreeMiB-b.st.Free[ds]
	if b.twins != nil {
		for _, d := range b.twins[ds] {
			least = min(least, above(d))
			taken += b.s.Datastores[d].FreeMiB - b.st.Free[d]
		}
	}
	return least - taken
}

// emptied reports whether a demand empties datastore ds, or its volume under
// another name.
func (b *builder) emptied(ds int32) bool {
	if b.doomedDS[ds] > 0 {
		return true
	}
	return b.twins != nil && slices.ContainsFunc(b.twins[ds], func(d int32) bool { return b.doomedDS[d] > 0 })
}

// keeps reports whether a disk on datastore ds can stay there when its VM runs
// on host h.
func (b *builder) keeps(ds, h int32) bool {
	if ds < 0 {
		return false
	}
	x := &b.s.Datastores[ds]
	if b.doomedDS[ds] > 0 || !x.Accessible {
		return false
	}
	if _, ok := slices.BinarySearch(b.s.Hosts[h].Datastores, ds); !ok {
		return false
	}
	return true
}

// leaveReason says why files of the VM may not be copied away from where they
// are, for a move to h.
func (b *builder) leaveReason(w *want, h int32) reason {
	vm := &b.s.VMs[w.v]
	across := vm.VCenter != b.s.Hosts[h].VCenter
	check := func(ds int32) reason {
		if ds < 0 {
			return reason{code: engine.HoldGap, stage: stAcross, form: "the datastore of some of its files is not seen"}
		}
		x := &b.s.Datastores[ds]
		switch {
		case !across && b.keeps(ds, h):
		case b.gapDS[ds]:
			return reason{code: engine.HoldGap, stage: stAcross, form: "datastore %[1]s is not fully seen", where: x.Name}
		case x.Replicated:
			return reason{code: engine.HoldObstacle, stage: stAcross, form: "datastore %[1]s is replicated, and leaving it loses protection", where: x.Name}
		}
		return reason{}
	}
	r := check(vm.Home)
	for i := range vm.Disks {
		if r.ok() {
			r = check(vm.Disks[i].Datastore)
		}
	}
	return r
}

// storageNeeded reports whether disks have to move for the VM to run on h.
func (b *builder) storageNeeded(w *want, h int32) bool {
	vm := &b.s.VMs[w.v]
	if vm.VCenter != b.s.Hosts[h].VCenter || !b.keeps(vm.Home, h) {
		return true
	}
	for i := range vm.Disks {
		if !b.keeps(vm.Disks[i].Datastore, h) {
			return true
		}
	}
	return false
}

// diskCopy is what a move to h would write there.
func (b *builder) diskCopy(w *want, h int32) int64 {
	vm := &b.s.VMs[w.v]
	var n int64
	for i := range vm.Disks {
		if d := &vm.Disks[i]; vm.VCenter != b.s.Hosts[h].VCenter || !b.keeps(d.Datastore, h) {
			n += d.CopyMiB()
		}
	}
	return n
}

// A storageChoice is where the files of one VM go.
type storageChoice struct {
	home  int32
	disks []int32 // by disk
}

// chooseStorage places home and disks on datastores of host h: what can stay
// stays, the rest goes where most is free, shared before local.
func (b *builder) chooseStorage(w *want, h int32, into []int32) (storageChoice, reason) {
	if b.confined && !b.ours(h) {
		b.strayed = true
		return storageChoice{disks: into}, reason{code: engine.HoldSpace, stage: stSpace}
	}
	vm := &b.s.VMs[w.v]
	host := &b.s.Hosts[h]
	across := vm.VCenter != host.VCenter
	c := storageChoice{home: vm.Home, disks: into[:0]}
	free := b.mark.free[:0]
	for _, d := range host.Datastores {
		free = append(free, b.spare(d))
	}
	b.mark.free = free
	if across || !b.keeps(vm.Home, h) {
		home, r := b.chooseDatastore(h, vm.SwapMiB())
		if !r.ok() {
			return c, r
		}
		c.home = home
	}
	for i := range vm.Disks {
		d := &vm.Disks[i]
		to := d.Datastore
		if across || !b.keeps(to, h) {
			var r reason
			if to, r = b.chooseDatastore(h, d.CopyMiB()); !r.ok() {
				return c, r
			}
		}
		c.disks = append(c.disks, to)
	}
	return c, reason{}
}

// chooseDatastore takes room from the datastore of h (in scratch) with most free.
func (b *builder) chooseDatastore(h int32, need int64) (int32, reason) {
	host := &b.s.Hosts[h]
	best, bestFree, bestShared := -1, int64(0), false
	for i, d := range host.Datastores {
		x := &b.s.Datastores[d]
		if !x.Accessible || x.Maintenance || b.emptied(d) || b.gapDS[d] {
			continue
		}
		// With DRS the cluster chooses the host: only what all of it mounts will do.
		if !x.Shared && b.s.Clusters[host.Cluster].DRS == engine.DRSFull {
			continue
		}
		left := b.mark.free[i]
		if best < 0 || (x.Shared && !bestShared && left >= need) || (x.Shared == bestShared && left > bestFree) {
			best, bestFree, bestShared = i, left, x.Shared
		}
	}
	if best < 0 {
		return engine.None, reason{code: engine.HoldSpace, stage: stSpace, form: "%[1]s has no datastore that can take its disks", where: host.Name}
	}
	d := host.Datastores[best]
	if bestFree < need {
		return engine.None, reason{
			code: engine.HoldSpace, stage: stSpace, form: "datastore %[2]s of %[1]s has %[3]d MiB free above its reserve, it needs %[4]d",
			where: host.Name, other: b.s.Datastores[d].Name, a: max(bestFree, 0), b: need,
		}
	}
	b.mark.free[best] -= need
	return d, reason{}
}

// spaceReason asks for room for disks and swap.
func (b *builder) spaceReason(w *want, h int32) reason {
	c, r := b.chooseStorage(w, h, b.mark.disks)
	b.mark.disks = c.disks
	return r
}

// ours reports whether no other block of clusters asks for room on the datastores of
// host h: nothing is read at other sites, under any name.
func (b *builder) ours(h int32) bool {
	return !slices.ContainsFunc(b.s.Hosts[h].Datastores, func(d int32) bool {
		away := func(d int32) bool { return b.s.Datastores[d].Sites != b.home }
		return away(d) || (b.twins != nil && slices.ContainsFunc(b.twins[d], away))
	})
}
