package collectors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"heliostat/engine"
)

// A Source sees one part of the world.
type Source interface {
	// Name is unique among the sources, and stable: gaps and values carry it.
	Name() string
	// Observe says what is seen now. It returns soon after ctx ends, and what it
	// returned it no longer changes. What it could not see of its part is a Gap
	// in the observation; an error means that it saw nothing.
	Observe(ctx context.Context) (engine.Observation, error)
}

// A Set asks sources and merges their answers. It belongs to one goroutine.
type Set struct {
	Sources []Source
	Config  Config
	// Resolve chooses among the sightings of a VM that was seen more than once;
	// nil chooses none.
	Resolve Resolve

	last map[string]engine.Observation // by source: its last good answer
}

// clockSkew is how far ahead of us an observation's clock may be (RELIABILITY:
// skew above 5 s is not believed).
const clockSkew = 5 * time.Second

// Collect asks all sources at once, each with the configured timeout, and merges
// what they answer. A source that fails leaves a Gap and its last good answer.
// The sightings are of VMs that were seen more than once. An error means that
// ctx ended, or a bug: the snapshot would not be valid.
func (s *Set) Collect(ctx context.Context, now time.Time) (*engine.Snapshot, []engine.Sighting, error) {
	at := engine.At(now)
	answers := make([]engine.Observation, len(s.Sources))
	failed := make([]error, len(s.Sources))
	var wg sync.WaitGroup
	for i, src := range s.Sources {
		wg.Go(func() { answers[i], failed[i] = s.ask(ctx, src, at) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("collect: %w", err)
	}
	if s.last == nil {
		s.last = map[string]engine.Observation{}
	}
	var seen []engine.Observation
	for i, src := range s.Sources {
		name := src.Name()
		if failed[i] == nil {
			s.last[name] = answers[i]
			seen = append(seen, answers[i])
			continue
		}
		last, ok := s.last[name]
		seen = append(seen, engine.Observation{Source: name, At: at, Gaps: []engine.Gap{{
			Source: name, Subject: subjectOf(name, &last), Reason: failed[i].Error(), At: at,
		}}})
		if ok {
			seen = append(seen, last)
		}
	}
	snap, twice := Merge(&s.Config, at, seen, s.Resolve)
	if err := snap.Validate(); err != nil {
		return nil, nil, fmt.Errorf("merge what the sources saw: %w", err)
	}
	return snap, twice, nil
}

func (s *Set) ask(ctx context.Context, src Source, now engine.Unix) (engine.Observation, error) {
	if s.Config.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Config.Timeout)
		defer cancel()
	}
	o, err := src.Observe(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return o, fmt.Errorf("no answer within %v", s.Config.Timeout)
	}
	if err != nil {
		return o, err
	}
	if o.At.Sub(now) > clockSkew {
		return o, fmt.Errorf("dated in the future: the clocks differ by more than %v", clockSkew)
	}
	o.Source = src.Name()
	return o, nil
}

// subjectOf is what is not seen when the source is silent.
func subjectOf(source string, last *engine.Observation) engine.Subject {
	if last.Inventory != nil {
		return engine.Subject{Kind: "vcenter", ID: string(last.Inventory.VCenter.ID)}
	}
	return engine.Subject{Kind: "feed", ID: source}
}
