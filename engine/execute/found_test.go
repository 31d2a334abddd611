package execute

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// What runs with faults (bench/protocol) have found, each by itself.

// blind is a world that cannot be looked at for a while once a task has ended.
type blind struct {
	*world
	away time.Duration
	once sync.Once
	till time.Time
}

func (b *blind) Wait(ctx context.Context, task string, progress func(int32)) (Task, error) {
	t, err := b.world.Wait(ctx, task, progress)
	b.once.Do(func() { b.till = time.Now().Add(b.away) })
	return t, err
}

func (b *blind) Look(ctx context.Context, a *engine.Action) (Sight, error) {
	if time.Now().Before(b.till) {
		return Sight{}, errLost
	}
	return b.world.Look(ctx, a)
}

// A vCenter that does not answer after a task has ended does not make the action
// lost: one look that took longer than the patience was enough for that.
func TestBlindAfterTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		e := start(t.Context(), w, m)
		e.act = &blind{world: w, away: time.Hour}
		w.host["vm1"] = "va/h1"
		e.Offer(t.Context(), "enforce", &engine.Plan{Actions: []engine.Action{move(1, "vm1")}})
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if _, _, last := m.records(t); last.State != engine.StateSucceeded {
			t.Errorf("ended %s: %s", last.State, last.Error)
		}
	})
}

// relogged is a world whose session is another one by the time of the call, and
// in which every call arrives late unless its session has ended.
type relogged struct {
	*world
	logins int
}

func (r *relogged) Session(context.Context, *engine.Action) (string, engine.Unix, error) {
	r.logins++
	return fmt.Sprintf("s%d", r.logins), engine.At(time.Now()), nil
}

func (r *relogged) Submit(ctx context.Context, session string, a *engine.Action) (string, error) {
	r.logins++ // somebody else's lost answer has ended the session meanwhile
	if now := fmt.Sprintf("s%d", r.logins); session != "" && session != now {
		return "", fmt.Errorf("session %s: %w", session, ErrRejected)
	}
	go func() {
		time.Sleep(2 * Settle)
		r.begin(a)
	}()
	return "", errors.Join(errLost, ctx.Err())
}

// A call goes out with the session that its intent names: the end of another one
// would not stop it, and it would take effect after the action was given up.
func TestCallKeepsToItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		e := start(t.Context(), w, m)
		e.act = &relogged{world: w}
		w.host["vm1"] = "va/h1"
		e.Offer(t.Context(), "enforce", &engine.Plan{Actions: []engine.Action{move(1, "vm1")}})
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, _, last := m.records(t); last.State != engine.StateRejected || w.starts["vm1"] != 0 {
			t.Errorf("ended %s after %d starts", last.State, w.starts["vm1"])
		}
	})
}

// glimpse is a world in which a task goes out of sight once, and the look after
// that misses that it runs.
type glimpse struct {
	*world
	waited, looked sync.Once
	missed         bool
}

func (g *glimpse) Wait(ctx context.Context, task string, progress func(int32)) (t Task, err error) {
	err = errLost
	first := false
	g.waited.Do(func() { first, g.missed = true, true })
	if first {
		return t, err
	}
	return g.world.Wait(ctx, task, progress)
}

func (g *glimpse) Look(ctx context.Context, a *engine.Action) (Sight, error) {
	s, err := g.world.Look(ctx, a)
	if g.missed {
		g.looked.Do(func() { s = Sight{Exists: true, Source: true} })
	}
	return s, err
}

// A task that runs has not failed, although one look saw nothing run: the host
// was on its way up, and its action was journaled as failed.
func TestTaskMissedByOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(), &memory{}
		e := start(t.Context(), w, m)
		e.act = &glimpse{world: w}
		w.host["vm1"] = "va/h1"
		e.Offer(t.Context(), "enforce", &engine.Plan{Actions: []engine.Action{move(1, "vm1")}})
		if err := drive(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if _, _, last := m.records(t); last.State != engine.StateSucceeded {
			t.Errorf("ended %s: %s", last.State, last.Error)
		}
	})
}
