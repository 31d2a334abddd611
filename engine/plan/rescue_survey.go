package plan

import (
	"fmt"
	"slices"

	"heliostat/engine"
)

// survey lists the places, the ways and what each VM would take of them.
func (r *rescue) survey() {
	r.findPlaces()
	r.options = make([][]option, len(r.vms))
	b := r.b
	d := &b.demands[r.k]
	for i, v := range r.vms {
		if r.inFlight[i] {
			r.options[i] = []option{{dest: engine.None}}
			continue
		}
		w := want{v: v, demand: r.k, evac: true, lax: true, sites: b.refuges(v, d), cluster: engine.None, host: engine.None, avoid: engine.None}
		if x := b.vmReason(&w); !x.ok() && !passing(x.code) {
			continue
		}
		b.prepare(&w)
		for p := range r.havens {
			if o, ok := r.option(&w, int32(p)); ok {
				r.options[i] = append(r.options[i], o)
			}
		}
	}
	r.prune()
}

// passing are reasons that may be gone before the deadline.
func passing(c engine.HoldCode) bool {
	return c == engine.HoldBusy || c == engine.HoldCooldown || c == engine.HoldGap
}

// bySite reports whether places are sites.
func (r *rescue) bySite() bool { return len(r.b.s.Clusters) > manyClusters }

func (r *rescue) findPlaces() {
	b := r.b
	r.placeOf = nones(len(b.s.Hosts))
	index := map[int32]int32{}
	for c := range b.s.Clusters {
		for _, h := range b.s.HostsOf(int32(c)) {
			x := &b.s.Hosts[h]
			if bar := b.bars[1][h]; b.doomed[h] || (bar != barNone && (bar != barStandby || b.waking[h] == 0)) {
				continue
			}
			key, name := int32(c), "cluster "+b.s.Clusters[c].Name
			if r.bySite() {
				key, name = x.Site, "site "+string(b.s.Sites[x.Site].ID)
			}
			p, ok := index[key]
			if !ok {
				p = int32(len(r.havens))
				index[key] = p
				r.havens = append(r.havens, haven{name: name, one: x.VCenter})
			}
			r.placeOf[h] = p
			r.havens[p].hosts = append(r.havens[p].hosts, h)
			if cs := &r.havens[p].clusters; !slices.Contains(*cs, int32(c)) {
				*cs = append(*cs, int32(c))
			}
		}
	}
	for p := range r.havens {
		r.measure(&r.havens[p])
	}
	flowing := r.flowing()
	for range b.s.Links { // Mbit, then slots
		r.addRow("", "", 0)
		r.addRow("", "", 0)
	}
	for i := range b.s.Links {
		k := &b.s.Links[i]
		name := fmt.Sprintf("link %s - %s", b.s.Sites[k.A].ID, b.s.Sites[k.B].ID)
		r.setRow(int32(2*i), name, "Mbit", float64(max(k.Mbps, 0))*r.efficiency()*flowing)
		r.setRow(int32(2*i+1), "slots of "+name, "s", float64(engine.LinkMoves(b.c.Limits, k))*r.seconds)
	}
	for p := range r.havens {
		x := &r.havens[p]
		x.row = r.addRow("memory of "+x.name, "MiB", float64(x.mem))
		r.addRow("CPU of "+x.name, "MHz", float64(x.cpu))
		r.addRow("vCPUs of "+x.name, "vCPU", float64(x.vcpus))
		r.addRow("disk space of "+x.name, "MiB", float64(x.disks))
		r.addRow("slots of "+x.name, "s", float64(x.slots)*r.seconds)
		r.addRow("vMotion network of "+x.name, "Mbit", float64(x.nics)*r.efficiency()*flowing)
	}
}

// flowing is for how many seconds data can flow until the deadline: no move sends
// any before it is set up, and none that starts now is set up sooner than moves are
// that were learnt from, or than the model says of those that were not.
func (r *rescue) flowing() float64 {
	least := float64(r.b.c.Cost.SetupS)
	if h := r.b.in.History; h != nil {
		for i := range h.Fits {
			least = min(least, h.Fits[i].SetupS)
		}
	}
	return max(r.seconds-least, 0)
}

func (r *rescue) efficiency() float64 { return float64(r.b.c.Cost.EfficiencyPct) / 100 }

func (r *rescue) addRow(name, unit string, capacity float64) int32 {
	r.market.capacity, r.names, r.units = append(r.market.capacity, capacity), append(r.names, name), append(r.units, unit)
	return int32(len(r.names) - 1)
}

func (r *rescue) setRow(i int32, name, unit string, capacity float64) {
	r.market.capacity[i], r.names[i], r.units[i] = capacity, name, unit
}

// measure sums up what a place may still take. What a cluster keeps in reserve
// binds those that come from another; of one that is partly emptied its hosts
// alone, since what leaves its other hosts is no more than before.
func (r *rescue) measure(p *haven) {
	b := r.b
	cpuPct, memPct := b.pct(true)
	seen := map[int32]bool{}
	byCluster := map[int32][2]int64{}
	for _, h := range p.hosts {
		x := &b.s.Hosts[h]
		mem, cpu := int64(x.MemoryMiB)*int64(memPct)/100-int64(b.st.Mem[h]), int64(x.CPUMHz)*int64(cpuPct)/100-int64(b.st.CPU[h])
		if mem < r.least[0] || cpu < r.least[1] {
			continue // not even the smallest fits: neither room nor slots of it are of use
		}
		free := byCluster[x.Cluster]
		free[0] += mem
		free[1] += cpu
		byCluster[x.Cluster] = free
		p.vcpus += max(int64(x.Cores)*int64(b.c.VCPUPerCoreX10)/10-int64(b.st.VCPU[h]), 0)
		p.slots += int64(b.c.Limits.HostUnits)
		p.nics += int64(max(x.NICMbps, 0))
		p.nic = max(p.nic, x.NICMbps)
		if x.VCenter != p.one {
			p.one = engine.None
		}
		for _, ds := range x.Datastores {
			if ds >= 0 && !seen[ds] {
				seen[ds] = true
				p.disks += max(0, b.spare(ds))
			}
		}
	}
	for _, c := range p.clusters {
		free := byCluster[c]
		if !slices.ContainsFunc(b.s.HostsOf(c), func(h int32) bool { return b.doomed[h] }) {
			room := b.roomOf(c)
			free[0] = min(free[0], max(0, room.mem[1]-room.usedMem-room.ownMem))
			free[1] = min(free[1], max(0, room.cpu[1]-room.usedCPU-room.ownCPU))
		}
		p.mem, p.cpu = p.mem+free[0], p.cpu+free[1]
	}
}

// option says what w takes of haven p at least, if anything but groups and rules of
// the moment lets it go there.
func (r *rescue) option(w *want, p int32) (option, bool) {
	b, x := r.b, &r.havens[p]
	vm := &b.s.VMs[w.v]
	to, disk := engine.None, int64(0)
	for _, h := range x.hosts {
		if !r.possible(w, h) {
			continue
		}
		if d := b.diskCopy(w, h); to < 0 || d < disk {
			to, disk = h, d
		}
		if x.one >= 0 && (disk == 0 || x.one != vm.VCenter) {
			break // no host of it needs less
		}
	}
	if to < 0 {
		return option{}, false
	}
	return r.price(w.v, to, p, disk)
}

// possible reports whether nothing lasting keeps w from host h. Room that is not
// there now will not be there later: nothing makes way.
func (r *rescue) possible(w *want, h int32) bool {
	b := r.b
	vm, host := &b.s.VMs[w.v], &b.s.Hosts[h]
	if !w.sites.Has(host.Site) {
		return false
	}
	if x := &b.s.Clusters[host.Cluster]; host.VCenter != vm.VCenter {
		if a := b.acrossReason(w, host.Cluster); !a.ok() {
			return false
		}
	} else if host.Cluster == b.s.VMCluster(w.v) && x.DRS == engine.DRSFull {
		return false
	}
	y := b.hostReason(w, h)
	return y.ok() || (y.stage == stRule && y.code != engine.HoldVeto)
}

// price lists what the move takes at least: alone, at the full rate.
func (r *rescue) price(v, to, p int32, disk int64) (option, bool) {
	b, x := r.b, &r.havens[p]
	vm := &b.s.VMs[v]
	nic := b.s.Hosts[vm.Host].NICMbps
	rate, rtt := min(nic, x.nic), int32(0)
	link := b.linkIndex(b.s.Hosts[vm.Host].Site, b.s.Hosts[to].Site)
	if link >= 0 {
		rate, rtt = min(rate, b.s.Links[link].Mbps), b.s.Links[link].RTTMicros
	}
	if rate <= 0 {
		return option{}, false
	}
	a := engine.Action{Estimate: b.learnt(v, b.s.Hosts[to].Site, disk > 0, rate, rtt, disk)}
	if from := b.s.VMSite(v); from >= 0 {
		a.From.Site, a.To.Site = b.s.Sites[from].ID, b.s.Sites[b.s.Hosts[to].Site].ID
	}
	fit := fitOf(&b.in, &a)
	mbit := fit.mbit(&b.in, &a)
	secs := fit.SetupS + mbit/(float64(rate)*r.efficiency())
	if secs > r.seconds {
		return option{}, false
	}
	class := engine.ClassVMotion
	if disk > 0 {
		class = engine.ClassBoth
	}
	cost := b.c.Limits.Cost[class]
	o := option{dest: p, uses: make([]use, 0, 8)}
	if link >= 0 {
		o.uses = append(o.uses, use{2 * link, mbit}, use{2*link + 1, secs})
	}
	foot := b.st.Foot[v]
	o.uses = append(o.uses,
		use{x.row + rowMemory, float64(foot.MiB)}, use{x.row + rowCPU, float64(foot.CPUMHz)}, use{x.row + rowVCPU, float64(foot.VCPUs)}, use{x.row + rowDisk, float64(disk)},
		use{x.row + rowSlots, float64(cost.Host) * secs}, use{x.row + rowNICs, mbit})
	return o, true
}

// sources adds rows for the slots and interfaces of the hosts that are left.
func (r *rescue) sources() {
	b := r.b
	row, flowing := map[int32]int32{}, r.flowing()
	for i, v := range r.vms {
		h := b.s.VMs[v].Host
		for k := range r.options[i] {
			o := &r.options[i][k]
			if o.dest < 0 || len(o.uses) == 0 {
				continue
			}
			at, ok := row[h]
			if !ok {
				at = r.addRow("slots of host "+b.s.Hosts[h].Name, "s", float64(b.c.Limits.HostUnits)*r.seconds)
				r.addRow("vMotion network of host "+b.s.Hosts[h].Name, "Mbit", float64(b.s.Hosts[h].NICMbps)*r.efficiency()*flowing)
				row[h] = at
			}
			p := r.havens[o.dest].row
			for _, u := range o.uses {
				switch u.row {
				case p + rowSlots:
					o.uses = append(o.uses, use{at, u.amount})
				case p + rowNICs:
					o.uses = append(o.uses, use{at + 1, u.amount})
				}
			}
		}
	}
}

// prune drops the rows that cannot bind, whatever goes where.
func (r *rescue) prune() {
	r.sources()
	most := make([]float64, len(r.names))
	for i := range r.options {
		peak := map[int32]float64{}
		for _, o := range r.options[i] {
			for _, u := range o.uses {
				peak[u.row] = max(peak[u.row], u.amount)
			}
		}
		for row, x := range peak { // each row once, so that the order does not matter
			most[row] += x
		}
	}
	for i := range r.options {
		for k := range r.options[i] {
			o := &r.options[i][k]
			o.uses = slices.DeleteFunc(o.uses, func(u use) bool { return u.amount == 0 || most[u.row]*(1+1e-9) <= r.market.capacity[u.row] })
		}
	}
}
