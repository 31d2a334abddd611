package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who runs a command in a shell, where the unit's credentials are not, is told so.
func TestCredentialOfTheUnit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "heliostat.yaml")
	text := strings.Replace(string(Example), "password_file: houston-reader ", "password_file: secret_houston-reader ", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const hint = "secret_houston-reader: no such file or directory: a credential of the unit; in a shell set CREDENTIALS_DIRECTORY="
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := Load(file); err == nil || strings.Count(err.Error(), hint) != 1 {
		t.Errorf("in a shell: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	if _, err := Load(file); err == nil || strings.Contains(err.Error(), "in a shell") {
		t.Errorf("in the unit: %v", err)
	}
}
