package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"golang.org/x/sys/unix"

	"heliostat/configs"
	"heliostat/engine"
	"heliostat/store"
	"heliostat/vsphere"
	"heliostat/vsphere/access"
	"heliostat/web"
)

// The limits of what is taken for healthy.
const (
	// maxSkew is from where on observations are not believed (collectors).
	maxSkew = 5 * time.Second
	// expiresSoon leaves time to renew a certificate and to write its thumbprint down.
	expiresSoon = 30 * 24 * time.Hour
	// leastSpace lets the journal end what is under way.
	leastSpace = 256 << 20
	// answersWithin bounds what is asked of one vCenter.
	answersWithin = 30 * time.Second
	// exposure is the unit's limit in tenths, as its own test has it.
	exposure = "12"
)

// examine runs all checks. An error means that the configuration cannot be loaded.
func (g *globals) examine(ctx context.Context) (findings, error) {
	cfg, err := g.load()
	if err != nil {
		return nil, err
	}
	policies, err := loadPolicies(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var f findings
	f.add("config", g.config, good, fmt.Sprintf("sound: %s, %s; policies %.12s", engine.Count(len(cfg.Sites), "site"), engine.Count(len(cfg.VCenters), "vCenter"), policies.Revision()), "")
	f.secrets(cfg)
	f.state(cfg)
	f.running(ctx, cfg)
	f.unit(ctx)
	parts := make([]findings, len(cfg.VCenters))
	var all sync.WaitGroup
	for i, v := range cfg.VCenters {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answersWithin)
			defer cancel()
			parts[i].vcenter(ctx, v, changesHosts(cfg))
		})
	}
	all.Wait()
	return slices.Concat(f, slices.Concat(parts...)), nil
}

// secrets looks at who else can read passwords and tokens.
func (f *findings) secrets(cfg *configs.Config) {
	files := []string{cfg.Alerts.TokenFile, cfg.Policy.TokenFile}
	for _, v := range cfg.VCenters {
		for _, a := range []*vsphere.Account{v.Reader, v.Mover, v.Power, v.Receiver} {
			if a != nil {
				files = append(files, a.PasswordFile)
			}
		}
	}
	slices.Sort(files)
	open := false
	for _, file := range slices.Compact(files) {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		switch {
		case err != nil:
			f.add("secrets", file, failing, err.Error(), "put the secret there, or correct the path in the configuration")
		case info.Mode().Perm()&0o077 != 0:
			f.add("secrets", file, warning, fmt.Sprintf("mode %04o lets others read it", info.Mode().Perm()), "chmod 0600 "+file)
		default:
			continue
		}
		open = true
	}
	if !open {
		f.add("secrets", "files", good, "readable by their owner alone", "")
	}
}

// state looks at the folder of the journal and at the space that is left for it.
func (f *findings) state(cfg *configs.Config) {
	dir := cfg.State.Dir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.add("state", dir, warning, "is not there yet", "systemd makes it at the first start (StateDirectory=); by hand: install -d -m 0700 -o heliostat "+dir)
		dir = filepath.Dir(dir)
	case err != nil:
		f.add("state", dir, failing, err.Error(), "run doctor as root or as the daemon's account")
		return
	case !info.IsDir():
		f.add("state", dir, failing, "is not a folder", "move it away, or set state.dir")
		return
	case info.Mode().Perm()&0o077 != 0:
		f.add("state", dir, warning, fmt.Sprintf("mode %04o lets others look into it", info.Mode().Perm()), "chmod 0700 "+dir)
	case unix.Access(dir, unix.W_OK) != nil:
		f.add("state", dir, failing, "cannot be written: "+unix.Access(dir, unix.W_OK).Error(), "chown -R heliostat "+dir+"; or is its file system mounted read-only?")
	default:
		f.add("state", dir, good, "is there, and closed to others", "")
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		f.add("disk", dir, failing, err.Error(), "")
		return
	}
	free := s.Bavail * uint64(s.Bsize)
	what := fmt.Sprintf("%d MiB are free", free>>20)
	switch advice := "make room: 'heliostat journal compact', or a file system of its own for " + dir; {
	case free < leastSpace:
		f.add("disk", dir, failing, what, advice)
	case free < store.DefaultMaxBytes:
		f.add("disk", dir, warning, fmt.Sprintf("%s, and the journal may grow to %d MiB", what, int64(store.DefaultMaxBytes)>>20), advice)
	default:
		f.add("disk", dir, good, what, "")
	}
}

// running looks at the daemon, if it runs, and at what stops it.
func (f *findings) running(ctx context.Context, cfg *configs.Config) {
	if file := cfg.State.KillFile; file != "" {
		if _, err := os.Lstat(file); err == nil {
			f.add("daemon", file, warning, "the kill file is there: nothing is started", "remove it, then 'heliostat resume'")
		}
	}
	c, err := web.Dial(ctx, cfg.State.Socket)
	if err != nil {
		f.add("daemon", cfg.State.Socket, warning, "nobody answers", "systemctl start heliostat; run doctor as root or as the daemon's account")
		return
	}
	s, err := c.Status(ctx)
	switch {
	case err != nil:
		f.add("daemon", cfg.State.Socket, failing, err.Error(), "journalctl -u heliostat")
	case s.Error != "":
		f.add("daemon", cfg.State.Socket, failing, "its last cycle failed: "+s.Error, "journalctl -u heliostat")
	case s.Paused != nil:
		f.add("daemon", cfg.State.Socket, warning, "paused by "+s.Paused.Who+": "+s.Paused.Reason, "heliostat resume")
	default:
		f.add("daemon", cfg.State.Socket, good, fmt.Sprintf("runs, cycle %d", s.Cycle), "")
	}
}

// unit has systemd judge the installed unit.
func (f *findings) unit(ctx context.Context) {
	const name = "heliostat.service"
	var path string
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			path = filepath.Join(dir, name)
			break
		}
	}
	if path == "" {
		f.add("unit", name, skipped, "is not installed", "docs/operators.md, Install")
		return
	}
	out, err := exec.CommandContext(ctx, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+exposure, path).CombinedOutput()
	last := strings.TrimSpace(string(out))
	last = strings.TrimLeft(last[strings.LastIndex(last, "\n")+1:], "→ ")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		f.add("unit", path, skipped, "systemd-analyze is not installed", "")
	case err != nil:
		f.add("unit", path, warning, "is less hardened than the one that ships: "+last, "systemd-analyze security "+name+" says where; compare with systemd/heliostat.service")
	default:
		f.add("unit", path, good, last, "")
	}
}

// vcenter logs each account in.
func (f *findings) vcenter(ctx context.Context, v vsphere.Config, hosts bool) {
	if v.Insecure {
		f.add("tls", v.Name, warning, "the certificate is not verified (insecure)", "for a lab on this machine only: use thumbprint or ca_file")
	}
	if v.Mover == nil {
		f.add("privileges", v.Name, warning, "has no mover: the daemon only advises there", "add a mover account when you agree with its advice")
	}
	f.server(ctx, v)
	for _, r := range askPrivileges(ctx, v, hosts, vsphere.Options{}) {
		subject := v.Name + " " + r.account
		if r.err != nil {
			f.add("login", subject, failing, r.err.Error(), remedy(r.err))
			continue
		}
		for _, l := range r.report.Lacks {
			g := warning
			if l.Stops == access.StopAll || l.Name == "look" {
				g = failing
			}
			f.add("privileges", subject, g, l.String(), "'heliostat doctor --print-roles' prints the role")
		}
		if len(r.report.Excess) > 0 {
			g := warning
			if v.Strict {
				g = failing
			}
			f.add("privileges", subject, g, r.excessive(), "an account of its own with the role heliostat-"+r.account)
		}
		if len(r.report.Lacks)+len(r.report.Excess) == 0 {
			f.add("privileges", subject, good, r.report.User+" has what it needs and no more", "")
		}
	}
}

// server looks at the vCenter's certificate and clock, as the reader.
func (f *findings) server(ctx context.Context, v vsphere.Config) {
	s, err := vsphere.Dial(ctx, v, v.Reader, vsphere.Options{})
	if err != nil {
		return // the login says why
	}
	defer func() { _ = s.Close() }()
	c, err := s.Conn(ctx)
	if err != nil {
		return // likewise
	}
	if cert := s.Certificate(); cert != nil {
		what := "the certificate is valid until " + cert.NotAfter.UTC().Format(time.DateOnly) + ", SHA-256 " + vsphere.Thumbprint(cert)
		if left := time.Until(cert.NotAfter); left < expiresSoon {
			f.add("tls", v.Name, warning, what, "renew it, and change the thumbprint in the configuration with it")
		} else {
			f.add("tls", v.Name, good, what, "")
		}
	}
	before := time.Now()
	now, err := methods.GetCurrentTime(ctx, c)
	if err != nil {
		f.add("clock", v.Name, failing, err.Error(), remedy(err))
		return
	}
	// The answer was made between the call and now: half of the round trip is its error.
	trip := time.Since(before)
	skew := now.Sub(before.Add(trip / 2)).Round(time.Millisecond)
	if skew.Abs() > maxSkew+trip/2 {
		f.add("clock", v.Name, failing, fmt.Sprintf("differs by %v: what it reports is not believed beyond %v", skew, maxSkew), "synchronise both with NTP (timedatectl, and the vCenter's own console)")
		return
	}
	f.add("clock", v.Name, good, fmt.Sprintf("differs by %v", skew), "")
}

// remedy is what helps against a failure to connect.
func remedy(err error) string {
	if _, ok := vsphere.Fault(err).(*types.InvalidLogin); ok {
		return "check the user name and the file of the password: its last line feed is no part of it"
	}
	if _, ok := vsphere.Fault(err).(*types.NoPermission); ok {
		return "'heliostat doctor --print-roles' prints the role"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "check the URL, and the name servers of this machine"
	}
	switch {
	case errors.Is(err, vsphere.ErrPin):
		return "was the certificate renewed? compare with the vCenter's console, then change the thumbprint; else somebody is in between"
	case soap.IsCertificateUntrusted(err):
		return "give its authority in ca_file, or its SHA-256 in thumbprint"
	case vsphere.Unreachable(err):
		return "is TCP 443 open from here? a proxy in between is not supported"
	}
	return ""
}
