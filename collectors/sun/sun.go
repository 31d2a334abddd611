// Package sun is the source of where the sun stands at each site.
package sun

import (
	"context"
	"time"

	"heliostat/engine"
	"heliostat/engine/sun"
)

// A Site is a place to look from, in degrees, north and east positive.
type Site struct {
	ID       engine.SiteID
	Lat, Lon float64
}

// A Source computes, for each site, the sun's elevation and its next rise and
// set, which are absent in polar day and night.
type Source struct {
	Sites []Site
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// Name implements collectors.Source.
func (s *Source) Name() string { return "sun" }

// Observe implements collectors.Source. It cannot fail.
func (s *Source) Observe(context.Context) (engine.Observation, error) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	t := now()
	at := engine.At(t)
	o := engine.Observation{Source: s.Name(), At: at}
	add := func(site engine.SiteID, key string, v float64) {
		o.Sites = append(o.Sites, engine.SiteValue{Site: site, Value: engine.Value{Key: key, Number: v, At: at, Source: s.Name()}})
	}
	for _, p := range s.Sites {
		_, elevation := sun.Position(t, p.Lat, p.Lon)
		add(p.ID, engine.KeySun, elevation)
		rise, set, _ := sun.Next(t, p.Lat, p.Lon)
		if !rise.IsZero() {
			add(p.ID, engine.KeyRise, float64(rise.Unix()))
		}
		if !set.IsZero() {
			add(p.ID, engine.KeySet, float64(set.Unix()))
		}
	}
	return o, nil
}
