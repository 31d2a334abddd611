package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Who is refused too often in a minute is not listened to, and others are; each
// refusal is in the log.
func TestRefusalsAreLoggedAndLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		asked := 0
		g := newGuard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			if r.URL.Path != "/fine" {
				http.Error(w, "no", http.StatusForbidden)
			}
		}), slog.New(slog.NewTextHandler(&log, nil)))
		ask := func(from, path string) int {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
			r.RemoteAddr = from
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			return w.Code
		}
		for i := range maxRefused + 20 {
			want := http.StatusForbidden
			if i >= maxRefused {
				want = http.StatusTooManyRequests
			}
			if got := ask("192.0.2.7:1000", "/secret%0A"+strings.Repeat("x", 1000)); got != want {
				t.Fatalf("request %d: %d, want %d", i, got, want)
			}
		}
		if asked != maxRefused {
			t.Errorf("%d requests were looked at", asked)
		}
		if got := ask("192.0.2.7:2000", "/fine"); got != http.StatusTooManyRequests {
			t.Errorf("the same address, another port: %d", got)
		}
		if got := ask("192.0.2.8:1000", "/fine"); got != http.StatusOK {
			t.Errorf("another address: %d", got)
		}
		text := log.String()
		if n := strings.Count(text, "\n"); n != maxRefused {
			t.Errorf("%d lines for %d refusals", n, maxRefused)
		}
		if !strings.Contains(text, `msg="request refused" who=192.0.2.7 method=GET path="/secret\nxx`) || strings.Contains(text, strings.Repeat("x", maxLogged)) {
			t.Errorf("logged: %.300s", text)
		}
		time.Sleep(time.Minute)
		if got := ask("192.0.2.7:1000", "/fine"); got != http.StatusOK {
			t.Errorf("a minute later: %d", got)
		}
	})
}

func TestRequestsInFlightAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := newGuard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }), slog.New(slog.DiscardHandler))
		ask := func() int {
			w := httptest.NewRecorder()
			g.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
			return w.Code
		}
		for range maxInFlight {
			go ask()
		}
		synctest.Wait()
		if got := ask(); got != http.StatusServiceUnavailable {
			t.Errorf("one more: %d", got)
		}
		close(release)
		synctest.Wait()
		if got := ask(); got != http.StatusOK {
			t.Errorf("after they ended: %d", got)
		}
	})
}

// certificate writes a self-signed one with its key.
func certificate(t *testing.T, dir string, serial int64, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"key.pem": {Type: "PRIVATE KEY", Bytes: secret}, "cert.pem": {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, "cert.pem"), at, at); err != nil {
		t.Fatal(err)
	}
}

// With a certificate the port speaks TLS and nothing else, takes a renewed
// certificate up, and keeps the last good one.
func TestListenTCP(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := ListenTCP(t.Context(), "127.0.0.1:0", cert, key); err == nil || !strings.Contains(err.Error(), "cert.pem") {
		t.Errorf("without the files: %v", err)
	}
	now := time.Now()
	certificate(t, dir, 1, now.Add(-time.Hour))
	ln, err := ListenTCP(t.Context(), "127.0.0.1:0", cert, key)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	// ask gives the status, and the serial number of the certificate, 0 for none.
	ask := func(url string) (status int, serial int64, err error) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+ln.Addr().String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, 0, err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.TLS != nil {
			serial = resp.TLS.PeerCertificates[0].SerialNumber.Int64()
		}
		return resp.StatusCode, serial, nil
	}
	serial := func(want int64) {
		t.Helper()
		status, got, err := ask("https://")
		if got != want || status != http.StatusNoContent || err != nil {
			t.Errorf("status %d, certificate %d, want %d: %v", status, got, want, err)
		}
	}
	serial(1)
	if status, _, _ := ask("http://"); status == http.StatusNoContent {
		t.Error("plain HTTP is answered")
	}
	certificate(t, dir, 2, now)
	serial(2)
	if err := os.WriteFile(cert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	serial(2)
}
