// Package bubble runs programs on virtual time.
package bubble

import (
	"context"
	"errors"
	"flag"
	"testing"
	"testing/synctest"
)

// Run runs each of the worlds in a bubble of its own, one after the other:
// inside, time stands still while any goroutine has something to do and jumps to
// the next timer when none has. The daemon, the lab and the SOAP and TLS between
// them run in it unchanged, as long as they talk over in-memory connections. A
// day takes what its computing takes.
//
// The standard library offers this to tests only, so the worlds are run as a
// test. The one behaviour that this relies on beyond documentation is that
// testing.Main may be called from a program: TestOutsideTests pins it.
//
// Run returns when all that the worlds started has ended. It can be called once
// a process, and reads no command line.
func Run(worlds ...func(ctx context.Context) error) error {
	done := make(chan error)
	// testing.Main parses the command line unless that has been done.
	if err := flag.CommandLine.Parse(nil); err != nil {
		return err
	}
	test := func(t *testing.T) {
		var errs []error
		defer func() {
			done <- errors.Join(errs...)
			select {} // testing.Main would end the process
		}()
		for _, world := range worlds {
			synctest.Test(t, func(t *testing.T) { errs = append(errs, world(t.Context())) })
		}
	}
	go testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "bubble", F: test}}, nil, nil)
	return <-done
}
