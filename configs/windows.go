package configs

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
)

// A WindowConfig is an agreed period, once or on days of the week.
type WindowConfig struct {
	// ID names the window.
	ID string `yaml:"id"`
	// Kind is maintenance, quiet, change or holiday: policies say what follows.
	Kind string `yaml:"kind"`
	// Site, Cluster and Host exclude one another; without one the window is the
	// whole fleet's. Clusters and hosts are given by name, or by "vcUUID/moid".
	Site    engine.SiteID `yaml:"site"`
	Cluster string        `yaml:"cluster"`
	Host    string        `yaml:"host"`
	// From and To are moments (2026-09-01T22:00:00Z), or times of day (22:00):
	// then the window is daily, and over midnight where To is not after From.
	From Moment `yaml:"from"`
	To   Moment `yaml:"to"`
	// Days on which a daily window begins, such as mon, tue. Default every day.
	Days []Weekday `yaml:"days"`
	// TimeZone of a daily window, an IANA name. Default UTC.
	TimeZone string `yaml:"time_zone"`
	// Note is for people.
	Note string `yaml:"note"`
}

// A Moment is a time, or a time of day.
type Moment struct {
	At    time.Time
	Clock time.Duration // since midnight, where Daily
	Daily bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Moment) UnmarshalText(b []byte) error {
	if t, err := time.Parse(time.RFC3339, string(b)); err == nil {
		*m = Moment{At: t}
		return nil
	}
	t, err := time.Parse("15:04", string(b))
	if err != nil {
		return fmt.Errorf("%q is neither a moment such as 2026-09-01T22:00:00Z nor a time of day such as 22:00", b)
	}
	*m = Moment{Clock: time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, Daily: true}
	return nil
}

// A Weekday is a day of the week, written mon to sun.
type Weekday time.Weekday

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Weekday) UnmarshalText(b []byte) error {
	i := slices.Index(dayNames, string(b))
	if i < 0 {
		return fmt.Errorf("%q is not one of %s", b, strings.Join(dayNames, ", "))
	}
	*d = Weekday(i)
	return nil
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// name is a host or cluster by name, or by vcUUID/moid.
var name = regexp.MustCompile(`^([^\s/*?\[\]]+|[0-9a-fA-F-]{36}/[a-z0-9-]+)$`)

// place is what the window is about.
func (w *WindowConfig) place() engine.Subject {
	switch {
	case w.Host != "":
		return engine.Subject{Kind: "host", ID: w.Host}
	case w.Cluster != "":
		return engine.Subject{Kind: "cluster", ID: w.Cluster}
	case w.Site != "":
		return engine.Subject{Kind: "site", ID: string(w.Site)}
	default:
		return engine.Subject{Kind: "fleet"}
	}
}

func (c *Config) validateWindows() error {
	var errs []error
	for i := range c.Windows {
		w := &c.Windows[i]
		bad := func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("windows[%d].%s: %s", i, key, fmt.Sprintf(format, args...)))
		}
		if w.ID == "" {
			bad("id", "is missing")
		}
		if !slices.Contains([]string{"maintenance", "quiet", "change", "holiday"}, w.Kind) {
			bad("kind", "%q is not one of maintenance, quiet, change, holiday", w.Kind)
		}
		if w.Site != "" && !c.hasSite(w.Site) {
			bad("site", "there is no site %q", w.Site)
		}
		if w.Host != "" && (w.Cluster != "" || w.Site != "") {
			bad("host", "excludes cluster and site")
		}
		if w.Cluster != "" && w.Site != "" {
			bad("cluster", "excludes site")
		}
		if w.Host != "" && !name.MatchString(w.Host) {
			bad("host", "%q is neither a name nor vcUUID/moid", w.Host)
		}
		if w.Cluster != "" && !name.MatchString(w.Cluster) {
			bad("cluster", "%q is neither a name nor vcUUID/moid", w.Cluster)
		}
		if _, err := time.LoadLocation(w.TimeZone); err != nil {
			bad("time_zone", "%q is not a time zone", w.TimeZone)
		}
		w.validateTimes(bad)
	}
	return errors.Join(errs...)
}

func (w *WindowConfig) validateTimes(bad func(key, format string, args ...any)) {
	switch {
	case w.From == (Moment{}):
		bad("from", "is missing")
	case w.To == (Moment{}):
		bad("to", "is missing")
	case w.From.Daily != w.To.Daily:
		bad("to", "from and to must both be moments or both times of day")
	case !w.From.Daily && !w.To.At.After(w.From.At):
		bad("to", "is not after from")
	case !w.From.Daily && (len(w.Days) > 0 || w.TimeZone != ""):
		bad("from", "days and time_zone need times of day")
	}
}

// WindowsAt lists the windows that have not ended and begin within a week, by
// their beginning. It is what the loop asks each cycle.
func (c *Config) WindowsAt(now time.Time) []engine.Window {
	const ahead = 7
	var out []engine.Window
	add := func(w *WindowConfig, from, to time.Time) {
		if to.After(now) && from.Before(now.AddDate(0, 0, ahead)) {
			out = append(out, engine.Window{ID: w.ID, Kind: w.Kind, Place: w.place(), From: engine.At(from), To: engine.At(to), Note: w.Note})
		}
	}
	for i := range c.Windows {
		w := &c.Windows[i]
		if !w.From.Daily {
			add(w, w.From.At, w.To.At)
			continue
		}
		zone, err := time.LoadLocation(w.TimeZone)
		if err != nil {
			continue // Validate has refused it
		}
		today := now.In(zone)
		for d := -1; d <= ahead; d++ {
			from, to := w.on(today.Year(), today.Month(), today.Day()+d, zone)
			if len(w.Days) == 0 || slices.Contains(w.Days, Weekday(from.Weekday())) {
				add(w, from, to)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b engine.Window) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.ID, b.ID)) })
	return out
}

// on is a daily window that begins on a day. Clock times are the zone's, so that
// a night with a change of the clocks is an hour longer or shorter.
func (w *WindowConfig) on(year int, month time.Month, day int, zone *time.Location) (from, to time.Time) {
	at := func(day int, clock time.Duration) time.Time {
		return time.Date(year, month, day, int(clock/time.Hour), int(clock%time.Hour/time.Minute), 0, 0, zone)
	}
	end := day
	if w.To.Clock <= w.From.Clock {
		end++
	}
	return at(day, w.From.Clock), at(end, w.To.Clock)
}
