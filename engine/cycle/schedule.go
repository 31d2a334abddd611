package cycle

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"heliostat/engine/sun"
)

// A Place is where a sun schedule looks from.
type Place struct {
	ID       string
	Lat, Lon float64 // degrees
}

// ParseSchedule reads one schedule: a cron text of five fields or a descriptor
// ("*/5 * * * *", "@hourly"), UTC unless it begins with CRON_TZ=ZONE; "@every
// 90s"; or "@sunrise SITE" and "@sunset SITE", with an offset such as "-30m".
func ParseSchedule(text string, places []Place) (cron.Schedule, error) {
	text = strings.TrimSpace(text)
	for _, event := range []string{"@sunrise", "@sunset"} {
		if rest, ok := strings.CutPrefix(text, event); ok {
			return parseSun(event == "@sunrise", strings.Fields(rest), places)
		}
	}
	zone := time.UTC
	spec := text
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		rest, ok := strings.CutPrefix(text, prefix)
		if !ok {
			continue
		}
		name, after, found := strings.Cut(rest, " ")
		if !found {
			return nil, fmt.Errorf("schedule %q: nothing follows the time zone", text)
		}
		loc, err := time.LoadLocation(name)
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", text, err)
		}
		zone, spec = loc, after
	}
	inner, err := cron.ParseStandard("CRON_TZ=UTC " + spec)
	if strings.HasPrefix(spec, "@every") {
		inner, err = cron.ParseStandard(spec)
	}
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", text, err)
	}
	if zone == time.UTC {
		return inner, nil
	}
	return zoned{inner, zone}, nil
}

// zoned evaluates a schedule on a zone's wall clock. cron itself skips a job
// whose hour does not exist on the night when clocks go forward; here it runs
// when that hour would have ended. On the night when clocks go back a job runs
// once, in the first of the two hours.
type zoned struct {
	inner cron.Schedule
	zone  *time.Location
}

func (z zoned) Next(t time.Time) time.Time {
	wall := func(t time.Time) time.Time {
		l := t.In(z.zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), 0, time.UTC)
	}
	n := z.inner.Next(wall(t))
	for range 100 {
		if n.IsZero() {
			return n
		}
		at := time.Date(n.Year(), n.Month(), n.Day(), n.Hour(), n.Minute(), n.Second(), 0, z.zone)
		if first := at.Add(-time.Hour); wall(first).Equal(n) {
			at = first // of the two hours that the wall clock shows alike
		}
		if at.After(t) {
			return at.UTC()
		}
		n = z.inner.Next(n)
	}
	return time.Time{}
}

// sunEvent is sunrise or sunset at a place, with an offset.
type sunEvent struct {
	rise   bool
	place  Place
	offset time.Duration
}

func parseSun(rise bool, args []string, places []Place) (cron.Schedule, error) {
	event := "@sunset"
	if rise {
		event = "@sunrise"
	}
	if len(args) == 0 || len(args) > 2 {
		return nil, fmt.Errorf("schedule %s: want %s SITE [OFFSET], such as %s houston -30m", event, event, event)
	}
	e := sunEvent{rise: rise}
	for _, p := range places {
		if p.ID == args[0] {
			e.place = p
		}
	}
	if e.place.ID == "" {
		return nil, fmt.Errorf("schedule %s: no site %q", event, args[0])
	}
	if len(args) == 2 {
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return nil, fmt.Errorf("schedule %s: offset: %w", event, err)
		}
		e.offset = d
	}
	return e, nil
}

// Next looks for the event, day by day, for at most a year: in polar summer and
// winter there may be none for months. The zero time means none.
func (e sunEvent) Next(t time.Time) time.Time {
	from := t.Add(-e.offset)
	for range 366 {
		rise, set, _ := sun.Next(from, e.place.Lat, e.place.Lon)
		at := set
		if e.rise {
			at = rise
		}
		if !at.IsZero() {
			if at = at.Add(e.offset).Truncate(time.Second); at.After(t) {
				return at
			}
		}
		from = from.Add(24 * time.Hour)
	}
	return time.Time{}
}

// Earliest is the schedule that fires when any of its parts does.
type Earliest []cron.Schedule

// Next implements cron.Schedule.
func (s Earliest) Next(t time.Time) time.Time {
	var best time.Time
	for _, x := range s {
		if n := x.Next(t); !n.IsZero() && (best.IsZero() || n.Before(best)) {
			best = n
		}
	}
	return best
}
