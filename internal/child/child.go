// Package child runs this program anew, for work that may crash it, take all its
// memory or never end: this process goes on whatever happens there.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CapMemory caps what this process may allocate, for good; mapped files do not
// count. Where it cannot be set, because a unit denies it, the error wraps
// [unix.EPERM].
func CapMemory(bytes uint64) error {
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		return fmt.Errorf("cap the memory of this process: %w", err)
	}
	return nil
}

// A Failure is a process that did not end well, or not at all.
type Failure struct {
	Late     bool   // it was killed when its time was over
	OutOfMem bool   // it hit its cap of memory
	Ended    error  // how it ended
	Stderr   string // the last that it wrote there, and of a crash the first
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Late {
		return "did not end in time"
	}
	first, _, _ := strings.Cut(f.Stderr, "\n")
	return fmt.Sprintf("ended with %v: %.200s", f.Ended, first)
}

// Run runs this program with other arguments, the name of the program before
// them, and returns what it wrote to its standard output. The error is ctx's, or a
// [Failure].
func Run(ctx context.Context, limit time.Duration, stdin io.Reader, argv ...string) ([]byte, error) {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out bytes.Buffer
	var stderr ends
	cmd := exec.CommandContext(within, "/proc/self/exe", argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Env = append(os.Environ(), "GOTRACEBACK=none") // what it said before a crash counts, not the stacks
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &stderr
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil:
		return out.Bytes(), nil
	}
	text := stderr.String()
	return out.Bytes(), &Failure{
		Late: within.Err() != nil, Ended: err, Stderr: text,
		OutOfMem: outOfMemory(text),
	}
}

// outOfMemory tells by a process's last words whether it hit its cap. It may be a thread
// that gets no stack. Where it is Go's collector that gets no memory it may follow a
// nil pointer, in the runtime's own code or on a stack of its own, where nothing else
// of a program runs.
func outOfMemory(text string) bool {
	for _, words := range []string{"out of memory", "cannot allocate memory", "pthread_create failed", "failed to create new OS thread", "unexpected signal during runtime execution"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	_, crash, ok := strings.Cut(text, "SIGSEGV: segmentation violation\n")
	return ok && strings.Contains(crash, "\ngoroutine 0 ")
}

// IsFailure returns the Failure in an error.
func IsFailure(err error) (*Failure, bool) { return errors.AsType[*Failure](err) }

// keepEach is how much of the beginning and of the end of what a process writes
// to its standard error is kept: a crash writes a page for each goroutine.
const keepEach = 16 << 10

// ends keeps the beginning and the end of what is written.
type ends struct{ head, tail []byte }

// Write implements io.Writer.
func (e *ends) Write(p []byte) (int, error) {
	n := min(len(p), keepEach-len(e.head))
	e.head = append(e.head, p[:n]...)
	e.tail = append(e.tail, p[n:]...)
	if over := len(e.tail) - keepEach; over > 0 {
		e.tail = append(e.tail[:0], e.tail[over:]...)
	}
	return len(p), nil
}

// String implements fmt.Stringer.
func (e *ends) String() string { return string(e.head) + string(e.tail) }
