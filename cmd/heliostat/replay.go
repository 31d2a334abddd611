package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/backtest"
	"heliostat/engine/cycle"
)

func newReplay(g *globals) *cobra.Command {
	var state string
	var number uint64
	var all bool
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Build journaled plans again and compare them byte for byte",
		Long: `Replay takes what a journaled plan was made from (the snapshot, the decision of the
policies, the history, the open actions, the configuration, the time and the seed),
builds the plan again and compares it byte for byte with the one in the journal. Then it
puts each recorded snapshot before the policies that were in force, in the revision that
the journal keeps, and compares what they decide. It exits with 1 when something differs.`,
		Example: `  heliostat replay --state /var/lib/heliostat --all
  heliostat replay --state /var/lib/heliostat --cycle 118
  heliostat replay --journal case.tar.zst --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all == (number != 0) {
				return codeError{exitUsage, errors.New("give one of --cycle N and --all")}
			}
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			return replay(cmd.Context(), cmd.OutOrStdout(), j, number, g.json)
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.Flags().Uint64Var(&number, "cycle", 0, "only this cycle")
	cmd.Flags().BoolVar(&all, "all", false, "every cycle")
	return cmd
}

// replayed is the result of a replay.
type replayed struct {
	Plans     int      `json:"plans"`
	Identical int      `json:"identical"`
	Different []string `json:"different"`

	Policies *backtest.Asked `json:"policies"`
}

func replay(ctx context.Context, w io.Writer, j journal, only uint64, asJSON bool) error {
	r := replayed{Different: []string{}}
	for p, err := range plans(j, only) {
		if err != nil {
			return err
		}
		r.Plans++
		_, got, want, err := cycle.Rebuild(j, p.input, p.record)
		if err != nil {
			return fmt.Errorf("replay cycle %d: %w", p.cycle, err)
		}
		if bytes.Equal(got, want) {
			r.Identical++
			continue
		}
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		r.Different = append(r.Different, fmt.Sprintf("cycle %d, level %s: differs from byte %d: journaled ...%s, rebuilt ...%s",
			p.cycle, p.record.Level, at, around(want, at), around(got, at)))
	}
	if r.Plans == 0 {
		return errors.New("no plan to replay")
	}
	record, err := backtest.Read(j, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	if r.Policies, err = record.Ask(ctx, keptBundle(j), only); err != nil {
		return err
	}
	if asJSON {
		err = printJSON(w, r)
	} else {
		r.print(w)
	}
	if parted := len(r.Policies.Different); err == nil && len(r.Different)+parted > 0 {
		err = fmt.Errorf("%d of %d plans and %d of %d decisions differ", len(r.Different), r.Plans, parted, r.Policies.Decisions)
	}
	return err
}

func (r *replayed) print(w io.Writer) {
	for _, d := range r.Different {
		_, _ = fmt.Fprintln(w, d)
	}
	_, _ = fmt.Fprintf(w, "%s replayed, %d identical, %d different\n", engine.Count(r.Plans, "plan"), r.Identical, len(r.Different))
	p := r.Policies
	if p.Decisions > 0 {
		_, _ = fmt.Fprintf(w, "%s asked for again of the policies in force, %d identical, %d different\n", engine.Count(p.Decisions, "decision"), p.Identical, len(p.Different))
	}
	if len(p.Different) > 0 {
		_, _ = fmt.Fprintf(w, "the first decision that differs is that of cycle %d\n", p.Different[0])
	}
	for _, revision := range slices.Sorted(maps.Keys(p.NotKept)) {
		_, _ = fmt.Fprintf(w, "revision %.12s is not kept here: %s taken as recorded\n", revision, engine.Count(p.NotKept[revision], "decision"))
	}
}

// around is the neighbourhood of byte i.
func around(b []byte, i int) []byte { return b[max(0, i-30):min(len(b), i+30)] }
