// Package hazard is the source of hazards from a file that people or a feed's
// converter write: a JSON array of records
//
//	{"hazard": "al092026", "site": "houston", "kind": "hurricane", "severity": "extreme",
//	 "threshold": "64 kt", "p": 0.7, "t_earliest": "2026-09-01T06:00:00Z", "t_likely": "2026-09-01T12:00:00Z",
//	 "t_end": "2026-09-02T00:00:00Z", "source": "NHC", "advisory": "14", "issued": "2026-08-30T03:00:00Z",
//	 "valid_until": "2026-08-30T15:00:00Z", "method": "official"}
//
// with one record a site ("id" may be written for "hazard"; threshold, p,
// t_likely, advisory and method may be left out). Write it beside and rename it
// into place. It is read again when its time or size has changed.
//
// A file that has vanished or cannot be read never means that there is no
// hazard: what was last read stays, with a Gap.
package hazard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"heliostat/engine"
	"heliostat/internal/strict"
)

// Config names the file.
type Config struct {
	// File is the path; without one there is no hazard source.
	File string `yaml:"file"`
	// MaxAge is how old the file's time may be before its silence is a Gap, for
	// a file that a feed's converter rewrites. Default 0: never.
	MaxAge time.Duration `yaml:"max_age"`
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	if c.MaxAge < 0 {
		return fmt.Errorf("max_age: %v is negative", c.MaxAge)
	}
	return nil
}

// maxBytes bounds the file: 64 sites times thousands of hazards are below it.
const maxBytes = 8 << 20

// A Source is what the file says. It is for one goroutine at a time.
type Source struct {
	Config Config
	// Now is the clock; nil for time.Now.
	Now func() time.Time

	good    []engine.Hazard // of the last file that could be read
	modTime time.Time       // of the file last looked at
	size    int64
	err     error // what was wrong with it
}

// Name implements collectors.Source.
func (s *Source) Name() string { return "hazards" }

// Observe implements collectors.Source. A hazard is reported until its end; one
// past its valid_until is a Gap as well.
func (s *Source) Observe(context.Context) (engine.Observation, error) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	t := now()
	at := engine.At(t)
	o := engine.Observation{Source: s.Name(), At: at}
	gap := func(site engine.SiteID, format string, args ...any) {
		subject := engine.Subject{Kind: "feed", ID: s.Name()}
		if site != "" {
			subject = engine.Subject{Kind: "site", ID: string(site)}
		}
		o.Gaps = append(o.Gaps, engine.Gap{Source: s.Name(), Subject: subject, Reason: fmt.Sprintf(format, args...), At: at})
	}
	if err := s.refresh(); err != nil {
		gap("", "the last good list serves: %v", err)
	} else if s.Config.MaxAge > 0 && t.Sub(s.modTime) > s.Config.MaxAge {
		gap("", "%s has not been written for more than %v", s.Config.File, s.Config.MaxAge)
	}
	for _, h := range s.good {
		if h.End <= at {
			continue
		}
		if h.ValidUntil < at {
			gap(h.Site, "stale hazard: %s of %s was valid until %s", h.ID, h.Source, h.ValidUntil)
		}
		o.Hazards = append(o.Hazards, h)
	}
	return o, nil
}

// refresh reads the file if it has changed since it was last looked at. The
// error says why the list in use is not the file's.
func (s *Source) refresh() error {
	f, err := os.Open(s.Config.File)
	if err != nil {
		s.modTime = time.Time{} // read it again when it is back
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.ModTime().Equal(s.modTime) && info.Size() == s.size {
		return s.err
	}
	s.modTime, s.size = info.ModTime(), info.Size()
	hazards, err := read(f)
	if err != nil {
		s.err = fmt.Errorf("%s:%w", s.Config.File, err)
		return s.err
	}
	s.good, s.err = hazards, nil
	return nil
}

func read(f io.Reader) ([]engine.Hazard, error) {
	data, err := io.ReadAll(strict.Limit(f, maxBytes))
	if err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	hazards, err := decode(data)
	if faults, ok := errors.AsType[strict.Faults](err); ok && len(faults) > 1 { // a Gap's reason is a line
		return nil, fmt.Errorf("%s; and %d more fault%s", faults[0], len(faults)-1, strings.Repeat("s", min(len(faults)-2, 1)))
	}
	return hazards, err
}
