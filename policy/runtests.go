package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// testTimeout bounds one test.
const testTimeout = 5 * time.Second

// A TestResult is one test of a bundle. A data-driven test fails as a whole
// and names the cases that failed.
type TestResult struct {
	Package string   `json:"package"`
	Name    string   `json:"name"`
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Column  int      `json:"column"`
	Pass    bool     `json:"pass"`
	Skipped bool     `json:"skipped,omitempty"`
	Error   string   `json:"error,omitempty"`
	Cases   []string `json:"cases,omitempty"`  // that failed
	Values  []Value  `json:"values,omitempty"` // that the expression has which failed
	Output  string   `json:"output,omitempty"` // of print
}

// A TestReport is the outcome of a bundle's tests.
type TestReport struct {
	Results  []TestResult `json:"results"`  // by file and line
	Coverage float64      `json:"coverage"` // percent of the lines of modules that are not tests
	Missed   []string     `json:"missed,omitempty"`
	Faults   Faults       `json:"faults,omitempty"` // why no test ran
}

// Err is nil when no test failed, else [Faults].
func (r *TestReport) Err() error {
	var faults Faults
	for _, t := range r.Results {
		if !t.Pass && !t.Skipped {
			msg := "test " + t.Name + " failed"
			if len(t.Cases) > 0 {
				msg += ": " + strings.Join(t.Cases, ", ")
			}
			if t.Error != "" {
				msg += ": " + t.Error
			}
			msg += t.values()
			if t.Output != "" {
				msg += "\n\t" + strings.ReplaceAll(strings.TrimSpace(t.Output), "\n", "\n\t")
			}
			faults = append(faults, Fault{File: t.File, Line: t.Line, Column: t.Column, Message: msg})
		}
	}
	return faults.err()
}

// Test runs a bundle's _test.rego files under the same capabilities, schemas
// and contract as the daemon. The error is for a bundle that cannot be loaded;
// failed tests are in the report.
func Test(ctx context.Context, fsys fs.FS) (*TestReport, error) {
	return runTests(ctx, readFiles(fsys, ""), nil, "")
}

// runTests runs the tests of the bundle f whose names match the pattern, and
// reports on the coverage of its other modules. Where own is given, which is laid
// over something else in f, it is about the tests and modules of own alone.
func runTests(ctx context.Context, f, own *files, pattern string) (*TestReport, error) {
	if _, err := compile(ctx, f); err != nil {
		return nil, err
	}
	mods := map[string]*ast.Module{}
	theirs := map[string]bool{}
	for _, m := range f.modules {
		theirs[m.label] = own != nil && !slices.Contains(own.modules, m)
		if !theirs[m.label] || !isTest(m.name) {
			mods[m.label] = m.parsed.Copy()
		}
	}
	cov := cover.New()
	results, err := f.collectTests(ctx, mods, cov, pattern)
	if err != nil {
		return nil, err
	}
	out := &TestReport{Results: results}
	maps.DeleteFunc(mods, func(name string, _ *ast.Module) bool { return isTest(name) || theirs[name] })
	report := cov.Report(mods)
	var run, all int
	for _, name := range slices.Sorted(maps.Keys(mods)) {
		file, ok := report.Files[name]
		if !ok {
			continue // has nothing to run
		}
		run, all = run+file.CoveredLines, all+file.CoveredLines+file.NotCoveredLines
		for _, r := range file.NotCovered {
			out.Missed = append(out.Missed, fmt.Sprintf("%s:%d-%d", name, r.Start.Row, r.End.Row))
		}
	}
	out.Missed = slices.Compact(out.Missed)
	if out.Coverage = 100; all > 0 {
		out.Coverage = 100 * float64(run) / float64(all)
	}
	return out, ctx.Err()
}

// collectTests runs the tests among the modules, which are copies, on the data of f.
// cov may be nil.
func (f *files) collectTests(ctx context.Context, mods map[string]*ast.Module, cov *cover.Cover, pattern string) ([]TestResult, error) {
	if faults := checkRoot(mods); len(faults) > 0 {
		return nil, faults.err()
	}
	store := inmem.NewFromObject(map[string]any{"params": f.params, "facts": f.facts, "fleet": map[string]any{}})
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("run policy tests: %w", err)
	}
	defer store.Abort(ctx, txn)
	compiler := f.newCompiler().WithEnablePrintStatements(true)
	runner := tester.NewRunner().SetStore(store).SetModules(mods).SetCompiler(compiler).RaiseBuiltinErrors(true).
		CapturePrintOutput(true).SetTimeout(testTimeout).Filter(pattern)
	if cov != nil {
		runner.SetCoverageQueryTracer(cov)
	}
	ch, err := runner.RunTests(ctx, txn)
	if err != nil {
		if _, ok := errors.AsType[ast.Errors](err); ok {
			return nil, faultsOf("", err).err()
		}
		return nil, fmt.Errorf("run policy tests: %w", err)
	}
	out := []TestResult{}
	for r := range ch {
		if r == nil {
			continue
		}
		t := TestResult{Package: r.Package, Name: r.Name, Pass: r.Pass(), Skipped: r.Skip, Output: string(r.Output)}
		if loc := r.Location; loc != nil {
			t.File, t.Line, t.Column = loc.File, loc.Row, loc.Col
		}
		if r.Fail && len(r.SubResults) == 0 {
			t.locate(ctx, compiler, store, txn, r.Location)
		}
		if r.Error != nil {
			t.Error = r.Error.Error()
		}
		if e, ok := errors.AsType[*topdown.Error](r.Error); ok {
			t.Error = e.Message
			if e.Location != nil {
				t.File, t.Line, t.Column = e.Location.File, e.Location.Row, e.Location.Col
			}
		}
		if topdown.IsCancel(r.Error) || errors.Is(r.Error, context.DeadlineExceeded) {
			t.Error = fmt.Sprintf("did not end within %v", testTimeout)
		}
		for path, sub := range r.SubResults.Iter {
			if sub.Fail && len(sub.SubResults) == 0 {
				t.Cases = append(t.Cases, strings.Join(path, "/"))
			}
		}
		slices.Sort(t.Cases)
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b TestResult) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}
