package main

import (
	"context"
	"flag"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs f on virtual time: inside, time stands still while any
// goroutine has something to do and jumps to the next timer when none has. The
// daemon, the lab and the SOAP and TLS between them run in it unchanged, as long
// as they talk over net.Pipe. A day takes what its computing takes.
//
// The standard library offers this to tests only, so f is run as a test. The
// one behaviour that this relies on beyond documentation is that testing.Main
// may be called from a program: TestBubbleOutsideTests pins it.
//
// inBubble returns when f and all that it started have ended. It can be called
// once a process.
func inBubble(f func(ctx context.Context) error) error {
	done := make(chan error)
	// testing.Main parses the command line unless that has been done.
	if err := flag.CommandLine.Parse(nil); err != nil {
		return err
	}
	test := func(t *testing.T) {
		var err error
		defer func() {
			done <- err
			select {} // testing.Main would end the process
		}()
		synctest.Test(t, func(t *testing.T) { err = f(t.Context()) })
	}
	go testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "bubble", F: test}}, nil, nil)
	return <-done
}

// pace lets at most step of virtual time pass in each wall interval, so that a
// bubble can be watched. It sleeps in the kernel, which a bubble does not see as
// idle: its time stands still meanwhile. It returns when ctx is done.
func pace(ctx context.Context, step, wall time.Duration) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ts := syscall.NsecToTimespec(wall.Nanoseconds())
			_ = syscall.Nanosleep(&ts, nil) // an early end does no harm
		case <-ctx.Done():
			return
		}
	}
}
