package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/store"
	"heliostat/vsphere"
	"heliostat/vsphere/actuator"
)

// A point is where a process crashes.
type point int

// The points, in the order in which an action passes them.
const (
	never point = iota
	beforeIntent
	afterIntent // and before the call
	atCall      // the call arrives as the caller dies
	beforeTask  // after the call was answered
	afterTask
	beforeEnd
	afterEnd
	points
)

var pointNames = [...]string{"never", "before_intent", "after_intent", "at_call", "before_task", "after_task", "before_end", "after_end"}

var errDead = errors.New("this process is dead")

// A process is the daemon's: its journal, its connections, and its death. After
// that nothing of it reaches the journal or the network. What it has sent before
// still arrives.
type process struct {
	world   *world
	journal *store.Journal
	cancel  context.CancelFunc

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
	point point
	left  int // how often the point is yet to be passed
}

// hit tells that the point was reached, and whether the process is dead.
func (p *process) hit(at point) bool {
	if at == p.point && time.Now().Before(p.world.quiet) {
		p.mu.Lock()
		p.left--
		die := p.left == 0
		p.mu.Unlock()
		if die {
			p.kill()
		}
	}
	return p.isDead()
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// kill is kill -9: the kernel closes the connections, and that is all.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	p.cancel()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if p.isDead() {
		return nil, errDead
	}
	c, err := p.world.lab.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil, errors.Join(errDead, c.Close())
	}
	p.conns = append(p.conns, c)
	return c, nil
}

// Append implements [execute.Journal]. The executors write one entry at a time.
func (p *process) Append(ctx context.Context, entries ...engine.Entry) error {
	before, after := beforeIntent, afterIntent
	switch entries[0].Kind {
	case engine.EntryTask:
		before, after = beforeTask, afterTask
	case engine.EntryEnded:
		before, after = beforeEnd, afterEnd
	default:
	}
	if p.hit(before) {
		return errDead
	}
	if err := p.journal.Append(ctx, entries...); err != nil {
		return err
	}
	if p.hit(after) {
		return errDead
	}
	return nil
}

func (w *world) actuator(ctx context.Context, p *process) (*actuator.Actuator, error) {
	return actuator.New(ctx, w.vcenters, actuator.Options{Session: vsphere.Options{DialContext: p.dial, Password: w.password}})
}

func (w *world) log() *slog.Logger {
	if tracing() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// serve is the daemon: the executor, and a loop that offers what is left to do.
func (w *world) serve(ctx context.Context, p *process) error {
	act, err := w.actuator(ctx, p)
	if err != nil {
		return err
	}
	defer func() {
		p.cancel()
		_ = act.Close() // what a dead process has to say nobody hears
	}()
	open, err := p.journal.OpenActions()
	if err != nil {
		return err
	}
	e := execute.New(act, p, engine.DefaultLimits(), w.log())
	e.Recover(ctx, open, nil)
	tick := time.NewTicker(cycleEvery)
	defer tick.Stop()
	for {
		select {
		case r := <-e.Reports():
			if err := e.Handle(ctx, r); err != nil {
				return err
			}
		case <-tick.C:
			if w.finished(e.Open()) {
				return nil
			}
			e.Observe(&engine.Snapshot{})
			e.Offer(ctx, "enforce", w.plan(e.Open()))
		case <-ctx.Done():
			return nil
		}
	}
}
