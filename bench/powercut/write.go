package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"heliostat/engine"
	"heliostat/internal/fault"
	"heliostat/store"
)

// write appends to the journal, with a value for each entry, and acknowledges
// every record by a line with the number and the hash of its entry, until a write
// fails. It returns nil when the journal then takes nothing more.
func write(ctx context.Context, state string, forgetful bool, acks io.Writer) error {
	if forgetful {
		if err := forget(filepath.Dir(state)); err != nil {
			return err
		}
	}
	j, err := store.Open(state, store.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	for err == nil {
		if err = add(ctx, j); err == nil {
			last := j.Last()
			if _, err := fmt.Fprintln(acks, last.Seq, last.Hash); err != nil {
				return err
			}
		}
	}
	if again := add(ctx, j); !errors.Is(again, store.ErrBroken) {
		return fmt.Errorf("after a failed write (%w) the next one says: %w", err, again)
	}
	return nil
}

func add(ctx context.Context, j *store.Journal) error {
	content := make([]byte, 4<<10)
	if _, err := rand.Read(content); err != nil {
		return err
	}
	digest, err := j.Put(ctx, content)
	if err != nil {
		return err
	}
	e, err := engine.NewEntry(1, engine.EntryInput, engine.InputRecord{Snapshot: digest}, digest)
	if err != nil {
		return err
	}
	return j.Append(ctx, e)
}

// forget makes every sync below dir one that does nothing.
func forget(dir string) error {
	return fault.Judge(dir, func(c fault.Call) fault.Verdict {
		if c == fault.Sync {
			return fault.Pretend
		}
		return fault.Make
	})
}
