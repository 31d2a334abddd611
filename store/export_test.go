package store

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"heliostat/engine"
)

// fleet puts a snapshot, and a plan that speaks of it.
func fleet(t *testing.T, j *Journal, cycle uint64) (snapshot string) {
	t.Helper()
	b, err := engine.Encode(engine.Snapshot{
		At:    engine.Unix(cycle),
		VMs:   []engine.VM{{ID: "u-1", Name: `Anna's "ledger"`, Path: "/Basel/vm/Anna's \"ledger\""}, {ID: "u-2", Name: "web-017"}, {ID: "u-3", Name: "vm"}},
		Hosts: []engine.Host{{ID: "va/host-1", Name: "esx-04.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	snapshot = put(t, j, string(b))
	plan := put(t, j, fmt.Sprintf(`{"kind":"vm","hold":"web-017 stays on esx-04.example. Anna's \"ledger\" on esx-04.example waits, web-0170 moves","cycle":%d}`, cycle))
	appendAll(t, j,
		entry(t, cycle, engine.EntryInput, engine.InputRecord{Snapshot: snapshot}, snapshot),
		entry(t, cycle, engine.EntryOperator, engine.OperatorRecord{Op: "pause", Who: "anna", Reason: "anna looks at web-017"}),
		entry(t, cycle, engine.EntryPlan, engine.PlanRecord{Digest: plan}, plan))
	return snapshot
}

func exported(t *testing.T, j *Journal, o ExportOptions) (path string) {
	t.Helper()
	var b bytes.Buffer
	if _, err := j.Export(t.Context(), &b, j.Get, o); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "export")
	write(t, path, b.Bytes())
	return path
}

func openExported(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := OpenExport(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// full takes so many bytes.
type full int

func (f *full) Write(b []byte) (int, error) {
	if *f -= full(len(b)); *f < 0 {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

// What stops an export is said once, wherever it does.
func TestExportSaysOnceWhatStopsIt(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	fleet(t, j, 1)
	for _, room := range []full{0, 100} {
		_, err := j.Export(t.Context(), &room, j.Get, ExportOptions{})
		if err == nil || strings.Count(err.Error(), "disk full") != 1 {
			t.Errorf("%v", err)
		}
	}
}

func TestExportIsThatPartOfTheJournal(t *testing.T) {
	now := start
	j := openAt(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	for cycle := range uint64(3) {
		fleet(t, j, cycle+1)
		now = now.Add(time.Hour)
	}
	c, key := checkpoint(t, j)
	honest := all(t, j, 1)
	for name, o := range map[string]struct {
		ExportOptions
		first, last uint64
	}{
		"all":    {ExportOptions{}, 1, 9},
		"middle": {ExportOptions{From: start.Add(time.Minute), To: start.Add(time.Hour)}, 4, 6},
		"end":    {ExportOptions{From: start.Add(time.Hour)}, 4, 9},
	} {
		x := openExported(t, exported(t, j, o.ExportOptions))
		got := all(t, x, 1)
		if fmt.Sprint(got) != fmt.Sprint(honest[o.first-1:o.last]) {
			t.Errorf("%s: entries %d to %d", name, got[0].Seq, got[len(got)-1].Seq)
		}
		r, err := x.Verify(t.Context())
		if err != nil || r.Entries != uint64(len(got)) || r.Blobs != len(got)/3*2 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if err := x.VerifyCheckpoint(c, key); (err == nil) != (o.last == 9) {
			t.Errorf("%s: the checkpoint of its end: %v", name, err)
		}
		if _, err := os.Stat(x.scratch); err != nil {
			t.Error(err)
		}
		closeIt(t, x)
		if _, err := os.Stat(x.scratch); err == nil {
			t.Errorf("%s: %s is left behind", name, x.scratch)
		}
	}
	if _, err := j.Export(t.Context(), &bytes.Buffer{}, j.Get, ExportOptions{From: start.Add(time.Hour * 9)}); err == nil {
		t.Error("nothing is exported")
	}
}

func TestPseudonyms(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	snapshot := fleet(t, j, 1)
	fleet(t, j, 2)
	policies := put(t, j, "PK\x03\x04 an archive, and no JSON: \"\x00\"")
	appendAll(t, j, entry(t, 2, engine.EntryRevision, engine.RevisionRecord{Bundle: policies}, policies))
	x := openExported(t, exported(t, j, ExportOptions{Pseudonyms: true}))
	if _, err := x.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Get(policies); err != nil {
		t.Error(err)
	}
	var s strings.Builder
	for _, e := range all(t, x, 1) {
		fmt.Fprintf(&s, "%s\n", e.Data)
		for _, digest := range e.Blobs {
			b, err := x.Get(digest)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&s, "%s\n", b)
		}
	}
	text := s.String()
	for _, name := range []string{"Anna", "anna", "web-017 ", `"web-017"`, "esx-04", snapshot} {
		if strings.Contains(text, name) {
			t.Errorf("%q is in it:\n%s", name, text)
		}
	}
	for _, word := range []string{`"kind":"vm"`, "web-0170 moves", `"id":"u-2"`} {
		if !strings.Contains(text, word) {
			t.Errorf("%q is not in it:\n%s", word, text)
		}
	}
	// One name is one pseudonym, in both snapshots, both plans, and both orders.
	web := text[strings.Index(text, `"reason":"`)+len(`"reason":"`):]
	web = strings.TrimPrefix(web[:strings.Index(web, `"`)], web[:strings.Index(web, " ")]+" looks at ")
	if !strings.HasPrefix(web, "name-") || strings.Count(text, web) != 6 {
		t.Errorf("%q is in it %d times:\n%s", web, strings.Count(text, web), text)
	}
	c, key := checkpoint(t, j)
	if err := x.VerifyCheckpoint(c, key); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("a checkpoint of other names: %v", err)
	}
	other := openExported(t, exported(t, j, ExportOptions{Pseudonyms: true}))
	if other.Last().Hash == x.Last().Hash {
		t.Error("the key is the same each time")
	}
}

func TestBadExportsAreRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	j := openAt(t, t.TempDir(), Options{})
	fleet(t, j, 1)
	good, err := os.ReadFile(exported(t, j, ExportOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	var bomb bytes.Buffer
	z, err := zstd.NewWriter(&bomb, zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	a := tar.NewWriter(z)
	if err := errors.Join(a.WriteHeader(&tar.Header{Name: memberExcerpt, Size: maxBlob + 1, Typeflag: tar.TypeReg}), z.Close()); err != nil {
		t.Fatal(err)
	}
	pack := func(members ...string) []byte {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		a := archive{tar.NewWriter(z), start}
		for i := 0; i < len(members); i += 2 {
			if err := a.add(members[i], []byte(members[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(a.tar.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const begin = `{"version":1,"from":1,"to":1,"prev":""}`
	for name, b := range map[string][]byte{
		"empty":           {},
		"text":            []byte("a journal"),
		"cut":             good[:len(good)/2],
		"bomb":            bomb.Bytes(),
		"another archive": pack("checkpoint", "x"),
		"later version":   pack(memberExcerpt, `{"version":2,"from":1,"to":1}`),
		"no range":        pack(memberExcerpt, `{"version":1,"from":3,"to":1}`),
		"end missing":     pack(memberExcerpt, begin),
		"twice":           pack(memberExcerpt, begin, memberExcerpt, begin),
		"a path":          pack(memberExcerpt, begin, "../../etc/passwd", "x"),
		"false digest":    pack(memberExcerpt, begin, memberBlobs+strings.Repeat("0", 64), "x"),
		"false entry":     pack(memberExcerpt, begin, memberEntries, `{"seq":1,"kind":"cycle"}`),
	} {
		path := filepath.Join(t.TempDir(), "export")
		write(t, path, b)
		if j, err := OpenExport(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", name, j, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "heliostat-export-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
