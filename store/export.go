package store

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"

	"heliostat/engine"
)

// The members of an export, in their order: what it is, the values, the entries.
const (
	memberExcerpt = "heliostat-journal-export"
	memberEntries = "entries"
	exportVersion = 1
	// exportWindow lets a value be compressed against those before it, which a
	// snapshot of some ten thousand VMs resembles closely.
	exportWindow = maxWindow
	// entriesBytes is about how much of the entries makes a member: one must be
	// held in memory to say how long it is.
	entriesBytes = 4 << 20
	// maxExport caps what an export may unpack to: a month of a large fleet.
	maxExport = 256 << 30
)

// An excerpt is a part of a journal. It heads an export, and is kept with the
// journal that is made of one.
type excerpt struct {
	Version    int    `json:"version"`
	From       uint64 `json:"from"`
	To         uint64 `json:"to"`
	Prev       string `json:"prev"`          // hash of the entry before
	Cut        uint64 `json:"cut,omitempty"` // values that only entries up to this one refer to may be missing
	Pseudonyms bool   `json:"pseudonyms,omitempty"`
}

// ExportOptions say what Export takes.
type ExportOptions struct {
	From, To   time.Time // entries of this time; zero for the first or the last
	Pseudonyms bool      // replace names: see names.go
}

// Export writes the entries of a time, back to the beginning of the first one's
// cycle, with the blobs that they refer to, each of which get returns: a file that
// [OpenExport] makes a journal of.
func (j *Journal) Export(ctx context.Context, w io.Writer, get func(digest string) ([]byte, error), o ExportOptions) (Report, error) {
	r, err := j.export(ctx, w, get, o)
	if err != nil {
		return r, fmt.Errorf("export journal: %w", err)
	}
	return r, nil
}

func (j *Journal) export(ctx context.Context, w io.Writer, get func(digest string) ([]byte, error), o ExportOptions) (r Report, err error) {
	x, err := j.excerptOf(o)
	if err != nil {
		return r, err
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(exportWindow))
	if err != nil {
		return r, err
	}
	e := &exporter{archive: archive{tar.NewWriter(z), j.now()}, excerpt: x, get: get}
	if o.Pseudonyms {
		if e.names, err = newNames(); err != nil {
			return r, err
		}
		err = j.within(ctx, x, e.learn)
		e.excerpt.Prev = ""
	}
	head, encodeErr := engine.Encode(e.excerpt)
	if err := errors.Join(err, encodeErr); err != nil {
		return r, err
	}
	e.last = engine.Entry{Seq: x.From - 1, Hash: e.excerpt.Prev}
	err = e.add(memberExcerpt, head)
	for _, step := range []func(*engine.Entry) error{e.values, e.entry} {
		if err == nil {
			err = j.within(ctx, x, step)
		}
	}
	// The first error is the reason; what follows a failed write says it again.
	return e.report, cmp.Or(err, e.flush(), e.tar.Close(), z.Close())
}

// excerptOf finds the entries of the time.
func (j *Journal) excerptOf(o ExportOptions) (x excerpt, err error) {
	x.Version, x.Pseudonyms = exportVersion, o.Pseudonyms
	for e, err := range j.Entries(1) {
		if err != nil {
			return x, err
		}
		if !o.To.IsZero() && e.At.After(o.To) {
			break
		}
		if x.From == 0 && !e.At.Before(o.From) {
			cycle, err := j.Cycle(e.Cycle)
			if err != nil {
				return x, err
			}
			x.From = cycle[0].Seq
		}
		x.To = e.Seq
	}
	if x.From == 0 || x.To < x.From {
		return x, errors.New("there is no entry of that time")
	}
	if x.From > 1 {
		before, ok, err := j.Entry(x.From - 1)
		if err != nil || !ok {
			return x, errors.Join(fmt.Errorf("entry %d is missing", x.From-1), err)
		}
		x.Prev = before.Hash
	}
	x.Cut, _, err = j.pruned()
	return x, err
}

// within calls f with each entry of the excerpt.
func (j *Journal) within(ctx context.Context, x excerpt, f func(*engine.Entry) error) error {
	for e, err := range j.Entries(x.From) {
		if err := errors.Join(err, ctx.Err()); err != nil || e.Seq > x.To {
			return err
		}
		if err := f(&e); err != nil {
			return fmt.Errorf("entry %d: %w", e.Seq, err)
		}
	}
	return nil
}

type exporter struct {
	archive
	excerpt excerpt
	get     func(digest string) ([]byte, error)
	names   *names // nil without pseudonyms
	seen    map[string]bool
	last    engine.Entry
	buffer  bytes.Buffer // of entries
	report  Report
}

// values adds the blobs of an entry that are not in the export yet.
func (e *exporter) values(entry *engine.Entry) error {
	if e.seen == nil {
		e.seen = map[string]bool{}
	}
	for _, digest := range entry.Blobs {
		if e.seen[digest] {
			continue
		}
		b, err := e.get(digest)
		if errors.Is(err, fs.ErrNotExist) && entry.Seq <= e.excerpt.Cut {
			continue // a later entry may refer to it again
		}
		if err != nil {
			return err
		}
		e.seen[digest] = true
		name := digest
		if e.names != nil && !bytes.HasPrefix(b, policyFiles) {
			if b, err = e.names.replace(b); err != nil {
				return fmt.Errorf("value %s: %w", digest, err)
			}
			name = engine.DigestBytes(b)
			e.names.known[digest] = name
		}
		e.report.Blobs++
		e.report.Bytes += int64(len(b))
		if err := e.add(memberBlobs+name, b); err != nil {
			return err
		}
	}
	return nil
}

// entry adds an entry; with other names it is another, and sealed anew.
func (e *exporter) entry(entry *engine.Entry) error {
	if e.names != nil {
		data, err := e.names.replace(entry.Data)
		if err != nil {
			return err
		}
		entry.Data = data
		for i, digest := range entry.Blobs {
			if name, ok := e.names.known[digest]; ok {
				entry.Blobs[i] = name
			}
		}
		if err := entry.Seal(e.last.Seq+1, e.last.Hash); err != nil {
			return err
		}
	}
	raw, err := engine.Encode(entry)
	if err != nil {
		return err
	}
	e.last = *entry
	e.report.Entries, e.report.Head = e.report.Entries+1, entry.Hash
	e.buffer.Write(append(raw, '\n'))
	if e.buffer.Len() < entriesBytes {
		return nil
	}
	return e.flush()
}

func (e *exporter) flush() error {
	if e.buffer.Len() == 0 {
		return nil
	}
	defer e.buffer.Reset()
	return e.add(memberEntries, e.buffer.Bytes())
}

// OpenExport makes a journal, for reading, of a file that Export wrote. It is
// unpacked into a folder for temporary files, which Close removes.
func OpenExport(ctx context.Context, path string) (*Journal, error) {
	j, err := openExport(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return j, nil
}

func openExport(ctx context.Context, path string) (j *Journal, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	dir, err := os.MkdirTemp("", "heliostat-export-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := importInto(ctx, f, dir); err != nil {
		return nil, err
	}
	if j, err = open(dir, JournalFile, Options{ReadOnly: true}); err != nil {
		return nil, err
	}
	j.scratch = dir
	return j, nil
}

func importInto(ctx context.Context, from io.Reader, dir string) (err error) {
	j, err := open(dir, JournalFile, Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	j.scratch, j.db.NoSync = dir, true
	// Close is not to remove what is being made.
	defer func() { j.scratch = "" }()
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	in := importer{j: j}
	a := tar.NewReader(io.LimitReader(z, maxExport))
	for {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("not an export of a journal, or damaged: %w", err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxBlob {
			return fmt.Errorf("%q is not part of an export of a journal, or too large", h.Name)
		}
		b, err := io.ReadAll(a)
		if err == nil {
			err = in.member(ctx, h.Name, b)
		}
		if err != nil {
			return fmt.Errorf("not an export of a journal, or damaged: %s: %w", h.Name, err)
		}
	}
	if in.excerpt == nil || in.last.Seq != in.excerpt.To {
		return errors.New("its end is missing")
	}
	return nil
}

type importer struct {
	j       *Journal
	excerpt *excerpt
	last    engine.Entry
}

func (in *importer) member(ctx context.Context, name string, b []byte) error {
	digest, value := strings.CutPrefix(name, memberBlobs)
	switch {
	case in.excerpt == nil && name == memberExcerpt:
		return in.begin(b)
	case in.excerpt == nil:
		return errors.New("it does not begin like one")
	case name == memberEntries:
		return in.entries(b)
	case !value:
		return errors.New("nothing of that name is part of one")
	case engine.DigestBytes(b) != digest:
		return fmt.Errorf("%w: its content is another", ErrDamaged)
	}
	_, err := in.j.Put(ctx, b)
	return err
}

func (in *importer) begin(b []byte) error {
	var x excerpt
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	if x.Version != exportVersion {
		return fmt.Errorf("%w: version %d, this one reads %d", ErrSchema, x.Version, exportVersion)
	}
	if x.From == 0 || x.To < x.From {
		return fmt.Errorf("entries %d to %d", x.From, x.To)
	}
	in.excerpt, in.last = &x, engine.Entry{Seq: x.From - 1, Hash: x.Prev}
	return in.j.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if x.From == 1 {
			return meta.Put(keyExcerpt, b)
		}
		// A tree cannot begin in the middle.
		return errors.Join(meta.Put(keyExcerpt, b), meta.Put(keySchema, []byte(schemaBefore)), tx.DeleteBucket(bucketTree))
	})
}

func (in *importer) entries(b []byte) error {
	return in.j.db.Update(func(tx *bbolt.Tx) error {
		for line := range bytes.Lines(b) {
			r := record{raw: bytes.TrimSuffix(line, []byte("\n"))}
			if err := json.Unmarshal(r.raw, &r.Entry); err != nil {
				return err
			}
			if err := r.Verify(in.last.Seq+1, in.last.Hash); err != nil {
				return err
			}
			var err error
			if r.action, err = actionOf(&r.Entry); err != nil {
				return err
			}
			if err := r.index(tx); err != nil {
				return err
			}
			if in.excerpt.From == 1 {
				if err := grow(tx, r.Seq, r.raw); err != nil {
					return err
				}
			}
			in.last = r.Entry
		}
		return tx.Bucket(bucketMeta).Put(keyHead, head(&in.last))
	})
}
