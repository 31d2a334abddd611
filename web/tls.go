package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// ListenTCP listens at an address, with TLS when there is a certificate. The
// files (PEM) are read again when the certificate's changes, so that a renewed
// one is taken up; one that cannot be read leaves the last good one in service.
func ListenTCP(ctx context.Context, addr, certFile, keyFile string) (net.Listener, error) {
	var keys *keyPair
	if certFile != "" {
		keys = &keyPair{certFile: certFile, keyFile: keyFile}
		if _, err := keys.get(nil); err != nil {
			return nil, fmt.Errorf("listen at %s: certificate %s: %w", addr, certFile, err)
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", addr, err)
	}
	if keys == nil {
		return ln, nil
	}
	return tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: keys.get, NextProtos: []string{"http/1.1"}}), nil
}

// A keyPair is a certificate with its key, as the files last held them.
type keyPair struct {
	certFile, keyFile string

	mu   sync.Mutex
	at   time.Time // the file's, of pair
	pair *tls.Certificate
}

func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.certFile)
	if err == nil && k.pair != nil && info.ModTime().Equal(k.at) {
		return k.pair, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(k.certFile, k.keyFile); err == nil {
			k.pair, k.at = &pair, info.ModTime()
		}
	}
	if k.pair != nil {
		return k.pair, nil
	}
	return nil, err
}
