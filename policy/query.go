package policy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
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
	voice    int32
	src      sources // of a cluster-scope rule
	prepared rego.PreparedEvalQuery
	watch    func(doing string, at *ast.Location) // told before each question; nil for nobody
	tracer   topdown.QueryTracer                  // watches an evaluation; nil for none
	modules  map[string]*ast.Module               // of the whole bundle, compiled
}

// prepare compiles the entry point's query once.
func prepare(ctx context.Context, c *ast.Compiler, e entry, voice int32) (query, error) {
	p, err := rego.New(
		rego.Compiler(c), rego.Query(e.ref), rego.Store(docStore{}), rego.StrictBuiltinErrors(true),
		// The answer stays a term: conversion to Go maps would cost more than the query.
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }),
	).PrepareForEval(ctx)
	if err != nil {
		return query{}, fmt.Errorf("prepare %s: %w", e.ref, err)
	}
	return query{entry: e, voice: voice, src: e.sources(), prepared: p, modules: c.Modules}, nil
}

// ask evaluates the query on the data and input, within the deadline.
func (q *query) ask(ctx context.Context, data ast.Object, input ast.Value, now engine.Unix, deadline time.Duration) (*ast.Term, error) {
	if q.watch != nil {
		q.watch("rule "+q.policy+"."+q.rule, q.head)
	}
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(deadline, cancel.Cancel)
	defer timer.Stop()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	opts := []rego.EvalOption{rego.EvalTransaction(docTxn{data}), rego.EvalExternalCancel(cancel), rego.EvalTime(now.Time())}
	if input != nil {
		opts = append(opts, rego.EvalParsedInput(input))
	}
	if q.tracer != nil {
		opts = append(opts, rego.EvalQueryTracer(q.tracer))
	}
	rs, err := q.prepared.Eval(ctx, opts...)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case topdown.IsCancel(err):
		return nil, fmt.Errorf("did not end within %v", deadline)
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
