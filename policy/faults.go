package policy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A Fault is one thing that is wrong with a bundle, and where.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitzero"`
	Column  int    `json:"column,omitzero"`
	Message string `json:"message"`
	Lint    string `json:"lint,omitempty"`    // the lint that found it; empty: the bundle cannot be loaded
	Warning bool   `json:"warning,omitempty"` // the bundle can be used as it is
	Text    string `json:"text,omitempty"`    // the line, where the draft is at hand; of a very long one the part that counts
	Advice  string `json:"advice,omitempty"`  // what to write instead
}

// Error gives file:line:column: message.
func (f Fault) Error() string {
	if f.Line == 0 {
		return f.File + ": " + f.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// A line of more characters than longLine is cut: what is shown of it begins lead
// characters before the place.
const longLine, lead = 240, 80

// cut marks the ends of a line that are left out.
const cut = "…"

// lineAt is a line as a terminal can show it, around the column.
func lineAt(line string, column int) string {
	r := []rune(line)
	if len(r) > longLine {
		from := min(max(column-1-lead, 0), len(r)-lead)
		to := min(from+longLine, len(r))
		if r = slices.Clone(r[from:to]); to < utf8.RuneCountInString(line) {
			r = append(r, []rune(cut)...)
		}
		if from > 0 {
			r = append([]rune(cut), r...)
		}
	}
	return strings.Map(func(c rune) rune {
		if c != '\t' && !unicode.IsPrint(c) {
			return utf8.RuneError
		}
		return c
	}, string(r))
}

// Excerpt is the line with a mark under the place, each of the two ending in a
// newline; empty where there is no line.
func (f Fault) Excerpt() string {
	if strings.TrimSpace(f.Text) == "" {
		return ""
	}
	before := max(f.Column-1, 0)
	if strings.HasPrefix(f.Text, cut) && before > lead {
		before = lead + len([]rune(cut))
	}
	r := []rune(f.Text)
	blank := strings.Map(func(c rune) rune {
		if c == '\t' {
			return c
		}
		return ' '
	}, string(r[:min(before, len(r))]))
	return f.Text + "\n" + blank + "^\n"
}

// Faults is all that is wrong with a bundle, sorted by place.
type Faults []Fault

// Error gives one fault a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the faults one by one: a fault of a configured parameter has its
// place in the configuration.
func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}

// err returns the faults sorted and without repetition, or nil.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	slices.SortFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(fs)
}

func faultAt(loc *ast.Location, format string, args ...any) Fault {
	f := Fault{Message: fmt.Sprintf(format, args...)}
	if loc != nil {
		f.File, f.Line, f.Column = loc.File, loc.Row, max(loc.Col, 1)
	}
	return f
}

// asFaults is the faults in an error that may be none.
func asFaults(err error) Faults {
	if err == nil {
		return nil
	}
	if fs, ok := errors.AsType[Faults](err); ok {
		return fs
	}
	return faultsOf(".", err)
}

// faultsOf turns an error of the parser or compiler into faults of the file.
func faultsOf(file string, err error) Faults {
	if e, ok := errors.AsType[*ast.Error](err); ok {
		err = ast.Errors{e}
	}
	if errs, ok := errors.AsType[ast.Errors](err); ok {
		out := make(Faults, 0, len(errs))
		for _, e := range errs {
			f := faultAt(e.Location, "%s", advise(e))
			f.File = cmp.Or(f.File, file)
			f.Line, f.Column = max(f.Line, 1), max(f.Column, 1) // one of the file as a whole has no line
			out = append(out, f)
		}
		return out
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return Faults{{File: file, Message: p.Err.Error()}}
	}
	return Faults{{File: file, Message: err.Error()}}
}

// advise words a compiler error, with its details and what to write instead
// where that is known.
func advise(e *ast.Error) string {
	msg := e.Message
	if name, ok := strings.CutPrefix(msg, "undefined function "); ok && refused(name) {
		return name + " is not available to policies: they see the fleet alone, without network, clock, chance or environment"
	}
	if d, ok := e.Details.(*ast.ParserErrorDetail); ok && len(d.Line) > longLine {
		return msg // the parser would show the line as a whole
	}
	if d := e.Details; d != nil {
		for _, l := range d.Lines() {
			if l = strings.TrimRight(l, " "); l != "" {
				msg += "\n\t" + l
			}
		}
	}
	if e.Code == ast.TypeErr && strings.HasSuffix(msg, ": null") {
		msg += "\n\twhat may be null is asked with is_null(x), or told apart with is_number(x)"
	}
	return msg
}
