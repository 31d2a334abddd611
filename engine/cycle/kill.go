package cycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"heliostat/engine"
)

// killEvery is how often the kill file is looked for.
const killEvery = 500 * time.Millisecond

// Who pauses when no person gave an order.
const (
	killWho = "kill file"
	stopWho = "vCenter"
)

// killed says that the kill file is there, or that nobody can tell, which counts
// the same.
func killed(file string) string {
	if file == "" {
		return ""
	}
	_, err := os.Lstat(file)
	switch {
	case err == nil:
		return file + " is there"
	case errors.Is(err, fs.ErrNotExist):
		return ""
	}
	return "cannot tell whether the kill file is there: " + err.Error()
}

// watchKillFile tells the loop when the kill file is there. It has a goroutine of
// its own, so that a file which comes and goes during a long cycle is seen.
func (l *Loop) watchKillFile(ctx context.Context) {
	tick := time.NewTicker(killEvery)
	defer tick.Stop()
	for {
		if l.gate.stopped() != "" {
			select {
			case l.killed <- struct{}{}:
			default: // it knows
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// latch makes of a kill file that was seen a pause like a person's: it lasts over
// restarts, and only a resume ends it.
func (l *Loop) latch(ctx context.Context) error {
	why := l.gate.stopped()
	if why == "" || l.paused != nil {
		return nil
	}
	return l.pause(ctx, engine.OperatorRecord{Op: "pause", Who: killWho, Reason: why})
}

// pause stops starting actions and writes down who wants it so.
func (l *Loop) pause(ctx context.Context, rec engine.OperatorRecord) error {
	l.gate.stop("paused by " + rec.Who + ": " + rec.Reason)
	l.Executor.DropAll()
	l.approved, l.pending = nil, nil
	l.paused = &rec
	l.Log.WarnContext(ctx, "paused", "who", rec.Who, "reason", rec.Reason)
	return l.record(ctx, engine.EntryOperator, rec)
}

// latchStops takes in where someone in vCenter has said stop, and keeps to it from
// this moment on. The history that carries it is journaled with the cycle; a crash
// before that finds the tag again.
func (l *Loop) latchStops(ctx context.Context, s *engine.Snapshot) error {
	old := l.history.Stops
	l.history.Stops = engine.Latch(old, s.Stops())
	l.gate.stopAt(l.history.Stops)
	for _, x := range l.history.Stops {
		if slices.ContainsFunc(old, func(o engine.Stop) bool { return o.Subject == x.Subject }) {
			continue
		}
		l.Log.WarnContext(ctx, "stopped in vCenter", "subject", x.Subject.String(), "name", x.Name, "reason", x.Reason)
		if err := l.record(ctx, engine.EntryOperator, engine.OperatorRecord{Op: "stop", Who: stopWho, Reason: x.Reason, Subject: x.Subject}); err != nil {
			return err
		}
	}
	return nil
}

// unstop ends the stops that nothing in vCenter asks for any more, as it was seen
// last. The others stay; it is an error when there is nothing else to resume.
func (l *Loop) unstop() (stay []engine.Stop, err error) {
	stay = l.history.Stops
	s := l.shown.Snapshot
	if s == nil || len(stay) == 0 {
		return stay, nil // not looked at yet
	}
	seen := s.Stops()
	stay = slices.DeleteFunc(slices.Clone(stay), func(x engine.Stop) bool {
		return inSight(s, x.Subject) && !slices.ContainsFunc(seen, func(o engine.Stop) bool { return o.Subject == x.Subject })
	})
	if len(stay) == len(l.history.Stops) && l.paused == nil {
		return stay, fmt.Errorf("%s, as far as was seen at %s: remove it first", stay[0].Reason, s.At)
	}
	return stay, nil
}

// inSight reports whether a vCenter or cluster was seen: what was not may still be
// stopped.
func inSight(s *engine.Snapshot, place engine.Subject) (ok bool) {
	if place.Kind == "cluster" {
		_, ok = s.FindCluster(engine.ClusterID(place.ID))
	} else {
		_, ok = s.FindVCenter(engine.VCenterID(place.ID))
	}
	return ok
}

// frozenBy lays the stops over what the policies said: a freeze of each cluster
// concerned, which nothing passes.
func frozenBy(d *engine.Decision, s *engine.Snapshot, stops []engine.Stop) *engine.Decision {
	if len(stops) == 0 {
		return d
	}
	said := speak(d)
	for i := range stops {
		x := &stops[i]
		by := said.by(engine.Voice{Policy: operator, Rule: engine.RuleFreeze, Mode: engine.Enforce}, x.Reason+", until it is removed and 'heliostat resume'")
		for c := range s.Clusters {
			if k := &s.Clusters[c]; x.Subject.ID == string(k.ID) || (x.Subject.Kind == "vcenter" && x.Subject.ID == string(s.VCenters[k.VCenter].ID)) {
				said.Freezes = append(said.Freezes, engine.Freeze{Place: engine.Subject{Kind: "cluster", ID: string(k.ID)}, By: by})
			}
		}
	}
	return said.Decision
}
