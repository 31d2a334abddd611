// Command heliostat places virtual machines across several vSphere datacentres
// by policy: see the package documentation of heliostat/engine for how it works
// and README.md for how to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules and sites name time zones on machines that have no database of them

	"github.com/spf13/cobra"

	"heliostat/configs"
	"heliostat/engine"
	"heliostat/policy"
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
	code := exitFailure
	if c, ok := errors.AsType[codeError](err); ok {
		code = c.code
	}
	if code == exitConfig {
		fmt.Fprintln(os.Stderr, err) // a fault a line, each with its place, as editors read them
		return code
	}
	text := err.Error()
	if faults, ok := errors.AsType[policy.Faults](err); ok {
		printFaults(os.Stderr, faults)
		text = strings.Replace(text, faults.Error(), engine.Count(len(faults), "error"), 1)
	}
	fmt.Fprintln(os.Stderr, "heliostat: "+text)
	return code
}

// endAtOnce ends the process at the first signal: for work that hears of none, and
// leaves nothing that has to be put in order. It returns what calls that off.
func endAtOnce(ctx context.Context, note string) func() bool {
	return context.AfterFunc(ctx, func() {
		fmt.Fprintln(os.Stderr, "heliostat: ended early; "+note)
		os.Exit(exitFailure)
	})
}

// globals are the flags that every command takes.
type globals struct {
	config    string
	export    string // an exported journal, in place of a state folder
	socket    string
	json      bool
	logFormat string
	logLevel  string
}

// load reads the configuration. Who has none is told what to do.
func (g *globals) load() (*configs.Config, error) {
	cfg, err := configs.Load(g.config)
	if _, missing := os.Stat(g.config); errors.Is(missing, fs.ErrNotExist) {
		err = fmt.Errorf("%w\n\t--config FILE says where it is; 'heliostat init' prints one to start from", err)
	}
	if err != nil {
		return nil, codeError{exitConfig, err}
	}
	return cfg, nil
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
	f.StringVar(&g.socket, "socket", "", "control socket of the daemon (default: the configuration's)")
	f.BoolVar(&g.json, "json", false, "print JSON")
	f.StringVar(&g.logFormat, "log-format", "", "text or json (default: the configuration's)")
	f.StringVar(&g.logLevel, "log-level", "", "debug, info, warn or error (default: the configuration's)")
	completed(root, "log-format", "text", "json")
	completed(root, "log-level", "debug", "info", "warn", "error")
	root.AddCommand(
		newRun(g), newCheck(g), newDoctor(g), newInit(), newPlan(g), newStatus(g), newApprove(g), newReject(g), newPause(g), newResume(g), newRelease(g),
		newWake(g), newEvacuate(g), newDrill(g), newExplain(g), newWhyNot(g), newReplay(g), newJournal(g), newBackup(g), newRestore(g), newDemo(g), newSim(g), newLab(g), newVersion(g), newPolicy(g),
	)
	root.InitDefaultCompletionCmd() // for strict; cobra adds it later otherwise
	root.InitDefaultHelpCmd()
	strict(root)
	helpful(root)
	return root
}

// completed has the shell offer the values of a flag.
func completed(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// strict makes each mistake on the command line one of usage, in c and below it.
// cobra has no type for those errors, and takes a mistyped command below a
// command that only has others as a wish for help.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	usage := func(err error) error {
		return codeError{exitUsage, fmt.Errorf("%w\nsee '%s --help'", err, c.CommandPath())}
	}
	if !c.Runnable() {
		c.Args, c.DisableFlagsInUseLine = cobra.ArbitraryArgs, true
		c.RunE = func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknown(c, args[0])
		}
		return
	}
	check := c.Args
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	c.Args = func(_ *cobra.Command, args []string) error {
		err := scoped(c, args)
		if err == nil {
			err = check(c, args)
		}
		if err != nil {
			return usage(fmt.Errorf("%w\nusage: %s", err, c.UseLine()))
		}
		return nil
	}
}

// unknown is the mistake of a command that c does not have.
func unknown(c *cobra.Command, name string) error {
	c.SuggestionsMinimumDistance = 2 // letters that may be wrong
	hint := ""
	if like := c.SuggestionsFor(name); len(like) > 0 {
		hint = fmt.Sprintf(": did you mean %s?", strings.Join(like, " or "))
	}
	return codeError{exitUsage, fmt.Errorf("unknown command %q for %q%s\nsee '%s --help'", name, c.CommandPath(), hint, c.CommandPath())}
}

// helpful makes a wish for help about what is not there a mistake: cobra prints its
// own help then, and is content.
func helpful(root *cobra.Command) {
	for _, help := range root.Commands() {
		if help.Name() == "help" {
			help.Args = func(_ *cobra.Command, args []string) error {
				if c, rest, _ := root.Find(args); len(rest) > 0 && c.HasSubCommands() {
					return unknown(c, rest[0])
				}
				return nil
			}
		}
	}
}
