package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/store"
)

// maxProof caps a file with a proof: an entry, and 64 hashes at most.
const maxProof = 4 << 20

// prove writes the proof of an entry under the last checkpoint of a file.
func (g *globals) prove(ctx context.Context, w io.Writer, state string, seq uint64, file string) error {
	if file == "" {
		dir, err := g.stateDir(state)
		if err != nil {
			return err
		}
		file = filepath.Join(dir, store.CheckpointFile)
	}
	// Before the journal is copied, so that the copy goes at least as far.
	checkpoints, err := readCheckpoints(file)
	if err != nil {
		return err
	}
	j, err := g.openJournal(ctx, state)
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	p, err := j.Prove(seq, checkpoints[len(checkpoints)-1])
	if err != nil {
		return err
	}
	return printJSON(w, p)
}

// stateDir is the state folder that is given, or the configuration's.
func (g *globals) stateDir(state string) (string, error) {
	if state != "" {
		return state, nil
	}
	cfg, err := g.load()
	if err != nil {
		return "", err
	}
	return cfg.State.Dir, nil
}

func newJournalProve(g *globals, state *string) *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "prove FILE",
		Short: "Check the proof that an entry was in the journal",
		Long: `Check a proof that 'heliostat journal show NUMBER --proof' wrote: the checkpoint in it
was signed by the key, and the entry was in the journal of that checkpoint, as it stands
there. Only the file and a copy of the state folder's 'checkpoint.pub' are needed.`,
		Example: "  heliostat journal prove proof.json --key kept.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := readProof(args[0])
			if err != nil {
				return err
			}
			key, err := g.checkpointKey(*state, keyFile)
			if err != nil {
				return err
			}
			c, err := p.Verify(key)
			if err != nil {
				return fmt.Errorf("the proof does not hold: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "entry %d, %s, was in the journal of %s that key %s signed for on %s, as it is here\n",
				p.Entry.Seq, gist(&p.Entry), engine.Count(c.Entries, "entry"), c.Origin, c.At.Format("2006-01-02 at 15:04:05 UTC"))
			return err
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "the public key that signed the checkpoint (default: checkpoint.pub in the state folder)")
	return cmd
}

func readProof(file string) (p store.Proof, err error) {
	f, err := os.Open(file)
	if err != nil {
		return p, fmt.Errorf("read proof: %w", err)
	}
	defer func() { _ = f.Close() }()
	dec := json.NewDecoder(io.LimitReader(f, maxProof))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("read proof %s: %w: not what 'heliostat journal show NUMBER --proof' writes", file, err)
	}
	return p, nil
}
