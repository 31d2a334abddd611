package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/dependencies"

	"heliostat/engine"
)

// An entry is one rule of one policy that is asked.
type entry struct {
	policy, rule string
	title        string // of its annotation
	spec         ruleSpec
	ref          string        // data.placement.<policy>.<rule>
	loc          *ast.Location // of its annotation
	head         *ast.Location // of its first rule
	yields       bool
	askedIf      []string  // parameters: while all of them are 0, false or empty the rule is not asked
	reads        []ast.Ref // of input and data, as far as they are ground
}

// compiled is a bundle that keeps the contract.
type compiled struct {
	compiler *ast.Compiler
	entries  []entry // sorted by policy, then rule
	policies []string
}

// readBundle reads the shipped bundle and the operator's over it.
func readBundle(shipped fs.FS, cfg Config) (*files, error) {
	f := readFiles(shipped, "")
	if cfg.Dir != "" {
		root, err := os.OpenRoot(cfg.Dir)
		if err != nil {
			return nil, fmt.Errorf("open policy directory: %w", err)
		}
		defer func() { _ = root.Close() }()
		f = f.over(readFiles(root.FS(), cfg.Dir))
	}
	f.override(cfg.Params)
	return f, nil
}

// newCompiler is strict, knows the schemas and reports every error.
func (f *files) newCompiler() *ast.Compiler {
	return untyped().WithSchemas(f.schemaSet()).WithUseTypeCheckAnnotations(true)
}

// untyped is for what was compiled before: reading the schemas is half of the work.
func untyped() *ast.Compiler {
	return ast.NewCompiler().WithStrict(true).WithCapabilities(Capabilities()).WithEnablePrintStatements(false).SetErrorLimit(0)
}

// compile checks modules and contract. It returns Faults.
func compile(ctx context.Context, f *files) (*compiled, error) {
	faults := slices.Clone(f.faults)
	mods := map[string]*ast.Module{}
	for _, m := range f.modules {
		if isTest(m.name) {
			continue
		}
		if p := m.pkg(); p != "placement" && !strings.HasPrefix(p, "placement.") && !strings.HasPrefix(p, "placement[") {
			faults = append(faults, faultAt(m.parsed.Package.Location, "package %s: policies are packages below placement", p))
			continue
		}
		if strings.Contains(m.pkg(), "[") {
			faults = append(faults, faultAt(m.parsed.Package.Location, "package %s: a policy's name has small letters, digits and _, a letter first", m.pkg()))
			continue
		}
		mods[m.label] = m.parsed.Copy()
	}
	c := untyped()
	if !f.examined {
		faults = append(faults, checkRoot(mods)...)
		faults = append(faults, f.checkParams(ctx)...)
		faults = append(faults, f.checkHeads()...)
		c = f.newCompiler()
	}
	if len(faults) > 0 && len(mods) == 0 {
		return nil, faults.err()
	}
	c.Compile(mods)
	if c.Failed() {
		faults = append(faults, faultsOf("", c.Errors)...)
		return nil, faults.err()
	}
	out := &compiled{compiler: c}
	faults = append(faults, out.findEntries()...)
	if !f.examined {
		faults = append(faults, out.checkTypes(f)...)
	}
	for i := range out.entries {
		e := &out.entries[i]
		params, _ := f.params[e.policy].(map[string]any)
		for _, name := range e.askedIf {
			if _, ok := params[name]; !ok && !f.lost {
				faults = append(faults, faultAt(e.loc, "%s: asked_if: %s has no parameter %q", e.rule, e.policy, name))
			}
		}
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// checkRoot finds the root annotations, checks them, and names among their schemas
// those of the bundle's own data.
func checkRoot(mods map[string]*ast.Module) Faults {
	const want = "the root package placement needs METADATA of scope subpackages with contract: 1 and the schemas input: schema.input, data.fleet: schema.fleet"
	for _, name := range slices.Sorted(maps.Keys(mods)) {
		m := mods[name]
		if m.Package.Path.String() != "data.placement" {
			continue
		}
		for _, a := range m.Annotations {
			if a.Scope != "subpackages" {
				continue
			}
			var faults Faults
			if v, ok := a.Custom["contract"]; !ok {
				faults = append(faults, faultAt(a.Location, "contract is missing: write custom: {contract: %d}", Contract))
			} else if fmt.Sprint(v) != fmt.Sprint(Contract) {
				faults = append(faults, faultAt(a.Location, "contract is %v: this program speaks version %d", v, Contract))
			}
			has := map[string]string{}
			for _, s := range a.Schemas {
				has[s.Path.String()] = s.Schema.String()
			}
			if has["input"] != "schema.input" || has["data.fleet"] != "schema.fleet" {
				faults = append(faults, faultAt(a.Location, "schemas are missing: %s", want))
			}
			// By name: the compiler reads one that is written out anew for every rule.
			for path, schema := range map[string]string{"data.params": "schema.params", "data.facts": "schema.facts"} {
				if _, ok := has[path]; !ok {
					a.Schemas = append(a.Schemas, &ast.SchemaAnnotation{Path: ast.MustParseRef(path), Schema: ast.MustParseRef(schema)})
				}
			}
			return faults
		}
	}
	for _, name := range slices.Sorted(maps.Keys(mods)) {
		if m := mods[name]; m.Package.Path.String() == "data.placement" {
			return Faults{faultAt(m.Package.Location, "%s", want)}
		}
	}
	return Faults{{File: "placement/placement.rego", Message: want}}
}

// findEntries reads the annotations and checks every entry point.
func (c *compiled) findEntries() Faults {
	var faults Faults
	seen := map[string]bool{}
	for _, ref := range c.compiler.GetAnnotationSet().Flatten() {
		a := ref.Annotations
		if !a.Entrypoint {
			continue
		}
		seen[a.GetTargetPath().String()] = true
		e, err := c.newEntry(a)
		if err != nil {
			faults = append(faults, faultAt(a.Location, "%v", err))
			continue
		}
		c.entries = append(c.entries, *e)
	}
	for _, m := range c.compiler.Modules {
		path := m.Package.Path
		if len(path) == 3 && !slices.Contains(c.policies, policyOf(path)) {
			c.policies = append(c.policies, policyOf(path))
		}
		for _, r := range m.Rules {
			name := r.Head.Ref()[0].String()
			if spec, ok := contract[name]; ok && len(path) == 3 && len(r.Head.Args) == 0 && !seen[path.String()+"."+name] {
				seen[path.String()+"."+name] = true
				faults = append(faults, faultAt(r.Location, "%s would not be asked: annotate it with entrypoint: true and custom: {reads: %s}, or give the helper another name", name, spec.scope))
			}
		}
	}
	slices.Sort(c.policies)
	slices.SortFunc(c.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.policy, b.policy), cmp.Compare(a.rule, b.rule))
	})
	return faults
}

func policyOf(path ast.Ref) string {
	s, _ := path[2].Value.(ast.String)
	return string(s)
}

func (c *compiled) newEntry(a *ast.Annotations) (*entry, error) {
	path := a.GetTargetPath()
	if len(path) != 4 || !path.HasPrefix(ast.MustParseRef("data.placement")) {
		return nil, fmt.Errorf("%v is no entry point: annotate a rule of a package placement.<policy>", path)
	}
	key, _ := path[3].Value.(ast.String)
	name := string(key)
	spec, ok := contract[name]
	if !ok {
		return nil, fmt.Errorf("%s is not a rule of the contract: one of %s", name, strings.Join(slices.Sorted(maps.Keys(contract)), ", "))
	}
	e := &entry{policy: policyOf(path), rule: name, title: a.Title, spec: spec, ref: path.String(), loc: a.Location}
	switch reads := a.Custom["reads"]; {
	case reads == nil:
		return nil, fmt.Errorf("%s: write custom: {reads: %s}", name, spec.scope)
	case fmt.Sprint(reads) != string(spec.scope):
		return nil, fmt.Errorf("%s reads %v: it is asked at scope %s", name, reads, spec.scope)
	}
	yields, err := yieldsTo(a.Custom["yields_to"], name, spec)
	if err != nil {
		return nil, err
	}
	e.yields = yields
	if e.askedIf, err = askedIf(a.Custom["asked_if"], name); err != nil {
		return nil, err
	}
	for _, r := range c.compiler.GetRulesExact(path) {
		e.head = cmp.Or(e.head, r.Location)
		if r.Head.RuleKind() != ast.MultiValue || len(r.Head.Ref()) != 1 {
			return nil, fmt.Errorf("%s: write %s contains {...} if {...}: a rule that can be undefined cannot be told from one that says nothing", name, name)
		}
	}
	return e, e.checkReads(c.compiler)
}

// yieldsTo reads custom: {yields_to: [evacuate]}.
func yieldsTo(v any, rule string, spec ruleSpec) (bool, error) {
	if v == nil {
		return false, nil
	}
	list, ok := v.([]any)
	if !ok || len(list) != 1 || list[0] != engine.RuleEvacuate {
		return false, fmt.Errorf("%s: yields_to can be [evacuate] alone", rule)
	}
	if !spec.veto {
		return false, fmt.Errorf("%s is not a veto: it has nothing to yield", rule)
	}
	return true, nil
}

// askedIf reads custom: {asked_if: [PARAMETER, ...]}.
func askedIf(v any, rule string) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	out := make([]string, len(list))
	for i, x := range list {
		if out[i], ok = x.(string); !ok {
			break
		}
	}
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("%s: write asked_if: [PARAMETER, ...], parameters of the policy", rule)
	}
	return out, nil
}

// silent reports whether the rule's parameters say that it has nothing to say.
func (e *entry) silent(params map[string]any) bool {
	of, _ := params[e.policy].(map[string]any)
	return len(e.askedIf) > 0 && !slices.ContainsFunc(e.askedIf, func(name string) bool { return says(of[name]) })
}

// says is false for 0, false, and what is empty or not there.
func says(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case json.Number:
		f, err := v.Float64()
		return err != nil || f != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	case string:
		return v != ""
	}
	return fmt.Sprint(v) != "0"
}

// checkReads refuses a rule that reads what its scope is not shown: it would be
// undefined there, and a veto that is undefined vetoes nothing.
func (e *entry) checkReads(c *ast.Compiler) error {
	refs, err := dependencies.Base(c, ast.MustParseBody(e.ref))
	if err != nil {
		return fmt.Errorf("%s: %w", e.rule, err)
	}
	e.reads = refs
	for _, r := range refs {
		if len(r) < 2 || !r[0].Equal(ast.InputRootDocument) {
			continue
		}
		key, ok := r[1].Value.(ast.String)
		if ok && !slices.Contains(shown[e.spec.scope], string(key)) {
			return fmt.Errorf("%s reads input.%s, which scope %s is not shown: it sees %q", e.rule, string(key), e.spec.scope, shown[e.spec.scope])
		}
	}
	return nil
}
