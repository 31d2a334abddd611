package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

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
builds the plan again and compares it byte for byte with the one in the journal.
It exits with 1 when they differ.`,
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
			return replay(cmd.OutOrStdout(), j, number, g.json)
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
}

func replay(w io.Writer, j journal, only uint64, asJSON bool) error {
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
	if asJSON {
		if err := printJSON(w, r); err != nil {
			return err
		}
	} else {
		for _, d := range r.Different {
			_, _ = fmt.Fprintln(w, d)
		}
		_, _ = fmt.Fprintf(w, "%d plans replayed, %d identical, %d different\n", r.Plans, r.Identical, len(r.Different))
	}
	switch {
	case r.Plans == 0:
		return errors.New("no plan to replay")
	case len(r.Different) > 0:
		return fmt.Errorf("%d of %d plans differ", len(r.Different), r.Plans)
	}
	return nil
}

// around is the neighbourhood of byte i.
func around(b []byte, i int) []byte { return b[max(0, i-30):min(len(b), i+30)] }
