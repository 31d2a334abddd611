package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
)

// daemon is a fake of what stands behind the handlers. It notes orders.
type daemon struct {
	Board
	orders  []string
	refusal error
	entries []engine.Entry
	failAt  int // Entries and Copy fail after so many entries; 0: never
}

func (d *daemon) order(s string) error {
	if d.refusal == nil {
		d.orders = append(d.orders, s)
	}
	return d.refusal
}

func (d *daemon) Pause(_ context.Context, who, reason string) error {
	return d.order("pause " + who + " " + reason)
}
func (d *daemon) Resume(_ context.Context, who string) error { return d.order("resume " + who) }
func (d *daemon) Release(_ context.Context, kind, name, who, reason string) error {
	return d.order("release " + kind + " " + name + " " + who + " " + reason)
}

func (d *daemon) ApprovePolicies(_ context.Context, revision, who string) error {
	return d.order("approve policies " + revision + " " + who)
}

func (d *daemon) RollBackPolicies(_ context.Context, revision, who string) error {
	return d.order("roll back policies to " + revision + " " + who)
}

func (d *daemon) ResumePolicies(_ context.Context, who string) error {
	return d.order("resume policies " + who)
}

func (d *daemon) Approve(_ context.Context, hash string, _ int, who string) error {
	return d.order("approve " + hash + " " + who)
}

func (d *daemon) Reject(_ context.Context, hash, who, reason string) error {
	return d.order("reject " + hash + " " + who + " " + reason)
}

func (d *daemon) Evacuate(_ context.Context, site string, by time.Time, who, reason string) error {
	return d.order(fmt.Sprintf("evacuate %s by %d %s %s", site, by.Unix(), who, reason))
}

func (d *daemon) CancelEvacuation(_ context.Context, site, who, reason string) error {
	return d.order("cancel evacuation " + site + " " + who + " " + reason)
}

func (d *daemon) Drill(_ context.Context, site string, by time.Time, who string, look bool) (engine.Certificate, error) {
	return engine.Certificate{Name: site, VMs: 7}, d.order(fmt.Sprintf("drill %s by %d %s %t", site, by.Unix(), who, look))
}
func (d *daemon) Poke(reason string) { _ = d.order("poke " + reason) }

func (d *daemon) Entries(from uint64) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		for i, e := range d.entries {
			if d.failAt > 0 && i == d.failAt {
				yield(engine.Entry{}, errors.New("damaged"))
				return
			}
			if e.Seq >= from && !yield(e, nil) {
				return
			}
		}
	}
}

func (d *daemon) Copy(w io.Writer) error {
	if _, err := io.WriteString(w, "the file"); err != nil {
		return err
	}
	if d.failAt > 0 {
		return errors.New("damaged")
	}
	return nil
}

func (d *daemon) Get(digest string) ([]byte, error) {
	switch digest {
	case engine.DigestBytes([]byte("blob")), engine.DigestBytes([]byte("another")):
		return []byte("blob"), nil
	}
	return nil, fs.ErrNotExist
}

// serve runs handler on ln until the test ends, and sees that it ends cleanly.
func serve(t *testing.T, ln net.Listener, handler http.Handler) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, ln, handler, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// runDir is a directory of mode 0700 with a name short enough for a socket.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "heliostat") //nolint:usetesting // t.TempDir is open to others, and may be too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func control(t *testing.T, d *daemon) *Client {
	t.Helper()
	path := filepath.Join(runDir(t), "run", "heliostat.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, NewControl(d, d, d))
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Skip("no name for this account: ", err)
	}
	return u.Username
}

func TestOrdersCarryWhoGaveThem(t *testing.T) {
	d := &daemon{}
	c, who := control(t, d), me(t)
	for _, err := range []error{
		c.Pause(t.Context(), "smoke in hall 2"), c.Resume(t.Context()), c.Approve(t.Context(), "abcdef", 0),
		c.Reject(t.Context(), "abcdef", "not today"), c.Poke(t.Context()), c.Release(t.Context(), "vm", "db1", "seen"),
		c.Evacuate(t.Context(), "hou", 1_800_000_000, "storm"), c.CancelEvacuation(t.Context(), "hou", "gone"),
		c.ApprovePolicies(t.Context(), "ab12"), c.RollBackPolicies(t.Context(), "cd34"), c.ResumePolicies(t.Context()),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"pause " + who + " smoke in hall 2", "resume " + who, "approve abcdef " + who,
		"reject abcdef " + who + " not today", "poke asked for by " + who, "release vm db1 " + who + " seen",
		"evacuate hou by 1800000000 " + who + " storm", "cancel evacuation hou " + who + " gone",
		"approve policies ab12 " + who, "roll back policies to cd34 " + who, "resume policies " + who,
	}
	if x, err := c.Drill(t.Context(), "hou", 1_800_000_000, true); err != nil || x.Name != "hou" || x.VMs != 7 {
		t.Errorf("drill: %+v, %v", x, err)
	}
	want = append(want, "drill hou by 1800000000 "+who+" true")
	if got := strings.Join(d.orders, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("orders:\n%s", got)
	}
}

func TestRefusedOrdersSayWhy(t *testing.T) {
	d := &daemon{refusal: errors.New("no such plan waits for approval")}
	c := control(t, d)
	if err := c.Approve(t.Context(), "abcdef", 0); err == nil || !strings.Contains(err.Error(), d.refusal.Error()) {
		t.Errorf("approve: %v", err)
	}
	if err := c.Pause(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "needs a reason") {
		t.Errorf("pause without a reason: %v", err)
	}
	if err := c.Pause(t.Context(), strings.Repeat("x", maxReason+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a long reason: %v", err)
	}
	if err := c.order(t.Context(), "/v1/nothing", order{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an unknown order: %v", err)
	}
}

// An order that comes any other way than through the socket is nobody's.
func TestOrdersWithoutAPeerAreRefused(t *testing.T) {
	d := &daemon{}
	h := NewControl(d, d, d)
	for _, path := range []string{"pause", "resume", "approve", "reject", "evacuate", "evacuate/cancel", "drill", "poke"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/"+path, strings.NewReader(`{"reason":"x","hash":"abcdef"}`)))
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if len(d.orders) > 0 {
		t.Errorf("carried out: %v", d.orders)
	}
}

func TestMalformedOrdersAreRefused(t *testing.T) {
	d := &daemon{}
	h := NewControl(d, d, d)
	for _, body := range []string{"", "{", `{"reason":1}`, `{"reasons":"x"}`, `{"reason":"` + strings.Repeat("x", 65<<10) + `"}`} {
		r := httptest.NewRequest(http.MethodPost, "/v1/pause", strings.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, "alice")))
		if w.Code != http.StatusBadRequest {
			t.Errorf("%.20q: %d", body, w.Code)
		}
	}
	if len(d.orders) > 0 {
		t.Errorf("carried out: %v", d.orders)
	}
}

func TestClientReadsStatusAndJournal(t *testing.T) {
	d := &daemon{}
	deg := 12.5
	d.Show(&Status{Version: "1", Cycle: 7, Sites: []SiteStatus{{Site: "tokyo", SunDeg: &deg}}, Paused: &engine.OperatorRecord{Who: "alice"}})
	for seq := range uint64(5) {
		d.entries = append(d.entries, engine.Entry{Seq: seq + 1, Kind: engine.EntryCycle, Data: []byte(`{"note":"<&>"}`)})
	}
	c := control(t, d)
	s, err := c.Status(t.Context())
	if err != nil || s.Cycle != 7 || s.Paused.Who != "alice" || *s.Sites[0].SunDeg != 12.5 {
		t.Errorf("%+v, %v", s, err)
	}
	var got []uint64
	for e, err := range c.Entries(t.Context(), 3) {
		if err != nil || string(e.Data) != `{"note":"<&>"}` {
			t.Fatalf("entry %d: %s, %v", e.Seq, e.Data, err)
		}
		got = append(got, e.Seq)
	}
	if len(got) != 3 || got[0] != 3 {
		t.Errorf("entries %v", got)
	}
	for range c.Entries(t.Context(), 1) {
		break // a reader that stops early leaves nothing open
	}
	var file strings.Builder
	if err := c.Copy(t.Context(), &file); err != nil || file.String() != "the file" {
		t.Errorf("copy: %q, %v", file.String(), err)
	}
	if b, err := c.Get(t.Context(), engine.DigestBytes([]byte("blob"))); err != nil || string(b) != "blob" {
		t.Errorf("blob: %q, %v", b, err)
	}
	if _, err := c.Get(t.Context(), engine.DigestBytes([]byte("another"))); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("a blob with the wrong content: %v", err)
	}
	if _, err := c.Get(t.Context(), strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing blob: %v", err)
	}
}

// A part is never taken for the whole.
func TestBrokenAnswersAreCut(t *testing.T) {
	d := &daemon{failAt: 2, entries: make([]engine.Entry, 5)}
	c := control(t, d)
	var last error
	for _, err := range c.Entries(t.Context(), 0) {
		last = err
	}
	if last == nil {
		t.Error("the journal ended as if it were whole")
	}
	if err := c.Copy(t.Context(), io.Discard); err == nil {
		t.Error("the copy ended as if it were whole")
	}
}

func TestSocket(t *testing.T) {
	dir := runDir(t)
	path := filepath.Join(dir, "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("while a daemon listens: %v", err)
	}
	// A daemon that was killed leaves its socket.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), path) {
		t.Errorf("dial a dead socket: %v", err)
	}
	ln, err = Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), "no socket at "+path) {
		t.Errorf("dial no socket: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("in the place of a file: %v", err)
	}
	for mode, want := range map[os.FileMode]os.FileMode{0o700: 0o600, 0o710: 0o660, 0o711: 0, 0o750: 0, 0o755: 0} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprintf("%o", mode))
		ln, err := Listen(path)
		if want == 0 {
			if err == nil || !strings.Contains(err.Error(), "chmod 0700 "+dir) {
				t.Errorf("in a directory of mode %o: %v", mode, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("in a directory of mode %o: %v, %v", mode, info, err)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%s: headers %v", path, w.Header())
	}
	return w.Code, w.Body.String()
}

func TestReady(t *testing.T) {
	now := time.Date(2026, 9, 1, 6, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		s    Status
		want string // part of the reason; "" for ready
	}{
		"before the first":      {Status{}, "no cycle has been completed yet"},
		"first failed":          {Status{Cycle: 1, Error: "no vCenter answers"}, "no vCenter answers"},
		"after the first":       {Status{Good: now.Add(-time.Second), Next: now.Add(time.Minute)}, ""},
		"paused":                {Status{Good: now, Next: now.Add(time.Minute), Paused: &engine.OperatorRecord{}}, ""},
		"one failure":           {Status{Good: now.Add(-2 * time.Minute), Next: now, Error: "x"}, ""},
		"failing for long":      {Status{Good: now.Add(-time.Hour), Next: now, Error: "no vCenter answers"}, "for 1h0m0s: no vCenter answers"},
		"once a day":            {Status{Good: now.Add(-20 * time.Hour), Next: now.Add(4 * time.Hour)}, ""},
		"stuck":                 {Status{Good: now.Add(-time.Hour), Next: now.Add(-59 * time.Minute)}, "due at 2026-09-01T05:01:00Z"},
		"a little late is fine": {Status{Good: now.Add(-time.Hour), Next: now.Add(-Fresh)}, ""},
	} {
		got := ready(&c.s, now)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPublicHandler(t *testing.T) {
	d := &daemon{}
	m := NewMetrics("1.2.3")
	var alerted string
	h := NewHandler(d, m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		alerted = string(b)
	}))
	if code, body := get(t, h, "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %s", code, body)
	}
	if code, body := get(t, h, "/readyz"); code != 503 || !strings.Contains(body, "no cycle") {
		t.Errorf("readyz: %d %s", code, body)
	}
	d.Show(&Status{Good: time.Now()})
	if code, body := get(t, h, "/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
	d.Beat()
	if code, _ := get(t, h, "/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if wrong := alive(d, time.Now().Add(2*Stuck)); !strings.Contains(wrong, "silent") {
		t.Errorf("a stuck loop is alive: %q", wrong)
	}
	if code, body := get(t, h, "/metrics"); code != 200 || !strings.Contains(body, `heliostat_build_info{goversion="go`) {
		t.Errorf("metrics: %d", code)
	}
	for _, path := range []string{"/alerts", "/v1/status", "/debug/pprof/"} {
		if code, _ := get(t, h, path); code != 404 && code != 405 {
			t.Errorf("%s: %d", path, code)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/alerts", strings.NewReader("{}")))
	if w.Code != 200 || alerted != "{}" {
		t.Errorf("alerts: %d %q", w.Code, alerted)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/alerts", strings.NewReader(strings.Repeat("x", maxBody+1))))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body without end: %d", w.Code)
	}
	w = httptest.NewRecorder()
	NewHandler(d, m, nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/alerts", nil))
	if w.Code != 404 {
		t.Errorf("alerts that nobody takes: %d", w.Code)
	}
}
