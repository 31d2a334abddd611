package collectors

import (
	"cmp"
	"math"
	"path"
	"slices"
	"strings"

	"heliostat/engine"
)

// match reports whether the glob matches; "" matches everything.
func match(glob, s string) bool {
	if glob == "" || glob == s {
		return true
	}
	ok, _ := path.Match(glob, s) // Validate has refused bad patterns
	return ok
}

func matchVCenter(glob string, vc *engine.VCenter) bool {
	return match(glob, vc.Name) || match(glob, string(vc.ID))
}

// matchFolder reports whether the glob matches the inventory path or a folder above it.
func matchFolder(glob, at string) bool {
	glob, at = strings.Trim(glob, "/"), strings.Trim(at, "/")
	for {
		if match(glob, at) {
			return true
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return false
		}
		at = at[:i]
	}
}

// sites makes the sites from the configuration, sorted by ID.
func (m *merger) sites() {
	for i := range m.c.Sites {
		c := &m.c.Sites[i]
		s := engine.Site{
			ID: c.ID, Region: c.Region, Lat: c.Latitude, Lon: c.Longitude, TimeZone: c.TimeZone, Mode: c.Mode,
			PriceMicroEURPerKWh: engine.Unknown, CarbonGPerKWh: engine.Unknown, SunMilliDeg: engine.Unknown,
		}
		setValue(&s, engine.KeyPUE, c.PUE)
		if c.PriceEURPerKWh != nil {
			setValue(&s, engine.KeyPrice, *c.PriceEURPerKWh)
		}
		if c.CarbonGPerKWh != nil {
			setValue(&s, engine.KeyCarbon, *c.CarbonGPerKWh)
		}
		m.s.Sites = append(m.s.Sites, s)
	}
	slices.SortFunc(m.s.Sites, func(a, b engine.Site) int { return cmp.Compare(a.ID, b.ID) })
}

// setValue puts a reading in the field of its key, if it has one.
func setValue(s *engine.Site, key string, v float64) {
	switch key {
	case engine.KeyPUE:
		s.PUEMilli = int32(math.Round(v * 1000))
	case engine.KeyPrice:
		s.PriceMicroEURPerKWh = int32(math.Round(v * 1e6))
	case engine.KeyCarbon:
		s.CarbonGPerKWh = int32(math.Round(v))
	case engine.KeySun:
		s.SunMilliDeg = int32(math.Round(v * 1000))
	}
}

// A place is a site that a host of a cluster may stand at: the host's name decides.
type place struct {
	site int32
	name string // glob
}

// places lists, by cluster, the matches whose vCenter, cluster and folder fit.
func (m *merger) places(p *part) [][]place {
	out := make([][]place, len(p.Clusters))
	for i := range m.c.Sites {
		site, _ := m.s.FindSite(m.c.Sites[i].ID)
		for _, h := range m.c.Sites[i].Hosts {
			if h == (HostMatch{}) || !matchVCenter(h.VCenter, &p.VCenter) {
				continue
			}
			for c := range p.Clusters {
				if match(h.Cluster, p.Clusters[c].Name) && (h.Folder == "" || matchFolder(h.Folder, p.Clusters[c].Path)) {
					out[c] = append(out[c], place{site, h.Name})
				}
			}
		}
	}
	return out
}

// severalSites marks a host for a moment, until homeless has seen it.
const severalSites = engine.None - 1

// siteOf is the one site that matches the host, None, or severalSites and a Gap.
func (m *merger) siteOf(p *part, h *engine.Host, places []place) int32 {
	site := engine.None
	for _, q := range places {
		if q.site == site || !match(q.name, h.Name) {
			continue
		}
		if site >= 0 {
			m.gap(p.source, "host", string(h.ID), "both site %s and site %s match it", m.s.Sites[site].ID, m.s.Sites[q.site].ID)
			return severalSites
		}
		site = q.site
	}
	return site
}

// homeless makes a Gap of each host without a site, or one of a cluster where none has.
func (m *merger) homeless(p *part) {
	total, without := make([]int, len(p.Clusters)), make([]int, len(p.Clusters))
	hosts := m.s.Hosts[p.hosts:]
	for i := range hosts {
		c := hosts[i].Cluster - p.clusters
		total[c]++
		if hosts[i].Site == engine.None {
			without[c]++
		}
	}
	for c, n := range without {
		if n > 0 && n == total[c] {
			m.gap(p.source, "cluster", string(p.Clusters[c].ID), "no site is configured for any of its hosts")
		}
	}
	for i := range hosts {
		h := &hosts[i]
		if c := h.Cluster - p.clusters; h.Site == engine.None && without[c] < total[c] {
			m.gap(p.source, "host", string(h.ID), "no site is configured for it")
		}
		h.Site = max(h.Site, engine.None)
	}
}

// segment names the L2 segment that carries the network.
func (m *merger) segment(p *part, n *engine.Network) {
	n.Segment, n.Gateway = "", engine.None
	for i := range m.c.Segments {
		s := &m.c.Segments[i]
		if !slices.ContainsFunc(s.Networks, func(x NetworkMatch) bool { return matchVCenter(x.VCenter, &p.VCenter) && match(x.Name, n.Name) }) {
			continue
		}
		if n.Segment != "" {
			m.gap(p.source, "network", string(n.ID), "both segment %s and segment %s match it", n.Segment, s.Name)
			n.Segment, n.Gateway = "", engine.None
			return
		}
		n.Segment = s.Name
		n.Gateway, _ = m.s.FindSite(s.GatewaySite)
	}
}

// datastoreSites derives where datastores are readable, and takes from the
// configuration where their data survives.
func (m *merger) datastoreSites() {
	mounts := make([]int32, len(m.s.Datastores))
	for i := range m.s.Datastores {
		m.s.Datastores[i].Sites = 0
	}
	for i := range m.s.Hosts {
		for _, d := range m.s.Hosts[i].Datastores {
			m.s.Datastores[d].Sites = m.s.Datastores[d].Sites.With(m.s.Hosts[i].Site)
			mounts[d]++
		}
	}
	for i := range m.s.Datastores {
		d := &m.s.Datastores[i]
		d.Shared = d.Shared || mounts[i] > 1
		d.Survives = d.Sites
		for j := range m.c.Datastores {
			c := &m.c.Datastores[j]
			if !matchVCenter(c.VCenter, &m.s.VCenters[d.VCenter]) || !match(c.Match, d.Name) {
				continue
			}
			d.Survives = 0
			for _, id := range c.Survives {
				site, _ := m.s.FindSite(id)
				d.Survives = d.Survives.With(site)
			}
			break
		}
	}
}
