package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/store"
)

func newBackup(g *globals) *cobra.Command {
	var out, state string
	cmd := &cobra.Command{
		Use:   "backup --out FILE",
		Short: "Back the journal up, while the daemon runs or not",
		Long: `Write an archive of the journal and of every value that it refers to, as of one
moment, with a signed checkpoint. All of it is verified on the way; of a damaged journal
there is no backup. A daemon that runs is asked over its socket, and goes on meanwhile.
The key that signs checkpoints is not in it. Configuration, credentials and policies are
yours to keep.`,
		Example: `  heliostat backup --out /srv/backup/heliostat.tar.zst
  heliostat backup --out heliostat.tar.zst --state /var/lib/heliostat`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return codeError{exitUsage, errors.New("--out: where to?")}
			}
			s, err := g.backup(cmd.Context(), out, state)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s and %s (%d MiB), verified; %s\n", out, engine.Count(s.Entries, "entry"), engine.Count(s.Blobs, "value"), s.Bytes>>20, s.Checkpoint)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the archive to write (.tar.zst); must not be there")
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	return cmd
}

// archived is what a backup or a restore says.
type archived struct {
	store.Report
	Checkpoint string `json:"checkpoint"`
}

func (g *globals) backup(ctx context.Context, out, state string) (s archived, err error) {
	if err := absent(out); err != nil {
		return s, fmt.Errorf("back up: %w", err)
	}
	dir, err := g.stateDir(state)
	if err != nil {
		return s, err
	}
	// Before the copy is made, so that the copy goes at least as far.
	saved, savedErr := readCheckpoints(filepath.Join(dir, store.CheckpointFile))
	j, err := g.openJournal(ctx, state)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	key, err := g.checkpointKey(dir, "")
	if err != nil {
		return s, err
	}
	path := filepath.Join(dir, store.JournalFile)
	var c store.Checkpoint
	switch j := j.(type) {
	case copied:
		if savedErr != nil {
			return s, fmt.Errorf("back up: the daemon saves a checkpoint in %s at its first cycle: %w", dir, savedErr)
		}
		path, c = filepath.Join(j.dir, store.JournalFile), saved[0]
	case *store.Journal:
		if c, err = j.Checkpoint(); err != nil {
			return s, err
		}
	}
	s.Checkpoint = c.String()
	s.Report, err = writeArchive(ctx, out, path, j.Get, c, key)
	return s, err
}

// writeArchive writes the archive, verified.
func writeArchive(ctx context.Context, out, path string, get func(string) ([]byte, error), c store.Checkpoint, key ed25519.PublicKey) (r store.Report, err error) {
	err = writeWhole(out, func(w io.Writer) error {
		r, err = store.Backup(ctx, w, path, get, c, key)
		return err
	})
	return r, err
}

// absent refuses to write over a file that is there.
func absent(out string) error {
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s is there already", out), err)
	}
	return nil
}

// writeWhole writes a file beside its place, and puts it there when it is whole.
func writeWhole(out string, write func(w io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".partial-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}

func newRestore(g *globals) *cobra.Command {
	var from, state, keyFile string
	cmd := &cobra.Command{
		Use:   "restore --from FILE --state DIR",
		Short: "Make a state folder of a backup",
		Long: `Unpack a backup into an empty folder, and verify all of it before it counts as a
journal: chain, values, and the signed checkpoint. The restored journal ends with an
order to pause: what has happened since the backup is not in it, so the daemon starts
nothing until a person has looked and says 'heliostat resume'.`,
		Example: "  heliostat restore --from heliostat.tar.zst --state /var/lib/heliostat --key kept.pub",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || state == "" {
				return codeError{exitUsage, errors.New("--from and --state must both be given")}
			}
			var key ed25519.PublicKey
			if keyFile != "" {
				var err error
				if key, err = g.checkpointKey("", keyFile); err != nil {
					return err
				}
			}
			f, err := os.Open(from)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			r, c, err := store.Restore(cmd.Context(), f, state, key, store.Options{})
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), archived{r, c.String()})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `%d entries and %d values (%d MiB) are in %s, as they were written
the checkpoint of entry %d, %s, by key %s holds
The daemon will start PAUSED: look at what has happened since, then 'heliostat resume'.
`, r.Entries, r.Blobs, r.Bytes>>20, state, c.Entries, c.At.Format(time.RFC3339), c.Origin)
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the archive that 'heliostat backup' wrote")
	cmd.Flags().StringVar(&state, "state", "", "the state folder to make; must be empty or not be there")
	cmd.Flags().StringVar(&keyFile, "key", "", "the public key that must have signed its checkpoint (default: the one in the archive)")
	return cmd
}
