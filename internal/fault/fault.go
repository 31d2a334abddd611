// Package fault puts a judge between one thread and the kernel: for each call by
// which the thread writes to files, the judge says whether it is made, fails, or
// is only said to have been made. So a program meets a disk that fails, or one
// that forgets, in its n-th write, without knowing it.
package fault

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Verdict is what becomes of a call: [Make], [Pretend], or the number of the
// error that it returns.
type Verdict int32

// The verdicts that are no errors.
const (
	Make    Verdict = 0  // the call is made
	Pretend Verdict = -1 // nothing is done, and the caller is told 0: all went well
)

// A Call is what the thread is about to do.
type Call string

// The calls that are judged.
const (
	Write    Call = "write"    // write or pwrite
	Truncate Call = "truncate" // also what makes a file longer
	Sync     Call = "sync"     // fsync or fdatasync
	Rename   Call = "rename"
)

// judged are the numbers of the calls.
var judged = map[int32]Call{
	unix.SYS_WRITE: Write, unix.SYS_PWRITE64: Write, unix.SYS_FTRUNCATE: Truncate,
	unix.SYS_FSYNC: Sync, unix.SYS_FDATASYNC: Sync, unix.SYS_RENAMEAT: Rename, unix.SYS_RENAMEAT2: Rename,
}

// notice and answer are the kernel's struct seccomp_notif and seccomp_notif_resp.
type (
	notice struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	answer struct {
		id    uint64
		val   int64
		err   int32
		flags uint32
	}
)

// Judge ties the calling goroutine to its thread, for ever, and asks judge about
// each call that it makes from then on upon a file in dir. Other threads are left
// alone; the thread ends with its goroutine. judge runs in another goroutine while
// the caller waits. It needs Linux 5.19, and no privilege.
func Judge(dir string, judge func(Call) Verdict) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("judge calls: no new privileges: %w", err)
	}
	program := filter()
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Once its call is judged, only a signal that kills can still interrupt the
	// caller: else those of Go's scheduler would make it ask twice.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&f)))
	if errno != 0 {
		return fmt.Errorf("judge calls: seccomp: %w", errno)
	}
	go serve(fd, dir, judge)
	return nil
}

// filter lets every call pass but those that are judged.
func filter() []unix.SockFilter {
	p := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the call's number
	for nr := range judged {
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(nr)}, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	return append(p, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW})
}

// serve answers until the thread has ended.
func serve(fd uintptr, dir string, judge func(Call) Verdict) {
	defer func() { _ = unix.Close(int(fd)) }()
	for {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err == nil && ready[0].Revents&unix.POLLHUP != 0 {
			return
		}
		var n notice
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n)))
		if errors.Is(errno, unix.EINTR) || errors.Is(errno, unix.ENOENT) {
			continue // this call was interrupted, or the caller was before it was judged
		}
		if errno != 0 {
			return
		}
		a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if concerns(&n, dir) {
			if v := judge(judged[n.nr]); v != Make {
				a.flags, a.err = 0, -max(int32(v), 0)
			}
		}
		// It fails only when the caller is gone.
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
	}
}

// concerns reports whether the call is upon a file or a folder in dir.
func concerns(n *notice, dir string) bool {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", int32(n.args[0])))
	return err == nil && strings.HasPrefix(path+"/", dir+"/")
}
