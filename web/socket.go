package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen makes the control socket, open to nobody but the daemon's own account
// and root, and to the group of its directory where that may enter it (0710). The
// directory is made when it is not there, and refused when it is open any wider. A socket that a dead daemon left is replaced; one that a living
// daemon answers on is not.
func Listen(path string) (net.Listener, error) {
	ln, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("make control socket %s: %w", path, err)
	}
	return ln, nil
}

func listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	// Between bind and chmod the socket is open to whoever can reach it.
	var mode fs.FileMode
	switch info.Mode().Perm() & 0o077 {
	case 0:
		mode = 0o600
	case 0o010: // nobody makes that by mistake
		mode = 0o660
	default:
		return nil, fmt.Errorf("directory %s has mode %04o, it must be 0700, or 0710 where its group may give orders: chmod 0700 %[1]s", dir, info.Mode().Perm())
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is something that is not a socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("another daemon answers there"), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

type peerKey struct{}

// withPeer notes who is at the other end of a Unix socket.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	name, err := peerName(uc)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, name)
}

// peer returns who is at the other end, "" when the kernel did not say.
func peer(ctx context.Context) string {
	name, _ := ctx.Value(peerKey{}).(string)
	return name
}

func peerName(c *net.UnixConn) (string, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		return "", err
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	// An account without a name, as in a container, is its number.
	u, err := user.LookupId(uid)
	if err != nil {
		return "uid " + uid, nil //nolint:nilerr // see above
	}
	return u.Username, nil
}
