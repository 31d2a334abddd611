package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"

	"heliostat/engine"
)

// A Service keeps the bundle in force and takes a changed one into service.
// All methods are safe for concurrent use; one evaluation uses one bundle from
// beginning to end.
type Service struct {
	shipped fs.FS
	cfg     Config
	log     *slog.Logger

	reload sync.Mutex // one reload at a time

	mu      sync.Mutex // guards what follows
	current *Bundle
	seen    string // state of the files at the last attempt to load
	lastErr error  // of that attempt
}

// NewService loads the bundle. Without one to serve there is no service: the
// error is that of [Load].
func NewService(ctx context.Context, shipped fs.FS, cfg Config, log *slog.Logger) (*Service, error) {
	s := &Service{shipped: shipped, cfg: cfg, log: log}
	state, err := s.state()
	if err != nil {
		return nil, err
	}
	b, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	s.current, s.seen = b, state
	return s, nil
}

// Bundle returns the one in force.
func (s *Service) Bundle() *Bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Revision is the digest of the bundle in force.
func (s *Service) Revision() string { return s.Bundle().Revision }

// LastError says what is wrong with the files as they are, nil when they are in force.
func (s *Service) LastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// Evaluate asks the bundle in force.
func (s *Service) Evaluate(ctx context.Context, view engine.View) (*engine.Decision, error) {
	return s.Bundle().Evaluate(ctx, view)
}

// Deny asks the bundle in force about moves.
func (s *Service) Deny(ctx context.Context, view engine.View, moves []engine.Action) ([]engine.Veto, error) {
	return s.Bundle().Deny(ctx, view, moves)
}

// Review asks the bundle in force about a plan.
func (s *Service) Review(ctx context.Context, view engine.View, plan *engine.Plan) (engine.Review, error) {
	return s.Bundle().Review(ctx, view, plan)
}

// Reload takes the operator's files into service if they changed: it reads
// their sizes and times, and nothing more where those are as before. Files that
// cannot be loaded, or whose own tests fail, leave the bundle in force as it is;
// the error says why, at the first attempt and until the files change again
// only through [Service.LastError].
func (s *Service) Reload(ctx context.Context) (changed bool, err error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	state, err := s.state()
	if err != nil {
		// Nothing to compare with: say it once, and look again at the next call.
		state = "unreadable: " + err.Error()
	}
	s.mu.Lock()
	same, old := state == s.seen, s.current
	s.mu.Unlock()
	if same {
		return false, nil
	}
	b := old
	if err == nil {
		b, err = s.load(ctx)
	}
	if ctx.Err() != nil {
		return false, ctx.Err() // says nothing about the files
	}
	if err == nil && b.Revision != old.Revision {
		changed = true
	}
	s.mu.Lock()
	s.seen, s.lastErr = state, err
	if changed {
		b.inherit(old)
		s.current = b
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.log.ErrorContext(ctx, "policy refused", "serving", old.Revision, "error", err)
	case changed:
		s.log.InfoContext(ctx, "policy taken into service", "revision", b.Revision, "before", old.Revision)
	}
	return changed, err
}

// load reads and builds, and runs the bundle's own tests where an operator may
// have changed something.
func (s *Service) load(ctx context.Context) (*Bundle, error) {
	if err := s.cfg.Validate(); err != nil {
		return nil, err
	}
	f, err := readBundle(s.shipped, s.cfg)
	if err != nil {
		return nil, err
	}
	b, err := build(ctx, f, s.cfg)
	if err != nil || s.cfg.Dir == "" {
		return b, err
	}
	// Tests are written against the bundle's own parameters.
	raw, err := readBundle(s.shipped, Config{Dir: s.cfg.Dir})
	if err != nil {
		return nil, err
	}
	report, err := runTests(ctx, raw, nil, "")
	if err != nil {
		return nil, err
	}
	return b, report.Err()
}

// state is the names, sizes and times of the operator's files.
func (s *Service) state() (string, error) {
	if s.cfg.Dir == "" {
		return "", nil // the shipped bundle never changes
	}
	root, err := os.OpenRoot(s.cfg.Dir)
	if err != nil {
		return "", fmt.Errorf("open policy directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	var b strings.Builder
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		info, err := fs.Stat(root.FS(), name) // follows links, as reading does
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // an editor's file that is gone already
			}
			return err
		}
		fmt.Fprintf(&b, "%q %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("look at policy directory: %w", err)
	}
	return b.String(), nil
}

// inherit takes over the terms that the bundle before has built: they depend on
// the fleet alone.
func (b *Bundle) inherit(old *Bundle) {
	old.mu.Lock()
	enc := old.enc
	old.enc = &encoder{} // one that still evaluates starts afresh
	old.mu.Unlock()
	b.mu.Lock()
	b.enc = enc
	b.mu.Unlock()
}
