package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

// ServeControl listens at a loopback address for incidents to inject, until ctx
// ends, and returns the address of the list of them:
//
//	GET /faults           those that have not ended
//	POST /faults          a YAML or JSON list of more
//	DELETE /faults        ends all
//	DELETE /faults/{id}   ends one
//
// Whoever reaches it is obeyed. So it takes no other address, and nothing that
// a browser sends on behalf of a web page.
func (l *Lab) ServeControl(ctx context.Context, addr string) (string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("listen at %s: %w", addr, err)
	}
	if !loopback(host) {
		return "", fmt.Errorf("listen at %s: the control endpoint obeys whoever reaches it, so it listens at 127.0.0.1, ::1 or localhost only", addr)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen at %s: %w", addr, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	l.stop = append(l.stop, cancel)
	srv := &http.Server{Handler: l.controls(), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	l.dialers.Go(func() { _ = srv.Serve(ln) }) // it always ends with an error: that it was closed
	l.dialers.Go(func() {
		<-ctx.Done()
		_ = srv.Close()
	})
	return "http://" + ln.Addr().String() + "/faults", nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func (l *Lab) controls() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, l.listed()) })
	mux.HandleFunc("POST /faults", l.postIncidents)
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		l.End(0)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id, err := strconv.Atoi(r.PathValue("id")); err != nil || id <= 0 || !l.End(id) {
			http.Error(w, "no fault "+r.PathValue("id")+" goes on or is to come", http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil || !loopback(host) || r.Header.Get("Origin") != "" {
			http.Error(w, "only programs on this machine may ask, by its loopback address", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (l *Lab) postIncidents(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxIncidents))
	if err != nil {
		code := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			code = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "read the list: "+err.Error(), code)
		return
	}
	list, err := l.ReadIncidents("", body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ids, err := l.Inject(list...)
	if err != nil { // the list was checked
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	answerJSON(w, http.StatusCreated, map[string][]int{"ids": ids})
}

// A listedIncident is an incident as JSON shows it: in the words of a file.
type listedIncident struct {
	ID      int     `json:"id"`
	On      bool    `json:"on"`
	Hits    int     `json:"hits"`
	Kind    string  `json:"kind"`
	VCenter string  `json:"vcenter,omitzero"`
	Target  string  `json:"target,omitzero"`
	At      string  `json:"at,omitzero"`
	For     string  `json:"for,omitzero"`
	Every   string  `json:"every,omitzero"`
	By      string  `json:"by,omitzero"`
	P       float64 `json:"p,omitzero"`
	Percent int     `json:"percent,omitzero"`
	To      string  `json:"to,omitzero"`
}

func (l *Lab) listed() []listedIncident {
	out := []listedIncident{}
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	for _, s := range l.Incidents() {
		out = append(out, listedIncident{
			ID: s.ID, On: s.On, Hits: s.Hits, Kind: s.Kind, VCenter: s.VCenter, Target: s.Target,
			At: text(s.At), For: text(s.For), Every: text(s.Every), By: text(s.By), P: s.P, Percent: s.Percent, To: s.To,
		})
	}
	return out
}

func answerJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone has no use for it
}
