package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"heliostat/engine"
	"heliostat/rego"
)

// pinning is a policy that pins the VMs for which the condition holds.
func pinning(condition string) string {
	return strings.Replace(good, `vm.name == "nobody"`, condition, 1)
}

// A small edit serves at once; a large one waits for a person, who approves it or
// mends it; a rollback lasts until it is ended or the files change.
func TestLargeEditsWait(t *testing.T) {
	t.Parallel()
	r := serve(t, nil)
	first, firstKept := r.Standing()
	r.write("placement/edited.rego", pinning(`vm.name == "vm3"`))
	if err := r.settle(); err != nil {
		t.Fatal(err)
	}
	small, _ := r.Standing()
	if small.Serving == first.Serving || small.By != "folder" || small.Waits != "" {
		t.Fatalf("after a small edit: %+v", small)
	}

	// No cycle has passed: what serves is asked anew, so that two edits in a row
	// cannot pass for small ones.
	r.write("placement/edited.rego", pinning(`vm.name != "vm3"`))
	if err := r.settle(); err != nil {
		t.Fatal(err)
	}
	waits, _ := r.Standing()
	if waits.Serving != small.Serving || waits.Candidate == "" || !strings.Contains(waits.Waits, "VMs") || !strings.Contains(waits.Waits, "edited") {
		t.Fatalf("after a large edit: %+v", waits)
	}
	if err := r.Approve(t.Context(), "ffff", "anna"); err == nil {
		t.Error("another revision was approved")
	}
	if err := r.Approve(t.Context(), waits.Candidate[:8], "anna"); err != nil {
		t.Fatal(err)
	}
	if now, _ := r.Standing(); now.Serving != waits.Candidate || now.By != "approved by anna" || now.Waits != "" {
		t.Fatalf("after the approval: %+v", now)
	}

	if err := r.RollBack(t.Context(), firstKept, "ben"); err != nil {
		t.Fatal(err)
	}
	held, _ := r.Standing()
	if held.Serving != first.Serving || !held.Held || held.Candidate != waits.Candidate || held.By != "rolled back by ben" {
		t.Fatalf("after the rollback: %+v", held)
	}
	if changed, err := r.Reload(t.Context()); changed || err != nil {
		t.Errorf("a rollback does not last: %v, %v", changed, err)
	}
	if err := r.Resume(t.Context(), "ben"); err != nil {
		t.Fatal(err)
	}
	if now, _ := r.Standing(); now.Serving != waits.Candidate || now.Held {
		t.Errorf("after its end: %+v", now)
	}
	if err := r.RollBack(t.Context(), firstKept, "ben"); err != nil {
		t.Fatal(err)
	}
	r.write("placement/edited.rego", pinning(`vm.name == "vm4"`))
	if err := r.settle(); err != nil {
		t.Fatal(err)
	}
	if now, _ := r.Standing(); now.Held || now.Serving == first.Serving {
		t.Errorf("an edit after a rollback: %+v", now)
	}
}

// A start goes on as the process before ended: an edit that waited waits, one that
// is refused leaves what served, and a rollback lasts.
func TestStartGoesOn(t *testing.T) {
	t.Parallel()
	r := serve(t, nil)
	before, kept := r.Standing()
	restart := func(last engine.RevisionRecord) (*Service, error) {
		last.Bundle = "kept"
		return Start(t.Context(), rego.FS, r.cfg, Options{Examiner: []string{examinerName}, Last: &last, Get: func(string) ([]byte, error) { return kept, nil }})
	}
	r.write("placement/edited.rego", pinning("true"))
	if err := r.settle(); err != nil {
		t.Fatal(err)
	}
	waits, _ := r.Standing()
	s, err := restart(waits)
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := s.Standing(); now.Serving != before.Serving || now.Waits != waits.Waits || now.Candidate != waits.Candidate {
		t.Errorf("an edit waited: %+v", now)
	}
	if err := s.Approve(t.Context(), waits.Candidate, "anna"); err != nil {
		t.Errorf("approve after a start: %v", err)
	}
	s, err = restart(engine.RevisionRecord{Serving: before.Serving, Candidate: waits.Candidate, Held: true})
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := s.Standing(); now.Serving != before.Serving || !now.Held {
		t.Errorf("there was a rollback: %+v", now)
	}
	if s, err = restart(before); err != nil || s.Revision() != waits.Candidate {
		t.Errorf("edited while nothing ran: %v", err)
	}
	r.write("placement/edited.rego", pinning("vm.nam"))
	if s, err = restart(before); err != nil || s.Revision() != before.Serving || s.LastError() == nil {
		t.Errorf("broken while nothing ran: %v", err)
	}
	if _, err := Start(t.Context(), rego.FS, r.cfg, Options{Examiner: []string{examinerName}}); err == nil {
		t.Error("a broken bundle serves where there is no other")
	}
}

// The dry run sees the fleet as the cycle did, though it comes by way of JSON.
func TestTheFleetIsHandedOverWhole(t *testing.T) {
	t.Parallel()
	b := mustLoad(t, map[string]string{"placement/p.rego": everyRule}, DefaultConfig())
	v := smallFleet()
	text, err := engine.Encode(fleet{View: &v})
	if err != nil {
		t.Fatal(err)
	}
	var f fleet
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	want, got := digestOf(t, mustEvaluate(t, b, v)), digestOf(t, mustEvaluate(t, b, *f.View))
	if got != want {
		t.Errorf("decision %s, from the view itself %s", got, want)
	}
}

func digestOf(t *testing.T, d *engine.Decision) string {
	t.Helper()
	b, err := engine.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return engine.DigestBytes(b)
}

// A kept revision decides as it did, whatever ships today.
func TestKeptRevisionsDecideAsTheyDid(t *testing.T) {
	t.Parallel()
	r := serve(t, func(c *Config) { c.Params = map[string]map[string]any{"hurricane": {"lead_s": 3600}} })
	rec, kept := r.Standing()
	b, err := LoadKept(t.Context(), kept, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if b.Revision != rec.Serving {
		t.Errorf("revision %s, it was %s", b.Revision, rec.Serving)
	}
	v := smallFleet()
	if got, want := digestOf(t, mustEvaluate(t, b, v)), digestOf(t, mustEvaluate(t, r.Bundle(), v)); got != want {
		t.Errorf("decision %s, it was %s", got, want)
	}
}

// A bundleServer serves a bundle as a web server does.
type bundleServer struct {
	body   []byte
	etag   string
	status int
	asked  []string // what of: the token and the ETag of each request
}

func (b *bundleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.asked = append(b.asked, r.Header.Get("Authorization")+" "+r.Header.Get("If-None-Match"))
	w.Header().Set("ETag", b.etag)
	switch {
	case b.status != 0:
		w.WriteHeader(b.status)
	case r.Header.Get("If-None-Match") == b.etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		_, _ = w.Write(b.body)
	}
}

// tarball packs files as Rego's own tools do, signed where there is a key.
func tarball(t testing.TB, key *signer, files map[string][]byte) []byte {
	t.Helper()
	files = maps.Clone(files)
	if key != nil {
		files[signatures] = key.sign(t, files)
	}
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "/" + name, Size: int64(len(files[name])), Mode: 0o600})
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestBundleOverHTTP(t *testing.T) {
	t.Parallel()
	key, stranger := newSigner(t), newSigner(t)
	files := func(text string) map[string][]byte {
		return map[string][]byte{"placement/edited.rego": []byte(text), "data.json": []byte(`{"params": {"edited": {"n": 1}}, "facts": {"a": {"b": 1}}}`)}
	}
	b := &bundleServer{body: tarball(t, &key, files(good)), etag: `"1"`}
	server := httptest.NewServer(b)
	defer server.Close()
	token := key.publicFile + ".token"
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.URL, cfg.KeyFile, cfg.KeyID, cfg.TokenFile = server.URL+"/policies.tar.gz", key.publicFile, testKeyID, token
	s, err := Start(t.Context(), rego.FS, cfg, Options{Examiner: []string{examinerName}, Within: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	r := &served{Service: s, t: t}
	r.cycle()
	first := s.Revision()
	if !slices.Contains(s.Bundle().Policies, "edited") {
		t.Fatalf("policies %v", s.Bundle().Policies)
	}
	if s.look(t.Context()) {
		t.Error("a change is seen where there is none")
	}

	b.body, b.etag = tarball(t, &key, files(pinning(`vm.name == "vm3"`))), `"2"`
	if err := r.settle(); err != nil || s.Revision() == first {
		t.Fatalf("a new bundle: %v", err)
	}
	second := s.Revision()
	if want := []string{"Bearer s3cret ", `Bearer s3cret "1"`, `Bearer s3cret "1"`}; !slices.Equal(b.asked, want) {
		t.Errorf("asked %q, want %q", b.asked, want)
	}

	for _, x := range []struct {
		name string
		body []byte
		want string
	}{
		{"unsigned", tarball(t, nil, files(good)), "policies.tar.gz/.signatures.json:1:1: missing: the bundle is not signed"},
		{"of a stranger", tarball(t, &stranger, files(good)), "does not hold for key " + testKeyID},
		{"tampered", func() []byte {
			f := files(good)
			f[signatures] = key.sign(t, f)
			f["placement/edited.rego"] = []byte(pinning("true"))
			return tarball(t, nil, f)
		}(), "policies.tar.gz/placement/edited.rego:1:1: is not what was signed"},
		{"with a file more", func() []byte {
			f := files(good)
			f[signatures] = key.sign(t, f)
			f["placement/more.rego"] = []byte("package placement.more\n")
			return tarball(t, nil, f)
		}(), "more.rego not included in bundle signature"},
		{"with a file less", func() []byte {
			f := files(good)
			f[signatures] = key.sign(t, f)
			delete(f, "placement/edited.rego")
			return tarball(t, nil, f)
		}(), "edited.rego:1:1: is signed and not there"},
		{"no bundle", []byte("<html>"), "is not a tar.gz"},
		{"a bomb", tarball(t, &key, map[string][]byte{"placement/edited.rego": make([]byte, maxOwnBytes+1)}), "holds more than"},
		{"a wrong policy", tarball(t, &key, files(pinning("vm.nam"))), "policies.tar.gz/placement/edited.rego:9:2: undefined ref: vm.nam"},
	} {
		b.body, b.etag = x.body, x.name
		if err := r.settle(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %s", x.name, err, x.want)
		}
		if s.Revision() != second {
			t.Errorf("%s: it serves", x.name)
		}
	}

	// A server that is down, or sends too much, says nothing about the policies.
	b.status = http.StatusServiceUnavailable
	if s.look(t.Context()) || !strings.Contains(s.silent, "503") {
		t.Errorf("a silent server: %s", s.silent)
	}
	b.status, b.body, b.etag = 0, make([]byte, maxFetched+1), "large"
	if s.look(t.Context()) || !strings.Contains(s.silent, "more than") {
		t.Errorf("a large answer: %s", s.silent)
	}
	b.body, b.etag = tarball(t, &key, files(good)), "good"
	if err := r.settle(); err != nil || s.Revision() != first || s.silent != "" {
		t.Errorf("after all that: %v, %s", err, s.silent)
	}
}

func TestSourcesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"url: plain http":                   func(c *Config) { c.URL, c.KeyFile, c.KeyID = "http://policies.example.net/b.tar.gz", "k", "k" },
		"url: needs key_file":               func(c *Config) { c.URL = "https://policies.example.net/b.tar.gz" },
		"url: excludes dir":                 func(c *Config) { c.URL, c.Dir, c.KeyFile, c.KeyID = "https://example.net/b", "d", "k", "k" },
		"key_file: belongs together":        func(c *Config) { c.Dir, c.Verify, c.KeyFile = "d", true, "k" },
		"verify: needs dir and key_file":    func(c *Config) { c.Dir, c.Verify = "d", true },
		"token_file: is for url":            func(c *Config) { c.TokenFile = "t" },
		"key_file: without url":             func(c *Config) { c.KeyFile, c.KeyID = "k", "k" },
		"validate.memory_mib: 1":            func(c *Config) { c.Validation.MemoryMiB = 1 },
		"validate.time: 1ms":                func(c *Config) { c.Validation.Time = time.Millisecond },
		"validate.approve_above: 2":         func(c *Config) { c.Validation.ApproveAbove = 2 },
		"poll: 1ms is less than a second":   func(c *Config) { c.URL, c.KeyFile, c.KeyID, c.Poll = "https://e.net/b", "k", "k", time.Millisecond },
		`url: "ftp" is not https`:           func(c *Config) { c.URL, c.KeyFile, c.KeyID = "ftp://e.net/b", "k", "k" },
		"url: \"policies.tar.gz\" names no": func(c *Config) { c.URL, c.KeyFile, c.KeyID = "policies.tar.gz", "k", "k" },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	c := DefaultConfig()
	c.URL, c.KeyFile, c.KeyID = "http://127.0.0.1:8181/b.tar.gz", "k", "k"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// BenchmarkSaveToEffect is from a saved edit of one policy, laid over those that
// ship, to the new revision in service: read, examined by a process of its own, swapped.
func BenchmarkSaveToEffect(b *testing.B) {
	r := serve(b, func(c *Config) { c.Deadline = 2 * time.Second })
	n, own, others := 0, cpuOf(b, unix.RUSAGE_SELF), cpuOf(b, unix.RUSAGE_CHILDREN)
	for b.Loop() {
		n++
		r.write("placement/edited.rego", good+"# edit "+strings.Repeat("x", n)+"\n")
		if err := r.settle(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuOf(b, unix.RUSAGE_SELF)-own).Milliseconds())/float64(n), "own-cpu-ms/op")
	b.ReportMetric(float64((cpuOf(b, unix.RUSAGE_CHILDREN)-others).Milliseconds())/float64(n), "examiner-cpu-ms/op")
}

// cpuOf is the processor time taken so far: on a busy machine it says more than the clock.
func cpuOf(b *testing.B, who int) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
