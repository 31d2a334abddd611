package alerts

import (
	"context"
	"time"

	"heliostat/engine"
)

const sourceName = "alerts"

// A Book knows the alerts: those that fire, those that have expired without a
// word (stale), and those lately resolved.
type Book interface {
	Alerts(now time.Time) ([]engine.Alert, error)
}

// A Source is what the book says.
type Source struct {
	Book Book
	// Intake, when given, tells whether senders have left alerts out.
	Intake *Intake
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// Name implements collectors.Source.
func (s *Source) Name() string { return sourceName }

// Observe implements collectors.Source.
func (s *Source) Observe(context.Context) (engine.Observation, error) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	t := now()
	list, err := s.Book.Alerts(t)
	if err != nil {
		return engine.Observation{}, err
	}
	o := engine.Observation{Source: sourceName, At: engine.At(t), Alerts: list}
	if s.Intake == nil {
		return o, nil
	}
	// What a sender left out was due again within the time to live.
	if at := engine.Unix(s.Intake.truncated.Load()); at != 0 && o.At.Sub(at) < s.Intake.Config.TTL {
		o.Gaps = []engine.Gap{{
			Source: sourceName, Subject: engine.Subject{Kind: "feed", ID: sourceName}, At: at,
			Reason: "the sender left alerts out of its last delivery: raise its max_alerts",
		}}
	}
	return o, nil
}
