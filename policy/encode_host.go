package policy

import (
	"cmp"
	"slices"
	"sort"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// hostDoc is all that a host's term is made of: equal docs, equal terms.
type hostDoc struct {
	hostConfig
	hostLoad
}

// A hostConfig is what hardly changes of a host.
type hostConfig struct {
	id            engine.HostID
	name          string
	cluster       engine.ClusterID
	vcenter       engine.VCenterID
	site          engine.SiteID
	region        string
	power         engine.HostPower
	connected     bool
	maintenance   bool
	ours          bool
	usable        bool
	canWake       bool
	vmotion       bool
	usb, vsan     bool
	cpuMHz, memMB int32
	cores         int32
	threads       int32
	idleW, maxW   int32
	changedAt     engine.Unix
}

// A hostLoad is what changes with every cycle: see loadKeys.
type hostLoad struct {
	freeMHz    int32
	freeMB     int32
	cpu, mem   percents
	lowFor     int64
	powerW     int32
	vms, tasks int32
}

// loadKeys are the fields of a host that a hostLoad is shown in.
var loadKeys = []string{
	"free_mhz", "free_mem_mb", "cpu_pct", "cpu_pct_5m", "cpu_pct_40m", "cpu_pct_p95", "mem_pct", "mem_pct_5m", "mem_pct_40m", "mem_pct_p95",
	"low_for_s", "power_w", "vms", "tasks",
}

// percents are one resource's loads in percent, Unknown where not seen.
type percents struct{ now, m5, m40, p95 int32 }

// A hostSlot never changes: several goroutines walk along those of the view before.
type hostSlot struct {
	doc    hostDoc
	term   *ast.Term
	config *ast.Term // the term that it had when its hostConfig last changed
}

// A load sums capacity and demand. Demands are MHz and MiB over the hosts where
// they are known; a mean is known where it is for every usable host.
type load struct {
	hosts, on, usable, vms    int32
	cpuCap, memCap            int64
	cpu, mem                  int64
	cpu5, mem5, cpu40, mem40  int64
	cap5, cap5m, cap40, cap4m int64 // capacity of the hosts behind each mean
	cpuMost, memMost          int32 // of a host, percent over 5 minutes
	watts                     int64
	metered                   bool
}

func (l *load) add(h *engine.Host, d *hostDoc) {
	l.hosts++
	l.vms += d.vms
	if h.Power == engine.HostOn {
		l.on++
	}
	if h.PowerW != engine.Unknown {
		l.watts += int64(h.PowerW)
		l.metered = true
	}
	if !d.usable {
		return
	}
	l.usable++
	l.cpuCap += int64(h.CPUMHz)
	l.memCap += int64(h.MemoryMiB)
	l.cpu += int64(h.UsedMHz)
	l.mem += int64(h.UsedMiB)
	l.cpuMost, l.memMost = max(l.cpuMost, d.cpu.m5), max(l.memMost, d.mem.m5)
	weigh(&l.cpu5, &l.cap5, d.cpu.m5, h.CPUMHz)
	weigh(&l.mem5, &l.cap5m, d.mem.m5, h.MemoryMiB)
	weigh(&l.cpu40, &l.cap40, d.cpu.m40, h.CPUMHz)
	weigh(&l.mem40, &l.cap4m, d.mem.m40, h.MemoryMiB)
}

func weigh(sum, capacity *int64, pct, weight int32) {
	if pct != engine.Unknown {
		*sum += int64(pct) * int64(weight)
		*capacity += int64(weight)
	}
}

// put writes the counts and percentages of clusters and sites.
func (l *load) put(o *doc) {
	o.int("hosts", int64(l.hosts))
	o.int("hosts_on", int64(l.on))
	o.int("hosts_usable", int64(l.usable))
	o.int("vms", int64(l.vms))
	ratio := func(key string, part, whole int64) {
		if whole == 0 {
			o.put(key, ast.InternedNullTerm)
			return
		}
		o.int(key, part/whole)
	}
	ratio("cpu_pct", l.cpu*100, l.cpuCap)
	ratio("mem_pct", l.mem*100, l.memCap)
	ratio("cpu_pct_5m", l.cpu5, l.cap5)
	ratio("mem_pct_5m", l.mem5, l.cap5m)
	ratio("cpu_pct_40m", l.cpu40, l.cap40)
	ratio("mem_pct_40m", l.mem40, l.cap4m)
}

// encodeHosts fills hosts and sites, and returns the load of each cluster.
func (e *encoder) encodeHosts(d *document) []load {
	s, old := d.snap, e.hosts
	d.hosts = make([]*ast.Term, len(s.Hosts))
	e.hosts = make([]*hostSlot, len(s.Hosts))
	inParts(len(s.Hosts), func(from, to int) { e.encodeSome(d, old, from, to) })
	d.sites = make([]load, len(s.Sites))
	clusters := slices.Repeat([]load{{cpuMost: engine.Unknown, memMost: engine.Unknown}}, len(s.Clusters))
	for i := range s.Hosts {
		h, hd := &s.Hosts[i], &e.hosts[i].doc
		clusters[h.Cluster].add(h, hd)
		if h.Site >= 0 {
			d.sites[h.Site].add(h, hd)
		}
	}
	return clusters
}

// encodeSome encodes the hosts from..to-1. Hosts, slots and history are all sorted by
// ID: it walks along them.
func (e *encoder) encodeSome(d *document, old []*hostSlot, from, to int) {
	s, hist := d.snap, d.hist.Hosts
	first := s.Hosts[from].ID
	kept, _ := slices.BinarySearchFunc(old, first, func(o *hostSlot, id engine.HostID) int { return cmp.Compare(o.doc.id, id) })
	past := sort.Search(len(hist), func(i int) bool { return hist[i].ID >= first })
	for i := from; i < to; i++ {
		id := s.Hosts[i].ID
		for past < len(hist) && hist[past].ID < id {
			past++
		}
		for kept < len(old) && old[kept].doc.id < id {
			kept++
		}
		memory := &engine.HostHistory{}
		if past < len(hist) && hist[past].ID == id {
			memory = &hist[past]
		}
		hd := hostDocOf(s, int32(i), memory, d.now)
		slot := &hostSlot{doc: hd}
		if kept < len(old) && old[kept].doc.id == id {
			slot.term = old[kept].term
		}
		if slot.term == nil || old[kept].doc != hd {
			slot.term = keep(slot.term, e.newHostTerm(&hd))
		}
		if slot.config = slot.term; kept < len(old) && old[kept].doc.hostConfig == hd.hostConfig {
			slot.config = old[kept].config
		}
		e.hosts[i], d.hosts[i] = slot, slot.term
	}
}

func hostDocOf(s *engine.Snapshot, i int32, memory *engine.HostHistory, now engine.Unix) hostDoc {
	h := &s.Hosts[i]
	hd := hostDoc{hostConfig: hostConfig{
		id: h.ID, name: h.Name, cluster: s.Clusters[h.Cluster].ID, vcenter: s.VCenters[h.VCenter].ID,
		power: h.Power, connected: h.Connected, maintenance: h.Maintenance || h.Entering,
		ours: memory.Own != engine.OwnNothing || h.Mark != "", usable: h.Ready() && h.Seen(), canWake: h.Standby,
		vmotion: h.VMotion, usb: h.USB, vsan: h.VSANData, cpuMHz: h.CPUMHz, memMB: h.MemoryMiB, cores: h.Cores, threads: h.Threads,
		idleW: h.IdleW, maxW: h.MaxW, changedAt: memory.ChangeAt,
	}, hostLoad: hostLoad{freeMHz: engine.Unknown, freeMB: engine.Unknown, lowFor: memory.LowFor(now), powerW: h.PowerW, tasks: h.Tasks}}
	if h.Site >= 0 {
		hd.site, hd.region = s.Sites[h.Site].ID, s.Sites[h.Site].Region
	}
	if h.Seen() {
		hd.freeMHz, hd.freeMB = max(h.CPUMHz-h.UsedMHz, 0), max(h.MemoryMiB-h.UsedMiB, 0)
	}
	hd.cpu = percentsOf(percent10(h.UsedMHz, h.CPUMHz), &memory.CPU)
	hd.mem = percentsOf(percent10(h.UsedMiB, h.MemoryMiB), &memory.Mem)
	for _, v := range s.VMsOn(i) {
		if vm := &s.VMs[v]; vm.Power == engine.VMOn && vm.Obstacles&engine.ObAgent == 0 {
			hd.vms++
		}
	}
	return hd
}

func percentsOf(now int32, r *engine.Ring) percents {
	return percents{percent(now), percent(fiveMinutes(r)), percent(r.Mean(8)), percent(r.Percentile(95))}
}

func (e *encoder) newHostTerm(hd *hostDoc) *ast.Term {
	var room [48][2]*ast.Term
	o := doc{pairs: room[:0]}
	if e.need != nil {
		o.only = &e.need.host
	}
	o.put("id", e.in.str(string(hd.id)))
	o.str("name", hd.name)
	o.put("cluster", e.in.str(string(hd.cluster)))
	o.put("vcenter", e.in.str(string(hd.vcenter)))
	o.put("site", e.in.orNull(string(hd.site)))
	o.put("region", e.in.orNull(hd.region))
	o.put("power", e.in.str(hd.power.String()))
	o.bool("connected", hd.connected)
	o.bool("maintenance", hd.maintenance)
	o.bool("ours", hd.ours)
	o.bool("usable", hd.usable)
	o.bool("can_wake", hd.canWake)
	o.bool("vmotion", hd.vmotion)
	o.bool("usb", hd.usb)
	o.bool("vsan", hd.vsan)
	o.int("cpu_mhz", int64(hd.cpuMHz))
	o.int("mem_mb", int64(hd.memMB))
	o.int("cores", int64(hd.cores))
	o.int("threads", int64(hd.threads))
	o.seen("free_mhz", hd.freeMHz)
	o.seen("free_mem_mb", hd.freeMB)
	hd.cpu.put(&o, "cpu_pct", "cpu_pct_5m", "cpu_pct_40m", "cpu_pct_p95")
	hd.mem.put(&o, "mem_pct", "mem_pct_5m", "mem_pct_40m", "mem_pct_p95")
	o.int("low_for_s", hd.lowFor)
	o.seen("power_w", hd.powerW)
	o.int("idle_w", int64(hd.idleW))
	o.int("max_w", int64(hd.maxW))
	o.int("vms", int64(hd.vms))
	o.int("tasks", int64(hd.tasks))
	o.int("changed_at", int64(hd.changedAt))
	o.put("x", ast.InternedEmptyObject)
	return o.term()
}

func (p percents) put(o *doc, now, m5, m40, p95 string) {
	o.seen(now, p.now)
	o.seen(m5, p.m5)
	o.seen(m40, p.m40)
	o.seen(p95, p.p95)
}

// encodeClusters fills the summaries.
func (e *encoder) encodeClusters(d *document, loads []load) {
	s := d.snap
	d.clusters = make([]*ast.Term, len(s.Clusters))
	for i := range s.Clusters {
		c, l := &s.Clusters[i], &loads[i]
		var o doc
		o.put("id", e.in.str(string(c.ID)))
		o.str("name", c.Name)
		o.put("vcenter", e.in.str(string(s.VCenters[c.VCenter].ID)))
		site, region := "", ""
		if k := s.ClusterSite(int32(i)); k >= 0 {
			site, region = string(s.Sites[k].ID), s.Sites[k].Region
		}
		o.put("site", e.in.orNull(site))
		o.put("region", e.in.orNull(region))
		var mask engine.SiteMask
		for _, h := range s.HostsOf(int32(i)) {
			mask = mask.With(s.Hosts[h].Site)
		}
		o.put("sites", e.siteNames(s, mask))
		o.int("cpu_mhz", l.cpuCap)
		o.int("mem_mb", l.memCap)
		l.put(&o)
		o.seen("cpu_pct_5m_max", l.cpuMost)
		o.seen("mem_pct_5m_max", l.memMost)
		o.put("drs", e.in.str(c.DRS.String()))
		o.bool("dpm", c.DPM)
		o.bool("ha", c.HA.Enabled && c.HA.Admission)
		o.bool("vsan", c.VSAN)
		o.put("evc", e.in.orNull(c.EVC))
		o.bool("lone", c.Lone)
		d.clusters[i] = o.term()
	}
}

// siteNames is an array of the sites in the mask, by ID.
func (e *encoder) siteNames(s *engine.Snapshot, mask engine.SiteMask) *ast.Term {
	var items []*ast.Term
	for i := range s.Sites {
		if mask.Has(int32(i)) {
			items = append(items, e.in.str(string(s.Sites[i].ID)))
		}
	}
	return array(items)
}
