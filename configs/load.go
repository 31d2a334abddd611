package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"heliostat/internal/strict"
)

// maxBytes bounds the file: a site a page is far below it.
const maxBytes = 4 << 20

// Load reads a configuration. Relative paths in it are from the file's own
// folder; relative paths of secrets (keys that end in _file) are from
// $CREDENTIALS_DIRECTORY where systemd sets it and the secret is there; kill_file
// is a plain path. The error
// is [strict.Faults] unless the file itself cannot be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return parse(path, data, func(key, s string) (string, error) { return local(path, key, s) })
}

// parse reads a configuration; text sees each text in it and says what it stands for.
func parse(file string, data []byte, text func(key, s string) (string, error)) (*Config, error) {
	d := strict.YAML(data, strict.Options{File: file, MaxBytes: maxBytes, Text: text})
	c := Default()
	if !d.Parsed() {
		return nil, d.Err()
	}
	_ = d.Decode(&c) // what is wrong is told together with what does not fit together
	for _, err := range leaves(c.Validate()) {
		path, what, _ := strings.Cut(err.Error(), ": ")
		if !follows(d.Faults(), what) {
			d.Fault(path, what)
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
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
	d := c.read.Fresh()
	var others []error
	for _, e := range leaves(err) {
		path, what, _ := strings.Cut(e.Error(), ": ")
		if path = at + "." + path; !d.Has(path) {
			others = append(others, e)
			continue
		}
		d.Fault(path, what)
	}
	return errors.Join(append(others, d.Err())...)
}

// follows reports whether something may be amiss only because the sites or
// vCenters themselves could not be read.
func follows(faults strict.Faults, what string) bool {
	broken := func(name *regexp.Regexp) bool {
		return slices.ContainsFunc(faults, func(f strict.Fault) bool { return name.MatchString(f.Path) })
	}
	return (strings.Contains(what, "no site") && broken(siteName)) || (strings.Contains(what, "no vCenter") && broken(vcenterName))
}

// The paths of the names of sites and vCenters, and of what holds them.
var (
	siteName    = regexp.MustCompile(`^sites(\[\d+\](\.id)?)?$`)
	vcenterName = regexp.MustCompile(`^vcenters(\[\d+\](\.name)?)?$`)
)

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
			if strings.HasPrefix(s, "secret_") && os.Getenv("CREDENTIALS_DIRECTORY") == "" {
				err = fmt.Errorf("%w: a credential of the unit; in a shell set CREDENTIALS_DIRECTORY=/run/credentials/heliostat.service while it runs, or give orders with --socket", err)
			}
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
