// Package latency is the source of round trips between sites, measured by the
// time that a TCP connection takes to open: one round trip, and what the other
// end needs to accept. Round trips that are configured are not measured, and are
// no business of this package.
package latency

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"heliostat/engine"
)

// Config says how to measure.
type Config struct {
	// Tries is how many connections are opened one after the other; their median
	// is the round trip. Default 5.
	Tries int `yaml:"tries"`
	// Deadline is how long all tries of one target may take together. Default 5s.
	Deadline time.Duration `yaml:"deadline"`
	// Failures is after how many failed observations in a row the round trip is
	// unknown; until then the last one is reported with its age. Default 3.
	Failures int `yaml:"failures"`
}

// DefaultConfig is five tries in five seconds, unknown after three failures.
func DefaultConfig() Config { return Config{Tries: 5, Deadline: 5 * time.Second, Failures: 3} }

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var errs []error
	if c.Tries < 1 || c.Tries > 20 {
		errs = append(errs, fmt.Errorf("tries: %d is not between 1 and 20", c.Tries))
	}
	if c.Deadline <= 0 {
		errs = append(errs, fmt.Errorf("deadline: %v is not positive", c.Deadline))
	}
	if c.Failures < 1 {
		errs = append(errs, fmt.Errorf("failures: %d is not positive", c.Failures))
	}
	return errors.Join(errs...)
}

// A Target is an address whose distance is the round trip between two sites.
// One of them is where this process runs.
type Target struct {
	A, B    engine.SiteID
	Address string // "host:port" of something that accepts TCP at the other site
}

// A Source measures its targets. It is for one goroutine at a time.
type Source struct {
	Targets []Target
	Config  Config
	// Now is the clock of observations; nil for time.Now. Round trips are
	// always measured on the real one.
	Now func() time.Time
	// Dial opens a connection; nil for TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	last []result // by target
}

type result struct {
	rtt    time.Duration
	at     engine.Unix // of the last success; 0 for none yet
	failed int         // observations in a row
	err    error
}

// Name implements collectors.Source.
func (s *Source) Name() string { return "latency" }

// Observe implements collectors.Source: it measures all targets at once. One
// that cannot be measured is a Gap, and after Config.Failures its round trip is
// unknown.
func (s *Source) Observe(ctx context.Context) (engine.Observation, error) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	if s.last == nil {
		s.last = make([]result, len(s.Targets))
	}
	var wg sync.WaitGroup
	for i := range s.Targets {
		r, address := &s.last[i], s.Targets[i].Address
		wg.Go(func() {
			rtt, err := s.measure(ctx, address)
			if r.err = err; err != nil {
				r.failed++
				return
			}
			*r = result{rtt: rtt, at: engine.At(now())}
		})
	}
	wg.Wait()
	at := engine.At(now())
	o := engine.Observation{Source: s.Name(), At: at}
	for i, t := range s.Targets {
		r := &s.last[i]
		v := engine.LinkValue{A: t.A, B: t.B, RTTMicros: engine.Unknown, Mbps: engine.Unknown, At: at, Source: "tcp " + t.Address}
		if r.at != 0 && r.failed < s.Config.Failures {
			v.RTTMicros, v.At = int32(min(r.rtt.Microseconds(), int64(time.Minute/time.Microsecond))), r.at
		}
		if r.err != nil {
			a, b := min(t.A, t.B), max(t.A, t.B)
			o.Gaps = append(o.Gaps, engine.Gap{
				Source: s.Name(), Subject: engine.Subject{Kind: "link", ID: string(a) + " " + string(b)}, Reason: r.err.Error(), At: at,
			})
		}
		o.Links = append(o.Links, v)
	}
	return o, ctx.Err()
}

// measure is the median time to connect. It succeeds when more than half of the tries do.
func (s *Source) measure(ctx context.Context, address string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Config.Deadline)
	defer cancel()
	dial := s.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
		var err error
		// The name is looked up first, so that this is not part of the time.
		if address, err = resolve(ctx, address); err != nil {
			return 0, err
		}
	}
	var took []time.Duration
	var failure error
	for range s.Config.Tries {
		start := time.Now()
		conn, err := dial(ctx, "tcp", address)
		if err != nil {
			failure = err
			continue
		}
		took = append(took, time.Since(start))
		_ = conn.Close() // nothing was written
	}
	if len(took) <= s.Config.Tries/2 {
		return 0, fmt.Errorf("measure the round trip: %d of %d tries failed: %w", s.Config.Tries-len(took), s.Config.Tries, failure)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func resolve(ctx context.Context, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("measure the round trip: %w", err)
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", fmt.Errorf("measure the round trip: %w", err)
	}
	return net.JoinHostPort(ips[0], port), nil
}
