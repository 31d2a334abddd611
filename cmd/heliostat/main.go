// Command heliostat places virtual machines across several vSphere datacentres
// by policy: see the package documentation of heliostat/engine for how it works
// and README.md for how to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules and sites name time zones on machines that have no database of them

	"github.com/spf13/cobra"
)

// The exit codes. They are documented in docs/reference.md.
const (
	exitOK      = 0
	exitFailure = 1 // what was asked for could not be done, or is not so
	exitUsage   = 2 // the command line is wrong
	exitConfig  = 3 // the configuration is wrong
	exitDaemon  = 4 // the daemon does not run, or cannot be reached
)

// version is set by the linker.
var version = "dev"

// codeError is an error that says with which code to exit.
type codeError struct {
	code int
	err  error
}

func (e codeError) Error() string { return e.err.Error() }
func (e codeError) Unwrap() error { return e.err }

func main() { os.Exit(run(os.Args[1:])) }

// run is the program: it returns the exit code.
func run(args []string) int {
	// The first signal asks everything to end; a second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "heliostat: "+err.Error())
	var c codeError
	if errors.As(err, &c) {
		return c.code
	}
	return exitFailure
}

// globals are the flags that every command takes.
type globals struct {
	config    string
	json      bool
	logFormat string
	logLevel  string
}

func newRoot() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "heliostat",
		Short: "Place virtual machines across vSphere datacentres by policy",
		Long: `Heliostat watches several vSphere datacentres, asks Rego policies what is wanted
(follow the sun, consolidate with power management, empty a host or a whole site
before a storm), works out a safe plan of live migrations and host power actions,
carries it out, and journals every decision.`,
		Example: `  heliostat demo                            # three simulated datacentres, one day in two minutes
  heliostat check --config heliostat.yaml   # what is wrong with a configuration
  heliostat plan --config heliostat.yaml    # what would be done now, without doing it
  heliostat run --config heliostat.yaml     # the daemon`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return codeError{exitUsage, fmt.Errorf("%w\nsee '%s --help'", err, c.CommandPath())}
	})
	f := root.PersistentFlags()
	f.StringVarP(&g.config, "config", "c", "/etc/heliostat/heliostat.yaml", "configuration file")
	f.BoolVar(&g.json, "json", false, "print JSON")
	f.StringVar(&g.logFormat, "log-format", "", "text or json (default: the configuration's)")
	f.StringVar(&g.logLevel, "log-level", "", "debug, info, warn or error (default: the configuration's)")
	root.AddCommand(
		newRun(g), newCheck(g), newInit(), newPlan(g), newStatus(g), newApprove(g), newReject(g), newPause(g), newResume(g),
		newExplain(g), newReplay(g), newJournal(g), newDemo(g), newLab(g), newVersion(g),
	)
	return root
}
