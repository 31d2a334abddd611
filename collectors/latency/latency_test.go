package latency_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/collectors/latency"
	"heliostat/engine"
)

// network answers each dial after a delay, or not at all.
type network struct {
	delays []time.Duration // taken in turn; 0 refuses
	n      int
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d := n.delays[n.n%len(n.delays)]
	n.n++
	if d == 0 {
		return nil, errors.New("connection refused")
	}
	select {
	case <-time.After(d):
		a, b := net.Pipe()
		_ = b.Close()
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestObserve(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		n := &network{delays: []time.Duration{30 * ms, 20 * ms, 0, 900 * ms, 25 * ms}}
		src := &latency.Source{
			Targets: []latency.Target{{A: "west", B: "east", Address: "192.0.2.1:443"}},
			Config:  latency.DefaultConfig(), Dial: n.dial,
		}
		observe := func() engine.Observation {
			t.Helper()
			o, err := src.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		// Of 20, 25, 30 and 900 ms the upper median; neither the outlier nor the refusal matters.
		o := observe()
		first := o.Links[0]
		if first.RTTMicros != 30_000 || len(o.Gaps) != 0 || first.Mbps != engine.Unknown || first.Source != "tcp 192.0.2.1:443" {
			t.Errorf("got %+v, %v", first, o.Gaps)
		}
		n.delays = []time.Duration{0, 0, 20 * ms}
		for i := range 4 {
			time.Sleep(time.Minute) // virtual
			o = observe()
			known := i < 2 // unknown after the third failure
			if l := o.Links[0]; (l.RTTMicros == 30_000) != known || (l.At == first.At) != known || (l.RTTMicros == engine.Unknown) == known {
				t.Errorf("failure %d: %+v", i+1, l)
			}
			if g := o.Gaps; len(g) != 1 || g[0].Subject != (engine.Subject{Kind: "link", ID: "east west"}) {
				t.Errorf("failure %d: %v", i+1, g)
			}
		}
		// A peer that never answers takes the deadline and no longer.
		n.delays = []time.Duration{time.Hour}
		start := time.Now()
		observe()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		n.delays = []time.Duration{40 * ms}
		if o = observe(); o.Links[0].RTTMicros != 40_000 || len(o.Gaps) != 0 {
			t.Errorf("after recovery: %+v, %v", o.Links[0], o.Gaps)
		}
	})
}

// One real connection, so that the default dialer is known to work.
func TestObserveTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	src := &latency.Source{Targets: []latency.Target{{A: "a", B: "b", Address: l.Addr().String()}}, Config: latency.DefaultConfig()}
	o, err := src.Observe(t.Context())
	if err != nil || o.Links[0].RTTMicros == engine.Unknown || len(o.Gaps) != 0 {
		t.Errorf("got %+v, %v", o, err)
	}
}
