package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
)

func newJournal(g *globals) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "Read the journal",
		Example: `  heliostat journal ls --kind ended
  heliostat journal show 118
  heliostat journal show 118 --proof > proof.json
  heliostat journal prove proof.json --key kept.pub
  heliostat journal verify --state /var/lib/heliostat`,
	}
	cmd.PersistentFlags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.AddCommand(newJournalLs(g, &state), newJournalShow(g, &state), newJournalVerify(g, &state), newJournalProve(g, &state), newJournalExport(g, &state), newJournalCompact(g, &state), newJournalInspect())
	return cmd
}

func newJournalLs(g *globals, state *string) *cobra.Command {
	var kind string
	var number, from uint64
	var limit int
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List entries, a line each",
		Example: `  heliostat journal ls --kind ended
  heliostat journal ls --cycle 118 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind != "" && !slices.Contains(entryKinds, kind) {
				return codeError{exitUsage, fmt.Errorf("--kind: %q is not one of %s", kind, strings.Join(entryKinds, ", "))}
			}
			j, err := g.openJournal(cmd.Context(), *state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			n := 0
			for e, err := range j.Entries(max(from, 1)) {
				if err != nil {
					return err
				}
				if (kind != "" && string(e.Kind) != kind) || (number != 0 && e.Cycle != number) {
					continue
				}
				if n++; limit > 0 && n > limit {
					break
				}
				if g.json {
					b, err := engine.Encode(e)
					if err != nil {
						return err
					}
					_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
					continue
				}
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%6d  %s  cycle %-5d %-9s %s\n", e.Seq, e.At.UTC().Format(time.DateTime), e.Cycle, e.Kind, gist(&e))
			}
			return nil
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&kind, "kind", "", "only this kind: "+strings.Join(entryKinds, ", "))
	completed(cmd, "kind", entryKinds...)
	cmd.Flags().Uint64Var(&number, "cycle", 0, "only this cycle")
	cmd.Flags().Uint64Var(&from, "from", 1, "from this entry on")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return cmd
}

// entryKinds are the kinds of entries, in the order of a cycle.
var entryKinds = []string{
	string(engine.EntryInput), string(engine.EntryDecision), string(engine.EntryVetoes), string(engine.EntryPlan), string(engine.EntryIntent), string(engine.EntryTask),
	string(engine.EntryEnded), string(engine.EntryHealth), string(engine.EntryAlert), string(engine.EntryApproval), string(engine.EntryRevision), string(engine.EntryOperator), string(engine.EntryCycle),
}

func newJournalShow(g *globals, state *string) *cobra.Command {
	var proof bool
	var file string
	cmd := &cobra.Command{
		Use:   "show NUMBER|DIGEST",
		Short: "Show an entry whole, or a large value by its digest",
		Long: `Show an entry whole, or a large value by its digest. With --proof, the entry comes with
a signed checkpoint and the few hashes that show that it was in the journal then:
'heliostat journal prove' checks that elsewhere, without the journal.`,
		Example: "  heliostat journal show 118\n  heliostat journal show 3f9a0c... | jq .vms[0]\n  heliostat journal show 118 --proof > proof.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 64)
			digest := err != nil || len(args[0]) == 64
			if (digest && proof) || (file != "" && !proof) {
				return codeError{exitUsage, errors.New("--proof is for the number of an entry, and --checkpoint is for --proof")}
			}
			if digest && len(args[0]) != 64 {
				return codeError{exitUsage, fmt.Errorf("%q is neither the number of an entry nor a digest of 64 digits", args[0])}
			}
			if proof {
				return g.prove(cmd.Context(), cmd.OutOrStdout(), *state, n, file)
			}
			j, err := g.openJournal(cmd.Context(), *state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			if digest {
				b, err := j.Get(args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
				return err
			}
			for e, err := range j.Entries(n) {
				if err != nil {
					return err
				}
				if e.Seq == n {
					return printJSON(cmd.OutOrStdout(), e)
				}
				break
			}
			return fmt.Errorf("no entry %d", n)
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().BoolVar(&proof, "proof", false, "also what proves that the entry was in the journal of a checkpoint")
	cmd.Flags().StringVar(&file, "checkpoint", "", "file of checkpoints, the last of which is meant (default: checkpoint in the state folder)")
	return cmd
}
