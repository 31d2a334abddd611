package vsphere

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Config is one vCenter and the accounts that the daemon has there.
type Config struct {
	// Name is what people call this vCenter; unique in the configuration.
	Name string `yaml:"name"`
	// URL is where it answers, such as https://vcenter.example.net. The path
	// defaults to /sdk.
	URL string `yaml:"url"`
	// Reader is the account that observes. It needs no right to change anything.
	Reader *Account `yaml:"reader"`
	// Mover is the account that moves and powers. Without one the daemon advises only.
	Mover *Account `yaml:"mover"`
	// Power is the account that puts hosts in standby and maintenance, and wakes
	// them. Without one it is the mover.
	Power *Account `yaml:"power"`
	// Receiver is the account whose name and password are handed to another
	// vCenter when a VM arrives from there. Without one it is the mover.
	Receiver *Account `yaml:"receiver"`
	// Thumbprint is the SHA-256 of the server's certificate, in hex with or
	// without colons. It excludes ca_file and insecure.
	Thumbprint string `yaml:"thumbprint"`
	// CAFile is a PEM file of the authorities to trust instead of the system's.
	CAFile string `yaml:"ca_file"`
	// Insecure skips verification, and permits http. It is refused unless the
	// URL's host is a loopback address.
	Insecure bool `yaml:"insecure"`
	// Strict starts nothing here while one of the accounts may do far more than
	// its role, as an administrator may. Otherwise that is only reported.
	Strict bool `yaml:"strict"`
}

// An Account is a user with the file that holds its password, such as a systemd
// credential. The file is read at each login, so that a changed password is
// taken up; a trailing newline is not part of it.
type Account struct {
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
}

// Validate reports every fault of the configuration; each message starts with
// the key it is about.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, a ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, a...)))
	}
	if c.Name == "" {
		bad("name", "is missing")
	}
	if u, err := c.parse(); err != nil {
		bad("url", "%v", err)
	} else {
		if u.User != nil {
			bad("url", "must not carry a user or password")
		}
		if c.Insecure && !loopback(u.Hostname()) {
			bad("insecure", "%s is not a loopback address", u.Hostname())
		}
		if u.Scheme == "http" && !c.Insecure {
			bad("url", "http is only allowed with insecure")
		}
	}
	if c.Reader == nil {
		bad("reader", "is missing")
	}
	if c.Power != nil && c.Mover == nil {
		bad("power", "acts beside a mover, and there is none")
	}
	for _, a := range []struct {
		key string
		a   *Account
	}{{"reader", c.Reader}, {"mover", c.Mover}, {"power", c.Power}, {"receiver", c.Receiver}} {
		if a.a == nil {
			continue
		}
		if a.a.Username == "" {
			bad(a.key+".username", "is missing")
		}
		if a.a.PasswordFile == "" {
			bad(a.key+".password_file", "is missing")
		}
	}
	if c.Thumbprint != "" {
		if _, err := c.pin(); err != nil {
			bad("thumbprint", "%v", err)
		}
		if c.CAFile != "" {
			bad("ca_file", "thumbprint is given too, and one of the two is enough")
		}
		if c.Insecure {
			bad("insecure", "thumbprint is given too")
		}
	}
	return errors.Join(errs...)
}

// parse reads the URL and fills in the path.
func (c *Config) parse() (*url.URL, error) {
	if c.URL == "" {
		return nil, errors.New("is missing")
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" {
		return nil, fmt.Errorf("%s is not an https URL", u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/sdk"
	}
	return u, nil
}

// pin decodes the thumbprint; nil when none is configured.
func (c *Config) pin() ([]byte, error) {
	if c.Thumbprint == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(c.Thumbprint, ":", ""))
	if err != nil {
		return nil, errors.New("is not hexadecimal")
	}
	if len(b) != sha256.Size {
		return nil, fmt.Errorf("has %d bytes, a SHA-256 has %d", len(b), sha256.Size)
	}
	return b, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
