package vsphere

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the simulator's
	os.Exit(m.Run())
}

var account = Account{Username: "user", PasswordFile: "-"}

func password(Account) (Secret, error) { return NewSecret("pass"), nil }

// A server is a simulated vCenter behind TLS, whose calls can be made to go wrong.
type server struct {
	model *simulator.Model
	*httptest.Server
	drop  atomic.Pointer[string] // calls that name this are carried out, and their answers dropped
	calls atomic.Int64           // that named it
}

func newServer(t testing.TB) *server {
	t.Helper()
	m := simulator.VPX()
	m.Machine, m.Host = 2, 0
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	m.Service.Listen = &url.URL{Scheme: "https", Host: "vc.lab", Path: "/sdk", User: url.UserPassword("user", "pass")}
	m.Service.RegisterSDK(m.Map())
	s := &server{model: m}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if name := s.drop.Load(); name != nil && bytes.Contains(body, []byte("<"+*name+" ")) {
		s.calls.Add(1)
		s.model.Service.ServeMux.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	s.model.Service.ServeMux.ServeHTTP(w, r)
}

func (s *server) config() Config {
	return Config{Name: "vc", URL: s.URL, Reader: &account, Thumbprint: Thumbprint(s.Certificate())}
}

func (s *server) dial(t testing.TB, cfg Config) *Session {
	t.Helper()
	out, err := Dial(t.Context(), cfg, cfg.Reader, Options{Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	return out
}

func conn(t testing.TB, s *Session) *Conn {
	t.Helper()
	c, err := s.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTrust(t *testing.T) {
	srv := newServer(t)
	if c := conn(t, srv.dial(t, srv.config())); c.Key == "" || c.VCenter == "" || c.Gen != 1 {
		t.Errorf("conn: key %q, vCenter %q, generation %d", c.Key, c.VCenter, c.Gen)
	}
	ca := t.TempDir() + "/ca.pem"
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		ok     bool
	}{
		"wrong pin":   {func(c *Config) { c.Thumbprint = strings.Repeat("00", 32) }, false},
		"no trust":    {func(c *Config) { c.Thumbprint = "" }, false},
		"authorities": {func(c *Config) { c.Thumbprint, c.CAFile = "", ca }, true},
		"insecure":    {func(c *Config) { c.Thumbprint, c.Insecure = "", true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := srv.config()
			tc.change(&cfg)
			s, err := Dial(t.Context(), cfg, cfg.Reader, Options{Password: password})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Conn(t.Context())
			if (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
			if name == "wrong pin" && !errors.Is(err, ErrPin) {
				t.Errorf("%v is not ErrPin", err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestLostSession(t *testing.T) {
	srv := newServer(t)
	s := srv.dial(t, srv.config())
	old := conn(t, s)
	other := conn(t, srv.dial(t, srv.config()))
	if _, err := methods.TerminateSession(t.Context(), other, &types.TerminateSession{This: *other.ServiceContent.SessionManager, SessionId: []string{old.Key}}); err != nil {
		t.Fatal(err)
	}
	if _, err := old.ContainerView(t.Context(), "VirtualMachine"); !IsNotAuthenticated(err) {
		t.Fatalf("got %v, want NotAuthenticated", err)
	}
	fresh := conn(t, s)
	if fresh.Gen != old.Gen+1 || fresh.Key == old.Key {
		t.Errorf("generation %d with key %q after generation %d with %q", fresh.Gen, fresh.Key, old.Gen, old.Key)
	}
	old.Drop() // a late report about the old login does not touch the new one
	if again := conn(t, s); again != fresh {
		t.Error("a stale drop ended the new login")
	}
}

// TestRetry is the point of telling reads from the rest: an answer that is lost
// is asked for again only where asking changes nothing.
func TestRetry(t *testing.T) {
	srv := newServer(t)
	c := conn(t, srv.dial(t, srv.config()))
	vm := srv.model.Map().Any("VirtualMachine").Reference()
	for name, tc := range map[string]struct {
		call func(context.Context) error
		want int64
	}{
		"RetrievePropertiesEx": {func(ctx context.Context) error {
			return c.Retrieve(ctx, Objects("VirtualMachine", []types.ManagedObjectReference{vm}, "name"), func([]types.ObjectContent) error { return nil })
		}, 2},
		"RelocateVM_Task": {func(ctx context.Context) error {
			_, err := methods.RelocateVM_Task(ctx, c, &types.RelocateVM_Task{This: vm})
			return err
		}, 1},
		"PowerOffVM_Task": {func(ctx context.Context) error {
			_, err := methods.PowerOffVM_Task(ctx, c, &types.PowerOffVM_Task{This: vm})
			return err
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			srv.calls.Store(0)
			srv.drop.Store(&name)
			defer srv.drop.Store(nil)
			err := tc.call(t.Context())
			if err == nil || Answered(err) {
				t.Errorf("got %v, want an error of the connection", err)
			}
			if n := srv.calls.Load(); n != tc.want {
				t.Errorf("sent %d times, want %d", n, tc.want)
			}
		})
	}
}

func TestRetrievePages(t *testing.T) {
	srv := newServer(t)
	c := conn(t, srv.dial(t, srv.config()))
	view, err := c.ContainerView(t.Context(), "VirtualMachine")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	spec := Viewed(view, types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"name"}})
	if err := c.Retrieve(t.Context(), spec, func(o []types.ObjectContent) error { n += len(o); return nil }); err != nil || n != 2 {
		t.Errorf("%d objects, %v", n, err)
	}
	gone := types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-none"}
	n = 0
	if err := c.Retrieve(t.Context(), Objects("VirtualMachine", []types.ManagedObjectReference{gone}, "name"), func(o []types.ObjectContent) error { n += len(o); return nil }); err != nil || n != 0 {
		t.Errorf("of an object that is gone: %d objects, %v", n, err)
	}
}

// TestBubble runs session, keepalive, a long poll and the farewell in virtual
// time, over connections in memory with TLS. The bubble itself checks that no
// goroutine is left.
func TestBubble(t *testing.T) {
	cert := newServer(t).TLS.Certificates[0]
	synctest.Test(t, func(t *testing.T) {
		m := simulator.VPX()
		m.Machine, m.Host = 1, 0
		if err := m.Create(); err != nil {
			t.Fatal(err)
		}
		defer m.Remove()
		m.Service.Listen = &url.URL{Scheme: "https", Host: "vc.lab", Path: "/sdk", User: url.UserPassword("user", "pass")}
		m.Service.RegisterSDK(m.Map())
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{Handler: m.Service.ServeMux, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})) }()
		defer func() { _ = srv.Close() }()

		cfg := Config{Name: "vc", URL: "https://vc.lab", Reader: &account, Thumbprint: Thumbprint(cert.Leaf)}
		s, err := Dial(t.Context(), cfg, cfg.Reader, Options{Password: password, DialContext: l.dial})
		if err != nil {
			t.Fatal(err)
		}
		c := conn(t, s)
		view, err := c.ContainerView(t.Context(), "VirtualMachine")
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.Watch(t.Context(), Viewed(view, types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"name"}}))
		if err != nil {
			t.Fatal(err)
		}
		if first, more, err := w.Next(t.Context()); err != nil || more || len(first) != 1 {
			t.Fatalf("first: %v %t %v", first, more, err)
		}
		start := time.Now()
		if idle, _, err := w.Next(t.Context()); err != nil || len(idle) != 0 || time.Since(start) < maxWait*time.Second {
			t.Fatalf("idle: %v %v after %v", idle, err, time.Since(start))
		}
		time.Sleep(time.Hour)
		if c2, err := s.Live(t.Context()); err != nil || c2 != c {
			t.Errorf("after an hour: %v", err)
		}
		if err := errors.Join(w.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		if _, err := s.Conn(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// pipes is a network in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }
