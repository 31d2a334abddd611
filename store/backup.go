package store

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"heliostat/engine"
	"heliostat/internal/strict"
)

// The members of an archive, in their order: the checkpoint and the key that
// signed it, the journal's file, and each value once, by its digest.
const (
	memberCheckpoint = "checkpoint"
	memberKey        = PublicKeyFile
	memberJournal    = JournalFile
	memberBlobs      = "values/"
	// restoring is the name of a journal that is not whole yet, under which no
	// daemon looks for one.
	restoring = "journal.db.restoring"
	// maxWindow caps the memory that an archive can ask for to be unpacked: the
	// writer's own window is 8 MiB.
	maxWindow = 64 << 20
)

// Backup writes an archive (tar, compressed by zstd) of a copy of journal.db at
// path, and of the blobs that its entries refer to, each of which get returns. It
// verifies all that it writes, against the checkpoint too, and fails at the first
// damage: what has been written by then is no backup. The checkpoint must be one
// of this journal, made before the copy was.
func Backup(ctx context.Context, w io.Writer, path string, get func(digest string) ([]byte, error), c Checkpoint, key ed25519.PublicKey) (r Report, err error) {
	j, err := OpenFile(path)
	if err != nil {
		return r, fmt.Errorf("back up: %w", err)
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if err := j.VerifyCheckpoint(c, key); err != nil {
		return r, fmt.Errorf("back up: %w", err)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return r, err
	}
	a := archive{tar.NewWriter(z), j.now()}
	pub, err := encodePublic(key)
	if err != nil {
		return r, err
	}
	// The first error is the reason; what follows a failed write says it again.
	if err := cmp.Or(a.add(memberCheckpoint, []byte(c.String()+"\n")), a.add(memberKey, pub), a.copy(memberJournal, path)); err != nil {
		return r, fmt.Errorf("back up: %w", err)
	}
	r, err = j.VerifyWith(ctx, func(digest string) ([]byte, error) {
		b, err := get(digest)
		if err != nil {
			return nil, err
		}
		return b, a.add(memberBlobs+digest, b)
	})
	if err := cmp.Or(err, a.tar.Close(), z.Close()); err != nil {
		return r, fmt.Errorf("back up: %w", err)
	}
	return r, nil
}

type archive struct {
	tar *tar.Writer
	at  time.Time
}

func (a archive) begin(name string, size int64) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.at.Truncate(time.Second)})
}

func (a archive) add(name string, b []byte) error {
	if err := a.begin(name, int64(len(b))); err != nil {
		return err
	}
	_, err := a.tar.Write(b)
	return err
}

func (a archive) copy(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := a.begin(name, info.Size()); err != nil {
		return err
	}
	_, err = io.CopyN(a.tar, f, info.Size())
	return err
}

// Restore makes a state folder of an archive that Backup wrote. The folder must
// be empty, or not be there. All is verified before the journal gets its name:
// until then no daemon takes the folder for one with a journal. key is what the
// checkpoint must be signed by; nil for the key in the archive.
//
// The restored journal goes on with an order to pause: what happened in the world
// since the backup is not in it, so a person looks before anything is started.
// Its checkpoints are signed by a new key.
func Restore(ctx context.Context, from io.Reader, dir string, key ed25519.PublicKey, opts Options) (Report, Checkpoint, error) {
	r, c, err := restore(ctx, from, dir, key, opts)
	if err != nil {
		return r, c, fmt.Errorf("restore into %s: %w", dir, err)
	}
	return r, c, nil
}

// ErrNotEmpty means that there is something where a journal was to be restored.
var ErrNotEmpty = errors.New("the folder is not empty")

func restore(ctx context.Context, from io.Reader, dir string, key ed25519.PublicKey, opts Options) (r Report, c Checkpoint, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, c, err
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		return r, c, errors.Join(ErrNotEmpty, err)
	}
	// A crash from here on leaves a folder without a journal.db: it is not empty,
	// so the next Restore refuses it, and a person removes it. After an error
	// what was made here goes.
	defer func() {
		if err != nil {
			err = errors.Join(err, removeAllIn(dir))
		}
	}()
	u := unpacker{dir: dir, key: key}
	if err := u.unpack(ctx, from, opts); err != nil {
		return r, c, err
	}
	c = u.checkpoint
	if r, err = finish(ctx, dir, c, u.key, opts); err != nil {
		return r, c, err
	}
	// The pause is durable, so there is no moment at which a daemon could start
	// from this journal without it. A crash before the rename is durable leaves
	// the one name or the other.
	if err := os.Rename(filepath.Join(dir, restoring), filepath.Join(dir, JournalFile)); err != nil {
		return r, c, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return r, c, err
	}
	return r, c, errors.Join(d.Sync(), d.Close())
}

// finish verifies the unpacked journal and makes it begin with a pause.
func finish(ctx context.Context, dir string, c Checkpoint, key ed25519.PublicKey, opts Options) (r Report, err error) {
	opts.ReadOnly = false
	j, err := open(dir, restoring, opts)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if r, err = j.Verify(ctx); err != nil {
		return r, err
	}
	if err := j.VerifyCheckpoint(c, key); err != nil {
		return r, err
	}
	last := j.Last()
	e, err := engine.NewEntry(last.Cycle, engine.EntryOperator, engine.OperatorRecord{
		Op: "pause", Who: "restore", Reason: fmt.Sprintf("restored from a backup that ends with entry %d, of %s", last.Seq, last.At.UTC().Format(time.RFC3339)),
	})
	if err != nil {
		return r, err
	}
	if err := j.Append(ctx, e); err != nil {
		return r, err
	}
	_, err = j.SaveCheckpoint()
	return r, err
}

func removeAllIn(dir string) error {
	names, err := os.ReadDir(dir)
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name.Name())))
	}
	return err
}

// An unpacker puts the members of an archive in their places.
type unpacker struct {
	dir        string
	key        ed25519.PublicKey // that must have signed; the archive's own when nil
	checkpoint Checkpoint
	blobs      *Journal // to put blobs with, once journal.db is there
}

func (u *unpacker) unpack(ctx context.Context, from io.Reader, opts Options) (err error) {
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	defer func() {
		if u.blobs != nil {
			err = errors.Join(err, u.blobs.Close())
		}
	}()
	// The members before the blobs come in one order, so that each is known by
	// the time it is needed, and none twice.
	first := []string{memberCheckpoint, memberKey, memberJournal}
	a := tar.NewReader(z)
	for {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		want := memberBlobs
		if len(first) > 0 {
			want, first = first[0], first[1:]
		}
		if h.Typeflag != tar.TypeReg || (h.Name != want && (want != memberBlobs || !strings.HasPrefix(h.Name, memberBlobs))) {
			return fmt.Errorf("read the archive: %q where %s was to be: not a backup", h.Name, want)
		}
		if err := u.member(ctx, h, a, opts); err != nil {
			return fmt.Errorf("read the archive: %s: %w", h.Name, err)
		}
	}
	if len(first) > 0 {
		return fmt.Errorf("read the archive: %s is missing: not a backup, or a part of one", first[0])
	}
	return nil
}

func (u *unpacker) member(ctx context.Context, h *tar.Header, from io.Reader, opts Options) error {
	if h.Name == memberJournal {
		if err := u.journal(from); err != nil {
			return err
		}
		opts.ReadOnly = false
		var err error
		u.blobs, err = open(u.dir, restoring, opts)
		return err
	}
	limit := int64(maxKeyFile)
	if strings.HasPrefix(h.Name, memberBlobs) {
		limit = maxBlob
	}
	if h.Size > limit {
		return fmt.Errorf("%d bytes, at most %d", h.Size, limit)
	}
	b, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	switch h.Name {
	case memberCheckpoint:
		u.checkpoint, err = ParseCheckpoint(string(bytes.TrimSuffix(b, []byte("\n"))))
		return err
	case memberKey:
		key, err := ParsePublicKey(b)
		if u.key == nil {
			u.key = key
		}
		return err
	}
	if digest := strings.TrimPrefix(h.Name, memberBlobs); engine.DigestBytes(b) != digest {
		return fmt.Errorf("%w: its content is another", ErrDamaged)
	}
	_, err = u.blobs.Put(ctx, b)
	return err
}

// journal writes the journal's file under its preliminary name.
func (u *unpacker) journal(from io.Reader) error {
	f, err := os.OpenFile(filepath.Join(u.dir, restoring), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, strict.Limit(from, DefaultMaxBytes))
	return errors.Join(err, f.Sync(), f.Close())
}
