package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"heliostat/internal/child"
)

// inspectorMemory caps what an inspecting process may allocate: the check holds a
// few bytes for each page, and a damaged length must not take the machine's
// memory. The mapped file does not count.
const inspectorMemory = 2 << 30

// A finding is what an inspecting process says, in one line of JSON.
type finding struct {
	Report Report       `json:"report"`
	Damage *DamageError `json:"damage,omitempty"`
	InUse  bool         `json:"in_use,omitempty"`
	Error  string       `json:"error,omitempty"` // of another kind
}

// Inspect is the work of a process of its own: it checks the pages of a
// journal.db, then its entries and indices as [Journal.Verify] does, without the
// blobs, and says on out what it found, for [InspectBy] to read. Damage to pages
// may crash it, or keep it running for ever.
func Inspect(ctx context.Context, path string, out io.Writer) error {
	// A unit that denies setting limits has set its own.
	if err := child.CapMemory(inspectorMemory); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	r, err := inspect(ctx, path)
	f := finding{Report: r}
	if !errors.As(err, &f.Damage) && err != nil {
		f.Error, f.InUse = err.Error(), errors.Is(err, ErrInUse)
	}
	return json.NewEncoder(out).Encode(f)
}

func inspect(ctx context.Context, path string) (r Report, err error) {
	j, err := OpenFile(path)
	if err != nil {
		if errors.Is(err, ErrInUse) || errors.Is(err, ErrSchema) {
			return r, err
		}
		return r, &DamageError{What: err.Error()}
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if err := j.db.View(checkPages); err != nil {
		return r, err
	}
	return j.VerifyWith(ctx, nil)
}

// checkPages names the first of the faults that bbolt finds in its tree of pages.
func checkPages(tx *bbolt.Tx) error {
	var first error
	for err := range tx.Check() { // to its end: it may not be left
		if first == nil {
			first = &DamageError{What: err.Error()}
		}
	}
	return first
}

// InspectBy runs this program anew with other arguments, the name of the program
// before them and the path of a journal.db after: that must do what [Inspect]
// does, and it returns what was found. Whatever the damage does to that process,
// this one goes on: that it crashed, or did not end within the limit, is a
// [DamageError] too.
func InspectBy(ctx context.Context, limit time.Duration, path string, argv ...string) (Report, error) {
	r, err := inspectBy(ctx, limit, path, argv)
	if err != nil {
		return r, fmt.Errorf("inspect journal %s: %w", path, err)
	}
	return r, nil
}

func inspectBy(ctx context.Context, limit time.Duration, path string, argv []string) (Report, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Report{}, err
	}
	out, err := child.Run(ctx, limit, nil, append(slices.Clone(argv), path)...)
	var f finding
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	failure, _ := child.IsFailure(err)
	switch {
	case ctx.Err() != nil:
		return f.Report, ctx.Err()
	case failure != nil && failure.Late:
		return f.Report, &DamageError{What: fmt.Sprintf("its check did not end within %v", limit)}
	case err != nil:
		return f.Report, &DamageError{What: fmt.Sprintf("its check %v", err)}
	case f.Damage != nil:
		return f.Report, f.Damage
	case f.InUse:
		return f.Report, fmt.Errorf("%w: %s", ErrInUse, f.Error)
	case f.Error != "":
		return f.Report, errors.New(f.Error)
	}
	return f.Report, nil
}
