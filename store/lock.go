package store

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockOwner names the process that holds the lock of a file, and whether it only
// reads, as the kernel lists it in /proc/locks. That list is never out of date, as a file with a process
// number in it would be after a crash.
func lockOwner(root *os.Root, name string) (owner string, reads bool) {
	const unknown = "another process"
	info, err := root.Stat(name)
	if err != nil {
		return unknown, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown, false
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown, false
	}
	// 1: FLOCK  ADVISORY  WRITE 4711 fe:01:27001 0 EOF
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		comm, err := os.ReadFile("/proc/" + f[4] + "/comm")
		if err != nil {
			return "process " + f[4], f[3] == "READ"
		}
		return fmt.Sprintf("process %s (%s)", f[4], strings.TrimSpace(string(comm))), f[3] == "READ"
	}
	return unknown, false
}
