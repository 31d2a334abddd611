package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/backtest"
)

func newPolicyCompare(g *globals) *cobra.Command {
	var state, since string
	cmd := &cobra.Command{
		Use:   "compare NAME",
		Short: "Compare what a policy or a bundle in shadow would have done with what was enforced",
		Long: `Compare reads the plans that the daemon journaled for a policy in mode shadow, or for a
bundle of policy.shadow_bundles, beside what it enforced in the same cycles: the actions
that only one of them has, what each promises, and what was held. Nothing that is in
shadow was carried out, so a wish comes again in every cycle; it counts once.

One change of the configuration puts it in force: policy.modes.NAME: enforce for a
policy, policy.dir for a bundle.`,
		Example: `  heliostat policy compare load_balance --since 7d
  heliostat policy compare next --since 12h --journal week.tar.zst --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			from, err := sinceMoment(j, since)
			if err != nil {
				return err
			}
			c, err := backtest.Compare(j, args[0], from)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), c)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), c.Text())
			return err
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.Flags().StringVar(&since, "since", "7d", "so long before the last cycle (12h, 7d), or a moment")
	return cmd
}

// sinceMoment is the moment, or so long before the journal's last cycle.
func sinceMoment(j journal, text string) (time.Time, error) {
	span, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); err != nil && ok {
		var n int
		n, err = strconv.Atoi(days)
		span = time.Duration(n) * 24 * time.Hour
	}
	if err != nil {
		at, err := parseMoment(text)
		if err != nil {
			return at, codeError{exitUsage, fmt.Errorf("--since %s: give 12h, 7d, or a moment such as 2026-11-25T04:00:00Z", text)}
		}
		return at, nil
	}
	e, ok, err := j.LastOf(engine.EntryCycle)
	if err != nil || !ok {
		return time.Time{}, err
	}
	return e.At.Add(-span), nil
}
