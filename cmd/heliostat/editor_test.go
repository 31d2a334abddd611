package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/internal/race"
	"heliostat/policy"
	"heliostat/rego"
)

// tool runs one of Rego's own tools in a folder, and skips where it is not there.
func tool(t *testing.T, dir string, args ...string) (out string, err error) {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("%s is not installed: .ci/run builds it", args[0])
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// The policies that ship and those that 'policy new' writes lint clean under the
// configuration that it writes beside them.
func TestRegal(t *testing.T) {
	race.Alone(t)
	t.Parallel()
	dir := t.TempDir()
	for _, rule := range policy.Templates() {
		must(t, "policy", "new", "new_"+rule, "--rule", rule, "--dir", dir)
	}
	shipped := filepath.Join(dir, "shipped")
	if err := os.CopyFS(shipped, rego.FS); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, dir, "regal", "lint", "."); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// opa checks policies as the daemon does, with the files that 'policy schema' writes.
func TestOPACheck(t *testing.T) {
	race.Alone(t)
	t.Parallel()
	dir := t.TempDir()
	for _, rule := range policy.Templates() {
		must(t, "policy", "new", "new_"+rule, "--rule", rule, "--dir", dir)
	}
	must(t, "policy", "schema", "--out", dir)
	must(t, "policy", "check", dir)
	check := func(what string) (string, error) {
		return tool(t, dir, "opa", "check", "--strict", "--schema", "schemas", "--capabilities", "capabilities.json", what)
	}
	if out, err := check("placement"); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if err := os.CopyFS(filepath.Join(dir, "shipped"), rego.FS); err != nil {
		t.Fatal(err)
	}
	if out, err := check("shipped"); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	for what, text := range map[string]string{
		"undefined ref: input.cluster.nam": "said if input.cluster.nam == \"x\"\n",
		"undefined function http.send":     "said if http.send({\"url\": \"http://x\"})\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "placement/wrong.rego"), []byte("package placement.wrong\n\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := check("placement"); err == nil || !strings.Contains(out, what) {
			t.Errorf("%s passes: %s", text, out)
		}
	}
}
