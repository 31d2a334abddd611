package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/store"
)

const (
	// pruneFirst is how long after its start the daemon prunes for the first time:
	// what came of an earlier process has been looked at by then, and a moment
	// that no schedule falls on.
	pruneFirst = time.Hour + 17*time.Second
	pruneEvery = 24 * time.Hour
)

// prune removes old values from the journal once a day, until ctx ends.
func (d *daemon) prune(ctx context.Context) error {
	keep := d.cfg.State.Keep
	if keep == 0 {
		return nil
	}
	for pause(ctx, pruneFirst); ctx.Err() == nil; pause(ctx, pruneEvery) {
		p, err := d.journal.Prune(ctx, keep, "heliostat")
		switch {
		case errors.Is(err, store.ErrBroken):
			return err // nothing can be written down any more
		case err != nil && ctx.Err() == nil:
			d.log.ErrorContext(ctx, "old values are not pruned", "err", err)
		case p.Entry != 0:
			d.log.InfoContext(ctx, "old values are pruned", "values", p.Blobs, "bytes", p.Bytes, "cut", p.Cut, "entry", p.Entry)
		}
	}
	return nil
}

func newJournalCompact(g *globals, state *string) *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "compact --keep AGE",
		Short: "Remove the old values of a stopped daemon's journal",
		Long: `Remove snapshots, decisions and plans that only entries older than AGE refer to. What an
open action, the last plan and the last history need stays. So do all entries: the chain
is whole, one more entry says what was removed, and 'heliostat journal verify' goes by it.
What was removed can no longer be replayed. A running daemon does this once a day by
itself (state.keep).`,
		Example: "  heliostat journal compact --state /var/lib/heliostat --keep 30d",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			age, err := parseAge(keep)
			if err != nil {
				return codeError{exitUsage, fmt.Errorf("--keep: %w", err)}
			}
			dir, err := g.stateDir(*state)
			if err != nil {
				return err
			}
			p, err := compact(cmd.Context(), dir, age)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), p)
			}
			if p.Entry == 0 {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing is that old")
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s (%d KiB) removed that only entries up to %d referred to, as entry %d says\n", engine.Count(p.Blobs, "value"), p.Bytes>>10, p.Cut, p.Entry)
			return err
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "what is younger is kept: 30d, 720h; at least a day (required)")
	return cmd
}

func compact(ctx context.Context, dir string, keep time.Duration) (p store.Pruned, err error) {
	// Open would make what is not there.
	r, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		return p, err
	}
	if err := r.Close(); err != nil {
		return p, err
	}
	j, err := store.Open(dir, store.Options{})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	who := "somebody"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	return j.Prune(ctx, keep, who)
}

// parseAge reads a duration that may be in days: 30d.
func parseAge(s string) (time.Duration, error) {
	var age time.Duration
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number of days", s)
		}
		age = time.Duration(n) * 24 * time.Hour
	} else {
		var err error
		if age, err = time.ParseDuration(s); err != nil {
			return 0, fmt.Errorf("%q is not an age: 30d, 720h", s)
		}
	}
	if age < store.MinKeep {
		return 0, fmt.Errorf("%v is less than a day", age)
	}
	return age, nil
}
