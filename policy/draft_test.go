package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"heliostat/rego"
)

// draftOf writes the files to a folder and reads it over a bundle without policies.
func draftOf(t *testing.T, files map[string]string) (*Draft, string) {
	t.Helper()
	dir := t.TempDir()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o600}
	}
	if err := os.CopyFS(dir, fsys); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDraft(bundleOf(nil), dir)
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}

// Each lint finds what it is for, at its place, and nothing in what is well written.
func TestLints(t *testing.T) {
	pin := func(body string) string {
		return ruleOf("cluster", "pin contains {\"vm\": vm.id, \"reason\": \"r\"} if {\n\tsome vm in input.vms\n\t"+body+"\n}\n")
	}
	for _, c := range []struct {
		lint, module string
		line         int // 0: not found
	}{
		{"quadratic-head", pin("size[vm.id] > 1") + "\nsize[id] := n if {\n\tsome vm in input.vms\n\tid := vm.id\n\tn := vm.vcpus\n}\n", 13},
		{"quadratic-head", pin("vms_of[vm.host][_] == vm.id") + "\nvms_of[h] contains id if {\n\tsome vm in input.vms\n\th := vm.host\n\tid := vm.id\n}\n", 13},
		{"quadratic-head", pin("size[vm.id] > 1") + "\nsize[vm.id] := vm.vcpus if some vm in input.vms\n", 13},
		{"quadratic-head", pin("size[vm.id] > 1") + "\nsize := {vm.id: vm.vcpus | some vm in input.vms}\n", 0},
		{"sprintf-in-decision", pin("sprintf(\"%v\", [vm.name]) == \"x\""), 9},
		{"sprintf-in-decision", pin("print(sprintf(\"%v\", [vm.name]))"), 9},
		{"walk-over-input", pin("walk(input.vms, [_, vm.name])"), 9},
		{"walk-over-input", pin("walk(vm.tags, [_, \"x\"])"), 0},
		{"shadowing-name", pin("count(vm) > 1") + "\ncount(x) := 2 if x.vcpus > 1\n", 13},
		{"shadowing-name", pin("drain(vm)") + "\ndrain(x) if x.vcpus > 1\n", 13},
		{"similar-name", pin("vm.vcpus > 1") + "\ndrian contains {\"host\": h.id} if some h in input.hosts\n", 13},
		{"similar-name", pin("vm.vcpus > 1") + "\ndenied contains {\"vm\": vm.id} if some vm in input.vms\n", 13},
		{"similar-name", pin("vm.id in pins") + "\npins := {vm.id | some vm in input.vms}\n", 0},
		{"tag-without-default", strings.Replace(pin("vm.tags.tier == \"db\""), "pin contains {", "allow_sites contains {\"sites\": [], ", 1), 9},
		{"tag-without-default", strings.Replace(pin("not vm.tags.tier"), "pin contains {", "allow_sites contains {\"sites\": [], ", 1), 0},
		{"tag-without-default", strings.Replace(pin("object.get(vm.tags, \"tier\", \"\") == \"db\""), "pin contains {", "allow_sites contains {\"sites\": [], ", 1), 0},
		{"tag-without-default", strings.Replace(pin("# heliostat ignore:tag-without-default\n\tvm.tags.tier == \"db\""), "pin contains {", "allow_sites contains {\"sites\": [], ", 1), 0},
		{"untested-rule", pin("vm.vcpus > 1"), 7},
		{"undefined-rule", pin("not data.placement.p.pinn"), 9},
		{"undefined-rule", pin("vm.id in data.placement.q.pin"), 9},
		{"undefined-rule", strings.Replace(pin("others.big[vm.id]"), "\n\n", "\n\nimport data.placement.others\n\n", 1), 11},
		{"undefined-rule", pin("some p\n\tdata.placement[p].x\n\tdata.placement.p.sizes.big > vm.vcpus") + "\nsizes := {\"big\": 4}\n", 0},
		{"test-among-policies", pin("vm.vcpus > 1") + "\ntest_pin if count(pin) == 0\n", 13},
		{"null-less-than", strings.ReplaceAll(pin("vm.vcpus > 1\n\tsome h in input.hosts\n\th.cpu_pct < 20"), "@", ""), 11},
		{"null-less-than", pin("some h in input.hosts\n\t20 >= h.cpu_pct"), 10},
		{"null-less-than", pin("some h in input.hosts\n\tis_number(h.cpu_pct)\n\th.cpu_pct < 20"), 0},
		{"null-less-than", pin("some h in input.hosts\n\th.usable\n\th.cpu_pct < 20"), 0},
		{"null-less-than", pin("some h in input.hosts\n\th.cpu_pct > 20"), 0},
	} {
		d, dir := draftOf(t, map[string]string{"placement/p.rego": c.module})
		var at []int
		for _, f := range d.Lint(t.Context()) {
			if f.Lint == "" {
				t.Fatalf("%s: does not compile: %v\n%s", c.lint, f, c.module)
			}
			if f.Lint == c.lint {
				at = append(at, f.Line)
				if f.File != filepath.Join(dir, "placement/p.rego") || f.Text != strings.Split(c.module, "\n")[f.Line-1] || f.Advice == "" {
					t.Errorf("%s: file, line and advice are %+v", c.lint, f)
				}
			}
		}
		var want []int
		if c.line != 0 {
			want = []int{c.line}
		}
		if !slices.Equal(at, want) {
			t.Errorf("%s found at lines %v, want %v, in\n%s", c.lint, at, want, c.module)
		}
	}
}

// Every lint has a case above that finds it, and the shipped policies have none.
func TestShippedPoliciesHaveNoLint(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, rego.FS); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDraft(fstest.MapFS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if found := d.Lint(t.Context()); len(found) > 0 {
		t.Error(found)
	}
}

// What check says of a fault: its place, its line and what to write instead.
func TestDraftCheck(t *testing.T) {
	d, dir := draftOf(t, map[string]string{
		"placement/p.rego": ruleOf("cluster", "pin contains {\"vm\": v.idd, \"reason\": \"r\"} if some v in input.vms"),
	})
	faults := d.Check(t.Context())
	if len(faults) != 1 {
		t.Fatalf("faults: %v", faults)
	}
	f := faults[0]
	if f.File != filepath.Join(dir, "placement/p.rego") || f.Line != 7 || !strings.HasPrefix(f.Text, "pin contains") || f.Advice != "is id meant?" {
		t.Errorf("fault %+v", f)
	}
}

// Tests and coverage are those of the author's own policies.
func TestDraftTest(t *testing.T) {
	d, _ := draftOf(t, map[string]string{
		"placement/p.rego":      ruleOf("cluster", "pin contains {\"vm\": v.id, \"reason\": \"r\"} if some v in input.vms") + "\nother if data.fleet.now > 5\n",
		"placement/p_test.rego": "package placement.p_test\n\nimport data.placement.p\n\ntest_one if count(p.pin) == 1 with input as {\"vms\": [{\"id\": \"a\"}]}\n\ntest_two if count(p.pin) == 2 with input as {\"vms\": [{\"id\": \"a\"}]}\n",
	})
	report, err := d.Test(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 2 || report.Coverage >= 100 || report.Coverage <= 0 || len(report.Missed) != 1 {
		t.Errorf("report %+v", report)
	}
	if faults := d.Point(report.Err()); len(faults) != 1 || !strings.Contains(faults[0].Text, "test_two") {
		t.Errorf("faults %+v", faults)
	}
	if one, err := d.Test(t.Context(), "one$"); err != nil || len(one.Results) != 1 || one.Err() != nil {
		t.Errorf("of one test: %+v, %v", one, err)
	}
}

// The schema of what rules say comes from what reads it.
func TestOutputSchema(t *testing.T) {
	raw, err := OutputSchema()
	if err != nil {
		t.Fatal(err)
	}
	defs, _ := mustJSON(raw).(map[string]any)["$defs"].(map[string]any)
	if len(defs) != len(contract) {
		t.Errorf("%d rules, want %d", len(defs), len(contract))
	}
	for name, item := range map[string]map[string]any{
		"drain":       {"host": "h", "then": "standby", "reason": "r"},
		"freeze":      {"kind": "fleet", "until": nil, "reason": "r"},
		"near":        {"vm": "v", "group": "g", "max_rtt_ms": 5, "reason": "r"},
		"allow_sites": {"vm": "v", "sites": []any{"s"}, "reason": "r"},
	} {
		if wrong, err := mismatches(t.Context(), item, defs[name]); err != nil || len(wrong) > 0 {
			t.Errorf("%s: %v, %v", name, wrong, err)
		}
		delete(item, "reason")
		if wrong, err := mismatches(t.Context(), item, defs[name]); err != nil || len(wrong) == 0 {
			t.Errorf("%s without a reason passes: %v", name, err)
		}
	}
}

func TestDraftOfNothing(t *testing.T) {
	if _, err := ReadDraft(rego.FS, t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no policies") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := ReadDraft(rego.FS, filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), fs.ErrNotExist.Error()) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no folder: %v", err)
	}
}

// What is no plain file is neither waited for nor passed over: a link to a folder
// would leave out what it holds, and a pipe has no end.
func TestWhatIsNoPlainFile(t *testing.T) {
	pin := ruleOf("cluster", "pin contains {\"vm\": vm.id, \"reason\": \"r\"} if some vm in input.vms\n")
	for _, c := range []struct {
		name, want string
		put        func(dir string) error
	}{
		{"a link to a folder", "placement/linked: a link to a folder is not followed", func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "team"), 0o700), os.Symlink("../team", filepath.Join(dir, "placement/linked")))
		}},
		{"a link to a folder elsewhere", "facts: a link to a folder is not followed", func(dir string) error { return os.Symlink(t.TempDir(), filepath.Join(dir, "facts")) }},
		{"a link to a file elsewhere", "placement/q.rego: path escapes from parent", func(dir string) error { return os.Symlink("/dev/zero", filepath.Join(dir, "placement/q.rego")) }},
		{"a pipe", "placement/q.rego: is no plain file", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "placement/q.rego"), 0o600) }},
		{"nothing but a comment", "placement/q.rego:1:1: empty module", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "placement/q.rego"), []byte("# soon\n"), 0o600)
		}},
		{"a link to a file of the folder", "", func(dir string) error { return os.Symlink("p.rego", filepath.Join(dir, "placement/.hidden.rego")) }},
		{"a link that leads nowhere", "", func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "placement/gone")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, dir := draftOf(t, map[string]string{"placement/p.rego": pin})
			if err := c.put(dir); err != nil {
				t.Fatal(err)
			}
			d, err := ReadDraft(bundleOf(nil), dir)
			if err != nil {
				t.Fatal(err)
			}
			_, packing := readContents(os.DirFS(dir), dir)
			got := d.Check(t.Context())
			switch {
			case c.want == "" && (len(got) > 0 || packing != nil):
				t.Errorf("got %v and %v", got, packing)
			case c.want != "" && (len(got) != 1 || got[0].Error() != filepath.Join(dir, c.want) || got[0].Advice == ""):
				t.Errorf("got %v with %q, want %s", got, got[0].Advice, c.want)
			}
		})
	}
}

// A deeper package is nobody's policy; a helper that somebody imports is none either.
func TestRulesThatNobodyAsks(t *testing.T) {
	deep := "package placement.team.p\n\ndeny contains {\"code\": \"c\", \"reason\": \"r\"} if input.vm.passthrough\n"
	files := map[string]string{"placement/deep.rego": deep}
	d, _ := draftOf(t, files)
	if got := d.Lint(t.Context()); len(got) != 1 || got[0].Lint != "similar-name" || got[0].Line != 3 {
		t.Errorf("got %v", got)
	}
	files["placement/p.rego"] = ruleOf("move", "deny contains x if some x in data.placement.team.p.deny")
	if d, _ = draftOf(t, files); slices.ContainsFunc(d.Lint(t.Context()), func(f Fault) bool { return f.Lint == "similar-name" }) {
		t.Error("a helper is taken for a rule that nobody asks")
	}
}

// The check says of tests that they do not compile, and of tables that nobody reads them.
func TestCheckOfTheRest(t *testing.T) {
	d, dir := draftOf(t, map[string]string{
		"placement/p.rego":      ruleOf("cluster", "pin contains {\"vm\": vm.id, \"reason\": \"r\"} if some vm in input.vms"),
		"placement/p_test.rego": "package placement.p_test\n\ntest_x if data.placement.p.pin == 5\n",
		"params/data.yaml":      "p: {}\n", "facts/owners.json": "{}", "facts/README.md": "", "schemas/input.json": "{}",
	})
	want := []string{"placement/p_test.rego:3:11: match error", "params/data.yaml: is not read", "facts/owners.json: is not read"}
	got := d.Check(t.Context()).Error()
	for _, w := range want {
		if !strings.Contains(got, filepath.Join(dir, w)) {
			t.Errorf("nothing about %s in:\n%s", w, got)
		}
	}
	if n := len(d.Check(t.Context())); n != len(want) {
		t.Errorf("%d faults:\n%s", n, got)
	}
}

// What is shown of a line fits a terminal, and its mark stands under the place that is meant.
func TestExcerpt(t *testing.T) {
	long := strings.Repeat("\"größe\", ", 60)
	for _, c := range []struct {
		name, module, want string
	}{
		{"not ASCII", "x if {\n\t\"größe\" == \"日本\"; nope(1)\n}\n", "\t\"größe\" == \"日本\"; nope(1)\n\t                 ^\n"},
		{"a long line", "x := [" + long + "nope(1), " + long + "]\n", "…größe\", " + long[:88] + "nope(1), " + long[:11]},
		{"the end of a long line", "x := [" + long + "nope(1)]\n", "nope(1)]\n" + strings.Repeat(" ", 81) + "^\n"},
		{"a line that the parser shows", "x := [" + long + "nope(1) 5]\n", "nope(1) 5]\n" + strings.Repeat(" ", 81)},
		{"what moves the cursor", "x := \"\x1b[2J\x07\u202e\"; y := nope(1)\n", "\"�[2J��\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := draftOf(t, map[string]string{"placement/p.rego": "package placement.p\n\n" + c.module})
			got := d.Check(t.Context())
			if len(got) == 0 || !strings.Contains(got[0].Excerpt(), c.want) || len(got[0].Excerpt()) > 800 || strings.Contains(got[0].Error(), "größe\", \"größe") {
				t.Errorf("got %q of %v, want %q", got[0].Excerpt(), got, c.want)
			}
		})
	}
}
