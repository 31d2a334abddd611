package store

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// PublicKeyFile in the state folder is the public half of the key that signs
// checkpoints. A copy kept elsewhere shows when the key itself was replaced.
const PublicKeyFile = "checkpoint.pub"

// CheckpointFile in the state folder holds the checkpoint saved last, as a line.
const CheckpointFile = "checkpoint"

// More files of the state folder.
const (
	keyFile    = "checkpoint.key" // the private key, PKCS #8 in PEM
	maxKeyFile = 4 << 10          // bytes; such a key takes about 120
)

// These begin a checkpoint, and say how to read the rest: of the first version,
// which is still read, and of this one.
const (
	checkpointTag1 = "heliostat-checkpoint-v1"
	checkpointTag  = "heliostat-checkpoint-v2"
)

// A Checkpoint says what a journal held at a moment, signed. Kept where whoever
// can write the journal cannot, it shows that the journal's end was cut off or
// its past rewritten, which the chain of hashes alone cannot.
type Checkpoint struct {
	Entries   uint64    // how many there were: the number of the last one
	Head      string    // hash of that one; "" of an empty journal
	Root      string    // of the tree of them all, base64; "" of the first version
	At        time.Time // UTC, to the second
	Origin    string    // which key signed: see [Origin]
	Signature []byte
}

// Origin names a key: the first 16 hexadecimal digits of its SHA-256. Each state
// folder has a key of its own, so it names the folder too.
func Origin(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// signed is the part of the line that the signature is over.
func (c Checkpoint) signed() string {
	head := c.Head
	if head == "" {
		head = "-"
	}
	at := c.At.UTC().Format(time.RFC3339)
	if c.Root == "" {
		return fmt.Sprintf("%s %s %d %s %s", checkpointTag1, c.Origin, c.Entries, head, at)
	}
	return fmt.Sprintf("%s %s %d %s %s %s", checkpointTag, c.Origin, c.Entries, head, c.Root, at)
}

// String is the checkpoint as one line of text:
//
//	heliostat-checkpoint-v2 ORIGIN ENTRIES HEAD ROOT AT SIGNATURE
func (c Checkpoint) String() string {
	return c.signed() + " " + base64.StdEncoding.EncodeToString(c.Signature)
}

// ParseCheckpoint reads a line. It refuses every spelling but the one that
// String writes. The signature is not looked at: see [Checkpoint.Verify].
func ParseCheckpoint(line string) (c Checkpoint, err error) {
	f := strings.Split(line, " ")
	switch {
	case len(f) == 7 && f[0] == checkpointTag:
		root, err := tlog.ParseHash(f[4])
		if err != nil {
			return c, fmt.Errorf("read checkpoint: root: %w", err)
		}
		c.Root = root.String()
		f = slices.Delete(f, 4, 5)
	case len(f) != 6 || f[0] != checkpointTag1:
		return c, fmt.Errorf("%.60q is not a checkpoint", line)
	}
	c.Origin, c.Head = f[1], f[3]
	if c.Head == "-" {
		c.Head = ""
	}
	if c.Entries, err = strconv.ParseUint(f[2], 10, 64); err != nil {
		return c, fmt.Errorf("read checkpoint: entries: %w", err)
	}
	if c.At, err = time.Parse(time.RFC3339, f[4]); err != nil {
		return c, fmt.Errorf("read checkpoint: time: %w", err)
	}
	if c.Signature, err = base64.StdEncoding.DecodeString(f[5]); err != nil {
		return c, fmt.Errorf("read checkpoint: signature: %w", err)
	}
	if c.String() != line {
		return c, errors.New("read checkpoint: it is not spelled as it was written")
	}
	return c, nil
}

// Verify reports whether the key signed the checkpoint.
func (c Checkpoint) Verify(key ed25519.PublicKey) error {
	if got := Origin(key); got != c.Origin {
		return fmt.Errorf("checkpoint of entry %d: signed by key %s, this is key %s", c.Entries, c.Origin, got)
	}
	if !ed25519.Verify(key, []byte(c.signed()), c.Signature) {
		return fmt.Errorf("checkpoint of entry %d: its signature is false", c.Entries)
	}
	return nil
}

// Checkpoint makes a checkpoint of what is durable now. A read-only journal
// makes one too where the key can be read.
func (j *Journal) Checkpoint() (Checkpoint, error) {
	key, err := j.privateKey()
	if err != nil {
		return Checkpoint{}, fmt.Errorf("make checkpoint: %w", err)
	}
	last := j.Last()
	// Entries that are appended meanwhile do not change the root of those before.
	root, err := j.treeRoot(last.Seq)
	if err != nil && !errors.Is(err, errNoTree) {
		return Checkpoint{}, fmt.Errorf("make checkpoint: %w", err)
	}
	c := Checkpoint{Entries: last.Seq, Head: last.Hash, Root: root, At: j.now().UTC().Truncate(time.Second), Origin: Origin(public(key))}
	c.Signature = ed25519.Sign(key, []byte(c.signed()))
	return c, nil
}

// SaveCheckpoint makes a checkpoint and keeps it in DIR/checkpoint, in the place
// of the one before, for others to carry off.
func (j *Journal) SaveCheckpoint() (Checkpoint, error) {
	j.mu.Lock()
	err := j.stopped()
	j.mu.Unlock()
	if err != nil {
		return Checkpoint{}, fmt.Errorf("save checkpoint: %w", err)
	}
	c, err := j.Checkpoint()
	if err != nil {
		return c, err
	}
	// A crash before write's rename leaves the checkpoint before, which is as
	// true as it was; one after it the new one.
	if err := errors.Join(j.write(CheckpointFile, []byte(c.String()+"\n")), j.syncDir(".")); err != nil {
		return c, j.stop("save checkpoint", err)
	}
	return c, nil
}

// VerifyCheckpoint reports whether the journal continues what the checkpoint
// says: the entry of its number is there, with its hash, and the tree of the entries
// up to it has its root. Whether the entries
// before are those that were written is what [Journal.Verify] says; both together
// say that nothing up to the checkpoint was changed. The error wraps [ErrDamaged]
// unless the checkpoint itself is false.
func (j *Journal) VerifyCheckpoint(c Checkpoint, key ed25519.PublicKey) error {
	if err := c.Verify(key); err != nil {
		return err
	}
	if c.Entries == 0 {
		return nil
	}
	if x := j.excerpt; x != nil && (x.Pseudonyms || c.Entries < x.From || c.Entries > x.To) {
		return fmt.Errorf("checkpoint of entry %d: this is an export of entries %d to %d (pseudonyms: %t), which does not show it", c.Entries, x.From, x.To, x.Pseudonyms)
	}
	e, ok, err := j.Entry(c.Entries)
	switch {
	case err != nil:
		return err
	case !ok:
		return &DamageError{Seq: c.Entries, What: fmt.Sprintf("missing, although the checkpoint of %s names it: the end was cut off", c.At.Format(time.RFC3339))}
	case e.Hash != c.Head:
		return &DamageError{Seq: c.Entries, What: fmt.Sprintf("its hash is not that of the checkpoint of %s: the journal was rewritten", c.At.Format(time.RFC3339))}
	case c.Root == "" || (j.excerpt != nil && j.excerpt.From > 1): // a tree has all entries
		return nil
	}
	if root, err := j.treeRoot(c.Entries); err != nil || root != c.Root {
		return errors.Join(&DamageError{Seq: c.Entries, What: fmt.Sprintf("the tree of the entries up to it is not that of the checkpoint of %s", c.At.Format(time.RFC3339))}, err)
	}
	return nil
}

// PublicKey is the public half of the key that signs checkpoints.
func (j *Journal) PublicKey() (ed25519.PublicKey, error) {
	b, err := readSmall(j.root, PublicKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint key: %w", err)
	}
	return ParsePublicKey(b)
}

// ParsePublicKey reads a public key as DIR/checkpoint.pub holds it.
func ParsePublicKey(b []byte) (ed25519.PublicKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("read the checkpoint key: not PEM")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint key: %w", err)
	}
	key, ok := k.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("read the checkpoint key: a %T, not ed25519", k)
	}
	return key, nil
}

func (j *Journal) privateKey() (ed25519.PrivateKey, error) {
	b, err := readSmall(j.root, keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: not PEM", keyFile)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a %T, not ed25519", keyFile, k)
	}
	return key, nil
}

// prepareKey makes the key that signs checkpoints, unless there is one. The
// caller syncs the directory: until then a power cut may take the key away, and
// no checkpoint has been made with it.
func (j *Journal) prepareKey() error {
	there, err := exists(j.root, keyFile)
	if err != nil {
		return err
	}
	if !there {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := j.write(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			return err
		}
	}
	// A crash here leaves a key without its public half, which is made from it anew.
	key, err := j.privateKey()
	if err != nil {
		return err
	}
	b, err := encodePublic(public(key))
	if err != nil {
		return err
	}
	if old, err := readSmall(j.root, PublicKeyFile); err == nil && string(old) == string(b) {
		return nil
	}
	return j.write(PublicKeyFile, b)
}

func public(key ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
}

func encodePublic(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// readSmall reads a file that is as small as a key.
func readSmall(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d", name, info.Size(), maxKeyFile)
	}
	return root.ReadFile(name)
}
