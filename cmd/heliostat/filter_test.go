package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"heliostat/lab"
)

// The environment of a process that puts itself under a filter of system calls
// before it becomes the program: the numbers of the calls that are let through,
// what happens at others, and whether it only tries one out.
const (
	filterCalls  = "HELIOSTAT_TEST_FILTER"
	filterAction = "HELIOSTAT_TEST_FILTER_ACTION" // kill or errno
	filterProbe  = "HELIOSTAT_TEST_FILTER_PROBE"
)

// becomeFiltered installs the filter, and executes this binary again under it.
func becomeFiltered() error {
	runtime.LockOSThread()
	if calls := os.Getenv(filterCalls); calls != "none" {
		var allowed []uint32
		for s := range strings.SplitSeq(calls, ",") {
			n, err := strconv.ParseUint(s, 10, 32)
			if err != nil {
				return err
			}
			allowed = append(allowed, uint32(n))
		}
		refusal := uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM) // as the unit has it
		if os.Getenv(filterAction) == "kill" {
			refusal = unix.SECCOMP_RET_KILL_PROCESS
		}
		if err := install(allowed, refusal); err != nil {
			return err
		}
	}
	if os.Getenv(filterProbe) != "" {
		// Reading the clock's adjustment needs no privilege, and is part of @clock.
		_, err := unix.Adjtimex(&unix.Timex{})
		fmt.Println("adjtimex:", err)
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, filterCalls) })
	return syscall.Exec(exe, os.Args, env)
}

// install puts all threads of this process under the filter, for good.
func install(allowed []uint32, refusal uint32) error {
	arch := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	// struct seccomp_data: the number at 0, the architecture at 4.
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: k}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	program := []unix.SockFilter{load(4), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch}, ret(unix.SECCOMP_RET_KILL_PROCESS), load(0)}
	for _, nr := range allowed {
		program = append(program, unless(nr), ret(unix.SECCOMP_RET_ALLOW))
	}
	program = append(program, ret(refusal))
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		return errno
	}
	return nil
}

// unitCalls are the numbers of the system calls that the unit lets through, as
// systemd reads its list: sets are opened, in order, "~" takes away.
func unitCalls(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("the filter is not written for ", runtime.GOARCH)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze, which knows the sets of system calls, is not installed: ", err)
	}
	unit, err := os.Open(filepath.Join("..", "..", "systemd", "heliostat.service"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unit.Close() }()
	names := map[string]bool{}
	var set func(name string, in bool)
	set = func(name string, in bool) {
		if !strings.HasPrefix(name, "@") {
			names[name] = in
			return
		}
		out, err := exec.CommandContext(t.Context(), analyze, "syscall-filter", "--no-pager", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.TrimSpace(line); f != "" && f != name && !strings.HasPrefix(f, "#") {
				set(f, in)
			}
		}
	}
	set("@default", true) // always part of a list of what is allowed
	for lines := bufio.NewScanner(unit); lines.Scan(); {
		if list, ok := strings.CutPrefix(lines.Text(), "SystemCallFilter="); ok {
			list, without := strings.CutPrefix(list, "~")
			for name := range strings.FieldsSeq(list) {
				set(name, !without)
			}
		}
	}
	var out []string
	for name, nr := range callNumbers(t) {
		if names[name] {
			out = append(out, nr)
		}
	}
	if len(out) < 100 {
		t.Fatalf("only %d system calls are let through", len(out))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// callNumbers are the numbers of system calls by name, from the package that has them.
func callNumbers(t *testing.T) map[string]string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Skip("the go command, which finds the numbers of system calls, does not run: ", err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+runtime.GOARCH+".go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`SYS_(\w+)\s*=\s*(\d+)`).FindAllStringSubmatch(string(b), -1) {
		out[strings.ToLower(m[1])] = m[2]
	}
	return out
}

// The filter refuses what the unit does not allow; without it the same call succeeds.
func TestFilterRefuses(t *testing.T) {
	t.Parallel()
	calls := unitCalls(t)
	probe := func(calls, action string) (string, error) {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), filterCalls+"="+calls, filterAction+"="+action, filterProbe+"=1")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := probe("none", ""); out != "adjtimex: <nil>" || err != nil {
		t.Fatalf("without a filter: %q %v", out, err)
	}
	if out, err := probe(calls, "errno"); out != "adjtimex: operation not permitted" || err != nil {
		t.Errorf("under the filter: %q %v", out, err)
	}
	_, err := probe(calls, "kill")
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatalf("under the filter that kills: %v", err)
	}
	if s, ok := e.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGSYS {
		t.Errorf("under the filter that kills it ended with %v", e)
	}
}

// TestRunsUnderItsFilter runs the daemon under the unit's list of system calls,
// with death for any other: it moves a VM, answers, reloads, and ends well.
func TestRunsUnderItsFilter(t *testing.T) {
	t.Parallel()
	calls := unitCalls(t)
	r, _ := ownLab(t, lab.DefaultAccounts...)
	policy := r.withGather(t, "fra-a-web040")
	r.run(t, filterCalls+"="+calls, filterAction+"=kill")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.daemon.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// Mode 2 is a filter; the sandbox around a test may have one of its own, too.
	if !regexp.MustCompile(`(?m)^Seccomp:\s2$`).Match(status) || !regexp.MustCompile(`(?m)^NoNewPrivs:\s1$`).Match(status) {
		t.Errorf("the daemon is not under a filter:\n%s", status)
	}
	eventually(t, "a move ends", func() bool { return len(r.ended(t)) > 0 })
	write(t, policy, gather("fra-a-web040", "fra-a-cache004"))
	write(t, filepath.Join(r.dir, "hazards.json"), "[]\n")
	cycle := r.status(t).Cycle
	eventually(t, "cycles", func() bool { return r.status(t).Cycle >= cycle+3 })
	must(t, "backup", "--config", r.config, "--out", filepath.Join(t.TempDir(), "b.tar.zst"))
	r.pages(t)
	r.daemon.interrupt(t) // checks that it ended by itself, with code 0
}
