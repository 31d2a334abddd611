package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"heliostat/engine"
)

// ErrNoDaemon means that no daemon answers on the socket.
var ErrNoDaemon = errors.New("is the daemon running?")

// A Client speaks to a running daemon over its control socket.
type Client struct {
	path string
	http *http.Client
}

// Dial returns a client for the daemon whose control socket is at path. It
// connects once to see whether somebody answers; the error wraps [ErrNoDaemon]
// when nobody does.
func Dial(ctx context.Context, path string) (*Client, error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		return conn, explain(path, err)
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true, // nothing of the client outlives a call
	}}}, nil
}

func explain(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w no socket at %s", ErrNoDaemon, path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w nobody answers on %s, which a daemon left behind", ErrNoDaemon, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("connect to %s: only root, the daemon's own account and the group of its folder may: %w", path, err)
	}
	return fmt.Errorf("connect to %s: %w", path, err)
}

// Status returns what the loop published last.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	body, err := c.do(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var s Status
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	return &s, nil
}

// Pause orders that no more actions be started.
func (c *Client) Pause(ctx context.Context, reason string) error {
	return c.order(ctx, "/v1/pause", order{Reason: reason})
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context) error { return c.order(ctx, "/v1/resume", order{}) }

// Release ends the quarantine of a vm or host (kind), by name or ID.
func (c *Client) Release(ctx context.Context, kind, name, reason string) error {
	return c.order(ctx, "/v1/release", order{Kind: kind, Name: name, Reason: reason})
}

// Approve lets the waiting plan be carried out. hash may be its beginning; count is
// how many actions it is taken to have, 0 where that is not said.
func (c *Client) Approve(ctx context.Context, hash string, count int) error {
	return c.order(ctx, "/v1/approve", order{Hash: hash, Count: count})
}

// Reject drops the waiting plan.
func (c *Client) Reject(ctx context.Context, hash, reason string) error {
	return c.order(ctx, "/v1/reject", order{Hash: hash, Reason: reason})
}

// ApprovePolicies takes the policies into service that wait.
func (c *Client) ApprovePolicies(ctx context.Context, revision string) error {
	return c.order(ctx, "/v1/policies/approve", order{Hash: revision})
}

// RollBackPolicies goes back to a revision that has served.
func (c *Client) RollBackPolicies(ctx context.Context, revision string) error {
	return c.order(ctx, "/v1/policies/rollback", order{Hash: revision})
}

// ResumePolicies ends that.
func (c *Client) ResumePolicies(ctx context.Context) error {
	return c.order(ctx, "/v1/policies/resume", order{})
}

// Evacuate asks for a site to be emptied by a moment.
func (c *Client) Evacuate(ctx context.Context, site string, by engine.Unix, reason string) error {
	return c.order(ctx, "/v1/evacuate", order{Name: site, By: by, Reason: reason})
}

// CancelEvacuation takes that back.
func (c *Client) CancelEvacuation(ctx context.Context, site, reason string) error {
	return c.order(ctx, "/v1/evacuate/cancel", order{Name: site, Reason: reason})
}

// Drill asks what the evacuation of a site would come to. look journals nothing.
func (c *Client) Drill(ctx context.Context, site string, by engine.Unix, look bool) (engine.Certificate, error) {
	var out engine.Certificate
	b, err := json.Marshal(order{Name: site, By: by, Look: look})
	if err != nil {
		return out, err
	}
	body, err := c.do(ctx, http.MethodPost, "/v1/drill", b)
	if err != nil {
		return out, err
	}
	defer func() { _ = body.Close() }()
	if err := json.NewDecoder(body).Decode(&out); err != nil {
		return out, fmt.Errorf("read the certificate: %w", err)
	}
	return out, nil
}

// Poke begins a cycle early.
func (c *Client) Poke(ctx context.Context) error { return c.order(ctx, "/v1/poke", order{}) }

// Entries yields the journal's entries from number from on. It ends after the
// first error.
func (c *Client) Entries(ctx context.Context, from uint64) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		body, err := c.do(ctx, http.MethodGet, "/v1/journal?from="+strconv.FormatUint(from, 10), nil)
		if err != nil {
			yield(engine.Entry{}, err)
			return
		}
		defer func() { _ = body.Close() }()
		dec := json.NewDecoder(bufio.NewReader(body))
		for {
			var e engine.Entry
			err := dec.Decode(&e)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("read the journal from the daemon: %w", err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Copy writes a consistent copy of the journal's file to w.
func (c *Client) Copy(ctx context.Context, w io.Writer) error {
	body, err := c.do(ctx, http.MethodGet, "/v1/journal.db", nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("copy the journal from the daemon: %w", err)
	}
	return nil
}

// Get returns the blob with the digest, checked against it. The error wraps
// fs.ErrNotExist when there is none.
func (c *Client) Get(ctx context.Context, digest string) ([]byte, error) {
	body, err := c.do(ctx, http.MethodGet, "/v1/blobs/"+digest, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("get blob %s from the daemon: %w", digest, err)
	}
	if got := engine.DigestBytes(b); got != digest {
		return nil, fmt.Errorf("get blob %s from the daemon: the content's digest is %s", digest, got)
	}
	return b, nil
}

func (c *Client) order(ctx context.Context, path string, o order) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	body, err := c.do(ctx, http.MethodPost, path, b)
	if err != nil {
		return err
	}
	return body.Close()
}

// do sends a request and returns the body of the answer. An answer that is not
// 2xx becomes an error with what the daemon said.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://heliostat"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon at %s: %w", c.path, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var p problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&p); err != nil || p.Detail == "" {
		return nil, fmt.Errorf("the daemon at %s answers %s", c.path, resp.Status)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("refused by the daemon: %s: %w", p.Detail, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("refused by the daemon: %s", p.Detail)
}
