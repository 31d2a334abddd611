package policy

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"heliostat/internal/strict"
)

// readSchema reads params/schema.json: a JSON schema (draft 7) whose properties
// are policies, each an object with a property for each parameter.
func (f *files) readSchema(fsys fs.FS, name, label string) {
	doc := map[string]any{}
	f.readData(fsys, name, label, doc)
	props, _ := doc["properties"].(map[string]any)
	if len(f.faults) == 0 && props == nil {
		f.fail(label, `write {"type": "object", "properties": {"POLICY": {"type": "object", "properties": {"PARAMETER": {...}}}}}`)
	}
	for policy, s := range props {
		of, _ := s.(map[string]any)
		if _, ok := of["properties"].(map[string]any); !ok {
			f.faults = append(f.faults, f.faultIn(label, []string{"properties", policy}, "%s needs properties: one for each parameter", policy))
			continue
		}
		of["additionalProperties"] = false // a misspelt parameter is a fault
		f.schemas[policy] = of
	}
	f.schemaFile = label
}

// checkParams holds the parameters against their schemas.
func (f *files) checkParams(ctx context.Context) Faults {
	var faults Faults
	for _, policy := range slices.Sorted(maps.Keys(f.schemas)) {
		params, ok := f.params[policy]
		if !ok {
			continue
		}
		wrong, err := mismatches(ctx, params, f.schemas[policy])
		if err != nil {
			faults = append(faults, f.faultIn(f.schemaFile, []string{"properties", policy}, "the schema of %s: %v", policy, err))
		}
		for _, w := range wrong {
			at := append([]string{policy}, w.path...)
			if name := strings.Join(at[:min(2, len(at))], "."); f.overridden[name] {
				faults = append(faults, Fault{File: "params." + name, Message: w.desc})
				continue
			}
			faults = append(faults, f.faultIn(f.paramsFile[policy], at, "%s: %s", strings.Join(at, "."), w.desc))
		}
	}
	return faults
}

type mismatch struct {
	path []string
	desc string
}

// unknownKey is the validator's message for a key that the schema does not have.
var unknownKey = regexp.MustCompile(`^Additional property (.*) is not allowed$`)

// mismatches validates a document by the policy engine's own JSON schema
// validator, which it gives out as a built-in alone.
func mismatches(ctx context.Context, doc, schema any) ([]mismatch, error) {
	rs, err := rego.New(rego.Query("[_, errors] := json.match_schema(input.doc, input.schema)"),
		rego.Input(map[string]any{"doc": doc, "schema": schema}), rego.StrictBuiltinErrors(true)).Eval(ctx)
	if err != nil {
		return nil, err
	}
	var out []mismatch
	list, _ := rs[0].Bindings["errors"].([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		w := mismatch{desc: fmt.Sprint(m["desc"])}
		if field := fmt.Sprint(m["field"]); !strings.EqualFold(field, "(root)") {
			w.path = strings.Split(field, ".")
		}
		if key := unknownKey.FindStringSubmatch(w.desc); key != nil {
			w.path, w.desc = append(w.path, key[1]), "no such parameter: the schema does not have it"
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b mismatch) int { return cmp.Or(slices.Compare(a.path, b.path), cmp.Compare(a.desc, b.desc)) })
	return out, nil
}

// faultIn is a fault at a value of a JSON file: at the deepest part of the path
// that the file has.
func (f *files) faultIn(label string, at []string, format string, args ...any) Fault {
	var v any
	doc := strict.JSON(f.raw[label], strict.Options{MaxBytes: maxDataBytes, Unknown: true})
	_ = doc.Decode(&v) // what cannot be read was said when the file was
	doc = doc.Fresh()
	doc.Fault(strings.Join(at, "."), "")
	place := doc.Faults()[0]
	return faultAt(&ast.Location{File: label, Row: place.Line, Col: place.Column}, format, args...)
}
