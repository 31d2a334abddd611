package systemd

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// manager listens as a service manager does, and returns what came.
func manager(t *testing.T, name string) func() string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return func() string {
		t.Helper()
		// Datagrams on one machine are there once they are sent; the limit is for
		// a message that was never sent.
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := conn.Read(b)
		if err != nil {
			return "nothing"
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "60000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // t.TempDir may be too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{filepath.Join(dir, "s"), fmt.Sprintf("@heliostat-test-%d", os.Getpid())} {
		received := manager(t, name)
		n := New(slog.New(slog.DiscardHandler))
		if n.Watchdog() != time.Minute {
			t.Errorf("watchdog %s", n.Watchdog())
		}
		for _, c := range []struct {
			do   func()
			want string
		}{
			{n.Ready, "READY=1"},
			{n.Feed, "WATCHDOG=1"},
			{func() { n.Status("cycle 7\nREADY=0") }, "STATUS=cycle 7 READY=0"},
			{n.Stopping, "STOPPING=1"},
		} {
			c.do()
			if got := received(); got != c.want {
				t.Errorf("%s: got %q, want %q", name, got, c.want)
			}
		}
	}
}

func TestNobodyWatches(t *testing.T) {
	for name, env := range map[string][2]string{
		"no watchdog":          {"", ""},
		"another process's":    {"60000000", "1"},
		"a malformed interval": {"soon", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", env[0])
			t.Setenv("WATCHDOG_PID", env[1])
			received := manager(t, fmt.Sprintf("@heliostat-test-%d-%s", os.Getpid(), name))
			n := New(slog.New(slog.DiscardHandler))
			n.Feed()
			n.Ready()
			if got := received(); got != "READY=1" || n.Watchdog() != 0 {
				t.Errorf("got %q, watchdog %s", got, n.Watchdog())
			}
		})
	}
}

func TestOutsideSystemdNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("JOURNAL_STREAM", "")
	var log strings.Builder
	n := New(slog.New(slog.NewTextHandler(&log, nil)))
	n.Ready()
	n.Status("x")
	n.Stopping()
	if LogsToJournal() || log.Len() > 0 {
		t.Error(log.String())
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	n.Ready()
	if !strings.Contains(log.String(), "notify the service manager") {
		t.Error("a message that could not be delivered is not logged")
	}
}
