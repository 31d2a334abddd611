package policy

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"heliostat/internal/strict"
)

// A template is three files: RULE.rego, RULE_test.rego, and RULE.json with the
// parameters. NAME in them is the policy's.
//
//go:embed templates
var templates embed.FS

// editorConfig is what a new folder gets for Rego's own linter and language server.
//
//go:embed editor/regal.yaml
var editorConfig []byte

// Templates lists the rules for which [New] has one.
func Templates() []string {
	names, _ := fs.Glob(templates, "templates/*.json") // the pattern is sound
	for i, n := range names {
		names[i] = strings.TrimSuffix(filepath.Base(n), ".json")
	}
	return names
}

// name is what a policy may be called: a Rego package's last part.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// New writes a first policy with its test and its parameters into the folder,
// which it makes if need be, and returns the files that it wrote. Nothing that
// is there is overwritten; parameters are added to those that are there.
func New(dir, name, rule string) ([]string, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("%q is no name for a policy: small letters, digits and _, a letter first", name)
	}
	if !slices.Contains(Templates(), rule) {
		return nil, fmt.Errorf("no template for the rule %q: one of %s", rule, strings.Join(Templates(), ", "))
	}
	w := &writer{dir: dir}
	read := func(suffix string) []byte {
		text, err := fs.ReadFile(templates, "templates/"+rule+suffix)
		w.err = errors.Join(w.err, err)
		return []byte(strings.ReplaceAll(string(text), "NAME", name))
	}
	var params map[string]struct{ Default, Schema any }
	if err := json.Unmarshal(read(".json"), &params); err != nil {
		return nil, fmt.Errorf("template of %s: %w", rule, err)
	}
	values, schema := map[string]any{}, map[string]any{}
	for key, p := range params {
		values[key], schema[key] = p.Default, p.Schema
	}
	w.create("placement/"+name+".rego", read(".rego"))
	w.create("placement/"+name+"_test.rego", read("_test.rego"))
	w.merge("params/data.json", map[string]any{name: values})
	w.merge("params/schema.json", map[string]any{"type": "object", "properties": map[string]any{
		name: map[string]any{"type": "object", "properties": schema},
	}})
	w.ifMissing(".manifest", []byte("{\"roots\": [\"placement\", \"params\", \"facts\"]}\n"))
	w.ifMissing(".regal/config.yaml", editorConfig)
	return w.wrote, w.err
}

// A writer makes files below a folder, until one cannot be made.
type writer struct {
	dir   string
	wrote []string
	err   error
}

func (w *writer) put(name string, text []byte, flag int) {
	if w.err != nil {
		return
	}
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	if w.err = os.MkdirAll(filepath.Dir(path), 0o750); w.err != nil {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o640) //nolint:gosec // the author names the folder
	if err != nil {
		w.err = err
		return
	}
	_, err = f.Write(text)
	if w.err = errors.Join(err, f.Close()); w.err == nil {
		w.wrote = append(w.wrote, path)
	}
}

func (w *writer) create(name string, text []byte) { w.put(name, text, os.O_EXCL) }

func (w *writer) ifMissing(name string, text []byte) {
	if _, err := os.Stat(filepath.Join(w.dir, filepath.FromSlash(name))); errors.Is(err, fs.ErrNotExist) {
		w.create(name, text)
	}
}

// merge adds to a JSON file what it does not have.
func (w *writer) merge(name string, add map[string]any) {
	if w.err != nil {
		return
	}
	doc := map[string]any{}
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	raw, err := os.ReadFile(path) //nolint:gosec // the author names the folder
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		w.err = err
		return
	default:
		// Of two equal keys one would be lost when the file is written again.
		if w.err = strict.JSON(raw, strict.Options{File: path, MaxBytes: maxDataBytes, Unknown: true}).Decode(&doc); w.err != nil {
			return
		}
	}
	union(doc, add)
	text, err := json.MarshalIndent(doc, "", "  ")
	w.err = err
	w.put(name, append(text, '\n'), os.O_TRUNC)
}

// union adds to a what b has and a has not, at every depth.
func union(a, b map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(b)) {
		old, okA := a[k].(map[string]any)
		add, okB := b[k].(map[string]any)
		if _, there := a[k]; !there {
			a[k] = b[k]
		} else if okA && okB {
			union(old, add)
		}
	}
}
