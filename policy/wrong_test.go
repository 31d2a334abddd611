package policy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"

	"heliostat/internal/race"
	"heliostat/rego"
)

// TestMain lets this binary be the process that examines a bundle.
func TestMain(m *testing.M) {
	if os.Args[0] == examinerName {
		if err := Examine(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const examinerName = "policy-examiner"

// good is a policy that says nothing about the small fleet.
const good = "package placement.edited\n\n# METADATA\n# entrypoint: true\n# custom:\n#   reads: cluster\npin contains {\"vm\": vm.id, \"reason\": \"it stays\"} if {\n\tsome vm in input.vms\n\tvm.name == \"nobody\"\n}\n"

// A served is a service on a folder, with a cycle behind it, that has a process of
// its own examine what changes.
type served struct {
	*Service
	t   testing.TB
	dir string
	key signer // of a folder that must be signed
}

func serve(t testing.TB, change func(*Config)) *served {
	t.Helper()
	r := &served{t: t, dir: t.TempDir()}
	r.write("placement/edited.rego", good)
	cfg := DefaultConfig()
	cfg.Dir, cfg.Deadline, cfg.Validation.MemoryMiB = r.dir, time.Second, leastMemoryMiB
	if race.Enabled { // it takes memory of its own: caps are not what they are
		cfg.Validation.MemoryMiB = 4096
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	r.Service, err = Start(t.Context(), rego.FS, cfg, Options{Examiner: []string{examinerName}, Within: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	r.cycle()
	return r
}

func (r *served) cycle() {
	r.t.Helper()
	if _, err := r.Evaluate(r.t.Context(), smallFleet()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *served) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// settle looks at what has changed, and returns what is wrong with it.
func (r *served) settle() error {
	r.t.Helper()
	if !r.look(r.t.Context()) {
		r.t.Fatal("no change is seen")
	}
	_, err := r.Reload(r.t.Context())
	return err
}

// copyFiles copies a folder of testdata into the served one.
func (r *served) copyFiles(from string) {
	r.t.Helper()
	if err := os.CopyFS(filepath.Join(r.dir, "new"), os.DirFS(from)); err != nil {
		r.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "placement")); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(r.dir, "new/placement"), filepath.Join(r.dir, "placement")); err != nil {
		r.t.Fatal(err)
	}
}

// Each of the wrong policies is refused with its place and advice, and what served
// before serves on.
func TestWrongPolicies(t *testing.T) {
	if race.Enabled { // it takes memory of its own: caps are not what they are
		t.Skip("the race detector takes memory of its own: what runs out of it would be another thing")
	}
	dirs, err := os.ReadDir("testdata/wrong")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	signed := map[string]bool{"unsigned_bundle": true, "tampered_bundle": true}
	patient := map[string]bool{"concat_10gb": true, "range_of_billions": true}
	r, sr := serve(t, nil), signedService(t)
	pr := serve(t, func(c *Config) { c.Deadline = time.Minute }) // memory is to run out before time does
	for _, d := range dirs {
		x := r
		switch {
		case signed[d.Name()]:
			x = sr
		case patient[d.Name()]:
			x = pr
		}
		before, rss := x.Revision(), resident(t)
		x.copyFiles(filepath.Join("testdata/wrong", d.Name()))
		if d.Name() == "tampered_bundle" {
			x.sign()
			x.write("placement/edited.rego", good+"\n# one line more\n")
		} else {
			_ = os.Remove(filepath.Join(x.dir, signatures)) // there is none but in a signed folder
		}
		if err := x.settle(); err == nil {
			t.Errorf("%s: taken into service", d.Name())
		}
		if x.Revision() != before {
			t.Errorf("%s: revision %s serves, not %s", d.Name(), x.Revision(), before)
		}
		// The limit is what this process may grow by while it has others look.
		if grown := resident(t) - rss; grown > 64<<20 {
			t.Errorf("%s: this process grew by %d MiB", d.Name(), grown>>20)
		}
		x.cycle()
		rec, _ := x.Standing()
		text := strings.ReplaceAll(rec.Refused, x.dir+"/", "")
		for line := range strings.Lines(text) {
			if strings.Contains(line, "want (one of)") && len(line) > 80 {
				text = strings.Replace(text, line, "\t... want (one of) ...\n", 1)
			}
		}
		fmt.Fprintf(&got, "== %s\n%s\n", d.Name(), text)
		if !strings.Contains(text, "\n\t") {
			t.Errorf("%s: no advice in %s", d.Name(), text)
		}
	}
	golden(t, "testdata/wrong.txt", got.String())
}

// An edit of a bundle in shadow is examined in a process of its own, and what takes
// too much memory there never comes into this one.
func TestShadowIsExamined(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "next")
	cfg := DefaultConfig()
	cfg.Deadline, cfg.Validation.MemoryMiB = time.Minute, leastMemoryMiB
	if race.Enabled { // it takes memory of its own: caps are not what they are
		t.Skip("the race detector takes memory of its own")
	}
	if _, err := New(dir, "edited", "pin"); err != nil {
		t.Fatal(err)
	}
	s := NewShadow(rego.FS, cfg, ShadowBundle{Name: "next", Dir: dir}, Options{Examiner: []string{examinerName}, Within: time.Minute})
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := s.Revision()
	if _, err := s.Evaluate(t.Context(), smallFleet()); err != nil {
		t.Fatal(err)
	}
	hungry, err := os.ReadFile("testdata/wrong/concat_10gb/placement/edited.rego")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "placement", "edited_test.rego")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "placement", "edited.rego"), hungry, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err != nil || s.Revision() != before || s.LastError() == nil || !strings.Contains(s.LastError().Error(), "takes more than 256 MiB") {
		t.Errorf("%v, %v", err, s.LastError())
	}
}

// golden compares with a file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s:\n%s", file, got)
	}
}

// resident is this process's memory in use.
func resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

const testKeyID = "release-2026"

// A signer signs bundles as Rego's own tools do.
type signer struct{ private, publicFile string }

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s := signer{string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})), filepath.Join(t.TempDir(), "key.pem")}
	if err := os.WriteFile(s.publicFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// sign returns the .signatures.json of the files.
func (s signer) sign(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	hash, err := bundle.NewSignatureHasher(bundle.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var infos []bundle.FileInfo
	for name, text := range files {
		var v any = text
		if bundle.IsStructuredDoc(name) {
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := hash.HashFile(v)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, bundle.FileInfo{Name: name, Hash: fmt.Sprintf("%x", sum), Algorithm: "SHA-256"})
	}
	token, err := bundle.GenerateSignedToken(infos, bundle.NewSigningConfig(s.private, "ES256", ""), testKeyID)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(bundle.SignaturesConfig{Signatures: []string{token}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sign signs the folder.
func (r *served) sign() {
	r.t.Helper()
	contents, err := readContents(os.DirFS(r.dir), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(signatures, string(r.key.sign(r.t, contents)))
}

// signedService is serve with a folder that must be signed, and is.
func signedService(t testing.TB) *served {
	t.Helper()
	key := newSigner(t)
	r := serve(t, func(c *Config) {
		c.Verify, c.KeyFile, c.KeyID = true, key.publicFile, testKeyID
		contents, err := readContents(os.DirFS(c.Dir), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Dir, signatures), key.sign(t, contents), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	r.key = key
	return r
}
