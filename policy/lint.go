package policy

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// A Lint is one thing that compiles and is seldom meant.
type Lint struct {
	Name    string
	Warning bool   // the bundle is usable as it is
	About   string // what it finds, and why that is bad
	Advice  string // what to write instead
	find    func(*linter, *module)
}

// Lints lists what [Draft.Lint] looks for, by name.
func Lints() []Lint { return slices.Clone(lints) }

var lints = []Lint{
	{"null-less-than", true, "a value that may be null is compared with < or <=: null is less than any number", "ask is_number(x) first, or that the host is usable", (*linter).nullLessThan},
	{"quadratic-head", false, "a rule with a key, NAME[x] := ... or NAME[x] contains ...: each key is compared with all before it, 23 seconds at 30,000 VMs", "write {x: value | ...}, or NAME contains {\"key\": x, ...}", (*linter).quadraticHead},
	{"shadowing-name", true, "a helper is called like a built-in or like a rule of the contract: a reader takes it for that", "give the helper a name of its own", (*linter).shadowingName},
	{"similar-name", true, "a rule that nothing calls has a name that is nearly one of the contract: nobody asks it", "correct the name and annotate it, or delete the rule", (*linter).similarName},
	{"sprintf-in-decision", false, "sprintf of something undefined makes the whole item vanish, a veto's too", "write a template string, $\"... {x} ...\": what is undefined shows as such", (*linter).sprintf},
	{"tag-without-default", true, "a veto reads a tag or attribute that a VM may not have: the veto is silent there", "write object.get(vm.tags, \"NAME\", \"\") and say what holds where it is missing", (*linter).tagWithoutDefault},
	{"test-among-policies", true, "a rule test_... stands in a file that is not named ..._test.rego: it is loaded as part of a policy", "move it to NAME_test.rego", (*linter).testAmongPolicies},
	{"undefined-rule", false, "what is read of another policy is not there: the rule that reads it is silent", "correct the name", (*linter).undefinedRule},
	{"untested-rule", true, "no test of the bundle reads this rule", "add one to NAME_test.rego: heliostat policy new writes a first one", (*linter).untested},
	{"walk-over-input", false, "walk visits every value of every VM, each cycle", "name the fields that are meant", (*linter).walkOverInput},
}

// ignore is the comment that silences a lint on the next line, or on its own.
const ignore = "heliostat ignore:"

// Lint reports what the lints find in the author's modules. A draft that does
// not compile gives the faults of [Draft.Check] alone.
//
// A comment "heliostat ignore:NAME" on the line, or on the line before, silences
// one lint there.
func (d *Draft) Lint(ctx context.Context) Faults {
	c, err := compile(ctx, d.whole)
	if err != nil {
		return d.point(asFaults(err))
	}
	return d.lint(c, true)
}

// lint is Lint of a draft that is compiled, without the warnings if need be.
func (d *Draft) lint(c *compiled, warnings bool) Faults {
	l := &linter{draft: d, compiled: c, calls: c.calls(), tested: sync.OnceValue(d.tested)}
	for i := range lints {
		if l.lint = &lints[i]; l.lint.Warning && !warnings {
			continue
		}
		for _, m := range d.own.modules {
			if !isTest(m.name) {
				l.lint.find(l, m)
			}
		}
	}
	l.found = slices.DeleteFunc(l.found, l.ignored)
	return d.point(asFaults(l.found.err()))
}

// A linter collects what the lints find.
type linter struct {
	draft    *Draft
	compiled *compiled
	calls    map[string]bool        // rules that something reads or that are asked, by path
	tested   func() map[string]bool // rules that a test reads, by path
	lint     *Lint
	found    Faults
}

func (l *linter) report(loc *ast.Location, format string, args ...any) {
	f := faultAt(loc, format, args...)
	f.Lint, f.Warning, f.Advice = l.lint.Name, l.lint.Warning, l.lint.Advice
	l.found = append(l.found, f)
}

func (l *linter) ignored(f Fault) bool {
	for _, n := range []int{f.Line, f.Line - 1} {
		_, names, ok := strings.Cut(l.draft.line(f.File, n), ignore)
		if ok && slices.Contains(strings.FieldsFunc(names, func(r rune) bool { return r == ' ' || r == ',' }), f.Lint) {
			return true
		}
	}
	return false
}

// calls are the rules that are asked, or that another rule reads.
func (c *compiled) calls() map[string]bool {
	out := map[string]bool{}
	for _, e := range c.entries {
		out[e.ref] = true
	}
	for _, m := range c.compiler.Modules {
		for _, r := range m.Rules {
			readRules(r, out)
		}
	}
	return out
}

// tested are the rules that the author's tests read.
func (d *Draft) tested() map[string]bool {
	out := map[string]bool{}
	c := d.withTests()
	for label, m := range c.Modules {
		if isTest(label) {
			readRules(m, out)
		}
	}
	return out
}

// readRules notes the paths below data.placement that x reads.
func readRules(x any, into map[string]bool) {
	root := ast.MustParseRef("data.placement")
	ast.WalkRefs(x, func(r ast.Ref) bool {
		if len(r) >= 4 && r.HasPrefix(root) && r[:4].IsGround() {
			into[r[:4].String()] = true
		}
		return false
	})
}

func (l *linter) quadraticHead(m *module) {
	for _, r := range m.parsed.Rules {
		ref := r.Head.Ref()
		if slices.ContainsFunc(ref[1:], func(t *ast.Term) bool { return !ast.IsConstant(t.Value) }) {
			l.report(r.Location, "%s has a key: it costs the square of the number of keys", ref)
		}
	}
}

func (l *linter) sprintf(m *module) {
	l.calledIn(m, "sprintf", func(loc *ast.Location, _ []*ast.Term) {
		l.report(loc, "sprintf in a policy: where an argument is undefined, the item is not there at all")
	})
}

func (l *linter) walkOverInput(m *module) {
	l.calledIn(m, "walk", func(loc *ast.Location, args []*ast.Term) {
		if ref, ok := args[0].Value.(ast.Ref); ok && (ref[0].Equal(ast.InputRootDocument) || ref.HasPrefix(ast.MustParseRef("data.fleet"))) {
			l.report(loc, "walk over %s visits every value in it", ref)
		}
	})
}

// calledIn visits the calls of a built-in, as statements and as terms.
func (l *linter) calledIn(m *module, name string, f func(loc *ast.Location, args []*ast.Term)) {
	ast.WalkExprs(m.parsed, func(e *ast.Expr) bool {
		if e.IsCall() && e.Operator().String() == name && len(e.Operands()) > 0 {
			f(e.Location, e.Operands())
		}
		return false
	})
	ast.WalkTerms(m.parsed, func(t *ast.Term) bool {
		if call, ok := t.Value.(ast.Call); ok && call[0].String() == name && len(call) > 1 {
			f(t.Location, call[1:])
		}
		return false
	})
}

func (l *linter) shadowingName(m *module) {
	seen := map[string]bool{}
	for _, r := range m.parsed.Rules {
		name := r.Head.Ref()[0].Value.String()
		_, isRule := contract[name]
		switch {
		case seen[name]:
		case ast.BuiltinMap[name] != nil:
			l.report(r.Location, "%s is also the name of a built-in", name)
		case isRule && len(r.Head.Args) > 0:
			l.report(r.Location, "%s is a function here, and elsewhere a rule that is asked", name)
		}
		seen[name] = true
	}
}

func (l *linter) similarName(m *module) {
	for _, r := range m.parsed.Rules {
		name := r.Head.Ref()[0].Value.String()
		pkg := m.parsed.Package.Path
		_, ok := contract[name]
		if ok && len(pkg) > 3 && !l.calls[pkg[:4].String()] {
			l.report(r.Location, "%s is asked by nobody: a policy is a package placement.NAME, and this one is below", name)
		}
		if ok || l.calls[pkg.String()+"."+name] {
			continue
		}
		for like := range contract {
			if distance(name, like) <= 2 && len(like) > 3 || strings.TrimSuffix(strings.TrimSuffix(name, "s"), "ied") == strings.TrimSuffix(like, "y") {
				l.report(r.Location, "%s is asked by nobody: is %s meant?", name, like)
				break
			}
		}
	}
}

func (l *linter) testAmongPolicies(m *module) {
	for _, r := range m.parsed.Rules {
		if name := r.Head.Ref()[0].Value.String(); strings.HasPrefix(name, "test_") {
			l.report(r.Location, "%s is no test here: it is loaded as part of %s", name, m.pkg())
		}
	}
}

// undefinedRule looks at the compiled rules, where imports are written out.
func (l *linter) undefinedRule(m *module) {
	mod := l.compiled.compiler.Modules[m.label]
	if mod == nil {
		return
	}
	root := ast.MustParseRef("data.placement")
	for _, r := range mod.Rules {
		ast.WalkRefs(r, func(ref ast.Ref) bool {
			known := ref.ConstantPrefix()
			for i := len(root) + 1; known.HasPrefix(root) && i <= len(known); i++ {
				node := l.compiled.compiler.RuleTree.Find(known[:i])
				if node == nil {
					l.report(ref[0].Location, "there is no %s", known[:i])
				}
				if node == nil || len(node.Values) > 0 {
					break
				}
			}
			return false
		})
	}
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag, row[j+1] = row[j+1], min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (l *linter) untested(m *module) {
	for _, e := range l.compiled.entries {
		if e.policy == policyPackage(m) && e.loc.File == m.label && !l.tested()[e.ref] {
			l.report(l.compiled.compiler.GetRulesExact(ast.MustParseRef(e.ref))[0].Location, "%s of %s has no test", e.rule, e.policy)
		}
	}
}

// vetoes are the rules of the module that can forbid something.
func (l *linter) vetoes(m *module) []*ast.Rule {
	var out []*ast.Rule
	for _, r := range m.parsed.Rules {
		if contract[r.Head.Ref()[0].Value.String()].veto {
			out = append(out, r)
		}
	}
	return out
}

func (l *linter) tagWithoutDefault(m *module) {
	for _, r := range l.vetoes(m) {
		if r.Head.Ref()[0].Value.String() == engine.RulePin {
			continue // names VMs by what they have
		}
		ast.NewGenericVisitor(func(x any) bool {
			if e, ok := x.(*ast.Expr); ok && e.Negated {
				return true // what is missing counts there
			}
			ref, ok := x.(ast.Ref)
			if !ok {
				return false
			}
			for i := 1; i+1 < len(ref); i++ {
				if k := ref[i].Value.Compare(ast.String("tags")); k == 0 || ref[i].Value.Compare(ast.String("attributes")) == 0 {
					l.report(ref[0].Location, "%s is undefined for a VM without it, and the veto with it", ref)
					break
				}
			}
			return false
		}).Walk(r)
	}
}

// nullLessThan looks at the compiled rules, where each ref in a comparison has a
// variable of its own.
func (l *linter) nullLessThan(m *module) {
	mod := l.compiled.compiler.Modules[m.label]
	if mod == nil {
		return
	}
	ast.WalkBodies(mod, func(b ast.Body) bool {
		known := guarded(b)
		for _, e := range b {
			low, ok := lesser(e)
			if !ok {
				continue
			}
			ref := origin(b, low)
			if ref == nil || known[ref.String()] || known[usableOf(ref)] {
				continue
			}
			if path := documentPath(b, ref); mayBeNull(path) {
				l.report(e.Location, "%s may be null, and null is less than any number", strings.Join(path, "."))
			}
		}
		return false
	})
}

// lesser is the side of a comparison that is to be the smaller.
func lesser(e *ast.Expr) (*ast.Term, bool) {
	if !e.IsCall() || e.Negated || len(e.Operands()) < 2 {
		return nil, false
	}
	switch e.Operator().String() {
	case "lt", "lte":
		return e.Operand(0), true
	case "gt", "gte":
		return e.Operand(1), true
	}
	return nil, false
}

// guarded are the refs that the body asks to be numbers, and those of usable
// hosts: a host whose load is unknown is not usable.
func guarded(b ast.Body) map[string]bool {
	out := map[string]bool{}
	for _, e := range b {
		switch {
		case e.IsCall() && e.Operator().String() == "is_number" && !e.Negated, e.IsCall() && e.Operator().String() == "is_null" && e.Negated:
			if ref := origin(b, e.Operand(0)); ref != nil {
				out[ref.String()] = true
			}
		case !e.IsCall() && !e.Negated:
			if t, ok := e.Terms.(*ast.Term); ok {
				if ref, ok := t.Value.(ast.Ref); ok {
					out[ref.String()] = true
				}
			}
		}
	}
	return out
}

// origin is the ref that a term is, or that the compiler has put in a variable.
func origin(b ast.Body, t *ast.Term) ast.Ref {
	switch v := t.Value.(type) {
	case ast.Ref:
		return v
	case ast.Var:
		for _, e := range b {
			if e.IsCall() && len(e.Operands()) == 2 && e.Operator().String() == "eq" {
				for i := range 2 {
					if ref, ok := e.Operand(1 - i).Value.(ast.Ref); ok && e.Operand(i).Value.Compare(v) == 0 {
						return ref
					}
				}
			}
		}
	}
	return nil
}

// usableOf is x.usable for x.cpu_pct.
func usableOf(r ast.Ref) string {
	return r[:len(r)-1].Append(ast.StringTerm("usable")).String()
}

// documentPath follows the variables that a ref begins with to input or data.
// What is not a name in it, an index, is "*".
func documentPath(b ast.Body, ref ast.Ref) []string {
	var tail []string
	for range len(b) + 1 { // a variable has one origin: no more steps than statements
		for i := len(ref) - 1; i > 0; i-- {
			if s, ok := ref[i].Value.(ast.String); ok {
				tail = append(tail, string(s))
			} else {
				tail = append(tail, "*")
			}
		}
		head := ref[0]
		if head.Equal(ast.InputRootDocument) || head.Equal(ast.DefaultRootDocument) {
			tail = append(tail, head.String())
			slices.Reverse(tail)
			return tail
		}
		next := origin(b, head)
		if next == nil {
			return nil
		}
		ref = next
	}
	return nil
}

// mayBeNull asks the schemas of what policies see.
func mayBeNull(path []string) bool {
	var schema any
	switch {
	case len(path) > 1 && path[0] == "input":
		schema, path = inputSchema, path[1:]
	case len(path) > 2 && path[0] == "data" && path[1] == "fleet":
		schema, path = fleetSchema, path[2:]
	}
	root := schema
	for _, key := range path {
		m, _ := schema.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			defs, _ := root.(map[string]any)["$defs"].(map[string]any)
			m, _ = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		if key == "*" {
			schema = m["items"]
			continue
		}
		props, _ := m["properties"].(map[string]any)
		schema = props[key]
	}
	m, _ := schema.(map[string]any)
	types, _ := m["type"].([]any)
	return slices.Contains(types, any("null"))
}
