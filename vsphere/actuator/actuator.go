// Package actuator acts on vCenters: it implements [execute.Actuator].
//
// It has one session at each vCenter, with an account of its own, and never
// sends a call twice that changes something. Whoever decides to act is
// engine/execute; here is only how.
package actuator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/vsphere"
)

var _ execute.Actuator = (*Actuator)(nil)

// Options are what the actuator takes from its surroundings.
type Options struct {
	Session vsphere.Options
	Logger  *slog.Logger
	// LeavePoweredOff permits to put hosts in standby that powered-off VMs or
	// templates are registered at.
	LeavePoweredOff bool
}

// An Actuator acts on the vCenters of a configuration.
type Actuator struct {
	ends  []*end
	log   *slog.Logger
	leave bool // see Options.LeavePoweredOff
}

// An end is one vCenter as seen by the account that acts there.
type end struct {
	cfg     vsphere.Config
	opts    vsphere.Options
	session *vsphere.Session
	power   *end // the same vCenter, as seen by the account for hosts; nil when that is this one
	acts    bool // the account may change something
	watch   taskWatch
	checks  chan struct{} // holds one for each check under way
	told    sync.Once     // that moves cannot be checked before the call

	mu sync.Mutex
	id engine.VCenterID // "" until first connected
}

// New prepares sessions at all vCenters; nothing is sent before it is needed. A
// vCenter without a mover account is looked at with the reader's, and every call
// that would change something there fails with [execute.ErrNoCredentials]. ctx
// bounds the sessions' life; Close the actuator to log out.
func New(ctx context.Context, configs []vsphere.Config, opts Options) (*Actuator, error) {
	a := &Actuator{log: opts.Logger, leave: opts.LeavePoweredOff}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	for _, cfg := range configs {
		account := cfg.Mover
		if account == nil {
			account = cfg.Reader
		}
		e, err := dial(ctx, cfg, account, opts.Session)
		if err == nil {
			a.ends = append(a.ends, e)
			if cfg.Power != nil {
				e.power, err = dial(ctx, cfg, cfg.Power, opts.Session)
			}
		}
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	return a, nil
}

func dial(ctx context.Context, cfg vsphere.Config, account *vsphere.Account, opts vsphere.Options) (*end, error) {
	s, err := vsphere.Dial(ctx, cfg, account, opts)
	if err != nil {
		return nil, err
	}
	e := &end{cfg: cfg, opts: opts, session: s, acts: cfg.Mover != nil, checks: make(chan struct{}, checksAtOnce)}
	e.watch.end = e
	return e, nil
}

// of is the end as seen by the account that carries out actions of a kind.
func (e *end) of(kind engine.ActionKind) *end {
	if kind != engine.Move && e.power != nil {
		return e.power
	}
	return e
}

// Close ends the sessions.
func (a *Actuator) Close() error {
	var errs []error
	for _, e := range a.ends {
		e.watch.stop()
		errs = append(errs, e.session.Close())
		if e.power != nil {
			errs = append(errs, e.power.session.Close())
		}
	}
	return errors.Join(errs...)
}

// conn connects to the end and learns which vCenter it is.
func (e *end) conn(ctx context.Context) (*vsphere.Conn, error) {
	c, err := e.session.Conn(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.id = c.VCenter
	e.mu.Unlock()
	return c, nil
}

func (e *end) known() engine.VCenterID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.id
}

// end finds the vCenter by its instance UUID, connecting to those that are not
// known yet.
func (a *Actuator) end(ctx context.Context, vc engine.VCenterID) (*end, error) {
	for _, e := range a.ends {
		if e.known() == vc {
			return e, nil
		}
	}
	var errs []error
	for _, e := range a.ends {
		if e.known() != "" {
			continue
		}
		c, err := e.conn(ctx)
		if err != nil {
			errs = append(errs, err)
		} else if c.VCenter == vc {
			return e, nil
		}
	}
	return nil, fmt.Errorf("vCenter %s is none of those configured: %w", vc, errors.Join(append(errs, errUnknown)...))
}

var errUnknown = errors.New("no vCenter with this instance UUID answers")

// acting finds the vCenter and connects with the account that carries out actions
// of the kind.
func (a *Actuator) acting(ctx context.Context, vc engine.VCenterID, kind engine.ActionKind) (*end, *vsphere.Conn, error) {
	e, err := a.end(ctx, vc)
	if err != nil {
		return nil, nil, err
	}
	if !e.acts {
		return nil, nil, fmt.Errorf("vCenter %s: %w", e.cfg.Name, execute.ErrNoCredentials)
	}
	c, err := e.of(kind).conn(ctx)
	return e, c, err
}

// looking finds the vCenter and connects to it, with the account whose tasks those
// of the kind are.
func (a *Actuator) looking(ctx context.Context, vc engine.VCenterID, kind engine.ActionKind) (*end, *vsphere.Conn, error) {
	e, err := a.end(ctx, vc)
	if err != nil {
		return nil, nil, err
	}
	c, err := e.of(kind).conn(ctx)
	return e, c, err
}

// Session implements [execute.Actuator]. It makes sure that the vCenter still
// knows the session whose key it returns.
func (a *Actuator) Session(ctx context.Context, act *engine.Action) (string, engine.Unix, error) {
	vc := act.From.VCenter
	_, c, err := a.acting(ctx, vc, act.Kind)
	if err != nil {
		return "", 0, err
	}
	res, err := methods.GetCurrentTime(ctx, c)
	if err != nil {
		return "", 0, fmt.Errorf("read the clock of vCenter %s: %w", vc, err)
	}
	return c.Key, engine.At(*res), nil
}

// EndSession implements [execute.Actuator]. Our own session of now is logged
// out of; an earlier one is terminated, which the mover must be allowed to
// (Sessions.TerminateSession), whichever account's it was.
func (a *Actuator) EndSession(ctx context.Context, vc engine.VCenterID, key string) error {
	e, c, err := a.acting(ctx, vc, engine.Move)
	if err != nil {
		return err
	}
	if e.power != nil {
		if p, err := e.power.conn(ctx); err == nil && p.Key == key {
			c = p
		}
	}
	manager := *c.ServiceContent.SessionManager
	if c.Key == key {
		_, err = methods.Logout(ctx, c, &types.Logout{This: manager})
		if err == nil || vsphere.IsNotAuthenticated(err) {
			c.Drop()
			return nil
		}
		return notEnded(fmt.Errorf("log out of vCenter %s: %w", vc, err))
	}
	_, err = methods.TerminateSession(ctx, c, &types.TerminateSession{This: manager, SessionId: []string{key}})
	if _, gone := vsphere.Fault(err).(*types.NotFound); err != nil && !gone {
		return notEnded(fmt.Errorf("terminate an earlier session at vCenter %s (Sessions.TerminateSession): %w", vc, err))
	}
	return nil
}

// notEnded tells a refusal from an answer that may come at the next attempt.
func notEnded(err error) error {
	if vsphere.Answered(err) && !vsphere.IsNotAuthenticated(err) {
		return fmt.Errorf("%w: %w", execute.ErrNotEnded, err)
	}
	return err
}

// object makes a reference out of an identifier "vcUUID/moid".
func object[T ~string](kind string, id T) types.ManagedObjectReference {
	_, moid := engine.SplitRef(id)
	return types.ManagedObjectReference{Type: kind, Value: moid}
}

// properties reads properties of one object. It is nil when the object is gone.
func properties(ctx context.Context, c *vsphere.Conn, ref types.ManagedObjectReference, paths ...string) (map[string]any, error) {
	var out map[string]any
	err := c.Retrieve(ctx, vsphere.Objects(ref.Type, []types.ManagedObjectReference{ref}, paths...), func(objects []types.ObjectContent) error {
		for _, o := range objects {
			out = make(map[string]any, len(o.PropSet))
			for _, p := range o.PropSet {
				out[p.Name] = p.Val
			}
		}
		return nil
	})
	if vsphere.IsGone(err) {
		return nil, nil
	}
	return out, err
}

// findVM finds a VM at a vCenter by instance UUID; nil when it is not there.
func findVM(ctx context.Context, c *vsphere.Conn, id engine.VMID) (*types.ManagedObjectReference, error) {
	res, err := methods.FindByUuid(ctx, c, &types.FindByUuid{This: *c.ServiceContent.SearchIndex, Uuid: string(id), VmSearch: true, InstanceUuid: new(true)})
	if err != nil {
		return nil, fmt.Errorf("find VM %s at vCenter %s: %w", id, c.VCenter, err)
	}
	return res.Returnval, nil
}

// origin is a URL without its path: what one vCenter calls another by.
func origin(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Scheme + "://" + u.Host
}
