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
	running, seen, unlit, wrong, dark := 0, 0, 0, "", ""
	for i := range hosts {
		h := &hosts[i]
		h.LoadAt = cmp.Or(h.LoadAt, p.at)
		if w := m.hostPower(p, h); w != "" {
			unlit, dark = unlit+1, w
		}
		if h.Power != engine.HostOn || !h.Connected {
			continue
		}
		if running++; !h.Seen() {
			continue
		}
		seen++
		switch {
		case m.dated(h.LoadAt, m.c.MaxAge.Loads) != "":
			stale = append(stale, i)
			wrong = m.dated(h.LoadAt, m.c.MaxAge.Loads)
			h.UsedMHz, h.UsedMiB = engine.Unknown, engine.Unknown
		case !within(h.UsedMHz, 2*int64(h.CPUMHz)) || !within(h.UsedMiB, int64(h.MemoryMiB)*11/10):
			// Turbo clocks exceed the nominal capacity; memory cannot by much.
			m.gap(p.source, "host", string(h.ID), "uses %d of %d MHz and %d of %d MiB, which cannot be", h.UsedMHz, h.CPUMHz, h.UsedMiB, h.MemoryMiB)
			h.UsedMHz, h.UsedMiB = engine.Unknown, engine.Unknown
		}
	}
	if unlit > 0 {
		m.gap(p.source, "feed", p.source, "the power of %d hosts is %s", unlit, dark)
	}
	if running > 1 && seen == 0 {
		m.gap(p.source, "vcenter", string(p.VCenter.ID), "the load of none of its %d hosts that run is seen", running)
	}
	if len(stale) > 1 && len(stale) == seen {
		m.gap(p.source, "vcenter", string(p.VCenter.ID), "the loads of its hosts are %s", wrong)
		return
	}
	for _, i := range stale {
		m.gap(p.source, "host", string(hosts[i].ID), "its load is %s", m.dated(hosts[i].LoadAt, m.c.MaxAge.Loads))
	}
}

// hostPower makes unknown what a meter shows that is old or cannot be: below half
// of what the host's model draws idle, or above twice its most. It says what is wrong
// with the moment at which it was read, "" for nothing.
func (m *merger) hostPower(p *part, h *engine.Host) string {
	if h.PowerW == engine.Unknown {
		return ""
	}
	low, high := int32(1), int32(maxHostWatts)
	if h.MaxW > 0 {
		low, high = max(h.IdleW/2, 1), min(2*h.MaxW, maxHostWatts)
	}
	wrong := m.dated(cmp.Or(h.PowerAt, p.at), m.c.MaxAge.Loads)
	switch {
	case h.Power != engine.HostOn:
		wrong = ""
	case wrong != "":
	case h.PowerW < low || h.PowerW > high:
		m.gap(p.source, "host", string(h.ID), "draws %d W, which cannot be", h.PowerW)
	default:
		return ""
	}
	h.PowerW = engine.Unknown
	return wrong
}

func within(v int32, limit int64) bool { return v >= 0 && int64(v) <= limit }

// vmLoads does the same for VMs, with one Gap a vCenter for those too old.
func (m *merger) vmLoads() {
	stale, wrong := make([]int, len(m.parts)), make([]string, len(m.parts))
	for i := range m.s.VMs {
		v := &m.s.VMs[i]
		p := &m.parts[v.VCenter]
		v.LoadAt = cmp.Or(v.LoadAt, p.at)
		if v.Power != engine.VMOn || !v.Seen() {
			continue
		}
		switch {
		case m.dated(v.LoadAt, m.c.MaxAge.Loads) != "":
			stale[v.VCenter]++
			wrong[v.VCenter] = m.dated(v.LoadAt, m.c.MaxAge.Loads)
			forget(v)
		case !within(v.UsedMHz, int64(v.VCPUs)*maxVCPUMHz) || !within(v.UsedMiB, 2*int64(v.MemoryMiB)+1024):
			// Consumed memory includes the hypervisor's overhead, which is largest for small VMs.
			m.gap(p.source, "vm", string(v.ID), "uses %d MHz with %d vCPUs and %d of %d MiB, which cannot be", v.UsedMHz, v.VCPUs, v.UsedMiB, v.MemoryMiB)
			forget(v)
		}
	}
	for i, n := range stale {
		if n > 0 {
			m.gap(m.parts[i].source, "vcenter", string(m.parts[i].VCenter.ID), "the loads of %d VMs are %s", n, wrong[i])
		}
	}
}

func forget(v *engine.VM) {
	v.UsedMHz, v.UsedMiB, v.ActiveMiB, v.DirtyMbps = engine.Unknown, engine.Unknown, engine.Unknown, engine.Unknown
}

// A tally says whether anything at a site takes anything.
type tally struct {
	seen     int
	cpu, mem bool
}

func (t *tally) add(mhz, mib int32) {
	t.seen++
	t.cpu, t.mem = t.cpu || mhz > 0, t.mem || mib > 0
}

// none reports that of at least so many, all use no CPU, or all no memory.
func (t *tally) none(least int) bool { return t.seen >= least && (!t.cpu || !t.mem) }

// zeroSites disbelieves a site whose hosts, or whose running VMs, all use no CPU or
// all no memory: a running hypervisor uses both, and so do VMs but for a single one
// that has halted, so that the meter is broken.
func (m *merger) zeroSites() {
	hosts, vms := make([]tally, len(m.s.Sites)), make([]tally, len(m.s.Sites))
	for i := range m.s.Hosts {
		if h := &m.s.Hosts[i]; h.Site >= 0 && h.Power == engine.HostOn && h.Seen() {
			hosts[h.Site].add(h.UsedMHz, h.UsedMiB)
		}
	}
	for i := range m.s.VMs {
		if v, site := &m.s.VMs[i], m.s.VMSite(int32(i)); site >= 0 && v.Power == engine.VMOn && v.Seen() {
			vms[site].add(v.UsedMHz, v.UsedMiB)
		}
	}
	zero := func(site int32) bool { return site >= 0 && (hosts[site].none(1) || vms[site].none(2)) }
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
			case m.dated(r.Value.At, m.c.MaxAge.Values) != "":
				m.gap(seen[i].Source, "site", string(r.Site), "%s is %s", r.Value.Key, m.dated(r.Value.At, m.c.MaxAge.Values))
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
