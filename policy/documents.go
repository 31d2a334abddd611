package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"heliostat/engine"
)

// Documents are what rules see of a view, for tests and for people who ask.
type Documents struct {
	b    *Bundle // for its encoder alone
	d    *document
	data ast.Object
}

// Show encodes the view as rules see it.
func Show(v engine.View) *Documents {
	x := &Documents{b: &Bundle{enc: &encoder{}}}
	x.d, x.data = x.b.encode(v)
	x.d = x.b.enc.encodeAll(x.d)
	return x
}

// Input is what a rule sees in input: of no scope but the fleet's it is empty.
type Input struct{ value ast.Value }

// Cluster is the input of rules that read cluster c.
func (x *Documents) Cluster(c int32) Input { return Input{clusterInput(x.d, c, &everything)} }

// Move is the input of rules that read the move; not ok where its VM or a host is not there.
func (x *Documents) Move(a engine.Action) (in Input, ok bool) {
	in.value = x.b.moveInputs(x.d, []engine.Action{a})[0]
	return in, in.value != nil
}

// A Fixture is what a rule sees, as JSON.
type Fixture struct {
	Input any `json:"input,omitempty"`
	Data  struct {
		Fleet any `json:"fleet"`
	} `json:"data"`
}

// Fixture is the input, and the fleet, as a test takes them.
func (x *Documents) Fixture(in Input) (f Fixture, err error) {
	if in.value != nil {
		if f.Input, err = ast.JSON(in.value); err != nil {
			return f, err
		}
	}
	f.Data.Fleet, err = ast.JSON(x.d.fleet.Value)
	return f, err
}

// A Question is a compiled draft that can be asked about documents.
type Question struct {
	compiler *ast.Compiler
	static   ast.Object // data.params and data.facts
	docs     *Documents
}

// Ask makes the draft ready to be asked. The error is [Faults].
func (d *Draft) Ask(ctx context.Context, docs *Documents) (*Question, error) {
	c, err := compile(ctx, d.whole)
	if err != nil {
		return nil, d.point(asFaults(err)).err()
	}
	q := &Question{compiler: c.compiler, static: ast.NewObject(), docs: docs}
	for key, doc := range map[string]map[string]any{"params": d.whole.params, "facts": d.whole.facts} {
		v, err := ast.InterfaceToValue(doc)
		if err != nil {
			return nil, fmt.Errorf("encode data.%s: %w", key, err)
		}
		q.static.Insert(ast.StringTerm(key), ast.NewTerm(v))
	}
	q.static.Insert(ast.StringTerm("fleet"), docs.d.fleet)
	return q, nil
}

// Eval evaluates an expression: rules may call what policies may, and nothing else.
// It returns one text a result, in Rego's own notation; none where it is undefined or
// false.
func (q *Question) Eval(ctx context.Context, expr string, in Input) ([]string, error) {
	p, err := rego.New(
		rego.Compiler(q.compiler), rego.Query(expr), rego.Store(docStore{}), rego.StrictBuiltinErrors(true), rego.SetRegoVersion(ast.RegoV1),
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t.String(), nil }),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, worded(err)
	}
	// A query that loops must end, as in the daemon.
	cancel := topdown.NewCancel()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	opts := []rego.EvalOption{rego.EvalTransaction(docTxn{q.static}), rego.EvalExternalCancel(cancel), rego.EvalTime(q.docs.d.now.Time())}
	if in.value != nil {
		opts = append(opts, rego.EvalParsedInput(in.value))
	}
	rs, err := p.Eval(ctx, opts...)
	if err != nil {
		return nil, worded(err)
	}
	var out []string
	for _, r := range rs {
		var parts []string
		for _, e := range r.Expressions {
			if text, ok := e.Value.(string); ok && (len(r.Bindings) == 0 || text != "true") {
				parts = append(parts, text)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r.Bindings)) {
			parts = append(parts, fmt.Sprintf("%s = %v", name, r.Bindings[name]))
		}
		out = append(out, strings.Join(parts, "\n"))
	}
	return out, nil
}

// worded is an error about an expression, which has no file, with what to write instead.
func worded(err error) error {
	var all []string
	add := func(f Fault) {
		text := f.Message
		if f.File != "" {
			text = f.Error()
		}
		if advice := adviceFor(f.Message); advice != "" {
			text += "\n\t" + advice
		}
		all = append(all, text)
	}
	if e, ok := errors.AsType[*topdown.Error](err); ok {
		add(faultAt(e.Location, "%s", e.Message))
	} else {
		for _, f := range faultsOf("", err) {
			add(f)
		}
	}
	return errors.New(strings.Join(all, "\n"))
}

// TestSkeleton writes a test in which the rule says about the input what it says now.
func (q *Question) TestSkeleton(ctx context.Context, policy, rule, name string, in Input) ([]byte, error) {
	said, err := q.Eval(ctx, "data.placement."+policy+"."+rule, in)
	if err != nil {
		return nil, err
	}
	if len(said) != 1 {
		return nil, fmt.Errorf("%s.%s is undefined here: is there such a rule, and does it read this scope?", policy, rule)
	}
	f, err := q.docs.Fixture(in)
	if err != nil {
		return nil, err
	}
	input, errI := json.Marshal(f.Input)
	fleet, errF := json.Marshal(f.Data.Fleet)
	if err := errors.Join(errI, errF); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`# What %[1]s.%[2]s says about a recorded fleet. Edit the input, or what is expected of it.
package placement.%[1]s_test

import data.placement.%[1]s

recorded_input := %[4]s

recorded_fleet := %[5]s

test_%[3]s if {
	want := %[6]s
	%[1]s.%[2]s == want with input as recorded_input with data.fleet as recorded_fleet
}
`, policy, rule, name, input, fleet, said[0])
	return format.SourceWithOpts("fixture", []byte(text), format.Opts{RegoVersion: ast.RegoV1})
}
