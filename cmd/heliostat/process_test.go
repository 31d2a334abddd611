package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"heliostat/engine"
	"heliostat/lab"
	"heliostat/web"
)

// patience is how long a test waits for something that should come soon: far
// longer than it takes, since the machine may be busy.
const patience = 90 * time.Second

// endsWithin is how soon a process must have ended after it was told to: far longer
// than it takes, and sooner than what it waits for would end by itself.
const endsWithin = 30 * time.Second

// A process is this binary, run as the program itself.
type process struct {
	cmd      *exec.Cmd
	out, log output // standard output and error
	ended    chan struct{}
	code     int // once ended
}

// output is what a process has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// find waits for a match and returns its first group.
func (o *output) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var m []string
	eventually(t, "output "+pattern, func() bool {
		m = re.FindStringSubmatch(o.String())
		return m != nil
	})
	return m[len(m)-1]
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// start starts a process, which is killed at the end of the test if need be.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe, args...), ended: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), "HELIOSTAT_TEST_MAIN=heliostat"), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := p.cmd.Wait(); err != nil {
			p.code = -1
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				p.code = e.ExitCode()
			}
		}
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		if log := p.log.String(); t.Failed() && log != "" {
			t.Logf("heliostat %s:\n%s", strings.Join(args, " "), tail(log))
		}
	})
	return p
}

// tail is the end of a long text.
func tail(s string) string {
	const most = 6000
	if len(s) > most {
		return "..." + s[len(s)-most:]
	}
	return s
}

// interrupt is Ctrl-C: the process must end well, and soon.
func (p *process) interrupt(t *testing.T) {
	t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("runs on after an interrupt: %v", p.cmd.Args[1:])
	}
	if took := time.Since(began); took > endsWithin || p.code != exitOK {
		t.Errorf("ended with %d, %v after an interrupt: %v", p.code, took, p.cmd.Args[1:])
	}
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// heliostat runs a command to its end.
func heliostat(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, nil, args...)
	limit := patience
	if args[0] == "demo" {
		limit *= 6 // it computes
	}
	select {
	case <-p.ended:
	case <-time.After(limit):
		t.Fatalf("heliostat %v does not end", args)
	}
	return p.out.String(), p.log.String(), p.code
}

// must runs a command that is to succeed, and returns its standard output.
func must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := heliostat(t, args...)
	if code != exitOK {
		t.Fatalf("heliostat %v: exit %d: %s", args, code, stderr)
	}
	return stdout
}

// A rig is a lab in one process and a daemon in another.
type rig struct {
	dir       string // as --write-config wrote it
	config    string
	lab       *process
	endpoints []lab.Endpoint
	control   string // where the lab's faults are ended, if --control is given
	daemon    *process
	web       string // its URL
}

// startLab starts a lab and has it write a configuration.
func startLab(t *testing.T, flags ...string) *rig {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lab")
	r := &rig{dir: dir, config: filepath.Join(dir, "heliostat.yaml")}
	r.lab = start(t, nil, append([]string{"lab", "--listen", "127.0.0.1:0", "--write-config", dir, "--json"}, flags...)...)
	r.lab.out.find(t, `(?m)^}$`)
	var said struct {
		VCenters []lab.Endpoint `json:"vcenters"`
		Config   string         `json:"config"`
		Control  string         `json:"control"`
	}
	if err := json.Unmarshal([]byte(r.lab.out.String()), &said); err != nil || said.Config != r.config {
		t.Fatalf("the lab says %s: %v", r.lab.out.String(), err)
	}
	r.endpoints, r.control = said.VCenters, said.Control
	r.edit(t, "every: 10s", "every: 1s")
	return r
}

// edit replaces texts in the configuration, given in pairs.
func (r *rig) edit(t *testing.T, pairs ...string) {
	t.Helper()
	b, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("no %q in the configuration", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	write(t, r.config, text)
}

// quiet turns the shipped policies off except those named, so that only what the
// test is about happens.
func (r *rig) quiet(t *testing.T, keep ...string) {
	t.Helper()
	b, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	_, modes, _ := strings.Cut(string(b), "  modes:\n")
	modes, _, _ = strings.Cut(modes, "  weights:")
	off := modes
	for line := range strings.Lines(modes) {
		name, mode, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if !slices.Contains(keep, name) {
			off = strings.Replace(off, line, strings.Replace(line, mode, "off", 1), 1)
		}
	}
	r.edit(t, modes, off)
}

// write replaces a file as an editor does: beside it, then over it.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// run starts the daemon and waits for its first cycle.
func (r *rig) run(t *testing.T, env ...string) {
	t.Helper()
	r.daemon = start(t, env, "run", "--config", r.config)
	r.web = "http://" + r.daemon.log.find(t, `msg="web server listens" addr=(\S+)`)
	r.daemon.log.find(t, `msg="cycle ends"`)
}

// ask runs a command against the daemon.
func (r *rig) ask(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, append(args, "--config", r.config)...)
}

// client speaks to the running daemon from this process: tests look often, and a command
// for each look takes longer than all that is looked at.
func (r *rig) client(t *testing.T) (*web.Client, error) {
	t.Helper()
	return web.Dial(t.Context(), filepath.Join(r.dir, "run", "heliostat.sock"))
}

func (r *rig) status(t *testing.T) *web.Status {
	t.Helper()
	c, err := r.client(t)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// journal lists the entries of a kind, from the running daemon or the files of one that
// has ended.
func (r *rig) journal(t *testing.T, kind engine.EntryKind) []engine.Entry {
	t.Helper()
	var out []engine.Entry
	if c, err := r.client(t); err == nil {
		for e, err := range c.Entries(t.Context(), 1) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == kind {
				out = append(out, e)
			}
		}
		return out
	}
	dec := json.NewDecoder(strings.NewReader(r.ask(t, "journal", "ls", "--json", "--kind", string(kind))))
	for dec.More() {
		var e engine.Entry
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// ended lists the actions that are over.
func (r *rig) ended(t *testing.T) []engine.ActionRecord { return r.entriesOf(t, engine.EntryEnded, "") }

// entriesOf lists the entries of a kind about one VM, or about all when vm is "".
func (r *rig) entriesOf(t *testing.T, kind engine.EntryKind, vm string) []engine.ActionRecord {
	t.Helper()
	var out []engine.ActionRecord
	for _, e := range r.journal(t, kind) {
		var rec engine.ActionRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			t.Fatalf("entry %d: %v", e.Seq, err)
		}
		if vm == "" || rec.Action.Name == vm {
			out = append(out, rec)
		}
	}
	return out
}
