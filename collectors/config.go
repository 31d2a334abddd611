package collectors

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
)

// Config says where things stand and what the sources cannot see.
type Config struct {
	Sites      []SiteConfig      `yaml:"sites"`
	Segments   []SegmentConfig   `yaml:"segments"`
	Links      []LinkConfig      `yaml:"links"`
	Power      []PowerConfig     `yaml:"power"`
	Datastores []DatastoreConfig `yaml:"datastores"`
	MaxAge     Ages              `yaml:"max_age"`
	// Timeout is how long one source may take to answer. Default 30s.
	Timeout time.Duration `yaml:"source_timeout"`
}

// Ages are how old an answer may be and still serve.
type Ages struct {
	// Inventory: an older one is left out whole. Default 15m.
	Inventory time.Duration `yaml:"inventory"`
	// Loads: older loads of hosts and VMs are unknown. Default 5m.
	Loads time.Duration `yaml:"loads"`
	// Values: older readings about sites give way to the configured ones. Default 2h.
	Values time.Duration `yaml:"values"`
	// Links: older measurements are unknown. Default 15m.
	Links time.Duration `yaml:"links"`
}

// A SiteConfig is one site and the hosts that stand there.
type SiteConfig struct {
	// ID is the site's name, used everywhere else.
	ID engine.SiteID `yaml:"id"`
	// Latitude in degrees, north positive.
	Latitude float64 `yaml:"latitude"`
	// Longitude in degrees, east positive.
	Longitude float64 `yaml:"longitude"`
	// Region is the legal region, matched against a VM's residency. Optional.
	Region string `yaml:"region"`
	// TimeZone is an IANA name, for policies that ask for local time. Default UTC.
	TimeZone string `yaml:"time_zone"`
	// PUE is the site's power usage effectiveness, 1 to 5. Default 1: what hosts draw.
	PUE float64 `yaml:"pue"`
	// PriceEURPerKWh serves while no source gives a price. Unknown when left out.
	PriceEURPerKWh *float64 `yaml:"price_eur_per_kwh"`
	// CarbonGPerKWh serves while no source gives an intensity. Unknown when left out.
	CarbonGPerKWh *float64 `yaml:"carbon_g_per_kwh"`
	// Mode is how far actions at the site may go. Default advise.
	Mode engine.Mode `yaml:"mode"`
	// Hosts match what stands here. A host that no site or several sites match
	// has no site, and is left alone.
	Hosts []HostMatch `yaml:"hosts"`
}

// SetDefaults fills in what a file may leave out.
func (s *SiteConfig) SetDefaults() { s.PUE, s.Mode = 1, engine.Advise }

// A HostMatch selects hosts. All patterns given must match; they are globs as
// in [path.Match], so * does not match a slash.
type HostMatch struct {
	// VCenter matches the configured name of the host's vCenter, or its instance UUID.
	VCenter string `yaml:"vcenter"`
	// Cluster matches the name of the host's cluster.
	Cluster string `yaml:"cluster"`
	// Folder matches the inventory path of the host's cluster, or a folder above it.
	Folder string `yaml:"folder"`
	// Name matches the host's name.
	Name string `yaml:"name"`
}

// A SegmentConfig is networks that are one L2 segment, wherever they are.
type SegmentConfig struct {
	// Name of the segment.
	Name string `yaml:"name"`
	// GatewaySite is where its gateway stands. Optional.
	GatewaySite engine.SiteID `yaml:"gateway_site"`
	// Networks that carry it.
	Networks []NetworkMatch `yaml:"networks"`
}

// A NetworkMatch selects networks by globs; all that are given must match.
type NetworkMatch struct {
	// VCenter matches the configured name of the vCenter, or its instance UUID.
	VCenter string `yaml:"vcenter"`
	// Name matches the network's name.
	Name string `yaml:"name"`
}

// A LinkConfig is what is known between two sites.
type LinkConfig struct {
	// Between names the two sites.
	Between [2]engine.SiteID `yaml:"between"`
	// RTTms is the round trip in milliseconds, up to 10000. Excludes probe.
	RTTms *float64 `yaml:"rtt_ms"`
	// Mbps is the bandwidth that migrations may use, Mbit/s. Without it nothing moves over the link.
	Mbps *int32 `yaml:"mbps"`
	// Probe is a TCP "address:port" at the other site, whose connect time is the
	// round trip; it must be reached from here over this link. Excludes rtt_ms.
	Probe string `yaml:"probe"`
}

// A PowerConfig is the draw of a model of host, between idle and full load.
type PowerConfig struct {
	// Model is a glob on the host's CPU model. The first that matches serves.
	Model string `yaml:"model"`
	// IdleW and MaxW are watts at the plug, at no and at full CPU load.
	IdleW int32 `yaml:"idle_w"`
	MaxW  int32 `yaml:"max_w"`
}

// A DatastoreConfig says where a datastore's data survives. Without one it is
// where the hosts stand that mount it.
type DatastoreConfig struct {
	// VCenter matches the configured name of the vCenter, or its instance UUID.
	VCenter string `yaml:"vcenter"`
	// Match is a glob on the datastore's name. The first that matches serves.
	Match string `yaml:"match"`
	// Survives lists the sites where the data outlives the loss of all others.
	Survives []engine.SiteID `yaml:"survives"`
}

// DefaultConfig has the ages and the timeout, and no sites.
func DefaultConfig() Config {
	return Config{
		MaxAge:  Ages{Inventory: 15 * time.Minute, Loads: 5 * time.Minute, Values: 2 * time.Hour, Links: 15 * time.Minute},
		Timeout: 30 * time.Second,
	}
}

// SiteIDs lists the sites, sorted.
func (c *Config) SiteIDs() []engine.SiteID {
	ids := make([]engine.SiteID, len(c.Sites))
	for i := range c.Sites {
		ids[i] = c.Sites[i].ID
	}
	slices.Sort(ids)
	return ids
}

// faults gathers what is wrong, each as "path: what".
type faults struct {
	errs  []error
	sites []engine.SiteID
}

func (f *faults) add(at, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
}

// within refuses what is not in the range, and what is not a number.
func (f *faults) within(at string, v, low, high float64) {
	if !(v >= low && v <= high) {
		f.add(at, "%v is not between %v and %v", v, low, high)
	}
}

func (f *faults) positive(at string, d time.Duration) {
	if d <= 0 {
		f.add(at, "%v is not positive", d)
	}
}

func (f *faults) glob(at, pattern string) {
	if _, err := path.Match(pattern, ""); err != nil {
		f.add(at, "%q is not a pattern: %v", pattern, err)
	}
}

func (f *faults) site(at string, id engine.SiteID) {
	if !slices.Contains(f.sites, id) {
		f.add(at, "there is no site %q", id)
	}
}

// Validate reports everything that makes no sense, each as "path: what".
func (c *Config) Validate() error {
	f := &faults{sites: c.SiteIDs()}
	c.validateSites(f)
	c.validateSegments(f)
	c.validateLinks(f)
	for i := range c.Power {
		p, at := &c.Power[i], fmt.Sprintf("power[%d]", i)
		f.glob(at+".model", p.Model)
		f.within(at+".idle_w", float64(p.IdleW), 1, 100_000)
		f.within(at+".max_w", float64(p.MaxW), float64(p.IdleW), 100_000)
	}
	for i := range c.Datastores {
		d, at := &c.Datastores[i], fmt.Sprintf("datastores[%d]", i)
		f.glob(at+".vcenter", d.VCenter)
		f.glob(at+".match", d.Match)
		for j, s := range d.Survives {
			f.site(fmt.Sprintf("%s.survives[%d]", at, j), s)
		}
	}
	f.positive("max_age.inventory", c.MaxAge.Inventory)
	f.positive("max_age.loads", c.MaxAge.Loads)
	f.positive("max_age.values", c.MaxAge.Values)
	f.positive("max_age.links", c.MaxAge.Links)
	f.positive("source_timeout", c.Timeout)
	return errors.Join(f.errs...)
}

func (c *Config) validateSites(f *faults) {
	if n := len(c.Sites); n == 0 || n > engine.MaxSites {
		f.add("sites", "%d of them; between 1 and %d are needed", n, engine.MaxSites)
	}
	for i := range c.Sites {
		s, at := &c.Sites[i], fmt.Sprintf("sites[%d]", i)
		if s.ID == "" || strings.ContainsAny(string(s.ID), " \t\n/") {
			f.add(at+".id", "%q is not a name without spaces and slashes", s.ID)
		}
		if slices.ContainsFunc(c.Sites[:i], func(o SiteConfig) bool { return o.ID == s.ID }) {
			f.add(at+".id", "a second site %q", s.ID)
		}
		f.within(at+".latitude", s.Latitude, -90, 90)
		f.within(at+".longitude", s.Longitude, -180, 180)
		if _, err := time.LoadLocation(s.TimeZone); err != nil {
			f.add(at+".time_zone", "%q is not a time zone", s.TimeZone)
		}
		for _, r := range []struct {
			key, name string
			v         *float64
		}{{engine.KeyPUE, "pue", &s.PUE}, {engine.KeyPrice, "price_eur_per_kwh", s.PriceEURPerKWh}, {engine.KeyCarbon, "carbon_g_per_kwh", s.CarbonGPerKWh}} {
			if r.v != nil {
				f.within(at+"."+r.name, *r.v, plausible[r.key][0], plausible[r.key][1])
			}
		}
		for j := range s.Hosts {
			c.validateHosts(f, i, j)
		}
	}
}

func (c *Config) validateHosts(f *faults, i, j int) {
	m, at := &c.Sites[i].Hosts[j], fmt.Sprintf("sites[%d].hosts[%d]", i, j)
	if *m == (HostMatch{}) {
		f.add(at, `matches nothing: give vcenter, cluster, folder or name ("*" for every host)`)
		return
	}
	for k, p := range m.patterns() {
		f.glob(at+"."+hostKeys[k], p)
	}
	for k := range c.Sites[:i] {
		for l := range c.Sites[k].Hosts {
			o := &c.Sites[k].Hosts[l]
			if *o != (HostMatch{}) && (m.covers(o) || o.covers(m)) {
				f.add(at, "also matches what sites[%d].hosts[%d] puts at site %q", k, l, c.Sites[k].ID)
			}
		}
	}
}

var hostKeys = [...]string{"vcenter", "cluster", "folder", "name"}

func (m *HostMatch) patterns() [4]string { return [4]string{m.VCenter, m.Cluster, m.Folder, m.Name} }

// covers reports whether m certainly matches every host that o matches.
func (m *HostMatch) covers(o *HostMatch) bool {
	a, b := m.patterns(), o.patterns()
	for i := range a {
		literal := b[i] != "" && !strings.ContainsAny(b[i], `*?[\`)
		ok, _ := path.Match(a[i], b[i])
		if a[i] != "" && a[i] != "*" && a[i] != b[i] && (!literal || !ok) {
			return false
		}
	}
	return true
}

func (c *Config) validateSegments(f *faults) {
	for i := range c.Segments {
		s, at := &c.Segments[i], fmt.Sprintf("segments[%d]", i)
		if s.Name == "" {
			f.add(at+".name", "is missing")
		}
		if slices.ContainsFunc(c.Segments[:i], func(o SegmentConfig) bool { return o.Name == s.Name }) {
			f.add(at+".name", "a second segment %q", s.Name)
		}
		if s.GatewaySite != "" {
			f.site(at+".gateway_site", s.GatewaySite)
		}
		for j, n := range s.Networks {
			at := fmt.Sprintf("%s.networks[%d]", at, j)
			if n.Name == "" {
				f.add(at+".name", "is missing")
			}
			f.glob(at+".vcenter", n.VCenter)
			f.glob(at+".name", n.Name)
		}
	}
}

func (c *Config) validateLinks(f *faults) {
	for i := range c.Links {
		l, at := &c.Links[i], fmt.Sprintf("links[%d]", i)
		f.site(at+".between[0]", l.Between[0])
		f.site(at+".between[1]", l.Between[1])
		if l.Between[0] == l.Between[1] {
			f.add(at+".between", "a link from %q to itself", l.Between[0])
		}
		if slices.ContainsFunc(c.Links[:i], func(o LinkConfig) bool {
			return o.Between == l.Between || o.Between == [2]engine.SiteID{l.Between[1], l.Between[0]}
		}) {
			f.add(at+".between", "a second link between %q and %q", l.Between[0], l.Between[1])
		}
		if l.RTTms != nil {
			f.within(at+".rtt_ms", *l.RTTms, 0, maxRTTMicros/1000)
		}
		if l.Mbps != nil {
			f.within(at+".mbps", float64(*l.Mbps), 1, maxMbps)
		}
		if l.RTTms != nil && l.Probe != "" {
			f.add(at+".probe", "excludes rtt_ms: a probe that fails must leave the round trip unknown")
		}
	}
}
