package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// Options is what a [Service] takes from where it runs. The zero value examines
// changed bundles within this process, when [Service.Reload] is called: so it is
// in a testing/synctest bubble, where no process can be waited for.
type Options struct {
	Log *slog.Logger // nil: nowhere
	// Examiner is the command line of a process that does what [Examine] does, the
	// name of the program first. It examines changed bundles while [Service.Run] runs.
	Examiner []string
	// Within is what the dry run may take: the time between two cycles. 0: no limit.
	Within time.Duration
	// Last is what the journal says of the revision in force before this start, and
	// Get returns what was kept of it. Last is nil for nothing.
	Last *engine.RevisionRecord
	Get  func(digest string) ([]byte, error)
}

// A Service keeps the bundle in force and takes a changed one into service.
// All methods are safe for concurrent use; one evaluation uses one bundle from
// beginning to end.
type Service struct {
	shipped fs.FS
	cfg     Config
	opts    Options
	from    supplier // nil: the shipped bundle alone
	wake    chan struct{}

	looking sync.Mutex // one look at a time

	mu      sync.Mutex // guards what follows
	current *Bundle
	packed  []byte // current, to be kept
	by      string // what brought it into service
	held    bool   // a person went back to it
	seen    string // state of the source at the last look
	staged  *candidate
	next    *candidate // the newest that does not serve: refused, waiting, or passed over by a rollback
	silent  string     // why the source could not be reached, as logged
	view    *engine.View
	said    *engine.Decision // by current, on view
}

// A candidate is a bundle that was examined.
type candidate struct {
	packed   []byte
	bundle   *Bundle // nil: refused
	revision string  // "" where it has none
	by       string
	err      error
	diff     *Difference
	waits    string // why it waits for a person
}

// NewService loads the bundle, and examines changed ones within this process.
func NewService(ctx context.Context, shipped fs.FS, cfg Config, log *slog.Logger) (*Service, error) {
	return Start(ctx, shipped, cfg, Options{Log: log})
}

// Start loads the bundle. Where it cannot serve, or had to wait for a person when
// the process before ended, the one serves on that was in force then. Without one
// to serve there is no service: the error is that of [Load].
func Start(ctx context.Context, shipped fs.FS, cfg Config, opts Options) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	from, err := newSupplier(cfg)
	if err != nil {
		return nil, err
	}
	s := &Service{shipped: shipped, cfg: cfg, opts: opts, from: from, wake: make(chan struct{}, 1)}
	if s.opts.Log == nil {
		s.opts.Log = slog.New(slog.DiscardHandler)
	}
	c, err := s.first(ctx)
	if err != nil {
		return nil, err
	}
	last := opts.Last
	passedOver := last != nil && c.revision != "" && last.Candidate == c.revision && last.Serving != c.revision
	if c.err == nil && !passedOver {
		s.current, s.packed, s.by = c.bundle, c.packed, "start"
		return s, nil
	}
	if last == nil || last.Bundle == "" {
		return nil, c.err
	}
	packed, err := opts.Get(last.Bundle)
	if err == nil {
		s.current, err = s.build(ctx, packed, false)
	}
	if err != nil {
		if c.err != nil {
			return nil, c.err
		}
		// Changed modes, or a newer program, leave no use for it.
		s.opts.Log.WarnContext(ctx, "the revision that served before cannot any more", "revision", last.Serving, "error", err)
		s.current, s.packed, s.by = c.bundle, c.packed, "start"
		return s, nil
	}
	s.packed, s.by, s.held, s.next = packed, last.By, last.Held && passedOver, c
	if passedOver {
		c.waits = last.Waits
	}
	if c.err != nil {
		s.opts.Log.ErrorContext(ctx, "policy refused", "serving", s.current.Revision, "error", c.err)
	}
	return s, nil
}

// first examines the bundle as it is at the start.
func (s *Service) first(ctx context.Context) (*candidate, error) {
	c := &candidate{by: "start"}
	var own map[string][]byte
	if s.from != nil {
		s.seen, c.err = s.from.state(ctx)
		if errors.Is(c.err, errUnreachable) {
			s.silent = c.err.Error()
		}
		if c.err == nil {
			own, c.err = s.from.read()
		}
	}
	if c.err == nil {
		s.examine(ctx, c, own)
	}
	return c, ctx.Err()
}

// Bundle returns the one in force.
func (s *Service) Bundle() *Bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Revision is the digest of the bundle in force.
func (s *Service) Revision() string { return s.Bundle().Revision }

// LastError says what is wrong with the newest bundle, nil when nothing is.
func (s *Service) LastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return nil
	}
	return s.next.err
}

// Standing says which bundle serves and what became of the newest one, and returns
// the one that serves, to be kept.
func (s *Service) Standing() (engine.RevisionRecord, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := engine.RevisionRecord{Serving: s.current.Revision, By: s.by, Held: s.held}
	if c := s.next; c != nil {
		r.Candidate, r.Waits = c.revision, c.waits
		if c.err != nil {
			r.Refused = withAdvice(c.err)
		}
	}
	return r, s.packed
}

// withAdvice puts under each fault what to write instead.
func withAdvice(err error) string {
	faults, ok := errors.AsType[Faults](err)
	if !ok {
		return err.Error()
	}
	var lines []string
	for i := range faults {
		lines = append(lines, faults[i].Error())
		if faults[i].Advice != "" {
			lines = append(lines, "\t"+faults[i].Advice)
		}
	}
	return strings.Join(lines, "\n")
}

// Evaluate asks the bundle in force.
func (s *Service) Evaluate(ctx context.Context, view engine.View) (*engine.Decision, error) {
	b := s.Bundle()
	d, err := b.Evaluate(ctx, view)
	if err == nil {
		s.mu.Lock()
		if b == s.current {
			s.view, s.said = &view, d
		}
		s.mu.Unlock()
	}
	return d, err
}

// Deny asks the bundle in force about moves.
func (s *Service) Deny(ctx context.Context, view engine.View, moves []engine.Action) ([]engine.Veto, error) {
	return s.Bundle().Deny(ctx, view, moves)
}

// Review asks the bundle in force about a plan.
func (s *Service) Review(ctx context.Context, view engine.View, plan *engine.Plan) (engine.Review, error) {
	return s.Bundle().Review(ctx, view, plan)
}

// Look has [Service.Run] look whether the files have changed. It never blocks.
func (s *Service) Look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run looks for changed bundles until ctx ends: when [Service.Look] is called, and
// at a URL every so often. It examines them in a process of their own, and calls
// settled when [Service.Reload] has something to do.
func (s *Service) Run(ctx context.Context, settled func(context.Context)) {
	var poll <-chan time.Time
	if s.cfg.URL != "" {
		t := time.NewTicker(s.cfg.Poll)
		defer t.Stop()
		poll = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-poll:
		}
		if s.look(ctx) {
			settled(ctx)
		}
	}
}

// look examines the bundle if it has changed, and reports whether there is
// something to settle. A verdict counts only where the files are still the same.
func (s *Service) look(ctx context.Context) bool {
	s.looking.Lock()
	defer s.looking.Unlock()
	s.mu.Lock()
	blind := len(s.opts.Examiner) > 0 && s.view == nil
	s.mu.Unlock()
	if blind {
		return false // there is no fleet for a dry run until the first cycle
	}
	for s.from != nil && ctx.Err() == nil {
		state, err := s.from.state(ctx)
		if errors.Is(err, errUnreachable) {
			s.unreachable(ctx, err.Error())
			return false
		}
		s.unreachable(ctx, "")
		if err != nil {
			state = "unreadable: " + err.Error() // say it once
		}
		s.mu.Lock()
		same := state == s.seen
		s.mu.Unlock()
		if same {
			return false
		}
		c := &candidate{by: s.from.kind(), err: err}
		var own map[string][]byte
		if c.err == nil {
			own, c.err = s.from.read()
		}
		if c.err == nil {
			s.examine(ctx, c, own)
		}
		if ctx.Err() != nil || (err == nil && !s.from.still(ctx, state)) {
			continue
		}
		s.mu.Lock()
		s.seen, s.staged = state, c
		s.mu.Unlock()
		return true
	}
	return false
}

// unreachable logs when the source falls silent, and when it answers again.
func (s *Service) unreachable(ctx context.Context, why string) {
	if why == s.silent {
		return
	}
	if s.silent = why; why == "" {
		s.opts.Log.InfoContext(ctx, "the policies can be fetched again")
		return
	}
	s.opts.Log.WarnContext(ctx, "the last good revision serves on", "error", why)
}

// examine gives the candidate its bundle or its error.
func (s *Service) examine(ctx context.Context, c *candidate, own map[string][]byte) {
	if c.packed, c.err = pack(s.shipped, own, s.cfg.Params); c.err != nil {
		return
	}
	if s.from == nil { // what ships is examined where it is built
		c.bundle, c.err = s.build(ctx, c.packed, false)
	} else {
		var x *examination
		if x, c.err = s.examination(ctx); c.err != nil {
			return
		}
		var o *opinion
		if len(s.opts.Examiner) == 0 {
			o, c.err = x.examine(ctx, c.packed)
		} else {
			o, c.err = x.examineBy(ctx, c.packed, s.opts.Examiner)
		}
		if c.err != nil {
			return
		}
		c.revision, c.diff, c.bundle = o.Revision, o.Difference, o.bundle
		if c.err = o.Faults.err(); c.err == nil && c.bundle == nil {
			c.bundle, c.err = s.build(ctx, c.packed, true)
		}
	}
	if c.err != nil {
		c.bundle = nil
		return
	}
	c.revision = c.bundle.Revision
}

func (s *Service) examination(ctx context.Context) (*examination, error) {
	s.mu.Lock()
	b := s.current
	x := &examination{cfg: s.cfg, label: s.from.label(), view: s.view, before: s.said, within: s.opts.Within, watch: func(string, *ast.Location) {}}
	s.mu.Unlock()
	if x.view == nil || x.before != nil {
		return x, nil
	}
	// The bundle in force is newer than the last cycle.
	var err error
	x.before, err = b.Evaluate(ctx, *x.view)
	return x, err
}

// build makes the bundle of an archive, as it will serve.
func (s *Service) build(ctx context.Context, packed []byte, examined bool) (*Bundle, error) {
	label := ""
	if s.from != nil {
		label = s.from.label()
	}
	return loadPacked(ctx, packed, label, s.cfg, examined)
}

func loadPacked(ctx context.Context, packed []byte, label string, cfg Config, examined bool) (*Bundle, error) {
	u, err := unpack(packed, label)
	if err != nil {
		return nil, err
	}
	u.whole.examined = examined
	cfg.Params = u.params // those of its day
	return build(ctx, u.whole, cfg)
}

// LoadKept makes a bundle of a revision that was kept, as [Service.Standing]
// returned it. Modes, weights and deadline are the configuration's.
func LoadKept(ctx context.Context, kept []byte, cfg Config) (*Bundle, error) {
	return loadPacked(ctx, kept, "", cfg, false)
}

// Reload takes a changed bundle into service. With an examiner it takes what
// [Service.Run] has found good by now, else it looks at the files itself: at
// their sizes and times, and at nothing more where those are as before. A bundle
// that is refused leaves the one in force as it is; the error says why, at the
// first attempt and until the files change again only through [Service.LastError].
func (s *Service) Reload(ctx context.Context) (changed bool, err error) {
	if len(s.opts.Examiner) == 0 {
		s.look(ctx)
	} else if s.cfg.URL == "" {
		s.Look() // for folders that are not watched
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.staged
	if s.staged = nil; c == nil {
		return false, nil
	}
	log, serving := s.opts.Log, s.current.Revision
	switch {
	case c.err != nil:
		s.next = c
		log.ErrorContext(ctx, "policy refused", "serving", serving, "error", withAdvice(c.err))
	case c.revision == serving:
		s.packed, s.next, s.held = c.packed, nil, false
	case c.diff != nil && c.diff.Share() > s.cfg.Validation.ApproveAbove:
		c.waits, s.next = c.diff.String(), c
		log.WarnContext(ctx, "policy waits for approval", "serving", serving, "revision", c.revision, "difference", c.waits)
	default:
		s.take(ctx, c, c.by)
		return true, nil
	}
	return false, c.err
}

// take puts the candidate into service. The caller holds mu.
func (s *Service) take(ctx context.Context, c *candidate, by string) {
	s.opts.Log.InfoContext(ctx, "policy taken into service", "revision", c.revision, "before", s.current.Revision, "by", by)
	c.bundle.inherit(s.current)
	s.current, s.packed, s.by, s.next, s.held, s.said = c.bundle, c.packed, by, nil, false, nil
}

// Approve takes the bundle into service that waits, named by the beginning of its
// revision.
func (s *Service) Approve(ctx context.Context, revision, who string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.next
	if c == nil || c.waits == "" || c.bundle == nil {
		return errors.New("no policies wait for approval")
	}
	if revision == "" || !strings.HasPrefix(c.revision, revision) {
		return fmt.Errorf("it is revision %.12s that waits, not %s", c.revision, revision)
	}
	s.take(ctx, c, "approved by "+who)
	return nil
}

// RollBack serves a revision that was kept, until the files change again or
// [Service.Resume].
func (s *Service) RollBack(ctx context.Context, kept []byte, who string) error {
	b, err := s.build(ctx, kept, false)
	if err != nil {
		return fmt.Errorf("the revision cannot serve with this configuration: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Revision == s.current.Revision {
		return fmt.Errorf("revision %.12s serves already", b.Revision)
	}
	newest := s.next
	if newest == nil && !s.held {
		newest = &candidate{packed: s.packed, bundle: s.current, revision: s.current.Revision, by: s.by}
	}
	s.take(ctx, &candidate{packed: kept, bundle: b, revision: b.Revision}, "rolled back by "+who)
	s.next, s.held = newest, true
	return nil
}

// Resume ends a rollback: the newest bundle serves again.
func (s *Service) Resume(ctx context.Context, who string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.next
	switch {
	case !s.held:
		return errors.New("nobody has rolled back")
	case c == nil || c.bundle == nil:
		return errors.New("the newest policies are refused: mend them, and they serve again by themselves")
	case c.waits != "":
		return fmt.Errorf("the newest policies wait for approval: 'heliostat policy approve %.12s'", c.revision)
	}
	s.take(ctx, c, "resumed by "+who)
	return nil
}

// inherit takes over the terms that the bundle before has built, where they are those
// that this one needs: they depend on the fleet alone.
func (b *Bundle) inherit(old *Bundle) {
	old.mu.Lock()
	enc := old.enc
	if enc.need == nil || !enc.need.equal(b.enc.need) {
		old.mu.Unlock()
		return
	}
	old.enc = &encoder{need: enc.need} // one that still evaluates starts afresh
	old.mu.Unlock()
	b.mu.Lock()
	b.enc = enc
	b.mu.Unlock()
}
