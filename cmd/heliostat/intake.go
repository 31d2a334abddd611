package main

import (
	"context"
	"net/http"
	"strconv"

	"heliostat/engine"
	"heliostat/store"
	"heliostat/web"
)

// countedSink makes alerts durable, and counts them.
type countedSink struct {
	journal *store.Journal
	metrics *web.Metrics
}

// SaveAlert implements alerts.Sink.
func (s countedSink) SaveAlert(ctx context.Context, a engine.Alert) (bool, error) {
	isNew, err := s.journal.SaveAlert(ctx, a)
	if err == nil {
		s.metrics.AlertReceived(isNew)
	}
	return isNew, err
}

// countRefused counts the deliveries that next refuses, by status.
func countRefused(next http.Handler, m *web.Metrics) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(s, r)
		if s.status >= http.StatusBadRequest {
			m.AlertRefused(strconv.Itoa(s.status))
		}
	})
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
