package main

import (
	"os"
	"os/exec"
	"testing"
)

// TestBubbleOutsideTests runs this binary once more as an ordinary program (see
// TestMain) and expects virtual time there.
func TestBubbleOutsideTests(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "HELIOSTAT_TEST_MAIN=bubble")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := string(out), "a day has passed: 24h0m0s\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}
