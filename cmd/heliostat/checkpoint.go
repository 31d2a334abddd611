package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/store"
)

// tellEvery is how often a checkpoint goes to the log, from where systemd's
// journal carries it off the host. The one in the state folder is of each cycle.
const tellEvery = time.Hour

// checkpoint saves a checkpoint, and logs it when the last one logged is older
// than every. Where the disk refuses it, the journal takes nothing more, and what
// appends next ends the daemon.
func (d *daemon) checkpoint(every time.Duration) {
	c, err := d.journal.SaveCheckpoint()
	if err != nil {
		d.log.Error("no checkpoint of the journal", "err", err)
		return
	}
	if now := time.Now(); now.Sub(d.told) >= every {
		d.told = now
		d.log.Info("checkpoint of the journal", "entries", c.Entries, "checkpoint", c.String())
	}
}

func newJournalVerify(g *globals, state *string) *cobra.Command {
	var file, keyFile string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the chain of hashes and every value that it refers to",
		Long: `Check that every entry is what was written, in its place in the chain of hashes, and
that every value it refers to is there unchanged. It exits with 1 when the journal is
damaged. The file is first looked through by a process of its own, since damage can make
whoever reads it crash.

Who can write the files can also write a whole other chain, or cut its end off. That
shows against a checkpoint kept elsewhere: a line that the daemon signs, writes to
'checkpoint' in the state folder at each cycle and logs once an hour. --checkpoint is a
file of such lines; --key is a copy of the folder's 'checkpoint.pub' kept elsewhere,
without which the folder's own is taken.`,
		Example: `  heliostat journal verify --state /var/lib/heliostat
  heliostat journal verify --state /var/lib/heliostat --checkpoint kept.txt --key kept.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keyFile != "" && file == "" {
				return codeError{exitUsage, errors.New("--key is for --checkpoint")}
			}
			checkpoints, err := readCheckpoints(file)
			if err != nil {
				return err
			}
			j, err := g.openJournalAfter(cmd.Context(), *state, inspectWhole)
			if errors.Is(err, store.ErrDamaged) {
				return fmt.Errorf("the journal is damaged: %w", err)
			}
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			r, err := j.Verify(cmd.Context())
			if err != nil {
				return fmt.Errorf("the journal is damaged: %w", err)
			}
			if len(checkpoints) > 0 {
				key, err := g.checkpointKey(*state, keyFile)
				if err != nil {
					return err
				}
				for _, c := range checkpoints {
					if err := verifyCheckpoint(j, c, key); err != nil {
						return err
					}
				}
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s and %s (%d MiB) are as they were written; %s open; head %s\n", engine.Count(r.Entries, "entry"), engine.Count(r.Blobs, "value"), r.Bytes>>20, engine.Count(r.Open, "action"), r.Head)
			if r.Pruned > 0 {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%d old values are gone: pruned by entry %d\n", r.Pruned, r.PrunedBy)
			}
			for _, c := range checkpoints {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "checkpoint of entry %d, %s, by key %s: holds\n", c.Entries, c.At.Format(time.RFC3339), c.Origin)
			}
			return err
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&file, "checkpoint", "", "file of checkpoints that were kept elsewhere")
	cmd.Flags().StringVar(&keyFile, "key", "", "the public key that signed them (default: checkpoint.pub in the state folder)")
	return cmd
}

func verifyCheckpoint(j journal, c store.Checkpoint, key ed25519.PublicKey) error {
	err := j.VerifyCheckpoint(c, key)
	if errors.Is(err, store.ErrDamaged) {
		return fmt.Errorf("the journal is not the one of the checkpoint: %w", err)
	}
	return err
}

// readCheckpoints reads a file of checkpoints, a line each; none of no file.
func readCheckpoints(file string) ([]store.Checkpoint, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	var out []store.Checkpoint
	for line := range strings.Lines(string(b)) {
		c, err := store.ParseCheckpoint(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", file, len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no checkpoint in it", file)
	}
	return out, nil
}

// checkpointKey reads the public key from the file, or from the state folder:
// the one that is given, or the configuration's.
func (g *globals) checkpointKey(state, file string) (ed25519.PublicKey, error) {
	if file == "" {
		dir, err := g.stateDir(state)
		if err != nil {
			return nil, err
		}
		file = filepath.Join(dir, store.PublicKeyFile)
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the checkpoint key: %w: give --key", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint key: %w", err)
	}
	return store.ParsePublicKey(b)
}
