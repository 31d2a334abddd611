package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"strconv"
	"time"

	"heliostat/engine"
	"heliostat/internal/strict"
)

// Control carries out a person's orders. It returns when they are journaled, or
// with the reason why not.
type Control interface {
	Pause(ctx context.Context, who, reason string) error
	Resume(ctx context.Context, who string) error
	// Release ends the quarantine of a vm or host (kind).
	Release(ctx context.Context, kind, name, who, reason string) error
	// Approve takes how many actions the plan is said to have; 0: not said.
	Approve(ctx context.Context, hash string, count int, who string) error
	Reject(ctx context.Context, hash, who, reason string) error
	// Evacuate asks for a site to be emptied by a moment, until it is cancelled.
	Evacuate(ctx context.Context, site string, by time.Time, who, reason string) error
	CancelEvacuation(ctx context.Context, site, who, reason string) error
	// Drill says what the evacuation of a site would come to, and changes nothing. It
	// is journaled unless it is only looked at.
	Drill(ctx context.Context, site string, by time.Time, who string, look bool) (engine.Certificate, error)
	// Poke begins a cycle early. It never blocks.
	Poke(reason string)
	// ApprovePolicies takes the policies into service that wait, by the beginning of
	// their revision.
	ApprovePolicies(ctx context.Context, revision, who string) error
	// RollBackPolicies goes back to a revision that has served, by its beginning.
	RollBackPolicies(ctx context.Context, revision, who string) error
	// ResumePolicies ends that.
	ResumePolicies(ctx context.Context, who string) error
}

// Journal is the part of the journal that is served to the command line.
type Journal interface {
	// Entries yields the entries from number from on, up to the last one now.
	Entries(from uint64) iter.Seq2[engine.Entry, error]
	// Copy writes a consistent copy of the journal's file.
	Copy(w io.Writer) error
	// Get returns a blob; the error wraps fs.ErrNotExist when there is none.
	Get(digest string) ([]byte, error)
}

const (
	maxReason = 1000     // caps what a person gives as a reason, in bytes
	maxOrder  = 64 << 10 // caps an order, in bytes: its reason escaped, and the rest
)

// An order is the body of a POST on the control socket.
type order struct {
	Hash   string `json:"hash,omitempty"`
	Count  int    `json:"count,omitempty"` // how many actions the plan is said to have
	Reason string `json:"reason,omitempty"`
	Kind   string `json:"kind,omitempty"` // vm or host
	Name   string `json:"name,omitempty"`
	// Of an evacuation and a drill.
	By   engine.Unix `json:"by,omitzero"`
	Look bool        `json:"look,omitempty"` // journal nothing
}

// NewControl serves the control socket:
//
//	GET  /v1/status
//	POST /v1/pause {reason}, /v1/resume {}, /v1/release {kind, name, reason}, /v1/approve {hash, count}, /v1/reject {hash, reason}, /v1/poke {},
//	     /v1/evacuate {name, by, reason}, /v1/evacuate/cancel {name, reason}, /v1/drill {name, by, look}: the last answers with a certificate
//	POST /v1/policies/approve {hash}, /v1/policies/rollback {hash}, /v1/policies/resume {}
//	GET  /v1/journal?from=N    entries as JSON lines
//	GET  /v1/journal.db        a consistent copy of the journal's file
//	GET  /v1/blobs/{digest}
//
// Who gives an order is the account at the other end of the socket; without one,
// orders are refused. An answer that breaks off in the middle is cut, never
// ended as if it were whole.
func NewControl(state State, control Control, journal Journal) http.Handler {
	s := &reader{state, journal}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/journal", s.entries)
	mux.HandleFunc("GET /v1/journal.db", s.copy)
	mux.HandleFunc("GET /v1/blobs/{digest}", s.blob)
	mux.HandleFunc("POST /v1/pause", ordered(func(ctx context.Context, who string, o order) error {
		if o.Reason == "" {
			return errors.New("a pause needs a reason")
		}
		return control.Pause(ctx, who, o.Reason)
	}))
	mux.HandleFunc("POST /v1/resume", ordered(func(ctx context.Context, who string, _ order) error {
		return control.Resume(ctx, who)
	}))
	mux.HandleFunc("POST /v1/release", ordered(func(ctx context.Context, who string, o order) error {
		if o.Reason == "" {
			return errors.New("a release needs a reason")
		}
		return control.Release(ctx, o.Kind, o.Name, who, o.Reason)
	}))
	mux.HandleFunc("POST /v1/approve", ordered(func(ctx context.Context, who string, o order) error {
		return control.Approve(ctx, o.Hash, o.Count, who)
	}))
	mux.HandleFunc("POST /v1/reject", ordered(func(ctx context.Context, who string, o order) error {
		return control.Reject(ctx, o.Hash, who, o.Reason)
	}))
	mux.HandleFunc("POST /v1/policies/approve", ordered(func(ctx context.Context, who string, o order) error {
		return control.ApprovePolicies(ctx, o.Hash, who)
	}))
	mux.HandleFunc("POST /v1/policies/rollback", ordered(func(ctx context.Context, who string, o order) error {
		return control.RollBackPolicies(ctx, o.Hash, who)
	}))
	mux.HandleFunc("POST /v1/policies/resume", ordered(func(ctx context.Context, who string, _ order) error {
		return control.ResumePolicies(ctx, who)
	}))
	mux.HandleFunc("POST /v1/evacuate", ordered(func(ctx context.Context, who string, o order) error {
		return control.Evacuate(ctx, o.Name, o.By.Time(), who, o.Reason)
	}))
	mux.HandleFunc("POST /v1/evacuate/cancel", ordered(func(ctx context.Context, who string, o order) error {
		return control.CancelEvacuation(ctx, o.Name, who, o.Reason)
	}))
	mux.HandleFunc("POST /v1/drill", answered(func(ctx context.Context, who string, o order) (any, error) {
		return control.Drill(ctx, o.Name, o.By.Time(), who, o.Look)
	}))
	mux.HandleFunc("POST /v1/poke", ordered(func(_ context.Context, who string, _ order) error {
		control.Poke("asked for by " + who)
		return nil
	}))
	return secure(http.MaxBytesHandler(mux, maxOrder))
}

// A reader serves what can be read.
type reader struct {
	state   State
	journal Journal
}

// ordered reads an order, asks do to carry it out, and says what became of it.
func ordered(do func(ctx context.Context, who string, o order) error) http.HandlerFunc {
	return answered(func(ctx context.Context, who string, o order) (any, error) { return nil, do(ctx, who, o) })
}

// answered is ordered where the answer says more than that it was done.
func answered(do func(ctx context.Context, who string, o order) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := peer(r.Context())
		if who == "" {
			refuse(w, http.StatusForbidden, errors.New("orders are taken on the control socket only"))
			return
		}
		o, err := readOrder(r.Body)
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		if len(o.Reason) > maxReason {
			refuse(w, http.StatusBadRequest, fmt.Errorf("a reason of %d bytes, at most %d", len(o.Reason), maxReason))
			return
		}
		answer, err := do(r.Context(), who, o)
		switch {
		case err != nil:
			refuse(w, http.StatusConflict, err)
		case answer == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Type", "application/json")
			cut(json.NewEncoder(w).Encode(answer))
		}
	}
}

// readOrder reads an order: one object, with keys that are known, each once.
func readOrder(from io.Reader) (o order, err error) {
	body, err := io.ReadAll(from)
	if err == nil {
		err = strict.JSON(body, strict.Options{MaxBytes: maxOrder}).Decode(&o)
	}
	if err != nil {
		return order{}, fmt.Errorf("read the order: %w", err)
	}
	return o, nil
}

// A problem is an error as RFC 9457 writes it.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problem{http.StatusText(status), status, err.Error()}) // a client that is gone needs no answer
}

func (s *reader) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	cut(json.NewEncoder(w).Encode(s.state.Status()))
}

func (s *reader) entries(w http.ResponseWriter, r *http.Request) {
	from := uint64(1)
	if q := r.URL.Query().Get("from"); q != "" {
		var err error
		if from, err = strconv.ParseUint(q, 10, 64); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Errorf("from: %w", err))
			return
		}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out := newStream(w)
	for e, err := range s.journal.Entries(from) {
		cut(err)
		line, err := engine.Encode(e)
		cut(err)
		_, err = out.Write(append(line, '\n'))
		cut(err)
	}
}

func (s *reader) copy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	cut(s.journal.Copy(newStream(w)))
}

func (s *reader) blob(w http.ResponseWriter, r *http.Request) {
	b, err := s.journal.Get(r.PathValue("digest"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound, err)
		return
	case err != nil:
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, err = newStream(w).Write(b)
	cut(err)
}

// cut ends the connection when an answer that has begun cannot be finished, so
// that the client does not take a part for the whole.
func cut(err error) {
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// A stream is an answer of any length to a client that keeps reading: the time
// limit is for each piece, not for the whole.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newStream(w http.ResponseWriter) stream { return stream{w, http.NewResponseController(w)} }

// Write implements io.Writer.
func (s stream) Write(p []byte) (int, error) {
	err := s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return s.w.Write(p)
}
