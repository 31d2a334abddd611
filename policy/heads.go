package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"

	"heliostat/engine"
)

// A field is one key of a rule's items, as its reader asks for it.
type field struct {
	key      string
	required bool
	schema   map[string]any
}

// What the keys of items are, where that is the same for all of them.
var (
	textSchema   = map[string]any{"type": "string"}
	reasonSchema = map[string]any{"minLength": 1, "maxLength": maxReason}
	momentSchema = map[string]any{"type": []string{"integer", "null"}, "minimum": 0, "description": "Unix seconds"}
	namesSchema  = map[string]any{"type": "array", "items": textSchema, "description": "an array or a set"}
)

// describe adds to the schema of the key that was asked for last.
func (it *item) describe(schema map[string]any) {
	if it.probe != nil {
		maps.Copy((*it.probe)[len(*it.probe)-1].schema, schema)
	}
}

// fields lists the keys of the rule's items. It asks the reader itself, by
// handing it an item without any: so the contract is written down once.
func (r ruleSpec) fields() []field {
	var out []field
	r.read(&answer{}, &item{obj: ast.NewObject(), snap: &engine.Snapshot{}, cluster: engine.None, probe: &out})
	return out
}

// OutputSchema is the JSON schema (draft 7) of what rules say: under each rule's
// name that of one item of its set. custom holds the rule's scope, and whether
// it is a veto.
func OutputSchema() ([]byte, error) {
	defs := map[string]any{}
	for name, spec := range contract {
		props, required := map[string]any{}, []string{}
		for _, f := range spec.fields() {
			props[f.key] = f.schema
			if f.required && (name != engine.RuleFreeze || f.key != "id") { // the fleet has no id
				required = append(required, f.key)
			}
		}
		defs[name] = map[string]any{
			"type": "object", "properties": props, "required": required, "additionalProperties": false,
			"custom": map[string]any{"scope": spec.scope, "veto": spec.veto},
		}
	}
	return json.MarshalIndent(map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "what rules say: an item of each rule's set", "$defs": defs,
	}, "", " ")
}

// checkHeads refuses items that could never be read: where the head of a rule of
// the contract is an object written out, its keys are known before it is asked.
func (f *files) checkHeads() Faults {
	var faults Faults
	for _, m := range f.modules {
		if isTest(m.name) || len(m.parsed.Package.Path) != 3 {
			continue
		}
		for _, r := range m.parsed.Rules {
			spec, ok := contract[r.Head.Ref()[0].Value.String()]
			if !ok || r.Head.Key == nil {
				continue
			}
			key := written(r)
			if obj, ok := key.Value.(ast.Object); ok {
				faults = append(faults, checkHead(r.Head.Name.String(), spec, obj, key.Location)...)
			}
		}
	}
	return faults
}

// written is the key of the rule's head, or what its body says that this is: x := {...}.
func written(r *ast.Rule) *ast.Term {
	for _, e := range r.Body {
		if e.IsAssignment() && e.Operand(0).Equal(r.Head.Key) {
			return e.Operand(1)
		}
	}
	return r.Head.Key
}

// form is an item of the rule as it is to be written.
func (r ruleSpec) form() string {
	var keys []string
	for _, f := range r.fields() {
		if f.required {
			keys = append(keys, f.key)
		}
	}
	return `write {"` + strings.Join(keys, `": ..., "`) + `": ...}`
}

func checkHead(rule string, spec ruleSpec, obj ast.Object, loc *ast.Location) Faults {
	var required, all []string
	for _, f := range spec.fields() {
		all = append(all, f.key)
		if f.required {
			required = append(required, f.key)
		}
	}
	var faults Faults
	fail := func(loc *ast.Location, advice, format string, args ...any) {
		x := faultAt(loc, format, args...)
		x.Advice = advice
		faults = append(faults, x)
	}
	form := spec.form()
	for _, k := range required {
		v := obj.Get(ast.StringTerm(k))
		kind := obj.Get(ast.StringTerm("kind"))
		switch {
		case v == nil && k == "id" && kind != nil && kind.Value.Compare(ast.String("fleet")) == 0:
		case v == nil:
			fail(loc, form, "%s: %q is missing: an item without it spoils the rule's whole answer", rule, k)
		case k == "reason" && v.Value.Compare(ast.String("")) == 0:
			fail(v.Location, "say in a few words why: people read it", "%s: \"reason\" is empty", rule)
		}
	}
	for _, f := range spec.fields() {
		if v := obj.Get(ast.StringTerm(f.key)); v != nil {
			if wrong := f.outOfBounds(v.Value); wrong != "" {
				fail(v.Location, "", "%s: %q %s", rule, f.key, wrong)
			}
		}
	}
	for _, k := range obj.Keys() {
		if s, ok := k.Value.(ast.String); ok && !slices.Contains(all, string(s)) {
			fail(k.Location, form, "%s: unknown key %q: one of %q", rule, string(s), all)
		}
	}
	return faults
}

// outOfBounds says what is wrong with a value that is written out, whatever its
// type; empty where nothing is.
func (f *field) outOfBounds(v ast.Value) string {
	switch v := v.(type) {
	case ast.String:
		if names, ok := f.schema["enum"].([]string); ok && !slices.Contains(names, string(v)) {
			return fmt.Sprintf("is %v: one of %q", v, names)
		}
		if most, ok := f.schema["maxLength"].(int); ok && utf8.RuneCountInString(string(v)) > most {
			return fmt.Sprintf("has %d characters: at most %d", utf8.RuneCountInString(string(v)), most)
		}
	case ast.Number:
		n, _ := v.Float64()
		lo, bounded := f.schema["minimum"]
		if hi := f.schema["maximum"]; bounded && hi != nil && (n < asFloat(lo) || n > asFloat(hi)) {
			return fmt.Sprintf("is %v: from %v to %v", v, lo, hi)
		}
	}
	return ""
}

func asFloat(n any) float64 {
	if i, ok := n.(int64); ok {
		return float64(i)
	}
	f, _ := n.(float64)
	return f
}

// checkTypes refuses items that can never be read since a key of theirs has another
// type than the contract says. What the compiler cannot tell is left to the dry run.
func (c *compiled) checkTypes(f *files) Faults {
	heads := map[string]*ast.Term{} // as written, by place
	for _, m := range f.modules {
		for _, r := range m.parsed.Rules {
			if r.Head.Key != nil {
				heads[r.Location.String()] = written(r)
			}
		}
	}
	// The compiler keeps one type for all rules of a name, and tells that of a term in
	// a body alone where it does not suit: so each item is handed to functions that
	// take a number and a string, in a copy of its rule.
	var copies []*ast.Rule
	var of []*entry
	for i := range c.entries {
		for _, r := range c.compiler.GetRulesExact(ast.MustParseRef(c.entries[i].ref)) {
			x := r.Copy()
			for _, f := range []*ast.Builtin{ast.Abs, ast.Lower} {
				call := f.Expr(x.Head.Key, ast.VarTerm("__"+f.Name))
				call.Location = &ast.Location{Row: len(copies) + 1}
				x.Body.Append(call)
			}
			copies, of = append(copies, x), append(of, &c.entries[i])
		}
	}
	var faults Faults
	seen := -1
	for _, err := range c.compiler.PassesTypeCheckRules(copies) { // by location
		d, ok := err.Details.(*ast.ArgErrDetail)
		if i := err.Location.Row - 1; ok && i != seen && len(d.Have) > 0 {
			seen = i
			head := heads[copies[i].Location.String()]
			if head == nil {
				head = copies[i].Head.Key
			}
			faults = append(faults, of[i].checkType(d.Have[0], head)...)
		}
	}
	return faults
}

// checkType is checkTypes of one rule. head is its item as written.
func (e *entry) checkType(item types.Type, head *ast.Term) Faults {
	var faults Faults
	fail := func(loc *ast.Location, advice, format string, args ...any) {
		x := faultAt(loc, "%s: "+format, append([]any{e.rule}, args...)...)
		x.Advice = advice
		faults = append(faults, x)
	}
	if !fits(item, "object") {
		fail(head.Location, e.spec.form(), "an item is %s: it has to be an object", kindOf(item))
		return faults
	}
	obj, ok := item.(*types.Object)
	if !ok || obj.DynamicProperties() != nil {
		return nil
	}
	out, writtenOut := head.Value.(ast.Object)
	for _, f := range e.spec.fields() {
		t := obj.Select(f.key)
		switch {
		case t == nil && f.required && !writtenOut && (e.rule != engine.RuleFreeze || f.key != "id"):
			fail(head.Location, e.spec.form(), "%q is missing: an item without it spoils the rule's whole answer", f.key)
		case t != nil && !f.takes(t):
			loc, advice := head.Location, ""
			if writtenOut && out.Get(ast.StringTerm(f.key)) != nil {
				loc = out.Get(ast.StringTerm(f.key)).Location
			}
			if o, ok := cmp.Or(element(t), t).(*types.Object); ok && o.Select("id") != nil {
				advice = "write the id: x.id"
			}
			fail(loc, advice, "%q %s: it has to be %s", f.key, wordType(t), f.kinds())
		}
	}
	return faults
}

// names are the JSON types that the field may have.
func (f *field) names() []string {
	switch t := f.schema["type"].(type) {
	case string:
		return []string{t}
	case []string:
		return t
	}
	return nil
}

// kinds words that.
func (f *field) kinds() string {
	if _, list := f.schema["items"]; list {
		return "an array or a set of strings"
	}
	return strings.ReplaceAll("a "+strings.Join(f.names(), " or "), "a integer", "a whole number")
}

func (f *field) takes(t types.Type) bool {
	if _, list := f.schema["items"]; list {
		if of := element(t); of != nil {
			return fits(of, "string")
		}
	}
	return fits(t, f.names()...)
}

// element is the type of what a set or an array holds, nil where that is not one type.
func element(t types.Type) types.Type {
	switch t := t.(type) {
	case *types.Set:
		return t.Of()
	case *types.Array:
		return t.Dynamic()
	}
	return nil
}

// wordType says of what type a value is, or what it holds.
func wordType(t types.Type) string {
	if of := element(t); of != nil && kindOf(of) != "" {
		return "holds " + kindOf(of)
	}
	return "is " + kindOf(t)
}

// fits reports whether a value of the type can be one of the JSON types.
func fits(t types.Type, names ...string) bool {
	if either, ok := t.(types.Any); ok {
		return len(either) == 0 || slices.ContainsFunc(either, func(t types.Type) bool { return fits(t, names...) })
	}
	name := kindOf(t)
	return name == "" || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(name, " "+n) || n == "integer" && name == "a number" })
}

// kindOf words a type; empty where it can be anything.
func kindOf(t types.Type) string {
	switch t.(type) {
	case types.String:
		return "a string"
	case types.Number:
		return "a number"
	case types.Boolean:
		return "a boolean"
	case types.Null:
		return "a null"
	case *types.Array, *types.Set:
		return "an array"
	case *types.Object:
		return "an object"
	}
	return ""
}
