package collectors

import (
	"cmp"
	"math"
	"slices"

	"heliostat/engine"
)

// plausible are the ranges of site values. Price: Europe's day-ahead market is
// capped at -0.5 and 4 EUR/kWh (harmonised limits, 2023). Carbon: lignite emits
// about 1200 g/kWh. PUE: an idle room can be high, never below 1.
var plausible = map[string][2]float64{
	engine.KeySun:    {-90, 90},
	engine.KeyPrice:  {-1, 10},
	engine.KeyCarbon: {0, 2000},
	engine.KeyPUE:    {1, 5},
	engine.KeyRise:   {0, math.MaxUint32},
	engine.KeySet:    {0, math.MaxUint32},
}

const (
	// maxRTTMicros is ten seconds: beyond it a link is down.
	maxRTTMicros = 10_000_000
	// maxMbps is ten terabits a second.
	maxMbps = 10_000_000
	// maxHostWatts is above the supplies of the largest hosts.
	maxHostWatts = 20_000
	// maxVCPUMHz is above any clock that is sold.
	maxVCPUMHz = 10_000
)

// believable reports whether a reading is finite and in the range of its key.
func believable(v engine.Value) bool {
	if math.IsNaN(v.Number) || math.IsInf(v.Number, 0) {
		return false
	}
	r, ok := plausible[v.Key]
	return !ok || (v.Number >= r[0] && v.Number <= r[1])
}

// hostLoads turns loads of the part's hosts that are too old or cannot be true into Unknown.
func (m *merger) hostLoads(p *part) {
	hosts := m.s.Hosts[p.hosts:]
	var stale []int
	seen := 0
	for i := range hosts {
		h := &hosts[i]
		h.LoadAt = cmp.Or(h.LoadAt, p.at)
		if h.PowerW != engine.Unknown && (m.old(cmp.Or(h.PowerAt, p.at), m.c.MaxAge.Loads) || h.Power != engine.HostOn) {
			h.PowerW = engine.Unknown
		}
		if h.PowerW != engine.Unknown && (h.PowerW < 1 || h.PowerW > maxHostWatts) {
			m.gap(p.source, "host", string(h.ID), "draws %d W, which cannot be", h.PowerW)
			h.PowerW = engine.Unknown
		}
		if !h.Seen() || h.Power != engine.HostOn {
			continue
		}
		seen++
		switch {
		case m.old(h.LoadAt, m.c.MaxAge.Loads):
			stale = append(stale, i)
			h.UsedMHz, h.UsedMiB = engine.Unknown, engine.Unknown
		case !within(h.UsedMHz, 2*int64(h.CPUMHz)) || !within(h.UsedMiB, int64(h.MemoryMiB)*11/10):
			// Turbo clocks exceed the nominal capacity; memory cannot by much.
			m.gap(p.source, "host", string(h.ID), "uses %d of %d MHz and %d of %d MiB, which cannot be", h.UsedMHz, h.CPUMHz, h.UsedMiB, h.MemoryMiB)
			h.UsedMHz, h.UsedMiB = engine.Unknown, engine.Unknown
		}
	}
	if len(stale) > 1 && len(stale) == seen {
		m.gap(p.source, "vcenter", string(p.VCenter.ID), "the loads of its hosts are older than %v", m.c.MaxAge.Loads)
		return
	}
	for _, i := range stale {
		m.gap(p.source, "host", string(hosts[i].ID), "its load is older than %v", m.c.MaxAge.Loads)
	}
}

func within(v int32, limit int64) bool { return v >= 0 && int64(v) <= limit }

// vmLoads does the same for VMs, with one Gap a vCenter for those too old.
func (m *merger) vmLoads() {
	stale := make([]int, len(m.parts))
	for i := range m.s.VMs {
		v := &m.s.VMs[i]
		p := &m.parts[v.VCenter]
		v.LoadAt = cmp.Or(v.LoadAt, p.at)
		if v.Power != engine.VMOn || !v.Seen() {
			continue
		}
		switch {
		case m.old(v.LoadAt, m.c.MaxAge.Loads):
			stale[v.VCenter]++
			forget(v)
		case !within(v.UsedMHz, int64(v.VCPUs)*maxVCPUMHz) || !within(v.UsedMiB, 2*int64(v.MemoryMiB)+1024):
			// Consumed memory includes the hypervisor's overhead, which is largest for small VMs.
			m.gap(p.source, "vm", string(v.ID), "uses %d MHz with %d vCPUs and %d of %d MiB, which cannot be", v.UsedMHz, v.VCPUs, v.UsedMiB, v.MemoryMiB)
			forget(v)
		}
	}
	for i, n := range stale {
		if n > 0 {
			m.gap(m.parts[i].source, "vcenter", string(m.parts[i].VCenter.ID), "the loads of %d VMs are older than %v", n, m.c.MaxAge.Loads)
		}
	}
}

func forget(v *engine.VM) {
	v.UsedMHz, v.UsedMiB, v.ActiveMiB, v.DirtyMbps = engine.Unknown, engine.Unknown, engine.Unknown, engine.Unknown
}

// zeroSites disbelieves a site whose hosts all use no CPU, or all no memory:
// a running hypervisor uses both, so that the meter is broken.
func (m *merger) zeroSites() {
	n := len(m.s.Sites)
	seen, cpu, mem := make([]int, n), make([]bool, n), make([]bool, n)
	for i := range m.s.Hosts {
		h := &m.s.Hosts[i]
		if h.Site < 0 || h.Power != engine.HostOn || !h.Seen() {
			continue
		}
		seen[h.Site]++
		cpu[h.Site] = cpu[h.Site] || h.UsedMHz > 0
		mem[h.Site] = mem[h.Site] || h.UsedMiB > 0
	}
	zero := func(site int32) bool { return site >= 0 && seen[site] > 0 && (!cpu[site] || !mem[site]) }
	found := false
	for i := range m.s.Sites {
		if zero(int32(i)) {
			found = true
			m.gap("merge", "site", string(m.s.Sites[i].ID), "all loads are zero, which cannot be")
		}
	}
	if !found {
		return
	}
	for i := range m.s.VMs {
		if v := &m.s.VMs[i]; v.Host >= 0 && zero(m.s.Hosts[v.Host].Site) {
			forget(v)
		}
	}
	for i := range m.s.Hosts {
		if h := &m.s.Hosts[i]; zero(h.Site) {
			h.UsedMHz, h.UsedMiB = engine.Unknown, engine.Unknown
		}
	}
}

// values puts readings about sites in place: of each key the newest.
func (m *merger) values(seen []engine.Observation) {
	for i := range seen {
		for _, r := range seen[i].Sites {
			site, ok := m.s.FindSite(r.Site)
			switch {
			case !ok:
				m.gap(seen[i].Source, "feed", seen[i].Source, "%s of a site %q that is not configured", r.Value.Key, r.Site)
			case !believable(r.Value):
				m.gap(seen[i].Source, "site", string(r.Site), "%s is %v, which cannot be", r.Value.Key, r.Value.Number)
			case m.old(r.Value.At, m.c.MaxAge.Values):
				m.gap(seen[i].Source, "site", string(r.Site), "%s is older than %v", r.Value.Key, m.c.MaxAge.Values)
			default:
				s := &m.s.Sites[site]
				r.Value.Source = cmp.Or(r.Value.Source, seen[i].Source)
				s.Values = append(s.Values, r.Value)
			}
		}
	}
	for i := range m.s.Sites {
		s := &m.s.Sites[i]
		slices.SortStableFunc(s.Values, func(a, b engine.Value) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(b.At, a.At), cmp.Compare(a.Source, b.Source))
		})
		s.Values = slices.CompactFunc(s.Values, func(a, b engine.Value) bool { return a.Key == b.Key })
		for _, v := range s.Values {
			setValue(s, v.Key, v.Number)
		}
	}
}
