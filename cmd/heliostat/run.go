package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"heliostat/configs"
	"heliostat/store"
	"heliostat/systemd"
)

func newRun(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon until it is told to stop. Actions in flight go on in vCenter and are
taken over at the next start.

While modes are 'advise' (the default) nothing is done without a person's approval.
Without accounts that may move nothing can be done at all.`,
		Example: "  heliostat run --config heliostat.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			log, err := g.logger(cfg.Log)
			if err != nil {
				return err
			}
			return runDaemon(cmd.Context(), cfg, log)
		},
	}
}

func runDaemon(ctx context.Context, cfg *configs.Config, log *slog.Logger) error {
	if err := inspectBeforeStart(ctx, filepath.Join(cfg.State.Dir, store.JournalFile), log); err != nil {
		return fmt.Errorf("%w\nmove %s away and restore a backup ('heliostat restore'), or start with an empty folder once no host is in standby", err, cfg.State.Dir)
	}
	j, err := store.Open(cfg.State.Dir, store.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if err := j.Close(); err != nil {
			log.ErrorContext(ctx, "close journal", "err", err)
		}
	}()
	notify := systemd.New(log)
	d, err := newDaemon(ctx, cfg, j, surroundings{log: log, notify: notify})
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "heliostat starts", "version", version, "state", cfg.State.Dir, "mode", d.mode.String(), "revision", d.policies.Revision())
	context.AfterFunc(ctx, func() { notify.Stopping() })
	err = d.run(ctx)
	if err != nil {
		log = log.With("err", err)
	}
	log.InfoContext(context.WithoutCancel(ctx), "heliostat ends")
	return err
}

// logger makes the log that flags or configuration ask for, on stderr.
func (g *globals) logger(c configs.Log) (*slog.Logger, error) {
	level := c.Level
	if g.logLevel != "" {
		if err := level.UnmarshalText([]byte(g.logLevel)); err != nil {
			return nil, codeError{exitUsage, fmt.Errorf("--log-level: %w", err)}
		}
	}
	opts := &slog.HandlerOptions{Level: slog.Level(level)}
	if systemd.LogsToJournal() {
		opts.ReplaceAttr = withoutTime // the journal dates lines itself
	}
	switch cmp.Or(g.logFormat, c.Format) {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	}
	return nil, codeError{exitUsage, fmt.Errorf("--log-format: %q is not text or json", g.logFormat)}
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
