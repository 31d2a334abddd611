package hazard_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heliostat/collectors/hazard"
	"heliostat/engine"
)

const record = `{"hazard": "al09", "site": "houston", "kind": "hurricane", "severity": "extreme", "threshold": "64 kt", "p": 0.725,
 "t_earliest": "2026-09-01T06:00:00Z", "t_likely": "2026-09-01T12:00:00Z", "t_end": "2026-09-02T00:00:00Z",
 "source": "NHC", "advisory": "14", "issued": "2026-08-30T03:00:00Z", "valid_until": "2026-08-30T15:00:00Z", "method": "official"}`

type file struct {
	t    *testing.T
	src  *hazard.Source
	path string
	tick time.Time
	now  time.Time
}

func open(t *testing.T, text string) *file {
	t.Helper()
	f := &file{t: t, path: filepath.Join(t.TempDir(), "hazards.json"), tick: time.Unix(1_000_000, 0), now: at("2026-08-30T04:00:00Z")}
	f.src = &hazard.Source{Config: hazard.Config{File: f.path}, Now: func() time.Time { return f.now }}
	f.write(text)
	return f
}

// write changes the file, and its time by a second.
func (f *file) write(text string) {
	f.t.Helper()
	f.tick = f.tick.Add(time.Second)
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(f.path, f.tick, f.tick); err != nil {
		f.t.Fatal(err)
	}
}

func (f *file) observe() (ids, gaps []string) {
	f.t.Helper()
	o, err := f.src.Observe(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range o.Hazards {
		ids = append(ids, h.ID)
	}
	for _, g := range o.Gaps {
		gaps = append(gaps, g.Subject.String()+": "+strings.ReplaceAll(g.Reason, f.path, "FILE"))
	}
	return ids, gaps
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestRecord(t *testing.T) {
	f := open(t, "["+record+"]")
	o, err := f.src.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unix := func(s string) engine.Unix { return engine.At(at(s)) }
	want := engine.Hazard{
		ID: "al09", Site: "houston", Kind: "hurricane", Severity: "extreme", Threshold: "64 kt", PMilli: 725,
		Earliest: unix("2026-09-01T06:00:00Z"), Likely: unix("2026-09-01T12:00:00Z"), End: unix("2026-09-02T00:00:00Z"), Source: "NHC", Advisory: "14",
		Issued: unix("2026-08-30T03:00:00Z"), ValidUntil: unix("2026-08-30T15:00:00Z"), Method: "official",
	}
	if len(o.Hazards) != 1 || o.Hazards[0] != want || len(o.Gaps) != 0 {
		t.Errorf("got %+v, %v", o.Hazards, o.Gaps)
	}
}

// Whatever happens to the file, the hazard stays until it ends or the file says so.
func TestNeverNoHazard(t *testing.T) {
	f := open(t, "["+record+"]")
	expect := func(step, id, gap string) {
		t.Helper()
		ids, gaps := f.observe()
		if strings.Join(ids, " ") != id || !strings.Contains(strings.Join(gaps, "\n"), gap) || (gap == "") != (len(gaps) == 0) {
			t.Errorf("%s: hazards %v, gaps %v", step, ids, gaps)
		}
	}
	expect("read", "al09", "")
	f.write("[" + record[:100])
	expect("broken", "al09", "feed hazards: the last good list serves: FILE:1:")
	expect("still broken", "al09", "feed hazards: the last good list serves: FILE:1:")
	f.write("")
	expect("empty", "al09", "FILE:1:1: not JSON: unexpected end of JSON input")
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	expect("vanished", "al09", "no such file")
	f.write("[" + record + "]")
	expect("back", "al09", "")
	f.now = at("2026-08-31T00:00:00Z")
	expect("past its validity", "al09", "site houston: stale hazard: al09 of NHC was valid until 2026-08-30T15:00:00Z")
	f.write("[" + strings.Replace(record, "al09", "al10", 1) + "]") // same size, other time
	expect("changed", "al10", "stale hazard: al10")
	f.src.Config.MaxAge = time.Hour
	expect("not rewritten", "al10", "FILE has not been written for more than 1h0m0s")
	f.src.Config.MaxAge = 0
	f.now = at("2026-09-02T00:00:00Z")
	expect("over", "", "")
	f.now = at("2026-08-30T04:00:00Z")
	f.write("[]")
	expect("withdrawn", "", "")
}

func TestStrict(t *testing.T) {
	swap := func(from, to string) string { return "[\n" + strings.Replace(record, from, to, 1) + "]" }
	for _, c := range []struct{ name, text, want string }{
		{"not a list", record, "1:1: want a list, not a mapping"},
		{"unknown key", swap(`"threshold"`, `"treshold"`), "2:83: [0].treshold: unknown key; did you mean threshold?"},
		{"other case", swap(`"site"`, `"Site"`), "2:20: [0].Site: unknown key; did you mean site?"},
		{"twice", swap(`"source": "NHC"`, `"kind": "flood"`), "4:2: [0].kind: given twice; first on line 2"},
		{"id and hazard", swap(`"advisory": "14"`, `"id": "x"`), "2:12: [0].hazard: is another name of id, which is given too"},
		{"null", swap(`"NHC"`, `null`), "4:12: [0].source: has no value; give it one or remove the key"},
		{"nested", swap(`"NHC"`, `["NHC"]`), "4:12: [0].source: want a text, not a list"},
		{"number for text", swap(`"NHC"`, `7`), `4:12: [0].source: want a text, not 7; write "7" in quotes`},
		{"empty text", swap(`"NHC"`, `""`), "4:12: [0].source: is empty"},
		{"missing", swap(`"source": "NHC", `, ``), "2:1: [0].source: is missing"},
		{"infinite", swap(`0.725`, `1e999`), `2:110: [0].p: want a finite number, not "1e999"`},
		{"not a number", swap(`0.725`, `NaN`), "2:110: not JSON: invalid character 'N'"},
		{"text for number", swap(`0.725`, `"0.7"`), `2:110: [0].p: want a number, not "0.7"`},
		{"percent", swap(`0.725`, `72`), "2:110: [0].p: 72 is not a probability"},
		{"local time", swap(`2026-09-01T06:00:00Z`, `2026-09-01 06:00`), `3:16: [0].t_earliest: "2026-09-01 06:00" is not a time`},
		{"order", swap(`2026-09-02T00:00:00Z`, `2026-09-01T00:00:00Z`), "2:1: [0]: t_earliest, t_likely and t_end are not in this order"},
		{"severity", swap(`extreme`, `bad`), `2:72: [0].severity: "bad" is not one of ["minor" "moderate" "severe" "extreme"]`},
		{"method", swap(`official`, `guess`), `4:120: [0].method: "guess" is not one of`},
		{"trailing data", "[" + record + "] []", "3:133: not JSON: invalid character '[' after top-level value"},
		{"trailing record", "[" + record + " " + record + "]", "3:132: not JSON: invalid character '{' after array element"},
		{"two faults", swap(`"hurricane", "severity": "extreme"`, `"", "severity": "bad"`), `2:47: [0].kind: is empty; and 1 more fault`},
		{"cut short", "[" + record, "3:131: not JSON: unexpected end of JSON input"},
		{"not UTF-8", "[\xff]", "1:2: byte 0xff is not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, c.text)
			ids, gaps := f.observe()
			if got := strings.Join(gaps, "\n"); len(ids) != 0 || !strings.Contains(got, "FILE:"+c.want) {
				t.Errorf("hazards %v, gaps %s\nwant %s", ids, got, c.want)
			}
		})
	}
}
