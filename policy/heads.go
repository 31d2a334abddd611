package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

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
	form := `write {"` + strings.Join(required, `": ..., "`) + `": ...}`
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
	for _, k := range obj.Keys() {
		if s, ok := k.Value.(ast.String); ok && !slices.Contains(all, string(s)) {
			fail(k.Location, form, "%s: unknown key %q: one of %q", rule, string(s), all)
		}
	}
	return faults
}
