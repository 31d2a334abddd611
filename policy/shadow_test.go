package policy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/policy"
	"heliostat/rego"
)

// TestShadowService loads a folder once it can be loaded, and hears its own policies
// as if they were enforced.
func TestShadowService(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "next")
	cfg := policy.DefaultConfig()
	cfg.Modes = map[string]engine.Mode{"dpm": engine.Enforce, "only_in_force": engine.Enforce}
	cfg.Params = map[string]map[string]any{"only_in_force": {"x": 1}}
	cfg.ShadowBundles = []policy.ShadowBundle{{Name: "next", Dir: dir}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s := policy.NewShadow(rego.FS, cfg, cfg.ShadowBundles[0], policy.Options{})
	if err := s.Reload(t.Context()); err == nil {
		t.Fatal("a folder that is not there is loaded")
	}
	if _, err := policy.New(dir, "mine", "pin"); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	mode := func(name string) engine.Mode {
		i := slices.IndexFunc(s.Bundle().Voices, func(v engine.Voice) bool { return v.Policy == name })
		if i < 0 {
			return engine.Off
		}
		return s.Bundle().Voices[i].Mode
	}
	if mode("mine") != engine.Enforce || mode("dpm") != engine.Enforce || mode("spread") != engine.Advise {
		t.Errorf("modes: mine %s, dpm %s, spread %s", mode("mine"), mode("dpm"), mode("spread"))
	}
	before := s.Revision()
	if err := os.WriteFile(filepath.Join(dir, "placement", "mine.rego"), []byte("package placement.mine\nbroken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err != nil || s.Revision() != before {
		t.Errorf("a broken edit: %v, %s serves", err, s.Revision())
	}
}

func TestShadowBundlesAreNamed(t *testing.T) {
	cfg := policy.DefaultConfig()
	cfg.ShadowBundles = []policy.ShadowBundle{{Name: "a:b", Dir: "x"}, {Name: "c"}, {Name: "d", Dir: "x"}, {Name: "d", Dir: "y"}}
	err := cfg.Validate()
	for _, want := range []string{`name "a:b"`, "c: dir is missing", "second bundle named d"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
