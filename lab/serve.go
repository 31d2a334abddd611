package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Serve listens with TLS, one port a vCenter counting up from addr's (0 takes
// free ones), and plays the lab until ctx ends. It returns once it listens.
func (l *Lab) Serve(ctx context.Context, addr string) error {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", addr, err)
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", addr, err)
	}
	var listeners []net.Listener
	for i, v := range l.vcs {
		p := first
		if p != 0 {
			p += i
		}
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(name, strconv.Itoa(p)))
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return fmt.Errorf("listen for vCenter %s: %w", v.name, err)
		}
		listeners = append(listeners, ln)
		v.url = "https://" + ln.Addr().String() + "/sdk"
	}
	l.run(ctx, listeners)
	return nil
}

// ServePipe serves the vCenters on in-memory connections, which [Lab.Dial]
// makes, and plays the lab until ctx ends. Nothing waits on a socket, so that
// time goes on in a synctest bubble.
func (l *Lab) ServePipe(ctx context.Context) {
	var listeners []net.Listener
	for _, v := range l.vcs {
		v.pipe = &pipeListener{name: v.name, conns: make(chan net.Conn), done: make(chan struct{})}
		listeners = append(listeners, v.pipe)
	}
	l.run(ctx, listeners)
}

// Dial connects to the vCenter that the address names, such as
// frankfurt.lab:443, where the lab is served by ServePipe. TLS is the caller's to add.
func (l *Lab) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	name := addr
	if h, _, err := net.SplitHostPort(addr); err == nil {
		name = h
	}
	for _, v := range l.vcs {
		if v.pipe == nil || strings.TrimSuffix(name, ".lab") != v.name {
			continue
		}
		if v.lost() {
			return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
		}
		client, server := newPipe(v.name)
		select {
		case v.pipe.conns <- server:
			return client, nil
		case <-v.pipe.done:
			return nil, fmt.Errorf("dial %s: %w", addr, net.ErrClosed)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("dial %s: no such vCenter in the lab", addr)
}

// run starts the servers and the player.
func (l *Lab) run(ctx context.Context, listeners []net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	l.stop = append(l.stop, cancel)
	for i, ln := range listeners {
		v := l.vcs[i]
		srv := &http.Server{
			Handler: v, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
			BaseContext: func(net.Listener) context.Context { return ctx },
		}
		l.dialers.Go(func() {
			// Serve always ends with an error: that it was closed.
			_ = srv.Serve(tls.NewListener(gate{ln, v}, &tls.Config{Certificates: []tls.Certificate{v.identity.cert}, MinVersion: tls.VersionTLS12}))
		})
		l.dialers.Go(func() {
			<-ctx.Done()
			_ = srv.Close()
		})
	}
	l.dialers.Go(func() { l.play(ctx) })
}

// A gate is the listener of a vCenter: while that is down, connections are reset.
type gate struct {
	net.Listener
	v *vcenter
}

// Accept waits for a connection that the vCenter takes.
func (g gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || !g.v.lost() {
			return c, err
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a reset instead of a farewell
		}
		_ = c.Close()
	}
}

// maxRequest bounds what a client may send in one call.
const maxRequest = 64 << 20

// ServeHTTP serves one call. All calls of a lab run one at a time, under its
// lock, from the first read of an object to the last byte of the encoded
// answer: the simulator alone has data races. Waiting for updates lets go of
// the lock; reading the request and writing the answer happen outside it.
func (v *vcenter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "read request: "+err.Error(), http.StatusBadRequest)
		return
	}
	call := Call{VCenter: v.name, Path: r.URL.Path, Method: methodOf(body)}
	fault := v.lab.judge(v, call)
	if !fault.before(r.Context(), v.lab.clock, w) {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := v.serve(r)
	if fault.Double {
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer = v.serve(r)
	}
	if !fault.after(r.Context(), v, w, answer) {
		return
	}
	answer.copyTo(w)
}

// serve runs one call under the lab's lock. The simulator's panics end the call, not the lab.
func (v *vcenter) serve(r *http.Request) (a *answer) {
	a = &answer{header: http.Header{}, code: http.StatusOK}
	v.lab.lock()
	defer v.lab.unlock()
	defer func() {
		if p := recover(); p != nil {
			a = &answer{header: http.Header{}, code: http.StatusInternalServerError}
			a.body.WriteString("the simulator failed")
		}
	}()
	v.lab.advance(v.lab.clock.Now())
	v.request = r.Context()
	v.mux.ServeHTTP(a, r)
	v.settle()
	return a
}

// methodOf is the name of the SOAP method in a request, "" when there is none.
func methodOf(body []byte) string {
	_, rest, ok := bytes.Cut(body, []byte("Body>"))
	if !ok {
		return ""
	}
	_, rest, ok = bytes.Cut(rest, []byte("<"))
	if !ok {
		return ""
	}
	end := bytes.IndexAny(rest, " />")
	if end < 0 {
		return ""
	}
	return string(rest[:end])
}

// An answer is a response that is kept until the lock is let go.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
func (a *answer) copyTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	if w.Header().Get("Content-Type") == "" && bytes.HasPrefix(a.body.Bytes(), []byte("<?xml")) {
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	}
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body.Bytes()) // a client that has gone has no use for it
}
