package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"heliostat/engine"
	"heliostat/lab"
)

// The canaries: secrets with a core by which they are known however the rest of
// them is quoted, and with characters that every quoting changes.
const (
	canaryReader = `<"canary7f3aR04e&%k`
	canaryMover  = `<"canary91c0M5d2&%q`
	canaryWrong  = `<"canaryc04bW88a&%z`
	canaryToken  = `~canary5d2eT91c~%b`
	canaryForged = `~canary88adF7f3~%y`
)

// coreBytes is how long a core is, from the word canary on.
const coreBytes = 14

// disguises are the forms in which a secret's core could leave.
func disguises(secret string) map[string]string {
	core := secret[strings.Index(secret, "canary"):][:coreBytes]
	out := map[string]string{"plain": core, "hex": hex.EncodeToString([]byte(core)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(core)))}
	// In base64 a text looks different at each of three offsets. The characters at
	// the ends hold bits of their neighbours.
	for i := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64 ": base64.RawStdEncoding, "base64url ": base64.RawURLEncoding} {
			text := enc.EncodeToString([]byte(strings.Repeat("-", i) + core))
			out[name+strconv.Itoa(i)] = text[(i*8+5)/6 : len(text)-1]
		}
	}
	return out
}

// leaks are the secrets found in what came from somewhere.
func leaks(where string, b []byte) (out []string) {
	for _, secret := range []string{canaryReader, canaryMover, canaryWrong, canaryToken, canaryForged} {
		for form, text := range disguises(secret) {
			if bytes.Contains(b, []byte(text)) {
				out = append(out, where+": "+secret+" ("+form+")")
			}
		}
	}
	return out
}

// The search finds a secret in each of its forms, wherever it stands.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	j, err := json.Marshal(canaryMover)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{canaryMover, string(j), strconv.Quote(strconv.Quote(canaryMover)), url.QueryEscape(canaryMover), url.PathEscape(canaryMover), html.EscapeString(canaryMover), fmt.Sprintf("%x", canaryMover), fmt.Sprintf("%X", canaryMover)} {
		if len(leaks("here", []byte("before "+text+" after"))) == 0 {
			t.Errorf("%s is not found", text)
		}
	}
	for _, before := range []string{"", "u", "user:", "mover@lab:"} {
		if len(leaks("here", []byte(base64.StdEncoding.EncodeToString([]byte(before+canaryMover+":after"))))) == 0 {
			t.Errorf("base64 after %q is not found", before)
		}
	}
	if l := leaks("here", []byte("nothing of the kind")); len(l) > 0 {
		t.Errorf("found %v", l)
	}
}

// TestNoSecretLeaves runs the daemon with secrets that can be recognised, lets it
// move a VM across vCenters, provokes each failure that has a secret at hand, and
// then searches all that the daemon wrote or answered.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	r, l := ownLab(t,
		lab.Account{Username: "reader@lab", Password: canaryReader, Role: lab.RoleReader},
		lab.Account{Username: "mover@lab", Password: canaryMover, Role: lab.RoleMover})
	write(t, filepath.Join(r.dir, "alerts.token"), canaryToken+"\n")
	r.withGather(t, "fra-a-web040")
	r.edit(t, "state:\n", "log:\n  level: debug\nstate:\n")
	var seen []string
	look := func(where string, b []byte) { seen = append(seen, leaks(where, b)...) }
	ask := func() {
		for _, path := range []string{"/metrics", "/readyz", "/healthz", "/", "/debug/pprof/goroutine?debug=2", "/status"} {
			_, body := get(t, r.web+path)
			look(path, []byte(body))
		}
		for _, token := range []string{canaryToken, canaryForged, ""} {
			status, body := deliver(t, r.web+"/alerts?token="+url.QueryEscape(token), token, `{"alerts":[]}`)
			if want := map[string]int{canaryToken: http.StatusOK, canaryForged: http.StatusForbidden, "": http.StatusUnauthorized}[token]; status != want {
				t.Errorf("alerts with token %q: %d", token, status)
			}
			look("/alerts", []byte(body))
		}
		for _, args := range [][]string{{"status", "--json"}, {"status"}, {"journal", "ls", "--json"}, {"explain", "vm", "fra-a-web040"}, {"doctor", "--json"}, {"doctor"}, {"check"}, {"version", "--json"}} {
			stdout, stderr, _ := heliostat(t, append(args, "--config", r.config)...)
			look(strings.Join(args, " "), []byte(stdout+stderr))
		}
	}

	// All is well, and the mover's password travels to the other vCenter.
	r.run(t)
	eventually(t, "a move across vCenters ends", func() bool {
		return slices.ContainsFunc(r.ended(t), func(rec engine.ActionRecord) bool { return rec.Action.Across && rec.State == engine.StateSucceeded })
	})
	// Then every other answer gets lost, is late, or is a proxy's page.
	n := 0
	l.SetFaults(func(lab.Call) lab.Fault {
		n++
		return []lab.Fault{{}, {LoseReply: true}, {}, {HTML: true}, {}, {Refuse: http.StatusProxyAuthRequired}, {}, {Truncate: true}}[n%8]
	})
	cycle := r.status(t).Cycle
	eventually(t, "cycles with faults", func() bool { return r.status(t).Cycle > cycle+2 })
	ask()
	l.SetFaults(nil)
	r.daemon.interrupt(t)
	look("log", []byte(r.daemon.log.String()))

	// A wrong password, and a certificate that is not the pinned one; at the end
	// the dump that a crash leaves.
	write(t, filepath.Join(r.dir, "wrong.password"), canaryWrong+"\n")
	r.edit(t, r.endpoints[0].Thumbprint, strings.Repeat("AB:", 31)+"AB")
	b, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(b), "mover.password")
	write(t, r.config, string(b[:at])+"wrong.password"+string(b[at+len("mover.password"):]))
	// The first cycle waits for the vCenter with that certificate: the mover logs in after it.
	r.daemon = start(t, []string{"GOTRACEBACK=all"}, "run", "--config", r.config)
	r.web = "http://" + r.daemon.log.find(t, `msg="web server listens" addr=(\S+)`)
	r.daemon.log.find(t, `not the pinned one`)
	if out, _, _ := heliostat(t, "doctor", "--config", r.config); !strings.Contains(out, "Login failure") {
		t.Errorf("no login with a wrong password failed:\n%s", out)
	}
	ask()
	if err := r.daemon.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-r.daemon.ended
	if dump := r.daemon.log.String(); !strings.Contains(dump, "created by net/http.") {
		t.Error("no dump of goroutines")
	}
	look("log and dump", []byte(r.daemon.log.String()))

	files := r.everyFile(t, look)
	if files < 10 {
		t.Errorf("only %d files in the state folder", files)
	}
	for _, s := range seen {
		t.Error(s)
	}
}

// deliver posts to the intake with a bearer token.
func deliver(t *testing.T, to, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

// everyFile shows look the journal and every value in the state folder, unpacked,
// and says how many files there were.
func (r *rig) everyFile(t *testing.T, look func(string, []byte)) (n int) {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	err = filepath.WalkDir(filepath.Join(r.dir, "state"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		n++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		look(path, b)
		if filepath.Ext(path) == ".zst" {
			if b, err = dec.DecodeAll(b, nil); err != nil {
				return err
			}
			look(path, b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
