package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/store"
)

// exportFlag lets a command read an export in the place of a state folder.
func (g *globals) exportFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&g.export, "journal", "", "file that 'heliostat journal export' wrote, to read in place of a state folder")
}

// openExport opens the file of --journal.
func (g *globals) openExport(ctx context.Context, state string) (journal, error) {
	if state != "" {
		return nil, codeError{exitUsage, errors.New("give one of --journal FILE and --state DIR")}
	}
	j, err := store.OpenExport(ctx, g.export)
	if err != nil {
		return nil, err
	}
	return j, nil
}

func newJournalExport(g *globals, state *string) *cobra.Command {
	var out, from, to string
	var pseudonyms bool
	cmd := &cobra.Command{
		Use:   "export --out FILE",
		Short: "Write a part of the journal to a file that can be read elsewhere",
		Long: `Write the entries of a time, with every value that they refer to, to one file. 'replay',
'explain' and 'journal ls', 'show' and 'verify' read it with --journal FILE, on a machine
without daemon and configuration. It begins with the cycle that was under way at --from.

With --pseudonyms the names and paths of VMs, hosts, clusters, datastores and networks,
and the people who gave orders, are replaced wherever they stand: the same name by the
same pseudonym, by a key that is kept nowhere. Identifiers, the names of sites, tags and
attributes stay, since policies and plans go by them, and so do the files of the
policies, whatever names they have in them: look before you hand it out. The
entries are then others than those that checkpoints were signed for.`,
		Example: `  heliostat journal export --out week.tar.zst --from 2026-11-16 --to 2026-11-23
  heliostat journal export --out case.tar.zst --from 2026-11-25T04:00:00Z --pseudonyms
  heliostat replay --journal case.tar.zst --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return codeError{exitUsage, errors.New("--out: where to?")}
			}
			if err := absent(out); err != nil {
				return err
			}
			o := store.ExportOptions{Pseudonyms: pseudonyms}
			for flag, x := range map[string]struct {
				text string
				to   *time.Time
			}{"from": {from, &o.From}, "to": {to, &o.To}} {
				var err error
				if *x.to, err = parseMoment(x.text); err != nil {
					return codeError{exitUsage, fmt.Errorf("--%s: %w", flag, err)}
				}
			}
			j, err := g.openJournal(cmd.Context(), *state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			var r store.Report
			err = writeWhole(out, func(w io.Writer) error {
				r, err = j.Export(cmd.Context(), w, j.Get, o)
				return err
			})
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s and %s (%d MiB)\n", out, engine.Count(r.Entries, "entry"), engine.Count(r.Blobs, "value"), r.Bytes>>20)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (.tar.zst); must not be there")
	cmd.Flags().StringVar(&from, "from", "", "from this moment on: 2026-11-25 or 2026-11-25T04:00:00Z, UTC (default: the first entry)")
	cmd.Flags().StringVar(&to, "to", "", "up to this moment (default: the last entry)")
	cmd.Flags().BoolVar(&pseudonyms, "pseudonyms", false, "replace names")
	return cmd
}

// parseMoment reads a day or a moment; the zero time of nothing.
func parseMoment(s string) (t time.Time, err error) {
	if s == "" {
		return t, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, fmt.Errorf("%q is not a moment: 2026-11-25, 2026-11-25T04:00:00Z", s)
}
