package web

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of what clients may ask for.
const (
	// maxInFlight requests are answered at a time: a scrape, some probes, a group
	// of senders of alerts and a few people are far below it.
	maxInFlight = 64
	// maxRefused requests of one address are refused in a minute, and logged one by
	// one; then it is not listened to for the rest of that minute. Nobody can guess
	// tokens, or fill the log, faster than that.
	maxRefused = 30
	// maxSources addresses are told apart; those beyond share one count.
	maxSources = 1024
	// maxLogged bounds a path in the log, in bytes.
	maxLogged = 200
)

// A guard limits and audits: what is refused is logged with who asked for what.
type guard struct {
	next  http.Handler
	log   *slog.Logger
	slots chan struct{}

	mu      sync.Mutex
	minute  int64
	refused map[string]int // in this minute, by source
}

func newGuard(next http.Handler, log *slog.Logger) *guard {
	return &guard{next: next, log: log, slots: make(chan struct{}, maxInFlight), refused: map[string]int{}}
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who := source(r)
	if g.count(who, 0) >= maxRefused {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	g.next.ServeHTTP(s, r)
	if s.status < http.StatusBadRequest || s.status >= http.StatusInternalServerError {
		return
	}
	path := r.URL.Path
	if len(path) > maxLogged {
		path = path[:maxLogged]
	}
	n := g.count(who, 1)
	g.log.WarnContext(r.Context(), "request refused", "who", who, "method", r.Method, "path", path, "status", s.status, "in_this_minute", n, "further_ones_unheard", n >= maxRefused)
}

// count adds to what was refused of a source in this minute.
func (g *guard) count(who string, n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := time.Now().Unix() / 60; m != g.minute {
		g.minute = m
		clear(g.refused)
	}
	if _, known := g.refused[who]; !known && len(g.refused) >= maxSources {
		who = ""
	}
	if n > 0 {
		g.refused[who] += n
	}
	return g.refused[who]
}

// source is who asks: the account at the other end of the socket, or an address.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return cmp.Or(peer(r.Context()), host)
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController, which sets deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
