package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"

	"heliostat/engine"
)

// A ShadowBundle is a folder of policies that is asked in every cycle beside the
// policies in force, laid over what ships as Dir is, and never acted on.
type ShadowBundle struct {
	Name string `yaml:"name"` // for the journal and 'policy compare': letters, digits, - and _
	Dir  string `yaml:"dir"`
}

var shadowName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

func (c Config) validateShadows() error {
	var errs []error
	seen := map[string]bool{}
	for i, b := range c.ShadowBundles {
		switch {
		case !shadowName.MatchString(b.Name):
			errs = append(errs, fmt.Errorf("shadow_bundles.%d: name %q: 1 to 40 letters, digits, - and _", i, b.Name))
		case seen[b.Name]:
			errs = append(errs, fmt.Errorf("shadow_bundles.%d: a second bundle named %s", i, b.Name))
		case b.Dir == "":
			errs = append(errs, fmt.Errorf("shadow_bundles.%d: %s: dir is missing", i, b.Name))
		}
		seen[b.Name] = true
	}
	return errors.Join(errs...)
}

// A ShadowService keeps a bundle in shadow. Its policies have the modes, weights and
// parameters of the configuration; those of its own that have no mode there are
// heard as if enforced, so that there is something to see.
type ShadowService struct {
	*Service // nil until the folder could be loaded for the first time

	shipped fs.FS
	cfg     Config
	dir     string
	opts    Options
}

// NewShadow returns the service of a bundle in shadow. Nothing is read yet. With an
// examiner in opts the bundle, and each edit of it, is examined by that first.
func NewShadow(shipped fs.FS, cfg Config, b ShadowBundle, opts Options) *ShadowService {
	return &ShadowService{shipped: shipped, cfg: cfg, dir: b.Dir, opts: opts}
}

// Reload looks whether the folder has changed. A changed one that cannot be loaded
// leaves the one before to be asked; the error says that there is none at all.
func (s *ShadowService) Reload(ctx context.Context) error {
	if s.Service != nil {
		if len(s.opts.Examiner) > 0 {
			s.look(ctx) // here and not in Run: who asks has time for it
		}
		_, _ = s.Service.Reload(ctx) // it logs what is wrong, and the one before serves on
		return ctx.Err()
	}
	d, err := ReadDraft(s.shipped, s.dir)
	if err != nil {
		return err
	}
	s.Service, err = Start(ctx, s.shipped, s.config(d), s.opts)
	return err
}

// config is the configuration as it is for the policies that the draft has.
func (s *ShadowService) config(d *Draft) Config {
	own, has := map[string]bool{}, map[string]bool{}
	for _, name := range Shipped(s.shipped).Policies() {
		has[name] = true
	}
	for _, name := range d.Policies() {
		own[name], has[name] = true, true
	}
	c := s.cfg
	c.Dir, c.ShadowBundles = s.dir, nil
	c.Validation.ApproveAbove = 1                                            // nothing is done by it that somebody would have to approve
	c.URL, c.TokenFile, c.KeyFile, c.KeyID, c.Verify = "", "", "", "", false // a draft is not signed yet
	c.Modes, c.Weights, c.Params = maps.Clone(c.Modes), maps.Clone(c.Weights), maps.Clone(c.Params)
	if c.Modes == nil {
		c.Modes = map[string]engine.Mode{}
	}
	for name := range own {
		if _, ok := c.Modes[name]; !ok {
			c.Modes[name] = engine.Enforce
		}
	}
	maps.DeleteFunc(c.Modes, func(name string, _ engine.Mode) bool { return !has[name] })
	maps.DeleteFunc(c.Weights, func(name string, _ float64) bool { return !has[name] })
	maps.DeleteFunc(c.Params, func(name string, _ map[string]any) bool { return !has[name] })
	return c
}
