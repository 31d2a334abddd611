package policy

import (
	_ "embed"
	"encoding/json"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// InputSchema and FleetSchema are the JSON schemas (draft 7) of what policies
// see: input, and data.fleet. Each field's description is its documentation.
var (
	//go:embed schemas/input.json
	InputSchema []byte
	//go:embed schemas/fleet.json
	FleetSchema []byte
)

// mustJSON decodes an embedded schema.
func mustJSON(raw []byte) any {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		panic("embedded schema: " + err.Error())
	}
	return v
}

// The two, decoded.
var inputSchema, fleetSchema = mustJSON(InputSchema), mustJSON(FleetSchema)

// schemaSet names the schemas as the root annotations do.
func (f *files) schemaSet() *ast.SchemaSet {
	set := ast.NewSchemaSet()
	facts := f.facts
	if len(facts) == 0 { // an object without names could have any: one that cannot be meant
		facts = map[string]any{"no facts/NAME/data.json": map[string]any{}}
	}
	params, tables := f.paramsSchema(), inferred(facts, 3)
	if f.lost { // that is the fault to tell of, not what is missing by it
		params, tables = map[string]any{}, map[string]any{}
	}
	set.Put(ast.MustParseRef("schema.params"), params)
	set.Put(ast.MustParseRef("schema.facts"), tables)
	set.Put(ast.MustParseRef("schema.input"), inputSchema)
	set.Put(ast.MustParseRef("schema.fleet"), fleetSchema)
	return set
}

// keyTerms has a term for each property of the schemas: the encoder can write
// no key that a policy could not be checked against.
var keyTerms = func() map[string]*ast.Term {
	terms := map[string]*ast.Term{}
	properties(func(key string, _ any) { terms[key] = ast.StringTerm(key) })
	return terms
}()

// timeKeys are the properties of the schemas that are times, in Unix seconds.
var timeKeys = func() map[string]bool {
	keys := map[string]bool{}
	properties(func(key string, of any) {
		if of, ok := of.(map[string]any); ok && of["format"] == "unix-time" {
			keys[key] = true
		}
	})
	return keys
}()

// properties calls f for each property of the schemas.
func properties(f func(key string, of any)) {
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if props, ok := v["properties"].(map[string]any); ok {
				for key, of := range props {
					f(key, of)
				}
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(inputSchema)
	walk(fleetSchema)
}

// paramsSchema is the schema of data.params: what the bundle gives for a policy,
// and where it gives none the parameters as they are.
func (f *files) paramsSchema() any {
	def := inferred(f.params, 3) // policy, parameter, key of a table
	props, ok := def.(map[string]any)["properties"].(map[string]any)
	for policy, s := range f.schemas {
		if _, used := props[policy]; ok && used {
			props[policy] = s
		}
	}
	return def
}

// inferred is the schema of a document as it is. With it the compiler refuses
// a parameter's misspelt name, which would otherwise be undefined and make its
// rule silently say nothing. depth is how many levels of keys are fixed.
func inferred(doc any, depth int) any {
	switch v := doc.(type) {
	case map[string]any:
		if len(v) == 0 || depth == 0 {
			return map[string]any{"type": "object"}
		}
		props := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			props[k] = inferred(v[k], depth-1)
		}
		return map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	case []any:
		return map[string]any{"type": "array"}
	case string:
		return map[string]any{"type": "string"}
	case bool:
		return map[string]any{"type": "boolean"}
	case json.Number, float64, int, int64, uint64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{}
}
