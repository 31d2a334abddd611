package lab

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"

	"heliostat/internal/strict"
)

// The most that a recorded dump unpacks to: one object of it, and all. One of
// about 100 objects comes to 10 MiB.
const (
	maxDumpFile = 64 << 20
	maxDump     = 1 << 30
)

// Load builds a lab that serves a recorded vCenter: a folder written by govc
// object.save, or a .tar.gz of one. It can be read as if it were alive; nothing
// in it can be changed, and every task is refused as not supported.
func Load(name string) (*Lab, error) {
	dir := name
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("load recorded vCenter: %w", err)
	}
	if !info.IsDir() {
		tmp, err := os.MkdirTemp("", "lab-dump-")
		if err != nil {
			return nil, fmt.Errorf("load recorded vCenter: %w", err)
		}
		defer func() { _ = os.RemoveAll(tmp) }() // the model is in memory by then
		if err := unpack(name, tmp); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", name, err)
		}
		dir = tmp
	}
	if dir, err = dumpFolder(dir); err != nil {
		return nil, fmt.Errorf("load recorded vCenter %s: %w", name, err)
	}
	m := simulator.VPX()
	// Creating nothing gives the model a temporary folder; without one it makes
	// its datastores' folders in the working directory.
	m.Datacenter = 0
	if err := m.Create(); err != nil {
		return nil, fmt.Errorf("prepare for a recorded vCenter: %w", err)
	}
	defer m.Remove()
	if err := m.Load(dir); err != nil {
		return nil, fmt.Errorf("load recorded vCenter %s: %w", name, err)
	}
	restoreURLs(m)
	l := newLab(Config{})
	v := &vcenter{lab: l, name: "recorded", recorded: true}
	if err := l.addVCenter(v, m.Service); err != nil {
		return nil, err
	}
	v.uuid = vcContent(v).About.InstanceUuid
	if v.datacenter, _ = m.Map().Any("Datacenter").(*simulator.Datacenter); v.datacenter == nil {
		return nil, fmt.Errorf("load recorded vCenter %s: no datacenter in it", name)
	}
	l.tick = l.now
	return l, nil
}

// restoreURLs gives the datastores the URLs back that the simulator replaced by
// folders of its own: they say which volume it is.
func restoreURLs(m *simulator.Model) {
	for _, e := range m.Map().All("Datastore") {
		ds, ok := e.(*simulator.Datastore)
		if !ok {
			continue
		}
		if _, id, ok := strings.Cut(path.Base(ds.Summary.Url), "_vmfs_volumes-"); ok {
			ds.Summary.Url = "ds:///vmfs/volumes/" + strings.Replace(id, "vsan_", "vsan:", 1) + "/"
			ds.Info.GetDatastoreInfo().Url = ds.Summary.Url
		}
	}
}

// unpack writes the archive's files under dir.
func unpack(name, dir string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	files := tar.NewReader(strict.Limit(z, maxDump))
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := extract(root, path.Clean(h.Name), files); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func extract(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, strict.Limit(r, maxDumpFile))
	return errors.Join(err, out.Close())
}

// dumpFolder finds the folder in which the dump's objects lie.
func dumpFolder(dir string) (found string, err error) {
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && found == "" && !d.IsDir() && strings.HasSuffix(p, ".xml") {
			found = filepath.Dir(p)
		}
		return err
	})
	if err == nil && found == "" {
		err = errors.New("no object in it")
	}
	return found, err
}
