package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"heliostat/engine"
)

const (
	blobDir = "blobs"
	tmpDir  = "tmp"
	// maxBlob caps one value, uncompressed. A snapshot of 150,000 VMs is about
	// 150 MB of JSON; a damaged or hostile file must not ask for more memory.
	maxBlob = 512 << 20
	// leastDelta is the length from which on a value may be kept as a delta: below
	// it the file takes a block of 4 KiB either way.
	leastDelta = 16 << 10
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

// deltaName is the file of a digest whose value is kept as a delta: the digest of
// its base, then what diff says, compressed. A base is always kept whole.
func deltaName(digest string) (string, error) {
	name, err := blobName(digest)
	return strings.TrimSuffix(name, ".zst") + ".delta", err
}

// Put stores a large value and returns its digest, by which an entry refers to
// it. It is durable when Put returns. A value that is there already is not
// written again.
func (j *Journal) Put(ctx context.Context, b []byte) (digest string, err error) {
	digest, _, err = j.PutLike(ctx, b, "")
	return digest, err
}

// PutLike is Put of a value that is much like another one that was put, the base:
// where that saves more than half, what differs from it is kept. next is the base
// for the value that follows in the same line: the same one again, or this value
// when it was kept whole, as it is without a base.
func (j *Journal) PutLike(ctx context.Context, b []byte, base string) (digest, next string, err error) {
	digest = engine.DigestBytes(b)
	if next, err = j.put(ctx, digest, b, base); err != nil {
		return "", "", fmt.Errorf("put blob %s: %w", digest, err)
	}
	return digest, next, nil
}

func (j *Journal) put(ctx context.Context, digest string, b []byte, base string) (next string, err error) {
	// A prune begins before this asks for the base, or after the delta is there.
	j.laying.RLock()
	defer j.laying.RUnlock()
	if err := j.need(ctx, digest); err != nil {
		return "", err
	}
	if len(b) > maxBlob {
		return "", fmt.Errorf("%d bytes, at most %d", len(b), maxBlob)
	}
	if next, err = j.place(digest, b, base); err != nil {
		return "", j.stop("put blob", err)
	}
	return next, nil
}

// place makes the file of a blob durable in its directory.
func (j *Journal) place(digest string, b []byte, base string) (next string, err error) {
	dir := blobDir + "/" + digest[:2]
	if err := j.root.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	next, there, err := j.rests(digest)
	if err == nil && next != digest {
		j.spare(next)
		next, there, err = j.rests(digest) // a prune may have been faster
	}
	if err != nil {
		return "", err
	}
	if !there {
		var name string
		var content []byte
		if next, name, content, err = j.compress(digest, b, base); err == nil {
			err = j.write(name, content)
		}
		if err != nil {
			return "", err
		}
	}
	// A process that ended between the rename and this leaves a name that a power
	// cut could still take away, so the directories are synced even when the file
	// was found there: that costs next to nothing when nothing changed.
	return next, errors.Join(j.syncDir(dir), j.syncDir(blobDir))
}

// rests says whether a value is there, and on what: its base, or itself. A delta
// without its base is not there.
func (j *Journal) rests(digest string) (on string, there bool, err error) {
	name, err := blobName(digest)
	if err != nil {
		return digest, false, err
	}
	if there, err := exists(j.root, name); err != nil || there {
		return digest, there, err
	}
	base, err := j.baseOf(digest)
	if err != nil || base == "" {
		return digest, false, err
	}
	name, damaged := blobName(base)
	if damaged != nil {
		return digest, false, nil //nolint:nilerr // without a base it is as good as gone
	}
	there, err = exists(j.root, name)
	return base, there, err
}

// baseOf reads the digest of a delta's base; "" when there is no delta.
func (j *Journal) baseOf(digest string) (string, error) {
	name, err := deltaName(digest)
	if err != nil {
		return "", err
	}
	f, err := j.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	base := make([]byte, len(digest))
	n, err := io.ReadFull(f, base)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return string(base[:n]), err
}

// compress returns the file of a value, and its name: a delta to the base if that
// is worth it and does give the value back.
func (j *Journal) compress(digest string, b []byte, base string) (next, name string, content []byte, err error) {
	if base != "" && base != digest && len(b) >= leastDelta {
		j.spare(base)
		// A base that is gone or damaged is none: Verify names the damage.
		if old, size, err := j.whole(base); err == nil {
			d := diff(old, b)
			content := j.enc.EncodeAll(d, []byte(base))
			if again, err := patch(old, d); 2*len(content) < size && err == nil && bytes.Equal(again, b) {
				name, err := deltaName(digest)
				return base, name, content, err
			}
		}
	}
	name, err = blobName(digest)
	return digest, name, j.enc.EncodeAll(b, nil), err
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

// spare is need of a base, which only deltas refer to.
func (j *Journal) spare(base string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.spared != nil {
		j.spared[base] = true
	}
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

func (j *Journal) get(digest string) ([]byte, error) {
	b, _, err := j.whole(digest)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	name, nameErr := deltaName(digest)
	if nameErr != nil {
		return nil, err
	}
	raw, err := j.content(name)
	if err != nil {
		return nil, err
	}
	if len(raw) < len(digest) {
		return nil, fmt.Errorf("%w: the delta is cut short", ErrDamaged)
	}
	old, err := j.base(string(raw[:len(digest)]))
	if err != nil {
		return nil, err
	}
	d, err := j.dec.DecodeAll(raw[len(digest):], nil)
	if err == nil {
		b, err = patch(old, d)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, isOf(digest, b)
}

// A missingBase is the digest of a base that is not there: then neither is the value.
type missingBase string

// Error implements error.
func (m missingBase) Error() string { return fmt.Sprintf("its base %s is missing", string(m)) }

// Unwrap makes it one of the files that are not there.
func (missingBase) Unwrap() error { return fs.ErrNotExist }

// base returns the value that a delta is laid against.
func (j *Journal) base(digest string) ([]byte, error) {
	if v := j.recent.Load(); v != nil && v.digest == digest {
		return v.b, nil
	}
	b, _, err := j.whole(digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missingBase(digest)
	case err != nil:
		return nil, fmt.Errorf("%w: its base %s: %w", ErrDamaged, digest, err)
	}
	if j.readOnly { // who reads one reads many; a daemon has better uses for the memory
		j.recent.Store(&value{digest, b})
	}
	return b, nil
}

// A value is a blob's content under its digest.
type value struct {
	digest string
	b      []byte
}

// whole returns a value that is kept whole, and the size of its file.
func (j *Journal) whole(digest string) (b []byte, size int, err error) {
	name, err := blobName(digest)
	if err != nil {
		return nil, 0, err
	}
	raw, err := j.content(name)
	if err != nil {
		return nil, 0, err
	}
	b, err = j.dec.DecodeAll(raw, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, len(raw), isOf(digest, b)
}

func isOf(digest string, b []byte) error {
	if got := engine.DigestBytes(b); got != digest {
		return fmt.Errorf("%w: the content's digest is %s", ErrDamaged, got)
	}
	return nil
}

func (j *Journal) content(name string) ([]byte, error) {
	f, err := j.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxBlob+1))
}
