package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/store"
	"heliostat/web"
)

// journal is what the reading commands need: the files of a stopped daemon, or
// a consistent copy that a running one hands out over its socket.
type journal interface {
	cycle.Reader
	Verify(ctx context.Context) (store.Report, error)
	VerifyCheckpoint(c store.Checkpoint, key ed25519.PublicKey) error
	Export(ctx context.Context, w io.Writer, get func(digest string) ([]byte, error), o store.ExportOptions) (store.Report, error)
	Prove(seq uint64, c store.Checkpoint) (store.Proof, error)
	Cycle(cycle uint64) ([]engine.Entry, error)
	Kind(kind engine.EntryKind) ([]engine.Entry, error)
	LastOf(kind engine.EntryKind) (engine.Entry, bool, error)
	Close() error
}

// openJournal opens the journal in the state folder, or in the configured one
// when state is empty. While a daemon owns it, its socket is asked. A file of
// --journal stands for either.
func (g *globals) openJournal(ctx context.Context, state string) (journal, error) {
	return g.openJournalAfter(ctx, state, func(context.Context, string) error { return nil })
}

// openJournalAfter is openJournal once look has looked at the journal's file.
func (g *globals) openJournalAfter(ctx context.Context, state string, look func(ctx context.Context, path string) error) (journal, error) {
	if g.export != "" {
		return g.openExport(ctx, state)
	}
	if g.socket != "" && state == "" {
		return copyJournal(ctx, g.socket, look)
	}
	socket := ""
	if state == "" {
		cfg, err := g.load()
		if err != nil {
			return nil, err
		}
		state, socket = cfg.State.Dir, cfg.State.Socket
	}
	err := look(ctx, filepath.Join(state, store.JournalFile))
	if err == nil {
		var j *store.Journal
		if j, err = store.Open(state, store.Options{ReadOnly: true}); err == nil {
			return j, nil
		}
	}
	if !errors.Is(err, store.ErrInUse) {
		return nil, err
	}
	if socket == "" {
		return nil, codeError{exitDaemon, fmt.Errorf("%w\na daemon runs on it: give its --config instead of --state, and its socket is asked", err)}
	}
	return copyJournal(ctx, socket, look)
}

// copied is a journal fetched from a running daemon.
type copied struct {
	*store.Journal
	client *web.Client
	dir    string
	ctx    context.Context //nolint:containedctx // Get of a Reader takes none
}

// Get asks the daemon for a blob.
func (c copied) Get(digest string) ([]byte, error) { return c.client.Get(c.ctx, digest) }

// Verify checks the copy, and the blobs where they are.
func (c copied) Verify(ctx context.Context) (store.Report, error) {
	return c.VerifyWith(ctx, func(digest string) ([]byte, error) { return c.client.Get(ctx, digest) })
}

// Close forgets the copy.
func (c copied) Close() error { return errors.Join(c.Journal.Close(), os.RemoveAll(c.dir)) }

func copyJournal(ctx context.Context, socket string, look func(ctx context.Context, path string) error) (journal, error) {
	client, err := dialDaemon(ctx, socket)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "heliostat-journal-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "journal.db")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	err = errors.Join(client.Copy(ctx, f), f.Close())
	if err != nil {
		return nil, errors.Join(codeError{exitDaemon, fmt.Errorf("copy the journal of the running daemon: %w", err)}, os.RemoveAll(dir))
	}
	if err := look(ctx, path); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	j, err := store.OpenFile(path)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return copied{j, client, dir, ctx}, nil
}

func dialDaemon(ctx context.Context, socket string) (*web.Client, error) {
	c, err := web.Dial(ctx, socket)
	if err != nil {
		return nil, codeError{exitDaemon, err}
	}
	return c, nil
}

// planned is one plan in a journal: its record, and that of the input it was made from.
type planned struct {
	cycle  uint64
	input  engine.InputRecord
	record engine.PlanRecord
}

// plans yields the plans of a journal in order, of one cycle when only is not 0.
func plans(j journal, only uint64) iter.Seq2[planned, error] {
	return func(yield func(planned, error) bool) {
		var p planned
		for e, err := range j.Entries(1) {
			if err != nil {
				yield(p, err)
				return
			}
			if only != 0 && e.Cycle != only {
				continue
			}
			switch e.Kind {
			case engine.EntryInput:
				p = planned{cycle: e.Cycle}
				err = json.Unmarshal(e.Data, &p.input)
			case engine.EntryPlan:
				if err = json.Unmarshal(e.Data, &p.record); err == nil && !yield(p, nil) {
					return
				}
			default:
			}
			if err != nil {
				yield(p, fmt.Errorf("entry %d: %w", e.Seq, err))
				return
			}
		}
	}
}

// readPlan reads a journaled plan.
func readPlan(j journal, digest string) (*engine.Plan, error) {
	b, err := j.Get(digest)
	if err != nil {
		return nil, err
	}
	var p engine.Plan
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("read plan %.8s: %w", digest, err)
	}
	return &p, nil
}

// printJSON prints v, indented, with a newline.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
