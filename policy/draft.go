package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
)

// A Draft is a bundle as its author edits it: a folder, laid over the bundle
// that ships. It needs no daemon. What is said of a draft is said of the
// author's files; the shipped ones are there to be called and replaced.
type Draft struct {
	own   *files // the author's alone
	whole *files // laid over what ships

	unread Faults // of files that look as if they were read
}

// ReadDraft reads the folder. The error is for a folder that cannot be read or
// that holds no policy; what is wrong with the files is for [Draft.Check] to say.
func ReadDraft(shipped fs.FS, dir string) (*Draft, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open policy directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	own := readFiles(root.FS(), dir)
	if len(own.modules) == 0 && len(own.faults) == 0 {
		return nil, fmt.Errorf("%s holds no policies: no .rego file below it", dir)
	}
	return &Draft{own: own, whole: readFiles(shipped, "").over(own), unread: unreadData(root.FS(), dir)}, nil
}

// unreadData warns of tables that no policy will see: Rego's own tools read YAML, and
// data files of any name.
func unreadData(fsys fs.FS, dir string) Faults {
	var out Faults
	_ = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error { // what cannot be read was said
		top, _, below := strings.Cut(name, "/")
		table := below && (top == "params" || top == "facts") && slices.Contains([]string{".json", ".yaml", ".yml"}, path.Ext(name))
		if err == nil && table && d.Type().IsRegular() && !inBundle(name) {
			out = append(out, Fault{
				File: filepath.Join(dir, filepath.FromSlash(name)), Warning: true, Message: "is not read",
				Advice: "tables are JSON: params/data.json, params/schema.json, and facts/NAME/data.json",
			})
		}
		return nil
	})
	return out
}

// Shipped is the bundle that ships, as if somebody were writing it.
func Shipped(shipped fs.FS) *Draft {
	f := readFiles(shipped, "")
	return &Draft{own: f, whole: f}
}

// Check compiles the draft as the daemon would and reports all that is wrong:
// syntax, types, names, built-ins, parameters, the contract, and whether the tests
// compile. Without faults but warnings it would load.
func (d *Draft) Check(ctx context.Context) Faults {
	_, err := compile(ctx, d.whole)
	if err == nil {
		err = faultsOf("", d.withTests().Errors).err()
	}
	return d.point(append(asFaults(err), d.unread...))
}

// withTests compiles the draft with the author's tests.
func (d *Draft) withTests() *ast.Compiler {
	mods := map[string]*ast.Module{}
	for _, m := range d.whole.modules {
		if !isTest(m.name) || slices.Contains(d.own.modules, m) {
			mods[m.label] = m.parsed.Copy()
		}
	}
	c := d.whole.newCompiler()
	if len(checkRoot(mods)) == 0 {
		c.Compile(mods)
	}
	return c
}

// Test runs the author's tests whose names match the regular expression (all,
// where it is empty). The error is for a draft that does not load, as [Faults]; failed tests
// are in the report. Coverage is that of the author's own modules.
func (d *Draft) Test(ctx context.Context, pattern string) (*TestReport, error) {
	report, err := runTests(ctx, d.whole, d.own, pattern)
	if err != nil {
		return nil, d.point(asFaults(err)).err()
	}
	return report, nil
}

// Point adds to each fault the line that it is about and what to write instead.
func (d *Draft) point(faults Faults) Faults {
	for i := range faults {
		f := &faults[i]
		f.Text = lineAt(d.line(f.File, f.Line), f.Column)
		if f.Advice == "" {
			f.Advice = adviceFor(f.Message)
		}
	}
	return faults
}

// Point is for the faults of a report's tests: it adds the line of each.
func (d *Draft) Point(err error) Faults { return d.point(asFaults(err)) }

// Explain adds to the faults in an error the line of each and what to write instead.
func (d *Draft) Explain(err error) error {
	if faults, ok := errors.AsType[Faults](err); ok {
		return d.point(faults).err()
	}
	return err
}

// line is a line of one of the draft's files, empty where there is none.
func (d *Draft) line(label string, n int) string {
	lines := bytes.Split(d.whole.raw[label], []byte("\n"))
	if n < 1 || n > len(lines) {
		return ""
	}
	return strings.TrimRight(string(lines[n-1]), "\r")
}

// A Formatted is a file that does not read as the formatter would write it.
type Formatted struct {
	Name string // path within the folder
	Text []byte // as it should read
}

// Format formats the author's modules and returns those that change.
func (d *Draft) Format() ([]Formatted, error) {
	var out []Formatted
	for _, m := range d.own.modules {
		text, err := format.SourceWithOpts(m.label, m.raw, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, fmt.Errorf("format %s: %w", m.label, err)
		}
		if !bytes.Equal(text, m.raw) {
			out = append(out, Formatted{Name: m.name, Text: text})
		}
	}
	return out, d.syntax()
}

// syntax is the faults of files that could not be read at all.
func (d *Draft) syntax() error { return d.point(slices.Clone(d.own.faults)).err() }

// Policies names the author's own policies, sorted.
func (d *Draft) Policies() []string {
	var out []string
	for _, m := range d.own.modules {
		if p := policyPackage(m); p != "" && !isTest(m.name) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// policyPackage is the policy that the module, or the test's subject, belongs to; empty for the root.
func policyPackage(m *module) string {
	name, ok := strings.CutPrefix(m.pkg(), "placement.")
	if !ok {
		return ""
	}
	return strings.Split(name, ".")[0]
}

// Files lists the author's .rego files, by path within the folder.
func (d *Draft) Files() []string {
	var out []string
	for _, m := range d.own.modules {
		out = append(out, path.Clean(m.name))
	}
	return out
}
