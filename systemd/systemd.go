// Package systemd tells systemd how the daemon is: that it is ready, that it is
// stopping, what it is doing, and, again and again, that it is alive. The unit
// and the files that go with it are beside this code.
//
// Outside systemd all of it does nothing.
package systemd

import (
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/journal"
)

// A Notifier speaks to the service manager. A message that cannot be delivered
// is logged and is no error: if it matters, the watchdog will say so.
type Notifier struct {
	log      *slog.Logger
	watchdog time.Duration
}

// New reads from the environment what the service manager asks for. NOTIFY_SOCKET
// and WATCHDOG_USEC are the manager's, so a malformed one is logged and passed over.
func New(log *slog.Logger) *Notifier {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog is off", "err", err)
	}
	return &Notifier{log: log, watchdog: interval}
}

// Watchdog is the longest time between two calls of Feed; 0 when nobody watches.
// Feeding every half of it is usual.
func (n *Notifier) Watchdog() time.Duration { return n.watchdog }

// Ready says that the daemon has started.
func (n *Notifier) Ready() { n.send(daemon.SdNotifyReady) }

// Stopping says that the daemon is about to end.
func (n *Notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

// Status says in a line what the daemon is doing, for `systemctl status`.
func (n *Notifier) Status(text string) {
	// A line feed would begin another assignment.
	n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Feed says that the loop is alive. Only the loop calls it: a heartbeat from
// anywhere else would hide that the loop is stuck.
func (n *Notifier) Feed() {
	if n.watchdog > 0 {
		n.send(daemon.SdNotifyWatchdog)
	}
}

func (n *Notifier) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("notify the service manager", "state", state, "err", err)
	}
}

// LogsToJournal reports whether standard error goes to systemd's journal, which
// dates lines itself.
func LogsToJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}
