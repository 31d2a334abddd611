package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// signatures is the file that holds the signature of a bundle.
const signatures = ".signatures.json"

// A verifier knows the key that bundles must be signed with. The key's own type
// chooses the algorithm, never what the signature says.
type verifier struct {
	config *bundle.VerificationConfig
	id     string
}

func newVerifier(keyFile, id string) (*verifier, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	alg, err := algorithmOf(text)
	if err != nil {
		return nil, fmt.Errorf("key_file: %s: %w", keyFile, err)
	}
	keys := map[string]*bundle.KeyConfig{id: {Key: string(text), Algorithm: alg}}
	return &verifier{bundle.NewVerificationConfig(keys, id, "", nil), id}, nil
}

// algorithmOf is the signature algorithm of a public key in PEM.
func algorithmOf(text []byte) (string, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return "", errors.New(`is no public key: it must begin with "-----BEGIN PUBLIC KEY-----" (openssl pkey -pubout makes one)`)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return "", err
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return "RS256", nil
	case ed25519.PublicKey:
		return "EdDSA", nil
	case *ecdsa.PublicKey:
		if alg := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]; alg != "" {
			return alg, nil
		}
	}
	return "", fmt.Errorf("a %T is not supported: RSA, ECDSA on P-256, P-384 or P-521, Ed25519", key)
}

// verify holds files, by their names in the bundle, against the signature among
// them: all that is read must be signed, and all that is signed be there.
func (v *verifier) verify(label string, contents map[string][]byte) error {
	at := filepath.Join(label, signatures)
	text, ok := contents[signatures]
	if !ok {
		return Faults{{File: at, Line: 1, Column: 1, Message: "missing: the bundle is not signed, and policy.key_file demands it", Advice: "sign it: opa sign --bundle . --signing-key KEY.pem, or opa build with --signing-key"}}
	}
	var sc bundle.SignaturesConfig
	if err := json.Unmarshal(text, &sc); err != nil {
		return Faults{{File: at, Line: 1, Column: 1, Message: err.Error(), Advice: "sign the bundle anew"}}
	}
	sc.Plugin = "" // OPA's own verifier, whatever the bundle asks for
	signed, err := bundle.VerifyBundleSignature(sc, v.config)
	if err != nil {
		return Faults{{File: at, Line: 1, Column: 1, Message: fmt.Sprintf("the signature does not hold for key %s: %v", v.id, err), Advice: "sign the bundle with that key, or correct policy.key_file and policy.key_id; if neither was changed, somebody else has changed the bundle"}}
	}
	var faults Faults
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		if name == signatures {
			continue
		}
		if err := bundle.VerifyBundleFile(name, *bytes.NewBuffer(contents[name]), signed); err != nil {
			faults = append(faults, Fault{File: filepath.Join(label, filepath.FromSlash(name)), Line: 1, Column: 1, Message: "is not what was signed: " + err.Error(), Advice: "sign the bundle anew; if nobody has edited the file, somebody else has"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(signed)) {
		if _, ok := contents[name]; !ok && inBundle(name) {
			faults = append(faults, Fault{File: filepath.Join(label, filepath.FromSlash(name)), Line: 1, Column: 1, Message: "is signed and not there", Advice: "put it back, or sign the bundle anew"})
		}
	}
	return faults.err()
}

// merged is where Rego's own tools put all data of a bundle that they build.
const merged = "data.json"

// split puts merged data where a folder has it, once it is verified.
func split(label string, contents map[string][]byte) error {
	text, ok := contents[merged]
	if !ok {
		return nil
	}
	delete(contents, merged)
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return Faults{{File: filepath.Join(label, merged), Message: err.Error()}}
	}
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		name := key + "/data.json"
		if !inBundle(name) {
			return Faults{{File: filepath.Join(label, merged), Message: fmt.Sprintf("%q: the data of a bundle is params and facts", key)}}
		}
		if contents[name] != nil {
			return Faults{{File: filepath.Join(label, name), Message: "is also in " + merged}}
		}
		contents[name] = parts[key]
	}
	return nil
}

// untar reads a bundle's tar.gz, within limits, into its files.
func untar(label string, compressed []byte) (map[string][]byte, error) {
	bad := func(format string, args ...any) error {
		return Faults{{File: label, Message: fmt.Sprintf(format, args...), Advice: "build the bundle anew: opa build --bundle ... --signing-key KEY.pem"}}
	}
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, bad("is not a tar.gz: %v", err)
	}
	left := int64(maxOwnBytes)
	contents := map[string][]byte{}
	r := tar.NewReader(io.LimitReader(z, 2*maxOwnBytes)) // headers and padding too
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return contents, nil
		}
		if err != nil {
			return nil, bad("is not a tar.gz: %v", err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || contents[name] != nil {
			return nil, bad("%q is no plain file, or is there twice", h.Name)
		}
		if !inBundle(name) && name != signatures && name != merged {
			if path.Ext(name) == ".rego" || path.Base(name) == "data.json" {
				return nil, bad("%q: a bundle has placement, params and facts", h.Name)
			}
			continue // nobody reads it
		}
		if left -= h.Size; left < 0 {
			return nil, bad("holds more than %d bytes", maxOwnBytes)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, bad("%q: %v", h.Name, err)
		}
		contents[name] = append([]byte{}, text...)
	}
}
