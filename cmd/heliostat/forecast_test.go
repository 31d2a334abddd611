package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// An order to evacuate is given though nobody can say what it will come to.
func TestOrderNeedsNoForecast(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ordered := make(chan struct{}, 2)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/drill", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"detail":"ask deny: too slow"}`, http.StatusConflict)
	})
	mux.HandleFunc("POST /v1/evacuate", func(w http.ResponseWriter, _ *http.Request) {
		ordered <- struct{}{}
		w.WriteHeader(http.StatusNoContent)
	})
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	for _, c := range []struct {
		flag   string
		code   int
		orders int
	}{{"--reason=storm", exitOK, 1}, {"--dry-run", exitFailure, 0}} {
		stdout, stderr, code := heliostat(t, "evacuate", "houston", "--in", "4h", "--socket", socket, c.flag)
		if code != c.code || len(ordered) != c.orders || strings.HasPrefix(stdout, "ordered:") != (c.orders == 1) || !strings.Contains(stderr, "too slow") {
			t.Errorf("%s: exit %d, %d orders: %s%s", c.flag, code, len(ordered), stdout, stderr)
		}
		for len(ordered) > 0 {
			<-ordered
		}
	}
}
