// Package alerts takes alerts in from Alertmanager's webhook (version 4) and
// from Grafana's of the same shape, and is the source of those that are known.
//
// An alert is evidence: what follows is for policies to decide. A delivery is
// answered with 200 only when all of it is durable, since the sender repeats a
// 5xx at once and a 4xx only much later. Deliveries are repeated, and come twice
// from pairs of senders: an alert is known by its fingerprint, start and status,
// and only a new one wakes the loop.
package alerts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"heliostat/engine"
	"heliostat/internal/strict"
)

// A Sink keeps alerts. SaveAlert returns when the alert is durable. isNew is
// false for one that is known by its fingerprint, start and status; its expiry
// is then put off. It is safe for concurrent use.
type Sink interface {
	SaveAlert(ctx context.Context, a engine.Alert) (isNew bool, err error)
}

// An Intake is the HTTP handler for deliveries. Set the fields before use.
type Intake struct {
	Config Config
	Sink   Sink
	// Now is the clock; nil for time.Now.
	Now func() time.Time
	// Wake is called after a delivery with something new; nil for nobody.
	Wake func(reason string)
	// Log takes what is refused and what cannot be read; nil for the default.
	Log *slog.Logger

	truncated atomic.Int64 // when alerts were last left out of a delivery, in Unix seconds; 0 never
}

// delivery is what is read of a webhook's body; new fields keep appearing, and are ignored.
type delivery struct {
	Version         string        `json:"version"`
	TruncatedAlerts uint64        `json:"truncatedAlerts"`
	Alerts          []strict.Part `json:"alerts"`
}

type message struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	Fingerprint string            `json:"fingerprint"`
}

// ServeHTTP answers
//
//   - 200 when everything that could be read is durable,
//   - 400 when nothing could be read,
//   - 401 without a bearer token and 403 with a wrong one,
//   - 405 to anything but POST,
//   - 413 to a delivery above the limit,
//   - 500 when it could not be made durable, or the token file not read.
func (in *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, err := in.take(w, r)
	if err == nil {
		return // 200, empty
	}
	in.log().WarnContext(r.Context(), "alert delivery refused", "status", status, "remote", r.RemoteAddr, "error", err)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="heliostat alerts"`)
	}
	// The reason stays in the log: it may hold paths.
	http.Error(w, http.StatusText(status), status)
}

func (in *Intake) take(w http.ResponseWriter, r *http.Request) (status int, err error) {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, errors.New("not a POST")
	}
	if status, err := in.authorize(r); err != nil {
		return status, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, in.Config.MaxBytes))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return http.StatusRequestEntityTooLarge, err
		}
		return http.StatusBadRequest, fmt.Errorf("read the delivery: %w", err)
	}
	d, messages, err := decode(body)
	for _, e := range d.unreadable {
		in.log().WarnContext(r.Context(), "alert not readable", "error", e)
	}
	if err != nil {
		return http.StatusBadRequest, err
	}
	if err := in.save(r.Context(), messages); err != nil {
		return http.StatusInternalServerError, err
	}
	in.noteTruncated(d.truncated)
	return http.StatusOK, nil
}

// authorize compares the bearer token with the file's, in constant time.
func (in *Intake) authorize(r *http.Request) (int, error) {
	want, err := os.ReadFile(in.Config.TokenFile)
	if err != nil {
		return http.StatusInternalServerError, fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(want))
	if token == "" {
		return http.StatusInternalServerError, errors.New("read the token: the file is empty")
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(got) == "" {
		return http.StatusUnauthorized, errors.New("no bearer token")
	}
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(strings.TrimSpace(got)))
	if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
		return http.StatusForbidden, errors.New("wrong bearer token")
	}
	return http.StatusOK, nil
}

// read is what a delivery held beside its messages.
type read struct {
	truncated  uint64
	unreadable []error
}

// decode reads a delivery. Keys that nobody knows pass; what has two meanings does
// not. A message that cannot be read does not keep the others out, but when none
// can be, it is an error.
func decode(body []byte) (read, []message, error) {
	var d delivery
	if err := strict.JSON(body, strict.Options{MaxBytes: len(body), Unknown: true, Unseen: true}).Decode(&d); err != nil {
		return read{}, nil, fmt.Errorf("decode the delivery: %w", err)
	}
	out := read{truncated: d.TruncatedAlerts}
	if d.Alerts == nil {
		return out, nil, fmt.Errorf("decode the delivery: no alerts in it (version %.10q)", d.Version)
	}
	var messages []message
	for i, part := range d.Alerts {
		var m message
		err := part.Decode(&m)
		if err == nil && m.Status != "firing" && m.Status != "resolved" {
			err = fmt.Errorf("status %.20q", m.Status)
		}
		if err == nil && engine.At(m.StartsAt) <= 0 {
			err = errors.New("no startsAt")
		}
		if err != nil {
			out.unreadable = append(out.unreadable, fmt.Errorf("decode alert %d of %d: %w", i+1, len(d.Alerts), err))
			continue
		}
		messages = append(messages, m)
	}
	if len(messages) == 0 && len(out.unreadable) > 0 {
		return out, nil, errors.New("decode the delivery: none of its alerts can be read")
	}
	return out, messages, nil
}

// save makes all messages durable. When one fails the sender repeats all, and
// those that were saved are then known.
func (in *Intake) save(ctx context.Context, messages []message) error {
	var fresh []string
	var errs []error
	for i := range messages {
		a := in.alert(&messages[i])
		isNew, err := in.Sink.SaveAlert(ctx, a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if isNew {
			fresh = append(fresh, strings.TrimSpace(fmt.Sprintf("%s %s %s", a.Name, a.Status, a.Site)))
		}
	}
	if len(fresh) > 0 && in.Wake != nil {
		in.Wake("alert " + fresh[0])
	}
	return errors.Join(errs...)
}

// The longest texts kept of an alert, in bytes: a page shows no more.
const (
	maxName    = 200
	maxSummary = 1000
)

// alert gives a message the meaning that the configuration has for it.
func (in *Intake) alert(m *message) engine.Alert {
	now := in.now()
	a := engine.Alert{
		Fingerprint: cmp.Or(clean(m.Fingerprint, maxName), fingerprint(m.Labels)), Status: m.Status,
		Name: clean(m.Labels["alertname"], maxName), Severity: clean(m.Labels["severity"], maxName),
		Summary:  clean(cmp.Or(m.Annotations["summary"], m.Annotations["description"], m.Annotations["message"]), maxSummary),
		StartsAt: engine.At(m.StartsAt), ReceivedAt: engine.At(now), ExpiresAt: engine.At(now.Add(in.Config.TTL)), Source: sourceName,
	}
	r, ok := in.Config.rule(m.Labels)
	if !ok {
		return a
	}
	a.Kind, a.Site, a.Severity = r.Kind, r.Site, clean(m.Labels[r.SeverityLabel], maxName)
	if r.SiteLabel != "" {
		name := clean(m.Labels[r.SiteLabel], maxName)
		a.Site = cmp.Or(r.Sites[name], engine.SiteID(name))
	}
	if a.Deadline, ok = r.deadline(m.Labels, m.Annotations, m.StartsAt); !ok {
		in.log().Warn("alert deadline not readable", "alert", a.Name, "fingerprint", a.Fingerprint)
	}
	return a
}

// clean makes text from outside fit to be shown: no control or direction
// characters, and no longer than limit bytes.
func clean(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		if unicode.IsControl(r) || strict.Unseen(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return strings.TrimSpace(s)
}

// fingerprint identifies an alert that came without one by its labels.
func fingerprint(labels map[string]string) string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		_, _ = fmt.Fprintf(h, "%q=%q\n", k, labels[k]) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (in *Intake) noteTruncated(n uint64) {
	if n == 0 {
		in.truncated.Store(0)
		return
	}
	in.log().Warn("alerts left out of a delivery by the sender", "alerts", n)
	in.truncated.Store(in.now().Unix())
}

func (in *Intake) now() time.Time {
	if in.Now != nil {
		return in.Now()
	}
	return time.Now()
}

func (in *Intake) log() *slog.Logger {
	if in.Log != nil {
		return in.Log
	}
	return slog.Default()
}
