package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/klauspost/compress/zstd"

	"heliostat/engine"
)

const (
	blobDir = "blobs"
	tmpDir  = "tmp"
	// maxBlob caps one value, uncompressed. A snapshot of 150,000 VMs is about
	// 150 MB of JSON; a damaged or hostile file must not ask for more memory.
	maxBlob = 512 << 20
)

func (j *Journal) openCodec() error {
	var err error
	// One thread, no goroutines, and the same bytes each time. A single segment
	// states the size of the content, so that the decoder's cap holds before it
	// allocates, and has no window size, whose damage would go unnoticed. The
	// option for less memory would save 8 MiB and copy as much for every 128 KiB
	// compressed: the same bytes in 2.6 times the time.
	j.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true))
	if err != nil {
		return err
	}
	// The encoder makes its state, a channel among it, at the first use: let that be here.
	j.enc.EncodeAll(nil, nil)
	j.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlob))
	return err
}

// blobName is the file of a digest: it is a name under blobs/ whatever a
// damaged entry or a client says.
func blobName(digest string) (string, error) {
	if len(digest) != 64 {
		return "", fmt.Errorf("%q is not a digest", digest)
	}
	for _, c := range []byte(digest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("%q is not a digest", digest)
		}
	}
	return blobDir + "/" + digest[:2] + "/" + digest + ".zst", nil
}

// Put stores a large value and returns its digest, by which an entry refers to
// it. It is durable when Put returns. A value that is there already is not
// written again.
func (j *Journal) Put(ctx context.Context, b []byte) (digest string, err error) {
	digest = engine.DigestBytes(b)
	if err := j.put(ctx, digest, b); err != nil {
		return "", fmt.Errorf("put blob %s: %w", digest, err)
	}
	return digest, nil
}

func (j *Journal) put(ctx context.Context, digest string, b []byte) error {
	if err := j.need(ctx, digest); err != nil {
		return err
	}
	if len(b) > maxBlob {
		return fmt.Errorf("%d bytes, at most %d", len(b), maxBlob)
	}
	name, err := blobName(digest)
	if err != nil {
		return err
	}
	if err := j.place(blobDir+"/"+digest[:2], name, b); err != nil {
		return j.stop("put blob", err)
	}
	return nil
}

// place makes the file of a blob durable in its directory.
func (j *Journal) place(dir, name string, b []byte) error {
	if err := j.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	there, err := exists(j.root, name)
	if err != nil {
		return err
	}
	if !there {
		if err := j.write(name, j.enc.EncodeAll(b, nil)); err != nil {
			return err
		}
	}
	// A process that ended between the rename and this leaves a name that a power
	// cut could still take away, so the directories are synced even when the file
	// was found there: that costs next to nothing when nothing changed.
	return errors.Join(j.syncDir(dir), j.syncDir(blobDir))
}

// need says, before it is looked for, that a blob is about to be referred to: so
// that Prune lets it be.
func (j *Journal) need(ctx context.Context, digest string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.writable(ctx); err != nil {
		return err
	}
	j.pending[digest] = true
	if j.spared != nil {
		j.spared[digest] = true
	}
	return nil
}

// write makes the file name with the content, whole or not at all.
func (j *Journal) write(name string, content []byte) error {
	tmp := tmpDir + "/" + strconv.FormatUint(j.tmp.Add(1), 10)
	f, err := j.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// A crash from here on leaves a file in tmp/, which the next Open removes.
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close(), j.root.Remove(tmp))
	}
	if j.scratch == "" {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Close(), j.root.Remove(tmp))
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, j.root.Remove(tmp))
	}
	// A crash from here on leaves the file in tmp/ or in its place, whole.
	return j.root.Rename(tmp, name)
}

// stop breaks the journal: after a failed sync the kernel may have dropped what it
// could not write, and a second sync would succeed without it; and where a write
// fails, the outcome of what is started next may not be written down either.
func (j *Journal) stop(doing string, err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fail(doing, err)
}

// Get returns the value with the digest. The error wraps fs.ErrNotExist when
// there is none, and [ErrDamaged] when the file does not hold what was put.
func (j *Journal) Get(digest string) ([]byte, error) {
	b, err := j.get(digest)
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", digest, err)
	}
	return b, nil
}

func (j *Journal) get(digest string) (b []byte, err error) {
	name, err := blobName(digest)
	if err != nil {
		return nil, err
	}
	f, err := j.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxBlob+1))
	if err != nil {
		return nil, err
	}
	b, err = j.dec.DecodeAll(raw, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if got := engine.DigestBytes(b); got != digest {
		return nil, fmt.Errorf("%w: the content's digest is %s", ErrDamaged, got)
	}
	return b, nil
}
