package cycle

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// lost is a journal that ends with a move of vm1 of which nobody knows the end.
func lost(t *testing.T) *book {
	t.Helper()
	b := newBook()
	rec := engine.ActionRecord{
		Action: engine.Action{ID: "c0-1", Kind: engine.Move, VM: "vm1", Name: "vm1", From: engine.Place{Host: "v/h0"}, To: engine.Place{Host: "v/h1"}},
		State:  engine.StateLost, Started: 1, Ended: 60, Error: "it is nowhere",
	}
	e, err := engine.NewEntry(0, engine.EntryEnded, rec)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return b
}

// code is that of the hold on the VM in the plan shown last, "" when there is none.
func (r *rig) code() (c engine.HoldCode, detail string) {
	p := r.now()
	for i := range p.Plans {
		for _, h := range p.Plans[i].Holds {
			if h.Subject.ID == "vm1" {
				return h.Code, h.Detail
			}
		}
	}
	return "", ""
}

func TestLostIsQuarantinedUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, lost(t)
		seldom, err := ParseSchedule("@every 30m", nil)
		if err != nil {
			t.Fatal(err)
		}
		// A restart does not forget it, however long it lasts.
		for range 2 {
			r := newRig(t, f, b, engine.Enforce)
			r.Schedule = seldom
			_ = r.with(t, func(ctx context.Context) {
				time.Sleep(26 * time.Hour)
				if c, detail := r.code(); c != engine.HoldQuarantine || !strings.Contains(detail, "c0-1 was lost (it is nowhere)") || !strings.Contains(detail, "heliostat release vm vm1") {
					t.Errorf("held as %s: %s", c, detail)
				}
				if err := r.Release(ctx, "vm", "vm2", "ann", "x"); err == nil || !strings.Contains(err.Error(), `no vm "vm2" is in quarantine`) {
					t.Errorf("release of another: %v", err)
				}
			})
		}
		if len(f.did()) != 0 {
			t.Fatalf("calls: %v", f.did())
		}
		// Released, and stopped before the next cycle: the release is not forgotten.
		r := newRig(t, f, b, engine.Enforce)
		_ = r.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			if err := r.Release(ctx, "vm", "vm1", "ann", "found on h0"); err != nil {
				t.Error(err)
			}
			if err := r.Release(ctx, "vm", "vm1", "ann", "again"); err == nil {
				t.Error("released twice")
			}
		})
		var said engine.OperatorRecord
		for e := range b.Entries(1) {
			if e.Kind == engine.EntryOperator {
				if err := json.Unmarshal(e.Data, &said); err != nil {
					t.Fatal(err)
				}
			}
		}
		if said.Op != "release" || said.Who != "ann" || said.Reason != "found on h0" || said.Subject.String() != "vm vm1" {
			t.Errorf("journaled: %+v", said)
		}
		if len(f.did()) != 0 {
			t.Fatalf("calls before the next cycle: %v", f.did())
		}
		r = newRig(t, f, b, engine.Enforce)
		_ = r.with(t, func(context.Context) { time.Sleep(10 * time.Minute) })
		if got := fmt.Sprint(f.did()); got != "[move enter_maintenance]" {
			t.Errorf("calls after the release: %s", got)
		}
		if m, err := Remember(b); err != nil || len(m.History.Quarantine) != 0 || len(m.released) != 0 {
			t.Errorf("remembered: %+v, %v, %v", m.History.Quarantine, m.released, err)
		}
		replayAll(t, b)
	})
}

func TestReleaseIsNoResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := &fleet{host: "v/h0"}, lost(t)
		r := newRig(t, f, b, engine.Enforce)
		_ = r.with(t, func(ctx context.Context) {
			time.Sleep(time.Second)
			if err := r.Pause(ctx, "ann", "month end"); err != nil {
				t.Error(err)
			}
			if err := r.Release(ctx, "vm", "vm1", "bob", "seen"); err != nil {
				t.Error(err)
			}
		})
		if m, err := Remember(b); err != nil || m.Paused == nil || m.Paused.Who != "ann" {
			t.Errorf("remembered as paused: %+v, %v", m.Paused, err)
		}
	})
}
