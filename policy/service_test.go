package policy

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"heliostat/rego"
)

func TestReload(t *testing.T) {
	dir := t.TempDir()
	n := 0
	write := func(name, text string) {
		t.Helper()
		n++
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// Two edits within one tick of the file system's clock must differ.
		at := noon.Time().AddDate(0, 0, n)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	own := "package placement.pinned\n\n# METADATA\n# entrypoint: true\n# custom: {reads: cluster}\npin contains {\"vm\": v.id, \"reason\": \"REASON\"} if some v in input.vms\n"
	write("placement/pinned.rego", strings.Replace(own, "REASON", "one", 1))

	var logged bytes.Buffer
	cfg := DefaultConfig()
	cfg.Dir = dir
	shipped := bundleOf(map[string]string{
		"placement/p.rego":           everyRule,
		"placement/pinned.rego":      strings.Replace(own, "REASON", "shipped", 1),
		"placement/pinned_test.rego": "package placement.pinned_test\n\ntest_fails if false\n", // goes with what it tests
	})
	s, err := NewService(t.Context(), shipped, cfg, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	v := smallFleet()
	reason := func() string {
		t.Helper()
		d, err := s.Evaluate(t.Context(), v)
		if err != nil || len(d.Pins) == 0 || len(d.Failures) > 0 {
			t.Fatalf("%v, decision %+v", err, d)
		}
		for _, x := range d.Pins {
			if d.Voices[x.By.Voice].Policy == "pinned" {
				return d.Why(x.By).Reason
			}
		}
		return ""
	}
	reload := func(wantChanged bool, wantErr string) {
		t.Helper()
		before := s.Revision()
		changed, err := s.Reload(t.Context())
		if changed != wantChanged || (err == nil) != (wantErr == "") || (err != nil && !strings.Contains(err.Error(), wantErr)) {
			t.Fatalf("changed %v, error %v; want %v, %q", changed, err, wantChanged, wantErr)
		}
		if changed == (before == s.Revision()) {
			t.Fatalf("changed %v, revision %s before and %s after", changed, before, s.Revision())
		}
	}

	if got := reason(); got != "one" {
		t.Fatalf("reason %q", got)
	}
	if got := s.Bundle().Policies; !slices.Equal(got, []string{"p", "pinned"}) {
		t.Errorf("policies %v: the shipped ones should be there still", got)
	}
	reload(false, "")

	write("placement/pinned.rego", strings.Replace(own, "REASON", "two", 1))
	reload(true, "")
	if got := reason(); got != "two" {
		t.Errorf("reason %q after an edit", got)
	}

	write("placement/pinned.rego", strings.Replace(own, "v.id", "v.idd", 1))
	reload(false, filepath.Join(dir, "placement/pinned.rego")+":6:21: undefined ref: v.idd")
	if got := reason(); got != "two" {
		t.Errorf("reason %q after a broken edit: the last good revision should serve", got)
	}
	if s.LastError() == nil || !strings.Contains(logged.String(), "pinned.rego:6:21") {
		t.Errorf("last error %v; logged %s", s.LastError(), logged.String())
	}
	reload(false, "") // said once
	if s.LastError() == nil {
		t.Error("the error is forgotten while the file is still broken")
	}

	write("placement/pinned.rego", strings.Replace(own, "REASON", "two", 1))
	reload(false, "") // what serves is what is there again
	if s.LastError() != nil {
		t.Errorf("last error %v after the repair", s.LastError())
	}

	write("placement/pinned_test.rego", "package placement.pinned_test\n\nimport data.placement.pinned\n\ntest_nothing if count(pinned.pin) == 0 with input as {\"vms\": [{\"id\": \"v\"}]}\n")
	write("placement/pinned.rego", strings.Replace(own, "REASON", "three", 1))
	reload(false, "pinned_test.rego:5:17: test test_nothing failed")
	if err := os.Remove(filepath.Join(dir, "placement/pinned_test.rego")); err != nil {
		t.Fatal(err)
	}
	reload(true, "")
	if got := reason(); got != "three" {
		t.Errorf("reason %q", got)
	}

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	reload(false, "open policy directory")
	if got := reason(); got != "three" {
		t.Errorf("reason %q without a directory", got)
	}
}

func TestShippedAloneNeverReloads(t *testing.T) {
	s, err := NewService(t.Context(), rego.FS, DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Reload(t.Context()); changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
}

func TestParamsOverride(t *testing.T) {
	v := smallFleet()
	evacuations := func(params map[string]map[string]any) int {
		cfg := DefaultConfig()
		cfg.Params = params
		b, err := Load(t.Context(), rego.FS, cfg)
		if err != nil {
			t.Fatal(err)
		}
		d := mustEvaluate(t, b, v)
		n := 0
		for _, x := range d.Evacuations {
			if d.Voices[x.By.Voice].Policy == "hurricane" {
				n++
			}
		}
		return n
	}
	if n := evacuations(nil); n != 1 {
		t.Errorf("%d evacuations", n)
	}
	if n := evacuations(map[string]map[string]any{"hurricane": {"lead_s": 3600}}); n != 0 {
		t.Errorf("%d evacuations with a short lead", n)
	}
	if n := evacuations(map[string]map[string]any{"hurricane": {"severities": []any{"minor", "extreme"}}}); n != 2 {
		t.Errorf("%d evacuations with minor hazards", n)
	}
}
