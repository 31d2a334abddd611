package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/backtest"
)

func newPolicyDiff(g *globals) *cobra.Command {
	var state string
	var when period
	var heard hearing
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare what two sets of policies say about recorded history, rule by rule",
		Long: `Diff lays each recorded snapshot before both, asks both about the moves that were
planned, and counts, rule by rule, what both say, what only one says, and what both say
for different reasons; with examples. A and B are folders, "shipped", "recorded" (those
that were in force) or revisions that the journal keeps.

With --params the parameters of B are others.`,
		Example: `  heliostat policy diff recorded policies --journal week.tar.zst
  heliostat policy diff shipped policies --state /var/lib/heliostat --exit-code
  heliostat policy diff shipped shipped --params dpm.target_pct=50 --journal week.tar.zst`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			a, err := (&hearing{modes: heard.modes}).bundle(j, args[0])
			if err != nil {
				return err
			}
			b, err := heard.bundle(j, args[1])
			if err != nil {
				return err
			}
			record, err := when.read(j)
			if err != nil {
				return err
			}
			rules, err := record.Diff(cmd.Context(), a, b)
			if err != nil {
				return err
			}
			n := len(slices.DeleteFunc(slices.Clone(rules), func(r backtest.Rule) bool { return !r.Differs() }))
			w := cmd.OutOrStdout()
			if g.json {
				err = printJSON(w, map[string]any{"cycles": record.Cycles(), "rules": rules, "differ": n})
			} else {
				_, err = fmt.Fprintf(w, "%s: %d of %s say different things\n", engine.Count(record.Cycles(), "cycle"), n, engine.Count(len(rules), "rule"))
				backtest.WriteRules(w, rules, args[0], args[1])
			}
			if err == nil && exitCode && n > 0 {
				return errors.New("the policies differ")
			}
			return err
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 where they differ")
	when.flags(cmd)
	heard.flags(cmd)
	return cmd
}
