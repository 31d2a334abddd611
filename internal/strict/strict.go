// Package strict reads what others wrote: JSON, YAML, XML and CBOR, each with
// one meaning or none.
//
// The usual decoders fail open. encoding/json takes the last of two equal keys, a
// key in another case, null for anything and "1e999" in a json.Number; encoding/xml
// turns <status>Test</status><status>Actual</status> into Actual; YAML knows .nan,
// for which x > limit is false whatever the limit is, and octal numbers. Here
// each format is parsed into one tree whose values know where they stand, and one
// decoder puts the tree into Go values. It refuses, by line and column and with
// what to write instead:
//
//   - keys given twice, in another case, or unknown ([Options.Unknown] lets those pass),
//   - null where a value is needed, and whatever is not of the kind that is wanted,
//   - numbers that are not finite, do not fit, or begin with a zero,
//   - yes, no, on and off for true and false; numbers for texts,
//   - data after the end, second documents, anchors, tags, DTDs and entities,
//   - repeated XML elements and attributes where one is meant,
//   - text that is not UTF-8, and characters that hide (see [Unseen]),
//   - more than [Options.MaxBytes], 32 levels, or a million values.
//
// All faults of a text are reported at once. Fields are named by their yaml tags,
// or else their json tags; of XML by their xml tags.
//
// What this program wrote itself, and finds again by its digest, is not read by
// this package: the digest is stricter.
package strict

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Limits that no input meant for people comes near.
const (
	// maxDepth is how deep values may nest: a configuration has 6 levels, CAP 5.
	maxDepth = 32
	// maxValues bounds the memory of a tree, about 100 bytes a value.
	maxValues = 1 << 20
	// MaxCAP is the MaxBytes for an alert in the Common Alerting Protocol: the
	// largest that national weather services send are about 100 KiB, polygons and all.
	MaxCAP = 256 << 10
)

// Options say how strict to be.
type Options struct {
	// File names the text in faults; "" for faults that begin with the line.
	File string
	// MaxBytes is the most that is read; 0 for 1 MiB.
	MaxBytes int
	// Unknown lets keys pass that no field has, for senders who add some with
	// every version.
	Unknown bool
	// Unseen lets characters pass that cannot be seen, for texts that the caller cleans.
	Unseen bool
	// Text is what a text becomes, by its key; nil for what it is.
	Text func(key, value string) (string, error)
}

// A Fault is one thing that is wrong with a text.
type Fault struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Path   string `json:"path"` // such as sites[2].latitude; "" for the whole text
	What   string `json:"what"`
}

// String gives file:line:column: path: what.
func (f Fault) String() string {
	at := fmt.Sprintf("%d:%d: ", f.Line, f.Column)
	if f.File != "" {
		at = f.File + ":" + at
	}
	return at + f.Message()
}

// Message gives path: what.
func (f Fault) Message() string {
	if f.Path == "" {
		return f.What
	}
	return f.Path + ": " + f.What
}

// Faults are all that is wrong, in the text's order.
type Faults []Fault

// Error gives a line a fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// Unseen reports characters that a text must not hide: those that control a
// terminal or the direction of writing, that take no space, or that break lines
// where no editor does. Newline and tab are not among them.
func Unseen(r rune) bool {
	return (unicode.IsControl(r) && r != '\n' && r != '\t') || strings.ContainsRune("\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff", r)
}

// Escape writes characters that cannot be seen, and newlines and tabs, as Go
// does: a name from outside must not rewrite the line that it is printed in.
func Escape(s string) string {
	hidden := func(r rune) bool { return Unseen(r) || r == '\n' || r == '\t' || r == unicode.ReplacementChar }
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, s[i]) // a byte that is not UTF-8
		case r != unicode.ReplacementChar && hidden(r):
			q := fmt.Sprintf("%+q", r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// A TooLargeError means that there was more to read than is taken.
type TooLargeError struct{ Max int64 }

// Error implements error.
func (e *TooLargeError) Error() string { return fmt.Sprintf("larger than %d bytes", e.Max) }

// Limit reads from r, and fails with a [TooLargeError] where io.LimitReader would
// pretend that r ends: put around what unpacks, it caps what a small file can become.
func Limit(r io.Reader, most int64) io.Reader { return &limited{r: r, left: most, most: most} }

type limited struct {
	r          io.Reader
	left, most int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, &TooLargeError{l.most}
	}
	p = p[:min(int64(len(p)), l.left+1)] // one more than is left tells whether there is more
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, &TooLargeError{l.most}
	}
	return n, err
}

// A Document is a text that was parsed. Its methods are for one goroutine.
type Document struct {
	Options
	root   *node // nil after a fault of syntax
	nodes  map[string]*node
	faults Faults
	values int
	bare   bool // scalars are texts until a field wants something else
	json   bool // numbers without a type stay json.Number
}

func newDocument(o Options, data []byte) *Document {
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 20
	}
	d := &Document{Options: o, nodes: map[string]*node{}}
	if len(data) > o.MaxBytes {
		d.fault(&node{}, "", "the file is larger than %d bytes", o.MaxBytes)
	}
	return d
}

// Parsed reports whether the text follows its format's grammar, so that there is
// something to decode.
func (d *Document) Parsed() bool { return d.root != nil }

// Has reports whether there is a value at the path.
func (d *Document) Has(path string) bool { return d.nodes[path] != nil }

// Fault notes what is wrong with the value at a path, or with its absence.
// What could not be read has a fault already, and gets no second one.
func (d *Document) Fault(path, what string) {
	at := path
	for d.nodes[at] == nil && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	for _, f := range d.faults {
		if f.Path != "" && (f.Path == path || strings.HasPrefix(path, f.Path+".") || strings.HasPrefix(path, f.Path+"[")) {
			return
		}
	}
	n := d.nodes[at]
	if n == nil {
		n = &node{}
	}
	d.fault(n, path, "%s", what)
}

// Faults are those noted so far, in the text's order.
func (d *Document) Faults() Faults {
	slices.SortStableFunc(d.faults, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return d.faults
}

// Fresh is the same text without its faults, for a later look.
func (d *Document) Fresh() *Document {
	return &Document{Options: d.Options, root: d.root, nodes: d.nodes}
}

// Err is [Document.Faults] as an error, nil when there are none.
func (d *Document) Err() error {
	if len(d.faults) == 0 {
		return nil
	}
	return d.Faults()
}

func (d *Document) fault(n *node, path, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	f := Fault{d.File, max(n.line, 1), max(n.column, 1), Escape(path), Escape(what)}
	if !slices.Contains(d.faults, f) {
		d.faults = append(d.faults, f)
	}
}
