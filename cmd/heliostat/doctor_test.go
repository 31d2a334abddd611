package main

import (
	"strings"
	"testing"
)

// The counts of findings are told once: by the command's end where there are errors.
func TestFindingsAreCountedOnce(t *testing.T) {
	var f findings
	f.add("disk", "state", warning, "is nearly full", "")
	if got := f.text(); !strings.HasSuffix(got, "\n\n0 errors, 1 warning\n") {
		t.Errorf("without errors: %s", got)
	}
	f.add("vcenter", "a", failing, "does not answer", "")
	if got := f.text(); strings.Contains(got, "1 error") || f.summary() != "1 error, 1 warning" {
		t.Errorf("with one: %s%s", got, f.summary())
	}
}
