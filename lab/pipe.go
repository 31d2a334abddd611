package lab

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// newPipe makes both ends of an in-memory connection. Unlike net.Pipe's, its
// writes never wait for the reader: two ends that close a TLS connection at
// once would otherwise each wait for the other to read its farewell.
func newPipe(name string) (client, server net.Conn) {
	a, b := newHalf(), newHalf()
	return &conn{name: name, in: a, out: b, deadline: newDeadline()}, &conn{name: name, in: b, out: a, deadline: newDeadline()}
}

// A half is what flows in one direction.
type half struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	closed bool
	wake   chan struct{} // holds a token when there is something new for the one reader
}

func newHalf() *half { return &half{wake: make(chan struct{}, 1)} }

func (h *half) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *half) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.poke()
}

type conn struct {
	name     string
	in, out  *half
	deadline *deadline
}

// Read waits for data, the other end's close, or the deadline.
func (c *conn) Read(b []byte) (int, error) {
	for {
		expired := c.deadline.passed()
		select {
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		c.in.mu.Lock()
		n, closed := 0, c.in.closed
		if c.in.buf.Len() > 0 {
			n, _ = c.in.buf.Read(b) // a buffer that is not empty has no error
		}
		c.in.mu.Unlock()
		switch {
		case n > 0 || len(b) == 0:
			return n, nil
		case closed:
			return 0, io.EOF
		}
		select {
		case <-c.in.wake:
		case <-expired:
		}
	}
}

// Write never waits.
func (c *conn) Write(b []byte) (int, error) {
	c.out.mu.Lock()
	if c.out.closed {
		c.out.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	n, _ := c.out.buf.Write(b) // a buffer's Write has no error
	c.out.mu.Unlock()
	c.out.poke()
	return n, nil
}

// Close ends both directions.
func (c *conn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *conn) LocalAddr() net.Addr              { return pipeAddr(c.name) }
func (c *conn) RemoteAddr() net.Addr             { return pipeAddr(c.name) }
func (c *conn) SetWriteDeadline(time.Time) error { return nil } // writes do not wait

func (c *conn) SetReadDeadline(t time.Time) error {
	c.deadline.set(t)
	return nil
}

func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// A deadline closes its channel when its time has come, and gets a new one when
// it is put off.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	turn  int // of the last set: a timer of an earlier one has no say
	done  chan struct{}
}

func newDeadline() *deadline { return &deadline{done: make(chan struct{})} }

func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.turn++
	turn := d.turn
	select {
	case <-d.done:
		d.done = make(chan struct{})
	default:
	}
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(d.done)
	default:
		d.timer = time.AfterFunc(wait, func() { d.expire(turn) })
	}
}

// expire closes the channel unless the deadline has been set anew meanwhile.
func (d *deadline) expire(turn int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.turn == turn {
		close(d.done)
	}
}

// A pipeListener accepts the server ends of in-memory connections.
type pipeListener struct {
	name  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipeListener) Addr() net.Addr { return pipeAddr(p.name) }

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) + ".lab" }
