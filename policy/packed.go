package policy

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// maxOwnBytes caps the operator's files together: a module has some kilobytes, and
// the daemon holds them in memory a few times over while they are looked at.
const maxOwnBytes = 16 << 20

// A revision is kept as an archive (zip, not compressed, without times) of all
// that its decisions depend on: the policies that shipped with the program of that
// day, the operator's over them, and the parameters that the configuration set.
const (
	packedShipped = "shipped"
	packedOwn     = "own"
	packedParams  = "params.json"
)

// roots are the folders of a bundle.
var roots = []string{policyRoot, "params", "facts"}

// policyRoot is the one with the policies themselves.
const policyRoot = "placement"

// inBundle reports whether a file is one that a bundle is read from.
func inBundle(name string) bool {
	base := path.Base(name)
	switch {
	case name == ".manifest", name == "params/data.json", name == "params/schema.json":
		return true
	case strings.HasPrefix(base, "."): // an editor's lock or copy
		return false
	case base == "data.json":
		return strings.HasPrefix(name, "facts/")
	}
	return path.Ext(name) == ".rego"
}

// errLinkedFolder is told of a link to a folder where policies or data belong: the
// walk does not follow it, and what it holds would be missed without a word.
var errLinkedFolder = errors.New("a link to a folder is not followed")

// eachFile visits the files of a bundle, in the order of their names. Folders
// such as .git are no part of it, nor other files but those named in also.
func eachFile(fsys fs.FS, visit func(name string, err error), also ...string) {
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			visit(name, err)
		case d.IsDir() && name != "." && strings.HasPrefix(path.Base(name), "."):
			return fs.SkipDir
		case !d.IsDir() && (inBundle(name) || slices.Contains(also, name)):
			visit(name, nil)
		case d.Type()&fs.ModeSymlink != 0 && holdsFiles(name):
			if info, err := fs.Stat(fsys, name); err == nil && info.IsDir() || err != nil && !errors.Is(err, fs.ErrNotExist) {
				visit(name, errLinkedFolder)
			}
		}
		return nil
	})
	if err != nil {
		visit(".", err)
	}
}

// holdsFiles reports whether a name is that of one of a bundle's folders, or of one
// below them.
func holdsFiles(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	return slices.Contains(roots, top) && path.Ext(name) == "" && !strings.HasPrefix(path.Base(name), ".")
}

// readContents reads the files of a bundle, by name, within limits. label is put
// before names in faults.
func readContents(fsys fs.FS, label string, also ...string) (map[string][]byte, error) {
	contents := map[string][]byte{}
	var faults Faults
	total := 0
	eachFile(fsys, func(name string, err error) {
		limit := int64(maxDataBytes)
		if path.Ext(name) == ".rego" {
			limit = maxModuleBytes
		}
		if err == nil {
			contents[name], err = readLimited(fsys, name, limit)
		}
		if total += len(contents[name]); err == nil && total > maxOwnBytes {
			err = fmt.Errorf("with the files before it more than %d bytes: keep large tables elsewhere", maxOwnBytes)
		}
		if err != nil {
			faults = append(faults, faultsOf(filepath.Join(label, filepath.FromSlash(name)), err)...)
		}
	}, also...)
	return contents, faults.err()
}

// pack makes the archive. own may be nil.
func pack(shipped fs.FS, own map[string][]byte, params map[string]map[string]any) ([]byte, error) {
	base, err := readContents(shipped, "")
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	var errs []error
	put := func(name string, text []byte) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = f.Write(text)
		}
		errs = append(errs, err)
	}
	for _, part := range []struct {
		at       string
		contents map[string][]byte
	}{{packedShipped, base}, {packedOwn, own}} {
		put(part.at+"/", nil) // a folder, be it empty
		for _, name := range slices.Sorted(maps.Keys(part.contents)) {
			put(part.at+"/"+name, part.contents[name])
		}
	}
	text, err := json.Marshal(params) // keys are sorted
	put(packedParams, text)
	if err := errors.Join(append(errs, err, w.Close())...); err != nil {
		return nil, fmt.Errorf("pack policies: %w", err)
	}
	return buf.Bytes(), nil
}

// An unpacked is a bundle to be read from an archive.
type unpacked struct {
	whole, own *files // whole has the configured parameters in it
	plain      *files // whole without them: what tests are written against
	params     map[string]map[string]any
}

// unpack reads an archive that pack made. label is put before the names of the
// operator's files.
func unpack(raw []byte, label string) (*unpacked, error) {
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, fmt.Errorf("read kept policies: %w", err)
	}
	f, err := z.Open(packedParams)
	if err != nil {
		return nil, fmt.Errorf("read kept policies: %w", err)
	}
	text, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read kept policies: %w", err)
	}
	u := &unpacked{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // a number stays what it was written as
	if err := dec.Decode(&u.params); err != nil {
		return nil, fmt.Errorf("read kept policies: %w", err)
	}
	shipped, err := fs.Sub(z, packedShipped)
	if err != nil {
		return nil, err
	}
	own, err := fs.Sub(z, packedOwn)
	if err != nil {
		return nil, err
	}
	u.own = readFiles(own, label)
	u.plain = readFiles(shipped, "").over(u.own)
	u.whole = u.plain.clone()
	u.whole.override(u.params)
	return u, nil
}

// clone is a copy to override parameters in.
func (f *files) clone() *files {
	c := *f
	c.faults = slices.Clone(f.faults)
	return &c
}
