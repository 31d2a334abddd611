package vsphere

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	pin := strings.Repeat("ab", 32)
	good := func() Config {
		return Config{Name: "vc", URL: "https://vc.example.net", Reader: &Account{"r", "/r"}, Mover: &Account{"m", "/m"}}
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		want   []string // each message's beginning
	}{
		"good":             {func(*Config) {}, nil},
		"pin with colons":  {func(c *Config) { c.Thumbprint = strings.Repeat("AB:", 31) + "AB" }, nil},
		"loopback":         {func(c *Config) { c.URL, c.Insecure = "http://127.0.0.1:8989/sdk", true }, nil},
		"all at once":      {func(c *Config) { *c = Config{Thumbprint: "xx"} }, []string{"name: ", "url: ", "reader: ", "thumbprint: "}},
		"sha-1":            {func(c *Config) { c.Thumbprint = strings.Repeat("ab", 20) }, []string{"thumbprint: has 20 bytes"}},
		"two trusts":       {func(c *Config) { c.Thumbprint, c.CAFile = pin, "/ca" }, []string{"ca_file: "}},
		"insecure afar":    {func(c *Config) { c.Insecure = true }, []string{"insecure: vc.example.net is not a loopback"}},
		"plain http":       {func(c *Config) { c.URL = "http://127.0.0.1" }, []string{"url: http is only"}},
		"password in URL":  {func(c *Config) { c.URL = "https://u:hunter2@vc" }, []string{"url: must not carry"}},
		"no password file": {func(c *Config) { c.Mover.PasswordFile = "" }, []string{"mover.password_file: "}},
		"not a URL":        {func(c *Config) { c.URL = "vc.example.net" }, []string{"url: vc.example.net is not"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			err := c.Validate()
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tc.want[i]) {
					t.Errorf("got %q, want it to begin with %q", got[i], tc.want[i])
				}
				if strings.Contains(got[i], "hunter2") {
					t.Errorf("%q shows the password", got[i])
				}
			}
		})
	}
}

func TestSecretDoesNotShow(t *testing.T) {
	const canary = "hunter2"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadPassword(Account{Username: "u", PasswordFile: file})
	if err != nil || s.Reveal() != canary {
		t.Fatalf("read %q, %v", s.Reveal(), err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "group", slog.GroupValue(slog.Any("in", s)))
	b, err := json.Marshal(struct{ S Secret }{s})
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %s %s", s, s, s, s, s, s, s, &s, b, log.String())
	shown += fmt.Sprintf("%v %+v %#v", struct{ S Secret }{s}, []Secret{s}, map[string]Secret{"k": s})
	if strings.Contains(shown, canary) || strings.Contains(shown, fmt.Sprintf("%x", canary)) {
		t.Errorf("shown: %s", shown)
	}
}
