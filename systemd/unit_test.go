package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readUnit gives the values of each "Section.Key", in order.
func readUnit(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("heliostat.service")
	if err != nil {
		t.Fatal(err)
	}
	unit, section := map[string][]string{}, ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
		default:
			k, v, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("not a setting: %q", line)
			}
			unit[section+"."+k] = append(unit[section+"."+k], v)
		}
	}
	return unit
}

// What the daemon's promises rest on.
func TestUnitKeepsItsPromises(t *testing.T) {
	unit := readUnit(t)
	for key, want := range map[string]string{
		"Service.Type":                   "notify",
		"Service.NotifyAccess":           "main",
		"Service.ExecStartPre":           "/usr/bin/heliostat check",
		"Service.ExecStart":              "/usr/bin/heliostat run",
		"Service.WatchdogSec":            "60",
		"Service.Restart":                "always",
		"Unit.StartLimitIntervalSec":     "900",
		"Service.User":                   "heliostat",
		"Service.StateDirectory":         "heliostat",
		"Service.StateDirectoryMode":     "0700",
		"Service.RuntimeDirectory":       "heliostat",
		"Service.RuntimeDirectoryMode":   "0700",
		"Service.ConfigurationDirectory": "heliostat",
		"Service.UMask":                  "0077",
		"Service.CapabilityBoundingSet":  "",
		"Service.NoNewPrivileges":        "yes",
		"Service.ProtectSystem":          "strict",
		"Install.WantedBy":               "multi-user.target",
	} {
		if got := unit[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	// Without pipe2, which is part of @ipc, no child process can be started.
	if f := unit["Service.SystemCallFilter"]; len(f) != 3 || !strings.HasPrefix(f[1], "~") || !strings.Contains(f[1], "@ipc") || f[2] != "pipe2" {
		t.Errorf("system calls: %q", f)
	}
	for key, values := range unit {
		if len(values) > 1 && key != "Service.SystemCallFilter" {
			t.Errorf("%s is set %d times", key, len(values))
		}
	}
}

func TestAccountAndDirectoriesAreThoseOfTheUnit(t *testing.T) {
	unit := readUnit(t)
	users := lines(t, "heliostat.sysusers")
	if len(users) != 1 || users[0][0] != "u" || users[0][1] != unit["Service.User"][0] {
		t.Errorf("users: %q", users)
	}
	secrets := strings.TrimPrefix(unit["Service.LoadCredential"][0], "secret:")
	if !slices.ContainsFunc(lines(t, "heliostat.tmpfiles"), func(f []string) bool {
		return f[0] == "d" && f[1] == secrets && slices.Equal(f[2:5], []string{"0700", "root", "root"})
	}) {
		t.Errorf("nothing makes %s for root alone", secrets)
	}
}

func lines(t *testing.T, name string) (fields [][]string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(line, "#") {
			fields = append(fields, f)
		}
	}
	return fields
}

// units are the files that systemd reads as units.
var units = []string{"heliostat.service", "heliostat-wake.service"}

// analyze runs systemd-analyze on a unit, with a program that is there.
func analyze(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there: ", err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(b), "/usr/bin/heliostat", "/usr/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, append(args, unit)...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestUnitIsAccepted(t *testing.T) {
	for _, name := range units {
		if out := analyze(t, name, "verify", "--man=no"); out != "" {
			t.Errorf("systemd-analyze verify %s complains:\n%s", name, out)
		}
	}
}

// Exposure is at most 1.2 of 10; the threshold is given in tenths.
func TestUnitIsHardened(t *testing.T) {
	for _, name := range units {
		out := strings.TrimSpace(analyze(t, name, "security", "--offline=true", "--threshold=12"))
		t.Log(out[strings.LastIndex(out, "\n")+1:])
	}
}
