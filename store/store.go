// Package store keeps the journal: an append-only, hash-chained list of entries
// in a bbolt file, and beside it the large values that entries refer to, each in
// a file named by its content.
//
//	DIR/journal.db               entries, their indices and Merkle tree, the alerts in force
//	DIR/blobs/<aa>/<sha256>.zst  large values, compressed, named by their digest
//	DIR/blobs/<aa>/<sha256>.delta  likewise, as what differs from another one
//	DIR/tmp/                     what a crash may leave half-written; emptied by Open
//	DIR/checkpoint.key, .pub     the key that signs checkpoints, made at the first Open
//	DIR/checkpoint               the checkpoint saved last (see [Checkpoint])
//
// One process owns a journal: bbolt locks the file. Others read a consistent
// copy of it (see [Journal.Copy]), or the files themselves when the owner is not
// running.
//
// # What is promised
//
// When Append returns nil, its entries survive a power cut, all of them; when it
// returns an error that [ErrBroken] is part of, they may or may not be there, and
// nothing more can be appended: the process must end, start again and look. A
// blob is durable before an entry can refer to it, so no crash leaves an entry
// without its blobs. The reverse, a blob that no entry refers to, is harmless and
// is found again by the next Put of the same content.
//
// Several callers may append at once. bbolt was chosen over a plain file because
// an entry, its indices and the head of the chain change together or not at all;
// its own checksums cover only its two meta pages, hence the hash chain.
package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"heliostat/engine"
)

// Errors by which a caller chooses.
var (
	// ErrInUse means that another process owns the journal.
	ErrInUse = errors.New("the journal is in use")
	// ErrReadOnly means that the journal was opened for reading.
	ErrReadOnly = errors.New("the journal is open for reading only")
	// ErrSchema means that the journal was written by another version.
	ErrSchema = errors.New("unknown journal schema")
	// ErrBroken means that a write may or may not have become durable. Nothing
	// can be appended any more: end the process, start again, look.
	ErrBroken = errors.New("the journal's state is unknown after a failed write")
	// ErrFull means that the journal has reached its size cap: only what ends or
	// stops something is still taken.
	ErrFull = errors.New("the journal is full")
	// ErrDamaged means that what is stored is not what was written.
	ErrDamaged = errors.New("damaged")
)

// JournalFile is the journal's file in the state folder.
const JournalFile = "journal.db"

const (
	// schema is the version of what the folder holds. Those before it had values
	// that are all whole, and before that no tree either: who only reads takes them
	// as they are, who opens them to write adds the tree.
	schema       = "3"
	schemaWhole  = "2"
	schemaBefore = "1"

	// DefaultMaxBytes caps journal.db. An entry is about a kilobyte and a cycle a
	// dozen of them, so that a cycle a minute stays below it for over a year.
	DefaultMaxBytes = 8 << 30
	// reserveShare of the cap is kept for outcomes: a sixteenth.
	reserveShare = 16
	// lockWait is how long Open waits for a previous owner that is just ending.
	lockWait = 500 * time.Millisecond

	// readersWait is how long a writer waits for commands that read the files: they end
	// by themselves, and a daemon must not fail to start for one of them.
	readersWait = 20 * time.Second
)

// The buckets of journal.db.
var (
	bucketMeta    = []byte("meta")    // schema, head
	bucketEntries = []byte("entries") // seq (8 bytes, big endian) -> canonical encoding of the entry
	bucketCycles  = []byte("cycles")  // cycle, seq (8 bytes each) -> nothing
	bucketKinds   = []byte("kinds")   // kind, 0, seq -> nothing
	bucketTree    = []byte("tree")    // index of a hash (8 bytes, see tree.go) -> the hash
	bucketOpen    = []byte("open")    // action ID -> seq of its latest record, while it has not ended
	bucketAlerts  = []byte("alerts")  // fingerprint -> canonical encoding of the alert

	keySchema = []byte("schema")
	keyHead   = []byte("head") // seq of the last entry, then its hash
	// keyExcerpt is in a journal that was made of an export: which part it is.
	keyExcerpt = []byte("excerpt")
)

// Options of Open. The zero value opens for writing with the wall clock.
type Options struct {
	ReadOnly bool             // never writes, and fails when there is nothing to read
	Now      func() time.Time // dates the entries; nil for time.Now
	MaxBytes int64            // cap of journal.db; 0 for DefaultMaxBytes
}

// A Journal is an open journal. Its methods are safe for concurrent use.
type Journal struct {
	db       *bbolt.DB
	root     *os.Root
	now      func() time.Time
	readOnly bool
	max      int64
	enc      *zstd.Encoder
	dec      *zstd.Decoder
	tmp      atomic.Uint64 // numbers temporary files
	excerpt  *excerpt      // which part of a journal this is; nil for a whole one
	scratch  string        // the folder, when it goes with this: nothing in it is synced

	alerts sync.Mutex   // held while saving an alert; taken before mu
	mu     sync.Mutex   // held while appending
	last   engine.Entry // the last entry that is durable; guarded by mu
	broken error        // the first failed write; guarded by mu

	laying sync.RWMutex          // read while a value is put, written where a prune begins; taken before mu
	recent atomic.Pointer[value] // of a read-only journal, the base that was read last

	pending map[string]bool // blobs that were put and that no entry refers to yet; guarded by mu
	spared  map[string]bool // while pruning, blobs that somebody needs since; guarded by mu
}

// Open opens the journal in dir and, unless it is read-only, makes what is not
// there. The error wraps [ErrInUse] while another process owns it, [ErrSchema]
// when another version wrote it, and [ErrDamaged] when its last entry is not what
// was written, which only a read-only journal puts up with, so that [Journal.Verify]
// can say more.
func Open(dir string, opts Options) (*Journal, error) {
	if !opts.ReadOnly {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open journal %s: %w", dir, err)
		}
	}
	return open(dir, JournalFile, opts)
}

// OpenFile opens a copy of journal.db by itself, for reading. Blobs are looked
// for in the directory "blobs" beside it.
func OpenFile(path string) (*Journal, error) {
	return open(filepath.Dir(path), filepath.Base(path), Options{ReadOnly: true})
}

func open(dir, name string, opts Options) (*Journal, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	j := &Journal{root: root, now: opts.Now, readOnly: opts.ReadOnly, max: opts.MaxBytes, pending: map[string]bool{}}
	if j.now == nil {
		j.now = time.Now
	}
	if j.max == 0 {
		j.max = DefaultMaxBytes
	}
	if err := j.open(name); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", filepath.Join(dir, name), err), j.Close())
	}
	return j, nil
}

func (j *Journal) open(name string) (err error) {
	// Damaged pages make bbolt panic, or read where nothing is mapped.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	if err := j.openDB(name); err != nil {
		return err
	}
	if !j.readOnly {
		if err := j.prepare(); err != nil {
			return err
		}
	}
	if err := j.load(); err != nil {
		return err
	}
	return j.openCodec()
}

func (j *Journal) openDB(name string) error {
	if j.readOnly {
		if _, err := j.root.Stat(name); err != nil {
			return err
		}
	}
	err := j.lockDB(name, lockWait)
	if errors.Is(err, berrors.ErrTimeout) && !j.readOnly {
		if _, reads := lockOwner(j.root, name); reads {
			err = j.lockDB(name, readersWait)
		}
	}
	if errors.Is(err, berrors.ErrTimeout) {
		owner, _ := lockOwner(j.root, name)
		return fmt.Errorf("%w by %s", ErrInUse, owner)
	}
	return err
}

func (j *Journal) lockDB(name string, wait time.Duration) (err error) {
	j.db, err = bbolt.Open(name, 0o600, &bbolt.Options{
		Timeout:      wait,
		ReadOnly:     j.readOnly,
		FreelistType: bbolt.FreelistMapType,
		// As large as the file may become: a reader that is open while the file
		// must be mapped anew would block every writer.
		InitialMmapSize: int(j.max),
		// A crash while the file is made leaves no entry behind, and bbolt
		// starts a file of length 0 afresh.
		OpenFile: func(_ string, flag int, perm os.FileMode) (*os.File, error) { return j.root.OpenFile(name, flag, perm) },
	})
	return err
}

// prepare makes buckets and directories, and clears what a crash left half-written.
func (j *Journal) prepare() error {
	var old bool
	err := j.db.Update(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(bucketMeta); meta != nil {
			switch string(meta.Get(keySchema)) {
			case schemaBefore:
				old = true
			case schemaWhole:
				return meta.Put(keySchema, []byte(schema))
			}
			return checkSchema(tx)
		}
		// One transaction: a crash leaves either no bucket or a whole empty journal.
		for _, name := range [][]byte{bucketMeta, bucketEntries, bucketCycles, bucketKinds, bucketTree, bucketOpen, bucketAlerts} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		return errors.Join(meta.Put(keySchema, []byte(schema)), meta.Put(keyHead, head(&engine.Entry{})))
	})
	if err == nil && old {
		err = j.plant()
	}
	if err != nil {
		return err
	}
	// This process holds the lock, so nobody is writing there.
	if err := j.root.RemoveAll(tmpDir); err != nil {
		return err
	}
	for _, name := range []string{tmpDir, blobDir} {
		if err := j.root.MkdirAll(name, 0o700); err != nil {
			return err
		}
	}
	if err := j.prepareKey(); err != nil {
		return err
	}
	// Until this returns, a power cut may lose journal.db, blobs and the key as names;
	// nothing has been acknowledged yet.
	return j.syncDir(".")
}

func checkSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return fmt.Errorf("%w: not a journal", ErrSchema)
	}
	if got := string(meta.Get(keySchema)); got != schema && got != schemaWhole && got != schemaBefore {
		return fmt.Errorf("%w %q: this version reads %q", ErrSchema, got, schema)
	}
	return nil
}

// load reads the last entry, to go on from it.
func (j *Journal) load() error {
	return j.db.View(func(tx *bbolt.Tx) error {
		if err := checkSchema(tx); err != nil {
			return err
		}
		k, raw := tx.Bucket(bucketEntries).Cursor().Last()
		e, err := lastEntry(k, raw, tx.Bucket(bucketMeta).Get(keyHead))
		if err != nil && !j.readOnly {
			return err
		}
		j.last = e
		if raw := tx.Bucket(bucketMeta).Get(keyExcerpt); raw != nil {
			return json.Unmarshal(raw, &j.excerpt)
		}
		return nil
	})
}

// lastEntry decodes the last entry and compares it with the head of the chain.
func lastEntry(k, raw, wantHead []byte) (engine.Entry, error) {
	var e engine.Entry
	if k != nil {
		if err := json.Unmarshal(raw, &e); err != nil {
			return e, &DamageError{Seq: seqOf(k), What: err.Error()}
		}
		if err := e.Verify(seqOf(k), e.Prev); err != nil {
			return e, &DamageError{Seq: seqOf(k), What: err.Error()}
		}
	}
	if string(head(&e)) != string(wantHead) {
		return e, &DamageError{Seq: e.Seq, What: "is not the head of the chain"}
	}
	return e, nil
}

// Close ends the journal. Readers still iterating get errors.
func (j *Journal) Close() error {
	var errs []error
	if j.db != nil {
		errs = append(errs, j.db.Close())
	}
	if j.dec != nil {
		j.dec.Close()
	}
	if j.enc != nil {
		errs = append(errs, j.enc.Close())
	}
	errs = append(errs, j.root.Close())
	if j.scratch != "" {
		errs = append(errs, os.RemoveAll(j.scratch))
	}
	return errors.Join(errs...)
}

func head(e *engine.Entry) []byte { return append(key(e.Seq), e.Hash...) }

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func cycleKey(cycle, seq uint64) []byte { return binary.BigEndian.AppendUint64(key(cycle), seq) }

func kindKey(kind engine.EntryKind, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(kind), 0), seq)
}

// seqOf reads the sequence number that ends a key; 0 when the key is too short.
func seqOf(k []byte) uint64 {
	if len(k) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(k[len(k)-8:])
}

// syncDir makes the names in a directory durable.
func (j *Journal) syncDir(name string) error {
	if j.scratch != "" {
		return nil
	}
	d, err := j.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func exists(root *os.Root, name string) (bool, error) {
	_, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
