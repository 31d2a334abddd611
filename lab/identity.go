package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" // older clients pin SHA-1 thumbprints
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// An identity is a vCenter's certificate and its thumbprints.
type identity struct {
	cert         tls.Certificate
	pem          []byte
	sha1, sha256 string
}

// newIdentity makes a self-signed certificate. It is valid from 1999, since
// time in a synctest bubble starts in 2000.
func newIdentity(name string, serial uint64) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("make a key for %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetUint64(serial),
		Subject:      pkix.Name{CommonName: name + ".lab", Organization: []string{"lab"}},
		NotBefore:    time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		DNSNames: []string{name + ".lab", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return identity{}, fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	one, two := sha1.Sum(der), sha256.Sum256(der)
	return identity{
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		sha1: colonHex(one[:]), sha256: colonHex(two[:]),
	}, nil
}

func colonHex(b []byte) string {
	parts := make([]string, len(b))
	for i, x := range b {
		parts[i] = fmt.Sprintf("%02X", x)
	}
	return strings.Join(parts, ":")
}

// matches reports whether a client's thumbprint is this certificate's.
func (id *identity) matches(thumbprint string) bool {
	return strings.EqualFold(thumbprint, id.sha1) || strings.EqualFold(thumbprint, id.sha256)
}
