package alerts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heliostat/collectors/alerts"
	"heliostat/engine"
)

// book is a sink and a book in memory.
type book struct {
	saved []engine.Alert
	calls int
	err   error
}

func (b *book) SaveAlert(_ context.Context, a engine.Alert) (bool, error) {
	b.calls++
	if b.err != nil {
		return false, b.err
	}
	for _, x := range b.saved {
		if x.Fingerprint == a.Fingerprint && x.StartsAt == a.StartsAt && x.Status == a.Status {
			return false, nil
		}
	}
	b.saved = append(b.saved, a)
	return true, nil
}

func (b *book) Alerts(time.Time) ([]engine.Alert, error) { return b.saved, b.err }

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func intake(t *testing.T, b *book) (*alerts.Intake, *[]string) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := alerts.DefaultConfig()
	c.TokenFile = token
	c.Rules = []alerts.Rule{
		{Match: map[string]string{"alertname": "Cooling*", "severity": "critical"}, Kind: "cooling", SiteLabel: "dc", Sites: map[string]engine.SiteID{"hou1": "houston"}, DeadlineAnnotation: "by", DeadlineAfter: time.Hour},
		{Match: map[string]string{"alertname": "*"}, Kind: "other", Site: "tokyo", DeadlineLabel: "until"},
	}
	for i := range c.Rules {
		c.Rules[i].SetDefaults()
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	var woken []string
	return &alerts.Intake{
		Config: c, Sink: b, Now: func() time.Time { return now }, Wake: func(r string) { woken = append(woken, r) },
		Log: slog.New(slog.DiscardHandler),
	}, &woken
}

func deliver(t *testing.T, h http.Handler, auth, body string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/alerts", strings.NewReader(body))
	r.Header.Set("Authorization", auth)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), "s3cret") || strings.Contains(w.Body.String(), "token") {
		t.Errorf("the answer says too much: %s", w.Body)
	}
	return w.Code
}

// As Alertmanager 0.25 sends it.
const firing = `{"receiver":"heliostat","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"CoolingFailure","dc":"hou1","severity":"critical"},
"annotations":{"summary":"CRAC 3 down\u202e","by":"%s"},"startsAt":"2026-09-01T11:58:00.5Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p/graph","fingerprint":"a0b1"}],
"groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://am","version":"4","groupKey":"{}:{}","truncatedAlerts":%d,"someNewField":{"x":[1]}}`

func TestDelivery(t *testing.T) {
	b := &book{}
	in, woken := intake(t, b)
	body := fmt.Sprintf(firing, "90m", 0)
	for range 2 { // the second is a duplicate
		if code := deliver(t, in, "Bearer s3cret", body); code != http.StatusOK {
			t.Fatalf("answered %d", code)
		}
	}
	if len(*woken) != 1 || (*woken)[0] != "alert CoolingFailure firing houston" {
		t.Errorf("woken by %q", *woken)
	}
	start := engine.At(time.Date(2026, 9, 1, 11, 58, 0, 0, time.UTC))
	want := engine.Alert{
		Fingerprint: "a0b1", Status: "firing", Name: "CoolingFailure", Kind: "cooling", Site: "houston", Severity: "critical", Deadline: start.Add(90 * time.Minute),
		Summary: "CRAC 3 down", StartsAt: start, ReceivedAt: engine.At(now), ExpiresAt: engine.At(now).Add(6 * time.Hour), Source: "alerts",
	}
	if len(b.saved) != 1 || b.saved[0] != want {
		t.Errorf("got  %+v\nwant %+v", b.saved, want)
	}
	resolved := strings.Replace(body, `[{"status":"firing"`, `[{"status":"resolved"`, 1)
	if deliver(t, in, "bearer s3cret", resolved); len(b.saved) != 2 || b.saved[1].Status != "resolved" || len(*woken) != 2 {
		t.Errorf("resolved: %+v", b.saved)
	}
}

func TestDeadline(t *testing.T) {
	for text, want := range map[string]string{
		"2026-09-01T18:00:00+02:00": "2026-09-01T16:00:00Z",
		"4h":                        "2026-09-01T15:58:00Z",
		"":                          "2026-09-01T12:58:00Z", // deadline_after
		"soon":                      "2026-09-01T12:58:00Z",
		"-4h":                       "2026-09-01T12:58:00Z",
	} {
		b := &book{}
		in, _ := intake(t, b)
		deliver(t, in, "Bearer s3cret", fmt.Sprintf(firing, text, 0))
		if got := b.saved[0].Deadline.String(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestGrafanaAndUnmapped(t *testing.T) {
	b := &book{}
	in, _ := intake(t, b)
	in.Config.Rules = in.Config.Rules[:1]
	body := `{"version":"1","orgId":1,"state":"alerting","alerts":[
		{"status":"firing","labels":{"alertname":"Disk","наименование":"x"},"startsAt":"2026-09-01T11:00:00Z","values":{"A":1}},
		{"status":"firing","labels":{"alertname":"Disk","n":"2"},"startsAt":"2026-09-01T11:00:00Z"},
		{"status":"firing","labels":{"alertname":7},"startsAt":"2026-09-01T11:00:00Z"}]}`
	if code := deliver(t, in, "Bearer s3cret", body); code != http.StatusOK || len(b.saved) != 2 {
		t.Fatalf("answered %d, saved %d", code, len(b.saved))
	}
	x, y := b.saved[0], b.saved[1]
	if x.Site != "" || x.Kind != "" || len(x.Fingerprint) != 16 || x.Fingerprint == y.Fingerprint {
		t.Errorf("got %+v and %+v", x, y)
	}
}

func TestRefusals(t *testing.T) {
	good := fmt.Sprintf(firing, "1h", 0)
	for _, c := range []struct {
		name, auth, body string
		err              error
		want             int
	}{
		{"no token", "", good, nil, http.StatusUnauthorized},
		{"basic", "Basic czNjcmV0", good, nil, http.StatusUnauthorized},
		{"wrong token", "Bearer s3cre", good, nil, http.StatusForbidden},
		{"empty token", "Bearer ", good, nil, http.StatusUnauthorized},
		{"not JSON", "Bearer s3cret", "hello", nil, http.StatusBadRequest},
		{"no alerts", "Bearer s3cret", `{"version":"4"}`, nil, http.StatusBadRequest},
		{"none readable", "Bearer s3cret", `{"alerts":[{"status":"odd","startsAt":"2026-09-01T11:00:00Z"}]}`, nil, http.StatusBadRequest},
		{"no start", "Bearer s3cret", `{"alerts":[{"status":"firing"}]}`, nil, http.StatusBadRequest},
		{"too large", "Bearer s3cret", `{"alerts":[` + strings.Repeat(" ", 1<<20) + `]}`, nil, http.StatusRequestEntityTooLarge},
		{"not durable", "Bearer s3cret", good, errors.New("disk full"), http.StatusInternalServerError},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &book{err: c.err}
			in, woken := intake(t, b)
			if got := deliver(t, in, c.auth, c.body); got != c.want {
				t.Errorf("answered %d, want %d", got, c.want)
			}
			if len(b.saved) != 0 || len(*woken) != 0 || (c.err == nil && b.calls != 0) {
				t.Errorf("saved %v, woke %v", b.saved, *woken)
			}
		})
	}
	in, _ := intake(t, &book{})
	in.Config.TokenFile += "x"
	if got := deliver(t, in, "Bearer s3cret", good); got != http.StatusInternalServerError {
		t.Errorf("without a token file: answered %d", got)
	}
	w := httptest.NewRecorder()
	in.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/alerts", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: answered %d", w.Code)
	}
}

// An empty token file must not let an empty token in.
func TestEmptyTokenFile(t *testing.T) {
	in, _ := intake(t, &book{})
	if err := os.WriteFile(in.Config.TokenFile, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := deliver(t, in, "Bearer ", fmt.Sprintf(firing, "1h", 0)); got != http.StatusInternalServerError {
		t.Errorf("answered %d", got)
	}
}

func TestSource(t *testing.T) {
	b := &book{}
	in, _ := intake(t, b)
	at := now
	src := &alerts.Source{Book: b, Intake: in, Now: func() time.Time { return at }}
	observe := func() engine.Observation {
		t.Helper()
		o, err := src.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	deliver(t, in, "Bearer s3cret", fmt.Sprintf(firing, "1h", 3))
	if o := observe(); len(o.Alerts) != 1 || len(o.Gaps) != 1 || o.Gaps[0].Subject.Kind != "feed" {
		t.Errorf("truncated: %+v", o)
	}
	at = now.Add(7 * time.Hour)
	if o := observe(); len(o.Gaps) != 0 {
		t.Errorf("after the time to live: %+v", o.Gaps)
	}
	at = now
	deliver(t, in, "Bearer s3cret", fmt.Sprintf(firing, "1h", 0))
	if o := observe(); len(o.Gaps) != 0 {
		t.Errorf("after a whole delivery: %+v", o.Gaps)
	}
	b.err = errors.New("journal closed")
	if _, err := src.Observe(t.Context()); err == nil {
		t.Error("no error without a book")
	}
}

// What has two meanings is no evidence: the message is left out, or the delivery refused.
func TestTwoMeanings(t *testing.T) {
	body := fmt.Sprintf(firing, "1h", 0)
	for name, text := range map[string]string{
		"status twice":    strings.Replace(body, `{"status":"firing","labels"`, `{"status":"resolved","status":"firing","labels"`, 1),
		"other case":      strings.Replace(body, `"fingerprint"`, `"Fingerprint"`, 1),
		"label twice":     strings.Replace(body, `"dc":"hou1"`, `"dc":"hou1","dc":"fra1"`, 1),
		"null":            strings.Replace(body, `"2026-09-01T11:58:00.5Z"`, "null", 1),
		"alerts twice":    strings.Replace(body, `"alerts":[`, `"alerts":[],"alerts":[`, 1),
		"second delivery": body + body,
		"not UTF-8":       strings.Replace(body, "CRAC", "CR\xff", 1),
		"deep":            strings.Replace(body, `[1]`, strings.Repeat("[", 40)+strings.Repeat("]", 40), 1),
	} {
		b := &book{}
		in, _ := intake(t, b)
		if text == body {
			t.Fatalf("%s: nothing changed", name)
		}
		if code := deliver(t, in, "Bearer s3cret", text); code != http.StatusBadRequest || b.calls != 0 {
			t.Errorf("%s: answered %d, saved %v", name, code, b.saved)
		}
	}
}
