package collectors

import (
	"cmp"
	"math"
	"slices"

	"heliostat/engine"
)

// SourceConfig is the source of what the configuration says.
const SourceConfig = "configuration"

// links makes the links from the configuration and from measurements, which
// override it.
func (m *merger) links(seen []engine.Observation) {
	for i := range m.c.Links {
		c := &m.c.Links[i]
		l, ok := m.link(c.Between[0], c.Between[1])
		if !ok {
			continue
		}
		l.At, l.Source = m.now, SourceConfig
		if c.RTTms != nil {
			l.RTTMicros = int32(math.Round(*c.RTTms * 1000))
		}
		if c.Mbps != nil {
			l.Mbps = *c.Mbps
		}
	}
	for i := range seen {
		for _, v := range seen[i].Links {
			m.measured(seen[i].Source, v)
		}
	}
	slices.SortFunc(m.s.Links, func(a, b engine.Link) int {
		return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B))
	})
}

// link finds the link between two sites, or adds one of which nothing is known.
func (m *merger) link(a, b engine.SiteID) (*engine.Link, bool) {
	i, ok1 := m.s.FindSite(a)
	j, ok2 := m.s.FindSite(b)
	if !ok1 || !ok2 || i == j {
		return nil, false
	}
	i, j = min(i, j), max(i, j)
	at := slices.IndexFunc(m.s.Links, func(l engine.Link) bool { return l.A == i && l.B == j })
	if at < 0 {
		at = len(m.s.Links)
		m.s.Links = append(m.s.Links, engine.Link{A: i, B: j, RTTMicros: engine.Unknown, Mbps: engine.Unknown})
	}
	return &m.s.Links[at], true
}

func (m *merger) measured(source string, v engine.LinkValue) {
	a, b := min(v.A, v.B), max(v.A, v.B)
	id := string(a) + " " + string(b)
	l, ok := m.link(a, b)
	if !ok {
		m.gap(source, "feed", source, "a link between %q and %q, which are not two configured sites", a, b)
		return
	}
	if wrong := m.dated(v.At, m.c.MaxAge.Links); wrong != "" {
		m.gap(source, "link", id, "its measurement is %s", wrong)
		return
	}
	lowest := light(&m.s.Sites[l.A], &m.s.Sites[l.B])
	if l.Source != SourceConfig && l.At > v.At {
		return // another source has measured it since
	}
	for _, x := range []struct {
		what       string
		v          int32
		to         *int32
		low, limit int32
	}{{"round trip", v.RTTMicros, &l.RTTMicros, lowest, maxRTTMicros}, {"bandwidth", v.Mbps, &l.Mbps, 1, maxMbps}, {"loss", v.LossPPM, &l.LossPPM, 0, 1e6}} {
		switch {
		case x.v == engine.Unknown:
		case x.v < x.low || x.v > x.limit:
			m.gap(source, "link", id, "its %s is %d, which cannot be (%d to %d can)", x.what, x.v, x.low, x.limit)
			if x.to != &l.LossPPM {
				*x.to = engine.Unknown // and not what is configured: something is wrong with the link or its meter
			}
		default:
			*x.to = x.v
		}
	}
	l.At, l.Source = v.At, cmp.Or(v.Source, source)
}

// light is the shortest round trip between two sites that physics permits, in
// microseconds: there and back along the great circle, in vacuum. No cable is faster.
func light(a, b *engine.Site) int32 {
	const (
		earthKm  = 6371.0
		kmPerMic = 0.299792458
		rad      = math.Pi / 180
	)
	lat, lon := (b.Lat-a.Lat)*rad/2, (b.Lon-a.Lon)*rad/2
	h := math.Sin(lat)*math.Sin(lat) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Sin(lon)*math.Sin(lon)
	return int32(2 * 2 * earthKm * math.Asin(min(math.Sqrt(h), 1)) / kmPerMic)
}

// hazards gathers the hazards that have not ended. Unlike all else they do not
// age: a silent source is a Gap, and never the end of a hazard.
func (m *merger) hazards(seen []engine.Observation) {
	for i := range seen {
		for _, h := range seen[i].Hazards {
			if h.End != 0 && h.End <= m.now {
				continue
			}
			if _, ok := m.s.FindSite(h.Site); !ok {
				m.gap(seen[i].Source, "feed", seen[i].Source, "hazard %s at a site %q that is not configured", h.ID, h.Site)
				continue
			}
			if h.PMilli != engine.Unknown && !within(h.PMilli, 1000) {
				m.gap(seen[i].Source, "feed", seen[i].Source, "hazard %s has the probability %d/1000", h.ID, h.PMilli)
				h.PMilli = engine.Unknown
			}
			h.Source = cmp.Or(h.Source, seen[i].Source)
			m.s.Hazards = append(m.s.Hazards, h)
		}
	}
	slices.SortStableFunc(m.s.Hazards, func(a, b engine.Hazard) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Issued, b.Issued))
	})
	m.s.Hazards = slices.Compact(m.s.Hazards)
}

// alerts gathers the alerts. One whose site is not configured has none.
func (m *merger) alerts(seen []engine.Observation) {
	for i := range seen {
		for _, a := range seen[i].Alerts {
			if _, ok := m.s.FindSite(a.Site); !ok && a.Site != "" {
				m.gap(seen[i].Source, "feed", seen[i].Source, "alert %s at a site %q that is not configured", a.Name, a.Site)
				a.Site = ""
			}
			m.s.Alerts = append(m.s.Alerts, a)
		}
	}
	slices.SortStableFunc(m.s.Alerts, func(a, b engine.Alert) int {
		return cmp.Or(cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.StartsAt, b.StartsAt), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Source, b.Source))
	})
	m.s.Alerts = slices.Compact(m.s.Alerts)
}
