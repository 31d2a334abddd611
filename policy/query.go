package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/dependencies"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"heliostat/engine"
)

// errUndefined is a rule that has no value at all, which is not the same as an
// empty one.
var errUndefined = errors.New("is undefined")

// A query is one entry point, prepared.
type query struct {
	entry
	voice     int32
	footprint footprint // of cluster and move scope
	prepared  rego.PreparedEvalQuery
	guards    []rego.PreparedEvalQuery             // of cluster scope; see prepareGuards
	watch     func(doing string, at *ast.Location) // told before each question; nil for nobody
	tracer    topdown.QueryTracer                  // watches an evaluation; nil for none
	modules   map[string]*ast.Module               // of the whole bundle, compiled
}

// A preparer prepares queries of one compiled bundle.
type preparer struct {
	c    *ast.Compiler
	data ast.Object // parameters and facts
}

func (p *preparer) prepare(ctx context.Context, of func(*rego.Rego)) (rego.PreparedEvalQuery, error) {
	return rego.New(
		of, rego.Compiler(p.c), rego.Store(docStore{}), rego.StrictBuiltinErrors(true),
		// The answer stays a term: conversion to Go maps would cost more than the query.
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }),
	).PrepareForEval(ctx)
}

// query compiles the entry point's query once.
func (p *preparer) query(ctx context.Context, e entry, voice int32) (query, error) {
	q := query{entry: e, voice: voice, modules: p.c.Modules}
	var err error
	if q.prepared, err = p.prepare(ctx, rego.Query(e.ref)); err != nil {
		return query{}, fmt.Errorf("prepare %s: %w", e.ref, err)
	}
	path := ast.MustParseRef(e.ref)
	if e.spec.scope == scopeCluster {
		q.guards = p.prepareGuards(ctx, path)
	}
	if e.spec.scope == scopeCluster || e.spec.scope == scopeMove {
		q.footprint = footprintOf(p.c, path, func(r ast.Ref) (string, bool) { return p.constant(ctx, r) })
	}
	return q, nil
}

// constant is the string that the ref is worth, where it depends on parameters and
// facts alone.
func (p *preparer) constant(ctx context.Context, ref ast.Ref) (string, bool) {
	reads, err := dependencies.Base(p.c, ref)
	if err != nil || !ref.IsGround() || slices.ContainsFunc(reads, func(r ast.Ref) bool { return !bundled(r) }) {
		return "", false
	}
	q, err := p.prepare(ctx, rego.Query(ref.String()))
	if err != nil {
		return "", false
	}
	t, err := question{data: p.data, deadline: time.Second}.value(ctx, &q)
	if err != nil {
		return "", false
	}
	s, ok := t.Value.(ast.String)
	return string(s), ok
}

// bundled reports whether the ref is into parameters or facts, which a bundle has and
// no cycle changes.
func bundled(r ast.Ref) bool {
	return len(r) > 1 && r[0].Equal(ast.DefaultRootDocument) && (r[1].Equal(ast.InternedTerm("params")) || r[1].Equal(ast.InternedTerm("facts")))
}

// prepareGuards prepares, for each clause of the rule, the expressions that it begins
// with and that read nothing of input: while none of them holds, the rule has nothing
// to say of any cluster. It is nil where a clause has no such expression.
func (p *preparer) prepareGuards(ctx context.Context, path ast.Ref) []rego.PreparedEvalQuery {
	var out []rego.PreparedEvalQuery
	for _, rule := range p.c.GetRulesExact(path) {
		n := slices.IndexFunc(rule.Body, func(e *ast.Expr) bool { return readsInput(p.c, ast.NewBody(e)) })
		if n < 0 {
			n = len(rule.Body)
		}
		if n == 0 {
			return nil
		}
		var body ast.Body
		for _, e := range rule.Body[:n] {
			body.Append(e.Copy())
		}
		q, err := p.prepare(ctx, rego.ParsedQuery(body))
		if err != nil {
			return nil
		}
		out = append(out, q)
	}
	return out
}

// open reports whether the rule may have something to say of a cluster. A guard that
// fails leaves that to the rule.
func (q *query) open(ctx context.Context, data ast.Object, now engine.Unix, deadline time.Duration) bool {
	return len(q.guards) == 0 || slices.ContainsFunc(q.guards, func(g rego.PreparedEvalQuery) bool {
		rs, err := question{data: data, now: now, deadline: deadline}.put(ctx, &g)
		return err != nil || len(rs) > 0
	})
}

// ask evaluates the query on the data and input, within the deadline.
func (q *query) ask(ctx context.Context, data ast.Object, input ast.Value, now engine.Unix, deadline time.Duration) (*ast.Term, error) {
	if q.watch != nil {
		q.watch("rule "+q.policy+"."+q.rule, q.head)
	}
	return question{data, input, now, deadline, q.tracer}.value(ctx, &q.prepared)
}

// answer asks the query about what is no cluster, and reads what it says.
func (q *query) answer(ctx context.Context, data ast.Object, input ast.Value, d *document, deadline time.Duration) (*answer, error) {
	t, err := q.ask(ctx, data, input, d.now, deadline)
	if err != nil {
		return nil, err
	}
	items, err := itemsOf(t)
	if err != nil {
		return nil, err
	}
	return readAnswer(q.spec, q.voice, items, d.snap, engine.None)
}

// A question is what a prepared query is evaluated on.
type question struct {
	data     ast.Object
	input    ast.Value // nil for none
	now      engine.Unix
	deadline time.Duration
	tracer   topdown.QueryTracer // nil for none
}

// value is what a query of one ref is worth, errUndefined where it is nothing.
func (x question) value(ctx context.Context, q *rego.PreparedEvalQuery) (*ast.Term, error) {
	rs, err := x.put(ctx, q)
	switch {
	case err != nil:
		return nil, err
	case len(rs) == 0:
		return nil, errUndefined
	}
	t, ok := rs[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return nil, fmt.Errorf("gave %T, not a term", rs[0].Expressions[0].Value)
	}
	return t, nil
}

func (x question) put(ctx context.Context, q *rego.PreparedEvalQuery) (rego.ResultSet, error) {
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(x.deadline, cancel.Cancel)
	defer timer.Stop()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	opts := []rego.EvalOption{rego.EvalTransaction(docTxn{x.data}), rego.EvalExternalCancel(cancel), rego.EvalTime(x.now.Time())}
	if x.input != nil {
		opts = append(opts, rego.EvalParsedInput(x.input))
	}
	if x.tracer != nil {
		opts = append(opts, rego.EvalQueryTracer(x.tracer))
	}
	rs, err := q.Eval(ctx, opts...)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case topdown.IsCancel(err):
		return nil, fmt.Errorf("did not end within %v", x.deadline)
	}
	return rs, err
}

// A docStore is a store without content: the documents come with the
// transaction, so that one prepared query serves every cycle and several
// evaluations can run at once, each on its own.
type docStore struct {
	storage.TriggersNotSupported
	storage.PolicyNotSupported
	storage.WritesNotSupported
}

// A docTxn carries the documents of one evaluation.
type docTxn struct{ root ast.Object }

// ID implements storage.Transaction; nothing asks for it.
func (docTxn) ID() uint64 { return 0 }

// NewTransaction implements storage.Store, for the time of preparing.
func (docStore) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return docTxn{ast.NewObject()}, nil
}

// Read implements storage.Store. It returns terms' values without copying.
func (docStore) Read(_ context.Context, txn storage.Transaction, path storage.Path) (any, error) {
	t, ok := txn.(docTxn)
	if !ok {
		return nil, &storage.Error{Code: storage.InvalidTransactionErr}
	}
	var v ast.Value = t.root
	for _, key := range path {
		var next *ast.Term
		switch x := v.(type) {
		case ast.Object:
			next = x.Get(ast.InternedTerm(key))
		case *ast.Array:
			if i, err := strconv.Atoi(key); err == nil {
				next = x.Get(ast.InternedTerm(i))
			}
		}
		if next == nil {
			return nil, &storage.Error{Code: storage.NotFoundErr, Message: path.String()}
		}
		v = next.Value
	}
	return v, nil
}

// Commit implements storage.Store.
func (docStore) Commit(context.Context, storage.Transaction) error { return nil }

// Abort implements storage.Store.
func (docStore) Abort(context.Context, storage.Transaction) {}

// Truncate implements storage.Store.
func (docStore) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return &storage.Error{Code: storage.WritesNotSupportedErr}
}
