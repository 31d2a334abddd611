package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/rego"
)

// Every template is a policy that is sound, formatted, tested and without lint
// from its first second on; all of them together are one bundle.
func TestTemplates(t *testing.T) {
	dir := t.TempDir()
	for _, rule := range Templates() {
		if _, err := New(dir, "my_"+rule, rule); err != nil {
			t.Fatal(err)
		}
	}
	d, err := ReadDraft(rego.FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Policies()) != len(Templates()) {
		t.Errorf("policies %v of templates %v", d.Policies(), Templates())
	}
	for _, f := range d.Lint(t.Context()) {
		t.Errorf("%v\n\t%s\n\t%s", f, f.Text, f.Advice)
	}
	report, err := d.Test(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if report.Err() != nil || report.Coverage < 100 {
		t.Errorf("tests: %v; coverage %.1f %%, not run: %v", report.Err(), report.Coverage, report.Missed)
	}
	formatted, err := d.Format()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range formatted {
		t.Errorf("%s should read\n%s", f.Name, f.Text)
	}
}

func TestNewOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(dir, "mine", "pin"); err != nil {
		t.Fatal(err)
	}
	params := filepath.Join(dir, "params", "data.json")
	if err := os.WriteFile(params, []byte(`{"mine": {"app": "kept"}, "other": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir, "mine", "pin"); err == nil || !strings.Contains(err.Error(), "mine.rego") {
		t.Errorf("the same name again: %v", err)
	}
	if _, err := New(dir, "second", "deny"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(params)
	if err != nil || !strings.Contains(string(text), `"kept"`) || !strings.Contains(string(text), `"other": 1`) || !strings.Contains(string(text), `"tier": "db"`) {
		t.Errorf("%s, %v", text, err)
	}
	if err := os.WriteFile(params, []byte("{\"mine\": {},\n \"mine\": {}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir, "again", "deny"); err == nil || !strings.Contains(err.Error(), "data.json:2:2: mine: given twice") {
		t.Errorf("parameters given twice: %v", err)
	}
	for _, name := range []string{"", "Big", "a-b", "../x"} {
		if _, err := New(dir, name, "pin"); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
	if _, err := New(dir, "third", "nothing"); err == nil || !strings.Contains(err.Error(), "site_score") {
		t.Errorf("an unknown rule: %v", err)
	}
}
