package vsphere

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// ErrNoAccount means that no account is configured for what was asked.
var ErrNoAccount = errors.New("no account is configured")

// Defaults of [Options].
const (
	// DefaultCallTimeout is far above what a page of a large inventory takes
	// (seconds), and below the age at which observations become stale.
	DefaultCallTimeout = 2 * time.Minute
	// DefaultKeepAlive is below vCenter's idle expiry, 30 minutes by default
	// (vpxd.httpClientIdleTimeout).
	DefaultKeepAlive = 10 * time.Minute
	// logoutTimeout bounds the farewell: the server forgets the session anyway.
	logoutTimeout = 5 * time.Second
)

// Options are what a session takes from its surroundings. The zero value is useful.
type Options struct {
	// DialContext replaces the network, in tests and in the headless demo.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Password reads an account's password; ReadPassword when nil.
	Password    func(Account) (Secret, error)
	UserAgent   string
	CallTimeout time.Duration // for each call; 0 for DefaultCallTimeout
	KeepAlive   time.Duration // between signs of life; 0 for DefaultKeepAlive
	Logger      *slog.Logger
}

// A Session is one account at one vCenter. It logs in when first used and again
// after vCenter has forgotten it. All methods are safe for concurrent use.
type Session struct {
	cfg      Config
	account  Account
	opts     Options
	url      *url.URL
	log      *slog.Logger
	leaf     atomic.Pointer[x509.Certificate] // as last verified
	stop     context.CancelFunc
	idle     sync.WaitGroup
	lock     chan struct{} // holds the right to log in; a channel so that waiting honours ctx
	mu       sync.Mutex
	conn     *Conn // nil: not logged in
	gen      uint64
	lastUsed time.Time // when a call last succeeded
	closed   bool
}

// A Conn is a session as it was logged in once. It stays usable until the
// vCenter forgets the session; then every call fails with NotAuthenticated, and
// Session.Conn gives another one, of a later generation.
type Conn struct {
	*vim25.Client

	Gen     uint64 // grows with every login
	Key     string // of the session at the vCenter
	User    string // as the vCenter names it, such as VSPHERE.LOCAL\Administrator
	VCenter engine.VCenterID
	Version string // of the API, such as 8.0.3.0
	session *Session
}

// Dial prepares a session; nothing is sent until it is used. ctx bounds the
// session's whole life: when it ends, so do the keepalive and all calls that
// wait to log in. Close it all the same, to log out.
func Dial(ctx context.Context, cfg Config, account *Account, opts Options) (*Session, error) {
	if account == nil {
		return nil, fmt.Errorf("dial vCenter %s: %w", cfg.Name, ErrNoAccount)
	}
	u, err := cfg.parse()
	if err != nil {
		return nil, fmt.Errorf("dial vCenter %s: url: %w", cfg.Name, err)
	}
	if _, err := tlsConfig(&cfg, func(*x509.Certificate) {}); err != nil {
		return nil, fmt.Errorf("dial vCenter %s: %w", cfg.Name, err)
	}
	if opts.Password == nil {
		opts.Password = ReadPassword
	}
	opts.CallTimeout = cmp.Or(opts.CallTimeout, DefaultCallTimeout)
	opts.KeepAlive = cmp.Or(opts.KeepAlive, DefaultKeepAlive)
	opts.UserAgent = cmp.Or(opts.UserAgent, "heliostat")
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Session{cfg: cfg, account: *account, opts: opts, url: u, lock: make(chan struct{}, 1), log: log.With("vcenter", cfg.Name, "user", account.Username)}
	ctx, s.stop = context.WithCancel(ctx)
	s.idle.Go(func() { s.keepAlive(ctx) })
	return s, nil
}

// Name is the configuration's name of the vCenter.
func (s *Session) Name() string { return s.cfg.Name }

// URL is where the vCenter answers.
func (s *Session) URL() string { return s.url.String() }

// Certificate is the server's certificate as last verified, nil before the first call.
func (s *Session) Certificate() *x509.Certificate { return s.leaf.Load() }

// Conn returns the session logged in, logging in first if need be.
func (s *Session) Conn(ctx context.Context) (*Conn, error) {
	if c, err := s.current(); c != nil || err != nil {
		return c, err
	}
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, fmt.Errorf("log in to vCenter %s: %w", s.cfg.Name, context.Cause(ctx))
	}
	if c, err := s.current(); c != nil || err != nil { // another caller was faster
		return c, err
	}
	c, err := s.login(ctx)
	if err != nil {
		return nil, fmt.Errorf("log in to vCenter %s as %s: %w", s.cfg.Name, s.account.Username, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.CloseIdleConnections()
		return nil, s.errClosed()
	}
	s.conn, s.lastUsed = c, time.Now()
	s.log.InfoContext(ctx, "logged in", "generation", c.Gen, "version", c.Version)
	return c, nil
}

// Live is Conn after making sure that the vCenter still knows the session,
// unless a call proved that within the last minute.
func (s *Session) Live(ctx context.Context) (*Conn, error) {
	c, err := s.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	fresh := time.Since(s.lastUsed) < time.Minute
	s.mu.Unlock()
	if fresh {
		return c, nil
	}
	if err := c.ping(ctx); err != nil && !IsNotAuthenticated(err) {
		return nil, err
	}
	return s.Conn(ctx)
}

func (s *Session) errClosed() error {
	return fmt.Errorf("session at vCenter %s: %w", s.cfg.Name, net.ErrClosed)
}

func (s *Session) current() (*Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.errClosed()
	}
	return s.conn, nil
}

// drop forgets a login that the vCenter no longer knows. Later logins stay.
func (s *Session) drop(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.conn = nil
		s.log.Warn("session lost", "generation", c.Gen)
	}
}

func (s *Session) used() {
	s.mu.Lock()
	s.lastUsed = time.Now()
	s.mu.Unlock()
}

func (s *Session) login(ctx context.Context) (*Conn, error) {
	password, err := s.opts.Password(s.account)
	if err != nil {
		return nil, err
	}
	sc := soap.NewClient(s.url, false)
	if err := s.transport(sc.DefaultTransport()); err != nil {
		return nil, err
	}
	sc.UserAgent = s.opts.UserAgent
	rt := &roundTripper{next: sc, session: s}
	ok := false
	defer func() {
		if !ok {
			sc.CloseIdleConnections()
		}
	}()
	content, err := methods.GetServiceContent(ctx, rt)
	if err != nil {
		return nil, err
	}
	if content.SessionManager == nil || content.About.InstanceUuid == "" {
		return nil, errors.New("the server is not a vCenter")
	}
	sc.Namespace, sc.Version = "urn:"+vim25.Namespace, content.About.ApiVersion
	us, err := methods.Login(ctx, rt, &types.Login{This: *content.SessionManager, UserName: s.account.Username, Password: password.Reveal(), Locale: "en_US"})
	if err != nil {
		return nil, err
	}
	s.gen++ // guarded by s.lock
	c := &Conn{
		Client: &vim25.Client{Client: sc, ServiceContent: content, RoundTripper: rt},
		Gen:    s.gen, Key: us.Returnval.Key, User: us.Returnval.UserName,
		VCenter: engine.VCenterID(content.About.InstanceUuid), Version: content.About.ApiVersion, session: s,
	}
	rt.conn.Store(c)
	ok = true
	return c, nil
}

// transport replaces what govmomi sets up: its own TLS dialling accepts SHA-1
// pins, ignores ctx, and cannot be given another network.
func (s *Session) transport(t *http.Transport) error {
	tc, err := tlsConfig(&s.cfg, func(c *x509.Certificate) { s.leaf.Store(c) })
	if err != nil {
		return err
	}
	t.TLSClientConfig, t.DialTLSContext, t.Proxy = tc, nil, nil
	if s.opts.DialContext != nil {
		t.DialContext = s.opts.DialContext
	}
	// A long poll and a page of inventory are under way together; more than
	// that is rare, and vCenter allows few connections.
	t.MaxIdleConnsPerHost = 4
	return nil
}

// ping is a cheap call that needs a session.
func (c *Conn) ping(ctx context.Context) error {
	_, err := methods.GetCurrentTime(ctx, c)
	return err
}

// Drop forgets this login, as after its session was ended on purpose.
func (c *Conn) Drop() { c.session.drop(c) }

// keepAlive gives a sign of life where nothing else does. It outlives errors: a
// vCenter that restarts must not end it for good.
func (s *Session) keepAlive(ctx context.Context) {
	tick := time.NewTicker(s.opts.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c, err := s.current()
			if c == nil || err != nil {
				continue
			}
			if err := c.ping(ctx); err != nil {
				s.log.DebugContext(ctx, "keepalive failed", "error", err)
			}
		}
	}
}

// Close logs out and ends all that the session keeps running. Calls under way fail.
func (s *Session) Close() error {
	s.stop()
	s.idle.Wait()
	s.mu.Lock()
	c := s.conn
	s.conn, s.closed = nil, true
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	_, err := methods.Logout(ctx, c, &types.Logout{This: *c.ServiceContent.SessionManager})
	c.CloseIdleConnections()
	if err != nil && !IsNotAuthenticated(err) {
		return fmt.Errorf("log out of vCenter %s: %w", s.cfg.Name, err)
	}
	return nil
}

// REST runs f with a session of vCenter's REST interface, over the same
// connections and with the same trust, and ends it.
func (c *Conn) REST(ctx context.Context, f func(*rest.Client) error) error {
	s := c.session
	password, err := s.opts.Password(s.account)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	r := rest.NewClient(c.Client)
	if err := r.Login(ctx, url.UserPassword(s.account.Username, password.Reveal())); err != nil {
		return fmt.Errorf("log in to the REST interface of vCenter %s: %w", s.cfg.Name, err)
	}
	return errors.Join(f(r), r.Logout(ctx))
}
