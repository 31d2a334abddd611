package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"heliostat/engine"
)

// A Reading is one item that a rule said, with where it is written and the values
// that its body, and the helpers which that called, read for it.
type Reading struct {
	Names  []string // IDs that the item names: of a VM, a host, a site, another place
	Reason string
	At     string // file:line
	Values []Value
}

// A Value is something that a rule read, as its author called it.
type Value struct {
	Name  string `json:"name"`
	Value string `json:"value"` // as JSON, of a time with the time in words; "undefined" where there was none
}

// About is what a rule is asked about: a cluster, a move, or neither.
type About struct {
	Cluster int32 // None for no cluster
	Move    *engine.Action
}

// The bounds of what is shown of an item: more is read by nobody.
const (
	maxReadings  = 24
	maxValueText = 80
	mostInner    = 200 // of all members of a comprehension
)

// Readings asks a rule once more about a view, and watches it. A rule that is off, is
// not there, or is asked at another scope has said nothing.
func (b *Bundle) Readings(ctx context.Context, view engine.View, policy, rule string, about About) ([]Reading, error) {
	d, data := b.encode(view)
	i := slices.IndexFunc(b.queries, func(q query) bool { return q.policy == policy && q.rule == rule })
	if i < 0 {
		return nil, nil
	}
	q := b.queries[i]
	var input ast.Value
	switch {
	case q.spec.scope == scopeCluster && about.Cluster >= 0:
		if q.footprint.vms {
			d = b.encodeAll(d)
		}
		input = clusterInput(d, about.Cluster, &q.footprint)
	case q.spec.scope == scopeMove && about.Move != nil:
		if input = b.moveInputs(d, []engine.Action{*about.Move})[0]; input == nil {
			return nil, nil
		}
	case q.spec.scope != scopeFleet:
		return nil, nil
	}
	r := &reader{rule: q.ref, data: data, input: input, helpers: map[string][]Value{}, members: membersOf(q.modules), inner: map[inner][]Value{}}
	q.tracer = r
	// A rule that fails has said nothing more: the decision names the failure.
	if _, err := q.ask(ctx, data, input, d.now, b.deadline); ctx.Err() != nil {
		return nil, err
	}
	return r.out, nil
}

// A reader watches one evaluation.
type reader struct {
	rule    string
	data    ast.Object
	input   ast.Value
	helpers map[string][]Value // what helpers read, by what they were called for
	members map[*ast.Expr]member
	inner   map[inner][]Value // what comprehensions read, each time that they were asked last
	out     []Reading
}

// An inner is a comprehension, by its first expression, in the query that asked for it.
type inner struct {
	query uint64
	first *ast.Expr
}

// A member is what a comprehension makes of its body, known by its first expression. An
// array's has no key.
type member struct {
	rule *ast.Rule
	key  *ast.Term
}

// membersOf finds the comprehensions in the bodies of rules.
func membersOf(modules map[string]*ast.Module) map[*ast.Expr]member {
	out := map[*ast.Expr]member{}
	for _, m := range modules {
		for _, rule := range m.Rules {
			ast.NewGenericVisitor(func(x any) bool {
				switch x := x.(type) {
				case *ast.ObjectComprehension:
					out[x.Body[0]] = member{rule, x.Key}
				case *ast.SetComprehension:
					out[x.Body[0]] = member{rule, x.Term}
				case *ast.ArrayComprehension:
					out[x.Body[0]] = member{rule, nil}
				}
				return false
			}).Walk(rule.Body)
		}
	}
	return out
}

// Enabled implements topdown.QueryTracer.
func (*reader) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (*reader) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent implements topdown.QueryTracer: a rule that is left has held, with its
// variables as they are.
func (r *reader) TraceEvent(e topdown.Event) {
	if body, ok := e.Node.(ast.Body); ok {
		r.comprehension(&e, body)
		return
	}
	if e.Op != topdown.ExitOp {
		return
	}
	rule, ok := e.Node.(*ast.Rule)
	if !ok {
		return
	}
	v := r.watch(&e, rule, rule.Body)
	ref := rule.Ref().String()
	switch head := rule.Head; {
	case len(head.Args) > 0:
		r.helpers[callKey(ref, v.plug(head.Args))] = v.values
	case head.Key == nil:
		r.helpers[ref] = v.values
	case ref != r.rule:
		r.helpers[callKey(ref, v.plug([]*ast.Term{head.Key}))] = v.values
	default:
		r.item(v, head.Key, rule.Loc())
	}
}

// comprehension notes what the body of one read for each of its members: they are left
// one after the other, once it was entered.
func (r *reader) comprehension(e *topdown.Event, body ast.Body) {
	m, ok := r.members[body[0]]
	if !ok {
		return
	}
	at := inner{e.ParentID, body[0]}
	if e.Op == topdown.EnterOp {
		delete(r.inner, at)
	}
	if e.Op == topdown.ExitOp {
		helps := m.key != nil && len(m.rule.Head.Args) == 0
		if !helps && len(r.inner[at]) > mostInner {
			return
		}
		v := r.watch(e, m.rule, body)
		if helps {
			r.helpers[callKey(m.rule.Ref().String(), v.plug([]*ast.Term{m.key}))] = v.values
		}
		r.inner[at] = append(r.inner[at], v.values...)
	}
}

// watch notes what the body of a rule, or a part of it, has read.
func (r *reader) watch(e *topdown.Event, rule *ast.Rule, body ast.Body) *held {
	v := &held{reader: r, event: e, policy: rule.Module.Package.Path}
	for _, expr := range body {
		v.expr(expr)
	}
	return v
}

// item notes what was read for an item of the rule.
func (r *reader) item(v *held, key *ast.Term, loc *ast.Location) {
	obj, ok := v.plug([]*ast.Term{key})[0].Value.(ast.Object)
	if !ok {
		return
	}
	out := Reading{At: fmt.Sprintf("%s:%d", loc.File, loc.Row)}
	for _, key := range []string{"vm", "host", "site", "id"} {
		if s, ok := textOf(obj.Get(ast.StringTerm(key))); ok {
			out.Names = append(out.Names, s)
		}
	}
	out.Reason, _ = textOf(obj.Get(ast.StringTerm("reason")))
	for _, x := range v.values {
		// What the item is about, and what it says, is no reason for it.
		told := x.Value == ast.String(out.Reason).String()
		if strings.HasSuffix(x.Name, ".id") {
			told = slices.ContainsFunc(out.Names, func(id string) bool { return x.Value == ast.String(id).String() })
		}
		if !told && len(out.Values) < maxReadings {
			out.Values = append(out.Values, x)
		}
	}
	r.out = append(r.out, out)
}

func textOf(t *ast.Term) (string, bool) {
	if t == nil {
		return "", false
	}
	s, ok := t.Value.(ast.String)
	return string(s), ok
}

func callKey(ref string, args []*ast.Term) string {
	var b strings.Builder
	b.WriteString(ref)
	for _, a := range args {
		b.WriteString(" ")
		b.WriteString(a.String())
	}
	return b.String()
}

// A held is one rule that has held.
type held struct {
	*reader
	event  *topdown.Event
	policy ast.Ref // the rule's package
	values []Value
}

// plug puts values in the place of variables.
func (v *held) plug(terms []*ast.Term) []*ast.Term {
	out := make([]*ast.Term, len(terms))
	for i, t := range terms {
		out[i] = t
		switch x := t.Value.(type) {
		case ast.Var:
			if val := v.event.Locals.Get(x); val != nil {
				out[i] = ast.NewTerm(val)
			}
		case ast.Object:
			o := ast.NewObject()
			x.Foreach(func(key, val *ast.Term) { o.Insert(key, v.plug([]*ast.Term{val})[0]) })
			out[i] = ast.NewTerm(o)
		}
	}
	return out
}

// expr notes what an expression read. The compiler has given each value that is not
// a plain variable one of its own: x < params.y is l = params.y; x < l.
func (v *held) expr(e *ast.Expr) {
	if e.IsEquality() {
		a, b := e.Operand(0), e.Operand(1)
		if _, ok := a.Value.(ast.Ref); ok {
			a, b = b, a
		}
		if ref, ok := b.Value.(ast.Ref); ok {
			v.ref(ref, v.plug([]*ast.Term{a})[0].Value)
			return
		}
		if name, ok := v.named(a); ok {
			v.note(name, v.plug([]*ast.Term{a})[0].Value)
		}
	}
	if op := e.Operator(); e.IsCall() && op != nil {
		args := v.plug(e.Operands())
		if op.HasPrefix(ast.DefaultRootRef) {
			// With what it returns, or without.
			v.add(v.helpers[callKey(op.String(), args)]...)
			if len(args) > 0 {
				v.add(v.helpers[callKey(op.String(), args[:len(args)-1])]...)
			}
		}
		if n := len(args); n > 0 {
			if name, ok := v.named(e.Operand(n - 1)); ok {
				v.note(name, args[n-1].Value)
			}
		}
	}
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension:
			v.within(x.Body)
			return true // has variables of its own
		case *ast.ObjectComprehension:
			v.within(x.Body)
			return true
		case *ast.SetComprehension:
			if _, named := v.named(x.Term); !named && len(x.Body) == 1 {
				return false // what the compiler makes of each {value} in a text
			}
			v.within(x.Body)
			return true
		case ast.Ref:
			if op := e.Operator(); op == nil || !op.Equal(x) {
				v.ref(x, missing(e))
			}
			return true
		}
		return false
	}).Walk(e)
}

// within adds what a comprehension read: a name with the values that it had in the
// members, as far as there is room. Which members these are is no reason.
func (v *held) within(body ast.Body) {
	var out []Value
	for _, x := range v.inner[inner{v.event.QueryID, body[0]}] {
		i := slices.IndexFunc(out, func(y Value) bool { return y.Name == x.Name })
		switch {
		case strings.HasSuffix(x.Name, ".id"):
		case i < 0:
			out = append(out, x)
		case slices.Contains(strings.Split(out[i].Value, ", "), x.Value), strings.HasSuffix(out[i].Value, ", ..."):
		case len(out[i].Value)+len(x.Value) > maxValueText:
			out[i].Value += ", ..."
		default:
			out[i].Value += ", " + x.Value
		}
	}
	v.add(out...)
}

// named is what the author called a variable; not ok for those of the compiler.
func (v *held) named(t *ast.Term) (string, bool) {
	x, ok := t.Value.(ast.Var)
	if !ok {
		return "", false
	}
	m, ok := v.event.LocalMetadata[x]
	name := string(m.Name)
	return name, ok && name != "" && !x.IsWildcard() && !strings.HasPrefix(name, "__local") && !strings.HasPrefix(name, "$")
}

// ref notes what a reference gave; val is what is known of it already, or nil.
func (v *held) ref(ref ast.Ref, val ast.Value) {
	name := v.event.LocalMetadata[headVar(ref)].Name
	shown := ref.Copy()
	for i, t := range v.plug(ref[1:]) {
		shown[i+1] = t
	}
	text := shown.String()
	if name != "" {
		text = string(name) + strings.TrimPrefix(text, shown[0].String())
	}
	text = strings.Replace(text, "data.params."+policyOf(v.policy)+".", "params.", 1)
	helper := ref.HasPrefix(v.policy)
	if helper {
		text = strings.TrimPrefix(text, v.policy.String()+".")
		if n := len(v.policy) + 1; len(shown) > n {
			v.add(v.helpers[callKey(ref[:n].String(), shown[n:n+1])]...)
		}
		v.add(v.helpers[ref.String()]...)
		if val != nil {
			v.add(v.helpers[callKey(ref[:len(v.policy)+1].String(), []*ast.Term{ast.NewTerm(val)})]...)
		}
		v.add(v.helpers[ref[:len(v.policy)+1].String()]...)
	}
	if found := v.find(shown); found != nil && !helper {
		val = found
	}
	if val != nil {
		v.note(text, val)
	}
}

// missing is what a reference that leads nowhere is to an expression: to "not x"
// it was what counted.
func missing(e *ast.Expr) ast.Value {
	if e.Negated {
		return undefined
	}
	return nil
}

func headVar(ref ast.Ref) ast.Var {
	x, _ := ref[0].Value.(ast.Var)
	return x
}

// undefined stands for the value of what has none.
var undefined = ast.Var("undefined")

// find follows a reference whose variables are known; nil where it leads nowhere.
func (v *held) find(ref ast.Ref) ast.Value {
	var root ast.Value
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		root = v.input
	case ref[0].Equal(ast.DefaultRootDocument):
		root = v.data
	default:
		root = v.event.Locals.Get(ref[0].Value)
	}
	if root == nil || !ref[1:].IsGround() {
		return nil
	}
	if len(ref) == 1 {
		return root
	}
	x, err := root.Find(ref[1:])
	if err != nil {
		return nil
	}
	return x
}

// note adds a value that is short enough to be read.
func (v *held) note(name string, val ast.Value) {
	switch val.(type) {
	case ast.Object, *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
		return
	case ast.Var:
		if val.Compare(undefined) != 0 {
			return
		}
	}
	if text := val.String(); len(text) <= maxValueText {
		v.add(Value{Name: name, Value: text + timeText(name, val)})
	}
}

// aTime is the least number that is taken for a moment: 2001. 0 is never, and a table of
// the author's may have a key of the same name that is something else.
const aTime = 1_000_000_000

// timeText is the time that a value is, in words, where the schemas say that what has
// its name is one.
func timeText(name string, val ast.Value) string {
	n, ok := val.(ast.Number)
	if !ok || !timeKeys[name[strings.LastIndex(name, ".")+1:]] {
		return ""
	}
	if at, ok := n.Int64(); ok && at >= aTime {
		return " (" + engine.Unix(at).String() + ")"
	}
	return ""
}

// add appends what is not there yet.
func (v *held) add(values ...Value) {
	for _, x := range values {
		if !slices.ContainsFunc(v.values, func(y Value) bool { return x.Name == y.Name }) {
			v.values = append(v.values, x)
		}
	}
}
