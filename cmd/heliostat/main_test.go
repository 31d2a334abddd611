package main

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the tests run this binary as the program itself: scripts under
// the name of heliostat, other tests by an environment variable.
func TestMain(m *testing.M) {
	switch os.Getenv("HELIOSTAT_TEST_MAIN") {
	case "heliostat":
		os.Exit(run(os.Args[1:]))
	case "bubble":
		err := inBubble(func(context.Context) error {
			start := time.Now()
			time.Sleep(24 * time.Hour)
			fmt.Printf("a day has passed: %v\n", time.Since(start))
			return nil
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testscript.Main(m, map[string]func(){"heliostat": func() { os.Exit(run(os.Args[1:])) }})
}
