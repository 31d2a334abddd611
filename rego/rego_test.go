package rego_test

import (
	"testing"

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
