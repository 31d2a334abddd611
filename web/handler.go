package web

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// maxBody caps what a client may send: an Alertmanager group of some hundred
	// alerts is well below it.
	maxBody = 4 << 20
	// Fresh is how late a cycle may be, or how long cycles may fail, before the
	// daemon calls itself not ready: five cycles at the usual one a minute.
	Fresh = 5 * time.Minute
	// Stuck is how long the loop may be silent before the daemon calls itself
	// dead: the same minute as the watchdog in the systemd unit.
	Stuck = time.Minute
)

// State is what handlers read. [Board] is one.
type State interface {
	Status() *Status
	LastBeat() time.Time
}

// NewHandler serves the port: a page, /healthz, /readyz, /metrics and, unless alerts is
// nil, POST /alerts. It hands alerts on as they come, with the body's size
// limited; authenticating them is that handler's business.
func NewHandler(state State, metrics *Metrics, alerts http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, alive(state, time.Now())) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, ready(state.Status(), time.Now())) })
	mux.Handle("GET /metrics", metrics.handler())
	mux.HandleFunc("GET /{$}", servePage(state))
	if alerts != nil {
		mux.Handle("POST /alerts", alerts)
	}
	return secure(http.MaxBytesHandler(mux, maxBody))
}

// alive returns what is wrong with the loop, "" for nothing. A loop that has not
// begun is not stuck: starting may take long, and systemd has a limit for it.
func alive(state State, now time.Time) string {
	beat := state.LastBeat()
	if silent := now.Sub(beat); !beat.IsZero() && silent > Stuck {
		return fmt.Sprintf("the loop has been silent for %s", silent.Round(time.Second))
	}
	return ""
}

// ready returns why the daemon is not ready, "" when it is: a cycle was
// completed, none is overdue, and they do not keep failing. A pause is no
// reason: a paused daemon does what it should.
func ready(s *Status, now time.Time) string {
	switch {
	case s.Good.IsZero() && s.Error != "":
		return "no cycle has been completed yet: " + s.Error
	case s.Good.IsZero():
		return "no cycle has been completed yet"
	case s.Error != "" && now.Sub(s.Good) > Fresh:
		return fmt.Sprintf("no cycle has been completed for %s: %s", now.Sub(s.Good).Round(time.Second), s.Error)
	case !s.Next.IsZero() && now.Sub(s.Next) > Fresh:
		return fmt.Sprintf("the cycle due at %s has not come", s.Next.UTC().Format(time.RFC3339))
	}
	return ""
}

func answer(w http.ResponseWriter, wrong string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "ok"
	if wrong != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = wrong
	}
	_, _ = io.WriteString(w, text+"\n") // a client that is gone needs no answer
}

// secure sets what keeps a browser from making anything of an answer.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
