package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"heliostat/engine"
)

// A Bundle is one revision of the policies, compiled and checked. Its methods
// may be called from several goroutines; they take turns at encoding.
type Bundle struct {
	Revision string   // digest of all that can change a decision
	Policies []string // names, sorted
	Voices   []engine.Voice

	queries  []query             // sorted by policy and rule, as Voices; policies that are off have none
	derived  map[string]*derived // by path
	data     [][2]*ast.Term
	deadline time.Duration

	mu   sync.Mutex
	enc  *encoder                    // guarded by mu
	said map[engine.ClusterID][]said // guarded by mu; what is in it never changes
}

// Load reads, compiles and checks the shipped bundle with the operator's over
// it. Whatever is wrong with them comes back at once, as [Faults].
func Load(ctx context.Context, shipped fs.FS, cfg Config) (*Bundle, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f, err := readBundle(shipped, cfg)
	if err != nil {
		return nil, err
	}
	return build(ctx, f, cfg)
}

func build(ctx context.Context, f *files, cfg Config) (*Bundle, error) {
	c, err := compile(ctx, f)
	if err != nil {
		return nil, err
	}
	return c.bundle(ctx, f, cfg)
}

// bundle prepares what is compiled to be asked.
func (c *compiled) bundle(ctx context.Context, f *files, cfg Config) (*Bundle, error) {
	if err := c.checkNames(cfg); err != nil {
		return nil, err
	}
	b := &Bundle{Policies: c.policies, deadline: cfg.Deadline, derived: map[string]*derived{}}
	var err error
	if b.Revision, err = f.revision(); err != nil {
		return nil, err
	}
	for key, doc := range map[string]map[string]any{"params": f.params, "facts": f.facts} {
		v, err := ast.InterfaceToValue(doc)
		if err != nil {
			return nil, fmt.Errorf("encode data.%s: %w", key, err)
		}
		b.data = append(b.data, [2]*ast.Term{ast.StringTerm(key), ast.NewTerm(v)})
	}
	p := &preparer{c.compiler, ast.NewObject(b.data...)}
	for _, e := range c.entries {
		mode := cfg.mode(e.policy)
		if mode == engine.Off || e.silent(f.params) {
			continue
		}
		q, err := p.query(ctx, e, int32(len(b.Voices)))
		if err != nil {
			return nil, err
		}
		voice := engine.Voice{Policy: e.policy, Rule: e.rule, Mode: mode, Yields: e.yields}
		if e.rule == engine.RuleSiteScore {
			voice.WeightMicroEUR = cfg.weightMicro(e.policy)
		}
		b.queries, b.Voices = append(b.queries, q), append(b.Voices, voice)
		for _, path := range q.footprint.derived {
			if b.derived[path] == nil {
				b.derived[path] = &derived{}
				if b.derived[path].prepared, err = p.prepare(ctx, rego.Query(path)); err != nil {
					return nil, fmt.Errorf("prepare %s: %w", path, err)
				}
			}
		}
	}
	b.enc = &encoder{need: needOf(b.queries)}
	return b, nil
}

// needOf unites what the queries read of hosts and VMs.
func needOf(qs []query) *need {
	n := &need{}
	for i := range qs {
		r := &qs[i].footprint
		n.host.unite(&r.host)
		n.vm.unite(&r.vm)
		n.marked = n.marked || (r.marked && r.names == nil)
		n.names = append(n.names, r.names...)
	}
	slices.Sort(n.names)
	n.names = slices.Compact(n.names)
	return n
}

// checkNames refuses configuration of policies that do not exist: a misspelt
// name would leave a policy at its default mode, unnoticed.
func (c *compiled) checkNames(cfg Config) error {
	var errs []error
	check := func(key string, names []string) {
		for _, n := range names {
			if !slices.Contains(c.policies, n) {
				errs = append(errs, fmt.Errorf("%s.%s: no such policy in the bundle: one of %q", key, n, c.policies))
			}
		}
	}
	check("modes", slices.Sorted(maps.Keys(cfg.Modes)))
	check("weights", slices.Sorted(maps.Keys(cfg.Weights)))
	check("params", slices.Sorted(maps.Keys(cfg.Params)))
	return errors.Join(errs...)
}

// encode returns the view as policies see it, and the data documents with it.
func (b *Bundle) encode(v engine.View) (*document, ast.Object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.enc.encode(v)
	pairs := append(slices.Clone(b.data), [2]*ast.Term{ast.StringTerm("fleet"), d.fleet})
	return d, ast.NewObject(pairs...)
}

// encodeAll is d with all VMs of each cluster.
func (b *Bundle) encodeAll(d *document) *document {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.enc.encodeAll(d)
}

// of lists the queries of a scope.
func (b *Bundle) of(s scope) []*query {
	var out []*query
	for i := range b.queries {
		if b.queries[i].spec.scope == s {
			out = append(out, &b.queries[i])
		}
	}
	return out
}
