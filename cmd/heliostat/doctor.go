package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/vsphere/access"
)

// A grade says how a finding is.
type grade string

const (
	good    grade = "ok"
	warning grade = "warning" // it runs, and somebody should look
	failing grade = "error"   // it does not run, or does not do something that is wanted
	skipped grade = "skipped" // it cannot be told here
)

// A finding is what one check found, and what to do about it.
type finding struct {
	Check   string `json:"check"`
	Subject string `json:"subject"`
	Grade   grade  `json:"grade"`
	What    string `json:"what"`
	Advice  string `json:"advice,omitempty"`
}

// findings are collected in order.
type findings []finding

// add notes a finding; advice may be empty where all is well.
func (f *findings) add(check, subject string, g grade, what, advice string) {
	*f = append(*f, finding{check, subject, g, what, advice})
}

// count is how many are of a grade.
func (f *findings) count(g grade) (n int) {
	for i := range *f {
		if (*f)[i].Grade == g {
			n++
		}
	}
	return n
}

func newDoctor(g *globals) *cobra.Command {
	var roles bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps the daemon from working, and say what to do about it",
		Long: `Doctor looks at everything that the daemon needs: the configuration and the policies,
the files of secrets, the state folder and the space on its disk, the unit, and at each
vCenter whether it answers, its certificate, its clock, and what each account may do.
It changes nothing, and may run beside the daemon.

It exits with 0 when nothing is an error (there may be warnings), with 1 otherwise, and
with 3 when the configuration cannot be loaded.

With --print-roles it prints the commands that make the accounts' roles in vCenter, and
connects to nothing.`,
		Example: "  heliostat doctor --config heliostat.yaml\n  heliostat doctor --json | jq '.[] | select(.grade != \"ok\")'\n  heliostat doctor --print-roles > roles.sh",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if roles {
				return access.WriteCommands(cmd.OutOrStdout())
			}
			return g.doctor(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&roles, "print-roles", false, "print commands that make the roles in vCenter")
	return cmd
}

func (g *globals) doctor(ctx context.Context, w io.Writer) error {
	found, err := g.examine(ctx)
	if err != nil {
		return err
	}
	if g.json {
		err = printJSON(w, found)
	} else {
		_, err = io.WriteString(w, found.text())
	}
	if err == nil && found.count(failing) > 0 {
		err = codeError{exitFailure, errors.New(found.summary())}
	}
	return err
}

// text is the findings for people. The summary of one that fails is what the command ends with.
func (f *findings) text() string {
	var b strings.Builder
	for _, x := range *f {
		fmt.Fprintf(&b, "%-8s %-12s %s: %s\n", x.Grade, x.Check, x.Subject, x.What)
		if x.Advice != "" {
			fmt.Fprintf(&b, "%21s  %s\n", "->", x.Advice)
		}
	}
	if f.count(failing) == 0 {
		b.WriteString("\n" + f.summary() + "\n")
	}
	return b.String()
}

// summary counts the findings by their grades.
func (f *findings) summary() string {
	text := engine.Count(f.count(failing), "error") + ", " + engine.Count(f.count(warning), "warning")
	if n := f.count(skipped); n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	return text
}
