package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/policy"
)

func newPolicyTest(g *globals) *cobra.Command {
	var out faultPrinter
	var pattern string
	var coverage, verbose bool
	var threshold float64
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run the tests of policies",
		Long: `Test runs the rules whose names begin with test_ in the _test.rego files, with the
types, built-ins and parameters that the policies have in the daemon. What they
print is shown for tests that fail, and with -v for all.`,
		Example: `  heliostat policy test policies
  heliostat policy test policies --run storm -v
  heliostat policy test policies --threshold 90 --format junit > tests.xml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := regexp.Compile(pattern); err != nil {
				return codeError{exitUsage, fmt.Errorf("--run: %w", err)}
			}
			d, err := draft(args)
			if err != nil {
				return err
			}
			report, err := d.Test(cmd.Context(), pattern)
			if faults, ok := errors.AsType[policy.Faults](err); ok {
				return out.unrun(cmd.OutOrStdout(), g, faults)
			}
			if err != nil {
				return err
			}
			return out.tests(cmd.OutOrStdout(), g, report, testWishes{verbose, coverage || threshold > 0, threshold, pattern, d})
		},
	}
	out.flags(cmd)
	cmd.Flags().StringVar(&pattern, "run", "", "only tests whose names match this regular expression")
	cmd.Flags().BoolVar(&coverage, "coverage", false, "say how much of the policies the tests run, and what they do not")
	cmd.Flags().Float64Var(&threshold, "threshold", 0, "fail below this coverage, percent of lines")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "list every test, and what it prints")
	return cmd
}

// testWishes is how a test report is to be shown.
type testWishes struct {
	verbose, coverage bool
	threshold         float64
	pattern           string // of the names of the tests
	draft             *policy.Draft
}

// unrun shows why there is no report: the policies do not load. In JSON it is a report
// all the same, of no tests.
func (o *faultPrinter) unrun(w io.Writer, g *globals, faults policy.Faults) error {
	format, err := o.choose(g)
	if err != nil {
		return err
	}
	if format != "json" {
		return o.print(w, g, "test", nil, faults)
	}
	if err := printJSON(w, policy.TestReport{Results: []policy.TestResult{}, Faults: faults}); err != nil {
		return err
	}
	return errors.New(engine.Count(len(faults), "error"))
}

// tests shows a report. The error says what failed.
func (o *faultPrinter) tests(w io.Writer, g *globals, r *policy.TestReport, wish testWishes) error {
	faults := wish.draft.Point(r.Err())
	format, err := o.choose(g)
	if err != nil {
		return err
	}
	short := wish.shortfall(r)
	switch format {
	case "json":
		err = printJSON(w, r)
	case "junit":
		err = junitTests(w, r, faults, short)
	case "github":
		github(w, faults)
		if short != nil {
			github(w, policy.Faults{{Message: short.Error()}})
		}
	default:
		printTests(w, r, faults, wish)
	}
	if err == nil && len(faults) > 0 {
		err = fmt.Errorf("%d of %s failed", len(faults), engine.Count(len(r.Results), "test"))
	}
	return cmp.Or(err, short)
}

// shortfall is what the tests as a whole lack.
func (t *testWishes) shortfall(r *policy.TestReport) error {
	switch {
	case len(r.Results) == 0 && t.pattern != "":
		return fmt.Errorf("no test to run: none has a name that matches %s", t.pattern)
	case len(r.Results) == 0:
		return errors.New("no test to run: tests are rules test_... in files _test.rego")
	case r.Coverage < t.threshold:
		return fmt.Errorf("coverage is %.1f %%, below the threshold of %g %%", r.Coverage, t.threshold)
	}
	return nil
}

func printTests(w io.Writer, r *policy.TestReport, faults policy.Faults, wish testWishes) {
	passed := 0
	for i := range r.Results {
		t := &r.Results[i]
		verdict := "failed"
		switch {
		case t.Skipped:
			verdict = "skipped"
		case t.Pass:
			verdict = "passed"
			passed++
		}
		if !wish.verbose {
			continue
		}
		_, _ = fmt.Fprintf(w, "%-8s %s.%s\n", verdict, strings.TrimPrefix(t.Package, "data."), t.Name)
		if t.Pass && t.Output != "" {
			_, _ = fmt.Fprintf(w, "\t%s\n", strings.ReplaceAll(strings.TrimSpace(t.Output), "\n", "\n\t"))
		}
	}
	printFaults(w, faults)
	_, _ = fmt.Fprintf(w, "%s, %d passed", engine.Count(len(r.Results), "test"), passed)
	if wish.coverage {
		_, _ = fmt.Fprintf(w, ", coverage %.1f %%", r.Coverage)
	}
	_, _ = fmt.Fprintln(w)
	if wish.coverage && len(r.Missed) > 0 {
		_, _ = fmt.Fprintf(w, "not run:\n\t%s\n", strings.Join(r.Missed, "\n\t"))
	}
}
