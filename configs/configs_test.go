package configs

import (
	"bytes"
	"encoding"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
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

// Every key that the decoder knows must be in the example, commented out or not.
func TestExampleIsComplete(t *testing.T) {
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

func TestFaults(t *testing.T) {
	type change struct{ from, to string }
	more := func(s string) change { return change{"", s} } // after the small one, from line 10
	site := func(s string) change { return change{"    latitude: 1\n", s} }
	for _, c := range []struct {
		name string
		change
		want string
	}{
		{"syntax", more("web: [1\n"), "c.yaml:11:1: not YAML: did not find expected ',' or ']'"},
		{"tab", more("\tweb: 1\n"), "c.yaml:10:1: not YAML: found character that cannot start any token"},
		{"second document", more("---\na: 1\n"), "c.yaml:10:1: a second document; there must be one"},
		{"unknown key", more("polcy: {}\n"), "c.yaml:10:1: polcy: unknown key; did you mean policy?"},
		{"key of old", more("web: {address: x}\n"), "c.yaml:10:7: web.address: unknown key; known are listen"},
		{"duplicate", more("web: {listen: \"\"}\nweb: {listen: \"\"}\n"), "c.yaml:11:1: web: given twice; first on line 10"},
		{"null section", more("plan:\n"), "c.yaml:10:6: plan: has no value; give it one or remove the key"},
		{"null value", more("plan: {cpu_max_pct: ~}\n"), "c.yaml:10:21: plan.cpu_max_pct: has no value; give it one or remove the key"},
		{"not a number", site("    latitude: .nan\n"), "c.yaml:7:15: sites[0].latitude: want a finite number, not \".nan\""},
		{"infinite", site("    latitude: -.inf\n"), "c.yaml:7:15: sites[0].latitude: want a finite number, not \"-.inf\""},
		{"overflow", site("    latitude: 1e999\n"), "c.yaml:7:15: sites[0].latitude: want a number, not \"1e999\""},
		{"octal", more("plan: {reserve_hosts: 010}\n"), "c.yaml:10:23: plan.reserve_hosts: want a whole number, not \"010\""},
		{"fraction", more("plan: {reserve_hosts: 1.5}\n"), "c.yaml:10:23: plan.reserve_hosts: want a whole number, not \"1.5\""},
		{"too large", more("plan: {reserve_hosts: 3000000000}\n"), "c.yaml:10:23: plan.reserve_hosts: want a whole number, not \"3000000000\""},
		{"yes", change{"    reader", "    insecure: yes\n    reader"}, "c.yaml:4:15: vcenters[0].insecure: want true or false, not \"yes\""},
		{"number for text", change{"name: vc\n", "name: 7\n"}, "c.yaml:2:11: vcenters[0].name: want a text, not 7; write \"7\" in quotes"},
		{"duration without unit", more("schedule: {every: 60}\n"), "c.yaml:10:19: schedule.every: want a duration with its unit, such as 90s, 5m or 2h, not \"60\""},
		{"duration too short", more("schedule: {every: 0s}\n"), "c.yaml:10:19: schedule.every: 0s is less than a second"},
		{"list for mapping", more("web: [a]\n"), "c.yaml:10:6: web: want a mapping, not a list"},
		{"mapping for list", more("windows: {a: 1}\n"), "c.yaml:10:10: windows: want a list, not a mapping"},
		{"scalar for mapping", more("web: 8480\n"), "c.yaml:10:6: web: want a mapping, not \"8480\""},
		{"alias", more("state: {dir: &d /x, socket: *d}\n"), "c.yaml:10:14: state.dir: anchors and aliases are not supported; write the value out\nc.yaml:10:29: state.socket: anchors and aliases are not supported; write the value out"},
		{"tag", more("log: {format: !!str text}\n"), "c.yaml:10:15: log.format: tags such as !!str are not supported"},
		{"mode", site("    latitude: 1\n    mode: force\n"), "c.yaml:8:11: sites[0].mode: unknown mode \"force\": one of off, shadow, advise, enforce"},
		{"log level", more("log: {level: loud}\n"), "c.yaml:10:14: log.level: slog: level string \"loud\": unknown name"},
		{"missing key", change{"  - name: vc\n    url:", "  - url:"}, "c.yaml:2:5: vcenters[0].name: is missing"},
		{"no site", change{small[strings.Index(small, "sites"):], ""}, "c.yaml:1:1: sites: 0 of them; between 1 and 64 are needed"},
		{"range", site("    latitude: 91\n"), "c.yaml:7:15: sites[0].latitude: 91 is not between -90 and 90"},
		{"plan range", more("plan:\n  cpu_max_pct: 180\n"), "c.yaml:11:16: plan.cpu_max_pct: 180 is not between 1 and 100"},
		{"two sites of one name", change{"sites:\n", "sites:\n  - {id: here, latitude: 1, longitude: 1}\n"}, "c.yaml:7:9: sites[1].id: a second site \"here\""},
		{"time zone", site("    latitude: 1\n    time_zone: Mars\n"), "c.yaml:8:16: sites[0].time_zone: \"Mars\" is not a time zone"},
		{"pattern", change{"{vcenter: vc}", "{vcenter: vc, name: \"[\"}"}, "c.yaml:9:33: sites[0].hosts[0].name: \"[\" is not a pattern: syntax error in pattern"},
		{"empty match", change{"{vcenter: vc}", "{}"}, "c.yaml:9:13: sites[0].hosts[0]: matches nothing: give vcenter, cluster, folder or name (\"*\" for every host)"},
		{"overlap", more("  - {id: there, latitude: 1, longitude: 2, hosts: [{vcenter: vc, name: \"esx*\"}]}\n"), "c.yaml:10:52: sites[1].hosts[0]: also matches what sites[0].hosts[0] puts at site \"here\""},
		{"no such vCenter", more("segments: [{name: a, networks: [{vcenter: vd, name: x}]}]\n"), "c.yaml:10:43: segments[0].networks[0].vcenter: there is no vCenter \"vd\""},
		{"link to itself", more("links: [{between: [here, here]}]\n"), "c.yaml:10:19: links[0].between: a link from \"here\" to itself"},
		{"three ends", more("links: [{between: [here, here, here]}]\n"), "c.yaml:10:19: links[0].between: want 2 items, not 3"},
		{"cron", more("schedule: {cron: [\"61 * * * *\"]}\n"), "c.yaml:10:19: schedule.cron[0]: schedule \"61 * * * *\": end of range (61) above maximum (59): 61"},
		{"sunrise nowhere", more("schedule: {cron: [\"@sunrise mars\"]}\n"), "c.yaml:10:19: schedule.cron[0]: schedule @sunrise: no site \"mars\""},
		{"secret", change{"password_file: secret", "password_file: lost"}, "c.yaml:4:47: vcenters[0].reader.password_file: cannot be read: open lost: no such file or directory"},
		{"secret is a folder", change{"password_file: secret", "password_file: ."}, "c.yaml:4:47: vcenters[0].reader.password_file: cannot be read: not a regular file"},
		{"window host", more("windows: [{id: a, kind: quiet, host: \"esx *\", from: \"1:00\", to: \"2:00\"}]\n"), "c.yaml:10:38: windows[0].host: \"esx *\" is neither a name nor vcUUID/moid"},
		{"window times", more("windows: [{id: a, kind: quiet, from: \"22:00\", to: 2026-01-01T00:00:00Z}]\n"), "c.yaml:10:51: windows[0].to: from and to must both be moments or both times of day"},
		{"window moment", more("windows: [{id: a, kind: quiet, from: \"25:00\", to: \"2:00\"}]\n"), "c.yaml:10:38: windows[0].from: \"25:00\" is neither a moment such as 2026-09-01T22:00:00Z nor a time of day such as 22:00"},
		{"window day", more("windows: [{id: a, kind: quiet, from: \"22:00\", to: \"23:00\", days: [monday]}]\n"), "c.yaml:10:67: windows[0].days[0]: \"monday\" is not one of sun, mon, tue, wed, thu, fri, sat"},
		{"alert rule", more("alerts: {rules: [{match: {a: b}, kind: k, site: mars}]}\n"), "c.yaml:10:49: alerts.rules[0].site: there is no site \"mars\""},
		{"listen", more("web: {listen: 8480x}\n"), "c.yaml:10:15: web.listen: \"8480x\" is not address:port"},
		{"probe and rtt", more("  - {id: b, latitude: 1, longitude: 1}\nlinks: [{between: [here, b], rtt_ms: 5, probe: \"h:1\"}]\n"), "c.yaml:11:48: links[0].probe: excludes rtt_ms: a probe that fails must leave the round trip unknown"},
		{"policy folder", more("policy: {dir: nowhere}\n"), "c.yaml:10:15: policy.dir: nowhere is not a directory that can be read"},
		{"policy weight", more("policy: {weights: {dpm: -1}}\n"), "c.yaml:10:25: policy.weights.dpm: -1 is not between 0 and 1000000 EUR per vCPU-hour"},
		{"unseen character", change{"id: here", "id: \"he\\u202ere\""}, "c.yaml:6:9: sites[0].id: \"he\\u202ere\" has a character that cannot be seen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := small + c.to
			if c.from != "" {
				if text = strings.Replace(small, c.from, c.to, 1); text == small {
					t.Fatal("nothing changed")
				}
			}
			if got := said(t, folder(t, text, "secret")); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
	if got := said(t, folder(t, small, "secret")); got != "" {
		t.Errorf("the small one itself: %s", got)
	}
	if got := said(t, folder(t, "# nothing\n")); got != "c.yaml:1:1: the file is empty" {
		t.Errorf("empty: %s", got)
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
	f.Add(string(Example))
	f.Add("a: &a [*a]\n<<: *a\n? [x]\n: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("f", []byte(text))
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
