package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"heliostat/internal/race"
)

// The tutorial of the policy author's guide: its section, and what a step may take.
const (
	guideFile  = "../../docs/policies.md"
	guideTitle = "\n## Fifteen minutes\n"
	guideStep  = time.Minute
)

// TestGuide runs every command of the tutorial in an empty folder, by one shell, and
// holds what is printed against what the guide shows. A line "..." there stands for
// any number of lines. With -update the guide is given what was printed.
func TestGuide(t *testing.T) {
	if testing.Short() || race.Enabled {
		t.Skip("computes two hours and runs a lab")
	}
	t.Parallel()
	text, err := os.ReadFile(guideFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), guideTitle)
	if !ok {
		t.Fatalf("%s has no section%s", guideFile, guideTitle)
	}
	section, after, _ := strings.Cut(rest, "\n## ")
	sh := newShell(t)
	var out strings.Builder
	live, block := false, false
	lines := strings.SplitAfter(section, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out.WriteString(line)
		if strings.HasPrefix(line, "```") {
			block, live = strings.HasPrefix(line, "```console"), strings.Contains(line, "live")
			continue
		}
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ ")
		if !block || !ok {
			continue
		}
		want := ""
		for i+1 < len(lines) && !strings.HasPrefix(lines[i+1], "$ ") && !strings.HasPrefix(lines[i+1], "```") {
			i++
			want += lines[i]
		}
		got := sh.run(command)
		if !shows(masked(want, live), masked(got, live)) {
			t.Errorf("the guide shows another output:\n$ %s\n%s\nprinted:\n%s", command, want, got)
			want = got
		}
		out.WriteString(want)
	}
	if *update && t.Failed() {
		if err := os.WriteFile(guideFile, []byte(before+guideTitle+out.String()+"\n## "+after), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shows reports whether a text is what the guide shows of it.
func shows(want, got string) bool {
	parts := strings.Split(want, "\n...\n")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile(`^(?s)` + strings.Join(parts, `\n(?:.*\n)?`) + `$`).MatchString(got)
}

var (
	moments = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?|in \d+ s\b`)
	digests = regexp.MustCompile(`\b[0-9a-f]{8,64}\b`)
	numbers = regexp.MustCompile(`[-+]?\d[\d.]*`)
	spaces  = regexp.MustCompile(` +`)
)

// masked is a text without what differs from run to run; where a daemon lives by
// the clock, without any number.
func masked(s string, live bool) string {
	s = digests.ReplaceAllString(moments.ReplaceAllString(s, "TIME"), "DIGEST")
	if live {
		s = spaces.ReplaceAllString(numbers.ReplaceAllString(s, "N"), " ")
	}
	return "\n" + s
}

// A shell runs commands one after another.
type shell struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Scanner
	file string // what the last command printed
	kill func() // the shell and all that it has started
}

func newShell(t *testing.T) *shell {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash: ", err)
	}
	bin, dir := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "heliostat")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bash, "--norc")
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setpgid: true} // what it starts ends with it
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HELIOSTAT_TEST_MAIN=heliostat", "LC_ALL=C")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, in: in, out: bufio.NewScanner(out), file: filepath.Join(bin, "printed"), kill: func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }}
	t.Cleanup(func() {
		s.kill()
		_ = cmd.Wait()
	})
	return s
}

func (s *shell) run(command string) string {
	s.t.Helper()
	timer := time.AfterFunc(guideStep, s.kill)
	defer timer.Stop()
	if _, err := fmt.Fprintf(s.in, "{ %s\n} > %s 2>&1\necho ended\n", command, s.file); err != nil {
		s.t.Fatal(err)
	}
	if !s.out.Scan() {
		s.t.Fatalf("no end, or none within %v, of: %s", guideStep, command)
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
