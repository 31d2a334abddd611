package bubble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestMain lets TestOutsideTests run this binary as an ordinary program.
func TestMain(m *testing.M) {
	if os.Getenv("BUBBLE_TEST_MAIN") == "" {
		os.Exit(m.Run())
	}
	day := func(context.Context) error {
		start := time.Now()
		time.Sleep(24 * time.Hour)
		fmt.Printf("a day has passed: %v\n", time.Since(start))
		return errors.New("over")
	}
	fmt.Println(Run(day, day))
}

// TestOutsideTests runs this binary once more as an ordinary program and expects
// virtual time there, world by world.
func TestOutsideTests(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "BUBBLE_TEST_MAIN=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := string(out), "a day has passed: 24h0m0s\na day has passed: 24h0m0s\nover\nover\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}
