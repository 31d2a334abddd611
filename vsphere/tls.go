package vsphere

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// ErrPin means that the server's certificate is not the one that is pinned.
var ErrPin = errors.New("the certificate is not the pinned one")

// Thumbprint is the pin of a certificate, as [Config] takes it.
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return fmt.Sprintf("%x", sum)
}

// tlsConfig verifies as the configuration says, and hands every accepted leaf
// certificate to seen.
func tlsConfig(cfg *Config, seen func(*x509.Certificate)) (*tls.Config, error) {
	pin, err := cfg.pin()
	if err != nil {
		return nil, fmt.Errorf("thumbprint: %w", err)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", cfg.CAFile)
		}
	}
	// The standard verification is off only where the pin replaces it, or where
	// Validate made sure that the address is a loopback.
	t.InsecureSkipVerify = pin != nil || cfg.Insecure
	t.VerifyConnection = func(s tls.ConnectionState) error {
		leaf := s.PeerCertificates[0] // a server always sends one
		if pin != nil {
			sum := sha256.Sum256(leaf.Raw)
			if subtle.ConstantTimeCompare(sum[:], pin) != 1 {
				return fmt.Errorf("%w: it has SHA-256 %x", ErrPin, sum)
			}
		}
		seen(leaf)
		return nil
	}
	return t, nil
}
