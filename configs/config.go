// Package configs is the configuration file: one YAML document that collects
// each package's own Config. Keys that are unknown or given twice, missing
// values, numbers that are not finite, anchors and further documents are refused,
// and every fault is reported at once with its line and column. [Load] is the
// load path of the daemon, and heliostat check is nothing else.
package configs

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/robfig/cron/v3"

	"heliostat/collectors"
	"heliostat/collectors/alerts"
	"heliostat/collectors/hazard"
	"heliostat/collectors/latency"
	"heliostat/collectors/sun"
	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/engine/execute"
	"heliostat/internal/strict"
	"heliostat/policy"
	"heliostat/vsphere"
)

// Example is a configuration with every key explained.
//
//go:embed example.yaml
var Example []byte

// Config is the whole file.
type Config struct {
	collectors.Config `yaml:",inline"` // sites, segments, links, power, datastores, max_age, source_timeout

	VCenters []vsphere.Config `yaml:"vcenters"`
	Policy   policy.Config    `yaml:"policy"`
	Plan     engine.Config    `yaml:"plan"`
	Latency  latency.Config   `yaml:"latency"`
	Alerts   alerts.Config    `yaml:"alerts"`
	Hazards  hazard.Config    `yaml:"hazards"`
	Schedule Schedule         `yaml:"schedule"`
	Execute  execute.Config   `yaml:"execute"`
	Rails    cycle.Rails      `yaml:"rails"`
	Sanity   engine.Sanity    `yaml:"sanity"`
	Windows  []WindowConfig   `yaml:"windows"`
	Web      Web              `yaml:"web"`
	State    State            `yaml:"state"`
	Log      Log              `yaml:"log"`

	read *strict.Document // what it was read from; nil where it was not
}

// Schedule says when cycles run, beside those that an event asks for.
type Schedule struct {
	// Every is the time between two cycles. Default 1m.
	Every time.Duration `yaml:"every"`
	// Cron adds moments: cron text of five fields (UTC unless it begins with
	// CRON_TZ=ZONE), or "@sunrise SITE OFFSET" and "@sunset SITE OFFSET".
	Cron []string `yaml:"cron"`
	// MinGap is the least time between two cycles, whatever asks. Default 5s.
	MinGap time.Duration `yaml:"min_gap"`
	// ApprovalTTL is how long an advised plan waits for a person. Default 15m.
	ApprovalTTL time.Duration `yaml:"approval_ttl"`
}

// Web is the HTTP server for health, metrics, status and alerts.
type Web struct {
	// Listen is its address. Default 127.0.0.1:8480. Empty: none.
	Listen string `yaml:"listen"`
	// CertFile and KeyFile are the PEM files of its certificate; without them it
	// speaks plain HTTP, which alerts.token_file permits on loopback only.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// validate reports what would send a token in the clear.
func (w *Web) validate(tokens bool) error {
	host, port, err := net.SplitHostPort(cmp.Or(w.Listen, "localhost:1"))
	if _, notPort := strconv.ParseUint(port, 10, 16); err != nil || notPort != nil {
		return fmt.Errorf("web.listen: %q is not address:port", w.Listen)
	}
	if (w.CertFile == "") != (w.KeyFile == "") {
		return errors.New("web.cert_file: belongs together with key_file: give both, or none")
	}
	if ip := net.ParseIP(host); tokens && w.CertFile == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("web.listen: at %q the tokens of alerts would be sent in the clear: give cert_file and key_file, or listen at 127.0.0.1", w.Listen)
	}
	return nil
}

// State is where the daemon keeps what it must remember.
type State struct {
	// Dir holds the journal. Default /var/lib/heliostat.
	Dir string `yaml:"dir"`
	// Socket is where the command line reaches the daemon. Default /run/heliostat/heliostat.sock.
	Socket string `yaml:"socket"`
	// Keep is how long snapshots, decisions and plans are kept: older ones are
	// removed once a day, and the entries that refer to them stay. 0: for ever.
	// Default 2160h (90 days); at least 24h.
	Keep time.Duration `yaml:"keep"`
	// KillFile stops the daemon from starting anything while it is there, and until a
	// person resumes. Default /run/heliostat/stop. Empty: none.
	KillFile string `yaml:"kill_file"`
}

// Log is what is written to standard error.
type Log struct {
	// Level is debug, info, warn or error. Default info.
	Level Level `yaml:"level"`
	// Format is text or json. Default text.
	Format string `yaml:"format"`
}

// Level is how much is logged.
type Level slog.Level

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(b []byte) error {
	if (*slog.Level)(l).UnmarshalText(b) != nil {
		return fmt.Errorf("%q is none of debug, info, warn, error", b)
	}
	return nil
}

// Default is what a file starts from.
func Default() Config {
	return Config{
		Config: collectors.DefaultConfig(), Policy: policy.DefaultConfig(), Plan: engine.DefaultConfig(),
		Latency: latency.DefaultConfig(), Alerts: alerts.DefaultConfig(),
		Schedule: Schedule{Every: time.Minute, MinGap: 5 * time.Second, ApprovalTTL: 15 * time.Minute},
		Execute:  execute.DefaultConfig(),
		Rails:    cycle.DefaultRails(),
		Sanity:   engine.DefaultSanity(),
		Web:      Web{Listen: "127.0.0.1:8480"},
		State:    State{Dir: "/var/lib/heliostat", Socket: "/run/heliostat/heliostat.sock", Keep: 90 * 24 * time.Hour, KillFile: "/run/heliostat/stop"},
		Log:      Log{Format: "text"},
	}
}

// Validate reports everything that makes no sense, each as "path: what".
func (c *Config) Validate() error {
	errs := []error{
		c.Config.Validate(), under("policy", c.Policy.Validate()), under("plan", c.Plan.Validate()), under("latency", c.Latency.Validate()),
		under("alerts", c.Alerts.Validate()), under("hazards", c.Hazards.Validate()), under("execute", c.Execute.Validate()), under("rails", c.Rails.Validate()), under("sanity", c.Sanity.Validate()), c.validateVCenters(), c.validateWindows(), c.validateRest(),
	}
	for at, id := range c.Alerts.SiteIDs {
		if !c.hasSite(id) {
			errs = append(errs, fmt.Errorf("alerts.%s: there is no site %q", at, id))
		}
	}
	return errors.Join(errs...)
}

// under puts a path before each of the joined errors.
func under(at string, err error) error {
	var out []error
	for _, e := range leaves(err) {
		out = append(out, fmt.Errorf("%s.%w", at, e))
	}
	return errors.Join(out...)
}

// leaves takes joined errors apart.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, leaves(e)...)
	}
	return out
}

func (c *Config) hasSite(id engine.SiteID) bool { return slices.Contains(c.SiteIDs(), id) }

// uuid is how a pattern names a vCenter by its instance UUID.
var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (c *Config) validateVCenters() error {
	var errs []error
	if len(c.VCenters) == 0 {
		errs = append(errs, errors.New("vcenters: none; at least one is needed"))
	}
	for i := range c.VCenters {
		at, name := fmt.Sprintf("vcenters[%d]", i), c.VCenters[i].Name
		errs = append(errs, under(at, c.VCenters[i].Validate()))
		if slices.ContainsFunc(c.VCenters[:i], func(v vsphere.Config) bool { return v.Name == name }) {
			errs = append(errs, fmt.Errorf("%s.name: a second vCenter %q", at, name))
		}
	}
	known := func(at, glob string) {
		fits := func(v vsphere.Config) bool {
			ok, err := path.Match(glob, v.Name)
			return ok || err != nil // a bad pattern is reported elsewhere
		}
		if glob != "" && !uuid.MatchString(glob) && !slices.ContainsFunc(c.VCenters, fits) {
			errs = append(errs, fmt.Errorf("%s: there is no vCenter %q", at, glob))
		}
	}
	for i := range c.Sites {
		for j, h := range c.Sites[i].Hosts {
			known(fmt.Sprintf("sites[%d].hosts[%d].vcenter", i, j), h.VCenter)
		}
	}
	for i := range c.Segments {
		for j, n := range c.Segments[i].Networks {
			known(fmt.Sprintf("segments[%d].networks[%d].vcenter", i, j), n.VCenter)
		}
	}
	for i := range c.Datastores {
		known(fmt.Sprintf("datastores[%d].vcenter", i), c.Datastores[i].VCenter)
	}
	return errors.Join(errs...)
}

func (c *Config) validateRest() error {
	var errs []error
	bad := func(at, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
	for _, d := range []struct {
		at string
		d  time.Duration
	}{{"schedule.every", c.Schedule.Every}, {"schedule.min_gap", c.Schedule.MinGap}, {"schedule.approval_ttl", c.Schedule.ApprovalTTL}} {
		if d.d < time.Second {
			bad(d.at, "%v is less than a second", d.d)
		}
	}
	places := c.Places()
	for i, text := range c.Schedule.Cron {
		if _, err := cycle.ParseSchedule(text, places); err != nil {
			bad(fmt.Sprintf("schedule.cron[%d]", i), "%v", err)
		}
	}
	if err := c.Web.validate(c.Alerts.TokenFile != ""); err != nil {
		errs = append(errs, err)
	}
	if c.State.Dir == "" {
		bad("state.dir", "is missing")
	}
	if c.State.Socket == "" {
		bad("state.socket", "is missing")
	}
	if c.State.Keep != 0 && c.State.Keep < 24*time.Hour {
		bad("state.keep", "%v is less than a day; 0 keeps all for ever", c.State.Keep)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", "%q is not text or json", c.Log.Format)
	}
	if c.Policy.Dir != "" {
		if info, err := os.Stat(c.Policy.Dir); err != nil || !info.IsDir() {
			bad("policy.dir", "%s is not a directory that can be read", c.Policy.Dir)
		}
	}
	for i, l := range c.Links {
		host, port, err := net.SplitHostPort(cmp.Or(l.Probe, "x:1"))
		if err != nil || host == "" || port == "" {
			bad(fmt.Sprintf("links[%d].probe", i), "%q is not address:port", l.Probe)
		}
	}
	return errors.Join(errs...)
}

// Places are the sites as schedules know them.
func (c *Config) Places() []cycle.Place {
	out := make([]cycle.Place, len(c.Sites))
	for i, s := range c.Sites {
		out[i] = cycle.Place{ID: string(s.ID), Lat: s.Latitude, Lon: s.Longitude}
	}
	return out
}

// SunSites are the sites as the sun's source knows them.
func (c *Config) SunSites() []sun.Site {
	out := make([]sun.Site, len(c.Sites))
	for i, s := range c.Sites {
		out[i] = sun.Site{ID: s.ID, Lat: s.Latitude, Lon: s.Longitude}
	}
	return out
}

// LatencyTargets are the links that are probed.
func (c *Config) LatencyTargets() []latency.Target {
	var out []latency.Target
	for _, l := range c.Links {
		if l.Probe != "" {
			out = append(out, latency.Target{A: l.Between[0], B: l.Between[1], Address: l.Probe})
		}
	}
	return out
}

// Times is when cycles are due: every so often, and at the cron texts.
func (c *Config) Times() (cron.Schedule, error) {
	texts := append([]string{"@every " + c.Schedule.Every.String()}, c.Schedule.Cron...)
	var out cycle.Earliest
	for _, text := range texts {
		s, err := cycle.ParseSchedule(text, c.Places())
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
