package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/internal/strict"
)

// Limits on what is read. A module of a megabyte is no policy; tables of facts
// may be larger.
const (
	maxModuleBytes = 1 << 20
	maxDataBytes   = 16 << 20
)

// A module is one .rego file.
type module struct {
	name   string // path within its bundle
	label  string // path for people: with the operator's directory
	raw    []byte
	parsed *ast.Module
}

// isTest reports whether the file holds tests.
func isTest(name string) bool { return strings.HasSuffix(name, "_test.rego") }

// pkg is the module's package without "data.", and of a test the package tested.
func (m *module) pkg() string {
	p := strings.TrimPrefix(m.parsed.Package.Path.String(), "data.")
	if isTest(m.name) {
		p = strings.TrimSuffix(p, "_test")
	}
	return p
}

// files is what was read of one bundle, or of one laid over another.
type files struct {
	modules []*module
	params  map[string]any // data.params
	facts   map[string]any // data.facts
	schemas map[string]any // of parameters, by policy: the properties of params/schema.json
	faults  Faults

	schemaFile string            // label of params/schema.json
	paramsFile map[string]string // label of params/data.json, by policy
	overridden map[string]bool   // POLICY.PARAMETER that the configuration gives
	examined   bool              // it has been compiled with all checks, here or in another process
	lost       bool              // a table could not be read: what it has is not known
	raw        map[string][]byte // contents by label, to show the line that a fault is about
}

func newFiles() *files {
	return &files{params: map[string]any{}, facts: map[string]any{}, schemas: map[string]any{}, raw: map[string][]byte{}, paramsFile: map[string]string{}}
}

// readFiles reads a bundle: every .rego file, params/data.json, the schema of
// those in params/schema.json, and facts/**/data.json. dir, if not empty, is put before names in messages.
func readFiles(fsys fs.FS, dir string) *files {
	f := newFiles()
	label := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	eachFile(fsys, func(name string, err error) {
		switch {
		case err != nil:
			f.faults = append(f.faults, faultsOf(label(name), err)...)
		case name == ".manifest":
			f.readManifest(fsys, name, label(name))
		case path.Ext(name) == ".rego":
			f.readModule(fsys, name, label(name))
		case name == "params/data.json":
			f.readData(fsys, name, label(name), f.params)
			for policy := range f.params {
				f.paramsFile[policy] = label(name)
			}
		case name == "params/schema.json":
			f.readSchema(fsys, name, label(name))
		default:
			f.readData(fsys, name, label(name), descend(f.facts, path.Dir(strings.TrimPrefix(name, "facts/"))))
		}
	})
	return f
}

// descend returns the object at the path, made where it is missing.
func descend(m map[string]any, dir string) map[string]any {
	if dir == "." {
		return m
	}
	for key := range strings.SplitSeq(dir, "/") {
		next, ok := m[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[key] = next
		}
		m = next
	}
	return m
}

func (f *files) fail(label, format string, args ...any) {
	f.faults = append(f.faults, Fault{File: label, Message: fmt.Sprintf(format, args...)})
}

func (f *files) readModule(fsys fs.FS, name, label string) {
	raw, err := readLimited(fsys, name, maxModuleBytes)
	if err != nil {
		f.faults = append(f.faults, faultsOf(label, err)...)
		return
	}
	f.raw[label] = raw
	parsed, err := ast.ParseModuleWithOpts(label, string(raw), ast.ParserOptions{
		ProcessAnnotation: true, RegoVersion: ast.RegoV1, Capabilities: Capabilities(),
	})
	switch {
	case err != nil:
		f.faults = append(f.faults, faultsOf(label, err)...)
	case parsed == nil:
		f.fail(label, "the module is empty")
	default:
		f.modules = append(f.modules, &module{name: name, label: label, raw: raw, parsed: parsed})
	}
}

func (f *files) readData(fsys fs.FS, name, label string, into map[string]any) {
	raw, err := readLimited(fsys, name, maxDataBytes)
	if err != nil {
		f.lost = true
		f.faults = append(f.faults, faultsOf(label, err)...)
		return
	}
	f.raw[label] = raw
	var doc map[string]any
	if !f.decode(raw, label, &doc) {
		f.lost = true
		return
	}
	for k, v := range doc {
		if old, ok := into[k]; ok {
			if _, isMap := old.(map[string]any); isMap {
				f.fail(label, "%q is given here and in a folder of that name", k)
				continue
			}
		}
		into[k] = v
	}
}

// decode reads JSON into v, strictly: of two equal keys no one knows which was
// meant, and in Rego null is less than every number.
func (f *files) decode(raw []byte, label string, v any) bool {
	faults, bad := errors.AsType[strict.Faults](strict.JSON(raw, strict.Options{MaxBytes: maxDataBytes, Unknown: true}).Decode(v))
	for _, x := range faults {
		f.faults = append(f.faults, Fault{File: label, Line: x.Line, Column: x.Column, Message: x.Message()})
	}
	return !bad
}

// readManifest checks what Rego's own tools would: that the roots cover what
// the contract lays out.
func (f *files) readManifest(fsys fs.FS, name, label string) {
	raw, err := readLimited(fsys, name, maxModuleBytes)
	if err != nil {
		f.faults = append(f.faults, faultsOf(label, err)...)
		return
	}
	var m struct {
		Roots []string `json:"roots"`
	}
	f.decode(raw, label, &m)
	for _, root := range m.Roots {
		if !slices.Contains(roots, root) {
			f.fail(label, "root %q: a bundle has placement, params and facts", root)
		}
	}
	if m.Roots != nil && !slices.Contains(m.Roots, policyRoot) {
		f.fail(label, "the roots are without %q: Rego's own tools would leave the policies out; write {\"roots\": [\"placement\", \"params\", \"facts\"]}", policyRoot)
	}
}

func readLimited(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // to open a pipe is to wait for who writes into it
		return nil, errors.New("is no plain file")
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%d bytes, at most %d", info.Size(), limit)
	}
	return fs.ReadFile(fsys, name)
}

// over lays own over f: packages, params and facts that own has replace f's of
// the same name.
func (f *files) over(own *files) *files {
	has := map[string]bool{}
	for _, m := range own.modules {
		has[m.pkg()] = true
	}
	out := &files{
		params: maps.Clone(f.params), facts: maps.Clone(f.facts), schemas: maps.Clone(f.schemas), raw: maps.Clone(f.raw),
		schemaFile: cmp.Or(own.schemaFile, f.schemaFile), paramsFile: maps.Clone(f.paramsFile),
		faults: append(slices.Clone(f.faults), own.faults...), lost: f.lost || own.lost,
	}
	for _, m := range f.modules {
		if !has[m.pkg()] {
			out.modules = append(out.modules, m)
		}
	}
	out.modules = append(out.modules, own.modules...)
	maps.Copy(out.params, own.params)
	maps.DeleteFunc(out.schemas, func(policy string, _ any) bool { _, ok := own.params[policy]; return ok })
	maps.Copy(out.schemas, own.schemas)
	maps.Copy(out.paramsFile, own.paramsFile)
	maps.Copy(out.raw, own.raw)
	maps.Copy(out.facts, own.facts)
	return out
}

// override puts single configured values in place of those in params.
func (f *files) override(params map[string]map[string]any) {
	f.params, f.overridden = maps.Clone(f.params), map[string]bool{}
	for _, policy := range slices.Sorted(maps.Keys(params)) {
		old, _ := f.params[policy].(map[string]any)
		of := maps.Clone(old)
		for _, key := range slices.Sorted(maps.Keys(params[policy])) {
			if _, ok := of[key]; !ok {
				f.fail("params."+policy+"."+key, "no such parameter in the bundle")
				continue
			}
			of[key] = params[policy][key]
			f.overridden[policy+"."+key] = true
		}
		f.params[policy] = of
	}
}

// revision is the digest of everything that can change a decision: names and
// contents of modules (tests apart), and the data after overrides.
func (f *files) revision() (string, error) {
	h := sha256.New()
	mods := slices.SortedFunc(slices.Values(f.modules), func(a, b *module) int { return strings.Compare(a.name, b.name) })
	for _, m := range mods {
		if !isTest(m.name) {
			_, _ = fmt.Fprintf(h, "%q %d\n%s\n", m.name, len(m.raw), m.raw) // a hash takes everything
		}
	}
	data, err := json.Marshal(map[string]any{"params": f.params, "facts": f.facts}) // keys are sorted
	if err != nil {
		return "", fmt.Errorf("encode parameters: %w", err)
	}
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)), nil
}
