package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/policy"
)

// replDeadline bounds one expression: a person waits.
const replDeadline = 30 * time.Second

func newPolicyRepl(g *globals) *cobra.Command {
	var sc scene
	var dir string
	var exprs []string
	cmd := &cobra.Command{
		Use:   "repl",
		Short: "Ask policies, and what they saw, in a recorded cycle",
		Long: `Repl evaluates Rego expressions on a recorded cycle: data.fleet, data.params and
data.placement are as rules see them, and input is that of --cluster or --move. Policies
are those of --bundle. What policies may not call is not there.

Expressions come from -e, or from the standard input, a line each.`,
		Example: `  heliostat policy repl --cluster prod-a --journal week.tar.zst --cycle 118
  heliostat policy repl --cluster prod-a -e 'data.placement.dpm.drain' -e '[h.id | some h in input.hosts; h.usable]'
  echo 'count(data.fleet.sites)' | heliostat policy repl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := draftOrShipped(dir)
			if err != nil {
				return err
			}
			x, err := sc.show(cmd.Context(), g)
			if err != nil {
				return err
			}
			q, err := d.Ask(cmd.Context(), x.docs)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if len(exprs) == 0 {
				return repl(cmd.Context(), w, cmd.InOrStdin(), q, x)
			}
			for _, e := range exprs {
				if err := answer(cmd.Context(), w, q, e, x.input); err != nil {
					return err
				}
			}
			return nil
		},
	}
	sc.flags(g, cmd)
	cmd.Flags().StringVar(&dir, "bundle", shippedBundle, "folder of the policies, or shipped")
	cmd.Flags().StringArrayVarP(&exprs, "eval", "e", nil, "evaluate this expression and end; may be given again")
	return cmd
}

// repl reads expressions until there are no more. A person who sits before it is
// prompted, and told what is wrong; a script ends at the first error.
func repl(ctx context.Context, w io.Writer, in io.Reader, q *policy.Question, x *shown) error {
	f, isFile := in.(*os.File)
	person := false
	if isFile {
		info, err := f.Stat()
		person = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if person {
		_, _ = fmt.Fprintf(w, "cycle %d, %s; the end of the input, or exit, ends it\n", x.cycle, x.scope)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for {
		if person {
			_, _ = io.WriteString(w, "> ")
		}
		if !lines.Scan() {
			return lines.Err()
		}
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case line == "exit" || line == "quit":
			return nil
		}
		err := answer(ctx, w, q, line, x.input)
		if err != nil && (!person || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			_, _ = fmt.Fprintln(w, err)
		}
	}
}

// answer prints what an expression is.
func answer(ctx context.Context, w io.Writer, q *policy.Question, expr string, in policy.Input) error {
	ctx, cancel := context.WithTimeoutCause(ctx, replDeadline, fmt.Errorf("did not end within %v", replDeadline))
	defer cancel()
	out, err := q.Eval(ctx, expr, in)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", expr, err), context.Cause(ctx))
	}
	if len(out) == 0 {
		_, err = fmt.Fprintln(w, "undefined")
		return err
	}
	_, err = fmt.Fprintln(w, strings.Join(out, "\n"))
	return err
}
