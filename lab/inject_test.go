package lab

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/methods"
)

// ask sends a request to the control endpoint.
func ask(t *testing.T, method, url, body string, change func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// What is injected from outside, clients see; over sockets a vCenter that is down
// resets connections.
func TestControl(t *testing.T) {
	cfg := small()
	cfg.Speed = 1000
	l := build(t, cfg)
	if err := l.Serve(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	url, err := l.ServeControl(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, l, 0, reader)
	if code, b := ask(t, "POST", url, "- {kind: refused, target: CurrentTime, p: 1}\n- {kind: drs, at: 1000h, for: 1h}", nil); code != http.StatusCreated || !strings.Contains(b, `{"ids":[`) {
		t.Fatalf("%d %s", code, b)
	}
	if _, err := methods.GetCurrentTime(t.Context(), c.Client); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("refused: %v", err)
	}
	_, b := ask(t, "GET", url, "", nil)
	var list []listedIncident
	if err := json.Unmarshal([]byte(b), &list); err != nil || len(list) != 2 || list[0].Hits != 1 || !list[0].On || list[1].On || list[1].At != "1000h0m0s" {
		t.Errorf("%v %s", err, b)
	}
	one := url + "/" + strings.Trim(strings.Split(b, ",")[0], `[{"id:`)
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		if code, b := ask(t, "DELETE", one, "", nil); code != want {
			t.Errorf("%d %s, want %d", code, b, want)
		}
	}
	if _, err := methods.GetCurrentTime(t.Context(), c.Client); err != nil {
		t.Errorf("after its end: %v", err)
	}
	ask(t, "POST", url, `[{"kind": "vcenter_restarts", "vcenter": "east", "for": "1000h"}]`, nil)
	if conn, err := tls.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(l.Endpoints()[0].URL, "https://"), "/sdk"), &tls.Config{InsecureSkipVerify: true}); err == nil {
		_ = conn.Close()
		t.Error("a vCenter that is down shook hands")
	}
	if code, _ := ask(t, "DELETE", url, "", nil); code != http.StatusNoContent || len(l.Incidents()) != 0 {
		t.Errorf("%d, %d go on", code, len(l.Incidents()))
	}
	connect(t, l, 0, reader)

	for body, want := range map[string]string{"[{kind: x}]": `1:9: [0].kind: "x" is none of`, strings.Repeat("#", maxIncidents+1): "too large", "": "empty"} {
		if code, b := ask(t, "POST", url, body, nil); code < 400 || code >= 500 || !strings.Contains(b, want) {
			t.Errorf("%d %s, want %s", code, b, want)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"another name": func(r *http.Request) { r.Host = "lab.example.net:8980" },
		"a page":       func(r *http.Request) { r.Header.Set("Origin", "http://example.net") },
	} {
		if code, _ := ask(t, "DELETE", url, "", change); code != http.StatusForbidden {
			t.Errorf("%s: %d", name, code)
		}
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "nonsense"} {
		if _, err := l.ServeControl(t.Context(), addr); err == nil {
			t.Errorf("listens at %s", addr)
		}
	}
}
