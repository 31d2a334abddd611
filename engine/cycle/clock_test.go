package cycle

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// What was noted while the clock was ahead holds no longer than if it had happened now,
// and the journal has what the plans were made from.
func TestClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := calm(), newBook()
		ahead := engine.At(time.Now()) + 365*day
		h := &engine.History{
			At: ahead, VMs: []engine.VMHistory{{ID: "vm1", MovedAt: ahead, Moves: 1, LeftHost: "v/h1", FailedAt: ahead, Failures: 1, ForeignAt: ahead}},
			Hosts: []engine.HostHistory{{ID: "v/h0", ChangeAt: ahead, FailedAt: ahead, SameSince: ahead, LowSince: ahead}},
			Spent: []engine.Spend{{At: ahead}},
			Rails: engine.RailState{
				Breakers: []engine.Breaker{{VCenter: "v", Until: ahead, Why: "failures"}}, Starts: []engine.Start{{ID: "c0-1", At: ahead, From: engine.Place{Host: "v/h0"}}},
				Away: []engine.Away{{VM: "vm1", Site: "a", At: ahead}},
			},
		}
		if c := (&engine.History{Census: []engine.Census{{At: ahead, Doubts: []engine.Doubt{{Since: ahead}}}}}).Until(ahead - day).Census[0]; c.At != ahead-day || c.Doubts[0].Since != ahead-day {
			t.Errorf("census: %+v", c)
		}
		before := fmt.Sprint(h)
		wish := func(d *engine.Decision) {
			d.Voices[0].Rule = engine.RulePrefer
			d.Prefers = []engine.Prefer{{VM: 0, To: engine.Subject{Kind: "host", ID: "v/h2"}, MicroEUR: 10_000_000}}
		}
		rails := quick()
		rails.BreakerRest = 10 * time.Minute
		s := newScene(t, x, b, rails, wish)
		s.Sanity, s.Config.CooldownS, s.Config.FailureS = engine.Sanity{}, 600, 600
		s.Restore(t.Context(), Memory{History: h, rejected: map[string]time.Time{"x": ahead.Time()}})
		_ = s.with(t, func(context.Context) {
			time.Sleep(time.Second)
			got, now := s.now().History, engine.At(time.Now())
			for _, at := range []engine.Unix{
				got.VM("vm1").MovedAt, got.VM("vm1").FailedAt, got.VM("vm1").ForeignAt, got.Host("v/h0").ChangeAt, got.Host("v/h0").FailedAt, got.Host("v/h0").SameSince,
				got.Spent[0].At, got.Rails.Starts[0].At, got.Rails.Breakers[0].Until - engine.Unix(rails.BreakerRest/time.Second),
			} {
				if at == 0 || at > now {
					t.Errorf("at %s is noted %s", now, at)
				}
			}
			if s.rejected["x"].After(time.Now().Add(s.ApprovalTTL)) {
				t.Error("a rejection holds until the clock comes there")
			}
			time.Sleep(25 * time.Minute)
			if n := len(x.made()); n == 0 {
				t.Errorf("the VM does not move: %s", s.now().Plans[0].Holds)
			}
		})
		if fmt.Sprint(h) != before {
			t.Error("the history that was read is changed")
		}
		replayAll(t, b)
	})
}
