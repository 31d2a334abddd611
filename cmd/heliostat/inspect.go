package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"heliostat/store"
)

const (
	// A check reads some 30 MB a second on a small machine; one that takes four
	// times as long, and half a minute, does not end.
	inspectFirst   = 30 * time.Second
	inspectPerByte = time.Second / (8 << 20)
	// inspectAtStart is how long the check may hold a start up: systemd waits for
	// three minutes, one of which the first inventories may take.
	inspectAtStart = 90 * time.Second
)

// inspect checks a journal.db in a process of its own, which damage may crash or
// keep for ever. It does not look at the values.
func inspect(ctx context.Context, path string, limit time.Duration) error {
	_, err := store.InspectBy(ctx, limit, path, "heliostat", "journal", "inspect")
	return err
}

func inspectLimit(path string) (time.Duration, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return inspectFirst + time.Duration(info.Size())*inspectPerByte, nil
}

// inspectWhole takes the time that the file's size needs.
func inspectWhole(ctx context.Context, path string) error {
	limit, err := inspectLimit(path)
	if err != nil {
		return err
	}
	return inspect(ctx, path, limit)
}

// inspectBeforeStart refuses to start on a damaged journal. One that is too large
// to be checked in that time is checked as far as opening it does.
func inspectBeforeStart(ctx context.Context, path string, log *slog.Logger) error {
	limit, err := inspectLimit(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it will be made
	}
	if err != nil {
		return err
	}
	if limit > inspectAtStart {
		log.WarnContext(ctx, "the journal is too large to be checked at each start: run 'heliostat journal verify' now and then", "path", path)
		return nil
	}
	err = inspect(ctx, path, limit)
	if errors.Is(err, store.ErrInUse) {
		return nil // opening it says so, and by whom
	}
	return err
}

func newJournalInspect() *cobra.Command {
	return &cobra.Command{
		Use:    "inspect JOURNAL.DB",
		Short:  "Check the pages and the chain of a journal's file, for 'journal verify' and the daemon",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return store.Inspect(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
}
