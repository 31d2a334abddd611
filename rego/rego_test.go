package rego_test

import (
	"io/fs"
	"path"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"heliostat/policy"
	"heliostat/rego"
)

// minCoverage is how much of the shipped policies their tests must run, percent of lines.
const minCoverage = 90

func TestShippedPolicies(t *testing.T) {
	report, err := policy.Test(t.Context(), rego.FS)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) == 0 {
		t.Fatal("no tests")
	}
	for _, r := range report.Results {
		if !r.Pass {
			t.Errorf("%s:%d:%d: %s failed: %v %s\n%s", r.File, r.Line, r.Column, r.Name, r.Cases, r.Error, r.Output)
		}
	}
	if report.Coverage < minCoverage {
		t.Errorf("coverage %.1f %%, at least %d: not run are %v", report.Coverage, minCoverage, report.Missed)
	}
	t.Logf("%d tests, coverage %.1f %%", len(report.Results), report.Coverage)
}

func TestShippedPoliciesAreFormatted(t *testing.T) {
	err := fs.WalkDir(rego.FS, "placement", func(name string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" {
			return err
		}
		text, err := fs.ReadFile(rego.FS, name)
		if err != nil {
			return err
		}
		want, err := format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1})
		if err == nil && string(want) != string(text) {
			t.Errorf("%s is not formatted; it should read\n%s", name, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The bundle is also what Rego's own tools read: each policy says what it is for.
func TestShippedPoliciesAreDocumented(t *testing.T) {
	b, err := policy.Load(t.Context(), rego.FS, policy.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range b.Policies {
		text, err := fs.ReadFile(rego.FS, "placement/"+name+".rego")
		if err != nil {
			t.Fatal(err)
		}
		m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range m.Annotations {
			if a.Title == "" || (a.Scope == "package" && a.Description == "") {
				t.Errorf("%s:%d: no title or description", name, a.Location.Row)
			}
		}
	}
}
