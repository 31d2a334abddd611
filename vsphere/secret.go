package vsphere

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

const redacted = "[redacted]"

// A Secret is a password that does not print, encode or log.
type Secret struct{ text string }

// NewSecret wraps a password.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal returns the password itself.
func (s Secret) Reveal() string { return s.text }

// String hides the password.
func (Secret) String() string { return redacted }

// GoString hides the password.
func (Secret) GoString() string { return redacted }

// Format hides the password under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText hides the password.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the password.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// ReadPassword reads the account's password from its file.
func ReadPassword(a Account) (Secret, error) {
	b, err := os.ReadFile(a.PasswordFile)
	if err != nil {
		return Secret{}, fmt.Errorf("read the password of %s: %w", a.Username, err)
	}
	return NewSecret(strings.TrimRight(string(b), "\r\n")), nil
}
