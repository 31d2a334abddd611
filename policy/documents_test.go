package policy

import (
	"testing"

	"heliostat/rego"
)

// What is wrong with an expression is said once, and what to do about it.
func TestExpressionErrors(t *testing.T) {
	q, err := Shipped(rego.FS).Ask(t.Context(), Show(smallFleet()))
	if err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		"1/0":    "div: divide by zero\n\task first that the divisor is not 0",
		"foo(1)": "undefined function foo\n\tcall a function of your own bundle, or one of the built-ins listed by: heliostat policy schema capabilities",
	} {
		if _, err := q.Eval(t.Context(), expr, Input{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", expr, err)
		}
	}
}
