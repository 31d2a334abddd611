package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// A supplier is where the operator's bundle comes from.
type supplier interface {
	// state tells two contents apart. What it has looked at is what read reads. The
	// error wraps errUnreachable where nothing can be said of the content.
	state(ctx context.Context) (string, error)
	// read returns the files of the bundle, verified where that is asked for.
	read() (map[string][]byte, error)
	// still reports whether the content is in that state even now.
	still(ctx context.Context, state string) bool
	label() string // put before the names of files
	kind() string  // for people and the journal
}

// errUnreachable means that the source says nothing of the bundle, good or bad.
var errUnreachable = errors.New("the policies cannot be fetched")

// newSupplier is nil where nothing but the shipped bundle serves.
func newSupplier(cfg Config) (supplier, error) {
	var v *verifier
	if cfg.KeyFile != "" {
		var err error
		if v, err = newVerifier(cfg.KeyFile, cfg.KeyID); err != nil {
			return nil, err
		}
	}
	switch {
	case cfg.URL != "":
		return &remote{url: cfg.URL, tokenFile: cfg.TokenFile, verifier: v}, nil
	case cfg.Dir != "":
		return &folder{dir: cfg.Dir, verifier: v}, nil
	}
	return nil, nil
}

// A folder is a directory of policies.
type folder struct {
	dir      string
	verifier *verifier // nil: it need not be signed
}

func (f *folder) label() string { return f.dir }
func (f *folder) kind() string  { return "folder" }

func (f *folder) still(ctx context.Context, state string) bool {
	now, err := f.state(ctx)
	return err == nil && now == state
}

// state is the names, sizes and times of the files.
func (f *folder) state(context.Context) (string, error) {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return "", fmt.Errorf("open policy directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	var b strings.Builder
	var failed error
	eachFile(root.FS(), func(name string, err error) {
		var info fs.FileInfo
		if err == nil {
			info, err = fs.Stat(root.FS(), name) // follows links, as reading does
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // an editor's file that is gone already
		case err != nil:
			failed = fmt.Errorf("look at policy directory: %w", err)
		default:
			fmt.Fprintf(&b, "%q %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}, signatures)
	return b.String(), failed
}

func (f *folder) read() (map[string][]byte, error) {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, fmt.Errorf("open policy directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	contents, err := readContents(root.FS(), f.dir, signatures)
	if err == nil && f.verifier != nil {
		err = f.verifier.verify(f.dir, contents)
	}
	delete(contents, signatures)
	return contents, err
}

const (
	// fetchTimeout is for a bundle of a few megabytes over a slow line.
	fetchTimeout = 30 * time.Second
	// maxFetched caps what is fetched, compressed.
	maxFetched = 8 << 20
	// maxToken caps the file of a token.
	maxToken = 16 << 10
)

// A remote is a bundle on a web server. Its methods are called by one goroutine at
// a time.
type remote struct {
	url, tokenFile string
	verifier       *verifier

	etag string
	sum  string // digest of what was fetched last
	body []byte // that; nil once it is read
}

func (r *remote) label() string                      { return path.Base(r.url) }
func (r *remote) kind() string                       { return "url" }
func (r *remote) still(context.Context, string) bool { return true }

// state asks the server whether the bundle is another than the last.
func (r *remote) state(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if err := r.fetch(ctx); err != nil {
		return "", fmt.Errorf("%w: get %s: %w", errUnreachable, r.url, err)
	}
	return r.sum, nil
}

func (r *remote) fetch(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return err
	}
	if r.etag != "" {
		req.Header.Set("If-None-Match", r.etag)
	}
	if r.tokenFile != "" {
		token, err := readToken(r.tokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	// A redirect could lead to plain http, or carry the token elsewhere.
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects: write the address it leads to")
		},
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true},
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusNotModified:
		if r.etag == "" {
			return errors.New("it answers that nothing has changed, and was not asked")
		}
		return nil
	case http.StatusOK:
	default:
		return fmt.Errorf("it answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFetched+1))
	if err != nil {
		return err
	}
	if len(body) > maxFetched {
		return fmt.Errorf("it sends more than %d bytes", maxFetched)
	}
	sum := sha256.Sum256(body)
	r.body, r.sum, r.etag = body, hex.EncodeToString(sum[:]), resp.Header.Get("ETag")
	return nil
}

func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func (r *remote) read() (map[string][]byte, error) {
	body := r.body
	r.body = nil
	contents, err := untar(r.label(), body)
	if err != nil {
		return nil, err
	}
	if err := r.verifier.verify(r.label(), contents); err != nil {
		return nil, err
	}
	delete(contents, signatures)
	return contents, split(r.label(), contents)
}
