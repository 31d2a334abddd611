package cycle

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
)

// killByTag: a tag on a cluster stops it at the next look, over a restart and after
// it is gone, until a person resumes.
func killByTag(t *testing.T) {
	town, b := calm(), newBook()
	why := "tag heliostat:stop on /dc/host/c"
	tag := func(s *engine.Snapshot) { s.Clusters[0].Stop = why }
	x := newScene(t, town, b, quick(), func(*engine.Decision) {})
	_ = x.with(t, func(ctx context.Context) {
		time.Sleep(time.Second)
		p := load(200, "v", engine.Subject{})
		for i := range p.Actions {
			p.Actions[i].From.Cluster, p.Actions[i].To.Cluster = "v/c", "v/c"
		}
		x.offer(ctx, t, "load", p)
		time.Sleep(5 * time.Second)
		town.see(tag)
		x.Poke("look")
		time.Sleep(6 * time.Second) // the least time between two cycles
		before := len(town.made())
		time.Sleep(5 * time.Minute)
		if n := len(town.made()); n != before || n < 20 || n > 150 {
			t.Errorf("%d of 200 calls, %d after the tag was seen", n, n-before)
		}
		if err := x.Resume(ctx, "ann"); err == nil || !strings.Contains(err.Error(), why+", as far as was seen at ") {
			t.Errorf("resumed under the tag: %v", err)
		}
	})
	town.see(nil)
	before := len(town.made())
	x = newScene(t, town, b, Rails{}, drain) // another configuration, too
	_ = x.with(t, func(ctx context.Context) {
		time.Sleep(5 * time.Minute)
		if h := x.held(engine.HoldPaused); !strings.Contains(h, "c: start actions held: "+why+", since ") || len(town.made()) != before {
			t.Errorf("%d calls after a restart, held: %s", len(town.made())-before, h)
		}
		if h := x.held(engine.HoldFrozen); !strings.Contains(h, "operator.freeze: "+why) {
			t.Errorf("the plan holds: %s", h)
		}
		if err := x.Resume(ctx, "ann"); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Minute)
		if len(town.made()) == before {
			t.Error("nothing is done after the resume")
		}
	})
	var said engine.OperatorRecord
	for e := range b.Entries(1) {
		if e.Kind == engine.EntryOperator && said.Op == "" {
			if err := json.Unmarshal(e.Data, &said); err != nil {
				t.Fatal(err)
			}
		}
	}
	if said.Op != "stop" || said.Who != stopWho || said.Reason != why || said.Subject.String() != "cluster v/c" {
		t.Errorf("journaled: %+v", said)
	}
	replayAll(t, b)
}

// killByOrder: the socket and the command line give the same order. Within a second
// nothing is called any more.
func killByOrder(t *testing.T) {
	x := newScene(t, calm(), newBook(), quick(), func(*engine.Decision) {})
	var at time.Time
	_ = x.with(t, func(ctx context.Context) {
		time.Sleep(time.Second)
		x.offer(ctx, t, "load", load(200, "v", engine.Subject{}))
		time.Sleep(5 * time.Second)
		at = time.Now()
		if err := x.Pause(ctx, "ann", "smoke in hall 2"); err != nil {
			t.Error(err)
		}
		x.said.now(drain)
		time.Sleep(5 * time.Minute)
		if h := x.held(engine.HoldPaused); !strings.Contains(h, "paused: smoke in hall 2") {
			t.Errorf("held: %s", h)
		}
	})
	made := x.town.made()
	if n := len(made); n < 20 || n > 100 || made[n-1].After(at.Add(time.Second)) {
		t.Errorf("%d of 200 calls, the last %v after the order", n, made[n-1].Sub(at))
	}
}

// TestResumeKeepsWhatIsOutOfSight: a stop is not lifted where nobody can see whether
// it is still asked for, nor before the first look.
func TestResumeKeepsWhatIsOutOfSight(t *testing.T) {
	stop := engine.Stop{Subject: engine.Subject{Kind: "vcenter", ID: "v"}, Reason: "tag"}
	for name, c := range map[string]struct {
		s    *engine.Snapshot
		stay int
		err  bool
	}{
		"before the first look": {nil, 1, false},
		"out of sight":          {&engine.Snapshot{}, 1, true},
		"still tagged":          {&engine.Snapshot{VCenters: []engine.VCenter{{ID: "v", Stop: "tag"}}}, 1, true},
		"gone":                  {&engine.Snapshot{VCenters: []engine.VCenter{{ID: "v"}}}, 0, false},
	} {
		l := &Loop{history: &engine.History{Stops: []engine.Stop{stop}}, shown: Published{Snapshot: c.s}}
		if stay, err := l.unstop(); len(stay) != c.stay || (err != nil) != c.err {
			t.Errorf("%s: %v, %v", name, stay, err)
		}
	}
}
