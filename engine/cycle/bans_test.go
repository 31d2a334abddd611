package cycle

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// ban is what an account at the vCenter v lacks.
func ban(scope BanScope) func() []Ban {
	return func() []Ban {
		return []Ban{{engine.Hold{Subject: engine.Subject{Kind: "vcenter", ID: "v"}, Name: "v", Code: engine.HoldPrivilege, Want: "start actions", Detail: "not granted"}, scope}}
	}
}

// What an account may not do is not started, is shown, and tells the planner.
func TestBansHoldWhatTheyCover(t *testing.T) {
	for scope, want := range map[BanScope]int{BanNone: 3, BanHosts: 3, BanAll: 0} {
		synctest.Test(t, func(t *testing.T) {
			c, b := &crowd{fleet: fleet{host: "v/h0"}}, newBook()
			r := railed(t, c, b, Rails{}, "")
			r.gate.bans = ban(scope)
			_ = r.with(t, func(ctx context.Context) {
				time.Sleep(time.Second)
				r.offer(ctx, t, "load", load(3, "v", engine.Subject{}))
				time.Sleep(5 * time.Minute)
			})
			if n := len(c.made()); n != want {
				t.Errorf("scope %d: %d of 3 moves were called, want %d", scope, n, want)
			}
			if h := r.now().Rails; len(h) != 1 || h[0].Code != engine.HoldPrivilege {
				t.Errorf("scope %d: shown %+v", scope, h)
			}
			in := lastInput(t, b)
			if (len(in.Broken) == 1) != (scope == BanAll) || (len(in.KeepHosts) == 1) != (scope == BanHosts) {
				t.Errorf("scope %d: the planner hears of %+v, %+v", scope, in.Broken, in.KeepHosts)
			}
		})
	}
}

func TestBanOfHostsLetsMovesPass(t *testing.T) {
	g := &gate{bans: ban(BanHosts)}
	at := engine.Place{VCenter: "v", Host: "v/h0"}
	for kind, want := range map[engine.ActionKind]string{engine.Move: "", engine.Standby: "vCenter v: not granted", engine.Wakeup: "vCenter v: not granted"} {
		if got := g.Stopped(&engine.Action{Kind: kind, From: at}); got != want {
			t.Errorf("%v: %q, want %q", kind, got, want)
		}
	}
}
