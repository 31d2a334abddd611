package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the tests run this binary as the program itself: scripts under
// the name of heliostat, other tests by an environment variable.
func TestMain(m *testing.M) {
	if os.Getenv(filterCalls) != "" {
		if err := becomeFiltered(); err != nil {
			panic(err)
		}
		return
	}
	if os.Getenv("HELIOSTAT_TEST_MAIN") == "heliostat" {
		os.Exit(run(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){"heliostat": func() { os.Exit(run(os.Args[1:])) }})
}
