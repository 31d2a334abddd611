package policy

import (
	"context"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// locate runs a test that fails once more, and finds the expression that failed, with
// the values of its variables.
func (t *TestResult) locate(ctx context.Context, c *ast.Compiler, store storage.Store, txn storage.Transaction, test *ast.Location) {
	if test == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	at := &failure{test: test}
	// It ends as it did: what is wrong with it is told already.
	_, _ = rego.New(rego.Compiler(c), rego.Store(store), rego.Transaction(txn), rego.Query(t.Package+"."+t.Name), rego.QueryTracer(at)).Eval(ctx)
	if at.expr != nil {
		t.Line, t.Column, t.Values = at.expr.Location.Row, at.expr.Location.Col, at.values
	}
}

// values has a line for each value of the expression that failed.
func (t *TestResult) values() string {
	var b strings.Builder
	for _, v := range t.Values {
		b.WriteString("\n\t" + v.Name + " is " + v.Value)
	}
	return b.String()
}

// A failure is the last expression of a test that failed: of those in a body each one
// before it has held.
type failure struct {
	test   *ast.Location
	expr   *ast.Expr
	values []Value
}

// Enabled implements topdown.QueryTracer.
func (*failure) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (*failure) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent implements topdown.QueryTracer.
func (f *failure) TraceEvent(e topdown.Event) {
	expr, ok := e.Node.(*ast.Expr)
	if !ok || e.Op != topdown.FailOp || expr.Location == nil || expr.Location.File != f.test.File {
		return
	}
	if last := f.test.Row + strings.Count(string(f.test.Text), "\n"); expr.Location.Row < f.test.Row || expr.Location.Row > last {
		return
	}
	f.expr = expr
	v := &held{reader: &reader{}, event: &e}
	ast.WalkVars(expr, func(x ast.Var) bool {
		if name, ok := v.named(ast.NewTerm(x)); ok {
			if val := e.Locals.Get(x); val != nil {
				v.add(Value{Name: name, Value: lineAt(val.String(), 1)})
			}
		}
		return false
	})
	if expr.IsCall() && len(expr.Operands()) == 2 {
		for i, side := range []string{"the left side", "the right side"} {
			x, isVar := expr.Operand(i).Value.(ast.Var)
			if _, named := v.named(expr.Operand(i)); named || !isVar {
				continue
			}
			if val := e.Locals.Get(x); val != nil {
				v.add(Value{Name: side, Value: lineAt(val.String(), 1)})
			}
		}
	}
	f.values = v.values
}
