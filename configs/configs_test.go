package configs

import (
	"bytes"
	"encoding"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
	"heliostat/internal/strict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// folder makes a folder with secrets for the names, and a configuration.
func folder(t testing.TB, text string, secrets ...string) string {
	t.Helper()
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	dir := t.TempDir()
	for _, s := range secrets {
		if err := os.WriteFile(filepath.Join(dir, s), []byte("canary-3f9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// said is the error without the folder's name.
func said(t testing.TB, file string) string {
	t.Helper()
	_, err := Load(file)
	if err == nil {
		return ""
	}
	if _, ok := errors.AsType[strict.Faults](err); !ok {
		t.Fatalf("not faults: %v", err)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("a secret leaks: %v", err)
	}
	return strings.ReplaceAll(err.Error(), filepath.Dir(file)+string(filepath.Separator), "")
}

func TestExample(t *testing.T) {
	file := folder(t, string(Example), "houston-reader", "houston-mover", "frankfurt-reader", "alert-token")
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.VCenters[0].Mover.PasswordFile != filepath.Join(filepath.Dir(file), "houston-mover") || c.Hazards.File != filepath.Join(filepath.Dir(file), "hazards.json") {
		t.Errorf("paths: %q, %q", c.VCenters[0].Mover.PasswordFile, c.Hazards.File)
	}
	if *c.Sites[0].PriceEURPerKWh != 0.09 || c.Sites[1].Mode != engine.Advise || c.Policy.Modes["dpm"] != engine.Advise || c.Plan.Low.CPUPct != 45 {
		t.Errorf("values: %+v", c)
	}
	s, err := c.Times()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	if n := s.Next(now); n.Sub(now) != time.Minute {
		t.Errorf("next cycle at %v", n)
	}
}

// The example says of every default what it is: a file of its own sections
// alone must give the same values.
func TestExampleShowsDefaults(t *testing.T) {
	c, err := Load(folder(t, string(Example), "houston-reader", "houston-mover", "frankfurt-reader", "alert-token"))
	if err != nil {
		t.Fatal(err)
	}
	d := Default()
	for name, pair := range map[string][2]any{
		"plan": {c.Plan, d.Plan}, "latency": {c.Latency, d.Latency}, "max_age": {c.MaxAge, d.MaxAge}, "source_timeout": {c.Timeout, d.Timeout},
		"web": {c.Web, d.Web}, "state": {c.State, d.State}, "log": {c.Log, d.Log}, "rails": {c.Rails, d.Rails}, "execute": {c.Execute, d.Execute}, "sanity": {c.Sanity, d.Sanity}, "schedule.every": {c.Schedule.Every, d.Schedule.Every},
		"schedule.min_gap": {c.Schedule.MinGap, d.Schedule.MinGap}, "schedule.approval_ttl": {c.Schedule.ApprovalTTL, d.Schedule.ApprovalTTL},
		"alerts.ttl": {c.Alerts.TTL, d.Alerts.TTL}, "alerts.max_bytes": {c.Alerts.MaxBytes, d.Alerts.MaxBytes}, "policy.deadline": {c.Policy.Deadline, d.Policy.Deadline},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: the example says %+v, the default is %+v", name, pair[0], pair[1])
		}
	}
}

// Every key that the decoder knows must be in the example, commented out or not, and in
// the reference.
func TestExampleIsComplete(t *testing.T) {
	reference, err := os.ReadFile("../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, keys, _ := bytes.Cut(reference, []byte("\n## Configuration keys\n"))
	var visit func(typ reflect.Type, path string)
	visit = func(typ reflect.Type, path string) {
		for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice}, typ.Kind()) {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || reflect.PointerTo(typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			return
		}
		for key, f := range strict.FieldsOf(reflect.New(typ).Elem()) {
			if !bytes.Contains(Example, []byte(key+":")) && !bytes.Contains(Example, []byte("or "+key)) {
				t.Errorf("%s.%s is not in the example", path, key)
			}
			if !bytes.Contains(keys, []byte("`"+key+"`")) && !bytes.Contains(keys, []byte("`"+key+"[]`")) {
				t.Errorf("%s.%s is not in docs/reference.md", path, key)
			}
			visit(f.Type(), path+"."+key)
		}
	}
	visit(reflect.TypeFor[Config](), "")
}

func TestFiveFaults(t *testing.T) {
	text, err := os.ReadFile("testdata/five.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(said(t, folder(t, string(text), "secret")), "c.yaml", "five.yaml") + "\n"
	if *update {
		if err := os.WriteFile("testdata/five.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/five.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

const small = `vcenters:
  - name: vc
    url: https://vc.example.net
    reader: {username: reader, password_file: secret}
sites:
  - id: here
    latitude: 1
    longitude: 2
    hosts: [{vcenter: vc}]
`

// Each file of the corpus is refused, and each line says where and what to do.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var got strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		faults := strings.ReplaceAll(said(t, folder(t, string(text), "secret")), "c.yaml", filepath.Base(name))
		for line := range strings.SplitSeq(faults, "\n") {
			if !place.MatchString(line) {
				t.Errorf("%s: %q has no place", name, line)
			}
		}
		got.WriteString(faults + "\n")
	}
	if *update {
		if err := os.WriteFile("testdata/bad.txt", []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}

var place = regexp.MustCompile(`^[a-z0-9.-]+\.yaml:\d+:\d+: .`)

func TestGood(t *testing.T) {
	if got := said(t, folder(t, small, "secret")); got != "" {
		t.Errorf("the small one: %s", got)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// systemd's credentials come before the file's folder.
func TestCredentials(t *testing.T) {
	file := folder(t, small, "secret")
	given := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", given)
	load := func() string {
		t.Helper()
		c, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(c.VCenters[0].Reader.PasswordFile)
	}
	if got := load(); got != filepath.Dir(file) {
		t.Errorf("without the credential: %s", got)
	}
	if err := os.WriteFile(filepath.Join(given, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := load(); got != given {
		t.Errorf("with it: %s", got)
	}
}

func TestParams(t *testing.T) {
	c, err := Load(folder(t, small+"policy:\n  params:\n    dpm: {low: 45, share: 0.5, on: true, name: x, list: [1, {a: b}]}\n", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"low": int64(45), "share": 0.5, "on": true, "name": "x", "list": []any{int64(1), map[string]any{"a": "b"}}}
	if got := c.Policy.Params["dpm"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
}

func TestWindows(t *testing.T) {
	c, err := Load(folder(t, small+`windows:
  - {id: night, kind: quiet, from: "22:00", to: "06:00", days: [sat], time_zone: Europe/Berlin}
  - {id: once, kind: maintenance, host: esx1, from: 2026-10-25T08:00:00Z, to: 2026-10-25T09:00:00Z}
  - {id: later, kind: change, cluster: c1, from: 2027-10-25T08:00:00Z, to: 2027-10-25T09:00:00Z}
`, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) engine.Unix {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return engine.At(x)
	}
	night := engine.Window{ID: "night", Kind: "quiet", Place: engine.Subject{Kind: "fleet"}}
	window := func(w engine.Window, from, to string) engine.Window {
		w.From, w.To = at(from), at(to)
		return w
	}
	once := window(engine.Window{ID: "once", Kind: "maintenance", Place: engine.Subject{Kind: "host", ID: "esx1"}}, "2026-10-25T08:00:00Z", "2026-10-25T09:00:00Z")
	for _, x := range []struct {
		now  string
		want []engine.Window
	}{
		// The night in which the clocks go back: 22:00 summer time to 06:00 winter time is nine hours.
		{"2026-10-25T04:59:59Z", []engine.Window{window(night, "2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"), once, window(night, "2026-10-31T21:00:00Z", "2026-11-01T05:00:00Z")}},
		{"2026-10-25T05:00:00Z", []engine.Window{once, window(night, "2026-10-31T21:00:00Z", "2026-11-01T05:00:00Z")}},
		{"2026-10-25T09:00:00Z", []engine.Window{window(night, "2026-10-31T21:00:00Z", "2026-11-01T05:00:00Z")}},
	} {
		if got := c.WindowsAt(at(x.now).Time()); !slices.Equal(got, x.want) {
			t.Errorf("at %s:\ngot  %+v\nwant %+v", x.now, got, x.want)
		}
	}
}

// Whatever is in the file, reading it ends with a configuration or with faults in it.
func FuzzParse(f *testing.F) {
	f.Add(small)
	// The whole example takes 5 ms to read: a paragraph is as good, and quicker.
	for part := range strings.SplitSeq(string(Example), "\n\n") {
		f.Add(part)
	}
	f.Add("a: &a [*a]\n<<: *a\n? [x]\n: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("f", []byte(text), func(_, s string) (string, error) { return s, nil })
		faults, ok := errors.AsType[strict.Faults](err)
		if (c == nil) == (err == nil) || (err != nil && (!ok || len(faults) == 0)) {
			t.Fatalf("%v, %v", c, err)
		}
		lines := strings.Count(text, "\n") + 2
		for _, x := range faults {
			if x.Line < 1 || x.Line > lines || x.Column < 1 || x.What == "" {
				t.Errorf("fault %+v in %d lines", x, lines)
			}
		}
	})
}
