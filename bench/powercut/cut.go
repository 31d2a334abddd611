package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"heliostat/store"
)

const (
	// shutdown is EXT4_IOC_SHUTDOWN of linux/fs/ext4/ext4.h, _IOR('X', 125, __u32),
	// and noLogFlush its EXT4_GOING_FLAGS_NOLOGFLUSH: not even the file system's
	// own journal is written out.
	shutdown   = 0x8004587d
	noLogFlush = 2
	// imageBytes is the size of the disk: a hundred rounds write a tenth of that.
	// It takes only as much of the real one as is written.
	imageBytes = 512 << 20
	// mostAcks is the most records of a round, besides those that it takes the
	// cut to come; it is soon enough that ext4, which flushes every 5 s by itself,
	// does not do the control's syncing.
	mostAcks = 40
)

// An errNotPermitted says why power cannot be cut here.
type errNotPermitted struct{ error }

func (e errNotPermitted) Unwrap() error { return e.error }

// cuts plays rounds and returns in how many of them something was lost.
func cuts(ctx context.Context, rounds int, rnd *rand.Rand, forgetful bool) (lost int, err error) {
	dir, err := os.MkdirTemp("", "heliostat-powercut-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := disk{image: filepath.Join(dir, "disk"), at: filepath.Join(dir, "mnt")}
	if err := d.make(ctx); err != nil {
		return 0, errNotPermitted{fmt.Errorf("make a file system to cut the power of: %w", err)}
	}
	for i := range rounds {
		why, err := round(ctx, d, rnd, forgetful)
		if err != nil {
			return lost, fmt.Errorf("round %d: %w", i+1, err)
		}
		if why != "" {
			lost++
			if !forgetful {
				fmt.Fprintf(os.Stderr, "round %d: %s\n", i+1, why)
			}
		}
	}
	return lost, nil
}

// round writes, cuts, mounts again, and says what was lost; "" for nothing. The
// journal goes on from round to round; what is left of a lost one does not.
func round(ctx context.Context, d disk, rnd *rand.Rand, forgetful bool) (why string, err error) {
	if err := d.mount(ctx); err != nil {
		return "", errNotPermitted{err}
	}
	defer func() { err = errors.Join(err, d.unmount(ctx)) }()
	state := filepath.Join(d.at, "state")
	last, err := writeAndCut(ctx, d, state, rnd, forgetful)
	if err != nil {
		return "", err
	}
	if err := errors.Join(d.unmount(ctx), d.mount(ctx)); err != nil {
		return "", err
	}
	if why = look(ctx, state, last); why != "" {
		err = os.RemoveAll(state)
	}
	return why, err
}

// writeAndCut starts a writer, cuts the power at some moment, and returns the
// last record that it acknowledged: the number and the hash of the entry.
func writeAndCut(ctx context.Context, d disk, state string, rnd *rand.Rand, forgetful bool) (last string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	var stderr strings.Builder
	w := exec.CommandContext(ctx, self, "-write", state, fmt.Sprintf("-forgetful=%v", forgetful))
	w.Stderr = &stderr
	acks, err := w.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := w.Start(); err != nil {
		return "", err
	}
	defer func() { _ = w.Process.Kill() }()
	n := 1 + rnd.IntN(mostAcks)
	lines := bufio.NewScanner(acks)
	for lines.Scan() {
		last = lines.Text()
		if n--; n == 0 {
			// An append takes about a millisecond: the cut comes anywhere in the next.
			time.Sleep(time.Duration(rnd.Int64N(int64(2 * time.Millisecond))))
			if err := d.cut(); err != nil {
				return "", errNotPermitted{err}
			}
		}
	}
	// Acknowledgements that were on their way at the cut count: they were given.
	if err := w.Wait(); err != nil || lines.Err() != nil || n > 0 {
		return "", fmt.Errorf("the writer: %w: %s", errors.Join(err, lines.Err()), strings.TrimSpace(stderr.String()))
	}
	return last, nil
}

// look opens the journal as the daemon does, and says what is lost.
func look(ctx context.Context, state, last string) string {
	j, err := store.Open(state, store.Options{})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = j.Close() }()
	if _, err := j.Verify(ctx); err != nil {
		return err.Error()
	}
	var seq uint64
	var hash string
	if _, err := fmt.Sscan(last, &seq, &hash); err != nil {
		return fmt.Sprintf("acknowledged as %q: %v", last, err)
	}
	// The chain that Verify has followed makes this one stand for all before it.
	e, ok, err := j.Entry(seq)
	if err != nil || !ok || e.Hash != hash {
		return fmt.Sprintf("entry %d was acknowledged, the journal ends with %d: %v", seq, j.Last().Seq, err)
	}
	return ""
}

// A disk is a file system in a file.
type disk struct{ image, at string }

func (d disk) make(ctx context.Context) error {
	f, err := os.Create(d.image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(imageBytes), f.Close(), os.Mkdir(d.at, 0o700)); err != nil {
		return err
	}
	return command(ctx, "mkfs.ext4", "-qF", d.image)
}

func (d disk) mount(ctx context.Context) error {
	return command(ctx, "mount", "-o", "loop", d.image, d.at)
}

// unmount also leaves nothing behind when the program is told to end.
func (d disk) unmount(ctx context.Context) error {
	return command(context.WithoutCancel(ctx), "umount", d.at)
}

// cut ends the file system, as it stands on the disk.
func (d disk) cut() error {
	f, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush); err != nil {
		return fmt.Errorf("shut the file system down (EXT4_IOC_SHUTDOWN): %w", err)
	}
	return nil
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
