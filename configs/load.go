package configs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxBytes bounds the file: a site a page is far below it.
const maxBytes = 4 << 20

// Load reads a configuration. Relative paths in it are from the file's own
// folder; relative paths of secrets (keys that end in _file) are from
// $CREDENTIALS_DIRECTORY where systemd sets it and the secret is there; kill_file
// is a plain path. The error
// is [Faults] unless the file itself cannot be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return parse(path, data)
}

func parse(file string, data []byte) (*Config, error) {
	d := &decoder{file: file, nodes: map[string]*yaml.Node{}, text: func(key, s string) (string, error) { return local(file, key, s) }}
	root := d.document(data)
	if root == nil {
		return nil, d.faults
	}
	c := Default()
	d.value(root, reflect.ValueOf(&c).Elem(), "")
	for _, err := range leaves(c.Validate()) {
		path, what, _ := strings.Cut(err.Error(), ": ")
		if !d.follows(what) {
			d.faultAt(path, what)
		}
	}
	if len(d.faults) > 0 {
		slices.SortStableFunc(d.faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
		return nil, d.faults
	}
	c.read = d
	return &c, nil
}

// Place gives errors that a later look has found below the path at, each "path:
// what" and joined, their place in the file. What names no path of the file is
// left as it is.
func (c *Config) Place(at string, err error) error {
	if c.read == nil {
		return err
	}
	d := &decoder{file: c.read.file, nodes: c.read.nodes}
	var others []error
	for _, e := range leaves(err) {
		path, what, _ := strings.Cut(e.Error(), ": ")
		if path = at + "." + path; d.nodes[path] == nil {
			others = append(others, e)
			continue
		}
		d.faultAt(path, what)
	}
	if len(d.faults) > 0 {
		others = append(others, d.faults)
	}
	return errors.Join(others...)
}

// follows reports whether something may be amiss only because the sites or
// vCenters themselves could not be read.
func (d *decoder) follows(what string) bool {
	broken := func(name *regexp.Regexp) bool {
		return slices.ContainsFunc(d.faults, func(f Fault) bool { return name.MatchString(f.Path) })
	}
	return (strings.Contains(what, "no site") && broken(siteName)) || (strings.Contains(what, "no vCenter") && broken(vcenterName))
}

// The paths of the names of sites and vCenters, and of what holds them.
var (
	siteName    = regexp.MustCompile(`^sites(\[\d+\](\.id)?)?$`)
	vcenterName = regexp.MustCompile(`^vcenters(\[\d+\](\.name)?)?$`)
)

// document parses the one YAML document, and is nil after a fault.
func (d *decoder) document(data []byte) *yaml.Node {
	if len(data) > maxBytes {
		d.fault(&yaml.Node{}, "", "the file is larger than %d bytes", maxBytes)
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		d.syntax(err)
		return nil
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		d.fault(&yaml.Node{}, "", "the file is empty")
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	if err := loader.Load(&next); err == nil {
		d.fault(&next, "", "a second document; there must be one")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	return doc.Content[0]
}

func (d *decoder) syntax(err error) {
	n, what := &yaml.Node{}, err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		n.Line, n.Column, what = e.Mark.Line, e.Mark.Column, e.Message
	}
	d.fault(n, "", "not YAML: %s", what)
}

// local makes paths absolute, and refuses secrets that cannot be read. Nobody
// looks into them here.
func local(file, key, s string) (string, error) {
	secret := strings.HasSuffix(key, "_file") && key != "kill_file"
	if !secret && key != "kill_file" && key != "dir" && key != "file" && key != "socket" {
		return s, nil
	}
	if s == "" || (filepath.IsAbs(s) && !secret) {
		return s, nil
	}
	at := s
	if !filepath.IsAbs(s) {
		at = filepath.Join(filepath.Dir(file), s)
		if given := os.Getenv("CREDENTIALS_DIRECTORY"); secret && given != "" {
			if c := filepath.Join(given, s); readable(c) == nil {
				at = c
			}
		}
	}
	if secret {
		if err := readable(at); err != nil {
			return "", err
		}
	}
	return at, nil
}

// readable reports why a file cannot be read, if so.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("cannot be read: not a regular file")
	}
	return nil
}
